"""The card of a learned cost model: what it is, what it was trained on, how good it is. Needs no torch.

A checkpoint holds its card as JSON. The version of that format is written as "major.minor":

- The major number rises when ignoring the change would lead to other scores; a key of `architecture` always does.
  A reader refuses every major number but its own.
- The minor number rises when a key is added that may be ignored. A reader ignores unknown keys in cards of a newer
  minor version, and refuses them in all other cards, where they are a slip or damage.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal, get_args

from cost_model import features
from cost_model.architecture import Architecture
from cost_model.descriptors.architecture import DescriptorArchitecture
from cost_model.errors import ArchitectureError, CardError
from cost_model.version import tool_version

FORMAT: Final = (2, 0)
"""Major and minor version of the cards that are written here."""

Kind = Literal["sage", "descriptors"]
Space = Literal["layout", "tile"]
AnyArchitecture = Architecture | DescriptorArchitecture
LabelKind = Literal["measured", "estimated"]
JsonObject = Mapping[str, Any]

CONFIG_FEATURES: Final[Mapping[Space, int]] = {"layout": features.LAYOUT_FEATURES, "tile": features.TILE_FEATURES}
"""Columns of a config row in each space."""

_ARCHITECTURES: Final[Mapping[Kind, type]] = {"sage": Architecture, "descriptors": DescriptorArchitecture}

_ARCHITECTURE_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "config_features": (int,),
    "in_channels": (int,),
    "channels": (list,),
    "residual": (bool,),
    "feature_transform": (str,),
    "output_scale": (float, int),
    "layout_embedding": (int,),
    "modulo": (bool,),
    "hops": (int, type(None)),
    "change_width": (int,),
    "late_width": (int,),
}


@dataclass(frozen=True)
class TrainingData:
    """One data set that a model was trained on.

    Attributes:
        name: such as "layout:xla:random, train".
        graphs: how many programs or kernels.
        configs: how many labelled configs of them.
        families: the families of programs in it ("resnet", "bert"); results on others show how a model generalises.

    Raises:
        CardError: a value is of another type or out of range.
    """

    name: str
    graphs: int
    configs: int
    families: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_text("training_data: name", self.name)
        for name in ("graphs", "configs"):
            value = getattr(self, name)
            _check(type(value) is int and value > 0, f"training_data: {name}", "a whole number above 0", value)
        _check(isinstance(self.families, tuple), "training_data: families", "a tuple of names", self.families)
        for family in self.families:
            _check_text("training_data: families", family)


@dataclass(frozen=True)
class ModelCard:
    """What is known of a learned cost model besides its weights.

    Attributes:
        name: for people; such as "layout-cpu".
        architecture: shape and switches of the network.
        space: what the configs choose, "layout" or "tile".
        target: what it was trained to predict: a target ("cpu") or a published collection ("layout:xla:random").
        label_kind: whether the training labels were measured on a device or estimated by a compiler.
        training_data: the data sets; at least one.
        recipe: how it was trained; any JSON object, not interpreted here. Copied.
        metrics: how good it is, by name; any JSON object, without nan and infinities. Copied.
        kind: the family of networks: "sage" reads the graph, "descriptors" what stands in `cost_model.descriptors`.
        feature_schema: `features.SCHEMA_VERSION` when it was trained.
        tool_version: version of the tool that made it.
        date: when it was trained, "2026-11-24"; None if unknown.

    Raises:
        CardError: a value is of another type or out of range, or two values contradict each other.
    """

    name: str
    architecture: AnyArchitecture
    space: Space
    target: str
    label_kind: LabelKind
    training_data: tuple[TrainingData, ...]
    recipe: JsonObject = field(default_factory=dict)
    metrics: JsonObject = field(default_factory=dict)
    kind: Kind = "sage"
    feature_schema: int = features.SCHEMA_VERSION
    tool_version: str = field(default_factory=tool_version)
    date: str | None = None

    def __post_init__(self) -> None:
        _check_schema(self.feature_schema)
        for name in ("name", "target", "tool_version"):
            _check_text(name, getattr(self, name))
        for name, choices in (("kind", Kind), ("space", Space), ("label_kind", LabelKind)):
            value = getattr(self, name)
            _check(value in get_args(choices), name, f"one of {', '.join(get_args(choices))}", value)
        self._check_architecture()
        entries = self.training_data
        fits = isinstance(entries, tuple) and entries and all(isinstance(each, TrainingData) for each in entries)
        _check(bool(fits), "training_data", "a tuple of TrainingData, one at least", entries)
        object.__setattr__(self, "recipe", _copy_json("recipe", self.recipe))
        object.__setattr__(self, "metrics", _copy_json("metrics", self.metrics))
        if self.date is not None:
            _check(_is_date(self.date), "date", 'a day such as "2026-11-24", or none', self.date)

    def _check_architecture(self) -> None:
        expected = _ARCHITECTURES[self.kind]
        _check(isinstance(self.architecture, expected), "architecture", f"a {expected.__name__}", self.architecture)
        if isinstance(self.architecture, DescriptorArchitecture):
            space = self.architecture.space
            _check(space == self.space, "architecture: space", f"{self.space}, as of the card", space)
        else:
            columns, found = CONFIG_FEATURES[self.space], self.architecture.config_features
            expected_columns = f"{columns}, as in every {self.space} config"
            _check(found == columns, "architecture: config_features", expected_columns, found)

    def to_json(self) -> str:
        """The card as indented JSON, from which `from_json` makes an equal one."""
        values = {"format": ".".join(map(str, FORMAT)), **asdict(self)}
        return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Reads a card.

        Args:
            text: what `to_json` made, perhaps by a newer version of this tool.

        Returns:
            The card.

        Raises:
            CardError: the text is no card, or one that this version cannot be sure to understand.
        """
        try:
            values = parse_object(text)
        except ValueError as error:
            raise CardError(f"expected a JSON object, found {error}") from error
        newer = _is_newer(values.pop("format", None))
        # Before anything else: a newer schema may come with other keys.
        _check_schema(values.get("feature_schema"))
        values = _take(values, cls, "card", newer=newer)
        entries = values["training_data"]
        _check(isinstance(entries, list), "training_data", "a list", entries)
        values["training_data"] = tuple(_read_training_data(each, newer=newer) for each in entries)
        values["architecture"] = _read_architecture(values["architecture"], values["kind"])
        return cls(**values)


def parse_object(text: str) -> dict[str, Any]:
    """Parses a JSON object, more strictly than `json.loads`: no key twice, no nan, no infinities.

    Raises:
        ValueError: the text is anything else.
    """
    try:
        value = json.loads(text, object_pairs_hook=_without_repetition, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"a JSON {type(value).__name__}")
    return value


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r:.80} more than once")
    return result


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name}, which is not JSON")


def _is_newer(version: object) -> bool:
    """Whether a card may have keys that are unknown here.

    Raises:
        CardError: it has a format that cannot be read here.
    """
    parts = version.split(".") if isinstance(version, str) else []
    fits = len(parts) == 2 and all(part.isascii() and part.isdigit() and len(part) < 7 for part in parts)
    _check(fits, "format", 'a version such as "1.0"', version)
    major, minor = map(int, parts)
    if major > FORMAT[0]:
        raise CardError(f"format: expected {FORMAT[0]}, found the newer {version}: upgrade xla-autotune")
    _check(major == FORMAT[0], "format", f"major version {FORMAT[0]}", version)
    return minor > FORMAT[1]


def _check_schema(version: object) -> None:
    _check(type(version) is int, "feature_schema", "a whole number", version)
    if version != features.SCHEMA_VERSION:
        newer = isinstance(version, int) and version > features.SCHEMA_VERSION
        advice = "upgrade xla-autotune" if newer else "its columns mean something else today, so train the model again"
        raise CardError(f"feature_schema: expected {features.SCHEMA_VERSION}, found {version}: {advice}")


def _take(values: object, owner: type, where: str, *, newer: bool = False) -> dict[str, Any]:
    """Those entries of a JSON object that are fields of a dataclass.

    Raises:
        CardError: fields are missing, or there are others and the card is not newer.
    """
    if not isinstance(values, dict):
        raise CardError(f"{where}: expected a JSON object, found {type(values).__name__}")
    names = [each.name for each in fields(owner)]
    missing = [name for name in names if name not in values]
    if missing:
        raise CardError(f"{where}: expected {', '.join(missing)}, found no such key")
    unknown = sorted(values.keys() - set(names))
    if unknown and not newer:
        raise CardError(f"{where}: expected no keys but {', '.join(names)}, found {unknown!s:.200}")
    return {name: values[name] for name in names}


def _read_training_data(values: object, *, newer: bool) -> TrainingData:
    taken = _take(values, TrainingData, "training_data", newer=newer)
    _check(isinstance(taken["families"], list), "training_data: families", "a list", taken["families"])
    return TrainingData(**taken | {"families": tuple(taken["families"])})


def _read_architecture(values: object, kind: object) -> AnyArchitecture:
    _check(kind in get_args(Kind), "kind", f"one of {', '.join(get_args(Kind))}", kind)
    if kind == "descriptors":
        taken = _take(values, DescriptorArchitecture, "architecture")
        try:
            return DescriptorArchitecture(**taken)
        except ArchitectureError as error:
            raise CardError(f"architecture: {error}") from error
    taken = _take(values, Architecture, "architecture")
    for name, types in _ARCHITECTURE_TYPES.items():
        wanted = " or ".join(each.__name__ for each in types)
        _check(type(taken[name]) in types, f"architecture: {name}", wanted, taken[name])
    try:
        return Architecture(**taken | {"channels": tuple(taken["channels"])})
    except (ArchitectureError, OverflowError) as error:
        raise CardError(f"architecture: {error}") from error


def _copy_json(name: str, value: object) -> JsonObject:
    """What JSON makes of an object: a copy without mutable ties to the caller, with lists for tuples."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()  # refuses halves of surrogate pairs, which no file can hold
        return parse_object(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise CardError(f"{name}: expected a JSON object of finite numbers and text, found another: {error}") from error


def _is_date(text: object) -> bool:
    try:
        return isinstance(text, str) and datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _check_text(name: str, value: object) -> None:
    fits = isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable()
    _check(fits, name, "one line of 1 to 200 characters", value)


def _check(fits: bool, name: str, expected: str, found: object) -> None:
    """Raises a CardError unless a value fits."""
    if not fits:
        raise CardError(f"{name}: expected {expected}, found {found!r:.200}")
