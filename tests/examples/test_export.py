"""The demo program is what its script exports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from autotune.hlo.reader import read
from autotune.spaces.layout import LayoutSpace


def test_the_script_gives_the_same_bytes(repo_root: Path, tmp_path: Path) -> None:
    script = repo_root / "examples" / "export_transformer_block.py"
    subprocess.run([sys.executable, str(script), str(tmp_path / "out.hlo")], check=True, timeout=240)
    assert (tmp_path / "out.hlo").read_bytes() == (repo_root / "examples" / "transformer_block.hlo").read_bytes()


def test_the_demo_program_has_something_to_choose(repo_root: Path) -> None:
    program = read(repo_root / "examples" / "transformer_block.hlo")
    assert LayoutSpace(program.proto).size > 10**50
