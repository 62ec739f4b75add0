"""Work in several processes: in order, heeding a cancel, and never outliving who asked for it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from lora_studio.core.problems import ProblemError
from lora_studio.engine.runtime import process_pool
from lora_studio.engine.runtime.failures import CancelledError
from lora_studio.engine.runtime.process_pool import map_in_processes
from tests.helpers.jobs import make_job


def squared(number: int) -> int:
    """Later pieces are done first."""
    time.sleep(0.1 if number == 0 else 0.0)
    return number * number


def end(_: int) -> None:
    """As the kernel ends a process when memory is short."""
    os._exit(9)


def wait_long(folder: Path, number: int) -> None:
    """Until a cancel is seen, which a file then says."""
    (folder / f"begun{number}").touch()
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if process_pool.is_cancelled():
            (folder / f"seen{number}").touch()
            return
        time.sleep(0.02)


def say_and_sleep(_: int) -> None:
    """Holds on to the output that the test reads."""
    print("begun", flush=True)
    time.sleep(1200)


def test_results_come_in_the_order_of_the_pieces() -> None:
    found = map_in_processes(squared, range(9), 2, make_job())
    assert list(found) == [number * number for number in range(9)]


def test_a_process_that_is_ended_from_outside_is_a_problem_with_a_remedy() -> None:
    with pytest.raises(ProblemError) as caught:
        list(map_in_processes(end, range(3), 2, make_job()))
    assert "A worker process stopped" in str(caught.value.problems[0].what)


def test_a_cancel_reaches_pieces_under_way(tmp_path: Path) -> None:
    job = make_job()

    def cancel() -> None:
        while not (tmp_path / "begun0").exists():
            time.sleep(0.02)
        job.flags.cancel.set()

    threading.Thread(target=cancel, daemon=True).start()
    with pytest.raises(CancelledError):
        list(map_in_processes(partial(wait_long, tmp_path), range(1), 1, job))
    assert (tmp_path / "seen0").exists()


def test_processes_end_with_the_one_they_work_for() -> None:
    program = (
        "from lora_studio.engine.runtime.process_pool import map_in_processes\n"
        "from tests.engine.runtime.test_process_pool import say_and_sleep\n"
        "from tests.helpers.jobs import make_job\n"
        "list(map_in_processes(say_and_sleep, range(1), 1, make_job()))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"begun\n"
    parent.kill()
    # The end of the output comes only when every process that holds it has ended.
    parent.communicate(timeout=600)
