"""Learning to rank the configs of one graph without a graph network: what a network must beat to be worth its cost.

Both models know nothing but the configs of the graph that they are fitted to, so they can rank no other graph.

Measured on alexnet (TpuGraphs `layout_alexnet`: fitted to all 23,924 configs of train.npz, Kendall's tau over all 2,990
configs of valid.npz; both runs on one core of an AMD EPYC, Zen 5):

| model | tau | variations tried |
|---|---|---|
| `ridge_scores` | .834 | of runtimes .834, of ranks .824; one column per node .835, per cell .834; penalty 1: .833 |
| `boosted_trees_scores` | .843 | of log runtimes .842, of ranks .845; 63 leaves .844 (of ranks .846) |
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cost_model import ConfigBatch, LayoutConfigs, TileConfigs, features

Floats = NDArray[np.float64]

_TENSOR_COLUMNS: Final = features.LAYOUT_FEATURES // 3
"""Columns of one tensor (output, first input, second input) in the row of a configurable node."""


def ridge_scores(
    train_configs: LayoutConfigs,
    train_runtimes: NDArray[np.int64],
    valid_configs: LayoutConfigs,
    *,
    penalty: float = 0.01,
) -> Floats:
    r"""Scores by a linear model of log runtimes in which every layout of every tensor has a weight of its own.

    .. math:: w = (X^T X + \lambda I)^{-1} X^T y

    with X and y centred, so that the intercept is not penalised. X is one-hot: one column per tensor of a configurable
    node and layout that `train_configs` give it; a layout that is new in `valid_configs` has no column.

    Args:
        train_configs: t configs.
        train_runtimes: theirs, int64[t], ns.
        valid_configs: c configs of the same graph.
        penalty: lambda, above 0.

    Returns:
        Predicted log runtimes but for a constant, lower = faster; float64[c].

    Raises:
        ValueError: the arguments do not belong together.
    """
    _check(train_configs, train_runtimes, valid_configs)
    train, valid = _one_hot(_tensors(train_configs), _tensors(valid_configs))
    mean = train.mean(axis=0)
    train -= mean
    logarithms = np.log(train_runtimes)
    gram = train.T @ train + penalty * np.eye(train.shape[1])
    weights = np.linalg.solve(gram, train.T @ (logarithms - logarithms.mean()))
    scores: Floats = (valid - mean) @ weights
    return scores


def boosted_trees_scores(
    train_configs: ConfigBatch,
    train_runtimes: NDArray[np.int64],
    valid_configs: ConfigBatch,
    *,
    trees: int = 300,
) -> Floats:
    """Scores by gradient boosted trees (scikit-learn's histograms) that regress runtimes on the raw columns of configs.

    Squared error, learning rate 0.1, 31 leaves, no early stopping: the library's own defaults but for the last.

    Args:
        train_configs: t configs.
        train_runtimes: theirs, int64[t], ns.
        valid_configs: c configs of the same graph.
        trees: how many.

    Returns:
        Predicted runtimes, ns, lower = faster; float64[c].

    Raises:
        ValueError: the arguments do not belong together.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor  # in the extra `dev`

    _check(train_configs, train_runtimes, valid_configs)
    model = HistGradientBoostingRegressor(max_iter=trees, early_stopping=False, random_state=0)
    model.fit(_rows(train_configs), train_runtimes)
    return np.asarray(model.predict(_rows(valid_configs)), dtype=np.float64)


def _tensors(configs: LayoutConfigs) -> NDArray[np.int8]:
    """The layout of every tensor; int8[configs, tensors, 6]."""
    return configs.node_config_feat.astype(np.int8).reshape(len(configs), -1, _TENSOR_COLUMNS)


def _one_hot(train: NDArray[np.int8], valid: NDArray[np.int8]) -> tuple[Floats, Floats]:
    """One column per tensor and layout, but for tensors with one layout only; float64[t, k] and float64[c, k]."""
    varying = [(tensor, np.unique(train[:, tensor], axis=0)) for tensor in range(train.shape[1])]
    columns = [(tensor, layout) for tensor, layouts in varying if len(layouts) > 1 for layout in layouts]
    first, second = (np.zeros((len(part), len(columns))) for part in (train, valid))
    for column, (tensor, layout) in enumerate(columns):
        first[:, column] = (train[:, tensor] == layout).all(axis=1)
        second[:, column] = (valid[:, tensor] == layout).all(axis=1)
    return first, second


def _rows(configs: ConfigBatch) -> NDArray[np.float32]:
    values = configs.config_feat if isinstance(configs, TileConfigs) else configs.node_config_feat
    return values.reshape(len(configs), -1)


def _check(train: ConfigBatch, runtimes: NDArray[np.int64], valid: ConfigBatch) -> None:
    if _rows(train).shape[1] != _rows(valid).shape[1] or type(train) is not type(valid):
        raise ValueError("expected configs of one graph to fit and to score, found configs of different graphs")
    if runtimes.shape != (len(train),) or not (runtimes > 0).all():
        raise ValueError(f"train_runtimes: expected {len(train)} above 0, one per config, found others")
