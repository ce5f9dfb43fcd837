"""Makes the modules `*_pb2.py` and their type stubs from the `.proto` files beside this one.

    python -m protos.generate [folder]

writes them beside the `.proto` files, or below `folder` (which a test uses to see that the committed ones are up to
date). Needs the package grpcio-tools, which the extra `dev` brings.
"""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def generate(destination: Path = FOLDER.parent) -> list[Path]:
    """Compiles every `.proto` file of this folder.

    Args:
        destination: the folder in which `protos/*_pb2.py` and `protos/*_pb2.pyi` are written.

    Returns:
        The files written, sorted.

    Raises:
        RuntimeError: the compiler refused a file; its messages stand on standard error.
    """
    from grpc_tools import protoc  # here, because only developers have it

    sources = sorted(path.relative_to(FOLDER.parent).as_posix() for path in FOLDER.glob("*.proto"))
    arguments = ["protoc", f"-I{FOLDER.parent}", f"--python_out={destination}", f"--pyi_out={destination}", *sources]
    if protoc.main(arguments) != 0:
        raise RuntimeError(f"protoc refused one of {', '.join(sources)}; its messages are above")
    return sorted((destination / "protos").glob("*_pb2.py*"))


if __name__ == "__main__":
    for written in generate(*(Path(argument) for argument in sys.argv[1:2])):
        print(written)
