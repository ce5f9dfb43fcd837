"""The programs of the zoo as a whole: what there is, that it lowers, and to what."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from autotune.errors import WorkerError
from autotune.hlo.fingerprint import fingerprint
from autotune.hlo.modules import instructions
from autotune.hlo.reader import read_bytes
from autotune.targets.isolation import Worker
from protos import hlo_pb2, xla_data_pb2
from training.errors import TrainingError
from training.zoo import ZOO, Lowerer, ZooProgram, families, find, lower, split_by_family

SMALL = (
    "deep-cross/b128-train",
    "dlrm/b256-w16-bf16",
    "gru/b16-t32",
    "graph-network/n128-w128-train-bf16",
    "tensor-network/b64",
    "fourier-operator/b4-i32",
    "mlp-mixer/b32-i32-w64",
    "mobilenet/b8-i32-train",
)
LARGEST_LITERAL = 4096
"""Bytes. Tables of positions are constants for jax; weights never are."""


@pytest.fixture(scope="module")
def small() -> dict[str, bytes]:
    with Lowerer() as lowerer:
        return {name: lowerer(find(name)) for name in SMALL}


@pytest.fixture(scope="module")
def lowerer() -> Iterator[Lowerer]:
    with Lowerer() as opened:
        yield opened


def test_there_is_enough_of_everything() -> None:
    assert len(ZOO) >= 100
    assert len(families()) >= 25
    for family in families():
        programs = [program for program in ZOO.values() if program.family == family]
        assert len(programs) >= 4, family
        assert {program.dtype for program in programs} == {"float32", "bfloat16"}, family
    trained = {program.family for program in ZOO.values() if program.mode == "train"}
    assert set(families()) - trained == {"cached-decoder"}  # decoding step by step is no training


def test_importing_the_zoo_imports_no_jax() -> None:
    code = "import sys, training.zoo, training.commands; sys.exit('jax' in sys.modules or 'jaxlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0


@pytest.mark.parametrize("name", ["resnet", "vgg/b8-i32", "resnet/B8", "resnet/b8/i64", "resnet/../x"])
def test_a_name_that_is_no_variant_of_the_family_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected a name such as resnet/"):
        ZooProgram(name, "resnet", find("resnet/b8-i64").builder, "float32", "inference")


def test_a_name_that_is_nearly_right_is_explained() -> None:
    with pytest.raises(TrainingError, match="'resnet/b8-i65': not in the zoo; did you mean resnet/b8-i64"):
        find("resnet/b8-i65")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_split_has_every_program_once_and_no_family_twice(seed: int) -> None:
    parts = split_by_family(seed)
    assert sorted(program.name for part in parts.values() for program in part) == sorted(ZOO)
    members = {split: {program.family for program in part} for split, part in parts.items()}
    assert not members["train"] & members["valid"] | members["train"] & members["test"]
    assert not members["valid"] & members["test"]
    assert len(members["train"]) == round(0.7 * len(families()))
    assert parts == split_by_family(seed)
    assert parts != split_by_family(seed + 1)


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.5), (1.2, -0.1, -0.1), (float("nan"), 0.5, 0.5)])
def test_shares_that_are_none_are_refused(shares: tuple[float, float, float]) -> None:
    with pytest.raises(TrainingError, match="sum to 1"):
        split_by_family(0, shares)


def test_the_fingerprint_is_the_same_in_every_process(small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    monkeypatch.setenv("JAX_DEFAULT_MATMUL_PRECISION", "highest")
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    for name in reversed(SMALL[:4]):
        again = lower(find(name))
        assert again == small[name], name
        assert fingerprint(again) == fingerprint(small[name])


@pytest.mark.slow
def test_small_programs_are_read_compiled_and_run(small: dict[str, bytes]) -> None:
    with Worker("tests.hlo.child") as child:
        for name, module in small.items():
            program = read_bytes(module, name)
            assert not program.notes, name
            outputs = child.call("run", module, _arguments(program.proto), time_limit=120.0)
            assert all(np.isfinite(output.astype(np.float32)).all() for output in outputs), name


def _arguments(module: hlo_pb2.HloModuleProto) -> list[NDArray[Any]]:
    """Positive numbers (variances are among them), and indices of the first rows."""
    dtypes = {"F32": np.float32, "BF16": ml_dtypes.bfloat16, "S32": np.int32}
    numbers = np.random.default_rng(0)
    result = []
    for shape in module.host_program_shape.parameters:
        dtype = dtypes[xla_data_pb2.PrimitiveType.Name(shape.element_type)]
        high = 4 if dtype is np.int32 else 0.2
        result.append(numbers.uniform(0, high, tuple(shape.dimensions)).astype(dtype))
    return result


def test_a_program_that_cannot_be_built_is_named(lowerer: Lowerer) -> None:
    broken: Any = functools.partial(int, "no number")  # pickles, and fails in the child
    with pytest.raises(WorkerError, match=r"'resnet/broken' cannot be lowered: error: .*'no number'"):
        lowerer(ZooProgram("resnet/broken", "resnet", broken, "float32", "inference"))


@pytest.mark.slow
def test_every_program_lowers_to_something_of_its_own(lowerer: Lowerer) -> None:
    seen: dict[str, str] = {}
    for name, program in ZOO.items():
        module = lowerer(program)
        mark = fingerprint(module)
        assert mark not in seen, f"{name} is the same program as {seen[mark]}"
        seen[mark] = name
        proto = hlo_pb2.HloModuleProto.FromString(module)
        opcodes = {instruction.opcode for instruction in instructions(proto)}
        assert opcodes & {"dot", "convolution"}, name
        literals = [instruction.literal.ByteSize() for instruction in instructions(proto)]
        assert max(literals) <= LARGEST_LITERAL, name
        assert b"/training/zoo/" not in module, f"{name} names a path of this machine"
