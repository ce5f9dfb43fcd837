"""What has to be computed to score configs of one graph, with nothing computed twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class WeightedSums:
    """Sums of rows of a table with two rows per value i: 2 i is what it sends, 2 i + 1 what it keeps for itself.

    Attributes:
        rows: int64[m].
        weights: what each row is multiplied with: 1 for what a node keeps, 1 / (incoming edges) for what it receives;
            float32[m].
        offsets: sum i runs over the entries from offsets[i] to offsets[i + 1]; int64[k + 1].
    """

    rows: Indices
    weights: NDArray[np.float32]
    offsets: Indices

    def __len__(self) -> int:
        """The number of sums."""
        return len(self.offsets) - 1


@dataclass(frozen=True, eq=False)
class Convolution:
    """How the distinct values after a convolution come from those before it.

    Attributes:
        values: the sums that give each value.
        changes: of each value that is known by its difference from another, the sums of differences; rows count the
            differences only.
        bases: that other value, int64[d].
    """

    values: WeightedSums
    changes: WeightedSums
    bases: Indices


@dataclass(frozen=True, eq=False)
class Plan:
    """What has to be computed to score c configs, with nothing computed twice.

    The distinct values of each layer are numbered: first those that are computed as they are, then those that are
    computed as differences from one of the former (none, if the plan was not made `relative`).

    Attributes:
        nodes: the node of each distinct initial value, int64[k].
        config_feat: its config row, float32[k, columns]; zeros where the node is not configurable.
        bases: for the last of them, which are differences: the value that they differ from, int64[d].
        convolutions: one per convolution.
        still: final values of the nodes that no config can change, int64[s].
        active: final values of all other nodes under each config, int64[a, c].
    """

    nodes: Indices
    config_feat: NDArray[np.float32]
    bases: Indices
    convolutions: tuple[Convolution, ...]
    still: Indices
    active: Indices

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of distinct values before each convolution, and after the last."""
        return (len(self.nodes), *(len(each.values) + len(each.changes) for each in self.convolutions))
