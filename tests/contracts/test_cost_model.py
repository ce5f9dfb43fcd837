"""What every cost model must do, run over each one that ships."""

from __future__ import annotations

import numpy as np
import pytest

from cost_model import DEVICES, ConfigBatch, CostModel, LayoutConfigs, ProgramGraph, TileConfigs
from tests.cost_model.graphs import Node, cpu_tiles, layout_configs, make_graph, product_graph, tile_configs

MODELS = ["analytical", *(f"analytical:{device}" for device in DEVICES)]


def _layout_graph() -> ProgramGraph:
    """Two dots with element-wise instructions between them; all sizes are whole hardware tiles in any order."""
    return make_graph(
        Node("parameter", (128, 256)),
        Node("parameter", (256, 128)),
        Node("dot", (128, 128), (0, 1)),
        Node("tanh", (128, 128), (2,)),
        Node("parameter", (128, 384)),
        Node("dot", (128, 384), (3, 4), root=True),
    )


def _random_layouts(graph: ProgramGraph, count: int) -> LayoutConfigs:
    rng = np.random.default_rng(0)
    orders = ((1, 0), (0, 1))
    return layout_configs(
        graph,
        *(
            {(row, tensor): orders[rng.integers(2)] for row in range(2) for tensor in range(3) if rng.random() < 0.5}
            for _ in range(count)
        ),
    )


def _take(configs: ConfigBatch, rows: slice) -> ConfigBatch:
    if isinstance(configs, LayoutConfigs):
        return LayoutConfigs(configs.node_config_feat[rows])
    return TileConfigs(configs.config_feat[rows])


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> CostModel:
    return CostModel.load(request.param)


@pytest.fixture(params=["layout", "tile"])
def case(request: pytest.FixtureRequest, model: CostModel) -> tuple[ProgramGraph, ConfigBatch]:
    if request.param == "layout":
        graph = _layout_graph()
        return graph, _random_layouts(graph, 40)
    if model.name == "analytical:cpu":
        tiles = [(m, k, n) for m in (1, 4, 8) for k in (1, 4) for n in (8, 32, 64)]
        return product_graph(100, 60, 200), cpu_tiles((0, 0, 0), *tiles)
    bounds = [((k, n), (m, n), ()) for m in (1, 4) for k in (1, 8) for n in (1, 2)]
    return product_graph(100, 60, 200), tile_configs(((), (), ()), *bounds)


def test_scores_are_finite_and_of_the_right_form(model: CostModel, case: tuple[ProgramGraph, ConfigBatch]) -> None:
    scores = model.score(*case)
    assert scores.dtype == np.float32
    assert scores.shape == (len(case[1]),)
    assert np.isfinite(scores).all()
    assert len(np.unique(scores)) > 1


def test_rank_orders_the_scores(model: CostModel, case: tuple[ProgramGraph, ConfigBatch]) -> None:
    scores, ranks = model.score(*case), model.rank(*case)
    assert ranks.dtype == np.int64
    assert sorted(ranks.tolist()) == list(range(len(case[1])))
    assert (np.diff(scores[ranks]) >= 0).all()


def test_a_score_does_not_depend_on_the_batch(model: CostModel, case: tuple[ProgramGraph, ConfigBatch]) -> None:
    graph, configs = case
    together = model.score(graph, configs)
    alone = [model.score(graph, _take(configs, slice(i, i + 1)))[0] for i in range(len(configs))]
    assert together.tolist() == alone
    assert CostModel.load(model.name).score(graph, configs).tolist() == together.tolist()


def test_an_empty_batch(model: CostModel, case: tuple[ProgramGraph, ConfigBatch]) -> None:
    graph, configs = case
    empty = _take(configs, slice(0, 0))
    assert model.score(graph, empty).shape == (0,)
    assert model.rank(graph, empty).shape == (0,)


def test_nothing_is_changed(model: CostModel, case: tuple[ProgramGraph, ConfigBatch]) -> None:
    graph, configs = case
    before = graph.node_feat.copy()
    assert model.score(graph, configs).tolist() == model.score(graph, configs).tolist()
    assert (graph.node_feat == before).all()


def test_the_default_is_never_worse_than_extra_copies(model: CostModel) -> None:
    graph = _layout_graph()
    configs = layout_configs(
        graph,
        {},
        {(0, 0): (1, 0), (1, 1): (0, 1)},
        {(0, 1): (0, 1)},
        {(0, 0): (0, 1), (0, 1): (0, 1), (1, 1): (1, 0), (1, 2): (0, 1)},
    )
    default, *others = model.score(graph, configs).tolist()
    assert all(default < other for other in others)


def test_larger_programs_score_higher(model: CostModel) -> None:
    small, large = product_graph(64, 64, 64), product_graph(640, 640, 640)
    scores = [float(model.score(graph, layout_configs(graph, {}))[0]) for graph in (small, large)]
    assert 0 < scores[0] < scores[1]
