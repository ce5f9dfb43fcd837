"""The tile space of one TPU kernel: the tiles that the compiler itself considers for it, and no others.

A tile that the compiler did not list may hang it, so there is no product of sizes here to draw from: the list (a few
to some thousand tiles) is the space. Neighbours are tiles whose bounds differ by small factors.

The default is the compiler's own choice. It stands for the tile that it has chosen in the program, which is therefore
not in the space a second time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from autotune.errors import SpaceError
from autotune.hlo.kernels import Kernel
from autotune.hlo.window_config import TileCandidate
from autotune.spaces.base import Config, JsonObject
from cost_model import TileConfigs, features

Bounds = tuple[int, ...]

_NEIGHBOURS: Final = 8
_LANDMARKS: Final = 4


@dataclass(frozen=True)
class TpuTileConfig:
    """A tile of one kernel; without bounds: the compiler decides.

    Attributes:
        output_bounds: of the output, major first, as in `autotune.hlo.window_config`.
        kernel_bounds: of the convolution's kernel or the dot's right side; empty for other kernels.
    """

    output_bounds: Bounds = ()
    kernel_bounds: Bounds = ()

    @property
    def family(self) -> str:
        """All are of one kind."""
        return "tile"

    def to_json(self) -> JsonObject:
        """{"tile": {"output_bounds": [4, 12, 4, 3], "kernel_bounds": [1, 3, 24, 3]}}."""
        return {"tile": {"output_bounds": list(self.output_bounds), "kernel_bounds": list(self.kernel_bounds)}}


class TpuTileSpace:
    """The tiles of one kernel.

    Args:
        kernel: whose `window` is the compiler's choice in the program.
        candidates: from `autotune.targets.tpu.candidates`.

    Raises:
        SpaceError: there are no candidates.
    """

    kind = "tile"
    factors = None

    def __init__(self, kernel: Kernel, candidates: Sequence[TileCandidate]) -> None:
        if not candidates:
            raise SpaceError(
                f"kernel {kernel.name!r} ({kernel.opcode}) has no choice of tiles: the TPU compiler lists none for it "
                "(it searches tiles of fusions, products and most copies)"
            )
        self.kernel = kernel
        ordered = sorted(candidates)
        self._candidates = {_config(candidate): candidate for candidate in reversed(ordered)}
        chosen = _config(ordered[0])
        if kernel.window is not None:
            chosen = TpuTileConfig(kernel.window.output_bounds, kernel.window.kernel_bounds)
        self._chosen = chosen
        others = (_config(candidate) for candidate in ordered)
        self._configs = [TpuTileConfig(), *dict.fromkeys(config for config in others if config != chosen)]
        self._places = {config: place for place, config in enumerate(self._configs)}
        self._logarithms = self._coordinates(self._configs)

    @property
    def default(self) -> TpuTileConfig:
        """Whatever the compiler chooses."""
        return TpuTileConfig()

    @property
    def references(self) -> Mapping[str, Config]:
        """None: the default is what every tile is compared with."""
        return MappingProxyType({})

    @property
    def landmarks(self) -> Sequence[Config]:
        """The tiles that the compiler finds cheapest beside its choice, and the largest tile (fewest iterations)."""
        others = self._configs[1:]
        largest = sorted(others, key=lambda config: -float(np.prod(config.output_bounds + config.kernel_bounds)))[:1]
        return list(dict.fromkeys([*others[:_LANDMARKS], *largest]))

    @property
    def size(self) -> int:
        """Exact: the space is a list."""
        return len(self._configs)

    @property
    def candidates(self) -> Sequence[TileCandidate]:
        """What the compiler considers, in ascending order of its cycles."""
        return sorted(self._candidates.values())

    def candidate(self, config: Config) -> TileCandidate | None:
        """What the compiler said of a tile in its list; None for a default that was chosen outside of the list.

        The cycles are those of the kernel alone.
        """
        own = self._own(config)
        return self._candidates.get(own if own.output_bounds else self._chosen)

    def sample(self, rng: np.random.Generator) -> TpuTileConfig:
        """A tile among the cheapest n by the compiler's cycles; the logarithm of n is uniform."""
        reach = int(np.ceil(len(self._configs) ** rng.random()))
        return self._configs[rng.integers(reach)]

    def mutate(self, config: Config, rng: np.random.Generator) -> TpuTileConfig:
        """One of the tiles with the most similar bounds; the same when there is no other."""
        place = self._place(config)
        distances = np.abs(self._logarithms - self._logarithms[place]).sum(axis=1)
        distances[place] = np.inf
        nearest = np.argsort(distances, kind="stable")[: min(_NEIGHBOURS, self.size - 1)]
        return self._configs[rng.choice(nearest)] if nearest.size else self._configs[place]

    def crossover(self, first: Config, second: Config, rng: np.random.Generator) -> TpuTileConfig:
        """Each bound from one of the two, then the tile of the space that is most similar to that."""
        parents = self._logarithms[[self._place(first), self._place(second)]]
        columns = np.arange(parents.shape[1])
        mixture = parents[rng.integers(2, size=len(columns)), columns]
        return self._configs[int(np.abs(self._logarithms - mixture).sum(axis=1).argmin())]

    def enumerate(self) -> Iterator[TpuTileConfig]:
        """The default, then the other tiles in ascending order of the compiler's cycles."""
        return iter(self._configs)

    def contains(self, config: Config) -> bool:
        """Whether it is the default or one of the compiler's candidates."""
        return isinstance(config, TpuTileConfig) and config in self._places

    def encode(self, configs: Sequence[Config]) -> TileConfigs:
        """TpuGraphs' 24 columns (see `tile_features`); the default is encoded as the tile that it stands for."""
        return tile_features([self._explicit(self._own(config)) for config in configs])

    def from_json(self, value: JsonObject) -> TpuTileConfig:
        """The inverse of `TpuTileConfig.to_json`."""
        try:
            tile = value["tile"]
            output, kernel = (tuple(int(bound) for bound in tile[key]) for key in ("output_bounds", "kernel_bounds"))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SpaceError(f"not a tile config: {value!r} ({type(error).__name__}: {error})") from error
        config = TpuTileConfig(output, kernel)
        if not self.contains(config):
            raise SpaceError(
                f"tile config {value!r} is none of the {self.size} that the TPU compiler considers for kernel "
                f"{self.kernel.name!r}"
            )
        return config

    def explain(self, config: Config) -> list[JsonObject]:
        """The tile, and what the compiler says of it. Empty when there is no choice."""
        own = self._own(config)
        if self.size == 1:
            return []
        explicit = self._explicit(own)
        said = self.candidate(own)
        return [
            {
                "kernel": self.kernel.name,
                "opcode": self.kernel.opcode,
                "chosen_by": "tuning" if own.output_bounds else "compiler",
                "output_bounds": list(explicit.output_bounds),
                "kernel_bounds": list(explicit.kernel_bounds),
                "estimated_cycles": None if said is None else said.cycles,
                "vmem_bytes": None if said is None else said.vmem_bytes,
            }
        ]

    def _own(self, config: Config) -> TpuTileConfig:
        if not isinstance(config, TpuTileConfig) or config not in self._places:
            raise SpaceError(f"{config!r} is not a tile config of kernel {self.kernel.name!r}")
        return config

    def _place(self, config: Config) -> int:
        return self._places[self._own(config)]

    def _explicit(self, config: TpuTileConfig) -> TpuTileConfig:
        """The bounds that a config stands for."""
        return config if config.output_bounds else self._chosen

    def _coordinates(self, configs: Sequence[TpuTileConfig]) -> NDArray[np.float64]:
        """Logarithms of all bounds, float64[c, bounds]: distances between them are factors."""
        explicit = [self._explicit(config) for config in configs]
        width = max(len(each.output_bounds) for each in explicit), max(len(each.kernel_bounds) for each in explicit)
        rows = np.ones((len(explicit), sum(width)))
        for row, each in zip(rows, explicit, strict=True):
            row[: len(each.output_bounds)] = each.output_bounds
            row[width[0] : width[0] + len(each.kernel_bounds)] = each.kernel_bounds
        return np.log2(rows)


def tile_features(tiles: Sequence[TpuTileConfig | TileCandidate]) -> TileConfigs:
    """Tiles as cost models read them; the input bounds are left to the compiler, as in the published data set.

    Args:
        tiles: c tiles with bounds.

    Returns:
        float32[c, 24]: the first six entries, the sum and the product of the kernel and of the output bounds.
    """
    rows = np.zeros((len(tiles), features.TILE_FEATURES), dtype=np.float32)
    for row, tile in zip(rows, tiles, strict=True):
        for columns, bounds in (
            (features.KERNEL_BOUNDS, tile.kernel_bounds),
            (features.OUTPUT_BOUNDS, tile.output_bounds),
        ):
            if bounds:
                kept = bounds[: columns.kept]
                row[columns.start : columns.start + len(kept)] = kept
                row[columns.sum], row[columns.product] = sum(bounds), np.prod(bounds, dtype=np.int64)
    return TileConfigs(rows)


def _config(candidate: TileCandidate) -> TpuTileConfig:
    return TpuTileConfig(candidate.output_bounds, candidate.kernel_bounds)
