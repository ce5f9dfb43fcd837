"""One thread writes for others, also when Ctrl-C is pressed."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from training.collecting.cluster.writer import Writer
from training.errors import ClusterError


def _press() -> str:
    os.kill(os.getpid(), signal.SIGINT)
    return "written"


def test_what_is_being_written_is_written_before_an_interruption() -> None:
    writer = Writer()
    before = signal.getsignal(signal.SIGINT)
    with ThreadPoolExecutor(1) as executor, writer.interruptible():
        value = executor.submit(writer.run, _press)
        writer.serve()
        assert value.result(timeout=10) == "written"
        with pytest.raises(KeyboardInterrupt):
            writer.serve()
        with pytest.raises(KeyboardInterrupt):
            _press()  # the second one does not wait
    assert signal.getsignal(signal.SIGINT) is before


def test_errors_are_those_of_who_asked() -> None:
    writer = Writer()
    with ThreadPoolExecutor(1) as executor:
        value = executor.submit(writer.run, lambda: 1 // 0)
        writer.serve()
        with pytest.raises(ZeroDivisionError):
            value.result(timeout=10)


def test_nobody_waits_for_a_writer_that_has_ended() -> None:
    writer = Writer()
    with ThreadPoolExecutor(1) as executor:
        waits = executor.submit(writer.run, lambda: 1)
        while writer._waiting.empty():
            pass
        writer.close()
        comes = executor.submit(writer.run, lambda: 1)
        for each in (waits, comes):
            with pytest.raises(ClusterError, match="nothing is written any more"):
                each.result(timeout=10)
