"""A space of recorded configs: all that a search of a replay may propose."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from autotune.errors import SpaceError
from autotune.spaces.base import Config, JsonObject, config_id
from cost_model import ConfigBatch, LayoutConfigs, TileConfigs

_LOOKED_AT: Final = 256
"""Configs among which a neighbour is looked for: all of a large recording would take too long for each proposal."""


@dataclass(frozen=True)
class RecordedConfigs:
    """Recorded configs as a space shows them.

    Attributes:
        kind: "layout" or "tile".
        configs: each once.
        default: one of them, that costs are relative to.
        batch: the same configs as cost models read them, in the same order.
        references: further configs to compare with, by label; those that were recorded.
        landmarks: those to try first; those that were recorded.
        explain: what a config decides.
    """

    kind: str
    configs: Sequence[Config]
    default: Config
    batch: ConfigBatch
    references: Mapping[str, Config]
    landmarks: Sequence[Config]
    explain: Callable[[Config], list[JsonObject]]


class RecordedSpace:
    """The recorded configs of one program.

    Neighbours are configs that differ in few columns, among some that are drawn.

    Args:
        recorded: the configs.
    """

    def __init__(self, recorded: RecordedConfigs) -> None:
        self._recorded = recorded
        self.kind = recorded.kind
        self.factors = None
        self._configs = list(recorded.configs)
        self._places = {config_id(config): place for place, config in enumerate(self._configs)}
        self._columns = _columns(recorded.batch)

    @property
    def default(self) -> Config:
        """What costs are relative to."""
        return self._recorded.default

    @property
    def references(self) -> Mapping[str, Config]:
        """Those of the original space that were recorded."""
        return self._recorded.references

    @property
    def landmarks(self) -> Sequence[Config]:
        """Those of the original space that were recorded."""
        return self._recorded.landmarks

    @property
    def size(self) -> int:
        """How many were recorded."""
        return len(self._configs)

    def sample(self, rng: np.random.Generator) -> Config:
        """One of them, uniformly."""
        return self._configs[rng.integers(len(self._configs))]

    def mutate(self, config: Config, rng: np.random.Generator) -> Config:
        """The most similar of some that are drawn; the same when there is no other."""
        place = self._place(config)
        return self._nearest(self._columns[place], rng, besides=place)

    def crossover(self, first: Config, second: Config, rng: np.random.Generator) -> Config:
        """The one, of some that are drawn, that is most similar to a mixture of two."""
        parents = self._columns[[self._place(first), self._place(second)]]
        mixture = parents[rng.integers(2, size=parents.shape[1]), np.arange(parents.shape[1])]
        return self._nearest(mixture, rng)

    def enumerate(self) -> Iterator[Config]:
        """In the order in which they were recorded."""
        return iter(self._configs)

    def contains(self, config: Config) -> bool:
        """Whether it was recorded."""
        return config_id(config) in self._places

    def encode(self, configs: Sequence[Config]) -> ConfigBatch:
        """The recorded rows."""
        return rows_of(self._recorded.batch, [self._place(config) for config in configs])

    def explain(self, config: Config) -> list[JsonObject]:
        """As the original space does it."""
        return self._recorded.explain(config)

    def from_json(self, value: JsonObject) -> Config:
        """The recorded config with this JSON.

        Raises:
            SpaceError: there is none.
        """
        return self._configs[self._place(_Json(value))]

    def _place(self, config: Config) -> int:
        place = self._places.get(config_id(config))
        if place is None:
            raise SpaceError(f"config {config.to_json()!r} was not recorded")
        return place

    def _nearest(self, columns: NDArray[np.int16], rng: np.random.Generator, besides: int = -1) -> Config:
        count = len(self._configs)
        drawn = rng.choice(count, size=min(count, _LOOKED_AT), replace=False)
        differences = np.count_nonzero(self._columns[drawn] != columns, axis=1)
        differences[drawn == besides] = columns.size + 1
        return self._configs[int(drawn[differences.argmin()])]


@dataclass(frozen=True)
class _Json:
    """Whatever has this JSON, as far as its id goes."""

    value: JsonObject
    family: str = ""

    def to_json(self) -> JsonObject:
        return self.value


def rows_of(batch: ConfigBatch, places: Sequence[int]) -> ConfigBatch:
    """Some configs of a batch, in any order."""
    if isinstance(batch, LayoutConfigs):
        return LayoutConfigs(batch.node_config_feat[list(places)])
    return TileConfigs(batch.config_feat[list(places)])


def _columns(batch: ConfigBatch) -> NDArray[np.int16]:
    """What configs are compared by, int16[c, columns]: layouts as they are, of tiles the logarithms of the bounds."""
    if isinstance(batch, LayoutConfigs):
        return batch.node_config_feat.reshape(len(batch), -1).astype(np.int16)
    return np.round(16 * np.log2(1 + batch.config_feat)).astype(np.int16)
