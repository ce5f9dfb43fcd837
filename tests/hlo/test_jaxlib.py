"""The door to XLA, through a child process as everywhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from autotune.targets.isolation import Worker, WorkerFailure
from tests import hlo_texts


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker("autotune.hlo.jaxlib") as worker:
        yield worker


@pytest.mark.parametrize(
    ("version", "found"),
    [
        ("0.9.2", "jaxlib 0.9.2 is installed"),
        ("0.11.0", "jaxlib 0.11.0 is installed"),
        (None, "jaxlib is not installed"),
    ],
)
def test_other_versions_are_refused(version: str | None, found: str, worker: Worker) -> None:
    with pytest.raises(WorkerFailure) as caught:
        worker.call("check_version", version, time_limit=60.0)
    assert caught.value.error_type == "ToolchainError"
    assert caught.value.message == (
        f"{found}, but this tool speaks to jaxlib >= 0.10, < 0.11; "
        "run: pip install 'jax>=0.10,<0.11' 'jaxlib>=0.10,<0.11'"
    )


@pytest.mark.parametrize("version", ["0.10", "0.10.2", "0.10.3.dev20261101"])
def test_supported_versions(version: str, worker: Worker) -> None:
    worker.call("check_version", version, time_limit=60.0)


def test_numbers_of_devices_are_printed(worker: Worker) -> None:
    text = hlo_texts.TWO_DOTS.replace("two_dots", 'm, frontend_attributes={a="num_partitions=9"}, num_partitions=4', 1)
    module = worker.call("parse_hlo_text", text, time_limit=60.0)
    header = worker.call("print_hlo_text", module, time_limit=60.0).partition("\n")[0]
    assert header.endswith(", num_partitions=4")
    assert "replica_count" not in header


def test_the_verifier_is_told_apart_from_the_loader(worker: Worker) -> None:
    text = "HloModule m\nENTRY e {\n  p = f32[4] parameter(0)\n  ROOT s = f32[5] add(p, p)\n}\n"
    module = worker.call("parse_hlo_text", text, time_limit=60.0)
    for broken, error in ((module, "VerificationError"), (module[:40], "JaxRuntimeError")):
        with pytest.raises(WorkerFailure) as caught:
            worker.call("validate_module", broken, time_limit=60.0)
        assert caught.value.error_type == error


def test_what_stablehlo_cannot_say_is_no_error(worker: Worker) -> None:
    call = 'custom-call(p), custom_call_target="f"'
    text = f"HloModule m\nENTRY e {{\n  p = opaque[] parameter(0)\n  ROOT c = f32[] {call}\n}}\n"
    module = worker.call("parse_hlo_text", text, time_limit=60.0)
    with pytest.raises(WorkerFailure, match="OPAQUE"):
        worker.call("module_to_stablehlo", module, time_limit=60.0)
    worker.call("validate_module", module, time_limit=60.0)


def test_cost_analysis(worker: Worker) -> None:
    module = worker.call("parse_hlo_text", hlo_texts.matrix_product(3, 5, 7), time_limit=60.0)
    costs = worker.call("cost_analysis", module, time_limit=60.0)
    assert costs["flops"] == 2 * 3 * 5 * 7
    assert costs["bytes accessed"] == 4 * (3 * 5 + 5 * 7 + 3 * 7)
