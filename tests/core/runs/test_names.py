"""Run names are unique within a list."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from lora_studio.core import formatting
from lora_studio.core.runs import names
from lora_studio.core.runs.annotations import GridSettings, RunAnnotations
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.index import RunSummary
from lora_studio.core.runs.names import RunNames

_YEAR = datetime.now().year


def _run(second: int = 0, minute: int = 5, folder: str = "", **more: object) -> RunSummary:
    created = datetime(_YEAR, 11, 24, 14, minute, second).timestamp()
    summary = RunSummary(folder or f"{minute}-{second}", created=created)
    for name, value in more.items():
        setattr(summary, name, value)
    return summary


def _names(*runs: RunSummary) -> list[str]:
    run_names = RunNames(runs)
    return [run_names.get(run) for run in runs]


def test_run_name_is_its_title_or_start_time() -> None:
    assert _names(_run(about=RunAnnotations(title="Best")), _run(minute=6)) == [
        "Best",
        "24 Nov, 14:06",
    ]
    old = datetime(2020, 1, 4, 10, 15).timestamp()
    assert _names(RunSummary("x", created=old)) == ["4 Jan 2020, 10:15"]
    assert _names(RunSummary("no moment")) == ["no moment"]


def test_runs_of_one_minute_differ_by_second_then_number() -> None:
    runs = (_run(1), _run(2), _run(minute=6), _run(2, folder="5-2-big-2"))
    assert _names(*runs) == [
        "24 Nov, 14:05:01",
        "24 Nov, 14:05:02",
        "24 Nov, 14:06",
        "24 Nov, 14:05:02 (2)",
    ]


def test_grid_runs_are_named_by_their_settings() -> None:
    grid = GridSettings(name="g", fields=("lora.rank", "training.learning_rate"))
    first = _run(about=RunAnnotations(grid=grid), settings={"lora.rank": 8})
    second = _run(about=RunAnnotations(grid=grid), settings={"lora.rank": 32})
    assert _names(first, second)[1].startswith("rank=32, learning_rate=")
    again = _run(minute=9, about=RunAnnotations(grid=grid), settings={"lora.rank": 32})
    assert _names(second, again)[1].endswith(" · 24 Nov, 14:09:00")


def test_equal_titles_get_the_start_time() -> None:
    runs = (
        _run(about=RunAnnotations(title="Try")),
        _run(minute=6, about=RunAnnotations(title="Try")),
    )
    assert _names(*runs) == ["Try · 24 Nov, 14:05:00", "Try · 24 Nov, 14:06:00"]


def test_run_name_is_read_from_the_folder_alone(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "20200104-101500-support-bot")
    run.path.mkdir()
    assert names.read_run_name(run) == "4 Jan 2020, 10:15:00 · support-bot"
    run.write_about(RunAnnotations(title="Best"))
    assert names.read_run_name(run) == "Best"
    assert formatting.format_run_name("my run") == "my run"
    assert formatting.format_run_name("20209999-101500-x") == "20209999-101500-x"


def test_open_folder_has_the_name_of_its_run(tmp_path: Path) -> None:
    """A worker reaches its run at a path like `/proc/self/fd/7`, a link as this one."""
    (tmp_path / "20261124-140512-support-bot").mkdir()
    (tmp_path / "7").symlink_to(tmp_path / "20261124-140512-support-bot")
    assert names.read_stored_name(RunFolder(tmp_path / "7")) == "20261124-140512-support-bot"
