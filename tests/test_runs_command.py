"""`lora-studio runs`: the table of runs without a window."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lora_studio.cli import app
from tests.helpers.many_runs import damage, make_runs


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


def test_runs_are_found_by_words_and_put_in_order(project_folder: Path) -> None:
    status, printed = _run(str(project_folder), "rank=64", "night", "--sort", "eval", "--json")
    found = json.loads(printed)
    assert status == 0
    assert len(found) == 15
    assert [run["rank"] for run in found] == [64] * 15
    losses = [run["eval"] for run in found]
    assert losses == sorted(losses)


def test_runs_in_one_state_come_with_the_reason(project_folder: Path) -> None:
    status, printed = _run(str(project_folder), "--state", "unreadable", "--state", "interrupted")
    assert status == 0
    assert "made by a newer version" in printed
    assert "switched off" in printed
    assert "trained" not in printed


def test_the_table_is_also_for_other_programs(project_folder: Path) -> None:
    status, printed = _run(str(project_folder), "--csv", "gemma")
    head, *lines = printed.splitlines()
    assert status == 0
    assert head.startswith("run,name,state,")
    assert "lora.rank" in head
    assert len(lines) == 20


def test_an_unknown_column_or_state_is_refused(project_folder: Path) -> None:
    assert _run(str(project_folder), "--sort", "colour")[0] == 2
    assert _run(str(project_folder), "--state", "happy")[0] == 2
