"""The real worker: its protocol, and what happens to a run when a process dies."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lora_studio.client import worker as client_worker
from lora_studio.client.watched_run import WatchedRun
from lora_studio.client.worker import Worker, find_unfinished_command, iter_until_ended
from lora_studio.core import limits
from lora_studio.core.chat import AdapterChatModel, ChatQuestion
from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.chat import ServedRun
from lora_studio.core.runs import folder
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.tasks.samples import Message
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine import worker
from lora_studio.engine.runtime.channel import Inbox, JobContext
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.runs.jobs import RecordingChannel

ROWS = [
    {"messages": [{"role": "user", "content": f"Question {n}?"},
                  {"role": "assistant", "content": f"Answer {n * n}."}]}
    for n in range(40)
]  # fmt: skip


@pytest.fixture(autouse=True)
def _logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_STUDIO_LOGS", str(tmp_path / "logs"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model("qwen3", tmp_path_factory.mktemp("model"))


@pytest.fixture
def long_run(tmp_path: Path, model: Path) -> RunFolder:
    """A training run with so many steps that it ends only when stopped."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    frozen = Project.model_validate(
        {
            "name": "long",
            "model": {"source": str(model), "precision": "fp32"},
            "lora": {"rank": 2},
            "dataset": {"sources": [str(rows)], "max_length": 64},
            "training": {"epochs": 1000, "micro_batch": 2, "gradient_accumulation": 1,
                         "save_every": 3},
        }
    )  # fmt: skip
    return folder.create_run(tmp_path / "runs", frozen, tmp_path)


def _ask(command: commands.Question) -> list[events.Event]:
    worker = Worker.start()
    worker.send(command)
    return list(iter_until_ended(worker, command.id))


def _until_step(stream: Iterator[events.Event], step: int) -> None:
    for event in stream:
        if isinstance(event, events.Failed):
            pytest.fail(str(event.problem))
        if isinstance(event, events.StepDone) and event.step >= step:
            return


def _last_step(run: RunFolder) -> int:
    return max(event.step for event in run.iter_events() if isinstance(event, events.StepDone))


@pytest.mark.slow
@pytest.mark.usefixtures("quick_workers")
def test_question_is_answered_between_started_and_done() -> None:
    command = commands.InspectDevices()
    sent = _ask(command)
    assert [event.kind for event in sent] == ["hello", "started", "devices_found", "done"]
    assert {event.id for event in sent[1:]} == {command.id}


@pytest.mark.slow
@pytest.mark.usefixtures("quick_workers")
def test_failed_question_does_not_block_the_next(tmp_path: Path) -> None:
    worker = Worker.start()
    bad = commands.InspectModel(model=ModelSpec(source=str(tmp_path / "nowhere")))
    good = commands.InspectDevices()
    worker.send(bad)
    worker.send(good)
    endings = {
        event.id: event
        for event in iter_until_ended(worker, good.id)
        if isinstance(event, events.Ending)
    }
    assert isinstance(endings[bad.id], events.Failed)
    assert isinstance(endings[good.id], events.Done)


def test_stdout_carries_only_events() -> None:
    code = (
        "import os, ctypes\n"
        "from lora_studio.core.protocol import events\n"
        "from lora_studio.engine.runtime.channel import Channel\n"
        "channel = Channel()\n"
        "print('stray print'); os.write(1, b'stray bytes\\n')\n"
        "ctypes.CDLL(None).puts(b'stray puts'); ctypes.CDLL(None).fflush(None)\n"
        "channel.emit(events.LogLine(text='meant')); channel.drain()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    (line,) = result.stdout.splitlines()
    assert json.loads(line)["text"]["template"] == "meant"
    for stray in ("stray print", "stray bytes", "stray puts"):
        assert stray in result.stderr


def test_settings_of_pytorch_are_set_before_it_is_imported() -> None:
    code = (
        "import os, sys\n"
        "from lora_studio.core.protocol import events\n"
        "from lora_studio.engine import worker\n"
        "def run(command, job):\n"
        "    found = os.environ.get('TORCH_DISABLE_NATIVE_JIT'), 'torch' in sys.modules\n"
        "    job.emit(events.LogLine(text=str(found)))\n"
        "    return events.Done()\n"
        "worker.main(run)\n"
    )
    name = "TORCH_DISABLE_NATIVE_JIT"
    environment = {key: value for key, value in os.environ.items() if key != name}
    result = subprocess.run(
        [sys.executable, "-c", code], input=commands.InspectDevices().model_dump_json() + "\n",
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    assert "('1', False)" in result.stdout


@pytest.mark.slow
def test_killed_worker_is_reported_and_its_run_resumes(long_run: RunFolder) -> None:
    command = commands.Train(run=str(long_run.path))
    workers: list[Worker] = []
    stream = client_worker.perform(command, workers.append)
    _until_step(stream, 7)
    os.kill(workers[0].pid, signal.SIGKILL)
    last = list(stream)[-1]
    assert isinstance(last, events.Failed)
    assert last.problem.code == "worker.crashed"
    assert long_run.read_state() == "interrupted"

    resume_command = commands.Train(run=str(long_run.path), resume=True)
    stream = client_worker.perform(resume_command, workers.append)
    started = next(event for event in stream if isinstance(event, events.TrainingStarted))
    assert started.step >= 6
    workers[1].send(commands.Stop(target=resume_command.id))
    assert list(stream)[-1] == events.Done(
        id=resume_command.id, stopped=True, time=list(long_run.iter_events())[-1].time
    )
    assert (long_run.adapter / "adapter_model.safetensors").is_file()
    assert long_run.read_state() == "trained"


@pytest.mark.slow
def test_run_outlives_its_parent_and_can_be_watched_and_stopped(
    long_run: RunFolder,
) -> None:
    code = (
        "import sys\nfrom lora_studio.client import worker as client\nfrom lora_studio.core.protocol import commands\n"
        "for event in client.perform(commands.Train(run=sys.argv[1])): print(event.kind, flush=True)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(long_run.path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent.stdout:
        for line in parent.stdout:
            if line.strip() == "step_done":
                break
        parent.kill()
    parent.wait()
    pid = long_run.worker_pid()
    assert pid is not None

    watched = WatchedRun(long_run)
    before = _last_step(long_run)
    stream = watched.iter_events()
    _until_step(stream, before + 5)
    target = find_unfinished_command(long_run)
    assert target is not None
    watched.send(commands.Stop(target=target))
    last = list(stream)[-1]
    assert isinstance(last, events.Done)
    assert last.stopped
    assert (long_run.adapter / "adapter_model.safetensors").is_file()
    deadline = time.monotonic() + 300
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the worker did not end after its run"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_workers")
def test_run_never_gets_two_workers(long_run: RunFolder) -> None:
    command = commands.Train(run=str(long_run.path))
    workers: list[Worker] = []
    stream = client_worker.perform(command, workers.append)
    _until_step(stream, 1)
    second = list(client_worker.perform(commands.Train(run=str(long_run.path), resume=True)))[-1]
    assert isinstance(second, events.Failed)
    assert second.problem.code == "run.busy"
    workers[0].cancel(command.id)
    assert isinstance(list(stream)[-1], events.Cancelled)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_workers")
def test_cancel_is_obeyed_and_keeps_checkpoints(
    long_run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "CANCEL_SECONDS", 600)  # no enforcement during the test
    command = commands.Train(run=str(long_run.path))
    workers: list[Worker] = []
    stream = client_worker.perform(command, workers.append)
    _until_step(stream, 4)
    workers[0].cancel(command.id)
    assert isinstance(list(stream)[-1], events.Cancelled)
    assert list(long_run.iter_events())[-1].kind == "cancelled"  # written by the worker itself
    assert long_run.read_state() == "stopped"
    assert long_run.list_checkpoint_steps()


@pytest.mark.slow
@pytest.mark.usefixtures("quick_workers")
def test_pipe_and_file_hold_the_same_events(long_run: RunFolder) -> None:
    command = commands.Train(run=str(long_run.path))
    workers: list[Worker] = []
    sent = []
    for event in client_worker.perform(command, workers.append):
        sent.append(event)
        if isinstance(event, events.StepDone) and event.step == 3:
            workers[0].send(commands.Stop(target=command.id))
    assert sent[1:] == list(long_run.iter_events())


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, "disk.full"), (errno.EIO, "disk.failing")]
)
def test_nameless_error_of_the_disk_names_the_run(number: int, code: str, tmp_path: Path) -> None:
    run = folder.create_run(tmp_path / "runs", Project(name="full"), tmp_path)

    def fail_to_write(command: commands.Job | commands.Question, job: JobContext) -> events.Ending:
        raise OSError(number, "the write failed")

    channel = RecordingChannel()
    worker.handle(commands.Merge(run=str(run.path)), channel, Inbox(lambda _: None), fail_to_write)
    problem = channel.last(events.Failed).problem
    assert (problem.code, problem.where.file) == (code, str(run.path))


@pytest.mark.parametrize("kind", ["chat", "serve"])
def test_nothing_answers_for_a_run_without_consent(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_STUDIO_CONFIG", str(tmp_path / "config"))
    model = ModelSpec(source=str(tmp_path / "elsewhere"))
    home = tmp_path / "p"
    run = folder.create_run(home / "runs", Project(name="p", model=model), home, is_allowed=False)
    question = ChatQuestion(
        chat_model=AdapterChatModel(), messages=(Message(role="user", content="Hi"),)
    )
    command = {
        "chat": commands.AskChat(run=str(run.path), model=model, asked=(question,)),
        "serve": commands.Serve(runs=(ServedRun(run=str(run.path)),)),
    }[kind]
    channel = RecordingChannel()
    worker.handle(
        command, channel, Inbox(lambda command: None), lambda *_: pytest.fail("carried out")
    )
    assert channel.last(events.Failed).problem.code == "run.access_not_allowed"


@pytest.mark.parametrize(
    ("message", "ends"),
    [
        ("CUDA error: device-side assert triggered\nCUDA kernel errors might be", True),
        ("CUDA error: an illegal memory access was encountered", True),
        ("CUDA error: out of memory", False),
        ("CUDA out of memory. Tried to allocate 2.00 GiB.", False),
        ("The size of tensor a (2) must match", False),
    ],
)
def test_worker_ends_once_its_gpu_can_not_be_used(message: str, ends: bool) -> None:
    channel, command = RecordingChannel(), commands.InspectDevices()

    def fail(*_: object) -> events.Ending:
        raise RuntimeError(message)

    inbox = Inbox(lambda _: None)
    assert worker.handle(command, channel, inbox, fail) is ends
    assert len(channel.of(events.Failed)) == 1


def _run_out_of_memory(*_: object) -> events.Ending:
    raise MemoryError


@pytest.mark.parametrize(
    "command",
    [
        commands.Classify(run="none", texts=("A",)),
        commands.PreviewRewards(model=ModelSpec(), dataset=DatasetSpec(), training=TrainingSpec()),
    ],
)
def test_remedy_for_lack_of_memory_is_about_answers(command: commands.Question) -> None:
    channel = RecordingChannel()
    worker.handle(command, channel, Inbox(lambda _: None), _run_out_of_memory)
    problem = channel.last(events.Failed).problem
    assert (problem.code, problem.where.step) == ("device.out_of_memory", "model")
    assert "answers" in str(problem.remedy)
    assert "micro-batch" not in str(problem.remedy)


@pytest.mark.parametrize(
    ("kind", "trains"),
    [
        (commands.Train, True),
        (commands.Merge, False),
        (commands.Export, False),
        (commands.CreateOllama, False),
    ],
)
def test_remedy_names_micro_batches_only_for_a_training(
    kind: type[commands.Train | commands.Merge | commands.Export | commands.CreateOllama],
    trains: bool,
    tmp_path: Path,
) -> None:
    run = folder.create_run(tmp_path / "runs", Project(name="lamp"), tmp_path)
    channel = RecordingChannel()
    worker.handle(kind(run=str(run.path)), channel, Inbox(lambda _: None), _run_out_of_memory)
    problem = channel.last(events.Failed).problem
    assert problem.code == "device.out_of_memory"
    assert ("micro-batch" in str(problem.remedy)) is trains
