"""What layout configs decide about one tensor, per distinct order of it, of which there are few."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cost_model import features
from cost_model.analytical.memory import complete_order
from cost_model.analytical.tensors import Order
from cost_model.graph import LayoutConfigs

UNDECIDED = -1
_COLUMN_BITS = 7


@dataclass(frozen=True)
class TensorDecisions:
    """What a batch of configs decides about one tensor.

    Attributes:
        node: the node that produces the tensor.
        orders: the distinct full orders in the batch.
        choice: position in `orders` for every config, -1 where the compiler decides; int64[c].
    """

    node: int
    orders: tuple[Order, ...]
    choice: NDArray[np.int64]

    def look_up(self, value: Callable[[Order], float]) -> NDArray[np.float64]:
        """A value of the order for every config, 0 where the compiler decides; float64[c]."""
        table = np.array([*(value(order) for order in self.orders), 0.0])
        return table[self.choice]


def decide(node: int, default: Order, configs: LayoutConfigs, row: int, place: int) -> TensorDecisions:
    """Reads what a batch says about one tensor; partly decided orders are completed from the default.

    Args:
        node: that produces the tensor.
        default: its order where nothing is decided.
        configs: the batch.
        row: of the configurable node in it.
        place: 0 for its output, 1 and 2 for its inputs.
    """
    entries = configs.node_config_feat[:, row, features.LAYOUT_TENSORS[place].entries].astype(np.int64)
    shifts = _COLUMN_BITS * np.arange(entries.shape[1], dtype=np.int64)
    codes = ((entries - features.UNDECIDED) << shifts).sum(axis=1)
    distinct, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    orders: dict[Order, int] = {}
    table = np.full(len(distinct), UNDECIDED, dtype=np.int64)
    for position, (code, example) in enumerate(zip(distinct.tolist(), first.tolist(), strict=True)):
        if code:
            order = complete_order(entries[example].tolist(), default)
            table[position] = orders.setdefault(order, len(orders))
    return TensorDecisions(node, tuple(orders), table[inverse.reshape(-1)])
