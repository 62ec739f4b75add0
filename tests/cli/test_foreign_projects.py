"""Commands with a project or run from elsewhere name what it asks for, and ask."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from lora_studio.cli import headless
from lora_studio.cli.app import app
from lora_studio.cli.console import Display
from lora_studio.core.project import project
from lora_studio.core.protocol import commands
from lora_studio.core.runs.folder import create_run
from lora_studio.core.system import consent
from tests.helpers.accepted_projects import accept_project


@pytest.fixture
def shared_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LORA_STUDIO_CONFIG", str(tmp_path / "config"))
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n', "utf-8")
    (folder / "p.lorastudio").write_text(
        'schema_version = 1\nname = "p"\n[model]\nsource = "builtin:SmolLM2-135M-Instruct"\n'
        '[dataset]\nsources = ["rows.jsonl"]\n[export]\nollama_host = "models.example:11434"\n',
        "utf-8",
    )
    return folder


def test_nothing_is_sent_without_a_terminal_or_the_hash(
    shared_project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert headless.open_project(shared_project, [], Display()) is None
    output = capsys.readouterr().err
    assert "Connect to Ollama at models.example:11434" in output
    assert headless.open_project(shared_project, [], Display()) is None
    digest = output.partition("--trust ")[2].split()[0]
    monkeypatch.setenv(consent.TRUST_VARIABLE, digest)
    assert headless.open_project(shared_project, [], Display()) is not None
    monkeypatch.delenv(consent.TRUST_VARIABLE)
    capsys.readouterr()
    assert headless.open_project(shared_project, [], Display()) is not None
    assert "models.example" not in capsys.readouterr().err


@pytest.mark.parametrize("answer", [True, False])
def test_terminal_asks_before_anything_is_read(
    answer: bool, shared_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stream in (sys.stdin, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr(typer, "confirm", lambda *_, **__: answer)
    assert (headless.open_project(shared_project, [], Display()) is not None) == answer


def test_data_of_a_named_project_is_read(
    shared_project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = shared_project / "p.lorastudio"
    file.write_text(
        file.read_text()
        .replace("models.example", "127.0.0.1")
        .replace("rows.jsonl", "../rows.jsonl")
    )
    (shared_project / "rows.jsonl").rename(shared_project.parent / "rows.jsonl")
    assert headless.open_project(shared_project, [], Display()) is not None
    assert "Read ../rows.jsonl" in capsys.readouterr().err


def test_options_that_the_user_types_are_not_requests(
    shared_project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accept_project(project.load(shared_project))
    assert headless.open_project(shared_project, ["export.ollama_host=other.example"], Display())
    assert "other.example" not in capsys.readouterr().err


def test_run_from_elsewhere_sends_nothing(
    shared_project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frozen = project.load(shared_project).freeze()
    run = create_run(shared_project / "runs", frozen, shared_project, is_allowed=False)
    assert headless.perform(commands.Export(run=str(run.path)), Display()) is not None
    output = " ".join(capsys.readouterr().err.split())
    assert "Connect to Ollama at models.example:11434" in output
    assert "Nothing was started" in output
    assert not run.events_file.exists()


@pytest.mark.parametrize(
    "arguments", [("chat", "--prompt", "Hi"), ("chat", "--with", "ollama"), ("serve",)]
)
def test_run_from_elsewhere_answers_nothing(
    arguments: tuple[str, ...], shared_project: Path
) -> None:
    frozen = project.load(shared_project).freeze()
    run = create_run(shared_project / "runs", frozen, shared_project, is_allowed=False)
    result = CliRunner().invoke(app, [*arguments, str(run.path)], env={"COLUMNS": "200"})
    assert result.exit_code != 0
    assert "Connect to Ollama at models.example:11434" in result.output
    assert "Nothing was started" in result.output
