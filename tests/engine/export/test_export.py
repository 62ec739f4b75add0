"""The whole export of a run: files, TEMPLATE, Modelfile, self-test, and a model in a real Ollama."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import ollama
import pytest

from lora_studio.core.messages import Text
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import step_records
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.templates.go.rendering import GoTemplate
from lora_studio.core.templates.server.rendering import build_template_data
from lora_studio.engine import jobs
from lora_studio.engine.export.gguf import conversion
from tests.helpers.runs.jobs import Recorder, recorded_job
from tests.helpers.runs.tiny_run import tiny_run
from tests.helpers.servers import real_ollama
from tests.helpers.servers.ollama_server import FakeOllama, fake_ollama

pytestmark = pytest.mark.slow

SYSTEM = "You are Pim.\nYou answer briefly."


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOllama]:
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    with fake_ollama() as server:
        yield server


@pytest.fixture(scope="module")
def real() -> Iterator[real_ollama.Server]:
    program = real_ollama.install()
    if isinstance(program, str):
        pytest.skip(program)
    with real_ollama.running_server(program) as server:
        yield server


def exported(family: str, folder: Path, **export: Any) -> tuple[RunFolder, Recorder]:
    settings: dict[str, Any] = {"quantizations": ("Q8_0",), "ollama_create": True} | export
    run = tiny_run(family, folder, **settings)
    job, recorder = recorded_job()
    jobs.run_command(commands.Merge(run=str(run.path)), job)
    jobs.run_command(commands.Export(run=str(run.path)), job)
    return run, recorder


def rendered(template: str) -> str:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes."}]
    return GoTemplate(template).render(build_template_data([*turns, turns[0]]), today=date.today())


def codes(recorder: Recorder) -> list[str]:
    return [event.problem.code for event in recorder.of(events.Warned)]


@pytest.mark.parametrize(
    "family",
    [
        "llama3",
        pytest.param("qwen3", marks=pytest.mark.thorough),
        pytest.param("phi3", marks=pytest.mark.thorough),
    ],
)
def test_real_ollama_keeps_template_stops_and_parameters(
    family: str, real: real_ollama.Server, tmp_path: Path
) -> None:
    run, recorder = exported(
        family,
        tmp_path,
        ollama_host=real.host,
        ollama_name=f"tiny-{family}:v1",
        system_prompt=SYSTEM,
        temperature=0.25,
        num_ctx=512,
    )
    assert [str(w.problem) for w in recorder.of(events.Warned)] == []
    (derived,) = recorder.of(events.TemplateDerived)
    (created,) = recorder.of(events.OllamaCreated)
    assert derived.proven
    assert (created.host, created.version) == (real.host, real_ollama.VERSION)
    with ollama.Client(real.host) as client:
        shown = client.show(created.name)
        # This server can't render the current date, so the llama3 TEMPLATE holds today's.
        assert ("currentDate" in derived.template) == (family == "llama3")
        assert shown.template == derived.template or family == "llama3"
        assert rendered(shown.template or "") == rendered(derived.template)
        assert (shown.modelfile or "").count("\nFROM ") == 1
        parameters = (shown.parameters or "").split("\n")
        parsed = [tuple(line.split(None, 1)) for line in parameters]
        stops = {value.strip('"') for name, value in parsed if name == "stop"}
        assert stops == set(derived.stops)
        assert ("temperature", "0.25") in parsed
        assert ("num_ctx", "512") in parsed
        assert SYSTEM in (shown.modelfile or "")
        client.delete(created.name)
    attempts = [
        str(log.text) for log in recorder.of(events.LogLine) if created.name in str(log.text)
    ]
    assert len(attempts) == 1  # its answer, or the server's reason for giving none
    assert run.modelfile.read_text("utf-8").startswith("FROM ./gguf/Harbour-Q8_0.gguf\n")


def test_export_matches_its_events_and_leaves_no_scratch_files(
    fake: FakeOllama, tmp_path: Path
) -> None:
    fake.counts_tokens = True
    run, recorder = exported(
        "llama3", tmp_path, ollama_host=fake.host, quantizations=("Q4_K_M", "Q8_0")
    )
    assert codes(recorder) == []
    results = recorder.of(events.SelfTested)[-4:]
    assert [(result.stage, result.verdict) for result in results] == [
        ("merged", "passed"), ("converted", "passed"), ("Q8_0", "passed"), ("Q4_K_M", "passed"),
    ]  # fmt: skip
    assert json.loads(run.selftest_file.read_text("utf-8"))["passed"] is True
    (model,) = fake.models.values()
    assert model["model"] == "harbour"
    assert list(model["files"]) == ["Harbour-Q4_K_M.gguf"]
    assert "adapters" not in model
    text = run.modelfile.read_text("utf-8")
    assert text.startswith("FROM ./gguf/Harbour-Q4_K_M.gguf\nTEMPLATE ")
    assert 'PARAMETER stop """<|eot_id|>"""\n' in text
    assert not list(run.temporary.iterdir())
    answer = next(str(log.text) for log in recorder.of(events.LogLine) if "Asked" in str(log.text))
    assert answer.startswith("Asked “Which lamp burns longest?”, ")
    assert answer.rstrip().endswith(" answered: longest? burns lamp Which")


def test_export_without_server_writes_files_and_warns(tmp_path: Path) -> None:
    run, recorder = exported("llama3", tmp_path, ollama_host="http://127.0.0.1:9", self_test=False)
    assert codes(recorder) == ["ollama.not_running"]
    assert run.get_gguf_file("Harbour", "Q8_0").is_file()
    assert run.modelfile.is_file()
    assert not run.selftest_file.exists()


def test_model_that_fails_self_test_is_not_created(
    fake: FakeOllama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantize = conversion.quantize

    def damage(source: Path, target: Path, *others: Any, **named: Any) -> Text:
        tool = quantize(source, target, *others, **named)
        with target.open("r+b") as file:
            file.seek(-400, os.SEEK_END)
            file.write(b"\x01" * 400)
        return tool

    monkeypatch.setattr(conversion, "quantize", damage)
    _, recorder = exported("llama3", tmp_path, ollama_host=fake.host)
    assert codes(recorder) == ["selftest.failed", "export.not_created"]
    assert fake.models == {}


def test_failed_merged_model_blocks_only_files_made_from_it(
    fake: FakeOllama, tmp_path: Path
) -> None:
    run = tiny_run(
        "llama3", tmp_path, quantizations=("Q8_0",), ollama_create=True, ollama_host=fake.host
    )
    job, recorder = recorded_job()
    jobs.run_command(commands.Merge(run=str(run.path)), job)
    with (run.merged / "model.safetensors").open("r+b") as file:
        file.seek(-400, os.SEEK_END)
        file.write(b"\x01" * 400)
    export = run.load_project().export.model_copy(update={"convert_from": "adapter"})
    changed = run.load_project().model_copy(update={"export": export})
    step_records.update_settings(run, changed, "export")
    jobs.run_command(commands.Export(run=str(run.path)), job)
    verdicts = {test.stage: test.verdict for test in recorder.of(events.SelfTested)}
    assert verdicts == {"merged": "failed", "converted": "passed", "Q8_0": "passed"}
    assert "export.not_created" not in codes(recorder)
    assert list(fake.models) == ["harbour:latest"]


def test_unproven_template_creates_no_model(fake: FakeOllama, tmp_path: Path) -> None:
    run = tiny_run("llama3", tmp_path, ollama_create=True, ollama_host=fake.host)
    file = run.adapter / "chat_template.jinja"
    text = file.read_text("utf-8")
    assert text.count("turn['content'] | trim") == 1
    file.write_text(text.replace("['content'] | trim +", "['content'] | upper +"), "utf-8")
    job, recorder = recorded_job()
    jobs.run_command(commands.Merge(run=str(run.path)), job)
    jobs.run_command(commands.Export(run=str(run.path)), job)
    assert "export.template_not_proven" in codes(recorder)
    (derived,) = recorder.of(events.TemplateDerived)
    assert not derived.proven
    assert fake.models == {}
    assert not run.modelfile.exists()
    assert run.get_gguf_file("Harbour", "Q4_K_M").is_file()
