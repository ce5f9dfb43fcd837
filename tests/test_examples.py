"""The demo program is what its script writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def committed(repo_root: Path) -> bytes:
    return (repo_root / "examples" / "transformer_block.hlo").read_bytes()


def test_exporting_again_gives_the_committed_bytes(repo_root: Path, committed: bytes, tmp_path: Path) -> None:
    output = tmp_path / "again.hlo"
    script = repo_root / "examples" / "export_transformer_block.py"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}  # neither the hash seed nor the folder may matter
    command = [sys.executable, str(script), str(output)]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=120)
    assert output.read_bytes() == committed


def test_the_demo_program_names_no_path_of_a_machine(committed: bytes) -> None:
    text = committed.decode("ascii")
    assert "metadata" not in text
    assert not [word for word in text.split() if word.startswith(("/", '"/')) and not word.startswith("/*index=")]


def test_the_demo_program_is_one_block_forward_and_backward(committed: bytes) -> None:
    """Forward: 4 projections, 2 of the MLP, scores and mixture = 8 dots; each has a gradient for both its operands.

    Only the three projections of x lack the one for x, which is no weight: 8 + 16 - 3 = 21.
    """
    lines = committed.decode().splitlines()
    assert sum(" dot(" in line for line in lines) == 21
    entry = next(index for index, line in enumerate(lines) if line.startswith("ENTRY"))
    assert sum(" parameter(" in line for line in lines[entry:]) == 7
    assert not any("bf16[" in line or "f64[" in line for line in lines)
