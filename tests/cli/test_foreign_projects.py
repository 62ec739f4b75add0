"""Commands with a project from elsewhere name what it asks for, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.cli import headless
from lora_studio.cli.console import Display


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


def test_requests_are_named_once(shared_project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert headless.open_project(shared_project, [], Display()) is not None
    assert "Connect to Ollama at models.example:11434" in capsys.readouterr().out
    assert headless.open_project(shared_project, [], Display()) is not None
    assert "models.example" not in capsys.readouterr().out


def test_options_that_the_user_types_are_not_requests(
    shared_project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    headless.open_project(shared_project, [], Display())
    capsys.readouterr()
    assert headless.open_project(shared_project, ["export.ollama_host=other.example"], Display())
    assert "other.example" not in capsys.readouterr().out
