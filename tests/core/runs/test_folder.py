"""Run folders: layout, state and lock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.project import project
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs import folder
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.heldout import read_heldout
from lora_studio.core.system.locks import FileLock
from lora_studio.core.tasks.samples import Message, Sample
from tests.helpers.accepted_projects import accept_project

PROBLEM = Problem(code="x.y", what="W.", remedy="R.")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return folder.create_run(tmp_path / "runs", Project(name="My run"), tmp_path)


def _write(run: RunFolder, *sent: events.Event) -> None:
    with run.events_file.open("a") as file:
        file.writelines(events.to_line(event) + "\n" for event in sent)


def test_new_run_stores_the_project_with_absolute_paths(tmp_path: Path) -> None:
    frozen = Project.model_validate({"name": "x", "dataset": {"sources": ["rows.json"]}})
    run = folder.create_run(tmp_path / "runs", frozen, tmp_path)
    assert run.load_project().dataset.sources[0].path == str(tmp_path / "rows.json")
    assert run.read_manifest()["name"] == "x"


def test_runs_created_in_the_same_second_have_unique_names(tmp_path: Path) -> None:
    created = {folder.create_run(tmp_path, Project(name="x"), tmp_path).path for _ in range(5)}
    assert len(created) == 5
    assert {run.path for run in folder.list_runs(tmp_path)} == created


@pytest.mark.parametrize(
    "name",
    ["log.txt", "adapter", "adapter/adapter_model.safetensors", "checkpoints/step-4/training.pt",
     "checkpoints/step-4/more/files", "data/trackers/x"],
)  # fmt: skip
def test_link_at_any_depth_stops_a_job(run: RunFolder, tmp_path: Path, name: str) -> None:
    run.require_no_links()
    (run.path / name).parent.mkdir(parents=True, exist_ok=True)
    (run.path / name).symlink_to(tmp_path)
    with pytest.raises(ProblemError) as raised:
        run.require_no_links()
    (problem,) = raised.value.problems
    assert problem.code == "run.link"
    assert problem.where.file == str(run.path / name)


def test_state_follows_the_events(run: RunFolder) -> None:
    assert run.read_state() == "new"
    _write(run, events.Hello(app_version="1", pid=1), events.Started(id="a", command="train"))
    assert run.read_state() == "interrupted"
    _write(run, events.Done(id="a"))
    assert run.read_state() == "trained"
    _write(run, events.Started(id="b", command="merge"), events.Failed(id="b", problem=PROBLEM))
    assert run.read_state() == "failed"
    _write(run, events.Started(id="c", command="merge"), events.Done(id="c"))
    assert run.read_state() == "merged"


def test_state_is_read_without_step_events(run: RunFolder) -> None:
    step = events.StepDone(
        id="a", step=1, steps=9, epoch=1, loss=1, learning_rate=1, grad_norm=1, tokens=1,
        tokens_per_s=1, memory_bytes=1,
    )  # fmt: skip
    _write(run, events.Started(id="a", command="train"))
    with run.events_file.open("a") as file:
        file.write((events.to_line(step) + "\n") * 1_000)
    _write(run, events.LogLine(text='"kind":"step_done"'), events.Done(id="a", paused=True))
    assert run.read_state() == "paused"
    assert [event.kind for event in run.iter_milestones()] == ["started", "log", "done"]


def test_incomplete_last_line_is_ignored(run: RunFolder) -> None:
    _write(run, events.Started(id="a", command="train"))
    with run.events_file.open("a") as file:
        file.write('{"kind":"done","id"')
    assert [event.kind for event in run.iter_events()] == ["started"]


def test_folder_that_is_not_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match="isn't a run folder"):
        RunFolder(tmp_path).load_project()


def test_unwritable_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProblemError, match="Couldn't create"):
        folder.create_run(tmp_path / "file" / "runs", Project(name="x"), tmp_path)


def test_lock_is_released_when_its_holder_is_killed(run: RunFolder) -> None:
    code = (
        "import sys, time; from pathlib import Path; from lora_studio.core.system.locks import FileLock"
        "; print(FileLock(Path(sys.argv[1])).acquire({'pid': 4711}), flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(run.lock_file)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    with holder.stdout:
        # The lock object is a temporary there: the open file must live as long as the process.
        assert holder.stdout.readline().strip() == "True"
    holder.kill()
    holder.wait()
    assert not run.is_running()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no shared lock")
def test_concurrent_lock_checks_do_not_report_a_holder(
    run: RunFolder,
) -> None:
    import fcntl

    run.lock_file.touch()
    with run.lock_file.open("r+b") as other:
        fcntl.flock(other, fcntl.LOCK_SH)  # another process is checking
        assert not run.is_running()
        assert not FileLock(run.lock_file).acquire({}), "and it can't be acquired in the meantime"


def test_held_lock_is_visible_and_exclusive(run: RunFolder) -> None:
    lock = FileLock(run.lock_file)
    assert lock.acquire({"pid": 4711})
    assert run.is_running()
    assert run.worker_pid() == 4711
    assert not FileLock(run.lock_file).acquire({"pid": 1})
    assert run.worker_pid() == 4711
    lock.release()
    assert run.worker_pid() is None


def test_only_killed_holders_leave_content_in_the_lock(
    run: RunFolder,
) -> None:
    lock = FileLock(run.lock_file)
    assert lock.acquire({"pid": 4711})
    lock.note({"pid": 4712})
    assert FileLock(run.lock_file).read_stale_holder() == {}, "the lock is held"
    lock.release()
    assert FileLock(run.lock_file).read_stale_holder() == {}
    run.lock_file.write_text('{"pid": 4712}')  # left by a killed process
    assert FileLock(run.lock_file).read_stale_holder() == {"pid": 4712}


def test_acquire_waits_for_a_process_that_only_checks(run: RunFolder) -> None:
    looking, other = FileLock(run.lock_file), FileLock(run.lock_file)
    assert looking.acquire({})
    assert not other.acquire({"pid": 1})
    timer = threading.Timer(0.2, looking.release)
    timer.start()
    assert other.acquire({"pid": 1}, 10.0)
    timer.join()
    assert run.worker_pid() == 1
    other.release()


def test_only_checkpoints_are_listed_in_step_order(run: RunFolder) -> None:
    for name in ("step-00000020", "step-00000003", ".step-00000009.tmp", "notes"):
        (run.checkpoints / name).mkdir(parents=True)
    assert run.list_checkpoint_steps() == [3, 20]
    assert run.checkpoint(3).is_dir()


def test_manifest_updates_are_merged(run: RunFolder) -> None:
    run.update_manifest(seed=1)
    run.update_manifest(loss=0.5)
    assert run.read_manifest()["seed"] == 1
    assert run.read_manifest()["loss"] == 0.5


def test_held_out_conversations_are_read_line_by_line(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert read_heldout(run) == []
    question = {"role": "user", "content": "line\u2028separator, line\nfeed, ü"}
    answered = {"role": "assistant", "content": "Yes.", "trained": True}
    rows = [{"messages": [question, answered]}, {"messages": [question]}]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    run.heldout_file.write_text("".join(lines), "utf-8")
    first, second = (Message.model_validate(turn) for turn in (question, answered))
    assert read_heldout(run) == [Sample("sft", (first, second)), Sample("sft", (first,))]


@pytest.mark.parametrize(
    "newest",
    [
        pytest.param("20991231-235959-p", id="in the future"),
        pytest.param("20200101-000000-p", id="in the past"),
        pytest.param("20999999-000000-p", id="without a time"),
    ],
)
def test_new_run_is_the_newest_after_the_clock_is_set_back(tmp_path: Path, newest: str) -> None:
    (tmp_path / newest).mkdir()
    run = folder.create_run(tmp_path, Project(name="p"), tmp_path)
    dated = [name for name in (newest, run.path.name) if "9999-" not in name]
    assert max(dated) == run.path.name
    second = folder.create_run(tmp_path, Project(name="p"), tmp_path)
    assert second.path.name > run.path.name


def test_running_run_is_found_after_the_clock_is_set_forward(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = FileLock(run.lock_file)
    assert lock.acquire({"pid": 4711})
    os.utime(run.lock_file, (0, 0))
    monkeypatch.setattr(folder.psutil, "boot_time", lambda: time.time() - 60)
    _write(run, events.Started(id="a", command="train"))
    assert folder.list_running_runs(run.path.parent) == [run]
    lock.release()


def test_run_from_the_last_second_of_time_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "99991231-235959-p").mkdir()
    assert folder.create_run(tmp_path, Project(name="p"), tmp_path).path.is_dir()


def find_link(run: RunFolder) -> str:
    """Return the link in a run that a job refuses, "" for none."""
    try:
        run.require_no_links()
    except ProblemError as error:
        (problem,) = error.problems
        assert problem.code == "run.link"
        return str(problem.what.values["file"])
    return ""


@pytest.mark.parametrize(
    "name",
    [
        "merged",
        "adapter/adapter_model.safetensors",
        "checkpoints/step-00000001/training.pt",
        "evaluations/20260101-000000/answers.jsonl",
        "trackers",
        "trackers/wandb-run.txt",
        "trackers/wandb/latest-run",
        "trackers/mlflow/0/meta.yaml",
    ],
)
@pytest.mark.parametrize("exists", [False, True])
def test_link_anywhere_in_a_run_is_refused(
    name: str, exists: bool, run: RunFolder, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    if exists:
        target.mkdir()
    link = run.path / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    assert find_link(run) == name


def test_links_among_the_files_of_a_tracker_are_its_own(run: RunFolder) -> None:
    logs = run.trackers / "wandb" / "run-1" / "logs"
    logs.mkdir(parents=True)
    (logs / "debug.log").touch()
    (run.trackers / "wandb" / "latest-run").symlink_to("run-1")
    (run.trackers / "wandb" / "debug.log").symlink_to("run-1/logs/debug.log")
    (logs / "debug-core.log").symlink_to(run.path.parent / "cache.log")  # as wandb does
    assert find_link(run) == ""
    assert not (logs / "debug-core.log").is_symlink(), "nothing is written through it"
    (run.trackers / "wandb-run.txt").symlink_to("wandb/debug.log")
    assert find_link(run) == "trackers/wandb-run.txt"
    (run.trackers / "wandb-run.txt").unlink()
    (run.trackers / "wandb" / "debug.log").unlink()
    (run.trackers / "wandb" / "debug.log").symlink_to("../../about.json")
    assert find_link(run) == "trackers/wandb/debug.log"
    (run.trackers / "wandb" / "debug.log").unlink()
    (run.trackers / "wandb" / "debug.log").symlink_to("debug.log")
    assert find_link(run) == "trackers/wandb/debug.log"


def test_linked_folder_of_runs_needs_consent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_STUDIO_CONFIG", str(tmp_path / "config"))
    draft = project.create(tmp_path / "p", "p")
    accept_project(draft)
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "p" / "runs").symlink_to(disk)
    with pytest.raises(ProblemError) as raised:
        folder.create_run(tmp_path / "p" / "runs", Project(name="p"), tmp_path / "p")
    assert raised.value.problems[0].code == "run.runs_link"
    assert not any(disk.iterdir())
    accept_project(draft)
    run = folder.create_run(tmp_path / "p" / "runs", Project(name="p"), tmp_path / "p")
    assert (disk / run.path.name).is_dir()


def test_folder_of_runs_may_be_a_link_within_the_project(tmp_path: Path) -> None:
    (tmp_path / "p" / "data").mkdir(parents=True)
    (tmp_path / "p" / "runs").symlink_to("data")
    assert folder.create_run(tmp_path / "p" / "runs", Project(name="p"), tmp_path / "p")
