"""`lora-studio serve`: what is served, what is printed, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lora_studio.cli import serve
from lora_studio.cli.app import app
from lora_studio.core.export import ExportSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.protocol.chat import ServedAdapter, ServedRun
from lora_studio.core.runs import folder
from lora_studio.core.runs.folder import RunFolder
from tests.helpers.window import fake_engine


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    project = Project(
        name="bot", model=ModelSpec(source=str(tmp_path)), export=ExportSpec(llama_cpp="/opt/llama.cpp")
    )  # fmt: skip
    new_run = folder.create_run(tmp_path / "runs", project, tmp_path)
    new_run.gguf.mkdir()
    (new_run.gguf / "bot-Q4_K_M.gguf").write_bytes(b"GGUF")
    return new_run


@pytest.mark.parametrize(
    ("scale", "adapter", "has_file"),
    [
        pytest.param("", False, True, id="one run"),
        pytest.param("=1", False, True, id="full scale"),
        pytest.param("=0.5", False, False, id="scale"),
        pytest.param("", True, False, id="adapter wanted"),
    ],
)
def test_gguf_file_is_served_unless_the_adapter_is_needed(
    run: RunFolder, scale: str, adapter: bool, has_file: bool
) -> None:
    command = serve.make_command([f"{run.path}{scale}"], port=0, adapter=adapter, llama_cpp=None)
    assert bool(command.file) is has_file
    assert command.llama_cpp == "/opt/llama.cpp"


def test_several_runs_are_served_as_adapters_with_scales(run: RunFolder, tmp_path: Path) -> None:
    command = serve.make_command(
        [str(run.path), f"{run.path}=0.25"], port=8080, adapter=False, llama_cpp=tmp_path
    )
    served = (ServedRun(run=str(run.path)), ServedRun(run=str(run.path), scale=0.25))
    assert (command.runs, command.file, command.port) == (served, "", 8080)
    assert command.llama_cpp == str(tmp_path)


def test_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProblemError) as raised:
        serve.make_command([str(tmp_path)], port=0, adapter=False, llama_cpp=None)
    assert raised.value.problems[0].code == "run.not_found"


def test_address_and_requests_are_printed_and_stopping_succeeds(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = events.ServerReady(
        address="http://127.0.0.1:8080", model="bot", file="base.gguf", program="llama-server",
        adapters=(ServedAdapter(id=0, name="[bold]Pim", scale=0.5),),
    )  # fmt: skip
    steps = [ready, events.ServerLogged(lines=("listening", "\x1b[31mred"))]
    scenario = {"serve": [{"emit": json.loads(events.to_line(event))} for event in steps]}
    (tmp_path / "scenario.json").write_text(json.dumps(scenario))
    monkeypatch.setenv("LORA_STUDIO_ENGINE", fake_engine.command_line(tmp_path / "scenario.json"))
    result = CliRunner().invoke(app, ["serve", str(run.path)])
    assert result.exit_code == 0
    assert "[bold]Pim (lora 0, scale 0.5)" in result.stdout
    assert "\ncurl http://127.0.0.1:8080/v1/chat/completions -H" in result.stdout
    assert "\nfrom openai import OpenAI\n" in result.stdout
    assert "listening" in result.stdout
    assert "\x1b" not in result.stdout
