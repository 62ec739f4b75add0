"""How a worker's exit status is explained."""

from __future__ import annotations

import signal
import sys

import pytest

from lora_studio.client.worker import describe_exit
from lora_studio.core.protocol.job import NO_PROCESSES


@pytest.mark.parametrize(
    ("code", "words"),
    [
        pytest.param(0, "without a result", id="no ending"),
        pytest.param(3, "exit status 3", id="status"),
        pytest.param(NO_PROCESSES, "doesn't allow more processes or threads", id="no threads"),
        pytest.param(-9, "killed by signal SIGKILL", id="killed"),
        pytest.param(-250, "killed by signal 250", id="unknown signal"),
        pytest.param(-getattr(signal, "SIGBUS", 7), "can no longer be read", id="failing disk"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_exit_status_is_explained(code: int, words: str) -> None:
    assert words in str(describe_exit(code))
