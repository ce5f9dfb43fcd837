"""The published recipes, number by number, and how their fields are changed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from cost_model.architecture import ARCHITECTURES
from training.data.collections import COLLECTIONS
from training.errors import TrainingError
from training.recipes import RECIPES, Recipe, RecipeError, field_names, override, parse_setting, published


def test_one_recipe_per_collection() -> None:
    assert list(RECIPES) == list(COLLECTIONS)
    assert all(recipe.collection == name for name, recipe in RECIPES.items())
    assert all(recipe.iterations == 400_000 for recipe in RECIPES.values())


@pytest.mark.parametrize("name", ["layout:xla:random", "layout:xla:default"])
def test_the_recipe_of_xla_layouts(name: str) -> None:
    recipe = published(name)
    assert recipe.architecture == ARCHITECTURES["layout:xla"]
    assert recipe.architecture.residual
    assert (recipe.loss.objective, recipe.loss.margin, recipe.loss.scale) == ("mape+diffmat", 0.01, 100)
    assert (recipe.slate_size, recipe.slates) == (4, 10)
    how = recipe.optimisation
    assert (how.optimiser, how.learning_rate, how.gradient_clip, how.head_weight_decay) == ("adam", 1e-3, None, 0)


@pytest.mark.parametrize("name", ["layout:nlp:random", "layout:nlp:default"])
def test_the_recipe_of_nlp_layouts(name: str) -> None:
    recipe = published(name)
    assert recipe.architecture == ARCHITECTURES["layout:nlp"]
    assert (recipe.loss.objective, recipe.loss.norm_limit) == ("list_mle", 500)
    assert (recipe.slate_size, recipe.slates) == (10, 4)
    how = recipe.optimisation
    assert (how.optimiser, how.learning_rate, how.epsilon) == ("adamw", 1e-3, 1e-6)
    assert (how.gradient_clip, how.head_weight_decay) == (100, 1e-4)
    assert published(name, "code") == recipe


def test_the_recipe_of_tiles() -> None:
    recipe = published("tile:xla")
    assert recipe.architecture == ARCHITECTURES["tile:xla"]
    assert (recipe.loss.objective, recipe.loss.margin, recipe.loss.scale) == ("diffmat", 0.01, 1)
    assert (recipe.slate_size, recipe.slates) == (10, 100)


def test_what_the_code_did_otherwise() -> None:
    tile, layout = published("tile:xla", "code"), published("layout:xla:random", "code")
    assert (tile.loss.margin, layout.loss.margin) == (0.1, 0.01)
    for recipe in (tile, layout):
        assert not recipe.architecture.residual
        assert recipe.architecture.feature_transform == "relu_log"


def test_the_learning_rate_falls_at_60_70_80_and_90_percent() -> None:
    recipe = published("tile:xla")
    assert recipe.milestone_iterations() == [240_000, 280_000, 320_000, 360_000]
    assert recipe.optimisation.decay**2 == pytest.approx(0.1)


@pytest.mark.parametrize("variant", ["readme", "code"])
@pytest.mark.parametrize("name", COLLECTIONS)
def test_json_keeps_everything(name: str, variant: Any) -> None:
    recipe = dataclasses.replace(published(name, variant), seed=7)
    assert Recipe.from_json(recipe.to_json()) == recipe


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ("loss.margin=0.1", 0.1),
        ("loss.norm_limit=null", None),
        ("optimisation.gradient_clip=100", 100.0),
        ("optimisation.milestones=[0.5, 0.9]", (0.5, 0.9)),
        ("architecture.channels=[64, 64]", (64, 64)),
        ("architecture.residual=false", False),
        ("architecture.modulo=true", True),
        ("loss.objective=pairwise_hinge", "pairwise_hinge"),
        ("precision=bfloat16", "bfloat16"),
        ("seed=3", 3),
    ],
)
def test_every_kind_of_field_can_be_changed(setting: str, found: object) -> None:
    name, value = parse_setting(setting)
    changed: Any = override(published("layout:xla:random"), {name: value})
    for part in name.split("."):
        changed = getattr(changed, part)
    assert changed == found
    assert type(changed) is type(found)


def test_every_name_can_be_set_to_what_it_is() -> None:
    recipe = published("layout:nlp:random")
    names = field_names()
    assert {"collection", "seed", "loss.margin", "architecture.hops", "optimisation.milestones"} <= set(names)
    values: dict[str, Any] = {}
    for name in names:
        value: Any = recipe
        for part in name.split("."):
            value = getattr(value, part)
        values[name] = value
    assert override(recipe, values) == recipe


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("margin=0.1", "margin: expected one of collection, .*, found no such field"),
        ("loss.margins=0.1", "loss.margins: expected one of"),
        ("seed.x=1", "seed.x: expected one of"),
        ("loss=1", "loss: expected one of .*, found a group of fields"),
        ("loss.margin=-1", "loss.margin: expected a positive number, found -1"),
        ("loss.margin=big", "loss.margin: expected float, found 'big'"),
        ("loss.margin=null", "loss.margin: expected float, found None"),
        ("loss.norm_limit=x", "loss.norm_limit: expected float or null, found 'x'"),
        ("loss.objective=mse", "loss.objective: expected .*, found 'mse'"),
        ("seed=1.5", "seed: expected int, found 1.5"),
        ("seed=true", "seed: expected int, found True"),
        ("seed=-1", "seed: expected 0 or more, found -1"),
        ("slate_size=1", "slate_size: expected 2 or more, found 1"),
        ("iterations=0", "iterations: expected 1 or more, found 0"),
        ("architecture.channels=[0]", "architecture.channels: in_channels and channels: expected whole numbers"),
        ("architecture.channels=[1.5]", "architecture.channels: expected int, found 1.5"),
        ("architecture.residual=1", "architecture.residual: expected bool, found 1"),
        ("architecture.config_features=24", "architecture.config_features: expected 18, as in every config"),
        ("optimisation.milestones=[0.9, 0.5]", "optimisation.milestones: expected ascending shares"),
        ("optimisation.milestones=[0, 0.5]", "optimisation.milestones: expected ascending shares"),
        ("optimisation.head_weight_decay=-0.1", "optimisation.head_weight_decay: expected 0 or more"),
        ("collection=layout:xla", "collection 'layout:xla': expected one of layout:xla:random"),
        ("seed", "--set seed: expected name=value"),
        ("=3", "--set =3: expected name=value"),
    ],
)
def test_what_does_not_fit_is_named(setting: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        override(published("layout:xla:random"), dict([parse_setting(setting)]))


def test_json_of_something_else_is_refused() -> None:
    with pytest.raises(RecipeError, match="collection 'None': expected one of layout:xla:random, "):
        Recipe.from_json({})
    with pytest.raises(RecipeError, match="surprise: expected one of"):
        Recipe.from_json(published("tile:xla").to_json() | {"surprise": 1})
