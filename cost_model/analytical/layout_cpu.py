"""What a layout config costs on XLA:CPU, which keeps everything row-major but the tensor that was constrained."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cost_model.analytical.decisions import TensorDecisions, decide
from cost_model.analytical.memory import physical_order
from cost_model.analytical.tensors import GraphTensors, Order
from cost_model.devices import DeviceDescription
from cost_model.graph import LayoutConfigs


class RoundTrips:
    """A copy in and a copy out for every order but row-major, each reading and writing the tensor once.

    The orders in the program say nothing here: they are those of the framework that wrote it (a transpose is often
    written as a mere change of order), and XLA:CPU assigns its own.

    Args:
        tensors: the program.
        device: what it runs on.
    """

    def __init__(self, tensors: GraphTensors, device: DeviceDescription) -> None:
        self._tensors = tensors
        self._device = device
        self._configurable = list(tensors.configurable())

    def seconds(self, configs: LayoutConfigs) -> NDArray[np.float64]:
        """Seconds that each config adds to the default.

        Args:
            configs: c configs.

        Returns:
            float64[c]; 0 for a config that leaves everything to the compiler.
        """
        result = np.zeros(len(configs))
        for row, place, node in self._configurable:
            decisions = decide(node, self._tensors.row_major(node), configs, row, place)
            if decisions.orders:
                result += self._round_trip(decisions)
        return result

    def _round_trip(self, decisions: TensorDecisions) -> NDArray[np.float64]:
        dimensions = self._tensors.dimensions(decisions.node)
        default = physical_order(self._tensors.row_major(decisions.node), dimensions)
        traffic = 2 * 2 * float(self._tensors.bytes[decisions.node])

        def seconds(order: Order) -> float:
            physical = physical_order(order, dimensions)
            if physical == default:
                return 0.0
            kept = physical[0] == default[0]
            penalty = self._device.copy_penalty if kept else self._device.transposition_penalty
            return traffic * penalty / self._device.memory_bandwidth

        return decisions.look_up(seconds)
