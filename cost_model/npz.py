"""Programs with their configs and runtimes, in the file format of TpuGraphs: one `.npz` per program.

| array | layout files | tile files |
|---|---|---|
| node_feat | float32[n, 140] | the same |
| node_opcode | uint8[n] | the same |
| edge_index | int64[m, 2] | the same |
| node_config_feat, config_feat | float32[c, nc, 18] | float32[c, 24] |
| node_config_ids | int64[nc] | |
| config_runtime | int64[c], ns | the same |
| config_runtime_normalizers | | int64[c], ns |
| node_splits | int64[1, k] | |

Test files come without labels: their runtimes are all 0 (and normalizers 1), which is read as None, so that nobody
takes zeros for measurements. A file of ours that has a graph alone holds the five arrays of `ProgramGraph`.
"""

from __future__ import annotations

import io
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cost_model import features
from cost_model.base import check_fits
from cost_model.errors import GraphError
from cost_model.files import replace_file
from cost_model.graph import ConfigBatch, LayoutConfigs, ProgramGraph, TileConfigs

Arrays = dict[str, NDArray[Any]]

_CONFIGURABLE = [features.OPCODE_IDS[name] for name in features.CONFIGURABLE_OPCODES]


@dataclass(frozen=True, eq=False)
class TuningArrays:
    """One program, and what is known of its configs.

    Attributes:
        graph: the program.
        configs: c configs of it; None if there are none.
        runtimes: what each config took, int64[c], ns; None without labels.
        normalizers: what the default tile took, int64[c], ns: models learn runtimes / normalizers. Tile configs with
            runtimes have them, and nothing else has.

    Raises:
        GraphError: the parts do not belong together, or a time is not above 0.
    """

    graph: ProgramGraph
    configs: ConfigBatch | None = None
    runtimes: NDArray[np.int64] | None = None
    normalizers: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if self.configs is not None:
            check_fits(self.graph, self.configs)
        count = 0 if self.configs is None else len(self.configs)
        for field, name in (("runtimes", "config_runtime"), ("normalizers", "config_runtime_normalizers")):
            times = getattr(self, field)
            if times is not None:
                _check_vector(name, times, count)
                if not (times > 0).all():
                    raise GraphError(f"{name}: expected nanoseconds above 0, found {times.min()}")
                view = times.view()
                view.flags.writeable = False
                object.__setattr__(self, field, view)
        needed = self.runtimes is not None and isinstance(self.configs, TileConfigs)
        if needed != (self.normalizers is not None):
            found = "none" if needed else "some for another kind of data"
            raise GraphError(f"config_runtime_normalizers: expected with runtimes of tile configs, found {found}")

    def arrays(self) -> Arrays:
        """The arrays of the file, with the names, types and shapes of the published ones."""
        graph, configs = self.graph, self.configs
        nodes: Arrays = {
            "node_feat": graph.node_feat,
            "node_opcode": graph.node_opcode,
            "edge_index": graph.edge_index,
        }
        splits = graph.node_splits.reshape(1, -1)
        if configs is None:
            return nodes | {"node_config_ids": graph.node_config_ids, "node_splits": splits}
        unlabelled = np.zeros(len(configs), dtype=np.int64)
        runtimes = unlabelled if self.runtimes is None else self.runtimes
        if isinstance(configs, LayoutConfigs):
            return nodes | {
                "node_config_feat": configs.node_config_feat,
                "node_config_ids": graph.node_config_ids,
                "config_runtime": runtimes,
                "node_splits": splits,
            }
        return nodes | {
            "config_feat": configs.config_feat,
            "config_runtime": runtimes,
            "config_runtime_normalizers": unlabelled + 1 if self.normalizers is None else self.normalizers,
        }


def write_npz(path: str | os.PathLike[str], data: TuningArrays) -> Arrays:
    """Writes a file, compressed, in one step: readers see the old content or the new one.

    Args:
        path: the file, which is made or replaced. Its folder must exist.
        data: what goes into it.

    Returns:
        The arrays written, by name.

    Raises:
        OSError: the file cannot be written; nothing is left behind.
    """
    arrays = data.arrays()
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    replace_file(Path(path), content.getvalue())
    return arrays


def read_npz(path: str | os.PathLike[str]) -> TuningArrays:
    """Reads a file of the data set, or one that `write_npz` made.

    Opcodes may be of any integer type, and `node_splits` of one axis: there are such copies. A tile file does not say
    which nodes are configurable: they are found by their opcodes; and it is one split.

    Raises:
        GraphError: the file cannot be read, is damaged, lacks an array or has one that is none of the format's.
    """
    arrays = _load(Path(path))
    try:
        return _tuning_arrays(arrays)
    except GraphError as error:
        raise GraphError(f"{path}: {error}") from None


def _load(path: Path) -> Arrays:
    try:
        with path.open("rb") as stream:
            if not zipfile.is_zipfile(stream):
                raise GraphError(f"{path}: expected an .npz file, found something else, or the beginning of one")
            stream.seek(0)
            return dict(np.load(stream, allow_pickle=False))  # a data file must never be able to run code
    except GraphError:
        raise
    except OSError as error:
        raise GraphError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception as error:  # numpy, zipfile and zlib have a dozen ways to say so
        cause = str(error).partition(". ")[0] or type(error).__name__
        raise GraphError(f"{path}: expected an undamaged .npz file of numbers, found: {cause}") from None


def _tuning_arrays(arrays: Arrays) -> TuningArrays:
    kinds = [name for name in ("node_config_feat", "config_feat") if name in arrays]
    if len(kinds) > 1:
        raise GraphError("expected node_config_feat (layouts) or config_feat (tiles), found both")
    _expect(arrays, "node_feat", "node_opcode", "edge_index", *(["config_runtime"] if kinds else []))
    if not kinds:
        return TuningArrays(_graph(arrays))
    runtimes = arrays["config_runtime"]
    if kinds == ["node_config_feat"]:
        _expect(arrays, "node_config_ids", "node_splits")
        layouts = LayoutConfigs(arrays["node_config_feat"])
        return TuningArrays(_graph(arrays), layouts, _labels(runtimes, len(layouts)))
    _expect(arrays, "config_runtime_normalizers")
    tiles = TileConfigs(arrays["config_feat"])
    labels, normalizers = _labels(runtimes, len(tiles)), arrays["config_runtime_normalizers"]
    _check_vector("config_runtime_normalizers", normalizers, len(tiles))
    return TuningArrays(_graph(arrays), tiles, labels, None if labels is None else normalizers)


def _graph(arrays: Arrays) -> ProgramGraph:
    opcodes = arrays["node_opcode"]
    if opcodes.dtype.kind in "iu" and opcodes.size and opcodes.min() >= 0 and opcodes.max() <= np.iinfo(np.uint8).max:
        opcodes = opcodes.astype(np.uint8)
    nodes = len(arrays["node_feat"]) if arrays["node_feat"].ndim else 0
    splits = arrays.get("node_splits", np.array([0, nodes], dtype=np.int64))
    return ProgramGraph(
        node_feat=arrays["node_feat"],
        node_opcode=opcodes,
        edge_index=arrays["edge_index"],
        node_config_ids=arrays.get("node_config_ids", np.flatnonzero(np.isin(opcodes, _CONFIGURABLE))),
        node_splits=splits[0] if splits.ndim == 2 and len(splits) == 1 else splits,
    )


def _labels(runtimes: NDArray[Any], count: int) -> NDArray[np.int64] | None:
    """The runtimes, or None if there are only zeros."""
    _check_vector("config_runtime", runtimes, count)
    return runtimes if runtimes.any() else None


def _expect(arrays: Arrays, *names: str) -> None:
    if missing := [name for name in names if name not in arrays]:
        raise GraphError(
            f"expected the arrays {', '.join(names)}; missing: {', '.join(missing)}; found: {', '.join(arrays)}"
        )


def _check_vector(name: str, values: Any, count: int) -> None:
    if not isinstance(values, np.ndarray) or values.dtype != np.int64 or values.shape != (count,):
        found = f"{values.dtype.name}{list(values.shape)}" if isinstance(values, np.ndarray) else type(values).__name__
        raise GraphError(f"{name}: expected int64[{count}], one per config, found {found}")
