"""Out of memory under real limits: training restarts with smaller micro-batches and reports it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lora_studio.client import worker as client_worker
from lora_studio.client.oom_supervisor import RestartingWorker, start_guard
from lora_studio.client.watched_run import WatchedRun
from lora_studio.client.worker import Command, Link, iter_until_ended
from lora_studio.core.curves import metrics
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import memory_limits
from tests.helpers.models.tiny_models import tiny_model

MB = 1 << 20


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group (version 1 or 2, whichever has a memory controller) below this process's own."""
    own = memory_limits.list_control_groups()
    if not own:
        pytest.skip("no control group accounts for memory here")
    folder = own[0].folder / f"lora-studio-test-{os.getpid()}"
    try:
        folder.mkdir()
        if not (folder / "cgroup.procs").exists() or _limit_file(folder) is None:
            folder.rmdir()
            pytest.skip(f"groups below {own[0].folder} account for no memory")
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error.strerror}")
    yield folder
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            folder.rmdir()
            return
        except OSError:
            time.sleep(0.1)


def _limit_file(folder: Path) -> Path | None:
    names = ("memory.max", "memory.limit_in_bytes")
    return next((folder / name for name in names if (folder / name).exists()), None)


def _set_limit(folder: Path, size: int) -> None:
    file = _limit_file(folder)
    assert file is not None
    file.write_text(str(size))


def _inside(folder: Path, command: list[str]) -> str:
    """Return a command line that first moves its process into the group."""
    script = f"echo $$ > {shlex.quote(str(folder / 'cgroup.procs'))}; exec {shlex.join(command)}"
    return shlex.join(["sh", "-c", script])


#: A worker that allocates memory until it is killed. It waits for the file `go` in its run, so that the
#: supervisor sees that it has joined the group before the kill is counted there.
GREEDY = """
import os, sys, time
from pathlib import Path
from lora_studio import __version__
from lora_studio.core.protocol import commands, events
def say(event):
    sys.stdout.write(events.to_line(event) + "\\n"); sys.stdout.flush()
say(events.Hello(app_version=__version__, pid=os.getpid()))
command = commands.parse(sys.stdin.readline())
say(events.TrainingStarted(id=command.id, steps=9, steps_per_epoch=9, effective_batch=4))
if command.lower:
    say(events.LogLine(id=command.id, text="lower"))
    say(events.Done(id=command.id))
    sys.exit()
while not Path(command.run, "go").exists():
    time.sleep(0.02)
held = []
while True:
    held.append(b"x" * 10_000_000)
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setenv("LORA_STUDIO_LOGS", str(tmp_path / "logs"))
    return run_folder.create_run(tmp_path / "runs", Project(name="x"), tmp_path)


def _train(run: RunFolder) -> list[events.Event]:
    """Return all events of a training; the worker continues once it has reported its start."""
    sent = []
    command = commands.Train(run=str(run.path))
    for event in client_worker.perform(command, start=RestartingWorker.start):
        sent.append(event)
        if isinstance(event, events.TrainingStarted):
            (run.path / "go").touch()
    return sent


@pytest.mark.slow
def test_oom_killed_worker_restarts_with_lower_memory(
    group: Path, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set_limit(group, 300 * MB)
    script = tmp_path / "greedy.py"
    script.write_text(GREEDY)
    monkeypatch.setenv("LORA_STUDIO_ENGINE", _inside(group, [sys.executable, str(script)]))
    sent = _train(run)
    kinds = [event.kind for event in sent]
    assert kinds == ["hello", "training_started", "warned", "hello", "training_started", "log", "done"]  # fmt: skip
    warned = next(event for event in sent if isinstance(event, events.Warned))
    assert warned.problem.code == "worker.out_of_memory"
    assert "because memory ran out" in str(warned.problem.what)
    assert "attempt 1 of 6" in str(warned.problem.remedy)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSEGV])
def test_killed_worker_is_not_restarted_or_blamed_on_memory(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: signal.Signals
) -> None:
    script = tmp_path / "killed.py"
    loop = f"os.kill(os.getpid(), {int(end)})"
    script.write_text(GREEDY.replace('held.append(b"x" * 10_000_000)', loop))
    monkeypatch.setenv("LORA_STUDIO_ENGINE", shlex.join([sys.executable, str(script)]))
    sent = _train(run)
    assert isinstance(sent[-1], events.Failed)
    assert sent[-1].problem.code == "worker.crashed"
    assert "memory" not in str(sent[-1].problem)


def test_canceled_training_is_not_restarted(
    group: Path, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set_limit(group, 300 * MB)
    script = tmp_path / "greedy.py"
    script.write_text(GREEDY)
    monkeypatch.setenv("LORA_STUDIO_ENGINE", _inside(group, [sys.executable, str(script)]))
    command = commands.Train(run=str(run.path))
    worker = RestartingWorker.start(run)
    worker.send(command)
    worker.cancel(command.id)
    (run.path / "go").touch()
    sent = list(iter_until_ended(worker, command.id))
    assert isinstance(sent[-1], events.Cancelled)


#: A real worker whose training waits for a file and then allocates memory until it is killed.
ALONE = """
import sys, time
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine import worker
from pathlib import Path
def train(command, job):
    run = RunFolder(Path(command.run))
    job.emit(events.TrainingStarted(steps=9, steps_per_epoch=9, effective_batch=4))
    if command.resume:
        job.emit(events.LogLine(text=f"resumed, lower: {command.lower}"))
        return events.Done()
    while not (run.path / "go").exists():
        time.sleep(0.02)
    held = []
    while True:
        held.append(b"x" * 10_000_000)
worker.main(train)
"""


@pytest.fixture
def hungry_train(
    group: Path, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """The command of a training whose worker runs out of memory once its run has a file `go`."""
    _set_limit(group, 300 * MB)
    script = tmp_path / "alone.py"
    script.write_text(ALONE)
    monkeypatch.setenv("LORA_STUDIO_ENGINE", _inside(group, [sys.executable, str(script)]))
    return commands.Train(run=str(run.path))


def _start_training(worker: Link, command: Command) -> None:
    worker.send(command)
    for event in worker.iter_events():
        if isinstance(event, events.TrainingStarted):
            return


def _until(is_so: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def _log_texts(run: RunFolder) -> list[str]:
    return [str(event.text) for event in run.iter_events() if isinstance(event, events.LogLine)]


@pytest.mark.slow
def test_detached_training_restarts_with_less_memory_after_oom(
    hungry_train: Command, run: RunFolder
) -> None:
    window = RestartingWorker.start(run)
    _start_training(window, hungry_train)
    assert run.is_guarded()
    window.detach()
    _until(run.is_guarded)  # by a process of its own now
    watched = WatchedRun(run)
    (run.path / "go").touch()
    kinds = [event.kind for event in watched.iter_events()]
    assert kinds == ["started", "training_started", "started", "training_started", "log", "done"]
    assert _log_texts(run) == ["resumed, lower: True"]
    _until(lambda: not run.is_guarded())


#: A window in a process of its own.
WINDOW = """
import sys
from lora_studio.client import worker as client
from lora_studio.core.protocol import commands
from lora_studio.client.oom_supervisor import RestartingWorker
for _ in client.perform(commands.Train(run=sys.argv[1]), start=RestartingWorker.start):
    pass
"""


@pytest.mark.slow
def test_training_of_killed_window_restarts_after_oom(
    hungry_train: Command, run: RunFolder
) -> None:
    del hungry_train  # the window sends its own
    window = subprocess.Popen([sys.executable, "-W", "ignore", "-c", WINDOW, str(run.path)])
    _until(lambda: any(isinstance(event, events.TrainingStarted) for event in run.iter_events()))
    window.kill()
    window.wait()
    _until(run.is_guarded)  # by a process that the worker has started
    (run.path / "go").touch()
    _until(lambda: _log_texts(run) == ["resumed, lower: True"])
    _until(lambda: not run.is_guarded() and not run.is_running())
    assert run.read_state() == "trained"


@pytest.mark.slow
def test_start_guard_restarts_detached_training_after_oom(
    hungry_train: Command, run: RunFolder
) -> None:
    window = client_worker.Worker.start(run)
    _start_training(window, hungry_train)
    window.detach()
    assert not run.is_guarded()
    start_guard(run)
    _until(run.is_guarded)
    (run.path / "go").touch()
    _until(lambda: _log_texts(run) == ["resumed, lower: True"])
    _until(lambda: not run.is_guarded())


@pytest.mark.slow
def test_resume_after_unguarded_oom_uses_less_memory_once(
    hungry_train: Command, run: RunFolder
) -> None:
    window = client_worker.Worker.start(run)
    _start_training(window, hungry_train)
    window.detach()
    (run.path / "go").touch()
    _until(lambda: not run.is_running())
    last_event = list(WatchedRun(run).iter_events())[-1]
    assert isinstance(last_event, events.Failed)
    assert last_event.problem.code == "worker.out_of_memory"
    list(client_worker.perform(commands.Train(run=str(run.path), resume=True)))
    assert _log_texts(run) == ["resumed, lower: True"]
    list(client_worker.perform(commands.Train(run=str(run.path), resume=True)))
    assert _log_texts(run)[1:] == ["resumed, lower: False"], "once is enough"


@pytest.mark.slow
def test_killed_detached_training_is_not_restarted(hungry_train: Command, run: RunFolder) -> None:
    window = RestartingWorker.start(run)
    _start_training(window, hungry_train)
    window.detach()
    _until(run.is_guarded)
    pid = run.worker_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    _until(lambda: not run.is_guarded())
    assert run.read_state() == "interrupted"
    last_event = list(WatchedRun(run).iter_events())[-1]
    assert isinstance(last_event, events.Failed)
    assert last_event.problem.code == "worker.crashed"


def test_kill_count_from_before_reboot_is_ignored() -> None:
    before = memory_limits.read_kill_counts()
    assert not memory_limits.has_risen(before)
    if (count := before["all"]) is None:
        pytest.skip("the system counts no such ends")
    less = before | {"group": None, "all": count - 1}
    assert memory_limits.has_risen(less)
    assert not memory_limits.has_risen(less | {"boot": "another"})
    gone = before | {"group": ["/sys/fs/cgroup/gone", 2, 0], "all": count - 1}
    assert memory_limits.has_risen(gone), "without the group, the count of the whole system decides"
    for nonsense in (None, {}, [], before | {"group": ["x"]}):
        assert not memory_limits.has_risen(nonsense)


def test_group_limit_and_usage_are_read(group: Path) -> None:
    _set_limit(group, 200 * MB)
    code = (
        "from lora_studio.core.system import memory_limits; own = memory_limits.list_control_groups();"
        "held = b'x' * 50_000_000; print(own[0].read_limit(), own[0].read_held())"
    )
    line = _inside(group, [sys.executable, "-c", code])
    result = subprocess.run(shlex.split(line), capture_output=True, text=True, check=True)
    limit, held = map(int, result.stdout.split())
    assert limit == 200 * MB
    assert 50_000_000 <= held <= 150_000_000


WATCHED = """
import sys, time, torch
from lora_studio.core.system import memory_limits
from lora_studio.engine.devices.oom_capture import MemoryPressureError
from lora_studio.engine.training.memory.watch import MemoryWatch
(group, *_) = memory_limits.list_control_groups()
with MemoryWatch(torch.device("cpu")) as watch:
    time.sleep(0.2)
    watch.check()
    held = torch.ones(int(0.95 * group.read_limit() - group.read_held()) // 4)
    while not watch.is_exceeded:
        time.sleep(0.02)
    del held  # a short peak counts too
    try:
        watch.check()
    except MemoryPressureError as error:
        print(error)
    watch.reset()
    watch.check()
"""


@pytest.mark.slow
def test_memory_watch_raises_near_group_limit(group: Path) -> None:
    _set_limit(group, 1500 * MB)
    line = _inside(group, [sys.executable, "-W", "ignore", "-c", WATCHED])
    result = subprocess.run(shlex.split(line), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    expected_message = r"Out of memory: 1\.[2-5] GiB of the 1\.5 GiB limit of the control group \(cgroup\) is in use"
    assert re.match(expected_message, result.stdout), result.stdout


# --- the real worker ------------------------------------------------------------------------------


ROWS = [
    {"instruction": f"Count to {n}.", "output": " ".join(map(str, range(n % 40 + 200)))}
    for n in range(64)
]


@pytest.fixture
def start(tmp_path: Path, run: RunFolder) -> Callable[..., RunFolder]:
    """Create runs of 2 steps of 64 long rows, whose activations need far more memory than the model."""
    model = tiny_model("llama3", tmp_path / "model")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))

    def make() -> RunFolder:
        frozen = Project.model_validate(
            {
                "name": "limited",
                "model": {"source": str(model), "precision": "fp32", "device": "cpu"},
                "lora": {"rank": 4},
                "dataset": {"sources": [str(rows)], "validation_share": 0.0, "max_length": 2048},
                "training": {"micro_batch": 64, "gradient_accumulation": 1, "max_steps": 2},
            }
        )
        return run_folder.create_run(tmp_path / "runs", frozen, tmp_path)

    return make


def _perform(run: RunFolder) -> list[events.Event]:
    return list(
        client_worker.perform(commands.Train(run=str(run.path)), start=RestartingWorker.start)
    )


@pytest.mark.slow
@pytest.mark.thorough
def test_real_limit_shrinks_micro_batches_and_keeps_loss_curve(
    start: Callable[..., RunFolder], group: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, limited = start(), start()
    free = _perform(whole)
    assert isinstance(free[-1], events.Done)
    peak = max(event.memory_bytes for event in free if isinstance(event, events.StepDone))
    rest = next(event for event in free if isinstance(event, events.TrainingStarted))
    assert rest.step == 0
    # Between an idle worker (about 500 MB with its libraries) and the peak of the whole batch; nearer to
    # the first, because part of the peak is file cache that the system can drop.
    _set_limit(group, (1000 * MB + peak) // 3)
    engine = client_worker.get_engine_command()
    monkeypatch.setenv("LORA_STUDIO_ENGINE", _inside(group, engine))
    sent = _perform(limited)
    assert isinstance(sent[-1], events.Done), sent[-1]
    recovered = [event for event in sent if isinstance(event, events.Recovered)]
    assert recovered
    assert recovered[-1].micro_batch < 64
    print(peak // MB, [(event.micro_batch, event.why) for event in recovered])
    losses, expected = metrics.read_metrics(limited).loss, metrics.read_metrics(whole).loss
    assert losses == pytest.approx(expected, rel=1e-4)
    assert limited.read_manifest()["memory"]["micro_batch"] == recovered[-1].micro_batch


@pytest.mark.slow
@pytest.mark.thorough
def test_address_space_limit_shrinks_micro_batches(
    start: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform != "linux":
        pytest.skip("address space is limited on Linux alone")
    probe = "import torch, transformers, peft; print(open('/proc/self/statm').read().split()[0])"
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", probe], capture_output=True, text=True, check=True)  # fmt: skip
    idle = int(result.stdout.split()[-1]) * os.sysconf("SC_PAGE_SIZE")
    engine = shlex.join(client_worker.get_engine_command())
    limit = (idle + 1200 * MB) // 1024
    monkeypatch.setenv("LORA_STUDIO_ENGINE", shlex.join(["sh", "-c", f"ulimit -v {limit}; exec {engine}"]))  # fmt: skip
    sent = _perform(start())
    assert isinstance(sent[-1], events.Done), sent[-1]
    assert any(isinstance(event, events.Recovered) for event in sent)
