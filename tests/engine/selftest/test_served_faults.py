"""Faults of the program in a Modelfile, and in what it creates in Ollama, are found and named.

Each is planted in the program that writes the Modelfile or creates the model; none in what judges it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from lora_studio.core.export import ExportSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import paths
from lora_studio.core.templates.chat_template import ChatTemplate
from lora_studio.core.templates.ollama_template import DerivedTemplate, derive_from
from lora_studio.engine.export.gguf import conversion
from lora_studio.engine.export.ollama import creation, derivation, server
from lora_studio.engine.generation.turn_boundaries import create_turn_end_criteria
from lora_studio.engine.merging import merge
from lora_studio.engine.selftest.oracle import served_model
from lora_studio.engine.selftest.oracle.served_model import StatedModel
from tests.helpers.models.tiny_models import TEMPLATES, tiny_model
from tests.helpers.runs.jobs import recorded_job
from tests.helpers.runs.tiny_run import tiny_run
from tests.helpers.servers.ollama_server import FakeOllama, fake_ollama

SYSTEM = "You are Pim."


@dataclass(frozen=True)
class Exported:
    """A merged run with two GGUF files."""

    run: RunFolder
    project: Project
    files: dict[str, Path]

    @property
    def gguf(self) -> Path:
        """The file of the first quantization."""
        return self.files["Q8_0"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    run = tiny_run(
        "qwen3", tmp_path_factory.mktemp("served"), quantizations=("Q8_0", "F16"), system_prompt=SYSTEM,
        temperature=0.6, num_ctx=512,
    )  # fmt: skip
    job, project = recorded_job()[0], run.load_project()
    merge.merge(run, job)
    files = {str(name): file for name, file in conversion.write(run, project, job).items()}
    return Exported(run, project, files)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOllama]:
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    with fake_ollama() as server:
        server.version, server.counts_tokens = "0.9.3", True
        yield server


Plant = Callable[[pytest.MonkeyPatch], None]


def change_text(change: Callable[[str], str]) -> Plant:
    """Let the program write another Modelfile."""
    correct = derivation.build_modelfile
    return lambda patch: patch.setattr(
        derivation, "build_modelfile", lambda *a: change(correct(*a))
    )


def replace(before: str, after: str) -> Plant:
    def change(content: str) -> str:
        assert before in content
        return content.replace(before, after, 1)

    return change_text(change)


def change_parameters(**changes: Any) -> Plant:
    """Let the program write other parameters; None leaves one out."""
    correct = derivation.list_parameters

    def listed(spec: ExportSpec) -> dict[str, Any]:
        return {k: v for k, v in (correct(spec) | changes).items() if v is not None}

    return lambda patch: patch.setattr(derivation, "list_parameters", listed)


def change_derived(change: Callable[[DerivedTemplate], dict[str, Any]]) -> Plant:
    """Let a correct derivation arrive changed where the Modelfile is written."""
    correct = derivation.build_modelfile

    def build(path: str, derived: DerivedTemplate, *rest: Any) -> str:
        return correct(path, derived.model_copy(update=change(derived)), *rest)

    return lambda patch: patch.setattr(derivation, "build_modelfile", build)


def drop_role(role: str) -> Plant:
    """Let messages of a role have another role's name in the TEMPLATE's conditions."""
    return change_derived(lambda d: {"template": d.template.replace(f'"{role}"', '"unknown"')})


#: (identifier, what is planted, what must be named)
MODELFILE: list[tuple[str, Plant, str]] = [
    ("character of the template", replace("<|im_start|>", "<|im_start|> "), "TEMPLATE writes '<|im_start|> "),
    ("end of the prompt", change_derived(lambda d: {"template": "assistant".join(d.template.rsplit("assistant\n", 1))}), "TEMPLATE writes "),
    ("end of the prompt without thinking", change_derived(lambda d: {"template": "".join(d.template.rsplit("\n", 1))}), "for reasoning"),
    ("invalid Modelfile", change_text(lambda c: c + '"""'), "Modelfile can't be read"),
    ("role's branch dropped", drop_role("assistant"), "for many turns"),
    ("template lost", change_text(lambda c: "\n".join(line for line in iter_other_commands(c, "TEMPLATE"))), "TEMPLATE is missing"),
    ("stop token lost", change_derived(lambda d: {"stops": d.stops[1:]}), 'stop is missing, expected "<|im_end|>"'),
    ("unexpected stop string", change_derived(lambda d: {"stops": (*d.stops, ".")}), 'stop is ".", but should not be set'),
    ("num_ctx", change_parameters(num_ctx=2048), 'num_ctx is "2048" instead of 512'),
    ("temperature", change_parameters(temperature=1.0), 'temperature is "1.0" instead of 0.6'),
    ("top_p", change_parameters(top_p=0.5), 'top_p is "0.5" instead of '),
    ("penalty", change_parameters(repeat_penalty=1.1), 'repeat_penalty is "1.1" instead of 1.0'),
    ("parameter at the server's default", change_parameters(top_k=None), "top_k is missing, expected 0.0"),
    ("unexpected parameter", change_parameters(num_predict=9), 'num_predict is "9", but should not be set'),
    ("system prompt", replace(SYSTEM, "You are Pam."), 'SYSTEM is "You are Pam." instead of "You are Pim."'),
    ("system prompt lost", change_text(lambda c: "\n".join(iter_other_commands(c, "SYSTEM"))), 'SYSTEM is "" instead of "You are Pim."'),
    ("file of another quantization", replace("Harbour-Q8_0.gguf", "Harbour-F16.gguf"), 'FROM is "./gguf/Harbour-F16.gguf" instead of "./gguf/Harbour-Q8_0.gguf"'),
    ("adapter on top of the merged model", change_text(lambda c: c + "ADAPTER ./adapter.gguf\n"), 'ADAPTER is "./adapter.gguf", but should not be set'),
    ("second system prompt", change_text(lambda c: c + 'SYSTEM "x"\n'), 'SYSTEM is "x", but should not be set'),
]  # fmt: skip


def iter_other_commands(content: str, left_out: str) -> Iterator[str]:
    """Yield the commands of a Modelfile without one of them."""
    for name, value in served_model.read_modelfile(content):
        if name != left_out:
            yield f'{name} """{value}"""' if name in ("TEMPLATE", "SYSTEM") else f"{name} {value}"


def write(exported: Exported) -> DerivedTemplate:
    derived = derivation.write_modelfile(exported.run, exported.project, exported.gguf, recorded_job()[0])  # fmt: skip
    assert derived is not None
    return derived


_SLOW = ("character of the template", "num_ctx")


@pytest.mark.parametrize(
    ("plant", "named"),
    [
        pytest.param(*entry[1:], id=entry[0], marks=pytest.mark.slow if entry[0] in _SLOW else pytest.mark.thorough)
        for entry in MODELFILE
    ],
)  # fmt: skip
def test_fault_of_the_modelfile_is_named(plant: Plant, named: str, exported: Exported) -> None:
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        derived = write(exported)
    with pytest.raises(ProblemError) as caught:
        served_model.require_as_trained(exported.run, exported.project, exported.gguf, derived)
    (problem,) = caught.value.problems
    assert problem.code == "export.other_modelfile"
    assert named in str(problem.what)


@pytest.mark.slow
def test_correct_modelfile_is_accepted(exported: Exported) -> None:
    derived = write(exported)
    served_model.require_as_trained(exported.run, exported.project, exported.gguf, derived)


#: (identifier, changes of the request that creates the model, what must be named)
CREATED: list[tuple[str, Callable[[Any], dict[str, Any]], str]] = [
    ("template", lambda r: {"template": r.template.replace("user", "User")}, "TEMPLATE writes"),
    ("stop", lambda r: {"stops": r.stops[1:]}, "stop is missing"),
    ("temperature", lambda r: {"parameters": {**r.parameters, "temperature": 0.7}}, 'temperature is "0.7" instead of 0.6'),
    ("num_ctx", lambda r: {"parameters": {**r.parameters, "num_ctx": 4096}}, 'num_ctx is "4096" instead of 512'),
    ("system prompt", lambda r: {"system": ""}, 'SYSTEM is "" instead of'),
]  # fmt: skip


def create(exported: Exported, fake: FakeOllama, gguf: Path) -> list[events.OllamaCreated]:
    job, recorder = recorded_job()
    changes = {"ollama_host": fake.host, "ollama_name": "pim"}
    export = exported.project.export.model_copy(update=changes)
    project = exported.project.model_copy(update={"export": export})
    derived = write(exported)
    creation.create(exported.run, project, gguf, derived, served_model.require_as_trained, job)
    return recorder.of(events.OllamaCreated)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("change", "named"), [pytest.param(*entry[1:], id=entry[0]) for entry in CREATED]
)
def test_fault_of_the_created_model_is_named(
    change: Callable[[Any], dict[str, Any]],
    named: str,
    exported: Exported,
    fake: FakeOllama,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    correct = server.CreateRequest

    def request(**settings: Any) -> Any:
        made = correct(**settings)
        return dataclasses.replace(made, **change(made))

    monkeypatch.setattr(server, "CreateRequest", request)
    with pytest.raises(ProblemError) as caught:
        create(exported, fake, exported.gguf)
    (problem,) = caught.value.problems
    assert problem.code == "ollama.other_settings"
    assert named in str(problem.what)


@pytest.mark.thorough
def test_model_of_another_quantization_is_named(exported: Exported, fake: FakeOllama) -> None:
    with pytest.raises(ProblemError) as caught:
        create(exported, fake, exported.files["F16"])
    assert 'FROM is "F16" instead of "Q8_0"' in str(caught.value.problems[0].what)


@pytest.mark.thorough
@pytest.mark.parametrize("version", ["0.9.3", "0.34.2"])
def test_correct_model_is_accepted(version: str, exported: Exported, fake: FakeOllama) -> None:
    fake.version = version
    assert len(create(exported, fake, exported.gguf)) == 1


_TRL = Path(next(iter(find_spec("trl").submodule_search_locations or ())))  # type: ignore[union-attr]
_FOLDERS = (TEMPLATES, paths.get_resources_folder() / "chat_templates", _TRL / "chat_templates")


@pytest.mark.thorough
@pytest.mark.parametrize("adds_bos", [True, False])
@pytest.mark.parametrize(
    "file", [pytest.param(f, id=f"{f.parent.parent.name}-{f.stem}") for d in _FOLDERS for f in sorted(d.glob("*.jinja"))]
)  # fmt: skip
def test_proven_template_is_accepted(file: Path, adds_bos: bool, tokenizer: Any) -> None:
    tokenizer.chat_template = file.read_text("utf-8")
    special = {k: v for k, v in tokenizer.special_tokens_map.items() if isinstance(v, str)}
    form, bos = ChatTemplate(tokenizer.chat_template, special), str(tokenizer.bos_token)
    end = create_turn_end_criteria(tokenizer)
    ends = [*tokenizer.convert_ids_to_tokens(list(end.ids)), *([end.text] if end.text else [])]
    derived = derive_from(form, bos=bos, server_adds_bos=adds_bos, eos=ends)
    if not derived.proven:
        pytest.skip(f"no TEMPLATE is derived: {derived.reason}")
    for system in ("", SYSTEM)[: 1 if derived.system == "refused" else 2]:
        spec = ExportSpec(system_prompt=system)
        parameters = {k: str(v) for k, v in derivation.list_parameters(spec).items()}
        stated = StatedModel(derived.template, system, derived.stops, parameters)
        found = served_model.find_differences(stated, tokenizer, spec, derived.covers, bos if adds_bos else "")  # fmt: skip
        assert [str(each) for each in found] == []


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model("llama3", tmp_path_factory.mktemp("tokens")))
