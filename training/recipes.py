"""How a model is trained, as one frozen dataclass per collection: the 2nd-place solution's, and its variants.

Source: 2nd-place solution of Kaggle's "Google - Fast or Slow? Predict AI Model Runtime". Its README and the code that
made its submission differ; the recipe that goes by the collection's name follows the README where that is explicit.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import NoneType, UnionType
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

from cost_model.architecture import ARCHITECTURES, Architecture
from cost_model.card import CONFIG_FEATURES
from cost_model.errors import ArchitectureError
from training.data.collections import COLLECTIONS, collection_of
from training.errors import TrainingDataError, TrainingError

Objective = Literal["mape+diffmat", "diffmat", "list_mle", "pairwise_hinge"]
Optimiser = Literal["adam", "adamw"]
Precision = Literal["float32", "bfloat16"]
Variant = Literal["readme", "code"]


AnyRecipe = TypeVar("AnyRecipe")
"""A frozen dataclass of values and of such dataclasses."""


class RecipeError(TrainingError):
    """A recipe has an unknown field, or a value that is out of range."""


@dataclass(frozen=True)
class Loss:
    """What is minimised over each slate.

    Attributes:
        objective: see `training.losses`. "mape+diffmat" is MAPE plus `scale` times DiffMat.
        margin: of the hinge, in the unit of the targets (seconds for layouts, ratios for tiles).
        scale: factor of the hinge.
        norm_limit: of `list_mle`: slates of scores with a larger L2 norm are scaled down to it. None: no limit.
        target_unit: targets are divided by this before the loss sees them; 1 as published.
    """

    objective: Objective
    margin: float = 0.01
    scale: float = 1.0
    norm_limit: float | None = 500.0
    target_unit: float = 1.0


@dataclass(frozen=True)
class Optimisation:
    """How the loss is minimised.

    Attributes:
        optimiser: Adam, or Adam with decoupled weight decay.
        learning_rate: at the beginning.
        epsilon: of Adam, added to the root of the second moment.
        head_weight_decay: of the last linear layer; everything else has none.
        gradient_clip: the largest L2 norm of all gradients together; None: no limit.
        milestones: at these shares of all iterations the learning rate is multiplied with `decay`.
        decay: see above.
    """

    optimiser: Optimiser = "adam"
    learning_rate: float = 1e-3
    epsilon: float = 1e-8
    head_weight_decay: float = 0.0
    gradient_clip: float | None = None
    milestones: tuple[float, ...] = (0.6, 0.7, 0.8, 0.9)
    decay: float = 1 / math.sqrt(10)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a model becomes, but for the data.

    Attributes:
        collection: what it learns from.
        architecture: the network.
        loss: what is minimised.
        optimisation: how.
        slate_size: configs of one graph that are compared with each other.
        slates: slates per iteration.
        iterations: steps of the optimiser. The published number is 400,000.
        precision: of values and products between convolutions; parameters are float32 always.
        seed: of initial weights and of the slates.

    Raises:
        RecipeError: a value is out of range.
    """

    collection: str
    architecture: Architecture
    loss: Loss
    optimisation: Optimisation = field(default_factory=Optimisation)
    slate_size: int = 4
    slates: int = 10
    iterations: int = 400_000
    precision: Precision = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        loss, optimisation = self.loss, self.optimisation
        collection_of(self.collection)
        for name, value, choices in (
            ("loss.objective", loss.objective, Objective),
            ("optimisation.optimiser", optimisation.optimiser, Optimiser),
            ("precision", self.precision, Precision),
        ):
            _check(value in get_args(choices), name, f"one of {', '.join(get_args(choices))}", value)
        for name, number in (
            ("loss.margin", loss.margin),
            ("loss.scale", loss.scale),
            ("loss.norm_limit", loss.norm_limit),
            ("loss.target_unit", loss.target_unit),
            ("optimisation.learning_rate", optimisation.learning_rate),
            ("optimisation.epsilon", optimisation.epsilon),
            ("optimisation.gradient_clip", optimisation.gradient_clip),
            ("optimisation.decay", optimisation.decay),
        ):
            _check(number is None or (0 < number < math.inf), name, "a positive number", number)
        decay, milestones = optimisation.head_weight_decay, optimisation.milestones
        _check(0 <= decay < math.inf, "optimisation.head_weight_decay", "0 or more", decay)
        ascending = all(a < b for a, b in zip((0, *milestones), (*milestones, 1), strict=True))
        _check(ascending, "optimisation.milestones", "ascending shares between 0 and 1", milestones)
        for name, number, least in (
            ("slate_size", self.slate_size, 2),
            ("slates", self.slates, 1),
            ("iterations", self.iterations, 1),
            ("seed", self.seed, 0),
        ):
            _check(number >= least, name, f"{least} or more", number)
        columns = CONFIG_FEATURES["tile" if collection_of(self.collection).kind == "tile" else "layout"]
        _check(
            self.architecture.config_features == columns,
            "architecture.config_features",
            f"{columns}, as in every config of {self.collection}",
            self.architecture.config_features,
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON values; `from_json` makes an equal recipe of them."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Recipe:
        """Reads what `to_json` made.

        Raises:
            RecipeError: it is something else.
        """
        try:
            base = published(str(values.get("collection")))
        except TrainingDataError as error:
            raise RecipeError(str(error)) from None
        return override(base, flatten(values))

    def milestone_iterations(self) -> list[int]:
        """After which iterations the learning rate falls."""
        return [round(share * self.iterations) for share in self.optimisation.milestones]


def published(collection: str, variant: Variant = "readme") -> Recipe:
    """The recipe of a collection, as the README has it or as the code did it.

    Raises:
        TrainingDataError: there is no such collection.
    """
    if not collection_of(collection).published:
        return _published_for_own(collection, variant)
    recipe = RECIPES[collection]
    if variant == "readme" or ":nlp:" in collection:  # the two agree on nlp
        return recipe
    changed = dataclasses.replace(recipe.architecture, residual=False, feature_transform="relu_log")
    loss = dataclasses.replace(recipe.loss, margin=0.1) if collection == "tile:xla" else recipe.loss
    return dataclasses.replace(recipe, architecture=changed, loss=loss)


def _published_for_own(collection: str, variant: Variant) -> Recipe:
    """The published recipe for a collection that was made here.

    Costs of programs that compile in seconds are far from those that the MAPE of xla layouts was tuned for, so layouts
    are learned as those of nlp were (ListMLE, which sees their order alone), with the smaller network of xla.
    """
    if collection_of(collection).kind == "tile":
        return dataclasses.replace(published("tile:xla", variant), collection=collection)
    changed = published("layout:xla:random", variant).architecture
    return dataclasses.replace(published("layout:nlp:random"), collection=collection, architecture=changed)


def override(recipe: AnyRecipe, settings: Mapping[str, Any]) -> AnyRecipe:
    """A recipe, of any kind, with some fields changed.

    Args:
        recipe: where to start.
        settings: new values by the name of the field, with a dot for fields within fields ("loss.margin"). Values as
            JSON has them: a list stands for a tuple.

    Raises:
        RecipeError: there is no such field, or it cannot have such a value.
    """
    known = ", ".join(flatten(asdict(recipe)))  # type: ignore[call-overload]
    for name, value in settings.items():
        recipe = _set(recipe, name.split("."), value, name, known)
    return recipe


def parse_setting(text: str) -> tuple[str, Any]:
    """Reads one "name=value" from the command line. The value is JSON, or a bare word.

    Raises:
        RecipeError: there is no "=".
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise RecipeError(f"--set {text}: expected name=value, such as loss.margin=0.1 or architecture.hops=2")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def field_names() -> list[str]:
    """Every name that `override` takes."""
    return list(flatten(RECIPES["tile:xla"].to_json()))


def _set(owner: Any, path: Sequence[str], value: Any, name: str, known: str) -> Any:
    """A dataclass with one field changed, which may be a field of a field."""
    hints = get_type_hints(type(owner))
    first, *rest = path
    if first not in hints:
        raise RecipeError(f"{name}: expected one of {known}, found no such field")
    current = getattr(owner, first)
    if rest:
        new = _set(current, rest, value, name, known) if dataclasses.is_dataclass(current) else None
        if new is None:
            raise RecipeError(f"{name}: expected one of {known}, found no such field")
    else:
        new = _convert(hints[first], value, name, known)
    try:
        return dataclasses.replace(owner, **{first: new})
    except ArchitectureError as error:
        raise RecipeError(f"{name}: {error}") from None


def _convert(hint: Any, value: Any, name: str, known: str) -> Any:
    """A JSON value as the type of a field.

    Raises:
        RecipeError: it is of another type.
    """
    if dataclasses.is_dataclass(hint):
        raise RecipeError(f"{name}: expected one of {known}, found a group of fields")
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    for kind in kinds:
        if kind is NoneType and value is None:
            return None
        if kind is float and type(value) in (int, float) and math.isfinite(value):
            return float(value)
        if get_origin(kind) is tuple and isinstance(value, list | tuple):
            return tuple(_convert(get_args(kind)[0], each, name, known) for each in value)
        if get_origin(kind) is Literal and value in get_args(kind):
            return value
        if isinstance(kind, type) and kind is not float and type(value) is kind:
            return value
    expected = " or ".join(getattr(kind, "__name__", str(kind).replace("typing.", "")) for kind in kinds)
    raise RecipeError(f"{name}: expected {expected.replace('NoneType', 'null')}, found {value!r:.200}")


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values within values, by names with dots, as `override` takes them."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        result |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return result


def _check(fits: bool, name: str, expected: str, found: object) -> None:
    if not fits:
        raise RecipeError(f"{name}: expected {expected}, found {found!r:.200}")


def _data_set(collection: str) -> str:
    """The name of the published network: the random and default collections share one."""
    return ":".join(collection.split(":")[:2])


_BY_DATA_SET: Final = {
    # The README gives the hinge of layouts in seconds; divided by the margin it is of the size of the MAPE.
    "layout:xla": {"loss": Loss("mape+diffmat", margin=0.01, scale=100.0), "slate_size": 4, "slates": 10},
    "tile:xla": {"loss": Loss("diffmat", margin=0.01), "slate_size": 10, "slates": 100},
    "layout:nlp": {
        "loss": Loss("list_mle"),
        "optimisation": Optimisation("adamw", epsilon=1e-6, head_weight_decay=1e-4, gradient_clip=100.0),
        "slate_size": 10,
        "slates": 4,
    },
}

RECIPES: Final[Mapping[str, Recipe]] = {
    name: Recipe(name, ARCHITECTURES[_data_set(name)], **_BY_DATA_SET[_data_set(name)])  # type: ignore[arg-type]
    for name in COLLECTIONS
}
"""The published recipes by collection."""
