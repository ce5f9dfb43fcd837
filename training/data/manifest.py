"""What a collection that was made here says of itself: `DIR/<name>/manifest.json`, beside its splits."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from autotune.evaluation import LabelKind
from autotune.targets.tpu.generations import generation_of, parse_topology
from cost_model.files import replace_file
from training.errors import TrainingDataError

MANIFEST_FILE: Final = "manifest.json"
OWN_NAME: Final = re.compile(r"(layout|tile)-[a-z0-9][a-z0-9._-]*")
"""Names of such collections: the kind, then the target ("layout-tpu-v5e")."""

_ABOUT: Final = {
    LabelKind.MEASURED: "config_runtime and compute_time_ns are nanoseconds measured on the device",
    LabelKind.ESTIMATED: "config_runtime and compute_time_ns hold the compiler's own estimate in cycles, not a time",
}


@dataclass(frozen=True)
class Manifest:
    """What all files of one collection have in common.

    Attributes:
        name: such as "layout-cpu".
        label: where the numbers come from; those of two labels, targets or compilers are not comparable.
        target: as given by the user, such as "tpu:v5e".
        device_kind: the device that ran the programs, or for which they were compiled.
        compiler_version: of the compiler.

    Raises:
        TrainingDataError: the name is none of a collection made here.
    """

    name: str
    label: LabelKind
    target: str
    device_kind: str
    compiler_version: str

    def __post_init__(self) -> None:
        if OWN_NAME.fullmatch(self.name) is None:
            raise TrainingDataError(f"collection {self.name!r}: expected a name such as layout-cpu or tile-tpu-v5e")

    @property
    def kind(self) -> str:
        """What is chosen: "layout" or "tile"."""
        return self.name.partition("-")[0]

    @property
    def label_kind(self) -> Literal["measured", "estimated"]:
        """The label as the card of a model has it."""
        return "measured" if self.label is LabelKind.MEASURED else "estimated"

    @property
    def device(self) -> str:
        """Name of the device description (`cost_model.devices`) of the target."""
        kind, _, topology = self.target.partition(":")
        if kind != "tpu":
            return kind
        generation = parse_topology(topology) if topology else generation_of(self.device_kind)
        if generation is None:
            raise TrainingDataError(f"collection {self.name!r}: found a TPU of an unknown kind, {self.device_kind!r}")
        return generation.cost_model_device

    def to_json(self) -> dict[str, Any]:
        """The content of the file."""
        facts = asdict(self) | {"kind": self.kind, "label": self.label.value}
        return {"format": 1, "about": _ABOUT[self.label]} | facts

    def write(self, folder: Path) -> None:
        """Puts it into the folder of the collection, which must exist."""
        replace_file(folder / MANIFEST_FILE, (json.dumps(self.to_json(), indent=2) + "\n").encode())


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a collection.

    Args:
        folder: of the collection, named as it is.

    Raises:
        TrainingDataError: there is none, or it is none of ours, or of another collection.
    """
    path = folder / MANIFEST_FILE
    try:
        content = json.loads(path.read_bytes())
        texts = {key: str(content[key]) for key in ("name", "target", "device_kind", "compiler_version")}
        manifest = Manifest(label=LabelKind(content["label"]), **texts)
    except FileNotFoundError:
        raise TrainingDataError(
            f"{path}: not found; a collection made by `autotune collect` says there what its numbers are"
        ) from None
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise TrainingDataError(
            f"{path}: expected what `autotune collect` writes, found something else ({type(error).__name__}: {error})"
        ) from None
    if manifest.name != folder.name:
        raise TrainingDataError(f"{path}: expected the manifest of {folder.name}, found that of {manifest.name}")
    return manifest
