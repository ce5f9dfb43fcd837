"""What a descriptor network reads: hand-made columns that are about the same in every program. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Descriptors:
    """A batch of c configs of one graph.

    Attributes:
        items: columns of the distinct decisions (a tensor, an order, what its neighbours decide), float32[u, i]. Tiles
            have none: u = 0.
        shares: how much of the program each of them is about, as a share of its traffic, from 0 to 1; float32[u].
        decisions: which items the configs decide, one config after the other; int64[k].
        offsets: the decisions of config j are offsets[j] to offsets[j + 1]; int64[c + 1].
        summary: columns of every config as a whole, float32[c, s].
    """

    items: NDArray[np.float32]
    shares: NDArray[np.float32]
    decisions: NDArray[np.int64]
    offsets: NDArray[np.int64]
    summary: NDArray[np.float32]

    def __len__(self) -> int:
        """The number of configs."""
        return len(self.summary)

    @property
    def owner(self) -> NDArray[np.int64]:
        """The config of every decision, int64[k]."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.offsets))

    def take(self, configs: NDArray[np.int64]) -> Descriptors:
        """Some of the configs, in the order asked for, with the items that they need.

        Args:
            configs: positions, int64[d].
        """
        counts = np.diff(self.offsets)[configs]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[configs] - offsets[:-1], counts)
        needed, decisions = np.unique(self.decisions[places], return_inverse=True)
        return Descriptors(
            self.items[needed], self.shares[needed], decisions.astype(np.int64), offsets, self.summary[configs]
        )


def without_items(summary: NDArray[np.float32]) -> Descriptors:
    """Descriptors of configs that are described as a whole alone, float32[c, s]."""
    none = np.zeros(0, np.int64)
    offsets = np.zeros(len(summary) + 1, np.int64)
    return Descriptors(np.zeros((0, 0), np.float32), np.zeros(0, np.float32), none, offsets, summary)
