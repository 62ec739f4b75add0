"""The server as judge: each version of Ollama, honest and lying, about the prompts of a created model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from lora_studio.core.problems import ProblemError
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.templates.server import prompt_path
from lora_studio.core.templates.server.prompt_proof import ProbeKind, PromptPath, PromptProof
from lora_studio.core.templates.server.terms import DerivedTemplate
from lora_studio.engine.export.gguf import converter
from lora_studio.engine.export.ollama import creation, derivation, prompt_judge
from lora_studio.engine.export.ollama import server as ollama_server
from lora_studio.engine.selftest.oracle import served_model
from lora_studio.engine.tokens import trained_prompts
from tests.helpers.models.tiny_models import TEMPLATES
from tests.helpers.runs.jobs import Recorder, recorded_job
from tests.helpers.runs.tiny_run import tiny_run
from tests.helpers.servers import ollama_rules
from tests.helpers.servers.ollama_server import FakeOllama, fake_ollama

pytestmark = pytest.mark.slow


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOllama]:
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    with fake_ollama() as server:
        server.counts_tokens = True
        yield server


@dataclass(frozen=True)
class Exported:
    """A run with one GGUF file and the TEMPLATE derived from its chat template."""

    run: RunFolder
    project: Project
    gguf: Path
    derived: DerivedTemplate


def exported(family: str, folder: Path, chat_template: str = "") -> Exported:
    run = tiny_run(family, folder)
    if chat_template:
        for target in (folder / "base", run.tokenizer):
            shutil.copy(TEMPLATES / f"{chat_template}.jinja", target / "chat_template.jinja")
    project = run.load_project()
    gguf, (job, _) = folder / "pim.gguf", recorded_job()
    converter.convert(folder / "base", gguf, "pim", project.export.llama_cpp, job)
    derived = derivation.derive(AutoTokenizer.from_pretrained(run.tokenizer), gguf, job).derived
    assert derived is not None
    return Exported(run, project, gguf, derived)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return exported("llama3", tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return exported("qwen3", tmp_path_factory.mktemp("caller"), "caller")


def create(model: Exported, fake: FakeOllama) -> Recorder:
    job, recorder = recorded_job()
    changes = {"ollama_host": fake.host, "ollama_name": "pim"}
    export = model.project.export.model_copy(update=changes)
    project = model.project.model_copy(update={"export": export})
    server = ollama_server.inspect_server(fake.host)
    judge = partial(served_model.require_as_trained, quantization="F16")
    creation.create_on(server, model.run, project, model.gguf, model.derived, judge, job)
    return recorder


def get_proof(recorder: Recorder) -> PromptProof:
    (created,) = recorder.of(events.OllamaCreated)
    assert created.proof is not None
    return created.proof


def get_code(run: Exported, fake: FakeOllama) -> str:
    with pytest.raises(ProblemError) as caught:
        create(run, fake)
    return caught.value.problems[0].code


@pytest.mark.parametrize("version", ollama_rules.VERSIONS)
def test_prediction_equals_the_rules_of_every_version(
    version: str, fake: FakeOllama, llama: Exported
) -> None:
    fake.version = version
    proof = get_proof(create(llama, fake))
    model = fake.models["pim:latest"]
    native = fake.rules.is_native
    assert bool(model["template"]) is not native
    assert proof.path is (PromptPath.CHAT_TEMPLATE if native else PromptPath.TEMPLATE)
    assert proof.by == ("server" if fake.rules.shows_prompts else "counts")
    # One conversation of each kind, tools and neighbors only where the server shows the right prompt.
    assert proof.counted >= 7
    plain = [kind for kind in proof.different_kinds if kind.is_text_only]
    assert plain == []
    assert proof.is_proven is (proof.by == "server" and not proof.differences)
    assert version in str(proof.verdict)
    assert ("Predicted" in str(proof.verdict)) is (proof.by != "server")


def test_merged_neighbors_are_named_without_a_warning(fake: FakeOllama, llama: Exported) -> None:
    fake.version = "0.29.1"
    recorder = create(llama, fake)
    proof = get_proof(recorder)
    assert ProbeKind.NEIGHBORS in proof.different_kinds
    assert "two messages of one role in a row" in str(proof.verdict)
    assert recorder.of(events.Warned) == []


def test_server_that_runs_another_template_is_detected(fake: FakeOllama, llama: Exported) -> None:
    fake.version = "0.33.0"
    fake.faults.rewrites = lambda prompt: prompt.replace("user", "human")
    assert get_code(llama, fake) == "ollama.other_prompt"


def test_trailing_blank_of_the_server_is_detected(fake: FakeOllama, llama: Exported) -> None:
    fake.version = "0.33.0"
    fake.faults.rewrites = lambda prompt: prompt + " "
    assert get_code(llama, fake) == "ollama.other_prompt"


def test_server_that_hides_its_real_prompt_is_detected(fake: FakeOllama, llama: Exported) -> None:
    fake.version = "0.33.0"
    fake.faults.rewrites = lambda prompt: prompt + "Sure, here is"
    fake.faults.shows_unchanged = True
    assert get_code(llama, fake) == "ollama.other_prompt"


def test_second_bos_is_detected_by_the_counts(fake: FakeOllama, llama: Exported) -> None:
    fake.version = "0.9.3"
    fake.faults.extra_tokens = 1
    assert get_code(llama, fake) == "ollama.other_prompt"


def test_server_that_cannot_run_the_model_leaves_a_prediction(
    fake: FakeOllama, llama: Exported
) -> None:
    fake.version = "0.33.0"
    fake.faults.refuses_to_render = fake.faults.chat_error = "not enough memory"
    proof = get_proof(create(llama, fake))
    assert (proof.by, proof.is_proven, proof.counted) == ("none", False, 0)
    assert str(proof.verdict).startswith(
        "Predicted, not asked: Ollama 0.33.0 uses the chat template"
    )


@pytest.mark.parametrize(
    "stores",
    [
        pytest.param({"renderer": "qwen3-coder"}, id="renderer"),
        pytest.param({"parser": "qwen3"}, id="parser"),
        pytest.param({"system": "Lie."}, id="system"),
    ],
)
def test_other_configuration_than_sent_is_detected(
    stores: dict[str, str], fake: FakeOllama, llama: Exported
) -> None:
    fake.version = "0.33.0"
    fake.faults.stores = dict(stores)
    assert get_code(llama, fake) == "ollama.stored_otherwise"


@pytest.mark.parametrize("change", [{"repeat_penalty": 1.1}, {"stop": ["x"]}, {"mirostat": 1}])
def test_other_parameter_than_sent_is_detected(
    change: dict[str, object], fake: FakeOllama, llama: Exported
) -> None:
    fake.version = "0.33.0"
    create(llama, fake)
    sent = fake.models["pim:latest"]["parameters"]
    fake.faults.stores = {"parameters": sent | change}
    assert get_code(llama, fake) == "ollama.stored_otherwise"


def test_file_that_the_server_rewrites_is_compared_by_content(
    fake: FakeOllama, llama: Exported, tmp_path: Path
) -> None:
    fake.version, fake.store = "0.34.2", tmp_path
    create(llama, fake)
    (stored,) = tmp_path.iterdir()
    gguf = llama.gguf
    assert stored.read_bytes() != gguf.read_bytes()
    assert prompt_judge.compare_files(gguf, stored) == []
    content = bytearray(stored.read_bytes())
    content[-200] ^= 1
    stored.write_bytes(content)
    (difference,) = prompt_judge.compare_files(gguf, stored)
    assert "the tensor " in str(difference)


@pytest.mark.parametrize(
    ("architecture", "is_equal"),
    [
        pytest.param("gemma4", False, id="gemma4_with_another_prompt"),
        pytest.param("laguna", True, id="laguna_with_an_equal_prompt"),
        pytest.param("nemotron_h", False, id="nemotron_h_with_another_prompt"),
    ],
)
def test_forced_renderer_is_judged_by_its_prompts(
    architecture: str,
    is_equal: bool,
    fake: FakeOllama,
    llama: Exported,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake.version = "0.33.0"
    force_renderer(architecture, monkeypatch)
    if is_equal:
        monkeypatch.setattr(ollama_rules, "render_with_renderer", ollama_rules.render_jinja)
    recorder = create(llama, fake)
    proof = get_proof(recorder)
    assert (proof.path, proof.is_proven) == (PromptPath.RENDERER, is_equal)
    warned = [one.problem.code for one in recorder.of(events.Warned)]
    assert ("ollama.forced_prompt" in warned) is not is_equal


def force_renderer(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let fake and program treat Llama as an architecture with a renderer of the server's own."""
    monkeypatch.setitem(ollama_rules.RENDERERS, "llama", ollama_rules.RENDERERS[architecture])
    forced = prompt_path.FORCED_RENDERERS
    monkeypatch.setitem(forced, "llama", forced[architecture])


@pytest.mark.parametrize(
    ("when", "architecture", "remedy"),
    [
        pytest.param("create", "llama", "llama.cpp b", id="when_created"),
        pytest.param("chat", "gemma4", "Update Ollama: 0.21 and later", id="when_run"),
    ],
)
def test_server_older_than_the_architecture_is_named(
    when: str, architecture: str, remedy: str, fake: FakeOllama, llama: Exported
) -> None:
    fake.version = "0.20.7"
    refusal = f"error loading model: unknown model architecture: '{architecture}'"
    if when == "create":
        fake.faults.create_error = refusal
    else:
        fake.faults.chat_error = fake.faults.refuses_to_render = refusal
    with pytest.raises(ProblemError) as caught:
        create(llama, fake)
    (problem,) = caught.value.problems
    assert problem.code == "gguf.unknown_architecture"
    assert f"Ollama 0.20.7 doesn't support the architecture {architecture}" in str(problem.what)
    assert remedy in str(problem.remedy)


def test_reasoning_and_tools_of_a_native_server_are_judged(
    fake: FakeOllama, caller: Exported
) -> None:
    fake.version = "0.33.0"
    proof = get_proof(create(caller, fake))
    assert proof.by == "server"
    assert proof.compared > 20
    assert not any(kind.is_text_only for kind in proof.different_kinds)
    # Ollama writes the fields of a tool in an order of its own.
    assert ProbeKind.TOOLS in proof.different_kinds


def test_every_kind_is_probed(llama: Exported) -> None:
    tokenizer = AutoTokenizer.from_pretrained(llama.run.tokenizer)
    kinds = {one.probe.kind for one in trained_prompts.list_trained_prompts(tokenizer)}
    assert kinds >= {kind for kind in ProbeKind if kind.is_text_only} | {ProbeKind.NEIGHBORS}
