"""Any model on a server against any model folder: proven, different, or neither."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from lora_studio.core.export import ExportSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.templates.chat_template import ChatTemplate, TemplateSource
from lora_studio.core.templates.ollama_template import derive_from
from lora_studio.core.templates.server.prompt_proof import ProbeKind, PromptPath
from lora_studio.core.templates.server.terms import RenderRequest
from lora_studio.engine.export.ollama import server as ollama_server
from lora_studio.engine.export.ollama import (
    server_proof,
    template_proof,
    template_sandbox,
)
from lora_studio.engine.export.ollama.derivation import list_parameters
from tests.helpers.models import tiny_gguf
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.runs.jobs import recorded_job
from tests.helpers.servers import ollama_rules
from tests.helpers.servers.ollama_server import FakeOllama, fake_ollama

SAMPLING = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "repetition_penalty": 1.0}


@dataclass(frozen=True)
class Source:
    """A model folder, and what its model on a server is created from."""

    folder: Path
    tokenizer: PreTrainedTokenizerBase
    gguf: Path
    template: str

    def count(self, prompt: str) -> int:
        """Return the number of tokens that llama.cpp reads: BOS is added by its rule."""
        return 1 + len(self.tokenizer(prompt, add_special_tokens=False).input_ids)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    parent = tmp_path_factory.mktemp("proof")
    folder = tiny_model("llama3", parent / "llama3")
    (folder / "generation_config.json").write_text(json.dumps(SAMPLING))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    jinja, bos = tokenizer.get_chat_template(), tokenizer.bos_token
    derived = derive_from(ChatTemplate(jinja, {"bos_token": bos}), bos=bos, server_adds_bos=True)
    gguf = tiny_gguf.write(parent / "model.gguf", jinja)
    return Source(folder, tokenizer, gguf, derived.template)


@pytest.fixture
def fake(source: Source, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOllama]:
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    with fake_ollama() as server:
        server.version, server.counts_tokens, server.counter = "0.34.2", True, source.count
        yield server


def create(fake: FakeOllama, source: Source, **parameters: Any) -> None:
    """Create the model as others would: with a TEMPLATE only where the server needs one."""
    job, _ = recorded_job()
    stops = parameters.pop("stops", ("<|eot_id|>",))
    recipe = ollama_server.CreateRequest(
        name="pim",
        template="" if fake.rules.is_native else source.template,
        stops=stops,
        parameters={"temperature": 0.6, "repeat_penalty": 1.0} | parameters,
    )
    ollama_server.create(fake.host, source.gguf, recipe, job)
    (digest,) = fake.models["pim:latest"]["files"].values()
    bos = str(source.tokenizer.bos_token)
    fake.tokens[digest] = {"bos_token": bos, "eos_token": "<|eot_id|>", "adds_bos": "yes"}


def prove(
    fake: FakeOllama, source: Source, system: str | None = None, folder: Path | None = None
) -> events.OllamaProven:
    job, _ = recorded_job()
    command = commands.ProveOllama(
        host=fake.host, name="pim", folder=str(folder or source.folder), system=system
    )
    return server_proof.prove_model(command, job)


@pytest.mark.parametrize("version", ["0.30.0", "0.33.0", "0.34.2"])
def test_model_of_a_native_server_is_proven(version: str, fake: FakeOllama, source: Source) -> None:
    fake.version = version
    create(fake, source)
    proven = prove(fake, source)
    assert (proven.outcome, proven.proof.by) == ("proven", "server")
    assert fake.loaded == set(), "the GPU is free for others"
    assert proven.proof.path is PromptPath.CHAT_TEMPLATE
    assert f"Verified by Ollama {version}" in str(proven.proof.verdict)


def test_server_without_prompts_leaves_a_prediction(fake: FakeOllama, source: Source) -> None:
    fake.version = "0.9.3"
    create(fake, source)
    proven = prove(fake, source)
    assert (proven.outcome, proven.proof.by) == ("not_proven", "counts")
    assert str(proven.proof.verdict).startswith("Predicted for Ollama 0.9.3")


def test_other_template_of_a_server_without_prompts_differs(
    fake: FakeOllama, source: Source
) -> None:
    fake.version, fake.counts_tokens = "0.9.3", False
    create(fake, replace(source, template=source.template + " "))
    proven = prove(fake, source)
    assert (proven.outcome, proven.proof.by) == ("different", "none")
    assert str(proven.settings[0]).startswith("the TEMPLATE is different: for “Hello”")


@pytest.mark.parametrize(
    ("row", "outcome"),
    [
        pytest.param(None, "proven_in_part", id="data unknown"),
        pytest.param(["user", "assistant"], "proven_in_part", id="not in the data"),
        pytest.param(["user", "user", "assistant"], "different", id="in the data"),
    ],
)
def test_merged_neighbors_matter_if_they_were_trained(
    row: list[str] | None, outcome: str, fake: FakeOllama, source: Source, tmp_path: Path
) -> None:
    fake.version = "0.29.1"
    create(fake, source)
    folder = None
    if row is not None:
        project = Project(name="Pim", model=ModelSpec(source=str(source.folder)))
        run = run_folder.create_run(tmp_path, project, tmp_path)
        fake.models["pim:latest"]["parameters"] |= list_parameters(project.export)
        folder = Path(shutil.copytree(source.folder, run.merged))
        turns = [{"role": role, "content": "Hi"} for role in row]
        run.heldout_file.write_text(json.dumps({"messages": turns}) + "\n")
    proven = prove(fake, source, folder=folder)
    assert proven.outcome == outcome
    assert proven.proof.different_kinds == (ProbeKind.NEIGHBORS,)
    assert proven.settings == ()


def test_settings_of_the_run_are_compared(fake: FakeOllama, source: Source, tmp_path: Path) -> None:
    spec = ExportSpec(temperature=0.3, system_prompt="You are Pim.")
    project = Project(name="Pim", model=ModelSpec(source=str(source.folder)), export=spec)
    run = run_folder.create_run(tmp_path, project, tmp_path)
    folder = Path(shutil.copytree(source.folder, run.merged))
    create(fake, source)
    settings = [str(setting) for setting in prove(fake, source, folder=folder).settings]
    assert "temperature (0.6 instead of 0.3)" in settings
    assert "num_ctx (missing)" in settings
    assert "the system prompt is '' instead of 'You are Pim.'" in settings


BOS = "<|begin_of_text|>"


@pytest.mark.parametrize(
    ("faults", "plain"),
    [
        pytest.param({"rewrites": lambda prompt: prompt + " "}, True, id="trailing blank"),
        pytest.param({"rewrites": lambda prompt: BOS + prompt}, True, id="second BOS in the text"),
        pytest.param({"extra_tokens": 1}, True, id="second BOS in the tokens"),
        pytest.param(
            {"rewrites": lambda prompt: prompt + "Sure!", "shows_unchanged": True},
            True,
            id="server shows one prompt and runs another",
        ),
        pytest.param(
            {"rewrites": lambda p: p.replace("a  ", "a "), "shows_unchanged": True},
            False,
            id="server runs another prompt for two messages in a row",
        ),
        pytest.param({"stores": {"renderer": "qwen3-coder"}}, True, id="renderer"),
        pytest.param({"stores": {"jinja": "{{ messages[0].content }}"}}, True, id="chat template"),
    ],
)
def test_other_prompt_is_never_proven(
    faults: dict[str, Any], plain: bool, fake: FakeOllama, source: Source
) -> None:
    if not plain:  # the difference is in the one kind of conversation that has it
        faults = faults | {"rewrites": lambda p: p + " " if "then." in p else p}
    fake.faults = replace(fake.faults, **faults)
    create(fake, source)
    proven = prove(fake, source)
    assert proven.outcome == "different"
    assert not proven.proof.is_proven
    assert any(kind.is_text_only for kind in proven.proof.different_kinds) is plain


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        pytest.param({"stops": ("<|eot_id|>", ".")}, "the stop string '.' cuts", id="stop"),
        pytest.param({"temperature": 0.2}, "temperature (0.2 instead of 0.6)", id="temperature"),
        pytest.param({"top_p": 0.5}, "top_p (0.5 instead of 0.9)", id="top_p"),
        pytest.param({"repeat_penalty": 1.1}, "repeat_penalty (1.1 instead of 1)", id="penalty"),
        pytest.param({"num_predict": 9}, "num_predict (9 instead of -1)", id="length"),
        pytest.param({"mirostat": 2}, "mirostat (2 instead of 0)", id="mirostat"),
    ],
)
def test_other_setting_is_named(
    parameters: dict[str, Any], named: str, fake: FakeOllama, source: Source
) -> None:
    create(fake, source, **parameters)
    proven = prove(fake, source)
    assert proven.outcome == "different"
    (setting,) = map(str, proven.settings)
    assert named in setting


@pytest.mark.parametrize(
    ("version", "named"),
    [
        ("0.30.0", ["temperature (0.8 instead of 0.6)", "repeat_penalty (1.1 instead of 1)"]),
        ("0.34.2", ["temperature (0.8 instead of 0.6)"]),
    ],
)
def test_default_of_the_server_is_named(
    version: str, named: list[str], fake: FakeOllama, source: Source
) -> None:
    fake.version = version
    create(fake, source)
    fake.models["pim:latest"]["parameters"] = {}
    assert sorted(map(str, prove(fake, source).settings)) == sorted(named)


def test_stops_of_stock_templates_are_accepted(fake: FakeOllama, source: Source) -> None:
    create(fake, source, stops=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"))
    assert prove(fake, source).outcome == "proven"


@pytest.mark.parametrize(
    ("refuses", "counts"),
    [
        pytest.param("not enough memory", True, id="server can't load the model"),
        pytest.param("", False, id="server doesn't count"),
    ],
)
def test_unconfirmed_prompts_are_not_proven(
    refuses: str, counts: bool, fake: FakeOllama, source: Source
) -> None:
    fake.faults.refuses_to_render = fake.faults.chat_error = refuses
    fake.counts_tokens = counts
    create(fake, source)
    proven = prove(fake, source)
    assert proven.outcome == "not_proven"
    assert not str(proven.proof.verdict).startswith("Verified")


def test_system_prompt_of_the_model_is_part_of_its_prompts(
    fake: FakeOllama, source: Source
) -> None:
    fake.faults.stores = {"system": "You are Pim."}
    create(fake, source)
    proven = prove(fake, source, system="You are Pim.")
    assert (proven.outcome, proven.system) == ("proven", "You are Pim.")
    assert prove(fake, source).outcome == "different"
    other = prove(fake, source, system="You are Pam.")
    (setting,) = map(str, other.settings)
    assert setting == "the system prompt is 'You are Pim.' instead of 'You are Pam.'"


def test_folder_without_chat_template_is_refused(fake: FakeOllama, tmp_path: Path) -> None:
    job, _ = recorded_job()
    with pytest.raises(ProblemError) as caught:
        server_proof.prove_model(
            commands.ProveOllama(host=fake.host, name="pim", folder=str(tmp_path)), job
        )
    assert caught.value.problems[0].code == "ollama.no_chat_template"


def test_versions_of_the_rules_include_the_tested_ones() -> None:
    assert {"0.9.3", "0.29.1", "0.30.0", "0.33.0", "0.34.2"} == set(ollama_rules.VERSIONS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model("llama3", tmp_path_factory.mktemp("proof") / "llama3")


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


HELLO = {"role": "user", "content": "Hello"}


def test_conversation_is_rendered_with_token_ids(folder: Path) -> None:
    command = commands.RenderChat(path=str(folder), messages=(HELLO,))
    (rendering,) = template_proof.render(command).renderings
    assert rendering.text.startswith("<|begin_of_text|><|start_header_id|>system")
    assert rendering.text.endswith(
        "Hello<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert rendering.ids is not None
    assert len(rendering.ids) > 10


def test_probe_conversations_are_rendered_by_default(tmp_path: Path) -> None:
    file = tmp_path / "chat.jinja"
    file.write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", "utf-8")
    renderings = template_proof.render(commands.RenderChat(path=str(file))).renderings
    assert {one.probe for one in renderings} >= {ProbeKind.PLAIN, ProbeKind.TURNS}
    assert renderings[0].text == "user: Hello\n"
    assert renderings[0].ids is None


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("{% for m in messages %}", id="does not compile"),
        pytest.param("{{ raise_exception('No.') }}", id="refuses"),
    ],
)
def test_template_that_cannot_be_rendered_is_a_problem(source: str, tmp_path: Path) -> None:
    file = tmp_path / "chat.jinja"
    file.write_text(source, "utf-8")
    with pytest.raises(ProblemError) as caught:
        template_proof.render(commands.RenderChat(path=str(file), messages=(HELLO,)))
    assert caught.value.problems[0].code == "template.chat_refused"


@pytest.mark.slow  # derives a TEMPLATE
@pytest.mark.usefixtures("no_server")
def test_missing_llama_server_is_named_and_nothing_proven(folder: Path) -> None:
    job, _ = recorded_job()
    proven = template_proof.prove_template(commands.ProveTemplate(path=str(folder)), job)
    assert proven.derived.proven
    assert proven.outcome == "not_proven"
    assert "no llama-server on PATH" in str(proven.unasked)
    # A TEMPLATE gets neighbors of one role as one message.
    assert {one.difference.kind for one in proven.differences} == {ProbeKind.NEIGHBORS}
    assert all(one.by == "template" and one.line for one in proven.differences)


def test_path_without_llama_server_is_refused(folder: Path, tmp_path: Path) -> None:
    job, _ = recorded_job()
    command = commands.ProveTemplate(path=str(folder), llama_server=str(tmp_path))
    with pytest.raises(ProblemError) as caught:
        template_proof.prove_template(command, job)
    assert caught.value.problems[0].code in ("template.no_llama_server", "export.code_not_trusted")


LOOPS = "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3
DOUBLES = "{% set n = namespace(x='x' * 99) %}{% for _ in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}"


@pytest.mark.slow
def test_looping_chat_template_is_stopped_at_its_time_limit() -> None:
    job, _ = recorded_job()
    with pytest.raises(ProblemError, match=r"it ran for more than [14] s"):
        template_sandbox.derive(TemplateSource(LOOPS), job, seconds=1)


@pytest.mark.slow
def test_memory_filling_chat_template_is_not_proven() -> None:
    job, _ = recorded_job()
    result = template_sandbox.derive(TemplateSource(DOUBLES), job).derived
    assert result is not None
    assert not result.proven
    assert "rejects a single user message" in str(result.reason)


def test_self_recursive_template_is_stopped() -> None:
    job, _ = recorded_job()
    source = '{{define "a"}}{{template "a"}}{{end}}{{template "a"}}'
    with pytest.raises(ProblemError) as caught:
        template_sandbox.render(
            source, RenderRequest(prompt="Hi"), date(2026, 1, 1), job, seconds=1
        )
    assert caught.value.problems[0].code in ("template.refused", "template.limit")
