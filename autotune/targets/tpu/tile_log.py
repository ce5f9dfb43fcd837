"""The TPU compiler's verbose log: the tiles that it considers for an instruction, with its own estimate for each.

The compiler looks for a tile of one instruction at a time. A product (convolution or dot) and a loop over elements log
it in different words, each between a line that names the instruction and a line that says what was chosen:

    spatial_major_convolution.cc:6282] SpatialMajorConvolution::Emit START for fusion.191
    ... Generated Candidate: out=1,1,1,1 kern=1,1,16,1 cycles=21726471 vmem_needed=815104
    ... returning config: output_bounds=[4, 12, 4, 3] kernel_bounds=[1, 3, 24, 3] cycles=90490

    fusion_emitter.cc:13674] FusionEmitter::Emit START for HLO: copy.24
    ... Potential window config [1, 1, 1, 1] compute_cycles 3 ... total_cycles 88643 ...
    ... Selected Config for HLO: copy.24 | Config: ... output_window_bounds: 16 ... estimated_cycles: 6162 ...

Nobody promises that this stays so. Therefore every line with such words must be understood, every search must have
its three parts, and the log must reach its end; anything else is an error, not a shorter list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from autotune.errors import ToolchainError
from autotune.hlo.window_config import NO_ESTIMATE, TileCandidate
from autotune.targets.tpu.toolchain import ADVICE, KNOWN_VERSIONS

Bounds = tuple[int, ...]

_END: Final = "END_TO_END stage duration"
_WORDS: Final = re.compile(
    "Emit START for |Generated Candidate|Potential window config|returning config|Selected Config for|" + _END
)
_LINE: Final = re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6} +(?P<thread>\d+) [\w.]+:\d+\] +(?P<message>.*)")
"""Google's log prefix: severity and date, time, thread, file and line of the source."""

HELP: Final = f"logs are read as libtpu {', '.join(KNOWN_VERSIONS)} writes them, use that version ({ADVICE})"

_INTERNAL: Final = "ComputeWindowConfigInternal"
_START: Final = re.compile(r"(?:SpatialMajorConvolution::Emit START for|FusionEmitter::Emit START for HLO:) (\S+)")
_PRODUCT_CANDIDATE: Final = re.compile(
    rf"SpatialMajorConvolution::{_INTERNAL} Generated Candidate: "
    r"out=(?P<output>\d+(?:,\d+)*) kern=(?P<kernel>\d+(?:,\d+)*) cycles=(?P<cycles>\d+) vmem_needed=(?P<vmem>\d+)"
)
_LOOP_CANDIDATE: Final = re.compile(
    r"Potential window config \[(?P<output>\d+(?:, \d+)*)\] compute_cycles \d+ transfer_cycles \d+ "
    r"bottleneck_cycles \d+ total_cycles (?P<cycles>\d+) window_bound_limit \d+ base_bottleneck_cycles \d+ "
    r"iteration_bounds \d+ window_bounds \d+"
)
_PRODUCT_CHOICE: Final = re.compile(
    rf"SpatialMajorConvolution::{_INTERNAL} returning config: "
    r"output_bounds=\[(?P<output>\d+(?:, \d+)*)\] kernel_bounds=\[(?P<kernel>\d+(?:, \d+)*)\] cycles=\d+"
)
# After "Config:" stands a word that protobuf changes at random, so that nobody relies on the rest.
_LOOP_CHOICE: Final = re.compile(
    rf"{_INTERNAL} Selected Config for HLO: (?P<instruction>\S+) \| Config: \S+ (?P<fields>(?: *\w+: \S+)+) *"
)
_LOOP_BOUND: Final = re.compile(r"\boutput_window_bounds: (\d+)")


@dataclass(frozen=True)
class TileSearch:
    """What the compiler's search for the tile of one instruction came to.

    Attributes:
        instruction: its name.
        candidates: the tiles that are possible, in ascending order of cycles, each once.
        output_bounds: of the tile that the compiler chose.
        kernel_bounds: likewise.
        impossible: how many further tiles have the cycles INT64_MAX, which is how the compiler rules a tile out.
    """

    instruction: str
    candidates: tuple[TileCandidate, ...]
    output_bounds: Bounds
    kernel_bounds: Bounds
    impossible: int


def parse_searches(log: str) -> list[TileSearch]:
    """All searches in a log, in the order in which they began. Threads may have written between each other's lines.

    Args:
        log: what the compiler wrote to standard error, whole.

    Raises:
        ToolchainError: a line that should be known is not, a search lacks a part, or the log is cut short.
    """
    open_searches: dict[str, _OpenSearch] = {}
    finished: dict[str, TileSearch] = {}  # a later search for the same instruction is another attempt: it replaces
    ended = False
    for line in _lines_with_words(log):
        found = _LINE.fullmatch(line)
        if found is None:
            raise _unknown(line)
        thread, message = found["thread"], found["message"]
        if _END in message:
            ended = True
        elif start := _START.fullmatch(message):
            _check_may_begin(start[1], open_searches.get(thread))
            open_searches[thread] = _OpenSearch(start[1])
        elif not (search := open_searches.get(thread, _OpenSearch(""))).understands(message):
            raise _unknown(line)
        elif thread not in open_searches:
            raise _incomplete(f"tiles of no instruction, {line[:300]!r}")
        elif search.choice is not None:
            finished[search.instruction] = open_searches.pop(thread).finish()
    if not ended:
        raise _incomplete(f"no line says {_END!r}")
    for unfinished in open_searches.values():
        raise _incomplete(f"no tile is chosen for {unfinished.instruction!r}")
    return list(finished.values())


class _OpenSearch:
    """One search, while its lines come in."""

    def __init__(self, instruction: str) -> None:
        self.instruction = instruction
        self.choice: tuple[Bounds, Bounds] | None = None
        self._listed: dict[tuple[Bounds, Bounds], TileCandidate] = {}

    def understands(self, message: str) -> bool:
        """Takes in a candidate or the choice; False for anything else."""
        if found := _PRODUCT_CANDIDATE.fullmatch(message):
            self._list(_bounds(found["output"]), _bounds(found["kernel"]), int(found["cycles"]), int(found["vmem"]))
        elif found := _LOOP_CANDIDATE.fullmatch(message):
            self._list(_bounds(found["output"]), (), int(found["cycles"]), None)
        elif found := _PRODUCT_CHOICE.fullmatch(message):
            self.choice = _bounds(found["output"]), _bounds(found["kernel"])
        elif (found := _LOOP_CHOICE.fullmatch(message)) and found["instruction"] == self.instruction:
            self.choice = tuple(map(int, _LOOP_BOUND.findall(found["fields"]))), ()
        else:
            return False
        return True

    def finish(self) -> TileSearch:
        """Checks that the parts belong together."""
        assert self.choice is not None
        if self.choice not in self._listed:
            raise ToolchainError(
                f"the compiler's log chooses the tile {self.choice} for {self.instruction!r}, which is none of the "
                f"{len(self._listed)} that it lists; {HELP}"
            )
        possible = sorted(each for each in self._listed.values() if each.cycles < NO_ESTIMATE)
        return TileSearch(self.instruction, tuple(possible), *self.choice, impossible=len(self._listed) - len(possible))

    def _list(self, output: Bounds, kernel: Bounds, cycles: int, vmem: int | None) -> None:
        """Takes a tile in; of a tile that is listed twice, the cheaper one (loops list their first tile twice)."""
        candidate = TileCandidate(cycles, output, kernel, vmem)
        known = self._listed.get((output, kernel), candidate)
        self._listed[output, kernel] = min(known, candidate)


def _check_may_begin(instruction: str, unfinished: _OpenSearch | None) -> None:
    """Only another attempt at the same instruction may take the place of a search that has not ended."""
    if unfinished is not None and unfinished.instruction != instruction:
        raise _incomplete(f"no tile is chosen for {unfinished.instruction!r} before {instruction!r} begins")


def _lines_with_words(log: str) -> Iterator[str]:
    """The lines that matter, of a log that may have a million others."""
    end = -1
    for found in _WORDS.finditer(log):
        if found.start() > end:
            start = log.rfind("\n", 0, found.start()) + 1
            end = log.find("\n", found.end())
            end = len(log) if end < 0 else end
            yield log[start:end]


def _bounds(text: str) -> Bounds:
    return tuple(int(bound) for bound in text.split(","))


def _unknown(line: str) -> ToolchainError:
    return ToolchainError(f"a line of the compiler's log is in a format that is not known: {line[:300]!r}; {HELP}")


def _incomplete(problem: str) -> ToolchainError:
    return ToolchainError(f"the compiler's log is cut short, or in a format that is not known: {problem}; {HELP}")
