"""Creating an Ollama model from an exported run: read back, tokens counted, never overwritten silently."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFWriter
from gguf.constants import GGUFType

from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.templates.server.terms import ServerNeed
from lora_studio.engine import jobs
from lora_studio.engine.export.ollama import (
    server as ollama_server,
)
from lora_studio.engine.export.ollama import template_sandbox
from tests.helpers.runs.jobs import Recorder, recorded_job
from tests.helpers.runs.tiny_run import tiny_run
from tests.helpers.servers import real_ollama
from tests.helpers.servers.ollama_server import FakeOllama, fake_ollama

pytestmark = pytest.mark.slow


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOllama]:
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    with fake_ollama() as server:
        server.counts_tokens = True
        yield server


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with a Q8_0 file, exported without Ollama and without a self-test."""
    folder = tmp_path_factory.mktemp("exported")
    new_run = tiny_run(
        "qwen3", folder, quantizations=("Q8_0",), self_test=False, system_prompt="You are Pim."
    )
    job, _ = recorded_job()
    jobs.run_command(commands.Merge(run=str(new_run.path)), job)
    jobs.run_command(commands.Export(run=str(new_run.path)), job)
    return new_run


@pytest.fixture(autouse=True)
def _no_verdict(run: RunFolder) -> Iterator[None]:
    yield
    run.selftest_file.unlink(missing_ok=True)


@pytest.fixture
def projector(run: RunFolder) -> Iterator[Path]:
    """Give the run a file for the encoders of images."""
    file = run.get_projector_file(run.load_project().name)
    writer = GGUFWriter(file, "clip")
    writer.add_type(GGUFType.MMPROJ)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    checksums.record_checksums(run, run.gguf, [each.name for each in run.gguf.glob("*.gguf")])
    yield file
    file.unlink()


def create(run: RunFolder, host: str, **options: object) -> Recorder:
    job, recorder = recorded_job()
    command = commands.CreateOllama.model_validate(
        {"run": str(run.path), "host": host, "name": "pim:v1"} | options
    )
    jobs.run_command(command, job)
    return recorder


@contextmanager
def refused(code: str) -> Iterator[None]:
    with pytest.raises(ProblemError) as caught:
        yield
    assert caught.value.problems[0].code == code


def verdict(run: RunFolder, **stages: bool) -> None:
    """Write a self-test where each stage failed, with or without equal tokens."""
    result = [
        {"stage": stage, "passed": False, "tokens_equal": equal} for stage, equal in stages.items()
    ]
    run.selftest_file.write_text(json.dumps({"stages": result}), "utf-8")


def test_created_model_passes_the_prompt_token_check(run: RunFolder, fake: FakeOllama) -> None:
    recorder = create(run, fake.host)
    (created,) = recorder.of(events.OllamaCreated)
    assert (created.name, created.prompts_checked) == ("pim:v1", 8)
    assert fake.models["pim:v1"]["template"]
    assert fake.models["pim:v1"]["parameters"]["repeat_penalty"] == 1.0
    assert fake.models["pim:v1"]["system"] == "You are Pim."
    logs = [str(log.text) for log in recorder.of(events.LogLine)]
    assert "TEMPLATE and chat template give the same tokens in 48 conversations." in logs


def test_different_prompt_tokens_are_detected(run: RunFolder, fake: FakeOllama) -> None:
    fake.faults.extra_tokens = 1  # like a duplicate BOS
    with refused("ollama.other_prompt"):
        create(run, fake.host)


def test_differently_stored_template_is_detected(run: RunFolder, fake: FakeOllama) -> None:
    fake.faults.stores = {"template": "{{ .Prompt }}!"}
    with refused("ollama.stored_otherwise"):
        create(run, fake.host)


def test_existing_model_is_replaced_only_with_force(run: RunFolder, fake: FakeOllama) -> None:
    create(run, fake.host)
    for name in ("pim:v1", "PIM:V1", "library/pim:v1"):
        with refused("ollama.exists"):
            create(run, fake.host, name=name)
    create(run, fake.host, force=True)


def test_invalid_name_is_refused_and_host_password_is_used(
    run: RunFolder, fake: FakeOllama
) -> None:
    with refused("project.invalid_value"):
        create(run, fake.host, name="two words")
    fake.faults.password = "me:secret"
    host = fake.host.replace("http://", "http://me:secret@")
    (created,) = create(run, host, name="pim:secret").of(events.OllamaCreated)
    assert created.host == fake.host


def test_lossy_model_needs_consent_and_failed_one_is_refused(
    run: RunFolder, fake: FakeOllama
) -> None:
    verdict(run, Q8_0=True)
    with refused("ollama.lossy"):
        create(run, fake.host)
    create(run, fake.host, anyway=True)
    verdict(run, Q8_0=False)
    with refused("ollama.failed_selftest"):
        create(run, fake.host, anyway=True, force=True)
    verdict(run, merged=True)
    with refused("ollama.failed_selftest"):
        create(run, fake.host, anyway=True, force=True)
    verdict(run, Q2_K=True)
    create(run, fake.host, force=True)


def test_server_too_old_for_call_ids_gives_a_warning(
    run: RunFolder, fake: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    derive = template_sandbox.derive

    def needing_ids(*args: Any, **options: Any) -> events.TemplateDerived:
        event = derive(*args, **options)
        assert event.derived is not None
        needing = event.derived.model_copy(update={"needs": (ServerNeed.CALL_IDS,)})
        return event.model_copy(update={"derived": needing})

    monkeypatch.setattr(template_sandbox, "derive", needing_ids)
    for version, is_too_old in (("0.11.10", True), ("0.12.0", False)):
        fake.version = version
        warned = create(run, fake.host, force=True).of(events.Warned)
        # Both merge neighbors of one role, which is another warning.
        assert ("ollama.no_calls" in [event.problem.code for event in warned]) is is_too_old


def test_projector_goes_to_servers_that_accept_one(
    run: RunFolder, fake: FakeOllama, projector: Path
) -> None:
    for version, accepts in (("0.30.3", False), ("0.30.4", True)):
        fake.version = version
        warned = create(run, fake.host, force=True).of(events.Warned)
        assert ("ollama.no_projector" in [event.problem.code for event in warned]) is not accepts
        assert (projector.name in fake.models["pim:v1"]["projectors"]) is accepts
        assert len(re.findall(r"^FROM ", run.modelfile.read_text("utf-8"), re.M)) == 2


def test_changed_projector_is_refused(run: RunFolder, fake: FakeOllama, projector: Path) -> None:
    projector.write_bytes(b"GGUF of another model")
    with refused("run.damaged_gguf"):
        create(run, fake.host)


def test_missing_quantization_lists_available_files(run: RunFolder, fake: FakeOllama) -> None:
    with pytest.raises(ProblemError, match="has no Q4_K_M file") as caught:
        create(run, fake.host, quantization="Q4_K_M")
    assert "Harbour-Q8_0.gguf" in str(caught.value.problems[0].remedy)


def test_real_server_stores_copies_and_removes_the_model(run: RunFolder) -> None:
    program = real_ollama.install()
    if isinstance(program, str):
        pytest.skip(program)
    with real_ollama.running_server(program) as server:
        (created,) = create(run, server.host).of(events.OllamaCreated)
        assert created.version == real_ollama.VERSION
        (model,) = ollama_server.inspect_server(server.host).details
        assert model.name == "pim:v1"
        assert model.bytes > run.get_gguf_file("Harbour", "Q8_0").stat().st_size
        ollama_server.copy_model(server.host, "pim:v1", "pim:second")
        one, two = (
            ollama_server.show_model(server.host, name) for name in ("pim:v1", "pim:second")
        )
        assert one.digest.startswith("sha256:")
        assert two == one.model_copy(update={"name": "pim:second", "time": two.time})
        ollama_server.remove_model(server.host, "pim:v1")
        assert ollama_server.inspect_server(server.host).models == ("pim:second",)
        with refused("ollama.no_model"):
            ollama_server.show_model(server.host, "pim:v1")
