"""Training of descriptor networks on made-up programs whose costs follow a rule."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from cost_model.descriptors.architecture import DescriptorArchitecture
from cost_model.descriptors.base import Descriptors, without_items
from cost_model.descriptors.scoring import tensors_of
from cost_model.metrics import kendall_tau
from training.descriptors import DescriptorRecipe, Example, train_descriptors
from training.errors import TrainingError

LAYOUT = DescriptorArchitecture("layout", "tpu-v5e", width=8, members=2)
TILE = DescriptorArchitecture("tile", "tpu-v5e", width=8, members=2)
RECIPE = DescriptorRecipe(LAYOUT, iterations=150, programs=4, configs=10, learning_rate=0.01)


def _layouts(seed: int, configs: int = 14) -> Example:
    """Configs that cost what their items cost: the product of two columns, weighted with their shares."""
    random = np.random.default_rng(seed)
    items = random.random((20, len(LAYOUT.item_columns))).astype(np.float32)
    shares = random.random(20).astype(np.float32)
    decisions = random.integers(20, size=5 * configs)
    offsets = np.concatenate([[0], np.sort(random.integers(5 * configs, size=configs - 1)), [5 * configs]])
    summary = random.random((configs, len(LAYOUT.summary_columns))).astype(np.float32)
    descriptors = Descriptors(items, shares, decisions, offsets, summary)
    weights = (shares * items[:, 3] * (items[:, 5] > 0.5))[decisions]
    return Example(f"p{seed}", descriptors, np.log1p(np.bincount(descriptors.owner, weights, minlength=configs)))


def _tau(network: torch.nn.Module, example: Example) -> float:
    with torch.inference_mode():
        scores = network(*tensors_of(example.descriptors, torch.device("cpu"))).mean(0).numpy()
    return kendall_tau(scores, example.log_costs)


def test_learns_what_carries_over_to_other_programs() -> None:
    recipe = dataclasses.replace(RECIPE, iterations=400)
    network = train_descriptors(recipe, [_layouts(seed) for seed in range(60)])
    assert np.mean([_tau(network, _layouts(seed)) for seed in range(100, 110)]) > 0.5


def test_tiles_have_no_items() -> None:
    random = np.random.default_rng(0)

    def example(number: int) -> Example:
        summary = random.random((12, len(TILE.summary_columns))).astype(np.float32)
        return Example(f"k{number}", without_items(summary), summary[:, 4] * np.log(3.0) - summary[:, 9])

    recipe = dataclasses.replace(RECIPE, architecture=TILE)
    network = train_descriptors(recipe, [example(number) for number in range(20)])
    assert np.mean([_tau(network, example(number)) for number in range(100, 110)]) > 0.7


def test_the_same_seed_gives_the_same_network() -> None:
    examples = [_layouts(seed) for seed in range(5)]
    recipe = dataclasses.replace(RECIPE, iterations=5)
    first, again, other = (
        train_descriptors(each, examples).state_dict() for each in (recipe, recipe, dataclasses.replace(recipe, seed=1))
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_members_are_not_alike() -> None:
    weight = train_descriptors(dataclasses.replace(RECIPE, iterations=5), [_layouts(1)]).state_dict()["output.weight"]
    assert not torch.allclose(weight[0], weight[1])


def test_ties_teach_nothing() -> None:
    equal = dataclasses.replace(_layouts(1), log_costs=np.full(14, 5.0))
    with pytest.raises(TrainingError, match="expected programs whose configs differ in cost, found none among 1"):
        train_descriptors(RECIPE, [equal])


def test_the_prior_has_most_of_the_say_in_layouts() -> None:
    examples = [_layouts(seed) for seed in range(5)]
    network = train_descriptors(RECIPE, examples)
    prior = dict(zip(LAYOUT.summary_columns, network.get_buffer("prior").tolist(), strict=True))
    assert {name for name, weight in prior.items() if weight} == {"log_analytical_share"}
    arguments = [tensors_of(each.descriptors, torch.device("cpu")) for each in examples]
    with torch.inference_mode():
        learned = [network.get_buffer("output_scale") * network(*each).mean(0) for each in arguments]
        columns = [network.get_buffer("summary_scale") * network.get_buffer("prior") * each[-1] for each in arguments]
    assert np.mean([each.var(0, correction=0) for each in learned]) == pytest.approx(1.0, rel=1e-3)
    for name, weight in prior.items():
        place = LAYOUT.summary_columns.index(name)
        expected = pytest.approx(9.0 if weight else 0.0, rel=1e-3)
        assert np.mean([each[:, place].var(0, correction=0) for each in columns]) == expected


def test_progress() -> None:
    told: list[tuple[int, int]] = []
    train_descriptors(RECIPE, [_layouts(1), _layouts(2)], lambda done, total, loss: told.append((done, total)))
    assert told == [(100, 150), (150, 150)]


def test_tiles_of_a_tpu_are_ranked_with_their_iterations_and_in_steps() -> None:
    architecture = DescriptorArchitecture("tile", "tpu-v5e", members=2)
    place = architecture.summary_columns.index("log_iterations")
    random = np.random.default_rng(0)
    examples = []
    for number in range(4):
        summary = random.normal(size=(12, len(architecture.summary_columns))).astype(np.float32)
        examples.append(Example(f"p{number}", without_items(summary), summary[:, place].astype(np.float64)))
    network = train_descriptors(dataclasses.replace(RECIPE, architecture=architecture, iterations=20), examples)
    prior = network.get_buffer("prior")
    assert np.flatnonzero(prior.numpy()).tolist() == [place]
    with torch.inference_mode():
        scores = network.score(*tensors_of(examples[0].descriptors, torch.device("cpu")))
    steps = scores / network.get_buffer("resolution")
    assert torch.allclose(steps, steps.round(), atol=1e-3)
    assert len(scores.unique()) > 3
