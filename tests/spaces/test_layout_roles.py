"""Roles of hand-written programs."""

from __future__ import annotations

import numpy as np
import pytest

from autotune.hlo.reader import read_bytes
from autotune.spaces.layout import LayoutConfig, LayoutFactors, LayoutSpace
from autotune.spaces.layout_roles import Role
from tests import programs

THREE_LAYERS = """HloModule layers

ENTRY main {
  x = f32[8,16]{1,0} parameter(0)
  v = f32[16,16]{1,0} parameter(1)
  w = f32[16,16]{0,1} parameter(2)
  a = f32[8,16]{1,0} dot(x, v), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  b = f32[8,16]{1,0} dot(a, v), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  ROOT c = f32[8,16]{1,0} dot(b, w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
"""


def _layers() -> LayoutSpace:
    return LayoutSpace(read_bytes(THREE_LAYERS.encode(), "layers").proto, places=2)


def _factors(space: LayoutSpace) -> LayoutFactors:
    assert space.factors is not None
    return space.factors


def test_a_cpu_has_landmarks_and_a_tpu_has_roles() -> None:
    cpu, tpu = LayoutSpace(programs.two_dots().proto), LayoutSpace(programs.two_dots().proto, places=2)
    assert cpu.landmarks
    assert cpu.roles is None
    assert cpu.factors is None
    assert not tpu.landmarks
    assert tpu.roles is not None


def test_tensors_of_one_shape_place_and_default_order_are_alike() -> None:
    roles = _layers().roles  # nodes: x 0, v 1, a 2, b 3, w 4, c 5
    assert roles is not None
    assert dict(zip(roles.roles, roles.places, strict=True)) == {
        Role("dot", 0, (8, 16), (1, 0), (0, 1)): ((2, 0), (3, 0), (5, 0)),
        Role("dot", 1, (8, 16), (1, 0), (0, 1)): ((2, 1), (3, 1), (5, 1)),
        Role("dot", 2, (16, 16), (1, 0), (0, 1)): ((2, 2), (3, 2)),
        Role("dot", 2, (16, 16), (0, 1), (1, 0)): ((5, 2),),
    }


def test_factors_are_the_shares_of_a_role_half_of_it_for_what_roles_share_and_tensors_by_themselves() -> None:
    space = _layers()
    one = LayoutConfig.of({(3, 0): (0, 1)})
    every_output = LayoutConfig.of({(node, 0): (0, 1) for node in (2, 3, 5)})
    second_inputs = LayoutConfig.of({(2, 2): (0, 1), (5, 2): (1, 0)})
    usual = LayoutConfig.of({(2, 0): (1, 0), (5, 2): (0, 1)})
    factors = _factors(space).of([space.default, one, every_output, second_inputs, usual])
    assert np.count_nonzero(factors[[0, 4]]) == 0, "naming a default order is no decision"
    half, alone = 0.5**0.5, (0.5 / 3) ** 0.5  # of the variance of an effect half is a tensor's by itself
    assert sorted(factors[1][factors[1] != 0]) == pytest.approx([1 / 6, half / 3, alone])
    assert sorted(factors[2][factors[2] != 0]) == pytest.approx([*[alone] * 3, 1 / 2, half])
    assert factors[1] @ factors[2] == pytest.approx(1 / 12 + half**2 / 3 + alone**2), "the role, and one of its tensors"
    expected = [half / 2, 0.5, half, half, 0.75]
    assert sorted(factors[3][factors[3] != 0]) == pytest.approx(expected), "two roles, and what second inputs share"
    assert factors[1] @ factors[3] == 0


def test_as_much_is_expected_of_a_role_however_many_tensors_have_it() -> None:
    space = _layers()
    assert space.roles is not None
    every = [
        LayoutConfig.of(dict.fromkeys(places, role.order))
        for role, places in zip(space.roles.roles, space.roles.places, strict=True)
    ]
    assert {len(places) for places in space.roles.places} == {1, 2, 3}
    assert (_factors(space).of(every) ** 2).sum(axis=1) == pytest.approx([1.25] * len(every))


def test_what_is_not_a_choice_makes_no_role() -> None:
    assert not LayoutSpace(programs.lookup().proto, places=2).roles
    text = THREE_LAYERS.replace("8,16", "1,16")
    roles = LayoutSpace(read_bytes(text.encode(), "rows").proto, places=2).roles
    assert roles is not None
    assert {role.dimensions for role in roles.roles} == {(16, 16)}, "one row has one order"


def test_an_order_of_major_dimensions_that_is_not_the_default_one_is_a_decision() -> None:
    text = """HloModule batched

ENTRY main {
  x = f32[2,3,4,5]{3,2,0,1} parameter(0)
  y = f32[2,3,5,6]{3,2,1,0} parameter(1)
  ROOT z = f32[2,3,4,6]{3,2,1,0} dot(x, y), lhs_batch_dims={0,1}, rhs_batch_dims={0,1}, lhs_contracting_dims={3}, \
rhs_contracting_dims={2}
}
"""
    roles = LayoutSpace(read_bytes(text.encode(), "batched").proto, places=2).roles
    assert roles is not None
    of_first, of_second = ({r.order for r in roles.roles if r.tensor == tensor} for tensor in (1, 2))
    assert (3, 2, 1, 0) in of_first, "the compiler took 3, 2, 0, 1"
    assert (3, 2, 1, 0) not in of_second
    assert len(of_first) == len(of_second) + 1 == 12


BATCHED = """HloModule batched

ENTRY main {
  x = f32[4,8,16]{2,1,0} parameter(0)
  w = f32[16,32]{1,0} parameter(1)
  ROOT y = f32[4,8,32]{2,1,0} dot(x, w), lhs_contracting_dims={2}, rhs_contracting_dims={0}
}
"""

RESHAPED = """HloModule reshaped

ENTRY main {
  x = f32[32,16]{1,0} parameter(0)
  ROOT y = f32[4,8,16]{2,1,0} reshape(x)
}
"""


def test_less_is_expected_of_what_a_dot_refuses() -> None:
    space = LayoutSpace(read_bytes(BATCHED.encode(), "batched").proto, places=2)
    swapped, refused = ([LayoutConfig.of({(2, 0): order})] for order in ((1, 2, 0), (2, 0, 1)))
    taken, kept = _factors(space).of(swapped), _factors(space).of(refused)
    assert sorted(taken[taken != 0]) == pytest.approx([0.5, 0.5**0.5, 0.5**0.5])
    assert sorted(kept[kept != 0]) == pytest.approx([0.35 * 0.5, 0.35 * 0.5**0.5, 0.35 * 0.5**0.5])


def test_little_is_expected_of_a_request_to_a_dot_that_a_model_does_not_notice() -> None:
    space = LayoutSpace(read_bytes(BATCHED.encode(), "batched").proto, places=2)
    factors = _factors(space)
    assert all(space.contains(each) for each in factors.decisions)
    assert len(factors.decisions) == len(space.roles or ())
    changes = np.zeros(len(factors.decisions))
    changes[0] = 1.0
    alike, told = factors.of(factors.decisions), factors.of(factors.decisions, changes)
    assert told[0] == pytest.approx(alike[0], rel=0.01)
    assert told[1:] == pytest.approx(0.3 * alike[1:])


def test_reshapes_are_expected_to_do_as_much_whatever_a_model_says() -> None:
    space = LayoutSpace(read_bytes(RESHAPED.encode(), "reshaped").proto, places=2)
    decisions = [LayoutConfig.of({(1, 0): (0, 1, 2)})]
    factors = _factors(space)
    alike, told = factors.of(decisions), factors.of(decisions, np.zeros(len(factors.decisions)))
    assert alike.any()
    assert np.array_equal(told, alike)
