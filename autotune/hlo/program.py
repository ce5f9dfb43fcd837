"""A program: one HLO module, with its fingerprint."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from protos import hlo_pb2


@dataclass(frozen=True)
class Program:
    """One HLO module.

    Attributes:
        name: of the module.
        module: serialized `HloModuleProto`.
        source: where it came from, such as "model.hlo (HLO text)".
        notes: what was done to it while reading (un-fused, ...).
        tuning: the serialized `ModuleTuningData` it came from, if any.
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
        """A hash that does not change with names, metadata, ids or the order of instructions."""
        from autotune.hlo.fingerprint import fingerprint

        return fingerprint(self.proto)
