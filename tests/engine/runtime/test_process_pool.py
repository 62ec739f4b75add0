"""Work in several processes: ordered results, cancellation, and workers that end with their parent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from lora_studio.core.problems import ProblemError
from lora_studio.core.system.programs import get_empty_folder
from lora_studio.engine.runtime import child_process, process_pool
from lora_studio.engine.runtime.failures import CancelledError
from lora_studio.engine.runtime.process_pool import map_in_processes
from tests.helpers.runs.jobs import make_job, recorded_job


def squared(number: int) -> int:
    """Return the square; the first number takes the longest."""
    time.sleep(0.1 if number == 0 else 0.0)
    return number * number


def end(_: int) -> None:
    """Exit like a process that the kernel kills for lack of memory."""
    os._exit(9)


def wait_long(folder: Path, number: int) -> None:
    """Wait until canceled, then create a file."""
    (folder / f"begun{number}").touch()
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if process_pool.is_cancelled():
            (folder / f"seen{number}").touch()
            return
        time.sleep(0.02)


def say_and_sleep(_: int) -> None:
    """Keep the output open that the test reads."""
    print("begun", flush=True)
    time.sleep(1200)


@pytest.mark.slow
def test_results_keep_the_order_of_inputs() -> None:
    results = map_in_processes(squared, range(9), 2, make_job())
    assert list(results) == [number * number for number in range(9)]


@pytest.mark.slow
def test_killed_worker_process_raises_problem() -> None:
    with pytest.raises(ProblemError) as caught:
        list(map_in_processes(end, range(3), 2, make_job()))
    assert "A worker process stopped" in str(caught.value.problems[0].what)


@pytest.mark.slow
def test_cancel_reaches_running_tasks(tmp_path: Path) -> None:
    job = make_job()

    def cancel() -> None:
        while not (tmp_path / "begun0").exists():
            time.sleep(0.02)
        job.flags.cancel.set()

    threading.Thread(target=cancel, daemon=True).start()
    with pytest.raises(CancelledError):
        list(map_in_processes(partial(wait_long, tmp_path), range(1), 1, job))
    assert (tmp_path / "seen0").exists()


def test_worker_processes_end_with_their_parent() -> None:
    program = (
        "from lora_studio.engine.runtime.process_pool import map_in_processes\n"
        "from tests.engine.runtime.test_process_pool import say_and_sleep\n"
        "from tests.helpers.runs.jobs import make_job\n"
        "list(map_in_processes(say_and_sleep, range(1), 1, make_job()))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"begun\n"
    parent.kill()
    # The end of the output comes only when every process that holds it has ended.
    parent.communicate(timeout=600)


_WITHOUT_SHARED_MEMORY = """
import sys
from lora_studio.engine.runtime.process_pool import map_in_processes
from tests.engine.runtime.test_process_pool import squared
from tests.helpers.runs.jobs import make_job
print(list(map_in_processes(squared, range(4), 2, make_job())))
"""


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"]).returncode != 0,
    reason="needs a mount namespace",
)
def test_work_is_done_without_shared_memory() -> None:
    full = 'mount -t tmpfs -o size=4k,nr_inodes=1 tmpfs /dev/shm && exec "$@"'
    ended = subprocess.run(
        ["unshare", "-rm", "sh", "-c", full, "sh", sys.executable, "-c", _WITHOUT_SHARED_MEMORY],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout == "[0, 1, 4, 9]\n", ended.stderr


_SLEEPER = (
    "import os, time; print(os.getpid(), os.environ.get('GIVEN'), flush=True); time.sleep(600)"
)


@pytest.fixture
def command() -> list[str]:
    return child_process.get_watched_command(sys.executable, "-c", _SLEEPER)


def wait_until_ended(pid: int) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_cancel_ends_the_program_of_a_watched_child(command: list[str]) -> None:
    job, _ = recorded_job()
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        job.flags.cancel.set()

    with pytest.raises(CancelledError):
        child_process.run(command, job, on_line, {"GIVEN": "variable"})
    pid, variable = lines[0].split()
    assert variable == "variable"
    assert wait_until_ended(int(pid))


@pytest.mark.slow
def test_program_of_a_watched_child_ends_with_its_parent(command: list[str]) -> None:
    program = (
        "import os\n"
        "from lora_studio.engine.runtime import child_process as child\n"
        "from tests.helpers.runs.jobs import recorded_job\n"
        f"child.run({command!r}, recorded_job()[0],\n"
        "          lambda line: (print(line, flush=True), os.kill(os.getpid(), 9)))\n"
    )
    parent = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert wait_until_ended(int(parent.stdout.split()[0]))


def test_programs_start_in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ggml loads `libggml-*.so` from the current folder, which may be a project of somebody else."""
    (tmp_path / "libggml-cpu.so").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    listing = [sys.executable, "-c", "import os; print(os.getcwd(), os.listdir())"]
    expected = f"{get_empty_folder()} []"
    for command in (listing, child_process.get_watched_command(*listing)):
        lines: list[str] = []
        child_process.run(command, recorded_job()[0], lines.append)
        assert lines == [expected]
    check = "import os, sys; sys.exit(os.listdir() != [])"
    assert child_process.run_alone([sys.executable, "-c", check], 60) == 0


def test_program_that_cannot_start_says_why(tmp_path: Path) -> None:
    lines: list[str] = []
    command = child_process.get_watched_command(str(tmp_path / "llama-server"))
    ended = child_process.run(command, recorded_job()[0], lines.append)
    assert (ended.status, lines) == (1, [f"{tmp_path / 'llama-server'}: No such file or directory"])
