"""Pausing a training run: at any moment, from any source, without a trace after resuming."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lora_studio.client import worker as client_worker
from lora_studio.client.watched_run import WatchedRun
from lora_studio.client.worker import iter_until_ended
from lora_studio.core.curves import metrics
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.events import Event
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.runtime.channel import Flags
from lora_studio.engine.runtime.failures import to_problem
from tests.engine.conftest import TinyModel
from tests.helpers.runs.jobs import RecordingChannel, new_run, train, write_rows

ROWS = [
    {"instruction": f"What is {n} and {n}?", "output": f"It is {n + n}, said Pim."}
    for n in range(24)
]
Start = Callable[..., RunFolder]


@pytest.fixture(scope="module")
def start(tiny: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Create runs of 12 steps on a tiny model, with dropout and an evaluation every 4 steps."""
    tmp_path = tmp_path_factory.mktemp("pause")
    file = write_rows(tmp_path / "rows.jsonl", ROWS)

    def make(**training: Any) -> RunFolder:
        recipe = {"epochs": 2.4, "micro_batch": 2, "gradient_accumulation": 2, "learning_rate": 5e-3,
                  "eval_every": 4, "save_every": 5}  # fmt: skip
        return new_run(
            tmp_path,
            model={"source": str(tiny("llama3")), "precision": "fp32", "device": "cpu"},
            dataset={"sources": [str(file)], "validation_share": 0.2, "max_length": 256},
            training=recipe | training,
            lora={"rank": 4, "alpha": 8, "dropout": 0.2},
        )

    return make


def pausing(at: Callable[[Event], bool]) -> Callable[[Event, Flags], None]:
    """Return a listener that pauses at an event."""
    return lambda event, flags: flags.pause.set() if at(event) else None


def is_step(number: int) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, events.StepDone) and event.step == number


def assert_same_outcome(run: RunFolder, expected: RunFolder) -> None:
    """Check for bit-identical metrics, each step once, and the same adapter."""
    actual, whole = metrics.read_metrics(run), metrics.read_metrics(expected)
    for name in ("loss", "grad_norm", "learning_rate", "tokens", "epoch"):
        assert actual.steps.get(name) == whole.steps.get(name), name
    assert actual.evaluations.get("loss") == whole.evaluations.get("loss")
    name = "adapter_model.safetensors"
    trained, reference = load_file(run.adapter / name), load_file(expected.adapter / name)
    assert all(torch.equal(value, reference[key]) for key, value in trained.items())


@pytest.fixture(scope="module")
def unbroken(start: Start) -> RunFolder:
    run = start()
    train(run)
    return run


@pytest.mark.parametrize(
    "step", [pytest.param(1, marks=pytest.mark.slow), pytest.param(7, marks=pytest.mark.slow), 12]
)
def test_resume_after_pause_matches_an_unbroken_run(
    start: Start, unbroken: RunFolder, step: int
) -> None:
    run = start()
    channel = train(run, pausing(is_step(step)))
    assert channel.last(events.Done).paused
    assert run.read_state() == "paused"
    assert channel.of(events.StepDone)[-1].step == step
    assert run.list_checkpoint_steps()[-1] == step
    assert not run.adapter.exists()
    rest = train(run, resume=True)
    assert rest.last(events.TrainingStarted).step == step
    assert not rest.last(events.Done).paused
    assert_same_outcome(run, unbroken)


@pytest.mark.slow
def test_pause_skips_an_evaluation_that_resume_makes_up_for(
    start: Start, unbroken: RunFolder
) -> None:
    run = start()
    channel = train(run, pausing(lambda event: isinstance(event, events.Progress)
                                 and str(event.stage) == "evaluating"))  # fmt: skip
    assert channel.last(events.Done).paused
    assert not channel.of(events.Evaluated)
    assert train(run, resume=True).of(events.Evaluated)[0].step == 4
    assert_same_outcome(run, unbroken)


@pytest.mark.slow
def test_pause_before_the_first_step_loses_nothing(start: Start, unbroken: RunFolder) -> None:
    run = start()
    channel = train(run, pausing(lambda event: isinstance(event, events.ModelLoaded)))
    assert channel.last(events.Done).paused
    assert not channel.of(events.StepDone)
    assert run.read_state() == "paused"
    train(run, resume=True)
    assert_same_outcome(run, unbroken)


@pytest.mark.slow
def test_checkpoints_can_follow_a_time_interval(start: Start) -> None:
    run = start(save_every=0, save_minutes=1e-6, keep_checkpoints=20)
    assert len(train(run).of(events.CheckpointSaved)) == 12


# --- damaged files and full disks -------------------------------------------------------------


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


def _halve(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _zero(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


@pytest.mark.parametrize("tear", [_flip, _halve, _zero, Path.unlink])
@pytest.mark.parametrize(
    "name", ["training.pt", "adapter_model.safetensors", "adapter_config.json", "checkpoint.json"]
)
def test_damaged_checkpoint_falls_back_to_the_one_before(
    start: Start, unbroken: RunFolder, name: str, tear: Callable[[Path], None], tmp_path: Path
) -> None:
    from lora_studio.engine.training import checkpoint_files
    from tests.helpers.runs.jobs import make_job

    copy = RunFolder(tmp_path / "torn")
    shutil.copytree(unbroken.path, copy.path)
    assert copy.list_checkpoint_steps() == [10, 12]
    tear(copy.checkpoint(12) / name)
    channel = RecordingChannel()
    checkpoint = checkpoint_files.read_last_complete(copy, make_job(channel))
    assert checkpoint is not None
    assert checkpoint.step == 10
    assert channel.last(events.Warned).problem.code == "training.checkpoint_damaged"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc has a file whose reading fails")
@pytest.mark.parametrize("name", ["training.pt", "checkpoint.json"])
def test_checkpoint_on_a_failing_disk_is_not_given_up(
    start: Start, unbroken: RunFolder, name: str, tmp_path: Path
) -> None:
    from lora_studio.engine.training import checkpoint_files
    from tests.helpers.runs.jobs import make_job

    copy = RunFolder(tmp_path / "unreadable")
    shutil.copytree(unbroken.path, copy.path)
    (copy.checkpoint(12) / name).unlink()
    (copy.checkpoint(12) / name).symlink_to("/proc/self/mem")
    with pytest.raises(ProblemError) as caught:
        checkpoint_files.read_last_complete(copy, make_job(RecordingChannel()))
    problem = to_problem(caught.value, "Training")
    assert problem.code == "disk.failing"
    assert problem.where.file == str(copy.checkpoint(12))


def test_new_checkpoint_replaces_a_later_damaged_one(tmp_path: Path) -> None:
    from lora_studio.engine.training import checkpoint_files

    run = RunFolder(tmp_path)
    for step in (10, 15, 20):
        run.checkpoint(step).mkdir(parents=True)
    checkpoint_files.delete_outdated_checkpoints(run, last=15, keep=1)
    assert run.list_checkpoint_steps() == [15]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
def test_full_disk_pauses_and_keeps_the_earlier_checkpoint(
    start: Start, unbroken: RunFolder, small_disk: Path, request: pytest.FixtureRequest
) -> None:
    run = start()
    run.checkpoints.mkdir()
    subprocess.run(["mount", "--bind", str(small_disk), str(run.checkpoints)], check=True)
    request.addfinalizer(lambda: subprocess.run(["umount", "-l", str(run.checkpoints)], check=True))
    filler = small_disk / "filler"

    def fill(event: Event, flags: Flags) -> None:
        if isinstance(event, events.CheckpointSaved):
            room = shutil.disk_usage(small_disk).free
            filler.write_bytes(bytes(max(0, room - 40_000)))

    channel = train(run, fill)
    assert channel.last(events.Done).paused
    problem = channel.last(events.Warned).problem
    assert (problem.code, problem.severity) == ("disk.full", "warning")
    assert "from step 5" in str(problem.remedy)
    assert run.list_checkpoint_steps() == [5]
    filler.unlink()
    train(run, resume=True)
    assert_same_outcome(run, unbroken)


# --- a worker of its own ----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("how", ["pause", "sigterm", "mailbox"])
def test_worker_pauses_on_command_signal_or_mailbox(
    start: Start, how: str, request: pytest.FixtureRequest
) -> None:
    if how != "sigterm":  # a signal is sent to the process that was started
        request.getfixturevalue("quick_workers")
    run = start(epochs=400)
    command = commands.Train(run=str(run.path))
    worker = client_worker.Worker.start(run)
    worker.send(command)
    ending: Event | None = None
    sent = False
    for event in iter_until_ended(worker, command.id):
        if isinstance(event, events.StepDone) and event.step >= 3 and not sent:
            sent = True
            match how:
                case "pause":
                    worker.send(commands.Pause(target=command.id))
                case "mailbox":
                    WatchedRun(run).send(commands.Pause(target=command.id))
                case _:
                    os.kill(worker.pid, signal.SIGTERM)
        if isinstance(event, events.Ending):
            ending = event
    assert isinstance(ending, events.Done)
    assert ending.paused
    assert worker.wait(120) == 0
    assert run.read_state() == "paused"
    assert run.list_checkpoint_steps()[-1] == metrics.read_metrics(run).last_step
