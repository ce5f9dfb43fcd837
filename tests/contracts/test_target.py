"""What every target must do, run over every implementation (real compilers, real children)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from autotune import api
from autotune.errors import SpaceError, UnsupportedProgramError
from autotune.evaluation import Estimated, Failed, LabelKind, Measured
from autotune.hlo.program import Program
from autotune.hlo.reader import read_bytes
from autotune.spaces.base import config_id
from autotune.targets import TARGETS, open_target
from autotune.targets.base import PreparedProgram, Target
from protos import hlo_pb2
from tests import programs
from tests.remote.server_process import server
from tests.targets.cpu_device import cpu_device_target

pytestmark = pytest.mark.slow


NAMES = ("cpu", "tpu:v5e", "tpu:v6e")
DEVICE = "cpu device"
"""The code of `--target tpu` with XLA:CPU as the compiler and as the device."""

SERVERS = ("grpc cpu", "grpc tpu:v5e")
"""Measurement servers in processes of their own, with these targets."""

REPLAY = "replay:recorded.sqlite@cpu"
"""What the target `cpu` has said before."""


@pytest.fixture(scope="module", params=(*NAMES, DEVICE, *SERVERS, REPLAY))
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    served, name = request.param in SERVERS, request.param.removeprefix("grpc ")
    if name.startswith("tpu"):
        pytest.importorskip("libtpu", reason="needs the TPU compiler (pip install 'xla-autotune[tpu]')")
    with contextlib.ExitStack() as stack:
        if served:
            name = stack.enter_context(server(name=name)).url
        if name == REPLAY:
            name = f"replay:{_record(tmp_path_factory.mktemp('replay') / 'recorded.sqlite')}"
        yield stack.enter_context(cpu_device_target() if name == DEVICE else open_target(name))


def _record(database: Path) -> Path:
    """Have the CPU evaluate a few layouts of the programs below."""
    with open_target("cpu") as cpu:
        for program in (programs.two_dots(), programs.product(32, 32, 32)):
            api.search(program, target=cpu, space="layout", budget=4, database=database)
    return database


@pytest.fixture(scope="module")
def prepared(target: Target) -> PreparedProgram:
    return target.prepare(programs.two_dots())


def test_description_is_stable_and_complete(target: Target) -> None:
    description = target.description
    assert description == target.description
    assert all((description.name, description.device_kind, description.compiler_version))
    assert description.name in (*NAMES, DEVICE, REPLAY)
    assert {name.partition(":")[0] for name in (*NAMES, "grpc", REPLAY)} == set(TARGETS)


def test_outcome_has_the_kind_that_the_target_promises(target: Target, prepared: PreparedProgram) -> None:
    space = target.space(prepared, "layout")
    rng = np.random.default_rng(0)
    configs = [space.default, space.sample(rng), space.sample(rng)]
    evaluations = target.evaluate(prepared, configs)
    assert [config_id(e.config) for e in evaluations] == [config_id(config) for config in configs]
    expected = {LabelKind.MEASURED: Measured, LabelKind.ESTIMATED: Estimated}[target.description.label]
    for evaluation in evaluations:
        assert isinstance(evaluation.outcome, expected), evaluation
        assert evaluation.cost is not None
        assert evaluation.cost > 0
        assert evaluation.purpose == "search"
    confirmed = target.evaluate(prepared, configs[:1], purpose="confirm")
    assert [e.purpose for e in confirmed] == ["confirm"]


def test_no_configs_no_evaluations(target: Target, prepared: PreparedProgram) -> None:
    assert target.evaluate(prepared, []) == []


def test_a_realised_config_is_a_program(target: Target, prepared: PreparedProgram) -> None:
    space = target.space(prepared, "layout")
    for config in (space.default, space.sample(np.random.default_rng(1))):
        tuned = target.realise(prepared, config)
        module = hlo_pb2.HloModuleProto.FromString(tuned.module)
        assert module.entry_computation_id in {computation.id for computation in module.computations}


def test_two_programs_take_turns(target: Target, prepared: PreparedProgram) -> None:
    other = target.prepare(programs.product(32, 32, 32))
    for each in (prepared, other, prepared):
        (evaluation,) = target.evaluate(each, [target.space(each, "layout").default])
        assert not isinstance(evaluation.outcome, Failed), evaluation.outcome


def test_a_choice_that_is_not_there_is_refused(target: Target, prepared: PreparedProgram) -> None:
    with pytest.raises(SpaceError, match="no tile choice"):
        target.space(prepared, "tile")
    with pytest.raises(SpaceError, match="expected layout, tile or auto"):
        target.space(prepared, "colour")


def test_a_program_over_several_devices_is_refused(target: Target) -> None:
    text = """HloModule exchange, replica_count=2
add { a = f32[] parameter(0) b = f32[] parameter(1) ROOT s = f32[] add(a, b) }
ENTRY main { x = f32[8] parameter(0) ROOT y = f32[8] all-reduce(x), replica_groups={{0,1}}, to_apply=add }
"""
    with pytest.raises(UnsupportedProgramError, match=r"2 devices|nothing recorded"):
        target.prepare(read_bytes(text.encode(), "exchange"))


def test_a_program_too_large_for_this_host_is_refused_with_the_sizes(target: Target) -> None:
    text = "HloModule huge\nENTRY main { x = f32[1000000000000] parameter(0) ROOT y = f32[1000000000000] negate(x) }\n"
    huge: Program = read_bytes(text.encode(), "huge")
    sizes = r"4000\.0 GB of arguments and 4000\.0 GB of results|Ran out of memory on HBM.* \(7\.28T\)|nothing recorded"
    with pytest.raises(UnsupportedProgramError, match=sizes):
        target.prepare(huge)
