"""What the networks of the zoo compute."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes  # noqa: F401 - numpy learns the name bfloat16
import numpy as np
import pytest
from numpy.typing import NDArray

from autotune.targets.isolation import Worker

_SECONDS = 120.0


@pytest.fixture(scope="module")
def child() -> Iterator[Worker]:
    with Worker("tests.training.zoo.child") as worker:
        yield worker


def arguments(child: Worker, name: str) -> list[NDArray[Any]]:
    """Small numbers for the arguments of a program; indices are 0 to 9."""
    numbers = np.random.default_rng(0)
    return [
        numbers.integers(0, 10, shape).astype(dtype)
        if dtype == "int32"
        else (0.1 * numbers.normal(size=shape)).astype(dtype)
        for shape, dtype in child.call("shapes", name, time_limit=_SECONDS)
    ]


@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (8, 2), (4, 1)])
def test_attention_is_that_of_jax(child: Worker, heads: int, groups: int) -> None:
    ours, theirs = child.call("attend_and_reference", 5, 7, heads, groups, time_limit=_SECONDS)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_rotary_positions_are_relative(child: Worker) -> None:
    here, there = (child.call("rotated_products", shift, time_limit=_SECONDS) for shift in (0, 11))
    np.testing.assert_allclose(here, there, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 4, 16])
def test_retention_does_not_depend_on_the_size_of_chunks(child: Worker, chunk: int) -> None:
    whole = child.call("retention_in_chunks", 32, time_limit=_SECONDS)
    assert np.ptp(whole) > 0.1
    np.testing.assert_allclose(child.call("retention_in_chunks", chunk, time_limit=_SECONDS), whole, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2/b4-t128", "llama/b4-t128", "state-space/b4-t64", "lstm/b16-t32"])
def test_no_token_sees_a_later_one(child: Worker, name: str) -> None:
    given = arguments(child, name)
    changed = [*given[:-1], given[-1].copy()]
    changed[-1][:, 20] += 1
    before, after = (child.call("call", name, each, time_limit=_SECONDS)[0] for each in (given, changed))
    np.testing.assert_array_equal(before[:, :20], after[:, :20])
    assert (before[:, 20] != after[:, 20]).any()


def test_a_step_of_training_lowers_the_loss(child: Worker) -> None:
    given = arguments(child, "dlrm/b128-train")
    inferred = child.call("call", "dlrm/b128", given[:-1], time_limit=_SECONDS)[0]
    loss, *weights = child.call("call", "dlrm/b128-train", given, time_limit=_SECONDS)
    assert loss == pytest.approx(np.square(inferred - given[-1]).mean(), rel=1e-4)
    assert [each.shape for each in weights] == [each.shape for each in given[: len(weights)]]
    later, *_ = child.call("call", "dlrm/b128-train", [*weights, *given[len(weights) :]], time_limit=_SECONDS)
    assert later < loss


def test_weights_of_a_resnet_by_hand(child: Worker) -> None:
    # Stem 7*7*3*32. A bottleneck from n to 4w channels: n*w + 9*w*w + 4*w*w, and n*4w where the shape changes.
    # Stages: w = 32, 64, 128, from 32, 128, 256 channels, then once more from 4w to 4w. Classifier 512*100 + 100.
    # A batch norm has 2 numbers a channel, and the 2 of its statistics in inference.
    weights = 7 * 7 * 3 * 32 + 512 * 100 + 100
    channels = 32
    for width, entering in ((32, 32), (64, 128), (128, 256)):
        weights += entering * width + 13 * width * width + 4 * entering * width + 17 * width * width
        channels += 2 * (width + width + 4 * width) + 4 * width
    shapes = child.call("shapes", "resnet/b8-i64", time_limit=_SECONDS)
    assert shapes[-1] == ((8, 64, 64, 3), "float32")
    assert sum(int(np.prod(shape)) for shape, _ in shapes[:-1]) == weights + 4 * channels


def test_all_arguments_have_the_dtype_of_the_program(child: Worker) -> None:
    assert {dtype for _, dtype in child.call("shapes", "bert/b8-t64-bf16", time_limit=_SECONDS)} == {
        "bfloat16",
        "int32",
    }
