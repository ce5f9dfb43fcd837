"""Makes the modules `*_pb2.py`, their type stubs and `*_pb2_grpc.py` from the `.proto` files beside this one.

    python -m protos.generate [folder]

writes them beside the `.proto` files, or below `folder` (which a test uses to see that the committed ones are up to
date). Needs the package grpcio-tools, which the extra `dev` brings.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent

_SERVICES = ("measurement.proto",)
"""The files that declare services."""


def generate(destination: Path = FOLDER.parent) -> list[Path]:
    """Compiles every `.proto` file of this folder.

    Args:
        destination: the folder in which `protos/*_pb2.py`, `*_pb2.pyi` and `*_pb2_grpc.py` are written.

    Returns:
        The files written, sorted.

    Raises:
        RuntimeError: the compiler refused a file; its messages stand on standard error.
    """
    sources = sorted(path.relative_to(FOLDER.parent).as_posix() for path in FOLDER.glob("*.proto"))
    arguments = [f"-I{FOLDER.parent}", f"--python_out={destination}", f"--pyi_out={destination}", *sources]
    services = [(FOLDER / name).relative_to(FOLDER.parent).as_posix() for name in _SERVICES]
    for_services = [f"-I{FOLDER.parent}", f"--grpc_python_out={destination}", *services]
    # In a process of its own: in one that has loaded other libraries' protobuf the compiler may crash.
    command = [sys.executable, "-m", "grpc_tools.protoc"]
    if any(subprocess.run([*command, *each]).returncode for each in (arguments, for_services)):
        raise RuntimeError(f"protoc refused one of {', '.join(sources)}; its messages are above")
    return sorted((destination / "protos").glob("*_pb2*.py*"))


if __name__ == "__main__":
    for written in generate(*(Path(argument) for argument in sys.argv[1:2])):
        print(written)
