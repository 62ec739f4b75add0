"""Files that can't be read at the moment aren't damaged: they are never set aside or replaced."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lora_studio.core.problems import ProblemError
from lora_studio.core.project.project import Draft, Project
from lora_studio.core.runs import checksums, manifest, queue
from lora_studio.core.runs.annotations import RunAnnotations
from lora_studio.core.runs.folder import RunFolder, create_run
from lora_studio.core.system import consent, foreign_files, paths
from lora_studio.core.system.locks import FileLock
from tests.helpers.accepted_projects import accept_project

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uses limits on open files")


@contextmanager
def no_more_open_files() -> Iterator[None]:
    """Let every further opening of a file fail, as a disk with an error does."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = create_run(tmp_path / "runs", Project(name="x"), tmp_path)
    run.write_about(RunAnnotations(title="mine"))
    queue.add(run.path.parent, [queue.QueuedRun(run=run.path.name)])
    return run


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda run: run.write_about(RunAnnotations(title="new")), id="notes"),
        pytest.param(lambda run: run.update_manifest(name="new"), id="manifest"),
        pytest.param(lambda run: manifest.repair(run.manifest_file), id="repair of the manifest"),
        pytest.param(lambda run: queue.set_paused(run.path.parent, True), id="queue"),
        pytest.param(lambda run: consent.revoke("0"), id="consents"),
    ],
)
def test_unreadable_file_is_not_replaced(
    run: RunFolder, change: Callable[[RunFolder], object]
) -> None:
    consents = paths.get_config_folder() / "trusted_code.json"
    consents.parent.mkdir(parents=True, exist_ok=True)
    consents.write_text('{"0": {"kind": "model"}, "1": {}}')
    files = (run.about_file, run.manifest_file, run.path.parent / queue.FILE, consents)
    before = [file.read_bytes() for file in files]
    foreign_files.collect_notices()
    with no_more_open_files(), pytest.raises((OSError, ProblemError)):
        change(run)
    assert [file.read_bytes() for file in files] == before
    assert not foreign_files.collect_notices()


def test_unreadable_file_is_not_reported_as_damaged(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [run.heldout_file.name]
    run.heldout_file.write_text('{"text": "x"}\n')
    checksums.record_checksums(run, run.path, names)
    recorded = run.read_manifest()
    monkeypatch.setattr(RunFolder, "read_manifest", lambda _: recorded)
    os.utime(run.heldout_file, ns=(1, 1))  # so that it is read again
    with no_more_open_files(), pytest.raises(OSError, match="Too many open files"):
        checksums.find_damage(run, run.path, names=names)
    run.heldout_file.unlink()
    assert "is missing" in str(checksums.find_damage(run, run.path, names=names))


def test_unreadable_queue_stays_under_its_lock(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileLock, "acquire", lambda *_: True)
    before = (run.path.parent / queue.FILE).read_bytes()
    with no_more_open_files(), pytest.raises(ProblemError, match="Too many open files"):
        queue.set_paused(run.path.parent, True)
    assert (run.path.parent / queue.FILE).read_bytes() == before


@pytest.mark.skipif(sys.platform != "linux", reason="/proc has a file whose reading fails")
def test_unreadable_list_of_accepted_projects_stays(tmp_path: Path) -> None:
    file = paths.get_config_folder() / "known_projects.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    file.symlink_to("/proc/self/mem")
    try:
        draft = Draft(name="Pim")
        draft.save(tmp_path / "pim.lorastudio")
        accept_project(draft)
        assert file.is_symlink()
    finally:
        file.unlink()
