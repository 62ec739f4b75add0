"""A run whose folder is renamed, moved or deleted while a job uses it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.events import Event
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.runtime import disk
from lora_studio.engine.runtime.channel import Flags
from tests.engine.training.test_best_adapter import start  # noqa: F401
from tests.helpers.runs.jobs import handle, train

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the folder is found through /proc")


class Mover:
    """Moves a run at the first event of a kind."""

    def __init__(self, run: RunFolder, target: Path, kind: type[Event]) -> None:
        """Take the run and where it goes."""
        self.run, self.target, self._kind = run, target, kind
        self.is_moved = False

    def __call__(self, event: Event, _flags: Flags) -> None:
        """Move the run if it is time."""
        if isinstance(event, self._kind) and not self.is_moved:
            self.is_moved = True
            self.run.path.rename(self.target)


def require_no_ghost(run: RunFolder) -> None:
    assert not run.path.exists()


@linux_only
def test_training_continues_in_a_moved_folder(
    start: Callable[..., RunFolder],  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    run, target = start(save_every=2), tmp_path / "elsewhere" / "renamed"
    target.parent.mkdir()
    trained = train(run, Mover(run, target, events.StepDone))
    moved = RunFolder(target)
    assert trained.of(events.Done)
    require_no_ghost(run)
    assert trained.last(events.AdapterSaved).folder == str(moved.adapter)
    assert checksums.find_damage(moved, moved.adapter) is None
    assert moved.list_checkpoint_steps()
    for file in moved.path.rglob("*"):
        if file.is_file() and file.suffix in (".json", ".jsonl", ".toml", ".py", ".txt"):
            assert "/proc/" not in file.read_text("utf-8"), file.name


@pytest.mark.slow
@linux_only
def test_merge_continues_in_a_moved_folder(
    start: Callable[..., RunFolder],  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    run, target = start(epochs=1), tmp_path / "renamed"
    train(run)
    merged = handle(commands.Merge(run=str(run.path)), Mover(run, target, events.ShardWritten))
    assert merged.of(events.Done), merged.of(events.Failed)
    require_no_ghost(run)
    assert merged.last(events.Merged).folder == str(RunFolder(target).merged)
    assert RunFolder(target).has_merged


def test_training_in_a_deleted_folder_ends_with_a_problem(
    start: Callable[..., RunFolder],  # noqa: F811 - the fixture
) -> None:
    run = start(save_every=2)

    def delete(event: Event, _flags: Flags) -> None:
        if isinstance(event, events.StepDone) and run.path.exists():
            shutil.rmtree(run.path)

    trained = train(run, delete)
    assert trained.last(events.Failed).problem.code == "run.moved"
    require_no_ghost(run)


def test_training_leaves_no_ghost_without_descriptors(
    start: Callable[..., RunFolder],  # noqa: F811 - the fixture
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(disk, "DESCRIPTORS", tmp_path / "missing")
    monkeypatch.setattr("lora_studio.engine.runtime.channel.FOLDER_INTERVAL", 0.0)
    run, target = start(save_every=2), tmp_path / "renamed"
    trained = train(run, Mover(run, target, events.StepDone))
    problem = trained.last(events.Failed).problem
    assert problem.code == "run.moved"
    assert str(run.path) in str(problem.what)
    require_no_ghost(run)
