"""Writes the lock file: the exact version of everything that the project and its EXTRAS bring.

    python .ci/lock.py requirements.lock

pip resolves the project as if nothing were installed and reports its choice; nothing is installed. The file is used
as pip constraints, so it may hold more than one extra needs. Run it through `make lock`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROJECT = "xla-autotune"
EXTRAS = "cluster,dev,docs,remote,report,tensorflow,tpu,train"
PINNED = ["torch==2.13.0"]  # its CPU wheel is small and there is one; a later version may bring gigabytes of CUDA
HEADER = (
    f"# Exact versions for '.[{EXTRAS}]' (CPython {sys.version_info[0]}.{sys.version_info[1]}, Linux).\n"
    "# Made by `make lock`; used as constraints: pip install -c requirements.lock -e .\n"
)


def resolve(root: Path) -> dict[str, str]:
    """Asks pip which versions it would install into an empty environment.

    Args:
        root: the folder of pyproject.toml.

    Returns:
        Version by name, without the project itself.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run"]
    command += ["--ignore-installed", "--report", "-", f"{root}[{EXTRAS}]", *PINNED]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    versions = {entry["metadata"]["name"]: entry["metadata"]["version"] for entry in report["install"]}
    del versions[PROJECT]
    return versions


def main() -> None:
    """Resolves and writes."""
    versions = resolve(Path(__file__).resolve().parent.parent)
    lines = [f"{name}=={version.partition('+')[0]}\n" for name, version in versions.items()]
    Path(sys.argv[1]).write_text(HEADER + "".join(sorted(lines, key=str.lower)))


if __name__ == "__main__":
    main()
