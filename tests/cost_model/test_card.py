from __future__ import annotations

import json
from importlib import metadata
from typing import Any

import pytest

from cost_model import Architecture, CardError, CheckpointError, ModelCard, TrainingData
from cost_model.card import parse_object
from cost_model.version import tool_version
from tests.cost_model.models import small_card


def _changed(**changes: Any) -> str:
    """The JSON of a good card with other values at top level; None takes a key away."""
    values = json.loads(small_card().to_json()) | changes
    return json.dumps({name: value for name, value in values.items() if value is not None or name == "date"})


@pytest.mark.parametrize("space", ["layout", "tile"])
def test_json_and_back(space: Any) -> None:
    card = small_card(space)
    assert ModelCard.from_json(card.to_json()) == card
    assert ModelCard.from_json(small_card(date=None, recipe={}, metrics={}).to_json()).date is None


def test_json_by_hand() -> None:
    values = json.loads(small_card().to_json())
    assert values == {
        "format": "2.0",
        "name": "small-layout",
        "architecture": {
            "config_features": 18,
            "in_channels": 4,
            "channels": [6, 6],
            "residual": True,
            "feature_transform": "signed_log",
            "output_scale": 0.5,
            "layout_embedding": 0,
            "modulo": False,
            "hops": None,
            "change_width": 0,
            "late_width": 0,
        },
        "space": "layout",
        "target": "cpu",
        "label_kind": "measured",
        "training_data": [{"name": "made up", "graphs": 2, "configs": 30, "families": ["dot", "conv"]}],
        "recipe": {"seed": 3, "schedule": [0.6, 0.7], "loss": {"name": "hinge", "margin": 0.1}},
        "metrics": {"kendall_tau": 0.75},
        "kind": "sage",
        "feature_schema": 1,
        "tool_version": metadata.version("xla-autotune"),
        "date": "2026-11-24",
    }


def test_a_source_tree_without_installation_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_found(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", not_found)
    assert tool_version() == "not installed"


def test_recipe_and_metrics_are_copies() -> None:
    recipe: dict[str, Any] = {"margins": (0.1, 0.2), "inner": {"seed": 1}}
    card = small_card(recipe=recipe)
    recipe["inner"]["seed"] = 2
    assert card.recipe == {"margins": [0.1, 0.2], "inner": {"seed": 1}}


def test_the_label_kind_is_never_guessed() -> None:
    data = (TrainingData("made up", graphs=1, configs=1),)
    with pytest.raises(TypeError, match="label_kind"):
        ModelCard("name", Architecture(18, 4, (4,)), "layout", "cpu", training_data=data)  # type: ignore[call-arg]
    with pytest.raises(CardError, match="expected label_kind, found no such key"):
        ModelCard.from_json(_changed(label_kind=None))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_kind": "guessed"}, "label_kind: expected one of measured, estimated, found 'guessed'"),
        ({"label_kind": ["measured"]}, "label_kind: expected one of measured, estimated, found"),
        ({"space": "tile"}, "config_features: expected 24, as in every tile config, found 18"),
        ({"space": "fusion"}, "space: expected one of layout, tile, found 'fusion'"),
        ({"kind": "gat"}, "kind: expected one of sage, descriptors, found 'gat'"),
        ({"name": ""}, "name: expected one line of 1 to 200 characters"),
        ({"name": "two\nlines"}, "name: expected one line"),
        ({"name": 7}, "name: expected one line"),
        ({"target": "x" * 201}, "target: expected one line"),
        ({"tool_version": []}, "tool_version: expected one line"),
        ({"date": "yesterday"}, "date: expected a day"),
        ({"date": "20261124"}, "date: expected a day"),
        ({"date": 20261124}, "date: expected a day"),
        ({"recipe": [1]}, "recipe: expected a JSON object"),
        ({"recipe": {"half": "\ud800"}}, "recipe: expected a JSON object"),
        ({"metrics": 0.5}, "metrics: expected a JSON object"),
        ({"training_data": []}, "training_data: expected a tuple of TrainingData, one at least"),
        ({"training_data": {}}, "training_data: expected a list"),
        ({"training_data": ["all"]}, "training_data: expected a JSON object, found str"),
        ({"feature_schema": "1"}, "feature_schema: expected a whole number"),
        ({"feature_schema": True}, "feature_schema: expected a whole number"),
        ({"architecture": None}, "expected architecture, found no such key"),
        ({"architecture": 3}, "architecture: expected a JSON object, found int"),
        ({"temperature": 1}, "card: expected no keys but name, .*found .'temperature'"),
        ({"format": None}, 'format: expected a version such as "1.0", found None'),
        ({"format": 1.0}, "format: expected a version"),
        ({"format": "1"}, "format: expected a version"),
        ({"format": "1.-1"}, "format: expected a version"),
        ({"format": "1.9999999"}, "format: expected a version"),
        ({"format": "1.0"}, "format: expected major version 2, found '1.0'"),
    ],
)
def test_refused_values(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CardError, match=message) as e:
        ModelCard.from_json(_changed(**changes))
    assert isinstance(e.value, CheckpointError)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config_features": 18.0}, "config_features: expected int, found 18.0"),
        ({"in_channels": True}, "in_channels: expected int, found True"),
        ({"in_channels": 0}, "whole numbers from 1"),
        ({"in_channels": 1 << 40}, "whole numbers from 1"),
        ({"channels": 6}, "channels: expected list, found 6"),
        ({"channels": []}, "at least one convolution"),
        ({"channels": [6, "6"]}, "whole numbers from 1"),
        ({"residual": 1}, "residual: expected bool, found 1"),
        ({"feature_transform": "log"}, "feature_transform: expected one of"),
        ({"output_scale": "1"}, "output_scale: expected float or int, found '1'"),
        ({"output_scale": 0}, "output_scale: expected a positive number"),
        ({"output_scale": 10**400}, "architecture: "),
        ({"aggregation": "max"}, "architecture: expected no keys but config_features"),
    ],
)
def test_refused_architectures(changes: dict[str, Any], message: str) -> None:
    architecture = json.loads(small_card().to_json())["architecture"] | changes
    with pytest.raises(CardError, match=message):
        ModelCard.from_json(_changed(architecture=architecture))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"graphs": 0}, "graphs: expected a whole number above 0, found 0"),
        ({"configs": 2.5}, "configs: expected a whole number above 0"),
        ({"name": ""}, "training_data: name: expected one line"),
        ({"families": "bert"}, "families: expected a list"),
        ({"families": [3]}, "families: expected one line"),
        ({"license": "Apache-2.0"}, "training_data: expected no keys but name"),
    ],
)
def test_refused_training_data(changes: dict[str, Any], message: str) -> None:
    entry = {"name": "made up", "graphs": 2, "configs": 30, "families": []} | changes
    with pytest.raises(CardError, match=message):
        ModelCard.from_json(_changed(training_data=[entry]))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1j, {1, 2}])
def test_only_json_can_be_kept(value: object) -> None:
    with pytest.raises(CardError, match="metrics: expected a JSON object of finite numbers and text"):
        small_card(metrics={"kendall_tau": value})


def test_a_newer_format_or_schema_asks_for_an_upgrade() -> None:
    with pytest.raises(CardError, match=r"format: expected 2, found the newer 3.0: upgrade xla-autotune"):
        ModelCard.from_json(_changed(format="3.0", label_kind=None))
    with pytest.raises(CardError, match="feature_schema: expected 1, found 2: upgrade xla-autotune"):
        ModelCard.from_json(_changed(feature_schema=2))
    with pytest.raises(CardError, match=r"feature_schema: expected 1, found 0: .*train the model again"):
        ModelCard.from_json(_changed(feature_schema=0))


def test_keys_of_a_newer_minor_version_are_ignored() -> None:
    entry = {"name": "made up", "graphs": 2, "configs": 30, "families": ["dot", "conv"], "license": "Apache-2.0"}
    assert ModelCard.from_json(_changed(format="2.1", temperature=1, training_data=[entry])) == small_card()
    # The network itself is no matter of a minor version.
    architecture = json.loads(small_card().to_json())["architecture"] | {"aggregation": "max"}
    with pytest.raises(CardError, match="architecture: expected no keys but"):
        ModelCard.from_json(_changed(format="2.1", architecture=architecture))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ("[1]", "a JSON list"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' more than once"),
        ('{"a": NaN}', "NaN, which is not JSON"),
        ('{"a": -Infinity}', "-Infinity, which is not JSON"),
        ('{"a": ' + "[" * 100_000, "nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "4300 digits"),
    ],
)
def test_strict_json(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_object(text)
    with pytest.raises(CardError, match="expected a JSON object, found"):
        ModelCard.from_json(text)
