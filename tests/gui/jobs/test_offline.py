"""Offline mode in jobs that this window doesn't run itself."""

from __future__ import annotations

from pathlib import Path

from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands
from lora_studio.core.runs.folder import create_run
from lora_studio.core.system.locks import FileLock
from lora_studio.gui.jobs.control import JobControl


def test_running_jobs_of_other_programs_go_offline(tmp_path: Path, qapp: object) -> None:
    runs = tmp_path / "runs"
    detached, idle = (create_run(runs, Project(name="x"), tmp_path) for _ in range(2))
    lock = FileLock(detached.lock_file)
    assert lock.acquire({"pid": 1})
    try:
        JobControl().go_offline(runs)
    finally:
        lock.release()
    command = commands.parse(detached.mailbox_file.read_bytes().splitlines()[0])
    assert isinstance(command, commands.GoOffline)
    assert not idle.mailbox_file.exists()
