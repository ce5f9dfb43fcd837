"""What is read from the store is what the .npz file holds, and equal configs are one."""

from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cost_model import LayoutConfigs, TileConfigs
from cost_model.npz import read_npz
from tests.training.data_sets import layouts, tiles, values, write
from training.data.store import StoredGraph, default_store, open_split
from training.errors import StoreError, TrainingDataError

LAYOUT, TILE = "layout:xla:default", "tile:xla"


def _same(graph: StoredGraph, npz: Path) -> None:
    """All that the file says, read back from the store."""
    published = read_npz(npz)
    assert published.configs is not None
    for name in ("node_feat", "node_opcode", "edge_index", "node_config_ids", "node_splits"):
        mine, theirs = getattr(graph.graph, name), getattr(published.graph, name)
        assert mine.dtype == theirs.dtype
        assert np.array_equal(mine, theirs), name
    configs = graph.configs(graph.raw_ids)
    assert type(configs) is type(published.configs)
    assert values(configs).dtype == np.float32
    assert np.array_equal(values(configs), values(published.configs))
    for mine, theirs in ((graph.raw_runtimes, published.runtimes), (graph.raw_normalizers, published.normalizers)):
        assert (mine is None) == (theirs is None)
        if mine is not None and theirs is not None:
            assert mine.dtype == np.int64
            assert np.array_equal(mine, theirs)


def test_equal_layouts_are_one_with_the_least_runtime(data: Path, store: Path) -> None:
    npz = write(data, LAYOUT, "train", "model", layouts(3, 1, 3, 2, 1, 3), [50, 10, 30, 70, 20, 40])
    (graph,) = open_split(data, LAYOUT, "train", store=store)
    assert (graph.name, graph.collection, len(graph), graph.raw_count) == ("model", LAYOUT, 3, 6)
    assert graph.raw_ids.tolist() == [0, 1, 0, 2, 1, 0]
    assert graph.runtimes is not None
    assert graph.runtimes.tolist() == [30, 10, 70]
    assert graph.normalizers is None
    assert graph.targets is not None
    assert graph.targets == pytest.approx([30e-9, 10e-9, 70e-9], rel=1e-15)
    assert (graph.nodes, graph.configurable_nodes) == (3, 1)
    _same(graph, npz)


def test_equal_tiles_are_one_with_the_least_ratio(data: Path, store: Path) -> None:
    # of tile 8: ratios 1, 0.5 and, in less time, 0.5 again
    npz = write(data, TILE, "valid", "kernel", tiles(8, 4, 8, 8), [10, 7, 8, 6], [10, 14, 16, 12])
    (graph,) = open_split(data, TILE, "valid", store=store)
    assert graph.raw_ids.tolist() == [0, 1, 0, 0]
    assert graph.runtimes is not None
    assert graph.runtimes.tolist() == [6, 7]
    assert graph.normalizers is not None
    assert graph.normalizers.tolist() == [12, 14]
    assert graph.targets is not None
    assert graph.targets.tolist() == [0.5, 0.5]
    _same(graph, npz)


def test_configs_in_any_order_any_number_of_times(data: Path, store: Path) -> None:
    write(data, LAYOUT, "train", "model", layouts(3, 1, 2), [1, 2, 3])
    write(data, TILE, "train", "kernel", tiles(8, 4, 2), [1, 2, 3], [1, 1, 1])
    (graph,) = open_split(data, LAYOUT, "train", store=store)
    configs = graph.configs(np.array([2, 0, 2]))
    assert isinstance(configs, LayoutConfigs)
    assert configs.node_config_feat[:, 0, 0].tolist() == [2, 3, 2]
    assert configs.node_config_feat.shape == (3, 1, 18)
    assert len(graph.configs(np.array([], np.int64))) == 0
    with pytest.raises(ValueError, match="read-only"):
        configs.node_config_feat[0] = 0
    (kernel,) = open_split(data, TILE, "train", store=store)
    configs = kernel.configs(np.array([1, 1, 0]))
    assert isinstance(configs, TileConfigs)
    assert configs.config_feat[:, 0].tolist() == [4, 4, 8]
    for ids in ([0, 3], [-1], [1, -3]):
        with pytest.raises(IndexError, match="expected configs from 0 to 2, found"):
            kernel.configs(np.array(ids))


def test_a_test_split_is_kept_as_it_is(data: Path, store: Path) -> None:
    npz = write(data, LAYOUT, "test", "model", layouts(3, 1, 3, 3))
    single = write(data, TILE, "test", "kernel", tiles(0, 0))
    (graph,) = open_split(data, LAYOUT, "test", store=store)
    assert graph.raw_ids.tolist() == [0, 1, 2, 3]
    assert (graph.runtimes, graph.targets, graph.raw_runtimes) == (None, None, None)
    _same(graph, npz)
    (graph,) = split = open_split(data, TILE, "test", store=store)
    assert (len(graph), graph.normalizers, split.dropped) == (2, None, ())
    _same(graph, single)


def test_programs_with_one_config_are_dropped(data: Path, store: Path) -> None:
    write(data, LAYOUT, "train", "a", layouts(1, 1), [5, 4])
    write(data, LAYOUT, "train", "b", layouts(1, 2), [5, 4])
    write(data, LAYOUT, "train", "c", layouts(7), [5])
    split = open_split(data, LAYOUT, "train", store=store)
    assert ([graph.name for graph in split], split.dropped, split.made) == (["b"], ("a", "c"), 3)
    assert split[0] is split.graphs[0]
    assert split[:5] == split.graphs
    again = open_split(data, LAYOUT, "train", store=store)
    assert (again.dropped, again.made) == (("a", "c"), 0)


def test_a_copy_opens_the_file_itself(data: Path, store: Path) -> None:
    write(data, LAYOUT, "train", "model", layouts(*range(40)), range(1, 41))
    (graph,) = open_split(data, LAYOUT, "train", store=store)
    _ = graph.graph, graph.configs(np.array([0]))
    pickled = pickle.dumps(graph)
    assert len(pickled) < graph.bytes, "the arrays stay where they are"
    copy = pickle.loads(pickled)
    assert np.array_equal(values(copy.configs(np.array([7]))), values(graph.configs(np.array([7]))))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_total, (graph,)) == sum(range(1, 41))


def _total(graph: StoredGraph) -> int:
    assert graph.runtimes is not None
    return int(graph.runtimes.sum())


def test_a_store_that_changed_under_an_open_split_is_noticed(data: Path, store: Path) -> None:
    write(data, LAYOUT, "train", "model", layouts(1, 2), [5, 4])
    (graph,) = open_split(data, LAYOUT, "train", store=store)
    write(data, LAYOUT, "train", "model", layouts(1, 2, 3), [5, 4, 3])
    (newer,) = open_split(data, LAYOUT, "train", store=store)
    with pytest.raises(StoreError, match="made again since"):
        _ = graph.graph
    assert len(newer) == 3
    assert len(newer.graph) == 3
    newer.path.unlink()
    _ = newer.targets  # it is mapped already
    with pytest.raises(StoreError, match="is now gone or another"):
        _ = pickle.loads(pickle.dumps(newer)).graph


def test_links_to_files_elsewhere(data: Path, store: Path, tmp_path: Path) -> None:
    real = write(tmp_path / "elsewhere", LAYOUT, "train", "x", layouts(1, 2), [5, 4])
    link = data / "npz/layout/xla/default/train/linked.npz"
    link.parent.mkdir(parents=True)
    link.symlink_to(real)
    (graph,) = open_split(data, LAYOUT, "train", store=store)
    assert graph.name == "linked"
    write(tmp_path / "elsewhere", LAYOUT, "train", "x", layouts(1, 2, 3), [5, 4, 3])
    (graph,) = open_split(data, LAYOUT, "train", store=store)
    assert len(graph) == 3


def test_the_default_store_is_a_data_sets_own(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    npz = write(data / "npz", LAYOUT, "train", "model", layouts(1, 2), [5, 4])
    (graph,) = split = open_split(data, LAYOUT, "train")
    assert graph.path.is_relative_to(tmp_path / "cache" / "xla-autotune" / "store")
    assert split.folder == data / "npz"
    assert open_split(data / "npz", LAYOUT, "train").made == 0, "the same data by another name"
    assert default_store(data / "npz") != default_store(tmp_path / "other" / "npz")
    assert not [path for path in npz.parent.iterdir() if path != npz], "nothing is written beside the data"


def test_opening_writes_nothing_when_all_is_there(data: Path, store: Path) -> None:
    write(data, LAYOUT, "train", "model", layouts(1, 2), [5, 4])
    open_split(data, LAYOUT, "train", store=store)
    before = {path: path.stat().st_mtime_ns for path in [store, *store.rglob("*")]}
    (graph,) = open_split(data, LAYOUT, "train", store=store)
    assert len(graph.graph) == 3
    assert {path: path.stat().st_mtime_ns for path in [store, *store.rglob("*")]} == before


def test_more_programs_than_a_process_may_have_files_open(data: Path, store: Path) -> None:
    for index in range(70):
        write(data, TILE, "train", f"kernel{index}", tiles(8, 9 + index), [2, 1], [1, 1])
    open_split(data, TILE, "train", store=store)
    code = (
        "import resource, sys; from training.data.store import open_split\n"
        "import numpy as np, torch\n"  # they open files of their own
        "resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))\n"
        f"split = open_split(sys.argv[1], '{TILE}', 'train', store=sys.argv[2])\n"
        "print(sum(int(graph.runtimes.sum()) + len(graph.graph) for graph in split))"
    )
    command = [sys.executable, "-c", code, str(data), str(store)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout.strip() == str(70 * (3 + 3)), done.stderr


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 5), st.integers(1, 2**40)), min_size=2, max_size=20))
def test_any_layouts(tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[int, int]]) -> None:
    folder = tmp_path_factory.mktemp("any")
    kinds, times = zip(*runs, strict=True)
    npz = write(folder, LAYOUT, "train", "model", layouts(*kinds), times)
    split = open_split(folder, LAYOUT, "train", store=folder / "store")
    best = {kind: min(time for other, time in runs if other == kind) for kind in kinds}
    assert len(split) == (len(best) > 1)
    for graph in split:
        _same(graph, npz)
        found = values(graph.configs(np.arange(len(graph))))[:, 0, 0]
        assert graph.runtimes is not None
        assert dict(zip(found.tolist(), graph.runtimes.tolist(), strict=True)) == best


REAL = (
    ("layout:xla:default", "train", "unet3d", 1159, 681),
    ("layout:xla:default", "valid", "unet_3d.4x4.bf16", 1965, 1469),
    ("layout:xla:default", "test", "cd708819d3f5103afd6460b15e74eaf3", 1000, 1000),
    ("layout:xla:random", "test", "cd708819d3f5103afd6460b15e74eaf3", 1000, 1000),
    ("layout:nlp:random", "test", "23559853d9702baaaacbb0c83fd32266", 1000, 1000),
    ("tile:xla", "train", "fusion.191", 579, 579),
    ("tile:xla", "valid", "inception_v3_batch_128_train_426e203f19335d17", 9, 8),
    ("tile:xla", "test", "d6f5f54247bd1e58a10b9e7062c636ab", 25, 25),
)


@pytest.mark.parametrize(("collection", "split", "stem", "configs", "distinct"), REAL)
def test_published_files(
    shared: Path, store: Path, collection: str, split: str, stem: str, configs: int, distinct: int
) -> None:
    data = shared / "data" / "tpugraphs"
    opened = open_split(data, collection, split, store=store)
    (graph,) = (graph for graph in opened if graph.name == stem)
    assert (graph.raw_count, len(graph)) == (configs, distinct)
    npz = data / Path(*collection.split(":")) / split / f"{stem}.npz"
    _same(graph, npz)
    targets = graph.targets
    if targets is None:
        return
    with np.load(npz) as arrays:  # the least of equal runs, found the slow way
        rows = arrays.get("node_config_feat", arrays.get("config_feat")).reshape(configs, -1)
        times = arrays["config_runtime"] / arrays.get("config_runtime_normalizers", 1e9)
    least: dict[bytes, float] = {}
    for row, time in zip(rows, times, strict=True):
        least[row.tobytes()] = min(time, least.get(row.tobytes(), np.inf))
    assert targets == pytest.approx(list(least.values()), rel=1e-12), "in the order of their first runs"


def test_kernels_without_a_choice_are_dropped(shared: Path, store: Path) -> None:
    split = open_split(shared / "data" / "tpugraphs", TILE, "train", store=store)
    assert (len(split), split.dropped) == (7, ("reshape.37", "reshape.39"))


def test_the_file_of_alexnet_is_smaller_than_the_published_one(shared: Path, data: Path, store: Path) -> None:
    link = data / "layout/xla/default/train/alexnet.npz"
    link.parent.mkdir(parents=True)
    link.symlink_to(shared / "data" / "tpugraphs" / "layout_alexnet" / "train.npz")
    (graph,) = open_split(data, LAYOUT, "train", store=store)
    assert (len(graph), graph.source_bytes) == (23924, 1005982)
    assert graph.path.stat().st_size == graph.bytes < graph.source_bytes
    _same(graph, link)


def test_a_missing_split(data: Path) -> None:
    with pytest.raises(TrainingDataError, match="looked for"):
        open_split(data, TILE, "train")
