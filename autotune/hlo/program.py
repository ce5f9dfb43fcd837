"""A program: one HLO module, with its fingerprint."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from autotune.hlo.fingerprint import fingerprint
from protos import hlo_pb2


@dataclass(frozen=True)
class Program:
    """One HLO module.

    Attributes:
        name: of the module.
        module: serialized `HloModuleProto`.
        source: where it came from, such as "model.hlo (HLO text)".
        notes: what was done to it while reading (un-fused, ...).
        tuning: the serialized `ModuleTuningData` it came from, if any; its module is as the file has it.
    """

    name: str
    module: bytes
    source: str
    notes: tuple[str, ...] = ()
    tuning: bytes | None = None

    @cached_property
    def proto(self) -> hlo_pb2.HloModuleProto:
        """The parsed module; shared, so it must not be changed (make a copy with `CopyFrom`)."""
        return hlo_pb2.HloModuleProto.FromString(self.module)

    @cached_property
    def fingerprint(self) -> str:
        """A hash that does not change with names, metadata, ids or the order of instructions: 32 hexadecimal digits."""
        return fingerprint(self.module)

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: what is cached can be made again, so it is not pickled."""
        return {field.name: self.__dict__[field.name] for field in fields(self)}
