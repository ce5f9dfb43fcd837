"""The table of all programs. It imports no jax: a row names a model, and the variants spell out their sizes."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from training.zoo.program import Built, Dtype, Mode, ZooProgram

if TYPE_CHECKING:
    from training.zoo.building import Loss

_SIZES: Final = {
    "b": "batch",
    "d": "depth",
    "e": "experts",
    "f": "frames",
    "i": "image",
    "n": "nodes",
    "p": "points",
    "t": "tokens",
    "w": "width",
}
"""Letters of a variant: "b8-i64-w16" is a batch of 8, images of 64 x 64, a width of 16."""
_SIZE: Final = re.compile(r"([a-z])(\d+)")


class _Family(NamedTuple):
    """Programs that are the same network in other sizes, dtypes and modes."""

    name: str
    module: str
    loss: Loss
    variants: str


_IMAGES: Final = "b8-i64 b2-i96-bf16 b8-i32-train b16-i32-train-bf16"
_FIELDS: Final = "b4-i64 b8-i32-bf16 b4-i32-train b8-i32-w16-train-bf16"
_TEXTS: Final = "b4-t128 b8-t64-bf16 b4-t64-train b2-t128-w64-train-bf16"

_FAMILIES: Final = (
    _Family("resnet", "convolutional", "labels", f"{_IMAGES} b1-i128"),
    _Family("vgg", "convolutional", "labels", "b8-i32 b4-i64-bf16 b16-i32-w16-train b8-i32-train-bf16"),
    _Family("mobilenet", "convolutional", "labels", f"{_IMAGES} b1-i128"),
    _Family("efficientnet", "convolutional", "labels", _IMAGES),
    _Family("convnext", "convolutional", "labels", _IMAGES),
    _Family("densenet", "convolutional", "labels", _IMAGES),
    _Family("inception", "convolutional", "labels", _IMAGES),
    _Family("shufflenet", "convolutional", "labels", _IMAGES),
    _Family("unet", "generative", "labels", "b4-i64 b2-i96-bf16 b4-i32-train b2-i64-train-bf16"),
    _Family("diffusion-unet", "generative", "values", "b4-i32 b8-i16-bf16 b4-i16-train b2-i32-w16-train-bf16"),
    _Family("diffusion-transformer", "generative", "values", _FIELDS),
    _Family("vae", "generative", "values", _FIELDS),
    _Family("gan-generator", "generative", "values", _FIELDS),
    _Family("super-resolution", "generative", "values", _FIELDS),
    _Family("vit", "vision", "labels", f"{_IMAGES} b1-i128-w192-d2"),
    _Family("mlp-mixer", "vision", "labels", f"{_IMAGES} b32-i32-w64"),
    _Family("swin", "vision", "labels", "b4-i64 b8-i32-bf16 b4-i32-train b2-i64-train-bf16"),
    _Family("clip", "vision", "labels", "b16-i32 b8-i64-bf16 b16-i32-train b8-i64-train-bf16"),
    _Family("detr", "vision", "values", "b4-i64 b2-i96-bf16 b4-i64-train b8-i32-train-bf16"),
    _Family("bert", "language", "labels", _TEXTS),
    _Family("gpt2", "language", "labels", _TEXTS),
    _Family("t5", "language", "labels", _TEXTS),
    _Family("llama", "language", "labels", f"{_TEXTS} b1-t256-w256-d1"),
    _Family("cached-decoder", "language", "labels", "b1-t256 b8-t128-bf16 b4-t512-w256 b16-t64-w64-bf16"),
    _Family("mixture-of-experts", "language", "labels", "b4-t128 b8-t64-e4-bf16 b4-t64-train b2-t64-e4-train-bf16"),
    _Family("whisper", "language", "labels", "b2-f256 b4-f128-bf16 b2-f128-train b4-f64-train-bf16"),
    _Family("linear-attention", "language", "labels", _TEXTS),
    _Family("lstm", "recurrent", "labels", "b16-t32 b8-t64-bf16 b16-t32-train b8-t16-w64-train-bf16"),
    _Family("gru", "recurrent", "labels", "b16-t32 b8-t64-bf16 b16-t32-train b8-t16-w64-train-bf16"),
    _Family("state-space", "recurrent", "labels", "b4-t64 b8-t32-bf16 b2-t32-train b4-t16-train-bf16"),
    _Family("retention", "recurrent", "values", "b4-t128 b8-t64-bf16 b4-t64-train b2-t128-train-bf16"),
    _Family("wavenet", "recurrent", "labels", "b4-t256 b8-t128-bf16 b4-t128-train b2-t256-train-bf16"),
    _Family("dlrm", "structured", "values", "b128 b256-w16-bf16 b128-train b64-w64-train-bf16"),
    _Family("deep-cross", "structured", "values", "b128 b256-bf16 b128-train b512-w128-train-bf16"),
    _Family("graph-network", "structured", "labels", "n256 n512-bf16 n256-train n128-w128-train-bf16"),
    _Family("graph-attention", "structured", "labels", "n256 n512-bf16 n256-train n128-w128-train-bf16"),
    _Family("pointnet", "structured", "labels", "b8-p256 b4-p512-bf16 b8-p128-train b4-p256-train-bf16"),
    _Family("nerf", "structured", "values", "b128 b64-w128-bf16 b128-train b64-w128-train-bf16"),
    _Family("fourier-operator", "structured", "values", "b4-i32 b2-i64-bf16 b4-i32-train b2-i32-w32-train-bf16"),
    _Family("evoformer", "structured", "values", "b8-t32 b4-t64-bf16 b8-t32-train b4-t32-w64-train-bf16"),
    _Family("tensor-network", "structured", "values", "b64 b32-w12-bf16 b64-train b128-train-bf16"),
    _Family("equivariant", "structured", "values", "b8-p32 b4-p64-bf16 b8-p32-train b4-p32-w64-train-bf16"),
    _Family("siamese", "structured", "values", "b8-i64 b16-i32-bf16 b8-i32-train b16-i32-w16-train-bf16"),
    _Family("q-network", "structured", "values", "b16-i84 b8-i84-bf16 b16-i44-train b32-i44-w16-train-bf16"),
)


def programs() -> Iterator[ZooProgram]:
    """All programs, in the order of the table."""
    for family in _FAMILIES:
        for variant in family.variants.split():
            yield _program(family, variant)


def _program(family: _Family, variant: str) -> ZooProgram:
    parts = variant.split("-")
    mode: Mode = "train" if "train" in parts else "inference"
    dtype: Dtype = "bfloat16" if "bf16" in parts else "float32"
    sizes = {}
    for part in parts:
        if part not in ("train", "bf16"):
            match = _SIZE.fullmatch(part)
            assert match, f"{family.name}/{variant}: {part}"
            sizes[_SIZES[match[1]]] = int(match[2])
    model = family.name.replace("-", "_")
    builder = functools.partial(_build, family.module, model, sizes, family.loss, dtype, mode)
    return ZooProgram(f"{family.name}/{variant}", family.name, builder, dtype, mode)


def _build(module: str, model: str, sizes: dict[str, int], loss: Loss, dtype: Dtype, mode: Mode) -> Built:
    from training.zoo.building import build

    return build(module, model, sizes, loss, dtype, mode)
