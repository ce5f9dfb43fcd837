"""Matrix products that are taken out of programs."""

from __future__ import annotations

import pytest

from autotune.hlo.products import Product, matrix_products
from autotune.hlo.reader import read_bytes
from autotune.spaces.tile import DotKernel, find_dot_kernel
from protos.xla_data_pb2 import BF16, F32
from tests import programs

FORMS = """HloModule forms

body {
  a = f32[4,8,16]{2,1,0} parameter(0)
  b = f32[16,32]{1,0} parameter(1)
  ROOT flat = f32[4,8,32]{2,1,0} dot(a, b), lhs_contracting_dims={2}, rhs_contracting_dims={0}
}

ENTRY main {
  x = f32[4,8,16]{2,1,0} parameter(0)
  w = f32[16,32]{1,0} parameter(1)
  y = f32[4,8,32]{2,1,0} call(x, w), to_apply=body
  same = f32[4,8,32]{2,1,0} dot(x, w), lhs_contracting_dims={2}, rhs_contracting_dims={0}
  gradient = f32[16,32]{1,0} dot(x, y), lhs_contracting_dims={0,1}, rhs_contracting_dims={0,1}
  pairs = f32[4,8,8]{2,1,0} dot(x, x), lhs_batch_dims={0}, rhs_batch_dims={0}, lhs_contracting_dims={2},
    rhs_contracting_dims={2}
  h = bf16[2,3]{1,0} parameter(2)
  k = bf16[3,5]{1,0} parameter(3)
  wide = f32[2,5]{1,0} dot(h, k), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  narrow = bf16[2,5]{1,0} dot(h, k), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  ROOT all = (f32[4,8,32], f32[4,8,32], f32[16,32], f32[4,8,8], f32[2,5], bf16[2,5]) tuple(y, same, gradient, pairs,
    wide, narrow)
}
"""


def test_extents_of_every_form_largest_first_and_each_once() -> None:
    module = read_bytes(FORMS.encode(), "forms").proto
    assert matrix_products(module) == [
        Product(1, 16, 32, 32, F32),  # the gradient sums over two dimensions
        Product(1, 32, 16, 32, F32),  # in the called computation and in the entry
        Product(4, 8, 16, 8, F32),
        Product(1, 2, 3, 5, BF16),  # the one whose result is wider is left out
    ]


@pytest.mark.parametrize("batch", [1, 3])
def test_its_program_is_one_canonical_dot(batch: int) -> None:
    product = Product(batch, 24, 16, 40, F32)
    program = product.program()
    assert program.name == f"f32-{batch}x24x16x40"
    assert find_dot_kernel(program.proto) == DotKernel(24, 16, 40, "f32")
    assert matrix_products(program.proto) == [product]
    if batch == 1:
        assert program.fingerprint == programs.product(24, 16, 40).fingerprint
