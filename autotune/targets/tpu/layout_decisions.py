"""Which layouts the TPU compiler took, from its own record, and what became of the layouts that were asked for.

The compiler records its layout assignment in the result's `HloModuleConfigProto.layout_config`. Nothing public
describes that record; these rules were found with libtpu 0.0.52 on v5e, by comparing it with the layouts in the
compiler's dump just after layout assignment: 75 compilations of five programs with random configs, and the record was
right for all 905 tensors that a layout was asked for. (Of a tensor that nobody asked for it may say what the compiler
would have liked: [2, 3] for a convolution's kernel that is a parameter and stays [3, 2].)

- There is one entry per convolution, dot and reshape of the module just before layout assignment, those inside fusions
  left out. Inside a computation entries follow the order of the file; the order of the computations does not
  (probably it is that in which the compiler made them, and it rewrites loops), so it is recovered: see `place`.
- An entry holds a list of dimensions for the output and for each input, minor to major: the full order for a reshape,
  for a convolution or a dot only the two minor-most dimensions (one, for a vector). The rest is not a choice there: the
  compiler keeps batch and spatial dimensions in descending order behind those two.
- An empty list: no decision, the tensor lies as its neighbours would have it. So it is for inputs of dots of rank two,
  and for reshapes that move nothing.

A request in force may so be recorded either as kept or as free. In the comparison above all 116 free outputs and inputs
of dots and outputs of reshapes had the layout asked for; of 63 free inputs of reshapes 39 had, the others were folded
into the layout that follows from the output. Outputs of reshapes were never kept: followed (free) or refused.
"""

from __future__ import annotations

import enum
import functools
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from autotune.hlo.rewrite import Order
from autotune.spaces.layout import TENSOR_NAMES, LayoutConfig
from cost_model.features import CONFIGURABLE_OPCODES
from protos import hlo_pb2, xla_pb2

_RECORDED_DIMENSIONS: Final = 2
"""Of convolutions and dots. On a TPU these two are tiled, so it matters even where a dimension of size one stands."""

_MOST_STATES: Final = 5_000
"""Of the search for the order of computations; real programs need a handful."""

Decision = tuple[Order, ...]
"""What was recorded for one node: minor-to-major dimensions of the output and of each input; () for a free tensor."""


class Fate(enum.Enum):
    """What became of a request."""

    KEPT = "kept"  # the recorded dimensions are those asked for
    REFUSED = "refused"  # others were taken; the compiler adds a copy between the two
    FREE = "free"  # no decision was needed: the request was followed, or folded into its neighbours' layouts
    UNKNOWN = "unknown"  # the record could not be matched with the node


@dataclass(frozen=True)
class LayoutComparison:
    """Requests against what the compiler took.

    Attributes:
        counts: requests by opcode, tensor (OUTPUT, FIRST_INPUT, SECOND_INPUT) and fate.
        taken: the whole record, in the compiler's order.
    """

    counts: Mapping[tuple[str, int, Fate], int]
    taken: tuple[Decision, ...]

    def total(self, fate: Fate) -> int:
        """How many requests met that fate."""
        return sum(count for (_, _, other), count in self.counts.items() if other is fate)

    def to_details(self) -> dict[str, float | str]:
        """Counts ("layouts_kept", "layouts_kept_dot_first_input", ...) and the record as JSON ("layouts_taken")."""
        details: dict[str, float | str] = {f"layouts_{fate.value}": float(self.total(fate)) for fate in Fate}
        for (opcode, tensor, fate), count in sorted(self.counts.items(), key=str):
            tensor_name = TENSOR_NAMES[tensor].replace(" ", "_")
            details[f"layouts_{fate.value}_{opcode}_{tensor_name}"] = float(count)
        details["layouts_taken"] = json.dumps(self.taken, separators=(",", ":"))
        return details


def decisions(compiled: xla_pb2.HloModuleProtoWithConfig) -> tuple[Decision, ...]:
    """What the compiler recorded, one entry per node, in its own order.

    Args:
        compiled: what the compiler returned (`TpuCompiler.compile`, parsed).
    """
    return tuple(tuple(tuple(tensor.vals) for tensor in entry.lists) for entry in compiled.config.layout_config)


def place(taken: Sequence[Decision], module: hlo_pb2.HloModuleProto) -> dict[int, Decision]:
    """Match the record with the nodes of a module.

    The number of nodes must agree, and every entry must fit the opcode and the ranks of its node. Where several orders
    of the computations fit, the nodes that get the same decision in all of them are matched and the others left out.

    Args:
        taken: from `decisions`.
        module: just before layout assignment. Constraints that were added to it afterwards do not disturb; a compiler
            that adds or removes nodes before it assigns layouts does.

    Returns:
        Decisions by node id; without the nodes for which the decision is not certain, so perhaps empty.
    """
    blocks = _blocks(module)
    by_form: dict[_Form, list[tuple[int, ...]]] = defaultdict(list)
    for nodes, form in blocks:
        by_form[form].append(nodes)
    if sum(len(form) for _, form in blocks) != len(taken):
        return {}
    placed: dict[int, Decision] = {}
    for form, segments in _fitting_segments({form: len(same) for form, same in by_form.items()}, taken).items():
        for offset in range(len(form)):
            candidates = {segment[offset] for segment in segments}
            if len(candidates) == 1:
                (decision,) = candidates
                placed |= {nodes[offset]: decision for nodes in by_form[form]}
    return placed


def compare(
    requested: LayoutConfig, module: hlo_pb2.HloModuleProto, compiled: xla_pb2.HloModuleProtoWithConfig
) -> LayoutComparison:
    """What became of the layouts that were asked for.

    Args:
        requested: refers to nodes of `module`.
        module: just before layout assignment, without the requests.
        compiled: what the compiler made of it with the requests (`TpuCompiler.compile`, parsed).
    """
    opcodes = [i.opcode for computation in module.computations for i in computation.instructions]
    taken = decisions(compiled)
    placed = place(taken, module)
    counts = Counter(
        (opcodes[node], tensor, fate(order, placed[node][tensor] if node in placed else None))
        for node, tensor, order in requested.orders
    )
    return LayoutComparison(dict(counts), taken)


def fate(asked: Order, taken: Order | None) -> Fate:
    """What became of one request.

    Args:
        asked: minor to major.
        taken: what was recorded for the tensor; () for no decision, None if the node could not be matched.
    """
    if taken is None:
        return Fate.UNKNOWN
    if not taken:
        return Fate.FREE
    return Fate.KEPT if asked[: len(taken)] == taken else Fate.REFUSED


# ---- Finding the order of the computations --------------------------------------------------------------------------


class _Node(NamedTuple):
    """What an entry must fit: an opcode, and the ranks of output and inputs."""

    opcode: str
    ranks: tuple[int, ...]

    def fits(self, decision: Decision) -> bool:
        """Whether the entry may be this node's."""
        return len(decision) == len(self.ranks) and all(
            not order or (len(set(order)) == len(order) == self._recorded(rank) and set(order) <= set(range(rank)))
            for order, rank in zip(decision, self.ranks, strict=True)
        )

    def _recorded(self, rank: int) -> int:
        return rank if self.opcode == "reshape" else min(rank, _RECORDED_DIMENSIONS)


_Form = tuple[_Node, ...]
"""The configurable nodes of a computation; computations of equal form cannot be told apart."""


def _blocks(module: hlo_pb2.HloModuleProto) -> list[tuple[tuple[int, ...], _Form]]:
    """Node ids and form of every computation that has configurable nodes and is not that of a fusion."""
    fused = {
        callee
        for computation in module.computations
        for instruction in computation.instructions
        if instruction.opcode == "fusion"
        for callee in instruction.called_computation_ids
    }
    blocks = []
    first = 0
    for computation in module.computations:
        ranks = {instruction.id: len(instruction.shape.dimensions) for instruction in computation.instructions}
        nodes = {
            first + position: _Node(i.opcode, (ranks[i.id], *(ranks[operand] for operand in i.operand_ids)))
            for position, i in enumerate(computation.instructions)
            if i.opcode in CONFIGURABLE_OPCODES
        }
        if nodes and computation.id not in fused:
            blocks.append((tuple(nodes), tuple(nodes.values())))
        first += len(computation.instructions)
    return blocks


def _fitting_segments(forms: Mapping[_Form, int], taken: Sequence[Decision]) -> dict[_Form, set[tuple[Decision, ...]]]:
    """For each form the parts of the record that its computations may have, over all orders that fit as a whole.

    Args:
        forms: how many computations there are of each.
        taken: as many entries as all of them have nodes.
    """
    found: dict[_Form, set[tuple[Decision, ...]]] = {}
    lengths = [len(form) for form in forms]

    @functools.cache
    def completes(left: tuple[int, ...]) -> bool:
        """Whether the end of the record fits the computations that are left, in some order."""
        if completes.cache_info().misses > _MOST_STATES:
            raise _TooManyOrdersError
        if not any(left):
            return True
        start = len(taken) - sum(count * length for count, length in zip(left, lengths, strict=True))
        fits = False
        for index, form in enumerate(forms):
            if not left[index]:
                continue
            segment = tuple(taken[start : start + len(form)])
            if all(node.fits(decision) for node, decision in zip(form, segment, strict=True)):
                rest = (*left[:index], left[index] - 1, *left[index + 1 :])
                if completes(rest):
                    found.setdefault(form, set()).add(segment)
                    fits = True
        return fits

    try:
        return found if completes(tuple(forms.values())) else {}
    except (_TooManyOrdersError, RecursionError):
        return {}


class _TooManyOrdersError(Exception):
    """The search was given up."""
