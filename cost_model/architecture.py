"""What the network looks like: every switch of the published recipes, as one frozen dataclass. Needs no torch.

Source: 2nd-place solution of Kaggle's "Google - Fast or Slow? Predict AI Model Runtime". Its README and the code that
made its submission differ; where they do, the values here follow the README and the code's variant is one switch away.
"""

from __future__ import annotations

import itertools
import math
import sys
from dataclasses import dataclass
from typing import Final, Literal, get_args

from cost_model import features
from cost_model.errors import ArchitectureError

FeatureTransform = Literal["signed_log", "relu_log"]
"""What is done to node features x first: sign(x) log(1 + |x|), or log(1 + max(x, 0)), which drops the sign."""

NODE_WIDTH: Final = 20
OPCODE_WIDTH: Final = 12
LAYOUT_ENTRIES: Final = features.MAXIMUM_RANK + 2
"""What a layout column can hold: undecided, one of the first six dimensions, or any later one."""
WIDEST: Final = 1 << 16
"""No layer is wider; the widest published one has 512. (How much memory a file may ask for: `checkpoint.py`.)"""


@dataclass(frozen=True)
class Architecture:
    """The shape of a GraphSAGE network.

    Attributes:
        config_features: columns of a config row, 18 (layout) or 24 (tile).
        in_channels: width of the nodes that enter the first convolution.
        channels: width after each convolution.
        residual: whether a convolution's input is added to its output where both are equally wide.
        feature_transform: see `FeatureTransform`.
        output_scale: factor of the summed scores; 1e-3 in layout models, which learn seconds through milliseconds.
        layout_embedding: width of a learned vector that stands for each entry of a layout, one table for all columns;
            "undecided" and "not configurable" are then no numbers. 0: the raw numbers, as published. Layouts only.
        modulo: whether ((x + 127) mod 128) / 128 is added for the node's first six dimensions and for the bounds of a
            tile: how well a size x fills the 128 lanes of a register. Published: no. Source: the 3rd-place solution.
        hops: keep only nodes within so many edges, in either direction, of a configurable node (`cost_model.pruning`).
            None: all, as published. Layouts only. Source: the 1st-place solution.
        change_width: width of the two hidden layers of a second head, which scores what the config changes: the sum of
            the last values under the config minus that under the default. The published head is a linear function of
            the sum, so that what two distant layouts cost together must be what each costs alone; this one is not.
            0: none, as published. Layouts only.
        late_width: width of a head that meets the configs after the convolutions instead of before them. Convolutions
            then see the program without a config, once for all its configs, and this head alone ranks these: it puts
            together what the program says of each configurable node with what the config says of it, and scores the sum
            over the nodes with a hidden layer. Decisions of distant nodes can interact, and a config costs next to
            nothing, so slates can be long. 0: none, as published. Layouts only, and not with `change_width`.

    Raises:
        ArchitectureError: a value is out of range.
    """

    config_features: int
    in_channels: int
    channels: tuple[int, ...]
    residual: bool = True
    feature_transform: FeatureTransform = "signed_log"
    output_scale: float = 1.0
    layout_embedding: int = 0
    modulo: bool = False
    hops: int | None = None
    change_width: int = 0
    late_width: int = 0

    def __post_init__(self) -> None:
        known = (features.LAYOUT_FEATURES, features.TILE_FEATURES)
        _check(
            type(self.config_features) is int and self.config_features in known,
            "config_features", f"one of {known}", self.config_features,
        )  # fmt: skip
        _check(
            isinstance(self.channels, tuple) and len(self.channels) > 0,
            "channels",
            "a tuple with at least one convolution",
            self.channels,
        )
        widths = (self.in_channels, *self.channels)
        fits = all(type(width) is int and 0 < width <= WIDEST for width in widths)
        _check(fits, "in_channels and channels", f"whole numbers from 1 to {WIDEST}", widths)
        _check(type(self.residual) is bool, "residual", "a bool", self.residual)
        transforms = get_args(FeatureTransform)
        _check(
            self.feature_transform in transforms, "feature_transform", f"one of {transforms}", self.feature_transform
        )
        scale = self.output_scale
        fits = type(scale) in (int, float) and 0 < scale <= sys.float_info.max
        _check(fits, "output_scale", "a positive number", scale)
        width, hops = self.layout_embedding, self.hops
        fits = type(width) is int and 0 <= width <= WIDEST
        _check(fits, "layout_embedding", f"a whole number from 0 to {WIDEST}", width)
        _check(type(self.modulo) is bool, "modulo", "a bool", self.modulo)
        _check(hops is None or (type(hops) is int and hops >= 0), "hops", "none, or a whole number from 0", hops)
        change = self.change_width
        fits = type(change) is int and 0 <= change <= WIDEST
        _check(fits, "change_width", f"a whole number from 0 to {WIDEST}", change)
        late = self.late_width
        fits = type(late) is int and 0 <= late <= WIDEST
        _check(fits, "late_width", f"a whole number from 0 to {WIDEST}", late)
        _check(late == 0 or change == 0, "late_width", "0 beside change_width: no config changes the last values", late)
        if self.config_features != features.LAYOUT_FEATURES:
            _check(width == 0, "layout_embedding", "0 in a model of tiles", width)
            _check(hops is None, "hops", "none in a model of tiles, where every node has the config", hops)
            _check(change == 0, "change_width", "0 in a model of tiles, which have no default", change)
            _check(late == 0, "late_width", "0 in a model of tiles, where every node has the config", late)

    @property
    def node_columns(self) -> int:
        """Columns that the linear layer of the nodes reads."""
        return features.NODE_FEATURES + (features.SHAPE_DIMENSIONS.kept if self.modulo else 0)

    @property
    def config_columns(self) -> int:
        """Columns that a config row has when it meets its node."""
        if self.layout_embedding:
            return features.LAYOUT_FEATURES * self.layout_embedding
        bounds = sum(group.kept for group in features.TILE_BOUNDS)
        return self.config_features + (bounds if self.modulo and self.config_features == features.TILE_FEATURES else 0)

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter (and running statistic) by its name; the names are those of the original code.

        `convs.i.lin_l` is applied to the mean of the incoming messages, `convs.i.lin_r` to the node itself.
        """
        fused = NODE_WIDTH + OPCODE_WIDTH + self.config_columns
        shapes: dict[str, tuple[int, ...]] = {
            "node_feat_embedding.weight": (NODE_WIDTH, self.node_columns),
            "node_feat_embedding.bias": (NODE_WIDTH,),
            "node_opcode_embedding.weight": (features.EMBEDDED_OPCODES, OPCODE_WIDTH),
            "input_shaping.weight": (self.in_channels, fused),
            "input_shaping.bias": (self.in_channels,),
        }
        if self.layout_embedding:
            shapes["layout_embedding"] = (LAYOUT_ENTRIES, self.layout_embedding)
        width = self.in_channels
        for layer, out in enumerate(self.channels):
            shapes[f"convs.{layer}.lin_l.weight"] = (out, width)
            shapes[f"convs.{layer}.lin_l.bias"] = (out,)
            shapes[f"convs.{layer}.lin_r.weight"] = (out, width)
            width = out
        shapes |= {"output_shaping.weight": (1, width), "output_shaping.bias": (1,)}
        if self.change_width:
            for layer, (before, after) in enumerate(itertools.pairwise((width, *(self.change_width,) * 2, 1))):
                shapes[f"change_shaping.{2 * layer}.weight"] = (after, before)
                shapes[f"change_shaping.{2 * layer}.bias"] = (after,)
        if late := self.late_width:
            shapes |= {
                "late_mean": (late,),
                "late_variance": (late,),
                "late_nodes.weight": (late, width),
                "late_nodes.bias": (late,),
                "late_configs.weight": (late, self.config_columns),
                "late_shaping.1.weight": (late, late),
                "late_shaping.1.bias": (late,),
                "late_shaping.3.weight": (1, late),
                "late_shaping.3.bias": (1,),
            }
        return shapes

    @property
    def parameters(self) -> int:
        """The number of weights."""
        return sum(math.prod(shape) for shape in self.parameter_shapes.values())


def _check(fits: bool, name: str, expected: str, found: object) -> None:
    """Raises an ArchitectureError unless a value fits."""
    if not fits:
        raise ArchitectureError(f"{name}: expected {expected}, found {found!r:.200}")


_NARROW: Final = (64, 64, 128, 128, 256, 256)
_WIDE: Final = (256,) * 4 + (512,) * 4

ARCHITECTURES: Final = {
    "layout:xla": Architecture(features.LAYOUT_FEATURES, 32, _NARROW, output_scale=1e-3),
    "layout:nlp": Architecture(features.LAYOUT_FEATURES, 64, _WIDE, output_scale=1e-3),
    "tile:xla": Architecture(features.TILE_FEATURES, 64, _WIDE),
}
"""The published networks by data set; the random and default collections of a layout data set share one."""
