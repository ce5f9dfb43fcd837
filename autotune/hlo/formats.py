"""Telling what a file holds from its content, and finding the modules in a binary one.

All of this happens in the calling process with our own protos; XLA sees a module only after it looks like one.
"""

from __future__ import annotations

import enum
import re
from typing import NamedTuple, TypeVar

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from autotune.hlo.modules import entry_computation
from protos import hlo_pb2, tuning_pb2

_MLIR_BYTECODE_MAGIC = b"ML\xefR"
_CONTROL_CHARACTERS = bytes(set(range(32)) - set(b"\t\n\v\f\r")) + b"\x7f"
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)

MessageType = TypeVar("MessageType", bound=Message)


class Format(enum.Enum):
    """What a file may hold; the value is what messages call it."""

    HLO_TEXT = "HLO text"
    MLIR = "StableHLO"  # text, bytecode, a portable artifact, an export of jax; MHLO likewise
    HLO_MODULE = "HloModuleProto"
    HLO_PROTO = "HloProto"
    HLO_SNAPSHOT = "HloSnapshot"
    MODULE_TUNING_DATA = "ModuleTuningData"
    TUNING_DATA = "TuningData"


class BinaryModule(NamedTuple):
    """A module found in a binary file, and the tuning data around it."""

    module: hlo_pb2.HloModuleProto
    tuning: tuning_pb2.ModuleTuningData | None = None


def recognise_text(text: str) -> Format | None:
    """HLO text or MLIR text; None for any other text."""
    beginning = _COMMENT.sub("", text[:100_000]).lstrip()
    if re.match(r"HloModule\b", beginning):
        return Format.HLO_TEXT
    if re.match(r'(builtin\.)?module\b[^\n]*\{|"builtin\.module"|func\.func\b|#\w+ = |!\w+ = |\{-#', beginning):
        return Format.MLIR
    # XLA takes a module without its first line, too.
    if re.search(r"^[ \t]*ENTRY\b[^\n]*\{", text, re.MULTILINE):
        return Format.HLO_TEXT
    return None


def is_text(data: bytes) -> bool:
    """Whether there are no control characters (a serialized message always has some, a text never)."""
    return len(data.translate(None, _CONTROL_CHARACTERS)) == len(data)


def is_mlir_bytecode(data: bytes) -> bool:
    """MLIR bytecode, or jax's export format around it (a flatbuffer: nothing else stands before the bytecode)."""
    return data.startswith(_MLIR_BYTECODE_MAGIC) or data.find(_MLIR_BYTECODE_MAGIC + b"\rStableHLO_v", 0, 65_536) > 0


def parse_binary(data: bytes) -> tuple[Format, list[BinaryModule]] | None:
    """Find the modules in a serialized message.

    The wire format does not say which message it holds, so each is tried and kept if a whole module comes out of it:
    a name, an entry computation, instructions with known references. Formats that carry a module in the same field (1)
    are told apart by their other fields.

    Returns:
        The format and its modules; None if no message fits.
    """
    module = _parse(hlo_pb2.HloModuleProto, data)
    if module is not None and _is_module(module):
        return (Format.HLO_MODULE, [BinaryModule(module)]) if _is_whole(module) else None
    tuning = _parse(tuning_pb2.ModuleTuningData, data)
    hlo = _parse(hlo_pb2.HloProto, data)
    if tuning is not None and _is_tuning(tuning) and _is_module(tuning.module):
        return Format.MODULE_TUNING_DATA, [BinaryModule(tuning.module, tuning)]
    if hlo is not None and _is_module(hlo.hlo_module):
        return Format.HLO_PROTO, [BinaryModule(hlo.hlo_module)]
    several = _parse(tuning_pb2.TuningData, data)
    if several is not None and several.modules:
        # A snapshot has one HloProto in the place of TuningData's modules: only tuning data has fingerprints or runs.
        parts = [part for part in several.modules if _is_module(part.module)]
        if len(parts) == len(several.modules) and any(map(_is_tuning, parts)):
            return Format.TUNING_DATA, [BinaryModule(part.module, part) for part in parts]
    snapshot = _parse(hlo_pb2.HloSnapshot, data)
    if snapshot is not None and _is_module(snapshot.hlo.hlo_module):
        return Format.HLO_SNAPSHOT, [BinaryModule(snapshot.hlo.hlo_module)]
    return None


def _parse(message: type[MessageType], data: bytes) -> MessageType | None:
    try:
        return message.FromString(data)
    except DecodeError:
        return None


def _is_module(module: hlo_pb2.HloModuleProto) -> bool:
    """Whether this has an entry computation with a root: other bytes that parse by accident have not."""
    entries = [computation for computation in module.computations if computation.id == module.entry_computation_id]
    if len(entries) != 1:
        return False
    root = next((i for i in entries[0].instructions if i.id == entries[0].root_id), None)
    return root is not None and bool(root.opcode)


def _is_whole(module: hlo_pb2.HloModuleProto) -> bool:
    """Whether a module that stands alone was not cut between two of its fields (it has no length to check).

    XLA writes fields in the order of their numbers, and these even when they are empty: the shape of the program (4),
    aliases (8) and, in versions that write `tail_padding_alignment_in_elements`, buffer donors (18).
    """
    if not module.HasField("host_program_shape") or not module.HasField("input_output_alias"):
        return False
    entry = entry_computation(module)
    recent = any(i.shape.layout.tail_padding_alignment_in_elements for i in entry.instructions)
    return module.HasField("buffer_donor") or not recent


def _is_tuning(data: tuning_pb2.ModuleTuningData) -> bool:
    """Whether the fields beside the module are those of tuning data (and not XLA's buffer assignment, also field 3)."""
    if data.fingerprint or data.config_index_to_node:
        return True
    return any(run.WhichOneof("config") is not None and not len(UnknownFieldSet(run)) for run in data.runs)
