"""llama.cpp's own server against transformers: prompts of real chat templates, and greedy answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from lora_studio.core.dataset.samples import UnusableRow
from lora_studio.core.export import ExportSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.system import paths
from lora_studio.core.templates.server.probes import ProbeKind
from lora_studio.engine.export.gguf import converter
from lora_studio.engine.export.gguf.llama_server import LlamaServer, run_server
from lora_studio.engine.export.ollama import jinja_check
from lora_studio.engine.export.ollama.prompt_judge import TrainedPrompt, list_trained_prompts
from lora_studio.engine.model import builtin
from lora_studio.engine.runtime.llama_cpp import Llama
from tests.helpers import llama_server
from tests.helpers.llama_cpp_folder import llama_cpp_folder
from tests.helpers.recorded_job import recorded_job
from tests.helpers.tiny_models import TEMPLATES, tiny_model

pytestmark = pytest.mark.slow

#: A text of each family's chat templates, in the order in which they are looked for.
_FAMILIES = {
    "<start_of_turn>": "gemma3",
    "<|start_of_role|>": "granite",
    "[INST]": "mistral",
    "<|start_header_id|>": "llama3",
    "<|im_start|>": "qwen3",
}

#: Templates that llama.cpp renders differently, with the kinds of conversations.
KNOWN: dict[str, set[ProbeKind]] = {}


@pytest.fixture(scope="module")
def build(request: pytest.FixtureRequest) -> llama_server.Build:
    outcome = llama_server.install()
    if isinstance(outcome, str):
        pytest.skip(outcome)
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\nllama-server {llama_server.VERSION}, built once in {outcome.seconds:.0f} s")
    return outcome


class Families:
    """GGUF files and tokenizers of the tiny families, made when they are first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: dict[str, tuple[Path, Path]] = {}

    def get(self, family: str) -> tuple[Path, PreTrainedTokenizerBase]:
        if family not in self.made:
            base = tiny_model(family, self.folder / family)
            file = self.folder / f"{family}.gguf"
            job, _ = recorded_job()
            llama_cpp = llama_cpp_folder(self.folder / "llama.cpp")
            converter.convert(base, file, family, str(llama_cpp), job)
            self.made[family] = file, base
        file, base = self.made[family]
        return file, AutoTokenizer.from_pretrained(base)


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Families:
    return Families(tmp_path_factory.mktemp("families"))


def list_corpus(build: llama_server.Build) -> dict[str, Path]:
    folders = (build.templates, TEMPLATES, paths.get_resources_folder() / "chat_templates")
    return {
        f"{f.parent.name}/{f.stem}": f for folder in folders for f in sorted(folder.glob("*.jinja"))
    }


def iter_different(
    server: LlamaServer, tokenizer: PreTrainedTokenizerBase, trained: tuple[TrainedPrompt, ...]
) -> Iterator[tuple[TrainedPrompt, str]]:
    """Yield the conversations whose prompt has other token IDs, with the server's prompt."""
    bos = str(tokenizer.bos_token or "")
    for one in trained:
        try:
            prompt = server.apply_template(one.messages, one.probe.tools, one.probe.think)
        except ValueError as error:
            yield one, f"refused: {error}"
            continue
        writes_bos = bool(bos) and one.text.startswith(bos) and not prompt.startswith(bos)
        if server.tokenize(prompt, add_special=writes_bos) != one.ids:
            yield one, prompt


def test_real_chat_templates_give_token_ids_of_training(
    build: llama_server.Build, families: Families
) -> None:
    job, _ = recorded_job()
    compared, conversations = 0, 0
    different: dict[str, set[ProbeKind]] = {}
    report: list[str] = []
    for name, file in list_corpus(build).items():
        source = file.read_text("utf-8")
        family = next((f for mark, f in _FAMILIES.items() if mark in source), "llama3")
        model, tokenizer = families.get(family)
        tokenizer.chat_template = source
        try:
            trained = list_trained_prompts(tokenizer)
        except UnusableRow:
            continue  # transformers can't compile it either
        if not trained:
            continue
        compared, conversations = compared + 1, conversations + len(trained)
        try:
            with run_server(
                str(build.program), model, job, "--chat-template-file", str(file)
            ) as server:
                for one, prompt in iter_different(server, tokenizer, trained):
                    different.setdefault(name, set()).add(one.probe.kind)
                    report.append(f"{name} {one.probe}\n  {one.text!r}\n  {prompt!r}")
        except ProblemError as error:
            different.setdefault(name, set()).update(ProbeKind)
            report.append(f"{name} {error}")
    Path(families.folder, "report.txt").write_text("\n".join(report), "utf-8")
    assert compared >= 60
    assert conversations >= 1000
    assert different == KNOWN, "\n".join(report)[:6000]


def test_greedy_answers_equal_those_of_the_self_test(build: llama_server.Build) -> None:
    job, _ = recorded_job()
    try:
        file = builtin.download_builtin(job)
    except ProblemError as error:
        pytest.skip(str(error))
    prompts = ("What is the capital of France?", "Name three colors.", "Write a haiku.")
    with Llama(file, context=512) as model, run_server(str(build.program), file, job) as server:
        for question in prompts:
            text = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
            ids = model.tokenize(text)
            assert server.tokenize(text, add_special=False) == ids
            own = list(model.generate(ids, max_tokens=24))
            answer = [token for token in own if not model.is_end_of_generation(token)]
            assert server.complete(ids, 24)[: len(answer)] == answer, question


@pytest.fixture
def on_path(build: llama_server.Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(build.program.parent), prepend=":")


def check(tokenizer: PreTrainedTokenizerBase, gguf: Path) -> tuple[object, list[str]]:
    job, recorder = recorded_job()
    project = Project(name="pim", export=ExportSpec())
    problem = jinja_check.check_chat_template(project, tokenizer, gguf, job)
    return problem, [str(log.text) for log in recorder.of(events.Log)]


@pytest.mark.usefixtures("on_path")
def test_export_reports_equal_prompts_of_llama_server(families: Families) -> None:
    gguf, tokenizer = families.get("llama3")
    problem, logs = check(tokenizer, gguf)
    assert problem is None
    assert logs[-1].startswith("Verified by llama-server on ")


@pytest.mark.usefixtures("on_path")
def test_export_names_a_template_rendered_differently(families: Families) -> None:
    gguf, tokenizer = families.get("llama3")
    tokenizer.chat_template = str(tokenizer.get_chat_template()) + "{{ ' ' }}"
    problem, _ = check(tokenizer, gguf)
    assert problem is not None
    assert "llama.cpp renders this chat template differently for a question" in str(problem)


def test_build_has_program_and_templates(build: llama_server.Build) -> None:
    assert build.program.is_file()
    assert len(list(build.templates.glob("*.jinja"))) >= 60
