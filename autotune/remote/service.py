"""What the server does with a call: wait for its turn, work in the target's thread, show signs of life meanwhile."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import grpc

from autotune import errors
from autotune.remote.messages import (
    INSTANCE_HEADER,
    PROTOCOL,
    UNFORESEEN,
    MessageError,
    description_to_message,
    evaluation_to_message,
    plain_text,
    prepared_to_message,
    tuned_to_message,
)
from autotune.remote.queue import FairQueue, QueueFullError
from autotune.remote.spaces import kernel_to_message, space_to_message, tiled_to_message, tiles_from_messages
from autotune.remote.station import Station, UnknownProgramError
from cost_model.version import tool_version
from protos import measurement_pb2 as messages
from protos import measurement_pb2_grpc

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[object, messages.Answer]

logger = logging.getLogger("autotune.server")

HEARTBEAT_SECONDS: Final = 2.0
"""Between two signs of life."""

MOST_WAITING: Final = 256
MOST_WAITING_PER_CLIENT: Final = 32
MOST_SUBMISSIONS: Final = 8
"""Programs that are on their way into the target: each may be as large as the limit, so memory is bounded."""

MOST_CONFIGS: Final = 64
"""In one request."""

Answers = Iterable[messages.Answer]


class MeasurementService(measurement_pb2_grpc.MeasurementServicer):
    """The service `Measurement` of `protos/measurement.proto`.

    Args:
        station: does the work.
        thread: the one thread from which the station is used.
        largest_program: bytes that a submitted program may have.
    """

    def __init__(self, station: Station, thread: ThreadPoolExecutor, largest_program: int) -> None:
        self._station, self._thread, self._largest_program = station, thread, largest_program
        self._queue = FairQueue(MOST_WAITING, MOST_WAITING_PER_CLIENT)
        self._submissions = 0
        self._started = time.monotonic()
        self._facts = messages.ServerDescription(
            protocol=PROTOCOL,
            target=description_to_message(station.description),
            tool_version=tool_version(),
            parallel=station.parallel,
            takes_programs_apart=station.takes_programs_apart,
            largest_program_bytes=largest_program,
            instance=uuid.uuid4().hex,
        )

    async def Describe(self, request: messages.DescribeRequest, context: Context) -> messages.ServerDescription:
        """What this server is, and how busy it is."""
        now = messages.ServerDescription(
            waiting=self._queue.waiting,
            clients=self._queue.clients,
            busy=self._queue.busy,
            evaluations=self._station.evaluations,
            uptime_seconds=time.monotonic() - self._started,
        )
        now.MergeFrom(self._facts)
        return now

    async def Prepare(self, request: messages.PrepareRequest, context: Context) -> None:
        """Compile the default of a program, or list the tiles of a kernel."""
        station = self._station

        def work() -> Answers:
            kernel = request.WhichOneof("submitted") == "kernel"
            prepared = station.prepare_kernel(request.kernel) if kernel else station.prepare(request.module)
            return [messages.Answer(prepared=prepared_to_message(prepared, with_program=kernel))]

        size = len(request.module) + len(request.kernel)
        if size > self._largest_program:
            text = f"a program of {size:,} bytes; this server takes {self._largest_program:,} (serve --largest-program)"
            await self._refuse(context, grpc.StatusCode.INVALID_ARGUMENT, text)
        if self._submissions >= MOST_SUBMISSIONS:
            text = f"{MOST_SUBMISSIONS} programs are being prepared already"
            await self._refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        self._submissions += 1
        try:
            await self._serve(context, work)
        finally:
            self._submissions -= 1

    async def DescribeSpace(self, request: messages.SpaceRequest, context: Context) -> None:
        """What may be changed about a program."""
        station = self._station
        await self._serve(
            context, lambda: [messages.Answer(space=space_to_message(station.space(request.program, request.kind)))]
        )

    async def Evaluate(self, request: messages.EvaluateRequest, context: Context) -> None:
        """Evaluate configs: those to confirm together, others in as many turns as the target likes to have them."""
        configs = list(request.configs)
        if not 0 < len(configs) <= MOST_CONFIGS:
            text = f"{len(configs)} configs in one request: expected 1 to {MOST_CONFIGS}"
            await self._refuse(context, grpc.StatusCode.INVALID_ARGUMENT, text)
        step = len(configs) if request.purpose == "confirm" else max(1, self._station.parallel)
        for start in range(0, len(configs), step):

            def work(texts: list[str] = configs[start : start + step]) -> Answers:
                evaluations = self._station.evaluate(
                    request.program, texts, purpose=request.purpose, repeat=request.repeat
                )
                return [messages.Answer(evaluation=evaluation_to_message(each)) for each in evaluations]

            if not await self._serve(context, work):
                return

    async def Realise(self, request: messages.RealiseRequest, context: Context) -> None:
        """Apply a config without compiling it."""
        station = self._station
        await self._serve(
            context, lambda: [messages.Answer(tuned=tuned_to_message(station.realise(request.program, request.config)))]
        )

    async def ListKernels(self, request: messages.KernelsRequest, context: Context) -> None:
        """Take a program with a config apart."""

        def work() -> Answers:
            kernels = self._station.kernels(request.program, request.config)
            return [messages.Answer(kernels=messages.Kernels(kernels=[kernel_to_message(each) for each in kernels]))]

        await self._serve(context, work)

    async def ApplyTiles(self, request: messages.ApplyTilesRequest, context: Context) -> None:
        """Force tiles within a whole program."""

        def work() -> Answers:
            tiles = tiles_from_messages(request.tiles)
            tiled = self._station.apply_tiles(request.program, request.config, tiles)
            return [messages.Answer(tiled=tiled_to_message(tiled))]

        await self._serve(context, work)

    async def _serve(self, context: Context, work: Callable[[], Answers]) -> bool:
        """Answer with what `work` returns, or with its refusal.

        Args:
            context: of the call.
            work: runs in the target's thread when it is the client's turn.

        Returns:
            Whether it was no refusal.
        """
        wanted = dict(context.invocation_metadata() or ()).get(INSTANCE_HEADER, self._facts.instance)
        if wanted != self._facts.instance:
            await context.abort(grpc.StatusCode.ABORTED, "this is another server than the one that the call is for")
        try:
            answers = await self._in_turn(context, work)
        except QueueFullError as error:
            await self._refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        except UnknownProgramError:
            await context.abort(grpc.StatusCode.NOT_FOUND, "this server does not have the program (any more)")
        except MessageError as error:
            await self._refuse(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except errors.AutotuneError as error:
            await context.write(messages.Answer(refusal=_refusal(error)))
            return False
        except Exception as error:
            logger.exception("%s: a request failed in a way that was not foreseen", context.peer())
            await context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__} {UNFORESEEN}")
        for answer in answers:
            await context.write(answer)
        return True

    async def _in_turn(self, context: Context, work: Callable[[], Answers]) -> Answers:
        """Wait for a turn and work; also when the client goes away meanwhile, the work is finished before the next."""
        started = time.monotonic()
        turn = self._queue.enter(context.peer())
        future: asyncio.Future[Answers] | None = None

        async def show_life() -> None:
            progress = messages.Progress(waiting=self._queue.before(turn), seconds=time.monotonic() - started)
            await context.write(messages.Answer(progress=progress))

        try:
            while not await turn.wait(HEARTBEAT_SECONDS):
                await show_life()
            future = asyncio.get_running_loop().run_in_executor(self._thread, work)
            while not (await asyncio.wait([future], timeout=HEARTBEAT_SECONDS))[0]:
                await show_life()
            return future.result()
        finally:
            if future is None or future.done():
                self._queue.leave(turn)
            else:
                logger.info("%s: the client is gone; what it has asked for is finished all the same", context.peer())

                def finished(done: asyncio.Future[Answers]) -> None:
                    done.exception()  # nobody is there to be told
                    self._queue.leave(turn)

                future.add_done_callback(finished)

    async def _refuse(self, context: Context, code: grpc.StatusCode, text: str) -> None:
        logger.warning("%s: refused: %s", context.peer(), text)
        await context.abort(code, plain_text(text)[:1000])  # gRPC bounds what goes with a status


def _refusal(error: errors.AutotuneError) -> messages.Refusal:
    """The nearest class that the client knows, too."""
    names = (each.__name__ for each in type(error).__mro__)
    return messages.Refusal(error=next(name for name in names if hasattr(errors, name)), message=plain_text(str(error)))
