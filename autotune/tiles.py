"""After the layouts of a TPU program: tiles of the kernels that cost most.

The compiler chooses each tile as the minimum of its own estimate, so by that estimate it cannot be beaten. What a
search adds without a TPU is the opinion of a cost model, tiles that are known to be accepted, and so a short list of
what to measure first on a real TPU. Which of the two chose is said with each tile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from autotune.database import Database
from autotune.errors import AutotuneError
from autotune.evaluation import Estimated, Evaluation
from autotune.hlo.graph import program_graph
from autotune.hlo.kernels import Kernel
from autotune.hlo.window_config import ForcedTile
from autotune.result import SearchResult
from autotune.spaces.base import config_id
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


@dataclass(frozen=True)
class KernelTiles:
    """What was found for one kernel.

    Attributes:
        kernel: as it is in the program with the best layouts; its `window` is the compiler's choice.
        share: of the program's estimated cycles that it takes.
        result: of the search among its tiles; None if it was not searched.
        reason: why it was not searched, "" otherwise.
    """

    kernel: Kernel
    share: float
    result: SearchResult | None
    reason: str = ""

    @property
    def measure_first(self) -> list[Evaluation]:
        """A few tiles that the compiler accepts, besides its own: best first by the cost model, or else by cycles."""
        scores = self.result.scores if self.result is not None else {}
        return sorted(self.accepted, key=lambda e: (scores.get(config_id(e.config), 0.0), e.cost))[:_SHOWN]

    @property
    def accepted(self) -> list[Evaluation]:
        """All tiles that the compiler accepts, besides its own."""
        if self.result is None:
            return []
        own = config_id(self.result.space.default)
        return [e for e in self.result.evaluations if config_id(e.config) != own and e.cost is not None]

    @property
    def better(self) -> Evaluation | None:
        """The tile with the fewest cycles, if these are fewer than the compiler's own choice has alone."""
        fewer = [e for e in self.accepted if e.cost is not None and e.cost < 1.0]
        return min(fewer, key=lambda e: e.cost or 1.0, default=None)

    def to_json(self) -> dict[str, Any]:
        """The facts, for machines."""
        window = self.kernel.window
        return {
            "kernel": self.kernel.name,
            "opcode": self.kernel.opcode,
            "executions": self.kernel.executions,
            "share_of_cycles": round(self.share, 4),
            "chosen_by_compiler": {
                "output_bounds": list(window.output_bounds) if window else [],
                "kernel_bounds": list(window.kernel_bounds) if window else [],
                "estimated_cycles": window.estimated_cycles if window else None,
            },
            "not_searched": self.reason or None,
            "ranked_by": self.result.cost_model if self.result is not None else None,
            "measure_first": [
                {
                    **e.config.to_json()["tile"],
                    "estimated_cycles": e.outcome.cycles if isinstance(e.outcome, Estimated) else None,
                    "score": self.result.scores.get(config_id(e.config)) if self.result is not None else None,
                }
                for e in self.measure_first
            ],
            "failed": self.result.failures if self.result is not None else {},
        }


def tile_budget(budget: int) -> int:
    """The part of a whole program's budget that goes to tiles; layouts change more, so they have two thirds."""
    part = budget // 3
    return part if part >= FEWEST_TILES else 0


def search_tiles(
    target: KernelTarget,
    kernels: list[Kernel],
    *,
    model: CostModel | None,
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
        model: ranks the tiles; None takes the compiler's order.
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
    costs = {id(kernel): _cycles(kernel) * kernel.executions for kernel in kernels}
    total = max(1, sum(costs.values()))
    merged: dict[str, tuple[Kernel, int]] = {}
    for kernel in kernels:
        first, cost = merged.get(kernel.fingerprint, (kernel, 0))
        merged[kernel.fingerprint] = (first, cost + costs[id(kernel)])
    dearest = sorted(merged.values(), key=lambda each: -each[1])[:MOST_KERNELS]
    count = max(1, min(len(dearest), budget // FEWEST_TILES))
    found = []
    for number, (kernel, cost) in enumerate(dearest[:count]):
        on_stage(f"tiles of kernel {kernel.name} ({cost / total:.0%} of the cycles)")
        try:
            prepared = target.prepare_kernel(kernel)
            space = target.space(prepared, "tile")
            tuner = Tuner(
                target=target,
                prepared=prepared,
                space=space,
                strategy=STRATEGIES[strategy](space),
                cost_model=model,
                graph=program_graph(kernel.module) if model is not None else None,
                database=database,
                budget=budget // count + (number < budget % count),
                seed=seed,
                reuse=reuse,
                on_progress=on_progress,
            )
            result = tuner.run()
        except AutotuneError as error:
            found.append(KernelTiles(kernel, cost / total, None, str(error)))
            continue
        except KeyboardInterrupt:  # before there was anything to report of this kernel
            found.append(KernelTiles(kernel, cost / total, None, INTERRUPTED))
            break
        found.append(KernelTiles(kernel, cost / total, result))
        if result.interrupted:
            break
    return found


def _cycles(kernel: Kernel) -> int:
    return kernel.window.estimated_cycles or 0 if kernel.window is not None else 0


def better_tiles(found: Sequence[KernelTiles]) -> dict[str, ForcedTile]:
    """Tiles that the compiler finds cheaper than its own choice when the kernel is alone, by the kernel's name.

    In a program some operands lie in the scratchpad, and the compiler has chosen for that, so there are such tiles.
    """
    tiles = {}
    for each in found:
        evaluation = each.better
        if evaluation is not None and isinstance(evaluation.outcome, Estimated):
            tile = evaluation.config.to_json()["tile"]
            bounds = (tuple(tile["output_bounds"]), tuple(tile["kernel_bounds"]))
            tiles[each.kernel.name] = ForcedTile(*bounds, int(evaluation.outcome.cycles))
    return tiles
