"""Programs and spaces beside their evaluations in the database, and replaying what a database has.

A config of layouts names nodes of the module just before layout assignment, so an evaluation means something only with
that module. It is kept once per key, as the messages that go to measurement servers, compressed.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autotune.database import Database, EvaluationKey
from autotune.errors import AutotuneError, SpaceError, UnsupportedProgramError
from autotune.evaluation import Evaluation
from autotune.hlo.program import Program
from autotune.hlo.reader import read
from autotune.recorded.record import RecordedProgram
from autotune.recorded.space import RecordedConfigs, RecordedSpace
from autotune.remote.messages import (
    MessageError,
    description_from_message,
    description_to_message,
    prepared_from_message,
    prepared_to_message,
)
from autotune.remote.spaces import space_from_message, space_to_message
from autotune.spaces.base import Config, Space, config_id
from autotune.spaces.layout import LayoutConfig
from autotune.spaces.tile import TileConfig
from autotune.spaces.tpu_tile import TpuTileSpace
from autotune.targets.base import PreparedProgram, TargetDescription, TunedProgram
from autotune.targets.realise import apply_dot_tile, apply_layouts
from protos import measurement_pb2 as messages


@dataclass(frozen=True)
class KeptProgram:
    """What the evaluations of one key are of.

    Attributes:
        target: that made them.
        prepared: the program.
        space: that the configs are of.
    """

    target: TargetDescription
    prepared: PreparedProgram
    space: Space


def keep_program(database: Database, target: TargetDescription, prepared: PreparedProgram, space: Space) -> None:
    """Keep what evaluations are of, if it is not there yet.

    Args:
        database: that has the evaluations.
        target: that makes them.
        prepared: the program, as its target has prepared it.
        space: that the configs are of; a space without a message is not kept, and cannot be replayed.

    Raises:
        DatabaseError: it could not be written.
    """
    program = prepared.program
    key = EvaluationKey.of(target, program, space)
    if database.content(key) is not None:
        return
    try:
        message = messages.KeptProgram(
            prepared=prepared_to_message(prepared, with_program=True),
            name=program.name,
            source=program.source,
            notes=program.notes,
            space=space_to_message(space),
            target=description_to_message(target),
        )
    except SpaceError:
        return
    database.keep_content(key, zlib.compress(message.SerializeToString(deterministic=True)))


def restore_program(content: bytes) -> KeptProgram:
    """The inverse of `keep_program`.

    Raises:
        MessageError: the content is damaged.
    """
    try:
        message = messages.KeptProgram.FromString(zlib.decompress(content))
    except Exception as error:  # zlib's, or DecodeError of whichever implementation protobuf has chosen
        raise MessageError(f"expected a kept program, found something else ({error})") from None
    program = Program(message.name, message.prepared.program, message.source, tuple(message.notes))
    prepared = prepared_from_message(message.prepared, program, "the database")
    target = description_from_message(message.target)
    return KeptProgram(target, prepared, space_from_message(message.space, prepared))


class DatabaseRecording:
    """What a database has of one target.

    Args:
        path: of the database.
        target: name of the target; "" for the only one there is.

    Raises:
        AutotuneError: there is no such target, or there are several to choose from.
        DatabaseError: the file is no database of ours.
    """

    def __init__(self, path: Path, target: str) -> None:
        self._path = path
        self._database = Database.open(path)
        try:
            recorded = [each for each in self._database.programs() if not each.key.target.startswith("replay:")]
            names = list(dict.fromkeys(each.key.target for each in recorded))
            if not names or (target and target not in names) or (not target and len(names) > 1):
                there = ", ".join(f"replay:{path}@{name}" for name in names) or "nothing is recorded"
                raise AutotuneError(f"target 'replay:{path}{f'@{target}' if target else ''}': expected one of: {there}")
            self._name = target or names[0]
            self._recorded = [each for each in recorded if each.key.target == self._name]
        except BaseException:
            self._database.close()
            raise
        self._last = self._recorded[-1].key
        """Of the device and the compiler that were used last."""

    @property
    def description(self) -> TargetDescription:
        """Of the device and the compiler that recorded last."""
        contents = (self._database.content(each.key) for each in self._recorded if self._same_device(each.key))
        content = next((each for each in contents if each is not None), None)
        if content is None:
            raise AutotuneError(
                f"target 'replay:{self._path}': an older version of this tool has recorded its evaluations without "
                "their programs; search them once more with this one"
            )
        return replace(restore_program(content).target, name=f"replay:{self._path.name}@{self._name}")

    def read(self, path: Path, module_name: str | None) -> Program:
        """As any program."""
        return read(path, module_name=module_name)

    def program(self, program: Program) -> RecordedProgram:
        """What was recorded of a program for this device and compiler."""
        kept: dict[str, KeptProgram] = {}
        spaces: dict[str, Space] = {}
        evaluations: dict[tuple[str, str], Evaluation] = {}
        for key in (each.key for each in self._recorded if self._same_device(each.key)):
            content = self._database.content(key) if key.program == program.fingerprint else None
            if content is not None:
                kept[key.space] = restore_program(content)
                found = self._evaluations(key, kept[key.space].space)
                spaces[key.space] = recorded_space(kept[key.space].space, found)
                evaluations |= {(each.purpose, config_id(each.config)): each for each in found}
        if not kept:
            raise UnsupportedProgramError(
                f"program {program.name!r}: nothing recorded to replay in {self._path} for {self._name} "
                f"({self._last.device_kind}, {self._last.compiler_version})"
            )
        prepared = next(iter(kept.values())).prepared
        notes = (*prepared.notes, f"recorded evaluations of {self._path}")
        prepared = replace(prepared, program=program, notes=notes)
        return RecordedProgram(prepared, spaces, evaluations, lambda config: _realise(prepared, kept, config))

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _same_device(self, key: EvaluationKey) -> bool:
        last = self._last
        return (key.device_kind, key.compiler_version) == (last.device_kind, last.compiler_version)

    def _evaluations(self, key: EvaluationKey, space: Space) -> list[Evaluation]:
        found = [
            each
            for purpose in ("search", "confirm")
            for each in self._database.evaluations(key, space.from_json, purpose=purpose)
        ]
        return [each for each in found if space.contains(each.config)]


def recorded_space(space: Space, evaluations: Sequence[Evaluation]) -> RecordedSpace:
    """The part of a space that was recorded; the default is in it in any case."""
    searched = [each.config for each in evaluations if each.purpose == "search"]
    configs = list({config_id(config): config for config in (space.default, *searched)}.values())
    recorded = {config_id(config) for config in configs}
    return RecordedSpace(
        RecordedConfigs(
            kind=space.kind,
            configs=configs,
            default=space.default,
            batch=space.encode(configs),
            references={name: config for name, config in space.references.items() if config_id(config) in recorded},
            landmarks=[config for config in space.landmarks if config_id(config) in recorded],
            explain=space.explain,
        )
    )


def _realise(prepared: PreparedProgram, kept: Mapping[str, KeptProgram], config: Config) -> TunedProgram:
    match config:
        case LayoutConfig():
            return apply_layouts(prepared, config)
        case TileConfig():
            return apply_dot_tile(prepared, config)
        case _:
            from autotune.targets.tpu.kernel_target import apply_kernel_tile

            space = kept["tile"].space
            assert isinstance(space, TpuTileSpace)
            return apply_kernel_tile(space, config)
