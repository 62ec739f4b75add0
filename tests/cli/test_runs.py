"""`lora-studio runs` and `queue`: the table of runs and the queue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lora_studio.cli.app import app
from lora_studio.core.runs.folder import RunFolder
from tests.helpers.runs.many_runs import damage, make_runs
from tests.helpers.window import fake_engine


@pytest.fixture(scope="module")
def project_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many") / "p"
    folder.mkdir()
    (folder / "p.lorastudio").write_text("schema_version = 3\n")
    make_runs(folder, 60)
    damage(folder)
    return folder


def _run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["runs", *arguments], env={"COLUMNS": "200"})
    return done.exit_code, done.stdout


def test_runs_are_filtered_by_words_and_sorted(project_folder: Path) -> None:
    status, printed = _run(str(project_folder), "rank=64", "night", "--sort", "eval", "--json")
    runs = json.loads(printed)
    assert status == 0
    assert len(runs) == 15
    assert [run["rank"] for run in runs] == [64] * 15
    losses = [run["eval"] for run in runs]
    assert losses == sorted(losses)


def test_runs_filtered_by_state_show_their_reason(project_folder: Path) -> None:
    status, printed = _run(str(project_folder), "--state", "unreadable", "--state", "interrupted")
    assert status == 0
    assert "created by a newer version" in printed
    assert "shut down" in printed
    assert "trained" not in printed


def test_runs_are_printed_as_csv(project_folder: Path) -> None:
    status, printed = _run(str(project_folder), "--csv", "gemma")
    head, *lines = printed.splitlines()
    assert status == 0
    assert head.startswith("run,name,state,")
    assert "lora.rank" in head
    assert len(lines) == 20


def test_unknown_column_or_state_is_refused(project_folder: Path) -> None:
    assert _run(str(project_folder), "--sort", "color")[0] == 2
    assert _run(str(project_folder), "--state", "happy")[0] == 2


# --- the queue ------------------------------------------------------------------------------------


@pytest.fixture
def queued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project that is ready to train; a fake engine takes a few steps."""
    folder = tmp_path / "bot"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text("{}")
    (folder / "rows.jsonl").write_text('{"instruction": "Hi", "output": "Hello"}\n')
    (folder / "bot.lorastudio").write_text(
        'schema_version = 1\n[model]\nsource = "./model"\n[dataset]\nsources = ["rows.jsonl"]\n'
    )
    scenario = tmp_path / "scenario.json"
    scenario.write_text(json.dumps({"train": [{"steps": 3, "seconds": 0.01}]}))
    monkeypatch.setenv("LORA_STUDIO_ENGINE", fake_engine.command_line(scenario))
    return folder


def _queue(project: Path, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["queue", str(project), *arguments])
    return done.exit_code, done.stdout


def _waiting(project: Path) -> list[dict[str, Any]]:
    queued: list[dict[str, Any]] = json.loads(_queue(project, "list", "--json")[1])["runs"]
    return queued


def test_queued_runs_keep_their_settings(queued: Path) -> None:
    assert _queue(queued, "add", "--set", "lora.rank=8", "--tag", "low")[0] == 0
    assert _queue(queued, "add", "--set", "lora.rank=64")[0] == 0
    first, second = _waiting(queued)
    assert first["tags"] == ["low"]
    assert _queue(queued, "move", second["run"], "1")[0] == 0
    assert [run["run"] for run in _waiting(queued)] == [second["run"], first["run"]]
    assert RunFolder(queued / "runs" / first["run"]).load_project().lora.rank == 8
    assert _queue(queued, "remove", "nothing")[0] == 2
    assert _queue(queued, "remove", second["run"])[0] == 0
    assert [run["run"] for run in _waiting(queued)] == [first["run"]]


def test_grid_is_queued_with_tags(queued: Path) -> None:
    over = ("--over", "lora.rank=8,16", "--over", "training.learning_rate=1e-4,2e-4")
    assert _queue(queued, "grid", *over)[0] == 0
    waiting = _waiting(queued)
    assert [run["tags"][1:] for run in waiting] == [
        [f"rank={rank}", f"learning_rate={rate}"] for rank in (8, 16) for rate in ("1e-4", "2e-4")
    ]
    assert _queue(queued, "grid", "--over", "lora.rank=8,0")[0] == 2
    assert _queue(queued, "grid", "--over", "model.source=a,b")[0] == 2
    assert len(_waiting(queued)) == 4


@pytest.mark.slow
def test_queue_runs_to_the_end_after_a_failure(queued: Path) -> None:
    for rank in (8, 16):
        _queue(queued, "add", "--set", f"lora.rank={rank}")
    first, second = (RunFolder(queued / "runs" / run["run"]) for run in _waiting(queued))
    first.lock_file.mkdir()  # this run can't be locked and fails
    status, printed = _queue(queued, "run")
    assert status == 1, printed
    assert "1 run failed" in printed
    assert second.read_state() == "trained"
    assert _waiting(queued) == []
