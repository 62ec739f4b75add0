"""A disk that fails during training: the reason reaches the user, and nothing that was complete is lost."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lora_studio.client import worker as client_worker
from lora_studio.client.worker import iter_until_ended
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.training import checkpoint_files
from tests.engine.conftest import TinyModel
from tests.engine.training.recipe.test_best_adapter import start  # noqa: F401
from tests.helpers.faults import bad_disk
from tests.helpers.faults.killed_runs import ForkingEngine, new_small_run
from tests.helpers.runs.jobs import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the failing disk is a library for Linux"),
]

ERRORS = {errno.ENOSPC: "disk.full", errno.EDQUOT: "disk.full", errno.EIO: "disk.failing",
          errno.EROFS: "disk.read_only"}  # fmt: skip


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bad_disk.build(tmp_path_factory.mktemp("bad_disk"))


def train_on_bad_disk(
    run: RunFolder, environment: dict[str, str], switch: Path
) -> tuple[events.Ending, list[events.Event]]:
    """Train in a worker whose disk fails from the second step on."""
    worker = client_worker.Worker.start(run, environment)
    command = commands.Train(run=str(run.path))
    seen: list[events.Event] = []
    try:
        worker.send(command)
        for event in iter_until_ended(worker, command.id):
            seen.append(event)
            if isinstance(event, events.StepDone) and event.step == 2:
                switch.touch()
    finally:
        worker.kill()
        worker.close()
    (ending,) = [event for event in seen if isinstance(event, events.Ending)]
    return ending, seen


@pytest.mark.parametrize(
    ("word", "number"),
    [
        ("events.jsonl", errno.ENOSPC),
        pytest.param("events.jsonl", errno.EIO, marks=pytest.mark.thorough),
        ("checkpoints", errno.EDQUOT),
        pytest.param("checkpoints", errno.EROFS, marks=pytest.mark.thorough),
        pytest.param("/runs/", errno.EDQUOT, marks=pytest.mark.thorough),
        pytest.param("/runs/", errno.EIO, marks=pytest.mark.thorough),
        pytest.param("adapter", errno.ENOSPC, marks=pytest.mark.thorough),
        pytest.param("log.txt", errno.EIO, marks=pytest.mark.thorough),
    ],
    ids=lambda value: errno.errorcode.get(value, value),
)
def test_failing_disk_is_named_and_training_resumes(
    start: Callable[..., RunFolder],  # noqa: F811 - the fixture
    library: Path,
    tmp_path: Path,
    word: str,
    number: int,
) -> None:
    run = start(epochs=4, save_every=2)
    switch = tmp_path / "bad"
    environment = bad_disk.environment(library, word, number, switch)
    ending, seen = train_on_bad_disk(run, environment, switch)
    if isinstance(ending, events.Failed):
        assert ending.problem.code == ERRORS[number]
    else:  # paused at the last complete checkpoint, or the damage was only in the log
        warned = [event.problem.code for event in seen if isinstance(event, events.Warned)]
        assert isinstance(ending, events.Done)
        assert word == "log.txt" or (ending.paused and ERRORS[number] in warned)
    for step in run.list_checkpoint_steps():
        checkpoint_files.read_checkpoint(run.checkpoint(step))
    switch.unlink()
    assert train(run, resume=True).of(events.Done)
    assert run.has_adapter


@pytest.fixture(scope="module")
def switch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("switch") / "bad"


@pytest.fixture(scope="module")
def engine(library: Path, switch: Path) -> Iterator[ForkingEngine]:
    new_engine = ForkingEngine(bad_disk.environment(library, "nothing", errno.EIO, switch))
    yield new_engine
    new_engine.close()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("word", "resume"),
    [
        pytest.param("rows.jsonl", False, id="data file"),
        pytest.param("model.safetensors", False, id="model shard"),
        pytest.param("tokenizer.json", False, id="tokenizer"),
        pytest.param("checkpoints", True, id="checkpoint"),
        pytest.param("manifest.json", True, id="manifest"),
    ],
)
def test_file_that_cannot_be_read_is_a_failing_disk(
    engine: ForkingEngine, switch: Path, tiny: TinyModel, tmp_path: Path, word: str, resume: bool
) -> None:
    run = new_small_run(tmp_path, tiny("llama3"), steps=4)
    train_command = commands.Train(run=str(run.path))
    if resume:
        for event in engine.begin(train_command):
            if isinstance(event, events.Hello):
                pid = event.pid
            if isinstance(event, events.CheckpointSaved):
                os.kill(pid, signal.SIGKILL)
    switch.write_text(f"{errno.EIO} {word} 0 r")
    try:
        *_, ending = engine.begin(commands.Train(run=str(run.path), resume=resume))
    finally:
        switch.unlink()
    assert isinstance(ending, events.Failed), ending
    assert ending.problem.code == "disk.failing", ending.problem
    *_, ending = engine.begin(commands.Train(run=str(run.path), resume=resume))
    assert isinstance(ending, events.Done)
