"""Looking for the TPU of this host, on hosts that have none and in children that say what a TPU would."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.errors import AutotuneError, ToolchainError
from autotune.targets import open_target
from autotune.targets.isolation import Worker
from autotune.targets.tpu import attached
from autotune.targets.tpu.attached import open_tpu
from autotune.targets.tpu.generations import GENERATIONS, generation_of
from autotune.targets.tpu.toolchain import DEVICE_ENVIRONMENT, ENVIRONMENT

_TESTS = "tests.targets.tpu.test_attached"


class Seen:
    """A child in which jax sees this."""

    def __init__(self, kind: str = "", error: str = "") -> None:
        if error:
            raise RuntimeError(error)
        self._kind = kind

    def device(self) -> tuple[str, int | None]:
        return self._kind, None


def test_without_a_tpu(libtpu: None) -> None:
    if Path("/dev/accel0").exists() or Path("/dev/vfio/0").exists():
        pytest.skip("this host may have a TPU")
    with pytest.raises(AutotuneError, match="no TPU of this host can be opened") as caught:
        open_target("tpu")
    message = str(caught.value)
    assert "libtpu 0.0.52), which says: Unable to initialize backend 'tpu'" in message
    assert "/dev/accel* and /dev/vfio/*: none; PCI devices of vendor 0x1ae0: " in message
    assert message.endswith("tpu:v2, tpu:v3, tpu:v4, tpu:v5e, tpu:v5p, tpu:v6e, tpu:tpu7x")


def test_without_libtpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ToolchainError, match=r"libtpu.*not installed; run: pip install 'xla-autotune\[tpu\]'"):
        open_target("tpu")


@pytest.mark.parametrize(
    "words",
    [
        "ABORTED: The TPU is already in use by process with pid 2718466. Not attempting to load libtpu.so",
        "ABORTED: The TPU is already in use by another process probably owned by another user.",
        "ABORTED: Internal error when accessing libtpu multi-process lockfile. Run `$ sudo rm /tmp/libtpu_lockfile`.",
    ],
)
def test_a_tpu_that_somebody_else_has(libtpu: None, words: str) -> None:
    with pytest.raises(AutotuneError, match="another process has the TPU of this host, and only one may") as caught:
        open_tpu(worker=f"{_TESTS}:Seen", arguments={"error": f"Unable to initialize backend 'tpu': {words}"})
    assert words in str(caught.value)


def test_device_files_without_a_device(libtpu: None, tmp_path: Path) -> None:
    (tmp_path / "accel0").touch()
    with pytest.raises(AutotuneError, match=f"{tmp_path}/vfio/\\*: {tmp_path}/accel0; PCI"):
        open_tpu(worker=f"{_TESTS}:Seen", arguments={"error": "No jellyfish device found."}, devices=tmp_path)


def test_a_tpu_of_a_generation_that_we_do_not_know(libtpu: None) -> None:
    with pytest.raises(AutotuneError, match="jax sees a device 'TPU v12', expected one of TPU v2, TPU v3"):
        open_tpu(worker=f"{_TESTS}:Seen", arguments={"kind": "TPU v12"})


def test_the_target_of_a_tpu(libtpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    found = open_tpu(worker=f"{_TESTS}:Seen", arguments={"kind": "TPU v5 lite"})
    assert (found.kind, found.generation.name) == ("TPU v5 lite", "v5e")
    monkeypatch.setattr(attached, "open_tpu", lambda: found)
    with open_target("tpu") as target:
        description = target.description
    assert (description.name, description.device_kind, description.label.value) == ("tpu", "TPU v5 lite", "measured")
    assert description.compiler_version.startswith("libtpu 0.0.52, jaxlib 0.10.")
    assert description.cost_model_device == "tpu-v5e"
    assert not found.worker.alive, "the target ends the process that has the TPU"


def test_kinds_are_those_that_jax_sees_in_topologies(libtpu: None) -> None:
    with Worker("tests.targets.tpu.jax_child", environment=ENVIRONMENT) as worker:
        for each in GENERATIONS.values():
            kind = worker.call("device_kind", f"{each.name}:{each.single_chip}", time_limit=120)
            assert generation_of(kind) is each
            assert each.device_kinds[0] == kind
    assert generation_of("cpu") is None


def test_the_child_has_one_chip_and_owns_it() -> None:
    assert DEVICE_ENVIRONMENT["JAX_PLATFORMS"] == "tpu", "whatever the user has set"
    assert "ALLOW_MULTIPLE_LIBTPU_LOAD" not in DEVICE_ENVIRONMENT, "else the lock would not say who has the TPU"
