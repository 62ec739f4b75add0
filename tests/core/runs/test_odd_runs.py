"""Damaged files and odd names in a runs folder: the other runs are still listed, nothing is lost."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from lora_studio.core.problems import ProblemError
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.runs import index, queue
from lora_studio.core.runs.annotations import RunAnnotations
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import foreign_files
from tests.helpers.faults import odd_json

Docs = Iterator[bytes]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """The second of three runs, with every file that a list reads."""
    project = Project.model_validate({"name": "test"})
    runs = [run_folder.create_run(tmp_path / "runs", project, tmp_path) for _ in range(3)]
    run = runs[1]
    grid = {"name": "g", "fields": ["training.learning_rate"]}
    run.write_about(RunAnnotations.model_validate({"title": "a", "tags": ["x"], "grid": grid}))
    run.update_manifest(taken_along={"data/a": "/x/a"}, base_model={"folder": "x", "commit": "y"})
    lines = [events.Started(id="1", command="train"), events.Done(id="1")]
    run.events_file.write_text("".join(events.to_line(event) + "\n" for event in lines))
    queue.add(run.path.parent, [queue.QueuedRun(run=run.path.name)])
    index.read_summaries(run.path.parent)
    return run


def open_runs(run: RunFolder) -> None:
    """Do what opening a project with these runs does."""
    assert len(index.read_summaries(run.path.parent)) == 3
    for summary in index.RunIndex(run.path.parent).load():
        assert summary.searched
    run.read_state(), run.worker_pid(), run.has_run_out_of_memory()
    queue.load(run.path.parent)
    with contextlib.suppress(ProblemError):
        run.load_project()


def make_odd(content: bytes) -> Docs:
    for _, document in odd_json.iter_odd(json.loads(content)):
        yield json.dumps(document).encode()


def make_odd_lines(content: bytes) -> Docs:
    lines = content.splitlines()
    for number, line in enumerate(lines):
        for _, document in odd_json.iter_odd(json.loads(line)) if line[:1] == b"{" else ():
            changed = [*lines[:number], json.dumps(document).encode(), *lines[number + 1 :]]
            yield b"\n".join(changed) + b"\n"


def make_noise(content: bytes) -> Docs:
    rng = random.Random(1)
    yield from (b"", b"[]", b"null", b"3", b"[" * 100_000, b"\xff\xfe", b"\0" * 1000)
    for _ in range(8):
        yield content[: rng.randrange(len(content))]
        start = rng.randrange(len(content))
        yield content[:start] + rng.randbytes(8) + content[start + 8 :]


FILES: dict[str, Callable[[RunFolder], Path]] = {
    "manifest": lambda run: run.manifest_file,
    "about": lambda run: run.about_file,
    "events": lambda run: run.events_file,
    "project": lambda run: run.project_file,
    "queue": lambda run: run.path.parent / queue.FILE,
    "cache": lambda run: run.path.parent / index.CACHE,
    "lock": lambda run: run.lock_file,
}


@pytest.mark.parametrize(
    "every",
    [
        pytest.param(29, id="sample"),
        pytest.param(1, id="all", marks=[pytest.mark.slow, pytest.mark.thorough]),
    ],
)
@pytest.mark.parametrize(
    ("name", "make"),
    [
        *[
            pytest.param(name, make_odd, id=f"{name} odd")
            for name in ("manifest", "about", "queue")
        ],
        *[pytest.param(name, make_odd_lines, id=f"{name} odd") for name in ("events", "cache")],
    ],
)
def test_odd_value_hides_no_run(
    run: RunFolder, name: str, make: Callable[[bytes], Docs], every: int
) -> None:
    open_with(run, name, itertools.islice(make(FILES[name](run).read_bytes()), 0, None, every))


@pytest.mark.parametrize("name", FILES)
def test_damaged_file_hides_no_run(run: RunFolder, name: str) -> None:
    file = FILES[name](run)
    open_with(run, name, make_noise(file.read_bytes() if file.exists() else b'{"pid": 1}'))


def open_with(run: RunFolder, name: str, documents: Iterable[bytes]) -> None:
    for document in documents:
        if name != "cache":
            (run.path.parent / index.CACHE).unlink(missing_ok=True)
        FILES[name](run).write_bytes(document)
        open_runs(run)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names and links")
def test_odd_names_and_links_hide_no_run(run: RunFolder) -> None:
    runs = run.path.parent
    (runs / "dangling").symlink_to("/nonexistent")
    (runs / "self").symlink_to("self")
    (runs / "file").write_text("x")
    for name in (b"2024\xff\xfe", b"\n", "🙂".encode(), ("ü" * 127).encode()):
        (runs / os.fsdecode(name)).mkdir()
    summaries = index.read_summaries(runs)
    assert len([each for each in summaries if each.state != "unreadable"]) == 3
    assert len(summaries) == 7
    for summary in summaries:
        summary.name.encode()


@pytest.mark.parametrize("entry", ["../../etc", "", "x" * 256, "a/b", "a\0b"])
def test_queued_run_outside_of_the_folder_is_ignored(run: RunFolder, entry: str) -> None:
    content = {"entries": [{"run": entry}]}
    (run.path.parent / queue.FILE).write_text(json.dumps(content))
    assert queue.load(run.path.parent).entries == ()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        pytest.param("queue", lambda run: queue.set_paused(run.path.parent, True), id="queue"),
        pytest.param("about", lambda run: run.write_about(RunAnnotations(title="b")), id="about"),
        pytest.param("manifest", lambda run: run.update_manifest(name="b"), id="manifest"),
    ],
)
def test_damaged_file_is_kept_aside_when_it_changes(
    run: RunFolder, name: str, change: Callable[[RunFolder], object]
) -> None:
    foreign_files.collect_notices()
    file = FILES[name](run)
    for number, damage in enumerate((b'{"title": "my notes', b"\xff\xfe"), start=1):
        file.write_bytes(damage)
        change(run)
        suffix = foreign_files.SUFFIX + ("" if number == 1 else f"-{number}")
        assert file.with_name(file.name + suffix).read_bytes() == damage
        (notice,) = foreign_files.collect_notices()
        assert notice.code == "settings.damaged"
        json.loads(file.read_bytes())
