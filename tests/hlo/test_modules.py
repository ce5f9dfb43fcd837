"""Digests of modules."""

from __future__ import annotations

from autotune.hlo.modules import digest
from protos import hlo_pb2
from tests import programs


def test_how_many_modules_a_process_has_made_does_not_matter() -> None:
    module = hlo_pb2.HloModuleProto()
    module.CopyFrom(programs.product(4, 4, 4).proto)
    first = digest(module.SerializeToString())
    module.id += 13
    assert digest(module.SerializeToString()) == first
    module.computations[0].instructions[0].id += 1
    assert digest(module.SerializeToString()) != first
