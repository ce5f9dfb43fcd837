from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import pytest
from numpy.typing import NDArray

from cost_model import ConfigBatch, LayoutConfigs, ProgramGraph, TileConfigs
from cost_model.plan import Plan, WeightedSums
from cost_model.refinement import Refinement
from tests.cost_model.graphs import Node, layout_configs, make_graph
from tests.cost_model.networks import few_layouts, random_graph

Numbers = NDArray[np.int64]


def _repeating_graph() -> ProgramGraph:
    """Three equal blocks (parameter, dot, tanh), each on top of the one before, and a node that reads all of them."""
    nodes: list[Node] = []
    for first in (0, 3, 6):
        below = (first - 1,) if first else ()
        nodes += [Node("parameter", (4, 4)), Node("dot", (4, 4), (first, *below)), Node("tanh", (4, 4), (first + 1,))]
    return make_graph(*nodes, Node("tuple", (), (2, 5, 8), root=True))


def _tiles(count: int, seed: int) -> TileConfigs:
    return TileConfigs(np.random.default_rng(seed).integers(0, 2, (count, 24)).astype(np.float32))


def _dependencies(
    graph: ProgramGraph, configs: ConfigBatch, convolutions: int
) -> list[dict[tuple[int, int], Hashable]]:
    """What every (node, config) depends on after each convolution, written out: the definition, without hashes."""
    config_rows: dict[tuple[int, int], bytes] = {}
    for config in range(len(configs)):
        if isinstance(configs, TileConfigs):
            config_rows |= {(node, config): configs.config_feat[config].tobytes() for node in range(len(graph))}
        else:
            for place, node in enumerate(graph.node_config_ids.tolist()):
                config_rows[node, config] = configs.node_config_feat[config, place].tobytes()
    values: dict[tuple[int, int], Hashable] = {
        (node, config): (
            graph.node_feat[node].tobytes(),
            int(graph.node_opcode[node]),
            config_rows.get((node, config)),
        )
        for node in range(len(graph))
        for config in range(len(configs))
    }
    layers = [values]
    for _ in range(convolutions):
        # Numbered after every step, or the tuples would double in size.
        numbers = {value: number for number, value in enumerate(dict.fromkeys(values.values()))}
        values = {
            (node, config): (
                numbers[own],
                tuple(sorted(numbers[values[u, config]] for u, v in graph.edge_index.tolist() if v == node)),
            )
            for (node, config), own in values.items()
        }
        layers.append(values)
    return layers


def _final(graph: ProgramGraph, configs: ConfigBatch, plan: Plan) -> Numbers:
    """The last value of every node under every config, int64[n, c]; the active nodes are found again from the graph."""
    active = set(range(len(graph)) if isinstance(configs, TileConfigs) else graph.node_config_ids.tolist())
    for _ in plan.convolutions:
        active |= {v for u, v in graph.edge_index.tolist() if u in active}
    result = np.empty((len(graph), len(configs)), np.int64)
    result[sorted(active)] = plan.active
    result[sorted(set(range(len(graph))) - active)] = plan.still[:, None]
    return result


CASES = [
    *((random_graph(seed, nodes=12, edges=18), 3) for seed in range(6)),
    (random_graph(7, nodes=30, edges=50, configurable=1), 4),
    (_repeating_graph(), 3),
]


@pytest.mark.parametrize("kind", ["layout", "tile"])
@pytest.mark.parametrize(("graph", "convolutions"), CASES)
def test_values_are_shared_exactly_where_they_depend_on_the_same(
    graph: ProgramGraph, convolutions: int, kind: str
) -> None:
    configs = few_layouts(graph, 7, seed=1) if kind == "layout" else _tiles(7, seed=1)
    plan = Refinement(graph, convolutions, everywhere=kind == "tile").plan(configs)
    layers = _dependencies(graph, configs, convolutions)
    assert list(plan.sizes) == [len(set(layer.values())) for layer in layers]
    final = _final(graph, configs, plan)
    pairs = {(int(final[pair]), value) for pair, value in layers[-1].items()}
    assert len(pairs) == plan.sizes[-1]  # one number for each value, and one value for each number


def test_equal_blocks_are_computed_once() -> None:
    graph = _repeating_graph()
    plan = Refinement(graph, 2, everywhere=False).plan(layout_configs(graph, {}, {}))
    # At first there are parameter, dot, tanh and tuple. The lower two tanh receive from the dot above and the tuple,
    # the last from the tuple only: one more. Then the dots below them differ in the same way: one more.
    assert plan.sizes == (4, 5, 6)
    assert (plan.active[:, 0] == plan.active[:, 1]).all()


def test_a_program_without_configurable_nodes() -> None:
    graph = make_graph(Node("parameter", (4,)), Node("tanh", (4,), (0,), root=True))
    plan = Refinement(graph, 2, everywhere=False).plan(LayoutConfigs(np.zeros((3, 0, 18), np.float32)))
    assert plan.active.shape == (0, 3)
    assert len(plan.still) == 2


def test_sums_follow_the_edges() -> None:
    """Node 0 reads 1 and 2, node 1 reads 2: so 1 receives from 0, and 2 from 0 and 1, half of each."""
    graph = make_graph(Node("add", (4,), (1, 2)), Node("dot", (4,), (2,)), Node("parameter", (4,)))
    plan = Refinement(graph, 1, everywhere=False).plan(layout_configs(graph, {}))
    (convolution,) = plan.convolutions
    sums = {
        int(plan.nodes[convolution.values.rows[start] // 2]): sorted(
            (int(plan.nodes[row // 2]), bool(row % 2), float(weight))
            for row, weight in zip(
                convolution.values.rows[start:stop], convolution.values.weights[start:stop], strict=True
            )
        )
        for start, stop in zip(convolution.values.offsets, convolution.values.offsets[1:], strict=False)
    }  # a node's own value comes first
    assert sums == {
        0: [(0, True, 1.0)],
        1: [(0, False, 1.0), (1, True, 1.0)],
        2: [(0, False, 0.5), (1, False, 0.5), (2, True, 1.0)],
    }


def _apply(sums: WeightedSums, table: NDArray[np.float64]) -> NDArray[np.float64]:
    owners = np.repeat(np.arange(len(sums)), np.diff(sums.offsets))
    result = np.zeros((len(sums), table.shape[1]))
    np.add.at(result, owners, sums.weights[:, None] * table[sums.rows])
    return result


def _run(plan: Plan, graph: ProgramGraph) -> NDArray[np.float64]:
    """Some function of every final value, through a linear network with fixed matrices; float64[values, 3]."""
    random = np.random.default_rng(0)
    features = np.concatenate([graph.node_feat[plan.nodes], graph.node_opcode[plan.nodes, None], plan.config_feat], 1)
    values = np.tanh(features @ random.normal(size=(features.shape[1], 3)))
    for convolution, bases in zip(plan.convolutions, [plan.bases, *(c.bases for c in plan.convolutions)], strict=False):
        whole, changed = values[: len(values) - len(bases)], values[len(values) - len(bases) :]
        product = random.normal(size=(3, 6))  # what is sent, and what is kept
        after = _apply(convolution.values, (whole @ product).reshape(-1, 3))
        moved = _apply(convolution.changes, ((changed - whole[bases]) @ product).reshape(-1, 3))
        values = np.concatenate([after, after[convolution.bases] + moved])
    return values


@pytest.mark.parametrize(("graph", "convolutions"), CASES)
def test_differences_lead_to_the_same_values(graph: ProgramGraph, convolutions: int) -> None:
    configs = few_layouts(graph, 7, seed=2)
    refinement = Refinement(graph, convolutions, everywhere=False)
    plain, relative = refinement.plan(configs), refinement.plan(configs, relative=True)
    assert not any(len(each.changes) for each in plain.convolutions)
    expected = _run(plain, graph)[_final(graph, configs, plain)]
    found = _run(relative, graph)[_final(graph, configs, relative)]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    # What the first config needs is computed as it is, and is all that is.
    first = refinement.plan(configs[:1])
    assert [len(each.values) for each in relative.convolutions] == list(first.sizes[1:])


def test_configs_in_another_order_share_as_much() -> None:
    graph = random_graph(3, nodes=20, edges=40)
    configs = few_layouts(graph, 9, seed=4)
    refinement = Refinement(graph, 3, everywhere=False)
    reversed_configs = LayoutConfigs(configs.node_config_feat[::-1].copy())
    assert refinement.plan(configs).sizes == refinement.plan(reversed_configs).sizes
