"""Matrix products of drawn sizes."""

from __future__ import annotations

import re

import pytest

from autotune.hlo.reader import read_bytes
from training.collecting.programs import split_of
from training.zoo.lowering import Lowerer
from training.zoo.products import FAMILY, drawn_products


def test_fewer_are_the_first_of_more() -> None:
    names = [program.name for program in drawn_products(200, seed=3)]
    assert len(set(names)) == 200
    assert [program.name for program in drawn_products(50, seed=3)] == names[:50]
    assert [program.name for program in drawn_products(50, seed=4)] != names[:50]


def test_there_are_products_of_all_kinds() -> None:
    programs = drawn_products(300, seed=0)
    sizes = [[int(size) for size in re.findall(r"\d+", program.name.removesuffix("-bf16"))] for program in programs]
    for place, least in enumerate((1, 4, 4, 4)):
        extents = [size[place] for size in sizes]
        assert min(extents) == least
        assert max(extents) >= (64 if place == 0 else 2048)
    assert any(size[3] % 8 for size in sizes), "columns that fit no vector"
    assert {program.dtype for program in programs} == {"float32", "bfloat16"}


def test_no_network_is_judged_by_them() -> None:
    assert {program.family for program in drawn_products(10, seed=0)} == {FAMILY}
    assert split_of(f"{FAMILY}__b1-m16-k16-n16") == "train"


@pytest.mark.parametrize("batched", [False, True])
def test_they_are_lowered_to_the_product_that_they_are_called(*, batched: bool) -> None:
    program = next(each for each in drawn_products(100, seed=0) if ("/b1-" not in each.name) == batched)
    with Lowerer() as lowerer:
        module = read_bytes(lowerer(program), program.name).proto
    (dot,) = [i for part in module.computations for i in part.instructions if i.opcode == "dot"]
    batch, m, k, n = (int(size) for size in re.findall(r"\d+", program.name.removesuffix("-bf16")))
    assert list(dot.shape.dimensions) == ([batch] if batched else []) + [m, n]
    numbers = dot.dot_dimension_numbers
    assert list(numbers.lhs_contracting_dimensions) == [1 + batched]
    assert list(numbers.rhs_contracting_dimensions) == [int(batched)]
    assert module.host_program_shape.parameters[0].dimensions[-1] == k
