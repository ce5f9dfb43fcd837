"""The layout space: an order of dimensions for tensors of convolutions, dots and reshapes, or the compiler's choice.

The nodes are those of the module just before layout assignment, the encoding is that of TpuGraphs (six columns for
each of output, first input and second input, minor to major, -1 for "the compiler decides").
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from autotune.errors import SpaceError
from autotune.hlo.rewrite import FIRST_INPUT, OUTPUT, SECOND_INPUT, Order
from autotune.spaces.base import Config, JsonObject
from autotune.spaces.layout_roles import Roles
from autotune.spaces.layout_tensors import MAXIMUM_RANK, LayoutTensor, find_tensors
from cost_model import LayoutConfigs
from cost_model.features import CONFIGURABLE_OPCODES
from protos import hlo_pb2

TENSOR_NAMES = {OUTPUT: "output", FIRST_INPUT: "first input", SECOND_INPUT: "second input"}
_DENSITIES = (0.03, 0.1, 0.25, 0.5, 0.8, 1.0)
"""Shares of the tensors that a sample decides, from near the default outward."""

_UNUSUAL = (0.0, 0.0, 0.04, 0.2, 1.0)
"""Chances that a decided tensor gets a random order rather than the row-major one. Naming the row-major order is not
the same as leaving the choice to the compiler: a constraint is a barrier to fusion and to folding of transposes."""


@dataclass(frozen=True)
class LayoutConfig:
    """Orders for some tensors; the compiler decides all others.

    Attributes:
        orders: (node id, tensor, minor-to-major order), sorted; no tensor twice.
    """

    orders: tuple[tuple[int, int, Order], ...] = ()

    @property
    def family(self) -> str:
        """Always "layout"."""
        return "layout"

    @classmethod
    def of(cls, orders: Mapping[tuple[int, int], Order]) -> LayoutConfig:
        """From a mapping (node id, tensor) -> order."""
        return cls(tuple(sorted((node, tensor, tuple(order)) for (node, tensor), order in orders.items())))

    def as_mapping(self) -> dict[tuple[int, int], Order]:
        """(node id, tensor) -> order."""
        return {(node, tensor): order for node, tensor, order in self.orders}

    def to_json(self) -> JsonObject:
        """{"layouts": [{"node": 3, "tensor": 0, "minor_to_major": [0, 1]}, ...]}."""
        return {
            "layouts": [
                {"node": node, "tensor": tensor, "minor_to_major": list(order)} for node, tensor, order in self.orders
            ]
        }


class LayoutSpace:
    """All layout configs of one module.

    Args:
        module: the module just before layout assignment; where it is known, with every array in its default layout.
            When no convolution, dot or reshape of it has a tensor of two dimensions larger than one, the space has one
            point: the default.
        places: how many of the minor-most places of a tensor are a choice. A TPU tiles the two minor-most dimensions
            and keeps the others in descending order, whatever is asked for.
    """

    kind = "layout"

    def __init__(self, module: hlo_pb2.HloModuleProto, *, places: int = MAXIMUM_RANK) -> None:
        self.places = places
        self._row_major_is_usual = places == MAXIMUM_RANK
        self.node_ids, self.tensors = find_tensors(module, places)
        self._by_key = {(tensor.node, tensor.tensor): tensor for tensor in self.tensors}
        self._row_of_node = {node: row for row, node in enumerate(self.node_ids)}
        self._by_node: dict[int, list[LayoutTensor]] = {}
        for tensor in self.tensors:
            self._by_node.setdefault(tensor.node, []).append(tensor)

    @property
    def default(self) -> LayoutConfig:
        """The compiler decides everything."""
        return LayoutConfig()

    @property
    def references(self) -> Mapping[str, Config]:
        """None: the default is all there is to compare with."""
        return {}

    @property
    def landmarks(self) -> Sequence[Config]:
        """Row-major named everywhere; on one opcode; on outputs; on inputs.

        On XLA:CPU that moves no data but keeps transposes and elementwise neighbours apart from dots, which is where
        the gains over the default were found (xla_cpu.md, section 2). On a TPU they cost: see `roles`.
        """
        if not self._row_major_is_usual:
            return []
        groups = [self.tensors]
        groups += [[t for t in self.tensors if t.opcode == opcode] for opcode in CONFIGURABLE_OPCODES]
        groups += [[t for t in self.tensors if (t.tensor == OUTPUT) is output] for output in (True, False)]
        configs = [LayoutConfig.of({(t.node, t.tensor): t.row_major for t in group}) for group in groups if group]
        return list(dict.fromkeys(configs))

    @cached_property
    def roles(self) -> Roles | None:
        """Orders other than the default ones for tensors that are alike; None where these are not what matters.

        On a TPU few of them make a difference, and any tensor of a role does. On XLA:CPU nearly all gains come of
        naming the default order: see `landmarks`.
        """
        return None if self._row_major_is_usual else Roles(self.tensors)

    @property
    def size(self) -> int:
        """Product over the tensors of the number of orders plus one for "the compiler decides"."""
        return math.prod(tensor.orders + 1 for tensor in self.tensors)

    def sample(self, rng: np.random.Generator) -> LayoutConfig:
        """Decide some tensors (whole nodes half of the time), usually in row-major order, sometimes in any."""
        if not self.tensors:
            return self.default
        density = rng.choice(_DENSITIES)
        unusual = rng.choice(_UNUSUAL) if self._row_major_is_usual else 1.0
        if rng.random() < 0.5:
            nodes = [node for node in self._by_node if rng.random() < density]
            chosen = [tensor for node in nodes for tensor in self._by_node[node]]
        else:
            chosen = [tensor for tensor in self.tensors if rng.random() < density]
        if not chosen:
            chosen = [self._any_tensor(rng)]
        return LayoutConfig.of({(t.node, t.tensor): _draw(t, unusual, rng) for t in chosen})

    def mutate(self, config: Config, rng: np.random.Generator) -> LayoutConfig:
        """Change one to three tensors, or all tensors of one node."""
        orders = _own(config).as_mapping()
        if not self.tensors:
            return self.default
        if rng.random() < 0.4:
            node = list(self._by_node)[rng.integers(len(self._by_node))]
            changed = self._by_node[node]
            free = rng.random() < 0.5 and any((t.node, t.tensor) in orders for t in changed)
        else:
            changed = [self._any_tensor(rng) for _ in range(rng.integers(1, 4))]
            free = False
        for tensor in changed:
            key = (tensor.node, tensor.tensor)
            if free or (key in orders and rng.random() < 0.5):
                orders.pop(key, None)
            else:
                orders[key] = _draw(tensor, 0.3 if self._row_major_is_usual else 1.0, rng)
        return LayoutConfig.of(orders)

    def crossover(self, first: Config, second: Config, rng: np.random.Generator) -> LayoutConfig:
        """Each node from one of the two parents."""
        parents = (_own(first).as_mapping(), _own(second).as_mapping())
        orders: dict[tuple[int, int], Order] = {}
        for tensors in self._by_node.values():
            parent = parents[rng.integers(2)]
            orders.update({k: parent[k] for t in tensors if (k := (t.node, t.tensor)) in parent})
        return LayoutConfig.of(orders)

    def enumerate(self) -> Iterator[LayoutConfig]:
        """Every config, the default first."""
        choices: list[list[Order | None]] = [[None, *tensor.enumerate()] for tensor in self.tensors]
        for orders in itertools.product(*choices):
            yield LayoutConfig.of(
                {
                    (tensor.node, tensor.tensor): order
                    for tensor, order in zip(self.tensors, orders, strict=True)
                    if order is not None
                }
            )

    def contains(self, config: Config) -> bool:
        """Whether every decided tensor is one of this space and its order is a permutation."""
        if not isinstance(config, LayoutConfig):
            return False
        mapping = config.as_mapping()
        return len(mapping) == len(config.orders) and all(
            key in self._by_key and self._by_key[key].is_order(order) for key, order in mapping.items()
        )

    def encode(self, configs: Sequence[Config]) -> LayoutConfigs:
        """TpuGraphs' layout features, float32[c, nc, 18]; a row per configurable node of the module."""
        features = np.full((len(configs), len(self.node_ids), 3 * MAXIMUM_RANK), -1.0, np.float32)
        for index, config in enumerate(configs):
            for node, tensor, order in _own(config).orders:
                start = tensor * MAXIMUM_RANK
                features[index, self._row_of_node[node], start : start + len(order)] = order
        return LayoutConfigs(features)

    @cached_property
    def factors(self) -> LayoutFactors | None:
        """What `roles` say of configs; None without roles."""
        return None if self.roles is None else LayoutFactors(self.roles)

    def from_json(self, value: JsonObject) -> LayoutConfig:
        """The inverse of `LayoutConfig.to_json`."""
        try:
            orders = {
                (int(entry["node"]), int(entry["tensor"])): tuple(int(d) for d in entry["minor_to_major"])
                for entry in value["layouts"]
            }
        except (KeyError, TypeError, ValueError) as error:
            raise SpaceError(f"not a layout config: {value!r} ({type(error).__name__}: {error})") from error
        config = LayoutConfig.of(orders)
        if not self.contains(config):
            raise SpaceError(f"layout config {value!r} does not belong to this program")
        return config

    def explain(self, config: Config) -> list[JsonObject]:
        """The decided tensors with the names of their instructions, for people."""
        return [
            {
                "instruction": tensor.instruction,
                "opcode": tensor.opcode,
                "tensor": TENSOR_NAMES[tensor.tensor],
                "dimensions": list(tensor.dimensions),
                "minor_to_major": list(order),
            }
            for node, index, order in _own(config).orders
            for tensor in [self._by_key[node, index]]
        ]

    def _any_tensor(self, rng: np.random.Generator) -> LayoutTensor:
        return self.tensors[rng.integers(len(self.tensors))]


class LayoutFactors:
    """What layout configs decide, in terms of roles.

    Args:
        roles: of the program.
    """

    def __init__(self, roles: Roles) -> None:
        self._roles = roles

    @cached_property
    def decisions(self) -> Sequence[Config]:
        """One for each role: its order for one of its tensors."""
        pairs = zip(self._roles.roles, self._roles.places, strict=True)
        return [LayoutConfig.of({places[0]: role.order}) for role, places in pairs]

    def of(self, configs: Sequence[Config], changes: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """See `Factors`."""
        return self._roles.factors([_own(config).orders for config in configs], changes)


def _own(config: Config) -> LayoutConfig:
    if not isinstance(config, LayoutConfig):
        raise SpaceError(f"expected a layout config, found {config.to_json()!r}")
    return config


def _draw(tensor: LayoutTensor, unusual: float, rng: np.random.Generator) -> Order:
    return tensor.random_order(rng) if rng.random() < unusual else tensor.row_major
