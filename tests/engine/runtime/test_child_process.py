"""Programs that are started through a watched child: they end with this process and on a cancel."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lora_studio.core.system.programs import get_empty_folder
from lora_studio.engine.runtime import child_process
from lora_studio.engine.runtime.failures import CancelledError
from tests.helpers.runs.recorded_job import recorded_job

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
        "from tests.helpers.runs.recorded_job import recorded_job\n"
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
