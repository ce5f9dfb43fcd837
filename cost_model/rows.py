"""Rows of numbers: what configs put on nodes, and hashes that tell equal rows from different ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cost_model.graph import ConfigBatch, LayoutConfigs

Indices = NDArray[np.int64]
Hashes = NDArray[np.uint64]


def config_rows(configs: ConfigBatch) -> NDArray[np.float32]:
    """The rows that configs put on nodes: one per configurable node (layouts), or one for all (tiles).

    Args:
        configs: c configs.

    Returns:
        float32[c, columns, k].
    """
    return configs.node_config_feat if isinstance(configs, LayoutConfigs) else configs.config_feat[:, None]


def distinct_rows(rows: NDArray[np.float32]) -> tuple[Indices, Indices, Indices]:
    """Which pairs of a column and a config row occur.

    Args:
        rows: see `config_rows`; float32[c, columns, k].

    Returns:
        For each distinct pair its column and a config that has it there, int64[p] each, and the number of the pair that
        each config has in each column, int64[c, columns].
    """
    codes = mix(np.arange(rows.shape[1], dtype=np.uint64))
    hashes = mix(hash_rows(rows) + codes)
    _, chosen, pairs = np.unique(hashes, return_index=True, return_inverse=True)
    configs, columns = np.divmod(chosen, rows.shape[1])
    return columns, configs, pairs.reshape(rows.shape[:2])


def hash_rows(rows: NDArray[np.float32]) -> Hashes:
    """Hashes the last axis, bit for bit; uint64[c, r] of float32[c, r, columns]."""
    words = np.ascontiguousarray(rows).view(np.uint64)
    result = np.zeros(words.shape[:-1], np.uint64)
    for column in range(words.shape[-1]):
        result = mix(result + words[..., column])
    return result


def mix(values: Hashes) -> Hashes:
    """Spreads 64-bit values over all bits, one to one.

    Source: SplitMix64, G. Steele et al., "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> 30
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> 27
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> 31
    return mixed
