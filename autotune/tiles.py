"""After the layouts of a TPU program: tiles of the kernels that cost most.

The compiler chooses each tile as the minimum of its own estimate, so by that estimate it cannot be beaten. What a
search adds without a TPU is the opinion of a cost model, tiles that are known to be accepted, and so a short list of
what to measure first on a real TPU. Which of the two chose is said with each tile. With a TPU the tiles are timed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from autotune.database import Database
from autotune.errors import AutotuneError
from autotune.evaluation import Estimated, Evaluation, LabelKind, Measured
from autotune.hlo.graph import program_graph
from autotune.hlo.kernels import Kernel
from autotune.hlo.window_config import NO_ESTIMATE, ForcedTile, TileCandidate
from autotune.result import SearchResult
from autotune.spaces.base import config_id
from autotune.spaces.tpu_tile import TpuTileSpace
from autotune.strategies import STRATEGIES
from autotune.targets.base import KernelTarget
from autotune.tuner import Progress, Tuner
from cost_model import CostModel

MOST_KERNELS: Final = 4
"""Kernels whose tiles are searched: the dearest ones. Most programs spend most cycles in a few."""

FEWEST_TILES: Final = 3
"""Tiles that are tried per kernel, or it is not searched at all."""

INTERRUPTED: Final = "interrupted"
"""The reason of a kernel during whose preparation Ctrl-C was pressed."""

_SHOWN: Final = 3
_MOST_ATTEMPTS: Final = 3
"""Kernels that are looked at for each that is searched: some have no tiles, most copies for example."""


@dataclass(frozen=True)
class KernelTiles:
    """What was found for one kernel.

    Attributes:
        kernel: as it is in the program with the best layouts; its `window` is the compiler's choice.
        names: of all kernels that are equal to it and have the same tile; `kernel` is the first.
        share: of the program's estimated cycles that these take together.
        result: of the search among its tiles; None if it was not searched.
        reason: why it was not searched, "" otherwise.
    """

    kernel: Kernel
    names: tuple[str, ...]
    share: float
    result: SearchResult | None
    reason: str = ""

    @property
    def measured(self) -> bool:
        """Whether the tiles were timed, so that there is nothing left to measure first."""
        return self.result is not None and self.result.target.label is LabelKind.MEASURED

    @property
    def leading(self) -> list[Evaluation]:
        """A few tiles that the compiler accepts, besides its own.

        The fastest where they were timed; else what to measure first, by the cost model or without one by cycles.
        """
        scores = self.result.scores if self.result is not None and not self.measured else {}
        return sorted(self.accepted, key=lambda e: (scores.get(config_id(e.config), 0.0), e.cost))[:_SHOWN]

    @property
    def own(self) -> TileCandidate | None:
        """The compiler's choice: in the program, or for a kernel by itself alone."""
        window = self.kernel.window
        if window is not None:
            cycles = NO_ESTIMATE if window.estimated_cycles is None else window.estimated_cycles
            return TileCandidate(cycles, window.output_bounds, window.kernel_bounds)
        space = self.result.space if self.result is not None else None
        return space.candidate(space.default) if isinstance(space, TpuTileSpace) else None

    @property
    def accepted(self) -> list[Evaluation]:
        """All tiles that the compiler accepts, besides its own."""
        if self.result is None:
            return []
        own = config_id(self.result.space.default)
        return [e for e in self.result.evaluations if config_id(e.config) != own and e.cost is not None]

    @property
    def better(self) -> Evaluation | None:
        """The tile that is best, if it is faster than the compiler's own by more than the noise.

        Without times: the one with the fewest cycles, if these are fewer than the compiler's own choice has alone.
        """
        if self.measured:
            assert self.result is not None
            return self.result.best if self.result.improved else None
        fewer = [e for e in self.accepted if e.cost is not None and e.cost < 1.0]
        return min(fewer, key=lambda e: e.cost or 1.0, default=None)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the search of this kernel."""
        return self.reason == INTERRUPTED or (self.result is not None and self.result.interrupted)

    def to_json(self) -> dict[str, Any]:
        """The facts, for machines."""
        own = self.own
        return {
            "kernel": self.kernel.name,
            "opcode": self.kernel.opcode,
            "kernels_like_it": list(self.names),
            "executions": self.kernel.executions,
            "share_of_cycles": round(self.share, 4),
            "chosen_by_compiler": {
                "output_bounds": list(own.output_bounds) if own else [],
                "kernel_bounds": list(own.kernel_bounds) if own else [],
                "estimated_cycles": own.cycles if own and own.cycles != NO_ESTIMATE else None,
            },
            "not_searched": self.reason or None,
            "ranked_by": self.result.cost_model if self.result is not None else None,
            "fastest" if self.measured else "measure_first": [self._tile_json(each) for each in self.leading],
            "failed": self.result.failures if self.result is not None else {},
        }

    def _tile_json(self, evaluation: Evaluation) -> dict[str, Any]:
        facts: dict[str, Any] = evaluation.config.to_json()["tile"] | {"estimated_cycles": cycles_of(evaluation)}
        if isinstance(evaluation.outcome, Measured):
            facts |= {"seconds": evaluation.outcome.seconds, "default_seconds": evaluation.outcome.default_seconds}
        return facts | {"score": self.result.scores.get(config_id(evaluation.config)) if self.result else None}


def cycles_of(evaluation: Evaluation) -> float | None:
    """The compiler's estimate for the tile of an evaluation, measured or not."""
    match evaluation.outcome:
        case Estimated() as estimated:
            return estimated.cycles
        case _:
            cycles = evaluation.details.get("estimated_cycles")
            return cycles if isinstance(cycles, float) else None


def tile_budget(budget: int) -> int:
    """The part of a whole program's budget that goes to tiles; layouts change more, so they have two thirds."""
    part = budget // 3
    return part if part >= FEWEST_TILES else 0


def search_tiles(
    target: KernelTarget,
    kernels: list[Kernel],
    *,
    models: Sequence[CostModel],
    database: Database,
    budget: int,
    strategy: str,
    seed: int,
    reuse: bool,
    on_progress: Callable[[Progress], None],
    on_stage: Callable[[str], None],
) -> list[KernelTiles]:
    """Search the tiles of the kernels that cost most, within a budget that they share evenly.

    Args:
        target: of the kernels.
        kernels: all of the program's; equal ones are searched once.
        models: rank the tiles, see `Ranker`; none takes the compiler's order.
        database: keeps the evaluations.
        budget: evaluations in all.
        strategy: by name.
        seed: of the strategy.
        reuse: whether evaluations in the database count.
        on_progress: called after every evaluation.
        on_stage: called with what is going on.

    Returns:
        The dearest kernels first; also those that have no tiles, with the reason. Ctrl-C ends the search early, with
        what was found so far.
    """
    groups = _groups(kernels)
    total = max(1, sum(_cycles(group) for group in groups))
    count = max(1, min(len(groups), MOST_KERNELS, budget // FEWEST_TILES))
    found: list[KernelTiles] = []
    searched = 0
    for group in groups[: _MOST_ATTEMPTS * count]:
        kernel, names, share = group[0], tuple(each.name for each in group), _cycles(group) / total
        on_stage(f"tiles of kernel {kernel.name} ({share:.0%} of the cycles)")
        try:
            prepared = target.prepare_kernel(kernel)
            space = target.space(prepared, "tile")
            tuner = Tuner(
                target=target,
                prepared=prepared,
                space=space,
                strategy=STRATEGIES[strategy](space),
                cost_models=models,
                graph=program_graph(kernel.module) if models else None,
                database=database,
                budget=budget // count + (searched < budget % count),
                seed=seed,
                reuse=reuse,
                on_progress=on_progress,
            )
            result = tuner.run()
        except AutotuneError as error:
            found.append(KernelTiles(kernel, names, share, None, str(error)))
            continue
        except KeyboardInterrupt:  # before there was anything to report of this kernel
            found.append(KernelTiles(kernel, names, share, None, INTERRUPTED))
            break
        found.append(KernelTiles(kernel, names, share, result))
        searched += 1
        if result.interrupted or searched == count:
            break
    return found


def _groups(kernels: Sequence[Kernel]) -> list[list[Kernel]]:
    """Kernels that are equal and for which the compiler chose the same tile, dearest group first."""
    groups: dict[object, list[Kernel]] = {}
    for kernel in kernels:
        window = kernel.window
        tile = None if window is None else (window.output_bounds, window.kernel_bounds)
        groups.setdefault((kernel.fingerprint, tile), []).append(kernel)
    return sorted(groups.values(), key=lambda group: -_cycles(group))


def _cycles(group: Sequence[Kernel]) -> int:
    """Of all executions of all kernels of a group."""
    return sum(
        (kernel.window.estimated_cycles or 0) * kernel.executions for kernel in group if kernel.window is not None
    )


def better_tiles(found: Sequence[KernelTiles]) -> dict[str, ForcedTile]:
    """Tiles that are better than the compiler's own choice when the kernel is alone, by the kernel's name.

    There are some even by the compiler's own estimate: in a program some operands lie in the scratchpad, and it has
    chosen for that.
    """
    tiles: dict[str, ForcedTile] = {}
    for each in found:
        evaluation = each.better
        cycles = cycles_of(evaluation) if evaluation is not None else None
        if evaluation is not None and cycles is not None:
            tile = evaluation.config.to_json()["tile"]
            bounds = (tuple(tile["output_bounds"]), tuple(tile["kernel_bounds"]))
            tiles |= dict.fromkeys(each.names, ForcedTile(*bounds, int(cycles)))
    return tiles
