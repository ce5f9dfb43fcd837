"""Evaluations that were made before, by program, for the target `replay:FILE` (`autotune.targets.replay`).

| module | what |
|---|---|
| `record` | what all sources come to: a program, its recorded configs, and what was said of each |
| `space` | the recorded configs as a space |
| `kept` | programs and spaces beside their evaluations in the database, and reading them back |
| `arrays` | TpuGraphs: `.npz` files and tuning protos |
"""
