"""Reading tile candidates from the TPU compiler's log: excerpts of real logs (libtpu 0.0.52, v3), whole and damaged."""

from __future__ import annotations

import pytest

from autotune.errors import ToolchainError
from autotune.hlo.window_config import TileCandidate
from autotune.targets.tpu.tile_log import TileSearch, parse_searches

INT64_MAX = 9223372036854775807
PREFIX = "I1124 19:39:44.950574   14892 fusion_emitter.cc:12834] "
COSTS = "window_bound_limit 1024 base_bottleneck_cycles"

END = "I1124 19:39:44.966824   14877 deepsea_compiler_base.cc:1017] END_TO_END stage duration: 19.952459ms\n"
LOOP = f"""\
I1124 19:39:44.950574   14892 fusion_emitter.cc:13674] FusionEmitter::Emit START for HLO: fusion.250
I1124 19:39:44.950580   14892 fusion_emitter.cc:13714] FusionEmitter::Emit window_config for HLO: fusion.250 | \
ByteSizeLong: 0 | Config: go/debugproto \x20\x20
{PREFIX}Potential window config [1] compute_cycles 4 transfer_cycles 252 bottleneck_cycles 756 total_cycles 1076 \
{COSTS} 252 iteration_bounds 4 window_bounds 1
 window:base_bounds: (4)
dynamic_data_starts: ()
I1124 19:39:44.950760   14892 fusion_emitter.cc:11754] Total cost: 4*k1024Byte
{PREFIX}Potential window config [1] compute_cycles 4 transfer_cycles 252 bottleneck_cycles 756 total_cycles 1076 \
{COSTS} 252 iteration_bounds 4 window_bounds 1
{PREFIX}Potential window config [2] compute_cycles 8 transfer_cycles 279 bottleneck_cycles 279 total_cycles 598 \
{COSTS} 279 iteration_bounds 2 window_bounds 2
{PREFIX}Potential window config [4] compute_cycles 16 transfer_cycles 333 bottleneck_cycles 0 total_cycles 365 \
{COSTS} 333 iteration_bounds 1 window_bounds 4
I1124 19:39:44.950846   14892 fusion_emitter.cc:13667] ComputeWindowConfigInternal Selected Config for HLO: \
fusion.250 | Config: go/debugproto    output_window_bounds: 4 estimated_cycles: 365 iteration_bounds: 1 \
buffering_level: 2
"""
LOOP_SEARCH = TileSearch(
    "fusion.250", (TileCandidate(365, (4,)), TileCandidate(598, (2,)), TileCandidate(1076, (1,))), (4,), (), 0
)

SPATIAL = "I1124 19:39:44.362293   14894 spatial_major_convolution.cc:5162] SpatialMajorConvolution"
PRODUCT = f"""\
{SPATIAL}::Emit START for fusion.205
I1124 19:39:44.359098   14894 spatial_major_convolution.cc:4593] IsWindowConfigValid ENTER for convolution.135.clone.2
{SPATIAL}::ComputeWindowConfigInternal Generated Candidate: out=1,1 kern=16,1 cycles=715684 vmem_needed=763904
{SPATIAL}::ComputeWindowConfigInternal Generated Candidate: out=4,1 kern=16,32 cycles=44739 vmem_needed=8060928
{SPATIAL}::ComputeWindowConfigInternal Generated Candidate: out=1,3 kern=48,32 cycles={INT64_MAX} vmem_needed=32505856
{SPATIAL}::ComputeWindowConfigInternal returning config: output_bounds=[4, 1] kernel_bounds=[16, 32] cycles=44739
"""
PRODUCT_SEARCH = TileSearch(
    "fusion.205",
    (TileCandidate(44739, (4, 1), (16, 32), 8060928), TileCandidate(715684, (1, 1), (16, 1), 763904)),
    (4, 1),
    (16, 32),
    1,
)


@pytest.mark.parametrize(("log", "search"), [(LOOP, LOOP_SEARCH), (PRODUCT, PRODUCT_SEARCH)])
def test_a_search(log: str, search: TileSearch) -> None:
    (found,) = parse_searches(log + END)
    assert found == search
    assert [each.vmem_bytes for each in found.candidates] == [each.vmem_bytes for each in search.candidates]


def test_no_search() -> None:
    assert parse_searches(END) == []


def test_two_searches_whose_threads_take_turns() -> None:
    first, second = LOOP.splitlines(keepends=True), PRODUCT.splitlines(keepends=True)
    merged = [line for pair in zip(first, second, strict=False) for line in pair] + first[len(second) :]
    assert parse_searches("".join(merged) + END) == [PRODUCT_SEARCH, LOOP_SEARCH]


def test_the_same_tile_twice_at_different_costs_counts_once_and_cheap() -> None:
    dearer = LOOP.replace("total_cycles 1076", "total_cycles 2000", 1)
    assert parse_searches(dearer + END) == [LOOP_SEARCH]


def test_a_second_attempt_replaces_the_first() -> None:
    smaller = "".join(line for line in PRODUCT.splitlines(keepends=True) if "out=1,1" not in line)
    (search,) = parse_searches(PRODUCT + smaller + END)
    assert [each.output_bounds for each in search.candidates] == [(4, 1)]
    begun = "".join(PRODUCT.splitlines(keepends=True)[:3])  # given up without a choice
    assert parse_searches(begun + smaller + END) == [search]


def test_the_word_that_protobuf_changes_at_random_does_not_matter() -> None:
    assert parse_searches(LOOP.replace("go/debugproto    ", "goo.gle/debugonly  ") + END) == [LOOP_SEARCH]


@pytest.mark.parametrize("log", [LOOP, PRODUCT])
def test_every_shortened_log_is_refused(log: str) -> None:
    whole = log + END
    # up to and without the words that mark the end; what follows them is a time
    for length in range(0, whole.index("END_TO_END stage duration") + len("END_TO_END stage duration"), 7):
        with pytest.raises(ToolchainError, match=r"cut short|format that is not known"):
            parse_searches(whole[:length])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("out=4,1 kern", "output=4,1 kern", "not known: .*output=4,1"),
        ("kern=16,32 cycles", "kern=16,,32 cycles", "not known: .*kern=16,,32"),
        ("cycles=44739 vmem", "cycles=4.5e4 vmem", "not known: .*cycles=4.5e4"),
        ("vmem_needed=8060928", "vmem_needed=8060928 score=1", "not known: .*score=1"),
        ("I1124 19:39:44.362293   14894 spatial", "[19:39:44] spatial", r"not known: .*\[19:39:44\]"),
        ("::Emit START for fusion.205", "::Begin fusion.205", "tiles of no instruction"),
        ("Generated Candidate", "Candidate", r"chooses the tile .* none of the 0 that it lists"),
        ("out=4,1", "out=4,2", r"chooses the tile \(\(4, 1\), \(16, 32\)\) .* none of the 3 that it lists"),
        ("returning config", "chose", "cut short, .*no tile is chosen for 'fusion.205'"),
        ("output_bounds=[4, 1]", "output_bounds=[]", "not known: .*output_bounds=\\[\\]"),
    ],
)
def test_another_format_of_products_is_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(ToolchainError, match=message) as error:
        parse_searches(PRODUCT.replace(old, new) + END)
    assert "libtpu 0.0.52" in str(error.value)
    assert "pip install 'xla-autotune[tpu]'" in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("total_cycles", "cycles_total", "not known: .*cycles_total"),
        ("config [1]", "config (1)", "not known: .*\\(1\\)"),
        ("HLO: fusion.250 | Config", "HLO: fusion.251 | Config", "not known: .*fusion.251"),
        ("output_window_bounds: 4", "output_bounds: 4", "none of the 3"),
        ("window_bounds 4\n", "window_bounds 4 ", "not known: .*window_bounds 4 I1124"),
    ],
)
def test_another_format_of_loops_is_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(ToolchainError, match=message):
        parse_searches(LOOP.replace(old, new) + END)


def test_a_line_torn_by_another_thread_is_refused() -> None:
    torn = PRODUCT.replace("cycles=715684", "cycles=71" + PREFIX + "Total cost: 4*k1024Byte\n5684")
    with pytest.raises(ToolchainError, match="format that is not known"):
        parse_searches(torn + END)


def test_a_search_that_another_one_interrupts_is_refused() -> None:
    begun = PRODUCT.splitlines(keepends=True)[0].replace("fusion.205", "fusion.1")
    with pytest.raises(ToolchainError, match=r"no tile is chosen for 'fusion.1' before 'fusion.205' begins"):
        parse_searches(begun + PRODUCT + END)
