"""What goes over the line comes out as it went in; nonsense is a typed error."""

from __future__ import annotations

import numpy as np
import pytest

from autotune.errors import SpaceError
from autotune.evaluation import Estimated, Evaluation, Failed, FailureReason, LabelKind, Measured, Outcome
from autotune.hlo.kernels import Kernel
from autotune.hlo.window_config import NO_ESTIMATE, ForcedTile, TileCandidate, WindowConfig
from autotune.remote import messages as ours
from autotune.remote import spaces
from autotune.spaces.base import Space
from autotune.spaces.layout import LayoutConfig, LayoutSpace
from autotune.spaces.tile import DotKernel, GemmTileSpace
from autotune.spaces.tpu_tile import TpuTileSpace
from autotune.targets.base import PreparedProgram, TargetDescription, TiledProgram, TunedProgram
from protos import hlo_pb2
from protos import measurement_pb2 as messages
from tests import programs

KERNEL = Kernel(
    "fusion.1",
    "fusion",
    programs.two_dots().proto,
    WindowConfig((1, 2), (3,), (4,), (5, 6), None, {"buffering_level": 2}),
    7,
)
CANDIDATES = [TileCandidate(5, (8, 4), (1,), 1000), TileCandidate(NO_ESTIMATE, (4, 4), (), None)]


@pytest.mark.parametrize(
    "outcome",
    [
        Measured(1e-3, 0.01, 2e-3, 0.02, 0.03, 4, 24),
        Estimated(10.0, 20.0),
        *(Failed(reason, "words\nmore \u00e9") for reason in FailureReason),
    ],
)
def test_evaluations(outcome: Outcome) -> None:
    space = LayoutSpace(programs.two_dots().proto)
    config = space.sample(np.random.default_rng(0))
    evaluation = Evaluation(config, outcome, 0.5, "confirm", {"copies": 2.0, "optimised_program": "abc"})
    assert ours.evaluation_from_message(ours.evaluation_to_message(evaluation), space.from_json) == evaluation


def test_words_of_a_compiler_that_are_no_text() -> None:
    failed = Failed(FailureReason.COMPILE_ERROR, "bad \udcff byte")
    assert ours.failed_from_message(ours.failed_to_message(failed)).message == "bad ? byte"


@pytest.mark.parametrize("label", LabelKind)
def test_descriptions(label: LabelKind) -> None:
    description = TargetDescription("cpu", "a processor", "jaxlib 1", label, "cpu")
    assert ours.description_from_message(ours.description_to_message(description)) == description


def test_prepared_programs() -> None:
    program, other = programs.two_dots(), programs.lookup()
    assigned = hlo_pb2.HloModuleProto(name="assigned")
    prepared = PreparedProgram(program, other, ("a note",), {"compile_seconds": 1.5, "x": "y"}, "a caveat", assigned)
    found = ours.prepared_from_message(ours.prepared_to_message(prepared), program, "there")
    assert (found.program, found.module.module) == (program, other.module)
    assert (found.notes, found.details, found.caveat) == (prepared.notes, prepared.details, prepared.caveat)
    assert found.assigned == assigned
    assert "from there" in found.module.source
    same = ours.prepared_from_message(ours.prepared_to_message(PreparedProgram(program, program)), program, "there")
    assert same == PreparedProgram(program, program)


def test_tuned_programs() -> None:
    tuned = TunedProgram(b"abc", {"text": "", "number": 256, "flag": False, "yes": True}, {"extra": "1"}, True)
    found = ours.tuned_from_message(ours.tuned_to_message(tuned))
    assert found == tuned
    assert {name: type(value) for name, value in found.options.items()} == {
        "text": str, "number": int, "flag": bool, "yes": bool
    }  # fmt: skip


@pytest.mark.parametrize(
    "space",
    [
        LayoutSpace(programs.two_dots().proto),
        LayoutSpace(programs.two_dots().proto, places=2),
        GemmTileSpace(DotKernel(256, 128, 64, "bf16")),
        TpuTileSpace(KERNEL, CANDIDATES),
    ],
    ids=["layout", "layout of a TPU", "tile", "tile of a TPU"],
)
def test_spaces_propose_the_same_configs(space: Space) -> None:
    prepared = PreparedProgram(programs.two_dots(), programs.two_dots())
    found = spaces.space_from_message(spaces.space_to_message(space), prepared)
    assert (found.kind, found.size, found.default) == (space.kind, space.size, space.default)
    first, second = np.random.default_rng(3), np.random.default_rng(3)
    assert [found.sample(first) for _ in range(20)] == [space.sample(second) for _ in range(20)]
    assert list(found.landmarks) == list(space.landmarks)
    assert [found.explain(config) for config in found.landmarks] == [
        space.explain(config) for config in space.landmarks
    ]


def test_kernels_and_tiles() -> None:
    assert spaces.kernel_from_message(spaces.kernel_to_message(KERNEL)) == KERNEL
    bare = Kernel("copy.1", "copy", programs.lookup().proto, None, 1)
    assert spaces.kernel_from_message(spaces.kernel_to_message(bare)) == bare
    tiles = {"fusion.1": ForcedTile((8, 4), (1,), 5), "copy.1": ForcedTile((2,), (), NO_ESTIMATE)}
    assert spaces.tiles_from_messages(spaces.tiles_to_messages(tiles)) == tiles


@pytest.mark.parametrize(
    "measured", [None, Measured(1.0, 0.0, 2.0, 0.0, 0.0, 1, 1), Failed(FailureReason.RUN_ERROR, "no")]
)
def test_programs_with_tiles(measured: Measured | Failed | None) -> None:
    tiled = TiledProgram(b"abc", ("a", "b"), ("a",), 12.0, measured)
    assert spaces.tiled_from_message(spaces.tiled_to_message(tiled)) == tiled


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", "[" * 100_000, '"x"'])
def test_configs_that_are_none(text: str) -> None:
    with pytest.raises(ours.MessageError, match="expected a config as"):
        ours.config_object(text)


def test_messages_that_make_no_sense() -> None:
    config = ours.config_to_json(LayoutConfig())
    with pytest.raises(ours.MessageError, match="with an outcome"):
        ours.evaluation_from_message(messages.Evaluation(config=config), lambda value: LayoutConfig())
    with pytest.raises(ours.MessageError, match="times above 0"):
        ours.measured_from_message(messages.Measured(seconds=-1.0, default_seconds=1.0))
    with pytest.raises(ours.MessageError, match="known reason"):
        ours.failed_from_message(messages.Failed(reason="BORED"))
    with pytest.raises(ours.MessageError, match="description of a target"):
        ours.description_from_message(messages.TargetDescription(name="cpu"))
    with pytest.raises(ours.MessageError, match="expected a module"):
        ours.prepared_from_message(messages.PreparedProgram(module=b"\xff\xff"), programs.two_dots(), "there")
    prepared = PreparedProgram(programs.two_dots(), programs.two_dots())
    with pytest.raises(ours.MessageError, match="a space of a known kind"):
        spaces.space_from_message(messages.Space(), prepared)
    with pytest.raises(ours.MessageError, match="as a module"):
        spaces.kernel_from_message(messages.Kernel(name="k", module=b"\xff\xff"))
    with pytest.raises(SpaceError, match="no choice of tiles"):
        spaces.space_from_message(messages.Space(kernel_tile=messages.KernelTileSpace()), prepared)
