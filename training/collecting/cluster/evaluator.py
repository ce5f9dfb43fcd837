"""A pool of workers as the evaluator of a collection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, as_completed
from contextlib import contextmanager
from typing import Any, Self

from autotune.evaluation import Evaluation, Failed, FailureReason
from autotune.hlo.kernels import Kernel
from autotune.hlo.program import Program
from autotune.spaces.base import Config, Space
from autotune.targets.base import PreparedProgram, Target, TargetDescription
from cost_model.version import tool_version
from training.collecting.cluster.leases import Lease
from training.collecting.cluster.pool import LostCallError, PoolOptions, WorkerPool
from training.collecting.cluster.resources import needs
from training.collecting.cluster.session import RaySession, outcome
from training.collecting.cluster.worker import PreparedOnCluster, ProgramOnCluster
from training.collecting.evaluator import MayStart, ProgramEvaluator
from training.collecting.kernels import ListedKernel
from training.errors import ClusterError


class ClusterEvaluator:
    """Workers that evaluate programs, as a context manager.

    Args:
        session: with the cluster; not closed here.
        target: its name, which says what a worker takes.
        opener: opens the target, on the host of a worker.
        workers: how many; None: as many as the cluster has room for.
        options: what the pool puts up with.

    Raises:
        ClusterError: the cluster has no room for such workers, or they disagree among themselves or with us.
    """

    def __init__(
        self,
        session: RaySession,
        target: str,
        opener: Callable[[], Target],
        *,
        workers: int | None = None,
        options: PoolOptions | None = None,
    ) -> None:
        self._session = session
        wanted = needs(session.nodes(), target, limit=workers)
        self._pool = WorkerPool(
            wanted, lambda need: session.hire(need, opener), outcome, options=options, free=session.free
        )
        try:
            self._facts = self._pool.facts()
            if self._facts.tool != tool_version():
                raise ClusterError(
                    f"{session.address}: expected workers with xla-autotune {tool_version()}, as here, found "
                    f"{self._facts.tool}: install the same version on all nodes"
                )
        except BaseException:
            self.close()
            raise

    @property
    def description(self) -> TargetDescription:
        """Of the target that all workers have."""
        return self._facts.description

    @property
    def lists_kernels(self) -> bool:
        """Whether it can take programs apart."""
        return self._facts.lists_kernels

    @property
    def size(self) -> int:
        """How many workers there are to be."""
        return self._pool.size

    @contextmanager
    def program(self) -> Iterator[ProgramEvaluator]:
        """A worker for one program; others help if they have nothing else to do."""
        with self._pool.lease() as lease:
            yield _ClusterProgram(self._session, self._pool, lease)

    def close(self) -> None:
        """End the workers."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _ClusterProgram:
    def __init__(self, session: RaySession, pool: WorkerPool, lease: Lease) -> None:
        self._session, self._pool, self._lease = session, pool, lease
        self._program: Any = None  # stands for a ProgramOnCluster
        self._digest = ""

    def prepare(self, program: Program, kind: str) -> tuple[PreparedProgram, Space]:
        self._program = self._session.share(ProgramOnCluster(program, kind))
        found: PreparedOnCluster = self._pool.call(self._lease, "prepare", self._program).result()
        self._digest = found.digest
        return found.prepared, found.space

    def evaluate_each(self, configs: Sequence[Config], may_start: MayStart) -> Iterator[Evaluation]:
        calls = {self._evaluate([config], "search", may_start): config for config in configs}
        for ended in as_completed(calls):
            try:
                (evaluation,) = self._value(ended, [calls[ended]], "search")
            except CancelledError:
                continue
            yield evaluation

    def evaluate_together(self, configs: Sequence[Config], purpose: str) -> list[Evaluation]:
        return self._value(self._evaluate(configs, purpose, lambda: True), configs, purpose)

    def kernels(self, program: Program) -> list[Kernel]:
        kernels: list[Kernel] = self._pool.call(self._lease, "kernels", program).result()
        return kernels

    def list_tiles(self, kernel: Kernel) -> ListedKernel:
        listed: ListedKernel = self._pool.call(self._lease, "list_tiles", kernel).result()
        return listed

    def _evaluate(self, configs: Sequence[Config], purpose: str, may_start: MayStart) -> Future[Any]:
        arguments = (self._program, self._digest, list(configs), purpose)
        return self._pool.call(self._lease, "evaluate", *arguments, may_start=may_start)

    @staticmethod
    def _value(ended: Future[Any], configs: Sequence[Config], purpose: str) -> list[Evaluation]:
        try:
            evaluations: list[Evaluation] = ended.result()
        except LostCallError as error:
            failed = Failed(FailureReason.KILLED, str(error))
            return [Evaluation(config, failed, purpose=purpose) for config in configs]
        return evaluations
