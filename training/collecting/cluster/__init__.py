"""Collecting on a Ray cluster: its workers evaluate, this process alone writes.

| module | what |
|---|---|
| `packages` | is Ray installed? |
| `resources` | what one worker takes, and how many fit |
| `worker` | what runs on a node: a target that evaluates what it is sent |
| `session` | the line to Ray: nothing else imports it |
| `pool` | who works on what, and what becomes of the work of a worker that is lost |
| `evaluator` | the pool as the evaluator of a collection |
| `writer`, `collect` | several programs at once, and one thread that writes |
"""
