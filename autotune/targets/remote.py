"""The targets `grpc://host:port[,host:port...]`: measurement servers, which `autotune serve` starts.

The description is that of the servers' target, not of the way to it: evaluations of a device are the same wherever
they were asked for, and the database keeps them under one key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from autotune.errors import SpaceError
from autotune.evaluation import Evaluation, Failed, FailureReason
from autotune.hlo.kernels import Kernel
from autotune.hlo.program import Program
from autotune.hlo.window_config import ForcedTile
from autotune.remote import loop
from autotune.remote.address import Address
from autotune.remote.credentials import ClientCredentials
from autotune.remote.member import Submission
from autotune.remote.messages import (
    config_to_json,
    evaluation_from_message,
    prepared_from_message,
    tuned_from_message,
)
from autotune.remote.pool import LostEvaluation, Pool, PoolOptions
from autotune.remote.spaces import (
    kernel_from_message,
    kernel_to_message,
    space_from_message,
    tiled_from_message,
    tiles_to_messages,
)
from autotune.spaces.base import Config, Space
from autotune.targets.base import PreparedProgram, TargetDescription, TiledProgram, TunedProgram
from protos import measurement_pb2 as messages


def open_remote(
    addresses: Sequence[Address],
    *,
    credentials: ClientCredentials | None = None,
    options: PoolOptions | None = None,
    repeat: bool = False,
) -> RemoteTarget:
    """Open lines to measurement servers.

    Args:
        addresses: of the servers, which must have equal targets.
        credentials: who the client is; None for servers of this host that ask for nothing.
        options: how much to put up with.
        repeat: have configs evaluated also when the servers' databases have them.

    Raises:
        ServerError: none answers, one does not want us, or they do not agree.
        AutotuneError: a file of the credentials cannot be used.
    """
    pool = Pool(addresses, credentials or ClientCredentials(), options or PoolOptions())
    try:
        loop.run(pool.open())
    except BaseException:
        loop.run(pool.close())
        raise
    return RemoteProgramTarget(pool, repeat) if pool.takes_programs_apart else RemoteTarget(pool, repeat)


class _Remote:
    """What programs and kernels have in common.

    Args:
        pool: of servers, opened.
        repeat: whether to evaluate what the servers have in their databases.
    """

    def __init__(self, pool: Pool, repeat: bool) -> None:
        self._pool, self._repeat = pool, repeat
        self._submissions: dict[str, Submission] = {}  # by fingerprint of the program

    @property
    def description(self) -> TargetDescription:
        """Of the servers' target."""
        return self._pool.description

    @property
    def parallel(self) -> int:
        """What all servers that are there take at once."""
        return self._pool.parallel

    def space(self, prepared: PreparedProgram, kind: str) -> Space:
        """What the servers' target lets us choose."""
        request = messages.SpaceRequest(program=self._submission(prepared).identity, kind=kind)
        return space_from_message(self._answer(prepared, "DescribeSpace", request).space, prepared)

    def evaluate(
        self, prepared: PreparedProgram, configs: Sequence[Config], *, purpose: str = "search"
    ) -> list[Evaluation]:
        """Share configs among the servers.

        Raises:
            ServerError: no server is left.
        """
        if not configs:
            return []
        texts = [config_to_json(config) for config in configs]
        submission = self._submission(prepared)
        results = loop.run(self._pool.evaluate(submission, texts, purpose=purpose, repeat=self._repeat))
        return [_evaluation(config, result, purpose) for config, result in zip(configs, results, strict=True)]

    def realise(self, prepared: PreparedProgram, config: Config) -> TunedProgram:
        """As the servers' target does it."""
        program = self._submission(prepared).identity
        request = messages.RealiseRequest(program=program, config=config_to_json(config))
        return tuned_from_message(self._answer(prepared, "Realise", request).tuned)

    def _submission(self, prepared: PreparedProgram) -> Submission:
        return self._submissions[prepared.program.fingerprint]

    def _answer(self, prepared: PreparedProgram, method: str, request: Any) -> messages.Answer:
        return loop.run(self._pool.answer(self._submission(prepared), method, request))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Whoever opened the pool closes it."""


class RemoteTarget(_Remote):
    """Whole programs on measurement servers; see `open_remote`."""

    def prepare(self, program: Program) -> PreparedProgram:
        """Have a server compile the default."""
        submission = Submission(program.name, messages.PrepareRequest(module=program.module))
        message = loop.run(self._pool.prepare(submission))
        self._submissions[program.fingerprint] = submission
        origin = ", ".join(map(str, self._pool.members))
        prepared = prepared_from_message(message, program, origin)
        return replace(prepared, notes=(*program.notes, *prepared.notes, f"evaluated by {origin}"))

    def close(self) -> None:
        """End the lines to the servers."""
        loop.run(self._pool.close())


class RemoteProgramTarget(RemoteTarget):
    """Whole programs, and the tiles of their kernels."""

    def __init__(self, pool: Pool, repeat: bool) -> None:
        super().__init__(pool, repeat)
        self._kernel_target = RemoteKernelTarget(pool, repeat)

    @property
    def kernel_target(self) -> RemoteKernelTarget:
        """The same servers, for single kernels."""
        return self._kernel_target

    def kernels(self, prepared: PreparedProgram, config: Config) -> list[Kernel]:
        """As the servers' target takes the program apart."""
        program = self._submission(prepared).identity
        request = messages.KernelsRequest(program=program, config=config_to_json(config))
        found = self._answer(prepared, "ListKernels", request).kernels.kernels
        return [kernel_from_message(each) for each in found]

    def apply_tiles(self, prepared: PreparedProgram, config: Config, tiles: Mapping[str, ForcedTile]) -> TiledProgram:
        """Force tiles within the whole program, there."""
        program = self._submission(prepared).identity
        request = messages.ApplyTilesRequest(
            program=program, config=config_to_json(config), tiles=tiles_to_messages(tiles)
        )
        return tiled_from_message(self._answer(prepared, "ApplyTiles", request).tiled)


class RemoteKernelTarget(_Remote):
    """Single kernels on measurement servers."""

    def prepare_kernel(self, kernel: Kernel) -> PreparedProgram:
        """Have a server find out which tiles there are."""
        content = kernel_to_message(kernel).SerializeToString(deterministic=True)
        submission = Submission(kernel.name, messages.PrepareRequest(kernel=content))
        message = loop.run(self._pool.prepare(submission))
        program = Program(kernel.name, message.program, f"kernel {kernel.name}")
        self._submissions[program.fingerprint] = submission
        return prepared_from_message(message, program, ", ".join(map(str, self._pool.members)))

    def prepare(self, program: Program) -> PreparedProgram:
        """Kernels come from `autotune.hlo.kernels`."""
        raise SpaceError(f"program {program.name!r}: kernels are prepared with prepare_kernel")


def _evaluation(config: Config, result: messages.Evaluation | LostEvaluation, purpose: str) -> Evaluation:
    if isinstance(result, LostEvaluation):
        return Evaluation(config, Failed(FailureReason.KILLED, result.reason), 0.0, purpose)
    return evaluation_from_message(result, lambda value: config)
