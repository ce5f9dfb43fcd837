"""The layout space of a hand-written program."""

from __future__ import annotations

import numpy as np

from autotune.spaces.layout import LayoutConfig, LayoutSpace
from autotune.spaces.layout_tensors import LayoutTensor
from tests import programs


def test_tensors_and_size_of_two_dots() -> None:
    space = LayoutSpace(programs.two_dots().proto)
    # nodes: x 0, w 1, h 2, t 3, v 4, y 5; two dots of three matrices each, two orders or none: 3 ** 6
    assert space.node_ids == [2, 5]
    assert [(t.node, t.tensor, t.dimensions) for t in space.tensors] == [
        (2, 0, (8, 32)),
        (2, 1, (8, 16)),
        (2, 2, (16, 32)),
        (5, 0, (8, 8)),
        (5, 1, (8, 32)),
        (5, 2, (32, 8)),
    ]
    assert space.size == 3**6
    assert sum(1 for _ in space.enumerate()) == 3**6


def test_encoding_by_hand() -> None:
    space = LayoutSpace(programs.two_dots().proto)
    config = LayoutConfig.of({(2, 1): (0, 1), (5, 0): (1, 0)})
    features = space.encode([space.default, config]).node_config_feat
    assert features.shape == (2, 2, 18)
    assert features.dtype == np.float32
    assert (features[0] == -1).all()
    expected = np.full((2, 18), -1.0)
    expected[0, 6:8] = 0, 1
    expected[1, 0:2] = 1, 0
    assert np.array_equal(features[1], expected)


def test_dimensions_of_size_one_do_not_count() -> None:
    tensor = LayoutTensor(0, 0, "r", "reshape", (1, 12, 1, 64), (3, 2, 1, 0))
    assert tensor.free_dimensions == (3, 1)
    assert tensor.orders == 2
    assert tensor.row_major == (3, 2, 1, 0)
    assert tensor.complete((1, 3)) == (1, 3, 2, 0)


def test_a_program_without_choice_has_the_default_alone() -> None:
    space = LayoutSpace(programs.lookup().proto)
    rng = np.random.default_rng(0)
    assert space.size == 1
    assert list(space.enumerate()) == [space.default]
    assert space.sample(rng) == space.mutate(space.default, rng) == space.default
    assert space.encode([space.default]).node_config_feat.shape == (1, 0, 18)


def test_contains_refuses_what_is_no_permutation() -> None:
    space = LayoutSpace(programs.two_dots().proto)
    assert space.contains(LayoutConfig.of({(2, 0): (0, 1)}))
    assert not space.contains(LayoutConfig.of({(2, 0): (0, 0)}))
    assert not space.contains(LayoutConfig.of({(2, 0): (0, 1, 2)}))
    assert not space.contains(LayoutConfig.of({(3, 0): (0, 1)}))
    assert not space.contains(LayoutConfig(((2, 0, (0, 1)), (2, 0, (1, 0)))))


def test_landmarks_of_two_dots() -> None:
    space = LayoutSpace(programs.two_dots().proto)
    everywhere, outputs, inputs = space.landmarks  # both nodes are dots, so "every dot" is "everywhere"
    assert everywhere == LayoutConfig(tuple((node, tensor, (1, 0)) for node in (2, 5) for tensor in (0, 1, 2)))
    assert outputs == LayoutConfig(((2, 0, (1, 0)), (5, 0, (1, 0))))
    assert inputs == LayoutConfig(tuple((node, tensor, (1, 0)) for node in (2, 5) for tensor in (1, 2)))


def test_crossover_takes_whole_nodes() -> None:
    space = LayoutSpace(programs.two_dots().proto)
    first = LayoutConfig.of({(2, 0): (0, 1), (5, 0): (0, 1)})
    second = LayoutConfig.of({(2, 0): (1, 0), (5, 0): (1, 0)})
    children = {space.crossover(first, second, np.random.default_rng(seed)).orders for seed in range(40)}
    assert children == {
        ((2, 0, a), (5, 0, b)) for a in ((0, 1), (1, 0)) for b in ((0, 1), (1, 0))
    }  # fmt: skip
