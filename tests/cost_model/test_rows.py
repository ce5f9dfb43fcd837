"""What is told of rows."""

from __future__ import annotations

import numpy as np

from cost_model.graph import TileConfigs
from cost_model.rows import config_rows, distinct_rows
from tests.cost_model.networks import few_layouts, random_graph


def test_a_tile_is_one_row_for_all_nodes() -> None:
    tiles = np.arange(3 * 24, dtype=np.float32).reshape(3, 24)
    np.testing.assert_array_equal(config_rows(TileConfigs(tiles)), tiles.reshape(3, 1, 24))


def test_distinct_rows_by_hand() -> None:
    # two columns, three configs; (column, row) pairs: (0, a), (1, a), (0, b)
    rows = np.zeros((3, 2, 18), np.float32)
    rows[2, 0, 17] = 1
    columns, configs, pairs = distinct_rows(rows)
    assert sorted(zip(columns.tolist(), rows[configs, columns, 17].tolist(), strict=True)) == [(0, 0), (0, 1), (1, 0)]
    assert pairs.shape == (3, 2)
    assert pairs[0].tolist() == pairs[1].tolist()
    assert pairs[0, 1] == pairs[2, 1]
    assert len(set(pairs[[0, 2, 0], [0, 0, 1]].tolist())) == 3


def test_distinct_rows_stand_for_every_config() -> None:
    layouts = few_layouts(random_graph(), 40, 0)
    rows = config_rows(layouts)
    np.testing.assert_array_equal(rows, layouts.node_config_feat)
    columns, chosen, pairs = distinct_rows(rows)
    np.testing.assert_array_equal(rows[chosen, columns][pairs], rows)
    np.testing.assert_array_equal(columns[pairs], np.broadcast_to(np.arange(rows.shape[1]), pairs.shape))
    assert len(columns) <= 3 * rows.shape[1]
