"""`lora-studio export`, `selftest` and `push`: arguments, saved settings and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lora_studio.cli import export, headless
from lora_studio.cli.app import app
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import folder
from lora_studio.core.runs.folder import RunFolder
from tests.helpers.window import fake_engine


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """Return a run with a merged model; a fake engine carries out its jobs."""
    (tmp_path / "scenario.json").write_text("{}")
    monkeypatch.setenv("LORA_STUDIO_ENGINE", fake_engine.command_line(tmp_path / "scenario.json"))
    project = Project(name="bot", model=ModelSpec(source=str(tmp_path)))
    new_run = folder.create_run(tmp_path / "runs", project, tmp_path)
    new_run.merged.mkdir()
    (new_run.merged / "config.json").write_text("{}")
    return new_run


def studio(*arguments: str) -> tuple[int, str]:
    """Return the exit status and everything that was printed."""
    result = CliRunner().invoke(app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_quantization_names_allow_any_case_and_commas() -> None:
    assert export.parse_quantizations(["q4_k_m, iq2_xs", "Q8_0,q8_0"]) == (
        "Q4_K_M",
        "IQ2_XS",
        "Q8_0",
    )
    with pytest.raises(ProblemError) as caught:
        export.parse_quantizations(["Q9"])
    assert "IQ2_XS" in str(caught.value.problems[0].remedy)


def test_export_options_are_saved_in_the_run(run: RunFolder) -> None:
    status, _ = studio("export", str(run.path), "--quant", "q5_k_m,iq3_m", "--imatrix", "--adapter")
    assert status == 0
    spec = run.load_project().export
    assert spec.quantizations == ("Q5_K_M", "IQ3_M")
    assert spec.imatrix == "always"
    assert spec.adapter_gguf


def test_export_without_options_changes_no_setting(run: RunFolder) -> None:
    before = run.project_file.read_bytes()
    assert studio("export", str(run.path))[0] == 0
    assert run.project_file.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Nothing to export was specified"),
        (["--model", "a/b"], "No output folder was specified"),
        (["--model", "a/b", "--out", "x", "--quant", "Q9"], "Invalid value for --quant: Q9"),
    ],
    ids=["nothing", "no-output", "unknown-quantization"],
)
def test_invalid_export_arguments_are_refused_with_reason(arguments: list[str], words: str) -> None:
    status, text = studio("export", *arguments)
    assert status == headless.REFUSED
    assert words in text.replace("\n", " ")


@pytest.mark.parametrize(
    ("passed", "command", "failed"),
    [
        pytest.param(False, "this", True, id="failed"),
        pytest.param(True, "this", False, id="passed"),
        pytest.param(False, "earlier", False, id="failed in an earlier command"),
    ],
)
def test_failed_self_test_of_a_command_decides_its_status(
    passed: bool, command: str, failed: bool, run: RunFolder
) -> None:
    tested = events.SelfTested(
        id=command, stage="Q8_0", passed=passed, verdict="passed" if passed else "failed"
    )
    run.events_file.write_text(events.to_line(tested) + "\n", "utf-8")
    export_command = commands.Export(id="this", run=str(run.path))
    assert headless.has_failed_selftest(run, export_command) is failed


def test_failed_merged_model_does_not_fail_a_direct_export(run: RunFolder) -> None:
    stream = [
        events.GgufWritten(
            id="this", file="x", quantization="Q8_0", bytes=1, tool="llama.cpp", is_direct=True
        ),
        events.SelfTested(id="this", stage="merged", passed=False, verdict="failed"),
        events.SelfTested(id="this", stage="Q8_0", passed=True, verdict="passed"),
    ]
    run.events_file.write_text("".join(f"{events.to_line(event)}\n" for event in stream), "utf-8")
    assert not headless.has_failed_selftest(run, commands.Export(id="this", run=str(run.path)))


def test_unknown_upload_kind_is_refused(run: RunFolder) -> None:
    status, text = studio("push", str(run.path), "me/bot", "--what", "everything", "--json")
    assert status == headless.REFUSED
    (problem,) = json.loads(text)["problems"]
    assert "adapter, merged, gguf" in problem["remedy"]["text"]
