"""The tile space of XLA:CPU's own tiled matrix product, for a program that is one kernel around one canonical dot.

A config is a way of doing the product: with a library (YNNPACK, XLA's default; or Eigen), or with the LLVM-IR product
of XLA under a register tile of m rows, k steps and n vectors, at a vector width of 256 or 512 bits. This is a register
tile, not a scratchpad tile as on a TPU; labels of the two are never mixed. Facts: `shared/design/xla_cpu.md`, 3a.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from autotune.errors import SpaceError
from autotune.hlo.modules import entry_computation
from autotune.hlo.types import element_type_name
from autotune.spaces.base import Config, JsonObject
from cost_model import TileConfigs
from protos import hlo_pb2

LIBRARIES = ("ynn", "eigen")
TILED = "tiled"
ROWS = (1, 2, 3, 4, 6, 8, 11, 12, 16)
STEPS = (1, 2, 4, 8, 9, 16, 32)
VECTORS = (1, 2, 3, 4)
VECTOR_BITS = (256, 512)
LARGEST_TILE = 192
"""Bound of m * k * n: larger tiles are unrolled into code that takes the compiler minutes and gigabytes."""

_LANES_BITS = {"f32": 32, "bf16": 32, "f64": 64}
"""Bits of a lane by element type: bfloat16 is computed in float32."""

_FREE_OPCODES = frozenset(
    {"parameter", "constant", "broadcast", "iota", "reshape", "convert", "tuple", "get-tuple-element", "bitcast"}
    | {"add", "subtract", "multiply", "divide", "maximum", "minimum", "negate", "abs", "tanh", "exponential", "log"}
    | {"logistic", "rsqrt", "sqrt", "power", "select", "compare", "clamp", "sign", "erf", "reduce", "copy"}
)
"""What may stand around the dot for the program still to be one kernel."""


@dataclass(frozen=True)
class DotKernel:
    """The product that a tile is for: [batch,] m x k times k x n.

    Attributes:
        rows, steps, columns: m, k and n.
        element_type: "f32", "bf16" or "f64".
    """

    rows: int
    steps: int
    columns: int
    element_type: str


@dataclass(frozen=True)
class TileConfig:
    """A way of doing the product.

    Attributes:
        implementation: "ynn" (the default), "eigen" or "tiled".
        rows, steps, vectors: the register tile m, k, n; 0 for libraries.
        vector_bits: 256 or 512; 0 for libraries.
    """

    implementation: str = "ynn"
    rows: int = 0
    steps: int = 0
    vectors: int = 0
    vector_bits: int = 0

    @property
    def family(self) -> str:
        """One of "library ynn", "library eigen" and "tiled"."""
        return TILED if self.implementation == TILED else f"library {self.implementation}"

    def to_json(self) -> JsonObject:
        """{"tile": {"implementation": "tiled", "m": 8, "k": 4, "n": 4, "vector_bits": 256}}."""
        tile: JsonObject = {"implementation": self.implementation}
        if self.implementation == TILED:
            tile |= {"m": self.rows, "k": self.steps, "n": self.vectors, "vector_bits": self.vector_bits}
        return {"tile": tile}


EMITTER_DEFAULT = TileConfig(TILED, 11, 9, 1, 256)
"""The tile that XLA's tiled product takes by itself."""


def find_dot_kernel(module: hlo_pb2.HloModuleProto) -> DotKernel | str:
    """The one canonical dot of a program, or the reason why there is no tile choice.

    Args:
        module: just before layout assignment (calls are inlined there).
    """
    entry = entry_computation(module)
    dots = [instruction for instruction in entry.instructions if instruction.opcode == "dot"]
    if len(dots) != 1:
        return f"the program has {len(dots)} dots; a tile can be chosen for a program of exactly one"
    others = sorted({i.opcode for i in entry.instructions} - _FREE_OPCODES - {"dot"})
    if others:
        return f"the program is more than one kernel around its dot: it also has {', '.join(others)}"
    dot = dots[0]
    shapes = {instruction.id: instruction.shape for instruction in entry.instructions}
    lhs, rhs = (shapes[operand] for operand in dot.operand_ids)
    numbers = dot.dot_dimension_numbers
    batch = len(numbers.lhs_batch_dimensions)
    canonical = (
        list(numbers.lhs_batch_dimensions) == list(numbers.rhs_batch_dimensions) == list(range(batch))
        and len(lhs.dimensions) == len(rhs.dimensions) == batch + 2
        and list(numbers.lhs_contracting_dimensions) == [batch + 1]
        and list(numbers.rhs_contracting_dimensions) == [batch]
    )
    if not canonical:
        return f"dot {dot.name!r} is not canonical ([batch,] m x k times k x n): XLA's tiled product leaves it to Eigen"
    element_type = element_type_name(dot.shape)
    if element_type not in _LANES_BITS:
        return f"dot {dot.name!r} is of type {element_type}; tiles exist for {', '.join(_LANES_BITS)}"
    rows, steps, columns = (int(d) for d in (*lhs.dimensions[batch:], rhs.dimensions[batch + 1]))
    if min(rows, columns) < 2:
        return f"dot {dot.name!r} is a matrix-vector product, which is not tiled"
    return DotKernel(rows, steps, columns, element_type)


def tile_stays_in_bounds(columns: int, vectors: int, lanes: int) -> bool:
    """Whether XLA's emitter covers the columns without writing past their end.

    It walks the columns with vectors, vectors - 1, ... 1 full vectors, then with half a vector and so on; when what
    is left over is no multiple of the next width, it writes out of bounds (wrong results or a corrupt heap).

    Args:
        columns: n of the product.
        vectors: n of the tile.
        lanes: elements of a vector.

    Source: observed on jaxlib 0.10.2; agreed with all 22 conclusive trials (xla_cpu.md, section 3a).
    """
    done, width, count = 0, lanes * vectors, vectors
    while done != columns and width >= 1:
        end = columns - columns % width
        if end != done:
            if (end - done) % width:
                return False
            done = end
        if count == 1:
            width //= 2
        else:
            count -= 1
            width = count * lanes
    return True


class GemmTileSpace:
    """Tiles and libraries for one dot kernel.

    Args:
        kernel: from `find_dot_kernel`.
    """

    kind = "tile"
    factors = None

    def __init__(self, kernel: DotKernel) -> None:
        self.kernel = kernel
        self._configs = [TileConfig(library) for library in LIBRARIES]
        tiles = itertools.product(ROWS, STEPS, VECTORS, VECTOR_BITS)
        self._configs += [c for tile in tiles if self.contains(c := TileConfig(TILED, *tile))]
        self._tiled = [config for config in self._configs if config.implementation == TILED]

    @property
    def default(self) -> TileConfig:
        """What XLA:CPU does by itself: the YNNPACK library."""
        return TileConfig()

    @property
    def references(self) -> Mapping[str, Config]:
        """The other library, and the tiled product with the tile that XLA would give it."""
        return {"library eigen": TileConfig("eigen"), "tiled, XLA's own tile": EMITTER_DEFAULT}

    @property
    def landmarks(self) -> Sequence[Config]:
        """Tiles that were within a few percent of the best on most shapes (xla_cpu.md, section 3a)."""
        tiles = (TileConfig(TILED, 8, 4, 4, 256), TileConfig(TILED, 8, 4, 2, 512))
        return [tile for tile in tiles if self.contains(tile)]

    @property
    def size(self) -> int:
        """Exact: the space is small."""
        return len(self._configs)

    def sample(self, rng: np.random.Generator) -> TileConfig:
        """A tile, uniformly (the libraries are references and measured anyway)."""
        return self._tiled[rng.integers(len(self._tiled))]

    def mutate(self, config: Config, rng: np.random.Generator) -> TileConfig:
        """One step along one axis; from a library, any tile."""
        own = self._own(config)
        if own.implementation != TILED:
            return self.sample(rng)
        axes: list[tuple[str, tuple[int, ...]]] = [
            ("rows", ROWS), ("steps", STEPS), ("vectors", VECTORS), ("vector_bits", VECTOR_BITS)
        ]  # fmt: skip
        neighbours = []
        for axis, values in axes:
            position = values.index(getattr(own, axis))
            for step in (-1, 1):
                if 0 <= position + step < len(values):
                    moved: dict[str, Any] = {axis: values[position + step]}
                    neighbour = replace(own, **moved)
                    if self.contains(neighbour):
                        neighbours.append(neighbour)
        return neighbours[rng.integers(len(neighbours))] if neighbours else self.sample(rng)

    def crossover(self, first: Config, second: Config, rng: np.random.Generator) -> TileConfig:
        """Each axis from one of two tiles; the first parent when that is not a valid tile."""
        parents = (self._own(first), self._own(second))
        if any(parent.implementation != TILED for parent in parents):
            return parents[rng.integers(2)]
        picks = [parents[rng.integers(2)] for _ in range(4)]
        child = TileConfig(TILED, picks[0].rows, picks[1].steps, picks[2].vectors, picks[3].vector_bits)
        return child if self.contains(child) else parents[0]

    def enumerate(self) -> Iterator[TileConfig]:
        """The libraries, then every tile."""
        return iter(self._configs)

    def contains(self, config: Config) -> bool:
        """Whether the tile is one of ours, small enough to compile, and does not write out of bounds."""
        if not isinstance(config, TileConfig):
            return False
        if config.implementation in LIBRARIES:
            return config == TileConfig(config.implementation)
        if config.implementation != TILED or config.vector_bits not in VECTOR_BITS:
            return False
        if config.rows not in ROWS or config.steps not in STEPS or config.vectors not in VECTORS:
            return False
        lanes = config.vector_bits // _LANES_BITS[self.kernel.element_type]
        small = config.rows * config.steps * config.vectors <= LARGEST_TILE
        return small and tile_stays_in_bounds(self.kernel.columns, config.vectors, lanes)

    def encode(self, configs: Sequence[Config]) -> TileConfigs:
        """TpuGraphs' 24 columns, float32[c, 24]: kernel, output and input bounds, minor dimension first.

        kernel = [n, k, lanes of a vector], output = [n, m], input = [k, m] with n in elements; all zeros for a library.
        """
        features = np.zeros((len(configs), 24), np.float32)
        for row, config in zip(features, configs, strict=True):
            own = self._own(config)
            if own.implementation == TILED:
                lanes = own.vector_bits // _LANES_BITS[self.kernel.element_type]
                width = own.vectors * lanes
                groups = ((width, own.steps, lanes), (width, own.rows), (own.steps, own.rows))
                for group, bounds in enumerate(groups):
                    row[8 * group : 8 * group + len(bounds)] = bounds
                    row[8 * group + 6 : 8 * group + 8] = sum(bounds), math.prod(bounds)
        return TileConfigs(features)

    def from_json(self, value: JsonObject) -> TileConfig:
        """The inverse of `TileConfig.to_json`."""
        try:
            tile = value["tile"]
            numbers = [int(tile.get(axis, 0)) for axis in ("m", "k", "n", "vector_bits")]
            config = TileConfig(str(tile["implementation"]), *numbers)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SpaceError(f"not a tile config: {value!r} ({type(error).__name__}: {error})") from error
        if not self.contains(config):
            raise SpaceError(f"tile config {value!r} does not belong to this program")
        return config

    def explain(self, config: Config) -> list[JsonObject]:
        """The choice in words, for people."""
        own = self._own(config)
        return [{"implementation": own.family, **own.to_json()["tile"]}]

    def _own(self, config: Config) -> TileConfig:
        if not isinstance(config, TileConfig):
            raise SpaceError(f"expected a tile config, found {config.to_json()!r}")
        return config
