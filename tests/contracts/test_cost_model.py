"""What every cost model must do, run over the analytical ones, over learned ones with random weights, and ensembles."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from cost_model import DEVICES, AnalyticalCostModel, ConfigBatch, CostModel, GraphError, LayoutConfigs, ProgramGraph
from cost_model.card import Space
from cost_model.checkpoint import write_checkpoint
from tests.cost_model.graphs import Node, cpu_tiles, layout_configs, make_graph, product_graph, tile_configs
from tests.cost_model.models import descriptor_card, random_weights, write_small

ANALYTICAL = ["analytical", *(f"analytical:{device}" for device in DEVICES)]

SERVED = [
    *((name, space) for name in ANALYTICAL for space in ("layout", "tile")),
    ("learned layout", "layout"),
    ("learned tile", "tile"),
    ("descriptors layout", "layout"),
    ("descriptors tile", "tile"),
    ("descriptors tile cpu", "tile"),
    ("ensemble layout", "layout"),
    ("ensemble tile", "tile"),
]
"""Every model, with each space that it serves."""


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


def _programs(model: CostModel, space: str) -> tuple[ProgramGraph, ConfigBatch]:
    """A program and some of its configs, of a kind that the model tells apart."""
    if space == "layout":
        graph = _layout_graph()
        return graph, _random_layouts(graph, 40)
    if model.name == "analytical:cpu" or "tile-cpu-" in model.name:
        tiles = [(m, k, n) for m in (1, 4, 8) for k in (1, 4) for n in (8, 32, 64)]
        return product_graph(100, 60, 200), cpu_tiles((0, 0, 0), *tiles)
    bounds = [((k, n), (m, n), ()) for m in (1, 4) for k in (1, 8) for n in (1, 2)]
    return product_graph(100, 60, 200), tile_configs(((), (), ()), *bounds)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of the learned models, and the names of ensembles of two."""
    folder = tmp_path_factory.mktemp("learned")
    names: dict[str, str] = {}
    for space in get_args(Space):
        files = [folder / f"{space}{seed}.safetensors" for seed in range(2)]
        for seed, file in enumerate(files):
            write_small(file, space, seed=seed)
        for device in ("tpu-v5e", "cpu"):
            card = descriptor_card(space, device)
            file = folder / f"{space}-{device}-descriptors.safetensors"
            write_checkpoint(file, random_weights(card.architecture), card)
            names[f"descriptors {space}" + (" cpu" if device == "cpu" else "")] = str(file)
        names |= {f"learned {space}": str(files[0]), f"ensemble {space}": f"ensemble:{files[0]},{files[1]}"}
    return names


@pytest.fixture(params=SERVED, ids=" ".join)
def served(request: pytest.FixtureRequest, checkpoints: dict[str, str]) -> tuple[CostModel, str]:
    """A model and a space."""
    name, space = request.param
    return CostModel.load(checkpoints.get(name, name)), space


@pytest.fixture
def model(served: tuple[CostModel, str]) -> CostModel:
    return served[0]


@pytest.fixture
def case(served: tuple[CostModel, str]) -> tuple[ProgramGraph, ConfigBatch]:
    return _programs(*served)


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
    alone = [model.score(graph, configs[i : i + 1])[0] for i in range(len(configs))]
    # A network may sum in another order, if it is given other configs.
    tolerance = 0.0 if isinstance(model, AnalyticalCostModel) else 1e-5
    np.testing.assert_allclose(together, alone, rtol=tolerance, atol=tolerance * float(np.ptp(together)))


def test_the_name_finds_the_model(model: CostModel, case: tuple[ProgramGraph, ConfigBatch]) -> None:
    again = CostModel.load(model.name)
    assert again.name == model.name
    assert again.score(*case).tolist() == model.score(*case).tolist()


def test_without_rounding_all_is_in_order_that_was(model: CostModel, case: tuple[ProgramGraph, ConfigBatch]) -> None:
    exact = model.without_rounding()
    assert exact.name == model.name
    rounded, scores = model.score(*case), exact.score(*case)
    told_apart = rounded[:, None] < rounded
    assert told_apart.any()
    assert (scores[:, None] < scores)[told_apart].all()


def test_an_empty_batch(model: CostModel, case: tuple[ProgramGraph, ConfigBatch]) -> None:
    graph, configs = case
    empty = configs[:0]
    assert model.score(graph, empty).shape == (0,)
    assert model.rank(graph, empty).shape == (0,)


def test_nothing_is_changed(model: CostModel, case: tuple[ProgramGraph, ConfigBatch]) -> None:
    graph, configs = case
    before = graph.node_feat.copy()
    assert model.score(graph, configs).tolist() == model.score(graph, configs).tolist()
    assert (graph.node_feat == before).all()


@pytest.mark.parametrize(("space", "other"), [("layout", "tile"), ("tile", "layout")])
def test_a_model_of_one_space_refuses_the_other(checkpoints: dict[str, str], space: str, other: str) -> None:
    for kind in ("learned", "ensemble"):
        model = CostModel.load(checkpoints[f"{kind} {space}"])
        for call in (model.score, model.rank):
            with pytest.raises(GraphError, match=f"expected {space} configs, found {other} configs: use"):
                call(*_programs(model, other))


@pytest.mark.parametrize("name", [name for name, space in SERVED if space == "layout"])
def test_configs_of_another_graph_are_refused(checkpoints: dict[str, str], name: str) -> None:
    configs = _random_layouts(_layout_graph(), 2)
    with pytest.raises(GraphError, match="expected 1 configurable nodes as in the graph, found 2"):
        CostModel.load(checkpoints.get(name, name)).score(product_graph(4, 4, 4), configs)


@pytest.mark.parametrize("name", ANALYTICAL)
def test_the_default_is_never_worse_than_extra_copies(name: str) -> None:
    graph = _layout_graph()
    configs = layout_configs(
        graph,
        {},
        {(0, 0): (1, 0), (1, 1): (0, 1)},
        {(0, 1): (0, 1)},
        {(0, 0): (0, 1), (0, 1): (0, 1), (1, 1): (1, 0), (1, 2): (0, 1)},
    )
    default, differ, argument, several = CostModel.load(name).score(graph, configs).tolist()
    assert default < differ
    assert default < several
    # A dot of a TPU reads an argument in either order without a copy.
    assert default == argument if "tpu" in name else default < argument


@pytest.mark.parametrize("name", ANALYTICAL)
def test_larger_programs_score_higher(name: str) -> None:
    small, large = product_graph(64, 64, 64), product_graph(640, 640, 640)
    scores = [float(CostModel.load(name).score(graph, layout_configs(graph, {}))[0]) for graph in (small, large)]
    assert 0 < scores[0] < scores[1]
