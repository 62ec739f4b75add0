"""Installed engines: the current one, versions, rollback and removal."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_studio import __version__
from lora_studio.client import worker
from lora_studio.core.problems import ProblemError
from lora_studio.setup import engines, folders, operations
from lora_studio.setup.engines import Engine
from lora_studio.setup.folders import EngineRoot
from lora_studio.setup.tools import StopFlag


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineRoot:
    """Return an empty engine root with a space and accents in its path."""
    monkeypatch.setenv(folders.VARIABLE, str(tmp_path / "Zoë Đặng" / "engine"))
    monkeypatch.delenv("LORA_STUDIO_ENGINE", raising=False)
    return folders.get_root()


def make(root: EngineRoot, name: str, **facts: str) -> Engine:
    """Create an engine whose Python is a link to the running one."""
    values = {"variant": "cpu", "app_version": __version__, "python_version": "3.11.7"} | facts
    engine = Engine.model_validate(
        {"name": name, "created": name, "folder": root.engines / name} | values
    )
    engine.python.parent.mkdir(parents=True)
    engine.python.symlink_to(sys.executable)
    engines.write_manifest(engine)
    return engine


def test_new_engine_is_the_newest_after_the_clock_is_set_back(root: EngineRoot) -> None:
    make(root, "a", created="2099-01-01T12:00:00+02:00")
    make(root, "b", created=engines.create_timestamp(root))
    assert [engine.name for engine in engines.list_engines(root)] == ["b", "a"]


def test_without_an_engine_workers_run_in_this_interpreter(root: EngineRoot) -> None:
    assert engines.get_python() is None
    assert worker.get_engine_command()[0] == sys.executable


def test_workers_run_in_the_current_engine(root: EngineRoot) -> None:
    engine = make(root, "cpu-1")
    engines.switch_engine(engine, root)
    assert engines.get_python() == engine.python
    assert worker.get_engine_command() == [str(engine.python), "-P", "-m", "lora_studio.engine"]


def test_environment_variable_overrides_the_current_engine(
    root: EngineRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines.switch_engine(make(root, "cpu-1"), root)
    monkeypatch.setenv("LORA_STUDIO_ENGINE", "my-python -m engine")
    assert worker.get_engine_command() == ["my-python", "-m", "engine"]


def test_engine_of_another_version_is_refused(root: EngineRoot) -> None:
    engines.switch_engine(make(root, "cpu-1", app_version="0.0.1"), root)
    with pytest.raises(ProblemError) as caught:
        worker.get_engine_command()
    problem = caught.value.problems[0]
    assert problem.code == "engine.version"
    assert "0.0.1" in str(problem.what)
    assert "engine update" in str(problem.remedy)


def test_missing_engine_python_is_reported_with_its_path(root: EngineRoot) -> None:
    engine = make(root, "cpu-1")
    engines.switch_engine(engine, root)
    engine.python.unlink()
    with pytest.raises(ProblemError) as caught:
        engines.get_python()
    assert caught.value.problems[0].code == "engine.gone"
    assert caught.value.problems[0].where.file == str(engine.python)


def test_rollback_toggles_between_two_engines(root: EngineRoot) -> None:
    old, new = make(root, "cpu-1"), make(root, "cpu-2")
    engines.switch_engine(old, root)
    engines.switch_engine(new, root)
    assert engines.roll_back(root).name == "cpu-1"
    assert engines.roll_back(root).name == "cpu-2"


def test_rollback_without_an_earlier_engine_is_refused(root: EngineRoot) -> None:
    engines.switch_engine(make(root, "cpu-1"), root)
    with pytest.raises(ProblemError, match="no previous engine"):
        engines.roll_back(root)


def test_outdated_engines_exclude_variants_and_rollback_target(
    root: EngineRoot,
) -> None:
    installed = [make(root, f"cpu-{n}") for n in range(1, 4)]
    make(root, "cuda-1", variant="cuda")
    for engine in installed:
        engines.switch_engine(engine, root)
    assert [one.name for one in engines.list_outdated_engines(root, installed[-1])] == ["cpu-1"]


def test_folder_without_a_manifest_is_unfinished(root: EngineRoot) -> None:
    (root.engines / "cpu-9" / "venv").mkdir(parents=True)
    assert engines.list_engines() == []
    assert [folder.name for folder in engines.iter_unfinished_folders(root)] == ["cpu-9"]


def test_removing_the_current_engine_restores_the_previous_one(root: EngineRoot) -> None:
    old, new = make(root, "cpu-1"), make(root, "cpu-2")
    engines.switch_engine(old, root)
    engines.switch_engine(new, root)
    engines.remove_engine(new, root)
    assert not new.folder.exists()
    assert engines.get_current() == engines.find_engine("cpu-1")


@contextlib.contextmanager
def at_work(python: Path | str, **environment: str) -> Iterator[None]:
    """A process of a Python, for as long as the block takes."""
    process = subprocess.Popen(
        [str(python), "-c", "print(flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | environment,
    )  # fmt: skip
    try:
        assert process.stdout
        process.stdout.readline()  # Popen returns before the system has the new command line
        yield
    finally:
        process.communicate(b"\n")


@pytest.mark.slow
def test_engine_in_use_by_a_job_is_not_removed(root: EngineRoot) -> None:
    engine = make(root, "cpu-1")
    with at_work(engine.python):
        with pytest.raises(ProblemError, match="in use by a job"):
            engines.remove_engine(engine, root)
        assert engine.python.exists()
    engines.remove_engine(engine, root)
    assert not engine.folder.exists()


def test_deleting_reports_sizes_and_follows_no_links(root: EngineRoot, tmp_path: Path) -> None:
    linked = tmp_path / "models"
    linked.mkdir()
    (linked / "mine.txt").write_text("mine")
    engine = make(root, "cpu-1")
    for number in range(3):
        (engine.folder / f"part-{number}").mkdir()
        (engine.folder / f"part-{number}" / "data").write_bytes(bytes(1000))
    link = engine.folder / "elsewhere"
    link.symlink_to(linked, target_is_directory=True)
    size = link.lstat().st_size + engines.measure_folder(engine.folder)
    manifest = (engine.folder / engines.MANIFEST).stat().st_size
    steps = list(engines.iter_deletion(engine.folder))
    assert sum(steps) == size - manifest
    assert len(steps) > 3
    assert not engine.folder.exists()
    assert (linked / "mine.txt").read_text() == "mine"


def test_partially_deleted_engine_is_unfinished(root: EngineRoot) -> None:
    engine = make(root, "cpu-1")
    (engine.folder / "part").mkdir()
    next(engines.iter_deletion(engine.folder))
    assert engines.list_engines(root) == []
    assert [folder.name for folder in engines.iter_unfinished_folders(root)] == ["cpu-1"]


def test_only_our_workers_count_as_jobs_in_a_user_python(root: EngineRoot) -> None:
    facts = {"interpreter": sys.executable}
    folder = root.engines / "own-1"
    folder.mkdir(parents=True)
    values = {"name": "own-1", "variant": "cpu", "app_version": __version__, "folder": folder}
    engine = Engine.model_validate(values | facts | {"python_version": "3.11.7"})
    assert not engines.is_in_use(engine), "this program runs in that Python"
    with at_work(sys.executable, **engine.environment):
        assert engines.is_in_use(engine)


def test_outdated_engines_exclude_user_pythons_and_busy_ones(
    root: EngineRoot,
) -> None:
    idle, busy, before, now = (make(root, f"cpu-{n}") for n in range(4))
    make(root, "cuda-1", variant="cuda")
    own = make(root, "own-1")
    engines.write_manifest(own.model_copy(update={"interpreter": sys.executable}))
    engines.switch_engine(before, root)
    engines.switch_engine(now, root)
    with at_work(busy.python):
        assert [one.name for one in engines.list_outdated_engines(root, now)] == [idle.name]
    assert {one.name for one in engines.list_outdated_engines(root, now)} == {idle.name, busy.name}


def test_damaged_pointer_file_means_no_current_engine(root: EngineRoot) -> None:
    engines.switch_engine(make(root, "cpu-1"), root)
    root.current.write_text('{"current": "cp')
    assert engines.get_current() is None


def test_concurrent_setup_is_refused(root: EngineRoot) -> None:
    with (
        root.lock(),
        pytest.raises(ProblemError, match="Another engine setup is running"),
        root.lock(),
    ):
        pass


def test_unwritable_engine_folder_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv(folders.VARIABLE, str(blocked / "engine"))
    with pytest.raises(ProblemError) as caught, folders.get_root().lock():
        pass
    assert caught.value.problems[0].code == "engine.folder"


def test_missing_disk_space_is_reported_as_a_full_disk(tmp_path: Path) -> None:
    full = folders.not_writable_error(tmp_path, OSError(errno.ENOSPC, "No space left on device"))
    assert full.problems[0].code == "disk.full"


def test_files_shared_by_engines_stay_shared_after_a_move(tmp_path: Path) -> None:
    old, new = EngineRoot(tmp_path / "old"), EngineRoot(tmp_path / "new")
    first, second = old.engines / "cpu-1" / "torch.so", old.engines / "cpu-2" / "torch.so"
    for file in (first, second):
        file.parent.mkdir(parents=True)
    first.write_bytes(b"x" * 1000)
    os.link(first, second)
    total = operations.measure_total_size((old.engines, old.pythons))
    assert total == 1000
    progress = list(operations.copy_engines(old, new, total, StopFlag()))
    assert new.engines.joinpath("cpu-1/torch.so").samefile(new.engines / "cpu-2" / "torch.so")
    assert progress[0].kind == "progress"


def test_links_into_the_old_folder_are_updated(tmp_path: Path) -> None:
    old, new = EngineRoot(tmp_path / "old"), EngineRoot(tmp_path / "new")
    python = old.pythons / "cpython-3.12" / "bin" / "python3"
    link = old.engines / "cpu-1" / "venv" / "bin" / "python"
    outside = link.with_name("python3")
    for file in (python, link):
        file.parent.mkdir(parents=True)
    python.write_text("")
    link.symlink_to(python)
    outside.symlink_to("/usr/bin/python3")
    config = old.engines / "cpu-1" / "venv" / "pyvenv.cfg"
    config.write_text(f"home = {python.parent}\n")
    list(operations.copy_engines(old, new, 0, StopFlag()))
    operations.repoint_environment(new.engines / "cpu-1", old.path, new.path)
    moved = new.engines / "cpu-1" / "venv"
    assert (moved / "bin" / "python").readlink() == new.pythons / "cpython-3.12" / "bin" / "python3"
    assert (moved / "bin" / "python3").readlink() == Path("/usr/bin/python3")
    assert str(new.pythons) in (moved / "pyvenv.cfg").read_text()
