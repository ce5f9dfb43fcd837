"""The wire formats: XLA's programs (`hlo`, `xla_data`) and TpuGraphs' tuning data (`tuning`).

The generated modules (`*_pb2.py`, `*_pb2.pyi`) are committed; `python -m protos.generate` makes them again.
"""
