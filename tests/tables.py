"""Targets without a compiler or a clock: a table says what a config costs, and a log says what was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from autotune.errors import SpaceError
from autotune.evaluation import Estimated, Evaluation, Failed, LabelKind, Measured, Outcome
from autotune.hlo.kernels import Kernel
from autotune.hlo.program import Program
from autotune.hlo.window_config import TileCandidate
from autotune.spaces.base import Config, Space, config_id
from autotune.spaces.layout import LayoutConfig, LayoutSpace
from autotune.spaces.tpu_tile import TpuTileConfig, TpuTileSpace
from autotune.targets.base import PreparedProgram, TargetDescription, TunedProgram

TILES = [TileCandidate(100 * place, (size,)) for place, size in enumerate((64, 32, 16, 8, 4, 2, 1), start=1)]
"""The larger, the cheaper: (64,) takes 100 cycles and is the compiler's choice, (1,) takes 700."""


def few_constraints_are_good(config: Config) -> float:
    """1 for the default, 0.8 with one tensor decided, then rising."""
    assert isinstance(config, LayoutConfig)
    return 1.0 if not config.orders else 0.7 + 0.1 * len(config.orders)


@dataclass
class TableTarget:
    """What both have in common.

    Attributes:
        label: what it promises.
        log: purpose and id of every config that was evaluated.
        interrupt_after: evaluations after which Ctrl-C is pressed; None for never.
        parallel: configs that it wants at once.
    """

    label: LabelKind = LabelKind.MEASURED
    log: list[tuple[str, str]] = field(default_factory=list)
    interrupt_after: int | None = None
    parallel: int = 1

    def prepare(self, program: Program) -> PreparedProgram:
        return PreparedProgram(program, program)

    def evaluate(
        self, prepared: PreparedProgram, configs: Sequence[Config], *, purpose: str = "search"
    ) -> list[Evaluation]:
        if self.interrupt_after is not None and len(self.log) >= self.interrupt_after:
            raise KeyboardInterrupt
        evaluations = []
        for config in configs:
            self.log.append((purpose, config_id(config)))
            evaluations.append(Evaluation(config, self.outcome_of(prepared, config), 0.1, purpose))
        return evaluations

    def outcome_of(self, prepared: PreparedProgram, config: Config) -> Outcome:
        raise NotImplementedError

    def realise(self, prepared: PreparedProgram, config: Config) -> TunedProgram:
        return TunedProgram(prepared.program.module)

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None: ...


@dataclass
class KnownTarget(TableTarget):
    """Layouts, whose costs come from a function."""

    cost: Callable[[Config], float | Failed] = few_constraints_are_good
    noise: float = 0.01

    @property
    def description(self) -> TargetDescription:
        return TargetDescription("known", "a table", "1", self.label, "cpu")

    def space(self, prepared: PreparedProgram, kind: str) -> Space:
        if kind == "tile":
            raise SpaceError("no tile choice")
        return LayoutSpace(prepared.module.proto)

    def outcome_of(self, prepared: PreparedProgram, config: Config) -> Outcome:
        cost = self.cost(config)
        return cost if isinstance(cost, Failed) else Measured(cost, 0.01, 1.0, self.noise, 0.01, 4, 24)

    def searched(self) -> list[str]:
        return [identity for purpose, identity in self.log if purpose == "search"]


@dataclass
class ListedTarget(TableTarget):
    """Kernels, each with the tiles of a table; all of them hold, unless `outcome` says otherwise."""

    candidates: Mapping[str, Sequence[TileCandidate]] = field(default_factory=dict)
    outcome: Callable[[TpuTileConfig], Failed | None] = lambda config: None
    label: LabelKind = LabelKind.ESTIMATED
    parallel: int = 2
    spaces: dict[str, TpuTileSpace] = field(default_factory=dict)
    tried: list[tuple[str, TpuTileConfig]] = field(default_factory=list)

    @property
    def description(self) -> TargetDescription:
        return TargetDescription("listed", "a table", "1", self.label, "tpu-v5e")

    def prepare_kernel(self, kernel: Kernel) -> PreparedProgram:
        self.spaces[kernel.name] = TpuTileSpace(kernel, self.candidates.get(kernel.name, TILES))
        program = Program(kernel.name, kernel.module.SerializeToString(deterministic=True), kernel.name)
        return PreparedProgram(program, program)

    def prepare(self, program: Program) -> PreparedProgram:
        raise SpaceError("kernels only")

    def space(self, prepared: PreparedProgram, kind: str) -> Space:
        assert kind == "tile"
        return self.spaces[prepared.program.name]

    def outcome_of(self, prepared: PreparedProgram, config: Config) -> Outcome:
        space = self.spaces[prepared.program.name]
        assert isinstance(config, TpuTileConfig)
        self.tried.append((space.kernel.name, config))
        candidate, default = space.candidate(config), space.candidate(space.default)
        assert candidate is not None
        assert default is not None
        failed = self.outcome(config)
        if failed is not None or self.label is LabelKind.ESTIMATED:
            return failed or Estimated(candidate.cycles, default.cycles)
        # On the device it is the other way round: the most cycles are the fastest.
        return Measured(1e-6 / candidate.cycles, 0.01, 1e-6 / default.cycles, 0.01, 0.01, 4, 24)

    def searched(self) -> dict[str, int]:
        """Tiles tried by kernel, defaults and comparisons apart."""
        names = [name for name, config in dict.fromkeys(self.tried) if config != TpuTileConfig()]
        return {name: names.count(name) for name in dict.fromkeys(names)}
