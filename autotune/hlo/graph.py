"""A program as the cost model sees it: the features of TpuGraphs, made from the fields of `HloModuleProto`.

Every instruction of every computation, in file order, is one node. What a node says of its instruction alone is made in
`node_features`; here is what connects nodes: roots, edges and the places to split at.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from autotune.errors import ProgramReadError
from autotune.hlo.node_features import node_features
from cost_model import ProgramGraph, features
from protos import hlo_pb2

if TYPE_CHECKING:
    from autotune.hlo.program import Program

Lists = Sequence[Sequence[int]]

# TpuGraphs cut programs for training at the ends of computations with these words in their names.
_SPLIT_WORDS = ("cluster", "while", "cond")

_CONFIGURABLE = np.array([features.OPCODE_IDS[name] for name in features.CONFIGURABLE_OPCODES], dtype=np.uint8)


def program_graph(program: Program | hlo_pb2.HloModuleProto | bytes) -> ProgramGraph:
    """Turns a program into a graph.

    Args:
        program: the program, its module, or the serialized module. Its configurable nodes are its convolution, dot and
            reshape instructions.

    Returns:
        The features, equal bit for bit to those of TpuGraphs for the same module.

    Raises:
        ProgramReadError: the bytes are no module, the module has no instructions, or one of them refers to another
            that does not exist.
    """
    module, serialized = _module(program)
    instructions = [instruction for computation in module.computations for instruction in computation.instructions]
    if not instructions:
        raise ProgramReadError(f"module {module.name!r}: expected at least one instruction, found none")
    counts = np.array([len(computation.instructions) for computation in module.computations], dtype=np.int64)
    nodes = _Nodes(module, instructions, counts)
    node_feat, node_opcode = node_features(serialized)
    node_feat[nodes.roots[nodes.roots >= 0], features.IS_ROOT] = 1
    return ProgramGraph(
        node_feat=node_feat,
        node_opcode=node_opcode,
        edge_index=_edges(module, instructions, nodes),
        node_config_ids=np.flatnonzero(np.isin(node_opcode, _CONFIGURABLE)).astype(np.int64),
        node_splits=_splits(module, counts),
    )


def _module(program: Program | hlo_pb2.HloModuleProto | bytes) -> tuple[hlo_pb2.HloModuleProto, bytes]:
    """The module, parsed and serialized."""
    if isinstance(program, hlo_pb2.HloModuleProto):
        return program, program.SerializeToString()
    if not isinstance(program, bytes):
        return program.proto, program.module
    try:
        return hlo_pb2.HloModuleProto.FromString(program), program
    except DecodeError as error:
        raise ProgramReadError(f"{len(program)} bytes: expected a serialized HloModuleProto, found {error}") from None


class _Nodes:
    """Where every instruction stands: node index by (computation, instruction id).

    Instruction ids are unique within their computation; that they are unique within the module, too, was true of old
    XLA only, and operands stay within a computation.
    """

    def __init__(
        self, module: hlo_pb2.HloModuleProto, instructions: list[hlo_pb2.HloInstructionProto], counts: NDArray[np.int64]
    ) -> None:
        self._module = module
        self._instructions = instructions
        self.computation = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
        ids = np.array([each.id for each in instructions], dtype=np.int64)
        self._ids, ranks = np.unique(ids, return_inverse=True)
        keys = self.computation * len(self._ids) + ranks
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        roots = [computation.root_id for computation in module.computations]
        full = np.flatnonzero(counts)
        self.roots = np.full(len(counts), -1, dtype=np.int64)
        self.roots[full] = self.find(full, np.array(roots, dtype=np.int64)[full], None)

    def find(
        self, computations: NDArray[np.int64], ids: NDArray[np.int64], users: NDArray[np.int64] | None
    ) -> NDArray[np.int64]:
        """Node indices of instructions given by computation and id; `users` (nodes) serve the error message."""
        ranks = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        keys = computations * len(self._ids) + ranks
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        wrong = (self._ids[ranks] != ids) | (self._keys[places] != keys)
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            if users is None:
                who = f"computation {self._module.computations[int(computations[first])].name!r} has a root"
            else:
                who = f"instruction {self._instructions[int(users[first])].name!r} has an operand"
            raise ProgramReadError(
                f"module {self._module.name!r}: {who} with id {ids[first]}, "
                "which is no instruction of the same computation; the file is damaged"
            )
        return self._order[places]


# ---- Edges and splits -----------------------------------------------------------------------------------------------


def _edges(
    module: hlo_pb2.HloModuleProto, instructions: list[hlo_pb2.HloInstructionProto], nodes: _Nodes
) -> NDArray[np.int64]:
    """Rows [user, producer]: distinct operands and the roots of called computations, sorted; int64[m, 2]."""
    users, ids = _flatten([each.operand_ids for each in instructions])
    producers = nodes.find(nodes.computation[users], ids, users)

    callers, called = _flatten([each.called_computation_ids for each in instructions])
    position = {computation.id: place for place, computation in enumerate(module.computations)}
    places = np.array([position.get(number, -1) for number in called.tolist()], dtype=np.int64)
    roots = np.where(places >= 0, nodes.roots[places], -1)
    if (roots < 0).any():
        first = int(np.flatnonzero(roots < 0)[0])
        raise ProgramReadError(
            f"module {module.name!r}: instruction {instructions[int(callers[first])].name!r} calls computation "
            f"{called[first]}, which is missing or empty; the file is damaged"
        )
    total = len(instructions)
    keys = np.unique(np.concatenate([users * total + producers, callers * total + roots]))
    return np.stack(np.divmod(keys, total), axis=1).astype(np.int64)


def _flatten(lists: Lists) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All entries of all lists, and the list that each came from."""
    lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    values = np.fromiter(chain.from_iterable(lists), dtype=np.int64, count=int(lengths.sum()))
    return np.repeat(np.arange(len(lists), dtype=np.int64), lengths), values


def _splits(module: hlo_pb2.HloModuleProto, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, the running count after each computation with a split word in its name, and the total; int64[k]."""
    running = np.cumsum(counts)
    cuts = [
        int(running[place])
        for place, computation in enumerate(module.computations)
        if any(word in computation.name for word in _SPLIT_WORDS)
    ]
    return np.array([0, *cuts, int(running[-1])], dtype=np.int64)
