"""Which nodes of which configs have the same hidden value: what makes scoring many configs of one graph cheap.

After k convolutions the value of a node depends on its neighbourhood of k hops, and on the config rows in it, only.
Configs of one program share most of their rows, and programs repeat themselves, so of the n * c values of n nodes
under c configs few are distinct: 3 % after the seventh convolution on unet_3d.4x4.bf16 with 100 configs. This module
finds them before anything is computed, by colour refinement: pairs (node, config) of one colour have one value.

A colour is a 64-bit hash of the node's own colour and the multiset of incoming colours one convolution earlier. That
any two of N different values share a colour has a probability below N^2 / 2^64, 6e-8 for a million.

Source: B. Weisfeiler and A. Leman, "The reduction of a graph to canonical form" (1968); that message passing cannot
tell nodes of one colour apart: K. Xu et al., "How Powerful are Graph Neural Networks?", ICLR 2019 (arXiv 1810.00826).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cost_model.graph import ConfigBatch, ProgramGraph
from cost_model.plan import Convolution, Indices, Plan, WeightedSums
from cost_model.rows import Hashes, config_rows, hash_rows, mix


@dataclass(frozen=True, eq=False)
class _Edges:
    """What flows into each node during a convolution, itself included, node by node.

    Attributes:
        senders: int64[m + n].
        keeps: 1 where the sender is the receiver itself, which is not a message; int64[m + n].
        weights: see `WeightedSums`; float32[m + n].
        starts: the entries of node v are starts[v] to starts[v + 1]; int64[n + 1].
    """

    senders: Indices
    keeps: Indices
    weights: NDArray[np.float32]
    starts: Indices


@dataclass(frozen=True, eq=False)
class _Reach:
    """The nodes that a config can have changed after some convolutions.

    Attributes:
        active: these nodes, int64[a], ascending.
        row: the place of every node in `active`, -1 for the others; int64[n].
        still: the other nodes, int64[n - a], ascending.
    """

    active: Indices
    row: Indices
    still: Indices


@dataclass(frozen=True, eq=False)
class _Spread:
    """How one convolution carries values of active nodes on to the nodes that are active after it.

    Attributes:
        senders: for each such edge the row of the sender, plus a if it is what the sender keeps; in the order of the
            receivers' rows. int64[e]
        starts: where the edges of each receiver begin, int64[a of the next layer].
    """

    senders: Indices
    starts: Indices


@dataclass(frozen=True, eq=False)
class _Colours:
    """The distinct values of one layer, by number.

    Attributes:
        still: the value of every node that is not active, int64[n]; 0 for active ones.
        active: the values of the active nodes, int64[a, c].
        nodes: a node that has the value, int64[k].
        configs: a config under which it has it; int64[k].
        absolute: how many values are not differences; they come first.
    """

    still: Indices
    active: Indices
    nodes: Indices
    configs: Indices
    absolute: int

    def find(self, reach: _Reach, nodes: Indices, configs: Indices) -> Indices:
        """The values of pairs (node, config)."""
        rows = reach.row[nodes]
        result = self.still[nodes]
        places = np.flatnonzero(rows >= 0)
        result[places] = self.active[rows[places], configs[places]]
        return result

    def bases(self, reach: _Reach) -> Indices:
        """What the differences differ from: the value of the same node under the first config."""
        bases: Indices = self.active[reach.row[self.nodes[self.absolute :]], 0]
        return bases


class Refinement:
    """Colour refinement of one graph; made once, used for every batch of its configs.

    Args:
        graph: the program.
        convolutions: how many there are.
        everywhere: whether a config is put on every node (tiles) and not on the configurable ones only (layouts).
    """

    def __init__(self, graph: ProgramGraph, convolutions: int, *, everywhere: bool) -> None:
        nodes = len(graph)
        configured = np.arange(nodes) if everywhere else graph.node_config_ids
        actives = [configured]
        for _ in range(convolutions):
            actives.append(_next_active(graph, actives[-1]))
        columns = np.zeros(nodes, np.int64) if everywhere else np.arange(len(configured))
        self._place(_hash_nodes(graph), _edges(graph), actives, columns, np.zeros(nodes, np.int64))

    @classmethod
    def join(cls, parts: Sequence[Refinement]) -> Refinement:
        """The refinement of several graphs side by side, of which config j is config j of each.

        Values are shared between the graphs too where they are equal; so are those of a graph that is there twice.

        Args:
            parts: refinements of graphs, all `everywhere` or none, with equally many convolutions.
        """
        shifts = _shifts([len(part._kinds) for part in parts])
        entries = _shifts([len(part._edges.senders) for part in parts])
        column_shifts = _shifts([part._column_count for part in parts])
        joined = cls.__new__(cls)
        joined._place(
            np.concatenate([part._kinds for part in parts]),
            _Edges(
                np.concatenate([part._edges.senders + shift for part, shift in zip(parts, shifts, strict=True)]),
                np.concatenate([part._edges.keeps for part in parts]),
                np.concatenate([part._edges.weights for part in parts]),
                np.concatenate(
                    [[0], *(part._edges.starts[1:] + shift for part, shift in zip(parts, entries, strict=True))]
                ),
            ),
            [
                np.concatenate([reach.active + shift for reach, shift in zip(reaches, shifts, strict=True)])
                for reaches in zip(*(part._reaches for part in parts), strict=True)
            ],
            np.concatenate([part._columns + shift for part, shift in zip(parts, column_shifts, strict=True)]),
            np.repeat(np.arange(len(parts)), [len(part._kinds) for part in parts]),
        )
        return joined

    def _place(
        self, kinds: Hashes, edges: _Edges, actives: Sequence[Indices], columns: Indices, graph_of: Indices
    ) -> None:
        """Keeps what stays the same for all configs.

        Args:
            kinds: equal for equal nodes, uint64[n].
            edges: what flows into each node.
            actives: nodes that a config can have changed, before and after every convolution.
            columns: which config row each of the first active nodes has, int64[a].
            graph_of: the number of each node's graph, int64[n].
        """
        self._kinds, self._edges, self._columns, self._graph_of = kinds, edges, columns, graph_of
        self._column_count = int(columns.max()) + 1 if len(columns) else 0
        self._reaches = [_reach(len(kinds), actives[0])]
        self._spreads: list[_Spread] = []
        for active in actives[1:]:
            before = self._reaches[-1]
            if len(active) > len(before.active):
                self._reaches.append(_reach(len(kinds), active))
                self._spreads.append(_spread(edges, before, self._reaches[-1]))
            else:  # nothing new was reached, nor will be
                known = len(self._reaches) > 1 and self._reaches[-2] is before
                self._spreads.append(self._spreads[-1] if known else _spread(edges, before, before))
                self._reaches.append(before)

    @property
    def convolutions(self) -> int:
        """How many there are."""
        return len(self._spreads)

    @property
    def graph_of_still(self) -> Indices:
        """The number of the graph of each of `Plan.still`, int64[s]."""
        return self._graph_of[self._reaches[-1].still]

    @property
    def graph_of_active(self) -> Indices:
        """The number of the graph of each of `Plan.active`, int64[a]."""
        return self._graph_of[self._reaches[-1].active]

    @property
    def configured(self) -> Indices:
        """The rows of `Plan.active` of the nodes that have a config row, in the order of these rows; int64[columns]."""
        return self._reaches[-1].row[self._reaches[0].active]

    @property
    def bytes_per_config(self) -> int:
        """About how much memory `plan` needs for each config of a batch."""
        return max(32 * len(spread.starts) + 8 * len(spread.senders) for spread in self._spreads)

    def plan(self, configs: ConfigBatch, *, relative: bool = False) -> Plan:
        """Finds the distinct values for a batch of configs of this graph.

        Args:
            configs: c configs, c >= 1.
            relative: whether values that differ from those of the first config are computed as differences from them,
                so that rounding is relative to the difference.

        Returns:
            What has to be computed.
        """
        return self.plan_rows(config_rows(configs), relative=relative)

    def plan_rows(self, rows: NDArray[np.float32], *, relative: bool = False) -> Plan:
        """Finds the distinct values for configs that are given as rows.

        Args:
            rows: those of all graphs side by side, each as `config_rows` has them; float32[c, columns, k], c >= 1.
            relative: see `plan`.
        """
        first = colours = self._start(rows, relative)
        convolutions = []
        for before, after, spread in zip(self._reaches, self._reaches[1:], self._spreads, strict=False):
            following = self._convolve(spread, after, colours, relative)
            sums = self._sums(before, colours, following)
            convolutions.append(Convolution(*sums, following.bases(after)))
            colours = following
        return Plan(
            nodes=first.nodes,
            config_feat=self._config_rows(rows, first),
            bases=first.bases(self._reaches[0]),
            convolutions=tuple(convolutions),
            still=colours.still[self._reaches[-1].still],
            active=colours.active,
        )

    def _start(self, rows: NDArray[np.float32], relative: bool) -> _Colours:
        """Numbers the pairs before the first convolution."""
        kinds = mix(self._kinds)
        active = mix(kinds[self._reaches[0].active][:, None] + hash_rows(rows).T[self._columns])
        if relative:
            # Values may share a number only if what they differ from is shared, too. Later layers inherit that.
            active = mix(active + 3 * active[:, :1])
        return _number(self._reaches[0], kinds, active, relative)

    def _config_rows(self, rows: NDArray[np.float32], colours: _Colours) -> NDArray[np.float32]:
        """The config rows of the values before the first convolution; zeros where there is none."""
        place = self._reaches[0].row[colours.nodes]
        configured = np.flatnonzero(place >= 0)
        result = np.zeros((len(place), rows.shape[-1]), np.float32)
        result[configured] = rows[colours.configs[configured], self._columns[place[configured]]]
        return result

    def _convolve(self, spread: _Spread, after: _Reach, colours: _Colours, relative: bool) -> _Colours:
        """Numbers the pairs after a convolution: equal where everything that flows into them is equal."""
        edges = self._edges
        codes = mix(np.arange(2 * len(colours.nodes), dtype=np.uint64))
        # Value 0 stands for active nodes in `still`. It tells all configs of a node the same, so it does no harm.
        flows = np.cumsum(codes[2 * colours.still[edges.senders] + edges.keeps], dtype=np.uint64)
        flows = np.concatenate([np.zeros(1, np.uint64), flows])
        fixed = flows[edges.starts[1:]] - flows[edges.starts[:-1]]  # sums that wrap around have exact differences
        sent_and_kept = np.concatenate([codes[2 * colours.active], codes[2 * colours.active + 1]])
        moved = np.add.reduceat(sent_and_kept[spread.senders], spread.starts) if len(spread.starts) else sent_and_kept
        return _number(after, mix(fixed), mix(moved + fixed[after.active][:, None]), relative)

    def _sums(self, before: _Reach, colours: _Colours, following: _Colours) -> tuple[WeightedSums, WeightedSums]:
        """Looks up what one pair of each number is made of: whole values, then differences."""
        edges, split = self._edges, following.absolute
        counts = edges.starts[following.nodes + 1] - edges.starts[following.nodes]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        entries = np.arange(offsets[-1]) + np.repeat(edges.starts[following.nodes] - offsets[:-1], counts)
        values = colours.find(before, edges.senders[entries], np.repeat(following.configs, counts))
        rows, weights = 2 * values + edges.keeps[entries], edges.weights[entries]
        whole = offsets[split]
        changed = np.flatnonzero(values[whole:] >= colours.absolute) + whole
        return (
            WeightedSums(rows[:whole], weights[:whole], offsets[: split + 1]),
            WeightedSums(
                rows[changed] - 2 * colours.absolute, weights[changed], np.searchsorted(changed, offsets[split:])
            ),
        )


def _shifts(counts: Sequence[int]) -> Indices:
    """Where each of several arrays starts when they stand one behind the other."""
    return np.cumsum([0, *counts[:-1]])


def _hash_nodes(graph: ProgramGraph) -> Hashes:
    """Hashes nodes by features and opcode: equal nodes get equal numbers; uint64[n]."""
    return mix(hash_rows(graph.node_feat[None])[0] + graph.node_opcode)


def _edges(graph: ProgramGraph) -> _Edges:
    nodes = np.arange(len(graph))
    senders = np.concatenate([nodes, graph.edge_index[:, 0]])
    receivers = np.concatenate([nodes, graph.edge_index[:, 1]])
    keeps = np.arange(len(senders)) < len(nodes)
    incoming = np.bincount(graph.edge_index[:, 1], minlength=len(nodes))
    order = np.argsort(receivers, kind="stable")
    weights = np.where(keeps, 1, 1 / np.maximum(incoming[receivers], 1))
    starts = np.concatenate([[0], np.cumsum(incoming + 1)])
    return _Edges(senders[order], keeps[order].astype(np.int64), weights[order].astype(np.float32), starts)


def _reach(nodes: int, active: Indices) -> _Reach:
    row = np.full(nodes, -1, np.int64)
    row[active] = np.arange(len(active))
    return _Reach(active, row, np.flatnonzero(row < 0))


def _next_active(graph: ProgramGraph, active: Indices) -> Indices:
    """One hop further along the edges."""
    senders, receivers = graph.edge_index.T
    reached = np.zeros(len(graph), bool)
    reached[active] = True
    reached[receivers[reached[senders]]] = True
    return np.flatnonzero(reached)


def _spread(edges: _Edges, before: _Reach, after: _Reach) -> _Spread:
    rows = before.row[edges.senders]
    moved = np.flatnonzero(rows >= 0)
    senders = rows[moved] + len(before.active) * edges.keeps[moved]
    starts = np.searchsorted(moved, edges.starts[after.active])
    return _Spread(senders, starts)


def _number(reach: _Reach, still: Hashes, active: Hashes, relative: bool) -> _Colours:
    """Numbers hashes from 0; with `relative`, those of values that differ from the first config's come last.

    Args:
        reach: the active nodes.
        still: hashes of all nodes; those of active ones are not looked at. uint64[n].
        active: hashes of the active nodes under each config, uint64[a, c].
        relative: see `Refinement.plan`.
    """
    keys = np.concatenate([still[reach.still], active.reshape(-1)])
    if relative:
        keys >>= 1
        changed = active != active[:, :1]
        keys[len(reach.still) :] |= changed.reshape(-1).astype(np.uint64) << 63
    order = np.argsort(keys)
    in_order = keys[order]
    first = np.ones(len(keys), bool)
    np.not_equal(in_order[1:], in_order[:-1], out=first[1:])
    numbers = np.empty(len(keys), np.int64)
    numbers[order] = np.cumsum(first) - 1
    chosen = order[first]
    rows, configs = np.divmod(chosen - len(reach.still), active.shape[1])
    owners = np.concatenate([reach.still, reach.active])
    nodes = owners[np.where(rows < 0, chosen, rows + len(reach.still))]
    configs[rows < 0] = 0
    by_node = np.zeros(len(still), np.int64)
    by_node[reach.still] = numbers[: len(reach.still)]
    absolute = int(np.searchsorted(in_order[first], np.uint64(1 << 63))) if relative else len(chosen)
    return _Colours(by_node, numbers[len(reach.still) :].reshape(active.shape), nodes, configs, absolute)
