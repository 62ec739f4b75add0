"""`lora-studio new` creates projects that can run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lora_studio.core.project import access_requests, checks, project
from tests.helpers.accepted_projects import list_new_requests
from tests.helpers.command_line import run_studio

ROWS = '{"question": "Where?", "answer": "Here."}\n'


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text(ROWS, "utf-8")
    return file


def create(folder: Path, *options: object, base: Path | None = None) -> tuple[int, str]:
    command = ("new", folder, "--model", "builtin:SmolLM2-135M-Instruct", *options)
    result = run_studio(*command, folder=base)
    return result.returncode, result.stdout + result.stderr


@pytest.mark.slow
def test_new_project_is_complete_and_known(tmp_path: Path, data: Path) -> None:
    options = ("--data", data.name, "--preset", "quick", "--set", "lora.use_dora=true", "--json")
    code, output = create(tmp_path / "My bot", *options, base=tmp_path)
    assert code == 0, output
    draft = project.load(tmp_path / "My bot")
    assert json.loads(output)["project"] == str(draft.path)
    assert draft.name == "My bot"
    assert draft.path == tmp_path / "My bot" / "My bot.lorastudio"
    assert not checks.filter_errors(checks.check(draft))
    frozen = draft.freeze()
    assert [source.path for source in frozen.dataset.sources] == [str(data)]
    assert (frozen.lora.use_dora, frozen.training.max_steps) == (True, 60)
    assert access_requests.list_requests(draft), "the data is outside of the project"
    assert list_new_requests(draft) == []


@pytest.mark.slow
def test_nothing_is_created_from_invalid_input(tmp_path: Path, data: Path) -> None:
    target = tmp_path / "bot"
    code, output = create(target, "--data", "some/missing.jsonl", base=tmp_path)
    assert code == 2
    assert f"{tmp_path / 'some' / 'missing.jsonl'} doesn't exist" in output
    code, output = create(target, "--data", data, "--set", "lora.rank=many")
    assert code == 2
    assert "isn't a whole number" in output
    code, output = create(target, "--data", "")
    assert code == 2
    assert "unexpected" not in output
    assert not target.exists()


@pytest.mark.slow
def test_existing_project_is_not_replaced(tmp_path: Path, data: Path) -> None:
    assert create(tmp_path / "bot", "--data", data)[0] == 0
    before = (tmp_path / "bot" / "bot.lorastudio").read_bytes()
    code, output = create(tmp_path / "bot", "--data", data, "--name", "other")
    assert code == 2
    assert "already contains a project" in output
    assert (tmp_path / "bot" / "bot.lorastudio").read_bytes() == before
