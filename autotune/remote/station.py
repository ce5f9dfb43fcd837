"""The server's target with the programs that it holds. All of it is used from one thread, one call at a time."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from autotune.database import Database, EvaluationKey
from autotune.errors import SpaceError
from autotune.evaluation import Evaluation
from autotune.hlo.formats import Format, parse_binary
from autotune.hlo.kernels import Kernel
from autotune.hlo.program import Program
from autotune.hlo.window_config import ForcedTile
from autotune.remote.messages import MessageError, config_object
from autotune.remote.spaces import kernel_from_message
from autotune.spaces.base import Config, Space, config_id
from autotune.targets.base import (
    KernelProvider,
    PreparedProgram,
    Target,
    TargetDescription,
    TiledProgram,
    TunedProgram,
)
from protos import measurement_pb2 as messages

logger = logging.getLogger(__name__)

MOST_PROGRAMS: Final = 32
"""Programs that are held at once; who comes back to an older one submits it again."""

PROGRAMS_PER_TARGET: Final = 512
"""Programs after which the target is closed and opened anew: targets keep a little of every program."""


class UnknownProgramError(Exception):
    """The program is not held (any more): it must be submitted again."""


def program_id(submitted: bytes) -> str:
    """What calls name a program by: the SHA-256 of what was submitted, 64 hexadecimal digits."""
    return hashlib.sha256(submitted).hexdigest()


@dataclass(frozen=True)
class _Held:
    """One program, and the target that prepared it: the server's, or that of its kernels."""

    prepared: PreparedProgram
    target: Target
    spaces: dict[str, Space]  # by kind, "layout" or "tile"

    def space(self, kind: str) -> Space:
        """A space of the program; made once, for that of a large program takes a while."""
        space = self.spaces.get(kind)
        if space is None:
            space = self.target.space(self.prepared, kind)
            self.spaces[space.kind] = space
        return space


class Station:
    """Prepares and evaluates what peers submit.

    Args:
        open_target: opens the target; called again after many programs.
        database: of all evaluations made here, so that none is made twice; a path, or None for one in memory.
    """

    def __init__(self, open_target: Callable[[], Target], database: Path | None) -> None:
        self._open_target = open_target
        self._target = open_target()
        self._database = Database.open(database) if database is not None else Database.in_memory()
        self._programs: OrderedDict[str, _Held] = OrderedDict()  # the one used last stands last
        self._prepared = 0
        self.evaluations = 0
        """Made since the start."""

    @property
    def description(self) -> TargetDescription:
        """Of the target."""
        return self._target.description

    @property
    def parallel(self) -> int:
        """Configs that are best evaluated at once."""
        return self._target.parallel

    @property
    def takes_programs_apart(self) -> bool:
        """Whether `kernels` and `apply_tiles` can be called."""
        return isinstance(self._target, KernelProvider)

    def prepare(self, module: bytes) -> PreparedProgram:
        """Compile a program's default, and hold it.

        Args:
            module: serialized HloModuleProto.

        Raises:
            MessageError: it is no whole module.
            UnsupportedProgramError: the target cannot compile or run it.
        """
        parsed = parse_binary(module)
        if parsed is None or parsed[0] is not Format.HLO_MODULE:
            raise MessageError(f"expected a serialized HloModuleProto, found {len(module):,} bytes of something else")
        if (known := self._programs.get(program_id(module))) is not None:
            return known.prepared
        self._make_room()
        program = Program(parsed[1][0].module.name, module, "a submitted program")
        return self._hold(module, self._target.prepare(program), self._target)

    def prepare_kernel(self, submitted: bytes) -> PreparedProgram:
        """Find out which tiles a kernel has, and hold it.

        Args:
            submitted: serialized `Kernel` message.

        Raises:
            MessageError: it is no kernel.
            SpaceError: there is no choice, or the target has no kernels.
        """
        if (known := self._programs.get(program_id(submitted))) is not None:
            return known.prepared
        try:
            message = messages.Kernel.FromString(submitted)
        except Exception as error:  # DecodeError of whichever implementation protobuf has chosen
            raise MessageError(f"expected a kernel, found {len(submitted):,} bytes of something else") from error
        kernel = kernel_from_message(message)
        parsed = parse_binary(message.module)
        if parsed is None or parsed[0] is not Format.HLO_MODULE:
            raise MessageError(f"expected kernel {kernel.name!r} as a whole module, found something else")
        self._make_room()
        target = self._provider().kernel_target
        return self._hold(submitted, target.prepare_kernel(kernel), target)

    def space(self, program: str, kind: str) -> Space:
        """What may be changed about a program.

        Raises:
            UnknownProgramError: it must be submitted again.
            SpaceError: there is no such choice.
        """
        return self._held(program).space(kind)

    def configs(self, program: str, texts: Sequence[str]) -> list[Config]:
        """Configs of a program from their JSON. Nothing that is not in the program's space gets any further.

        Raises:
            UnknownProgramError: the program must be submitted again.
            MessageError: a text is no JSON object.
            SpaceError: it is none of the program's configs.
        """
        held = self._held(program)
        configs = []
        for text in texts:
            value = config_object(text)
            space = held.space("layout" if "layouts" in value else "tile")
            config = space.from_json(value)
            if not space.contains(config):
                raise SpaceError(f"config {text[:200]} does not belong to program {held.prepared.program.name!r}")
            configs.append(config)
        return configs

    def evaluate(self, program: str, texts: Sequence[str], *, purpose: str, repeat: bool) -> list[Evaluation]:
        """Evaluate configs, or find what the database has of them. What is to be confirmed is always measured.

        Args:
            program: its id.
            texts: configs as JSON.
            purpose: "search" or "confirm".
            repeat: evaluate also what the database has.

        Returns:
            One evaluation per config, in the given order.

        Raises:
            UnknownProgramError: the program must be submitted again.
            MessageError: a text is no JSON object, or the purpose is not known.
            SpaceError: a config is none of the program's.
        """
        if purpose not in ("search", "confirm"):
            raise MessageError(f"purpose {purpose!r}: expected search or confirm")
        configs = self.configs(program, texts)
        held = self._held(program)
        found: dict[str, Evaluation] = {}
        if purpose == "search" and not repeat:
            for config in configs:
                recorded = self._database.latest(self._key(held, config), config, purpose=purpose)
                if recorded is not None:
                    found[config_id(config)] = recorded
        new = [config for config in configs if config_id(config) not in found]
        for evaluation in held.target.evaluate(held.prepared, new, purpose=purpose) if new else ():
            self._database.record(self._key(held, evaluation.config), evaluation)
            found[config_id(evaluation.config)] = evaluation
            self.evaluations += 1
        return [found[config_id(config)] for config in configs]

    def realise(self, program: str, text: str) -> TunedProgram:
        """Apply a config without compiling it.

        Raises:
            UnknownProgramError: the program must be submitted again.
            SpaceError: the config is none of the program's.
        """
        (config,) = self.configs(program, [text])
        held = self._held(program)
        return held.target.realise(held.prepared, config)

    def kernels(self, program: str, text: str) -> list[Kernel]:
        """Take a program with a config apart.

        Raises:
            UnknownProgramError: the program must be submitted again.
            SpaceError: the config is none of the program's, or the target takes no programs apart.
            WorkerError: it did not compile this time.
        """
        (config,) = self.configs(program, [text])
        return self._provider().kernels(self._held(program).prepared, config)

    def apply_tiles(self, program: str, text: str, tiles: dict[str, ForcedTile]) -> TiledProgram:
        """Force tiles within a whole program.

        Raises:
            UnknownProgramError: the program must be submitted again.
            SpaceError: the config is none of the program's, or there is no such kernel.
            WorkerError: it did not compile.
        """
        names = {kernel.name for kernel in self.kernels(program, text)}
        if unknown := sorted(tiles.keys() - names):
            raise SpaceError(f"the program has no kernel {', '.join(unknown)[:200]}")
        (config,) = self.configs(program, [text])
        return self._provider().apply_tiles(self._held(program).prepared, config, tiles)

    def close(self) -> None:
        """End the target's children and close the database."""
        self._target.close()
        self._database.close()

    def _provider(self) -> KernelProvider:
        if not isinstance(self._target, KernelProvider):
            raise SpaceError(f"target {self.description.name!r} does not take programs apart into kernels")
        return self._target

    def _hold(self, submitted: bytes, prepared: PreparedProgram, target: Target) -> PreparedProgram:
        self._programs[program_id(submitted)] = _Held(prepared, target, {})
        self._prepared += 1
        return prepared

    def _held(self, program: str) -> _Held:
        if program not in self._programs:
            raise UnknownProgramError
        self._programs.move_to_end(program)
        return self._programs[program]

    def _make_room(self) -> None:
        if self._prepared >= PROGRAMS_PER_TARGET:
            logger.info("opening the target anew after %d programs", self._prepared)
            self._programs.clear()
            self._prepared = 0
            self._target.close()
            self._target = self._open_target()
        while len(self._programs) >= MOST_PROGRAMS:
            self._programs.popitem(last=False)

    def _key(self, held: _Held, config: Config) -> EvaluationKey:
        space = held.space("layout" if "layouts" in config.to_json() else "tile")
        return EvaluationKey.of(held.target.description, held.prepared.program, space)
