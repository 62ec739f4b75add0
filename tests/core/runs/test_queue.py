"""The queue file: order, concurrent processes and damage; runs created from others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.project import project
from lora_studio.core.project.project import Draft, Project
from lora_studio.core.runs import (
    folder as run_folder,
)
from lora_studio.core.runs import grid_search, index
from lora_studio.core.runs import (
    queue as run_queue,
)
from lora_studio.core.runs.annotations import RunAnnotations
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.queue import QueuedRun


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Return a folder with the queued runs a, b, c and d."""
    for name in "abcd":
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "project.toml").write_text('name = "x"\n')
    run_queue.add(tmp_path / "runs", [QueuedRun(run=name) for name in "abcd"])
    return tmp_path / "runs"


def test_runs_are_queued_once_in_the_order_added(runs: Path) -> None:
    assert run_queue.load(runs).names == ["a", "b", "c", "d"]
    again = run_queue.add(runs, [QueuedRun(run="a")])
    assert again.names == ["a", "b", "c", "d"]


def test_queued_run_can_be_moved_and_removed(runs: Path) -> None:
    assert run_queue.move(runs, "d", 0).names == ["d", "a", "b", "c"]
    assert run_queue.move(runs, "d", 99).names == ["a", "b", "c", "d"]
    assert run_queue.remove(runs, ["b", "x"]).names == ["a", "c", "d"]
    assert (runs / "b").is_dir()


def test_first_run_is_popped_unless_the_queue_is_paused(runs: Path) -> None:
    assert run_queue.pop_next(runs) == QueuedRun(run="a")
    run_queue.set_paused(runs, True)
    assert run_queue.pop_next(runs) is None
    run_queue.set_paused(runs, False)
    assert run_queue.load(runs).names == ["b", "c", "d"]


def test_deleted_run_is_skipped(runs: Path) -> None:
    (runs / "a" / "project.toml").unlink()
    assert run_queue.pop_next(runs) == QueuedRun(run="b")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"entries": [{"run": 3}]}', b"\xff", b'{"entries": [{"run": "../c"}]}'],
    ids=["empty", "truncated", "invalid-entry", "not-utf8", "path"],
)
def test_damaged_queue_file_counts_as_empty(runs: Path, content: bytes) -> None:
    (runs / run_queue.FILE).write_bytes(content)
    assert run_queue.load(runs).entries == ()
    assert run_queue.add(runs, [QueuedRun(run="c")]).names == ["c"]


@pytest.mark.slow
def test_concurrent_processes_never_pop_the_same_run(runs: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from lora_studio.core.runs import queue as run_queue\n"
        "while (e := run_queue.pop_next(Path(sys.argv[1]))): print(e.run)"
    )
    every = [
        subprocess.Popen([sys.executable, "-c", code, str(runs)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    taken = [name for process in every for name in process.communicate()[0].split()]
    assert sorted(taken) == ["a", "b", "c", "d"]


def test_unwritable_queue_is_reported(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("is a file")
    with pytest.raises(ProblemError, match="Couldn't change"):
        run_queue.add(tmp_path / "runs", [QueuedRun(run="a")])


def _trained(folder: Path) -> RunFolder:
    run = run_folder.create_run(folder / "runs", Project(name="bot", lora=LoraSpec(rank=8)), folder)
    run.write_about(RunAnnotations(tags=("keep",), title="first"))
    return run


def test_repeated_run_has_the_same_settings_and_tags(tmp_path: Path) -> None:
    run = _trained(tmp_path)
    repeated = grid_search.repeat_run(run)
    assert repeated.load_project() == run.load_project()
    assert (repeated.read_about().tags, repeated.read_about().title) == (("keep",), "")


def test_continued_training_needs_an_adapter(tmp_path: Path) -> None:
    run = _trained(tmp_path)
    with pytest.raises(ProblemError, match="has no adapter"):
        grid_search.continue_training(run)
    run.adapter.mkdir()
    (run.adapter / "adapter_config.json").write_text("{}")
    assert grid_search.continue_training(run).load_project().lora.start_from == str(run.adapter)


def _ready(folder: Path) -> Draft:
    """Return a project that is ready to train."""
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text("{}")
    (folder / "rows.jsonl").write_text('{"instruction": "Hi", "output": "Hello"}\n')
    values = {"model": {"source": "./model"}, "dataset": {"sources": ["rows.jsonl"]}}
    return project.create(folder, "bot", values)


def test_grid_creates_a_run_per_combination(tmp_path: Path) -> None:
    draft = _ready(tmp_path / "p")
    axes = [("lora.rank", (8, 16, 8)), ("training.learning_rate", (1e-4, 2e-4))]
    runs = list(grid_search.create_grid_runs(draft, axes))
    frozen = [run.load_project() for run in runs]
    combinations = [(each.lora.rank, each.training.learning_rate) for each in frozen]
    assert combinations == [(8, 1e-4), (8, 2e-4), (16, 1e-4), (16, 2e-4)]
    assert {each.lora.scale for each in frozen} == {draft.freeze().lora.scale}
    assert {each.dataset.sources[0].path for each in frozen} == {str(draft.folder / "rows.jsonl")}
    about = runs[0].read_about()
    assert about.grid is not None
    assert about.grid.fields == ("lora.rank", "training.learning_rate")
    assert about.tags == (about.grid.name, "rank=8", "learning_rate=1e-4")
    assert draft.get("lora", "rank") == 16
    (table,) = grid_search.build_tables(index.read_summaries(runs[0].path.parent))
    assert (table.rows, table.columns) == ([8, 16], [1e-4, 2e-4])
    assert [[run and run.folder for run in line] for line in table.cells] == [
        [runs[0].path.name, runs[1].path.name], [runs[2].path.name, runs[3].path.name],
    ]  # fmt: skip
    assert table.best is None


def test_grid_over_rank_and_alpha_tries_each_combination(tmp_path: Path) -> None:
    axes = [("lora.rank", (8, 16)), ("lora.alpha", (16, 64))]
    frozen = [
        run.load_project() for run in grid_search.create_grid_runs(_ready(tmp_path / "p"), axes)
    ]
    tried = [(each.lora.rank, each.lora.alpha) for each in frozen]
    assert tried == [(8, 16), (8, 64), (16, 16), (16, 64)]


def test_grid_with_an_invalid_value_creates_no_run(tmp_path: Path) -> None:
    draft = _ready(tmp_path / "p")
    with pytest.raises(ProblemError, match="Rank"):
        list(grid_search.create_grid_runs(draft, [("lora.rank", (8, 0))]))
    assert not (tmp_path / "p" / "runs").exists()
    with pytest.raises(ProblemError, match="1,000 runs"):
        grid_search.list_combinations([("training.seed", tuple(range(1000)))])
    with pytest.raises(ProblemError, match="Enter the values to try"):
        grid_search.list_combinations([("training.seed", ())])
