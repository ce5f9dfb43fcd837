"""Small hand-written programs that several tests use."""

TWO_DOTS = """HloModule two_dots

ENTRY main {
  x = f32[8,16]{1,0} parameter(0)
  w = f32[16,32]{1,0} parameter(1)
  h = f32[8,32]{1,0} dot(x, w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  t = f32[8,32]{1,0} tanh(h)
  v = f32[32,8]{1,0} parameter(2)
  ROOT y = f32[8,8]{1,0} dot(t, v), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
"""

LOOKUP = """HloModule lookup

ENTRY main {
  table = f32[100,16]{1,0} parameter(0)
  ids = s32[4,1]{1,0} parameter(1)
  ROOT rows = f32[4,16]{1,0} gather(table, ids), offset_dims={1}, collapsed_slice_dims={0}, start_index_map={0}, \
index_vector_dim=1, slice_sizes={1,16}
}
"""


def matrix_product(rows: int, steps: int, columns: int, *, bias_and_tanh: bool = False) -> str:
    """[m, k] x [k, n] in float32, alone or with a bias and a tanh around it."""
    m, k, n = rows, steps, columns
    tail = "  ROOT d = {dot}\n".format
    dot = f"f32[{m},{n}]{{1,0}} dot(a, b), lhs_contracting_dims={{1}}, rhs_contracting_dims={{0}}"
    body = tail(dot=dot)
    if bias_and_tanh:
        body = (
            f"  d = {dot}\n"
            f"  bias = f32[{n}]{{0}} parameter(2)\n"
            f"  bb = f32[{m},{n}]{{1,0}} broadcast(bias), dimensions={{1}}\n"
            f"  s = f32[{m},{n}]{{1,0}} add(d, bb)\n"
            f"  ROOT t = f32[{m},{n}]{{1,0}} tanh(s)\n"
        )
    return (
        "HloModule product\n\nENTRY main {\n"
        f"  a = f32[{m},{k}]{{1,0}} parameter(0)\n  b = f32[{k},{n}]{{1,0}} parameter(1)\n{body}}}\n"
    )
