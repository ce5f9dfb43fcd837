"""Which cost models rank the proposals of a search."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from autotune.errors import AutotuneError
from cost_model import CostModel
from cost_model.base import shipped_checkpoints
from cost_model.errors import CostModelError

ModelsOf = Callable[[str], Sequence[CostModel]]
"""From the kind of a space, "layout" or "tile", to the cost models for it: see `choose_models`."""

MODEL_CHOICES = (
    "auto (the one that ships for the target and the space; for tiles of a TPU, and where none ships, analytical), "
    "analytical, none, or a name or path"
)


def choose_models(model: str | CostModel, device: str) -> ModelsOf:
    """The cost models of a search, the preferred one first; the analytical one stands in where it ranks worse.

    Args:
        model: see `MODEL_CHOICES`; or a model.
        device: name of the device description of the target, such as "tpu-v5e".

    Returns:
        For each kind of space the models; none for "none".

    Raises:
        AutotuneError: there is no such model, or its file is damaged.
    """
    if model == "none":
        return lambda kind: ()
    analytical = CostModel.load(f"analytical:{device}")
    # What is learned of TPU tiles are the compiler's cycles, which are known where tiles are searched. Of tiles that a
    # TPU v3 was measured with, the analytical model ranks more in the right order (`benchmarks.tile_tau`).
    if model == "analytical":
        return lambda kind: (analytical,)
    if model == "auto":
        loaded: dict[str, tuple[CostModel, ...]] = {}

        def shipped(kind: str) -> tuple[CostModel, ...]:
            name = f"{kind}-{device}"
            if kind not in loaded:
                ships = name in shipped_checkpoints() and not (kind == "tile" and device.startswith("tpu"))
                loaded[kind] = (_load(name), analytical) if ships else (analytical,)
            return loaded[kind]

        return shipped
    chosen = model if isinstance(model, CostModel) else _load(model)
    card = getattr(chosen, "card", None)
    models = (chosen,) if chosen.name == analytical.name else (chosen, analytical)

    def of_its_space(kind: str) -> tuple[CostModel, ...]:
        # The tiles of a program come after its layouts. Who asks a model of tiles for layouts is told so by it.
        knows_layouts_only = card is not None and card.space == "layout" and kind == "tile"
        return (analytical,) if knows_layouts_only else models

    return of_its_space


def _load(name: str) -> CostModel:
    try:
        return CostModel.load(name)
    except CostModelError as error:
        raise AutotuneError(f"cost model {name!r}: {error}") from error
