"""The demo program is what its script writes, and the notebook runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

# In a process of its own: the client of a kernel leaves sockets open, which is an error in these tests.
NOTEBOOK = """
import sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=250).execute()
for cell in notebook.cells:
    print("".join(output.get("text", "") for output in cell.get("outputs", [])))
"""


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


@pytest.mark.slow
def test_the_notebook_runs_with_a_small_budget(repo_root: Path, tmp_path: Path) -> None:
    path = repo_root / "examples" / "tune_a_transformer.ipynb"
    environment = {**os.environ, "AUTOTUNE_EXAMPLE_BUDGET": "3", "PYTHONPATH": str(repo_root)}
    run = subprocess.run(
        [sys.executable, "-c", NOTEBOOK, str(path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert run.returncode == 0, run.stderr
    assert "the updated weights are those of plain jax.jit" in run.stdout
    assert re.search(r"1,000 configs of \d+ nodes in \d+ ms", run.stdout)
    assert "estimated (compiler cycles, tpu v5e)" in run.stdout or "libtpu is not installed" in run.stdout
