"""The client: whatever happens to a worker, every command gets a final event and the parent survives.

Workers here are small scripts that violate the protocol on purpose; the real worker has its own tests
in tests/engine/test_worker.py.
"""

from __future__ import annotations

import signal
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from lora_studio.client import worker as client_worker
from lora_studio.client.watched_run import WatchedRun
from lora_studio.client.worker import Worker, crash_problem, describe_exit, iter_until_ended
from lora_studio.core import limits
from lora_studio.core.messages import text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.base import NO_PROCESSES
from lora_studio.core.runs import folder
from lora_studio.core.runs.folder import RunFolder

HELLO = "say(events.Hello(app_version=__version__, pid=os.getpid()))"
PREAMBLE = """
import os, subprocess, sys, time
from lora_studio import __version__
from lora_studio.core.protocol import commands, events
def say(event):
    sys.stdout.write(events.to_line(event) + '\\n'); sys.stdout.flush()
def take():
    return commands.parse(sys.stdin.readline())
"""

Engine = Callable[[str], None]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Make a script the engine that workers start from."""

    def install(body: str) -> None:
        script = tmp_path / "engine.py"
        script.write_text(PREAMBLE + textwrap.dedent(body))
        monkeypatch.setenv("LORA_STUDIO_ENGINE", f"{sys.executable} {script}")
        monkeypatch.setenv("LORA_STUDIO_LOGS", str(tmp_path / "logs"))

    return install


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return folder.create_run(tmp_path / "runs", Project(name="x"), tmp_path)


def _problem_code(sent: list[events.Event]) -> str:
    last = sent[-1]
    assert isinstance(last, events.Failed)
    return last.problem.code


def test_command_gets_its_events_and_a_final_event(engine: Engine, run: RunFolder) -> None:
    engine(
        f"{HELLO}\nc = take()\nsay(events.LogLine(id=c.id, text='hm'))\nsay(events.Done(id=c.id))"
    )
    command = commands.Train(run=str(run.path))
    assert [event.kind for event in client_worker.perform(command)] == ["hello", "log", "done"]


def test_worker_exit_without_final_event_is_a_crash(engine: Engine, run: RunFolder) -> None:
    engine(f"{HELLO}\ntake()\nsys.exit(3)")
    sent = list(client_worker.perform(commands.Train(run=str(run.path))))
    assert _problem_code(sent) == "worker.crashed"
    assert isinstance(sent[-1], events.Failed)
    assert "status 3" in str(sent[-1].problem.what)
    assert sent[-1].problem.where.file == str(run.log_file)


def test_killed_worker_is_reported_with_its_signal(engine: Engine, run: RunFolder) -> None:
    engine(f"{HELLO}\ntake()\nos.kill(os.getpid(), 9)")
    sent = list(client_worker.perform(commands.Train(run=str(run.path))))
    assert isinstance(sent[-1], events.Failed)
    assert "SIGKILL" in str(sent[-1].problem.what)
    assert "memory" not in str(sent[-1].problem), "nothing indicates that memory ran out"


def test_children_of_crashed_worker_are_killed(engine: Engine, run: RunFolder) -> None:
    engine(f"""
        {HELLO}
        c = take()
        child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
        say(events.LogLine(id=c.id, text=str(child.pid)))
        os.kill(os.getpid(), 9)
    """)
    sent = list(client_worker.perform(commands.Export(run=str(run.path))))
    pid = next(int(str(event.text)) for event in sent if isinstance(event, events.LogLine))
    deadline = time.monotonic() + 60
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the child outlived its worker"
        time.sleep(0.05)


def test_scratch_files_of_killed_worker_are_removed(engine: Engine, run: RunFolder) -> None:
    engine(f"{HELLO}\ntake()\nos.kill(os.getpid(), 9)")
    run.temporary.mkdir()
    (run.temporary / "half.gguf").write_bytes(b"x")
    list(client_worker.perform(commands.Export(run=str(run.path))))
    assert not run.temporary.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "limit"),
    [
        (commands.Train(run="run"), "CANCEL_SECONDS"),
        (commands.InspectModel(model=ModelSpec(source="m")), "READER_CANCEL"),
        (commands.InspectOllama(), "READER_CANCEL"),
        (commands.SearchModels(text="x"), "READER_CANCEL"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.kind,
)
def test_ignored_cancel_is_enforced_by_killing_worker(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, command: commands.Job, limit: str
) -> None:
    for name in ("CANCEL_SECONDS", "READER_CANCEL"):
        monkeypatch.setattr(limits, name, 0.3 if name == limit else 600)
    engine(f"{HELLO}\nc = take()\nsay(events.Started(id=c.id, command='train'))\ntime.sleep(600)")
    worker = Worker.start()
    worker.send(command)
    sent = []
    for event in iter_until_ended(worker, command.id):
        sent.append(event.kind)
        if isinstance(event, events.Started):
            worker.cancel(command.id)
    assert sent == ["hello", "started", "cancelled"]


def test_stray_output_is_logged_and_invalid_lines_are_skipped(
    engine: Engine, run: RunFolder
) -> None:
    engine(f"""
        {HELLO}
        c = take()
        print('<html>not an event</html>', flush=True)
        print('stray', file=sys.stderr)
        say(events.Done(id=c.id))
    """)
    sent = [event.kind for event in client_worker.perform(commands.Train(run=str(run.path)))]
    assert sent == ["hello", "done"]
    assert "stray" in run.log_file.read_text()


def test_engine_with_other_protocol_version_is_rejected(engine: Engine, run: RunFolder) -> None:
    engine(
        'print(\'{"kind":"hello","protocol":99,"app_version":"9.9","pid":1}\', flush=True)'
        "\ntime.sleep(600)"
    )
    sent = list(client_worker.perform(commands.Train(run=str(run.path))))
    assert _problem_code(sent) == "engine.version"
    assert isinstance(sent[-1], events.Failed)
    assert "9.9" in str(sent[-1].problem.what)


def test_engine_with_other_app_version_is_rejected(engine: Engine, run: RunFolder) -> None:
    engine("say(events.Hello(app_version='0.0.1', pid=os.getpid()))\ntime.sleep(600)")
    sent = list(client_worker.perform(commands.Train(run=str(run.path))))
    assert _problem_code(sent) == "engine.version"


def test_engine_that_cannot_start_raises_problem(
    monkeypatch: pytest.MonkeyPatch, run: RunFolder
) -> None:
    monkeypatch.setenv("LORA_STUDIO_ENGINE", "/nowhere/python")
    with pytest.raises(ProblemError, match="couldn't be started"):
        Worker.start(run)


def test_sending_to_exited_worker_reports_a_crash(engine: Engine, run: RunFolder) -> None:
    engine("sys.exit(1)")
    worker = Worker.start(run)
    worker.wait()
    command = commands.Train(run=str(run.path))
    worker.send(command)
    sent = list(worker.iter_events())
    assert [event.id for event in sent] == [command.id]
    assert _problem_code(sent) == "worker.crashed"


def test_watched_run_replays_events_of_finished_run(run: RunFolder) -> None:
    past = [events.Started(id="a", command="train"), events.LogLine(id="a", text="hm"),
            events.Done(id="a")]  # fmt: skip
    run.events_file.write_text("".join(events.to_line(event) + "\n" for event in past))
    assert list(WatchedRun(run).iter_events()) == past


def test_watched_run_reports_crash_when_worker_vanished(run: RunFolder) -> None:
    run.events_file.write_text(events.to_line(events.Started(id="a", command="train")) + "\n")
    assert _problem_code(list(WatchedRun(run).iter_events())) == "worker.crashed"


def test_watched_run_names_events_that_cannot_be_read(run: RunFolder) -> None:
    run.events_file.unlink(missing_ok=True)
    run.events_file.mkdir()
    assert _problem_code(list(WatchedRun(run).iter_events())) == "run.events_unreadable"


def test_crash_remedy_mentions_checkpoint_only_if_resumable(run: RunFolder) -> None:
    run.events_file.write_text(events.to_line(events.Started(id="a", command="train")) + "\n")
    assert "checkpoint" not in str(crash_problem(text("The worker ended."), run).remedy)
    run.checkpoint(5).mkdir(parents=True)
    assert "the last checkpoint" in str(crash_problem(text("The worker ended."), run).remedy)
    run.events_file.write_text(events.to_line(events.Started(id="b", command="merge")) + "\n")
    assert "checkpoint" not in str(crash_problem(text("The worker ended."), run).remedy)


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
