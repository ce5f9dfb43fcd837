"""What a config and a space are. A new space is one new module plus one line in `autotune.spaces`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cost_model import ConfigBatch

JsonObject = dict[str, Any]


class Config(Protocol):
    """One point of a space: frozen, hashable, comparable by value."""

    @property
    def family(self) -> str:
        """The kind of choice this is, where a space has several ("layout"; "tiled", "library ynn", ...)."""
        ...

    def to_json(self) -> JsonObject:
        """A JSON object from which `Space.from_json` makes an equal config."""
        ...


def config_id(config: Config) -> str:
    """A stable identity of a config: the same on every machine and in every version of Python.

    Returns:
        The first 16 hexadecimal digits of the SHA-256 of the config's canonical JSON.
    """
    text = json.dumps(config.to_json(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Factors(Protocol):
    """What the configs of a space decide, so that their costs are nearly sums of what each decision does."""

    @property
    def decisions(self) -> Sequence[Config]:
        """Configs that take one decision each."""
        ...

    def of(self, configs: Sequence[Config], changes: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """What the configs decide, larger where a decision is expected to do more, 0 for the default.

        Args:
            configs: c of the space.
            changes: how far a cost model tells each of `decisions` from the default, 0 or more, 1 where it is usual,
                float64[decisions]; None without a model.

        Returns:
            float64[c, factors].
        """
        ...


class Space(Protocol):
    """What may be changed about one program. Lazy: nothing here grows with the number of points."""

    @property
    def kind(self) -> str:
        """Either "layout" or "tile": a part of the database key."""
        ...

    @property
    def default(self) -> Config:
        """The config that changes nothing."""
        ...

    @property
    def references(self) -> Mapping[str, Config]:
        """Further configs that every result is compared with, by label (may be empty)."""
        ...

    @property
    def landmarks(self) -> Sequence[Config]:
        """A few configs that a guided search should try first: extremes and settings known to be good elsewhere."""
        ...

    @property
    def size(self) -> int:
        """The number of points (exact, often astronomically large)."""
        ...

    def sample(self, rng: np.random.Generator) -> Config:
        """A random point; how far from the default is itself random."""
        ...

    def mutate(self, config: Config, rng: np.random.Generator) -> Config:
        """A neighbour of `config`."""
        ...

    def crossover(self, first: Config, second: Config, rng: np.random.Generator) -> Config:
        """A mixture of two configs."""
        ...

    def enumerate(self) -> Iterator[Config]:
        """Every point, in a fixed order; lazy, so only a small space should be exhausted."""
        ...

    def contains(self, config: Config) -> bool:
        """Whether the config belongs to this space and meets its constraints."""
        ...

    def encode(self, configs: Sequence[Config]) -> ConfigBatch:
        """The configs as the arrays that cost models read."""
        ...

    @property
    def factors(self) -> Factors | None:
        """What configs decide, one by one; None where that tells nothing."""
        ...

    def explain(self, config: Config) -> list[JsonObject]:
        """What the config decides, one object per decision, with names that people know."""
        ...

    def from_json(self, value: JsonObject) -> Config:
        """The inverse of `Config.to_json`.

        Raises:
            SpaceError: the object is not a config of this space.
        """
        ...
