"""What a descriptor network reads: hand-made columns that are about the same in every program. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Descriptors:
    """A batch of c configs of one graph.

    Attributes:
        items: columns of every decision that a config makes (tensors whose layout it decides), float32[k, i]; those of
            a config stand together. Tiles have none: k = 0.
        owner: the config of every item, int64[k], ascending.
        shares: how much of the program an item is about, as a share of its traffic, from 0 to 1; float32[k].
        summary: columns of every config as a whole, float32[c, s].
    """

    items: NDArray[np.float32]
    owner: NDArray[np.int64]
    shares: NDArray[np.float32]
    summary: NDArray[np.float32]

    def __len__(self) -> int:
        """The number of configs."""
        return len(self.summary)

    def take(self, configs: NDArray[np.int64]) -> Descriptors:
        """Some of the configs, in the order asked for.

        Args:
            configs: positions, int64[d].
        """
        starts = np.searchsorted(self.owner, configs)
        counts = np.searchsorted(self.owner, configs, side="right") - starts
        ends = np.cumsum(counts)
        rows = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - counts), counts)
        owner = np.repeat(np.arange(len(configs), dtype=np.int64), counts)
        return Descriptors(self.items[rows], owner, self.shares[rows], self.summary[configs])


def without_items(summary: NDArray[np.float32]) -> Descriptors:
    """Descriptors of configs that are described as a whole alone, float32[c, s]."""
    empty = np.zeros(0, np.float32)
    return Descriptors(np.zeros((0, 0), np.float32), np.zeros(0, np.int64), empty, summary)
