"""What one worker takes of a cluster, and how many workers fit.

Ray counts and does not measure: a node has as many `CPU` as `ray start --num-cpus` says, and a worker has the one that
it took to itself as long as nobody takes more than there are. A worker of the target `cpu` also reserves the core that
it measures on (`autotune.targets.cores`), so that two nodes on one host do not measure on the same one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.errors import ClusterError, TrainingError

KINDS = ("cpu", "tpu")


@dataclass(frozen=True)
class Need:
    """What one worker takes.

    Attributes:
        cpus: cores; one, on which it compiles and, for the target `cpu`, measures.
        tpus: chips; those of a whole host, since its first one is measured on and Ray does not say which it gives.
    """

    cpus: int = 1
    tpus: int = 0


def check_target(target: str) -> None:
    """Find out whether a target can be opened by workers.

    Raises:
        TrainingError: it is none of a worker's own host.
    """
    if target.partition(":")[0] not in KINDS:
        raise TrainingError(
            f"--ray with --target {target}: expected cpu, tpu or tpu:<generation>, which every worker opens on its own "
            "host; leave out --ray (servers named with commas between them share the work)"
        )


def needs(nodes: Sequence[Mapping[str, Any]], target: str, *, limit: int | None = None) -> list[Need]:
    """What the workers of a cluster take, one entry per worker.

    Args:
        nodes: as `ray.nodes()` returns them.
        target: cpu, tpu or tpu:<generation>.
        limit: how many workers there are to be; None: as many as fit. Those that do not fit wait until nodes join.

    Raises:
        ClusterError: the cluster has nothing for such a target.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    if target == "tpu":
        found = [Need(tpus=int(each["TPU"])) for each in alive if each.get("TPU", 0) >= 1]
        wanted, remedy = "TPU", "start Ray on hosts with a TPU (ray start --resources='{\"TPU\": 1}' if it finds none)"
    else:
        found = [Need() for each in alive for _ in range(int(each.get("CPU", 0)))]
        wanted, remedy = "CPU", "start nodes with ray start --num-cpus N, N at least 1"
    if not found:
        raise ClusterError(
            f"target {target}: expected a Ray cluster with the resource {wanted}, found none in {len(alive)} nodes; "
            f"{remedy}"
        )
    if limit is None:
        return found
    return [*found, *[found[-1]] * (limit - len(found))][:limit]
