"""Losses over slates: by hand, against golden values and plain Python, at the extremes, and what must not matter."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, tensor

from training.losses import diffmat_hinge, list_mle, mape, pairwise_hinge

Loss = Callable[..., Tensor]
Slate = list[tuple[float, float]]  # (score, runtime) of each member

INF, NAN = math.inf, math.nan
diffmat, pairwise = partial(diffmat_hinge, margin=0.5), partial(pairwise_hinge, margin=0.5)
RANKING: dict[str, Loss] = {
    "diffmat": diffmat,
    "pairwise": pairwise,
    "list_mle": list_mle,
    "list_mle_no_clip": partial(list_mle, norm_limit=None),
    "list_mle_clipped": partial(list_mle, norm_limit=7.3),
}
LOSSES: dict[str, Loss] = {**RANKING, "mape": mape}

every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
ranking_losses = pytest.mark.parametrize("loss", RANKING.values(), ids=RANKING)

# Few different runtimes, so that ties are common.
members = st.tuples(st.floats(-30, 30, width=32), st.integers(1, 5).map(float))
slates = st.integers(1, 5).flatmap(
    lambda size: st.lists(st.lists(members, min_size=size, max_size=size), min_size=1, max_size=3)
)


def _tensors(rows: list[Slate]) -> tuple[Tensor, Tensor]:
    """In float64, so that what remains of a difference is an error, not rounding."""
    both = tensor(rows, dtype=torch.float64)
    return both[..., 0], both[..., 1]


def _value_and_gradient(loss: Loss, scores: Tensor, runtimes: Tensor, **arguments: Any) -> tuple[float, Tensor]:
    scores = scores.detach().clone().requires_grad_()
    value = loss(scores, runtimes, **arguments)
    assert value.shape == ()
    (gradient,) = torch.autograd.grad(value, scores)
    return float(value.detach()), gradient


def test_diffmat_hinge_by_hand() -> None:
    # one slate, three pairs: (1,2) ordered by 0.5 > margin, (1,3) wrong by 0.2, (2,3) a tie
    loss = diffmat_hinge(tensor([[1.0, 1.5, 0.8]]), tensor([[10.0, 20.0, 20.0]]), margin=0.1)
    assert float(loss) == pytest.approx((0.0 + 0.3 + 0.1) / 3)


def test_diffmat_hinge_of_masked_slates_is_a_mean_over_pairs() -> None:
    # The first slate has one pair left, wrong by 2; the second has three, right by 1, 2 and 1.
    value, gradient = _value_and_gradient(
        partial(diffmat_hinge, margin=1.5),
        tensor([[3.0, 1.0, NAN], [1.0, 2.0, 3.0]]),
        tensor([[1.0, 2.0, INF], [4.0, 5.0, 6.0]]),
        where=tensor([[True, True, False], [True, True, True]]),
    )
    assert value == pytest.approx((3.5 + 0.5 + 0.0 + 0.5) / 4)
    # Each of the three pairs that are not far enough apart pushes its slower member up and its faster one down.
    assert gradient.tolist() == [[0.25, -0.25, 0.0], [0.25, 0.0, -0.25]]


def test_pairwise_hinge_leaves_ties_out() -> None:
    loss = pairwise_hinge(tensor([[1.0, 1.5, 0.8]]), tensor([[10.0, 20.0, 20.0]]), margin=0.1)
    assert float(loss) == pytest.approx((0.0 + 0.3) / 2)
    # A slate of ties alone adds nothing, to the number of pairs neither.
    scores, runtimes = tensor([[1.0, 1.5], [7.0, 9.0]]), tensor([[20.0, 10.0], [5.0, 5.0]])
    assert float(pairwise_hinge(scores, runtimes, margin=0.1)) == pytest.approx(0.6)
    value, gradient = _value_and_gradient(partial(pairwise_hinge, margin=0.1), scores[1:], runtimes[1:])
    assert (value, gradient.tolist()) == (0.0, [[0.0, 0.0]])


def test_pairwise_hinge_equals_tf_ranking() -> None:
    # Example in the documentation of tfr.keras.losses.PairwiseHingeLoss: 0.6, over two members; its only pair 1.2.
    loss = pairwise_hinge(tensor([[0.6, 0.8]]), tensor([[1.0, 0.0]]), margin=1.0)
    assert float(loss) == pytest.approx(2 * 0.6)


def test_list_mle_by_hand() -> None:
    # Slowest first, the weights exp(s) stand in the order 2, 3, 1: chances 2/6, 3/4 and 1/1, product 1/4.
    scores = tensor([[1.0, 2.0, 3.0]]).log()
    assert float(list_mle(scores, tensor([[10.0, 30.0, 20.0]]))) == pytest.approx(math.log(4))
    # A second slate in the order 3, 2, 1: chances 3/6, 2/3 and 1/1, product 1/3. The mean over slates:
    twice = list_mle(scores.repeat(2, 1), tensor([[10.0, 30.0, 20.0], [1.0, 2.0, 3.0]]))
    assert float(twice) == pytest.approx((math.log(4) + math.log(3)) / 2)


def test_list_mle_equals_tf_ranking() -> None:
    # Example in the documentation of tfr.keras.losses.ListMLELoss.
    assert float(list_mle(tensor([[0.6, 0.8]]), tensor([[1.0, 0.0]]))) == pytest.approx(0.7981389)


def test_list_mle_keeps_the_order_of_ties() -> None:
    scores, runtimes = tensor([[1.0, 3.0]]).log(), tensor([[5.0, 5.0]])
    assert float(list_mle(scores, runtimes)) == pytest.approx(math.log(4))
    assert float(list_mle(scores.flip(1), runtimes)) == pytest.approx(math.log(4 / 3))


def test_list_mle_has_a_floor_under_the_tail() -> None:
    # Right order: the last term is log(e^-50 + 1e-10) + 50. Wrong order: the first is log(1 + e^-50) + 50.
    right = list_mle(tensor([[0.0, 50.0]]), tensor([[1.0, 2.0]]))
    wrong = list_mle(tensor([[0.0, 50.0]]), tensor([[2.0, 1.0]]))
    assert float(right) == pytest.approx(50 - 10 * math.log(10))
    assert float(wrong) == pytest.approx(50)


def test_list_mle_clips_the_norm() -> None:
    # The norm of (600, 800) is 1000, so the clip leaves (300, 400), wrong by 100 instead of 200.
    scores, runtimes = tensor([[600.0, 800.0]]), tensor([[2.0, 1.0]])
    assert float(list_mle(scores, runtimes)) == pytest.approx(100)
    assert float(list_mle(scores, runtimes, norm_limit=None)) == pytest.approx(200)
    assert float(list_mle(scores, runtimes, norm_limit=1000.0)) == pytest.approx(200)
    # Each slate has a norm of its own, and members that do not count have no part in it.
    scores, runtimes = tensor([[600.0, 800.0, 9e9], [3.0, 4.0, 9e9]]), tensor([[2.0, 1.0, 0.0]]).repeat(2, 1)
    where = tensor([[True, True, False]]).repeat(2, 1)
    second = math.log(1 + math.e)  # chances 1 / (1 + e) and 1
    assert float(list_mle(scores, runtimes, where=where)) == pytest.approx((100 + second) / 2)


def test_mape_by_hand() -> None:
    # 1/2, 1/4 and, under the floor, 2.34e-6 / 1.17e-6; the fourth does not count
    scores, runtimes = tensor([[3.0, 5.0, 2.34e-6, 1.0]]), tensor([[2.0, 4.0, 0.0, 9.0]])
    where = tensor([[True, True, True, False]])
    assert float(mape(scores, runtimes, where=where)) == pytest.approx((0.5 + 0.25 + 2.0) / 3)
    assert float(mape(tensor([[1.0]]), tensor([[-2.0]]))) == pytest.approx(1.5)


@pytest.mark.parametrize("case", ["layout_narrow", "layout_wide_residual", "layout_wide_plain", "tile"])
def test_losses_equal_the_original_code(shared: Path, case: str) -> None:
    cases = json.loads((shared / "data" / "golden" / "network_parity.json").read_text())["cases"]
    golden = cases[case]
    if case == "layout_wide_plain":  # the same configs of the same graph, written down once
        assert golden["configs"] == cases["layout_wide_residual"]["configs"]
        golden = cases["layout_wide_residual"] | golden
        del golden["listmle"]
    scores, runtimes = (tensor(golden[key]).view(-1, golden["microbatch"]) for key in ("prediction", "target"))
    diffmat = golden["scale"] * diffmat_hinge(scores, runtimes, margin=golden["margin"])
    assert float(diffmat) == pytest.approx(golden["diffmat"], rel=1e-5)
    assert float(mape(scores, runtimes)) == pytest.approx(golden["mape"], rel=1e-5)
    if "listmle" in golden:
        assert float(list_mle(scores, runtimes)) == pytest.approx(golden["listmle"], rel=1e-5)


def _slow_hinges(rows: list[Slate], margin: float) -> list[float]:
    """The hinge of each pair with different runtimes."""
    hinges = []
    for slate in rows:
        for one, other in itertools.combinations(slate, 2):
            (faster, fast), (slower, slow) = sorted([one, other], key=lambda member: member[1])
            if fast != slow:
                hinges.append(max(0.0, margin - (slower - faster)))
    return hinges


def _slow_list_mle(rows: list[Slate]) -> float:
    """As recipes have it: sort, walk from the tail, add up."""
    total = 0.0
    for slate in rows:
        slowest_first = [score for score, _ in sorted(slate, key=lambda member: -member[1])]
        tail = 0.0
        for score in reversed(slowest_first):
            tail += math.exp(score - max(slowest_first))
            total += math.log(tail + 1e-10) - (score - max(slowest_first))
    return total / len(rows)


@given(slates)
@settings(deadline=None)
def test_hinges_equal_plain_python(rows: list[Slate]) -> None:
    scores, runtimes = _tensors(rows)
    hinges = _slow_hinges(rows, margin=0.5)
    expected = sum(hinges) / len(hinges) if hinges else 0.0
    assert float(pairwise_hinge(scores, runtimes, margin=0.5)) == pytest.approx(expected)
    pairs = len(rows) * math.comb(len(rows[0]), 2)
    expected = (sum(hinges) + 0.5 * (pairs - len(hinges))) / pairs if pairs else 0.0
    assert float(diffmat_hinge(scores, runtimes, margin=0.5)) == pytest.approx(expected)


@given(slates)
@settings(deadline=None)
def test_list_mle_equals_plain_python(rows: list[Slate]) -> None:
    scores, runtimes = _tensors(rows)
    assert float(list_mle(scores, runtimes)) == pytest.approx(_slow_list_mle(rows))


@given(slates)
@settings(deadline=None)
def test_mape_equals_plain_python(rows: list[Slate]) -> None:
    scores, runtimes = _tensors(rows)
    errors = [abs(score - runtime) / runtime for score, runtime in itertools.chain(*rows)]
    assert float(mape(scores, runtimes)) == pytest.approx(sum(errors) / len(errors))


# Away from the kinks (hinge 0, score = runtime, norm = limit), with a tie in the runtimes.
SMOOTH: dict[str, Loss] = {
    "diffmat": partial(diffmat_hinge, margin=0.35),
    "pairwise": partial(pairwise_hinge, margin=0.35),
    "list_mle": list_mle,
    "list_mle_clipped": partial(list_mle, norm_limit=0.7),
    "list_mle_at_the_floor": lambda scores, runtimes, where: list_mle(40 * scores, runtimes, where=where),
    "mape": mape,
}


@pytest.mark.parametrize("loss", SMOOTH.values(), ids=SMOOTH)
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_equal_finite_differences(loss: Loss, masked: bool) -> None:
    scores = tensor([[0.1, -0.7, 1.3, 0.6], [2.0, 0.3, -0.4, 0.9]], dtype=torch.float64, requires_grad=True)
    runtimes = tensor([[3.0, 1.0, 1.0, 2.0], [1.0, 4.0, 3.0, 2.0]], dtype=torch.float64)
    where = tensor([[True, True, False, True], [True, True, True, False]]) if masked else None
    assert torch.autograd.gradcheck(lambda scores: loss(scores, runtimes, where=where), (scores,))
    assert _value_and_gradient(loss, scores, runtimes, where=where)[1].abs().max() > 0


@ranking_losses
def test_one_config_per_slate_costs_nothing(loss: Loss) -> None:
    value, gradient = _value_and_gradient(loss, tensor([[3.0], [-900.0]]), tensor([[2.0], [7.0]]))
    assert (value, gradient.tolist()) == (0.0, [[0.0], [0.0]])


@ranking_losses
def test_one_member_per_slate_costs_nothing(loss: Loss) -> None:
    value, gradient = _value_and_gradient(
        loss, tensor([[3.0, 8.0]]), tensor([[2.0, 1.0]]), where=tensor([[False, True]])
    )
    assert (value, gradient.tolist()) == (0.0, [[0.0, 0.0]])


@every_loss
def test_no_members_cost_nothing(loss: Loss) -> None:
    scores, runtimes = tensor([[3.0, NAN, -INF], [INF, 0.0, 1.0]]), tensor([[NAN, 1.0, 2.0], [INF, 0.0, 0.0]])
    value, gradient = _value_and_gradient(loss, scores, runtimes, where=torch.zeros(2, 3, dtype=torch.bool))
    assert (value, gradient.tolist()) == (0.0, [[0.0] * 3] * 2)


@every_loss
def test_no_slates_cost_nothing(loss: Loss) -> None:
    value, gradient = _value_and_gradient(loss, torch.empty(0, 3), torch.empty(0, 3))
    assert (value, gradient.shape) == (0.0, (0, 3))


@every_loss
@pytest.mark.parametrize("scale", [1e30, 1e18, 1e-30, 0.0])
@pytest.mark.parametrize("unit", [1e30, 1e18, 1e-30, 0.0])
def test_finite_inputs_give_finite_losses_and_gradients(loss: Loss, scale: float, unit: float) -> None:
    scores = scale * tensor([[1.0, -1.0, 0.5, 0.5], [1.0, 1.0, 1.0, 1.0]])
    runtimes = unit * tensor([[1.0, 2.0, 2.0, 3.0], [4.0, 3.0, 2.0, 1.0]])
    value, gradient = _value_and_gradient(loss, scores, runtimes)
    assert math.isfinite(value)
    assert gradient.isfinite().all()


def test_huge_scores_by_hand() -> None:
    scores, runtimes = tensor([[3e30, -4e30]]), tensor([[1e18, 2e18]])
    assert float(diffmat_hinge(scores, runtimes, margin=0.5)) == pytest.approx(7e30)
    assert float(pairwise_hinge(scores, runtimes, margin=0.5)) == pytest.approx(7e30)
    assert float(list_mle(scores, runtimes)) == pytest.approx(700)  # clipped to (300, -400)
    assert float(list_mle(scores, runtimes, norm_limit=None)) == pytest.approx(7e30)
    assert float(mape(scores, runtimes)) == pytest.approx((3e12 + 2e12) / 2)


@every_loss
@pytest.mark.parametrize("scale", [1e30, 1000.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_padding_of_huge_scores_does_not_matter(loss: Loss, scale: float, sign: int) -> None:
    scores, runtimes = sign * scale * tensor([[3.0, 1.0, 2.0]]), tensor([[1.0, 3.0, 2.0]])
    value, gradient = _value_and_gradient(loss, scores, runtimes)
    padded = [torch.cat([values, tensor([[-7.0]])], dim=1) for values in (scores, runtimes)]
    where = tensor([[True, True, True, False]])
    padded_value, padded_gradient = _value_and_gradient(loss, *padded, where=where)
    assert padded_value == pytest.approx(value)
    torch.testing.assert_close(padded_gradient, torch.cat([gradient, tensor([[0.0]])], dim=1))


@ranking_losses
def test_an_infinite_runtime_is_the_slowest(loss: Loss) -> None:
    scores = tensor([[0.3, 0.1, 0.2, 0.7]])
    value, gradient = _value_and_gradient(loss, scores, tensor([[2.0, INF, 1.0, INF]]))
    as_finite, gradient_as_finite = _value_and_gradient(loss, scores, tensor([[2.0, 9.0, 1.0, 9.0]]))
    assert value == as_finite
    assert gradient.tolist() == gradient_as_finite.tolist()


@every_loss
@pytest.mark.parametrize("score", [INF, -INF, NAN])
@pytest.mark.parametrize("size", [1, 3])
def test_a_score_that_is_not_finite_cannot_hide(loss: Loss, score: float, size: int) -> None:
    # The infinite score is in the right place for its runtime, so that a hinge alone would not notice.
    runtimes = tensor([[1e-3 if score < 0 else 1e3, 1.0, 2.0], [1.0, 2.0, 3.0]])[:, :size]
    scores = tensor([[score, 1.0, 2.0], [1.0, 2.0, 3.0]])[:, :size]
    assert not loss(scores, runtimes).isfinite()


@every_loss
@pytest.mark.parametrize("size", [1, 3])
def test_a_runtime_that_is_nan_cannot_hide(loss: Loss, size: int) -> None:
    assert loss(tensor([[1.0, 2.0, 3.0]])[:, :size], tensor([[NAN, 2.0, 3.0]])[:, :size]).isnan()


def test_an_infinite_runtime_cannot_hide_from_mape() -> None:
    assert mape(tensor([[1.0, 2.0]]), tensor([[1.0, INF]])).isnan()


@every_loss
@given(rows=slates, data=st.data())
@settings(deadline=None)
def test_order_within_a_slate_does_not_matter(loss: Loss, rows: list[Slate], data: st.DataObject) -> None:
    if loss not in (diffmat, pairwise, mape):  # to list_mle the order of ties counts
        rows = [[(score, rank + 1.0) for rank, (score, _) in enumerate(slate)] for slate in rows]
    order = data.draw(st.permutations(range(len(rows[0]))))
    value, gradient = _value_and_gradient(loss, *_tensors(rows))
    shuffled = _tensors([[slate[index] for index in order] for slate in rows])
    other_value, other_gradient = _value_and_gradient(loss, *shuffled)
    assert other_value == pytest.approx(value)
    torch.testing.assert_close(other_gradient, gradient[:, order])


@every_loss
@given(rows=slates, data=st.data())
@settings(deadline=None)
def test_padding_does_not_matter(loss: Loss, rows: list[Slate], data: st.DataObject) -> None:
    anything = st.tuples(*[st.sampled_from([0.0, -1.0, 3.0, 1e30, -1e300, INF, -INF, NAN])] * 2)
    size = len(rows[0])
    places = sorted(data.draw(st.permutations(range(size + 2)))[:size])
    padded: list[Slate] = []
    for slate in rows:
        padded.append(data.draw(st.lists(anything, min_size=size + 2, max_size=size + 2)))
        for place, member in zip(places, slate, strict=True):
            padded[-1][place] = member
    padded.append(data.draw(st.lists(anything, min_size=size + 2, max_size=size + 2)))
    where = torch.zeros(len(padded), size + 2, dtype=torch.bool)
    where[:-1, places] = True

    value, gradient = _value_and_gradient(loss, *_tensors(rows))
    padded_value, padded_gradient = _value_and_gradient(loss, *_tensors(padded), where=where)
    assert padded_value == pytest.approx(value)
    torch.testing.assert_close(padded_gradient[where].view_as(gradient), gradient)
    assert (padded_gradient[~where] == 0).all()


@ranking_losses
@given(rows=slates)
@settings(deadline=None)
def test_only_the_order_of_runtimes_matters(loss: Loss, rows: list[Slate]) -> None:
    scores, runtimes = _tensors(rows)
    assert float(loss(scores, runtimes)) == float(loss(scores, 10 ** runtimes.long()))


@pytest.mark.parametrize("loss", [diffmat, pairwise, list_mle])
@given(rows=slates, offset=st.floats(-50, 50))
@settings(deadline=None)
def test_constant_added_to_scores_does_not_matter(loss: Loss, rows: list[Slate], offset: float) -> None:
    scores, runtimes = _tensors(rows)  # with norms that stay below the limit of list_mle
    assert float(loss(scores + offset, runtimes)) == pytest.approx(float(loss(scores, runtimes)), abs=1e-6)


@every_loss
@pytest.mark.parametrize("masked", [False, True])
def test_no_value_is_read_by_the_host(loss: Loss, masked: bool) -> None:
    # Tensors on this device have shapes and no values: whatever would make the host wait for a GPU raises.
    scores, runtimes = (torch.empty(2, 3, device="meta") for _ in range(2))
    where = torch.empty(2, 3, dtype=torch.bool, device="meta") if masked else None
    value = loss(scores.requires_grad_(), runtimes, where=where)
    value.backward()
    assert value.device.type == "meta"
    assert scores.grad is not None


@every_loss
@pytest.mark.parametrize(
    ("scores", "runtimes", "found"),
    [
        ((3,), (3,), r"\[3\] and \[3\]"),
        ((2, 3), (3, 2), r"\[2, 3\] and \[3, 2\]"),
        ((2, 3), (1, 3), r"\[2, 3\] and \[1, 3\]"),
        ((2, 0), (2, 0), r"\[2, 0\] and \[2, 0\]"),
    ],
)
def test_refuses_shapes(loss: Loss, scores: tuple[int, ...], runtimes: tuple[int, ...], found: str) -> None:
    with pytest.raises(ValueError, match=rf"expected one and the same shape \[slates, slate_size\].*{found}"):
        loss(torch.zeros(scores), torch.zeros(runtimes))


@every_loss
def test_refuses_masks(loss: Loss) -> None:
    with pytest.raises(ValueError, match=r"where: expected torch.bool\[2, 3\].*torch.float32\[2, 3\]"):
        loss(torch.zeros(2, 3), torch.zeros(2, 3), where=torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"where: expected torch.bool\[2, 3\].*torch.bool\[3\]"):
        loss(torch.zeros(2, 3), torch.zeros(2, 3), where=torch.ones(3, dtype=torch.bool))


@pytest.mark.parametrize("limit", [0.0, -1.0, INF, NAN])
def test_refuses_norm_limits(limit: float) -> None:
    with pytest.raises(ValueError, match="norm_limit: expected a positive number"):
        list_mle(torch.zeros(2, 3), torch.zeros(2, 3), norm_limit=limit)
