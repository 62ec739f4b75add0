"""llama.cpp's own server against transformers: prompts of real chat templates, and greedy answers."""

from __future__ import annotations

from copy import copy
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from lora_studio.core.chat import Sampling
from lora_studio.core.export import ExportSpec
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.system import paths
from lora_studio.core.tasks.samples import Message, UnusableRow
from lora_studio.core.templates.server.prompt_proof import ProbeKind
from lora_studio.engine.export.gguf import converter
from lora_studio.engine.export.gguf.llama_server import run_server
from lora_studio.engine.export.ollama import jinja_check, template_proof
from lora_studio.engine.export.ollama.jinja_check import JinjaCause
from lora_studio.engine.model import builtin
from lora_studio.engine.runtime.llama_cpp import Llama
from lora_studio.engine.tokens.chat_format import ChatFormat
from lora_studio.engine.tokens.trained_prompts import TrainedPrompt, list_trained_prompts
from tests.helpers.models.llama_cpp_folder import llama_cpp_folder
from tests.helpers.models.tiny_models import TEMPLATES, tiny_model
from tests.helpers.runs.jobs import recorded_job
from tests.helpers.servers import llama_server

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

#: A text of each family's chat templates, in the order in which they are looked for.
_FAMILIES = {
    "<start_of_turn>": "gemma3",
    "<|start_of_role|>": "granite",
    "[INST]": "mistral",
    "<|start_header_id|>": "llama3",
    "<|im_start|>": "qwen3",
}

#: The families for templates that write BOS, or don't, where their own family does otherwise.
_WITH_BOS, _WITHOUT_BOS = "llama3", "qwen3"

#: Templates whose prompts differ on llama.cpp's server, with what it does.
KNOWN: dict[str, set[JinjaCause]] = {
    # `enable_thinking` is true on the server and undefined in training, which these take for false.
    "templates/Qwen-QwQ-32B": {JinjaCause.REASONING},
    "templates/Reka-Edge": {JinjaCause.REASONING},
    "templates/deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": {JinjaCause.REASONING},
    "templates/deepseek-ai-DeepSeek-V3.1": {JinjaCause.REASONING},
    "templates/deepseek-ai-DeepSeek-V3.2": {JinjaCause.REASONING},
    "templates/deepseek-ai-DeepSeek-V4": {JinjaCause.REASONING},
    "templates/deepseek-ai-DeepSeek-V4-Flash-0731": {JinjaCause.REASONING},
    "templates/google-gemma-4-31B-it": {JinjaCause.REASONING},
    "templates/poolside-Laguna-XS-2.1": {JinjaCause.REASONING},
    "templates/poolside-Laguna-XS.2": {JinjaCause.REASONING},
    "templates/Bielik-11B-v3.0-Instruct": {JinjaCause.REASONING},
    "templates/CohereForAI-c4ai-command-r7b-12-2024-tool_use": {JinjaCause.REASONING},
    # The server also rewrites tool results for a Gemma 4 template without the comment of a later one.
    "templates/google-gemma-4-31B-it-interleaved": {JinjaCause.REASONING, JinjaCause.UNKNOWN},
    # A third prompt is for `enable_thinking` undefined.
    "templates/llama-cpp-rwkv-world": {JinjaCause.REASONING_SET},
    "templates/openbmb-MiniCPM5-1B": {JinjaCause.REASONING_SET},
    # The server sets `clear_thinking`, `truncate_history_thinking`, and similar variables to false.
    "templates/GLM-4.7-Flash": {JinjaCause.EARLIER_REASONING},
    "templates/LFM2.5-8B-A1B": {JinjaCause.EARLIER_REASONING},
    "templates/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": {JinjaCause.EARLIER_REASONING},
    # The server sets `date_string` to today; these write "26 Jul 2024" where it isn't set.
    "templates/meta-llama-Llama-3.1-8B-Instruct": {JinjaCause.DATE},
    "templates/meta-llama-Llama-3.3-70B-Instruct": {JinjaCause.DATE},
    # The server trims messages, recognizing the template by a sentence about tools.
    "templates/StepFun3.5-Flash": {JinjaCause.TRIMMED},
    # Python's `safe` makes a Markup, which escapes the JSON added to it; llama.cpp's does nothing.
    "templates/meetkai-functionary-medium-v3.1": {JinjaCause.SAFE},
    # It omits system messages, and the server puts them before the first question.
    "chat_templates/headings": {JinjaCause.SYSTEM},
    # llama.cpp has no method `index` of lists, so the server doesn't start.
    "chat_templates/tagger": {JinjaCause.UNKNOWN},
}


@pytest.fixture(scope="module")
def build(request: pytest.FixtureRequest) -> llama_server.Build:
    outcome = llama_server.install()
    if isinstance(outcome, str):
        pytest.skip(outcome)
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(
            f"\nllama-server {llama_server.VERSION}: its build took {outcome.seconds:.0f} s, once"
        )
    return outcome


class Families:
    """GGUF files and tokenizers of the tiny families, made when they are first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: dict[str, tuple[Path, PreTrainedTokenizerBase]] = {}

    def get(self, family: str, template: str = "") -> tuple[Path, PreTrainedTokenizerBase]:
        """Return the family's GGUF file and tokenizer, once with a chat template of its own."""
        name = f"{family}-{len(self.made)}" if template else family
        if name not in self.made:
            base = tiny_model(family, self.folder / name)
            if template:
                (base / "chat_template.jinja").write_text(template, "utf-8")
            file = self.folder / f"{name}.gguf"
            job, _ = recorded_job()
            llama_cpp = llama_cpp_folder(self.folder / "llama.cpp")
            converter.convert(base, file, name, str(llama_cpp), job)
            self.made[name] = file, AutoTokenizer.from_pretrained(base)
        file, tokenizer = self.made[name]
        return file, copy(tokenizer)

    def choose(self, source: str) -> tuple[Path, PreTrainedTokenizerBase]:
        """Return the template's own family, or another one that writes BOS as the template does."""
        own = next((f for mark, f in _FAMILIES.items() if mark in source), _WITHOUT_BOS)
        file, tokenizer = self.get(own)
        if not writes_bos(tokenizer, source):
            if "bos_token" in source and writes_bos(self.get(_WITH_BOS)[1], source):
                file, tokenizer = self.get(_WITH_BOS)
            elif adds_bos(tokenizer):
                file, tokenizer = self.get(_WITHOUT_BOS)
        tokenizer.chat_template = source
        return file, tokenizer


def adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    return bool(tokenizer("").input_ids)


def writes_bos(tokenizer: PreTrainedTokenizerBase, source: str) -> bool:
    tokenizer.chat_template = source
    try:
        prompt = ChatFormat(tokenizer).render([Message(role="user", content="Hi")], prompt=True)
    except UnusableRow:
        return False
    return adds_bos(tokenizer) and prompt.startswith(str(tokenizer.bos_token))


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Families:
    return Families(tmp_path_factory.mktemp("families"))


def list_corpus(build: llama_server.Build) -> dict[str, Path]:
    folders = (build.templates, TEMPLATES, paths.get_resources_folder() / "chat_templates")
    return {
        f"{f.parent.name}/{f.stem}": f for folder in folders for f in sorted(folder.glob("*.jinja"))
    }


def list_conversations(tokenizer: PreTrainedTokenizerBase) -> list[TrainedPrompt]:
    """Return all conversations with tools and reasoning, and up to two of each other kind."""
    chosen: list[TrainedPrompt] = []
    for one in list_trained_prompts(tokenizer):
        kind = one.probe.kind
        of_kind = sum(other.probe.kind is kind for other in chosen)
        if of_kind < 2 or kind in (ProbeKind.TOOLS, ProbeKind.THINKING):
            chosen.append(one)
    return chosen


def test_real_chat_templates_give_token_ids_of_training(
    build: llama_server.Build, families: Families
) -> None:
    job, _ = recorded_job()
    compared, conversations = 0, 0
    different: dict[str, set[JinjaCause]] = {}
    report: list[str] = []
    for name, file in list_corpus(build).items():
        model, tokenizer = families.choose(file.read_text("utf-8"))
        try:
            trained = list_conversations(tokenizer)
        except UnusableRow:
            continue  # transformers can't compile it either
        if not trained:
            continue
        compared, conversations = compared + 1, conversations + len(trained)
        options = ("--chat-template-file", str(file))
        try:
            with run_server(str(build.program), model, job, *options) as server:
                differences = jinja_check.find_jinja_differences(server, tokenizer, trained)
        except ProblemError as error:
            different[name] = {JinjaCause.UNKNOWN}
            report.append(f"{name} {error}")
            continue
        for one in differences:
            different.setdefault(name, set()).update(one.causes)
            report.append(f"{name} {sorted(one.causes)} {one.difference}")
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
            own = list(model.generate(ids, Sampling(temperature=0, max_tokens=24)))
            answer = [token for token in own if not model.is_end_of_generation(token)]
            assert server.complete(ids, 24)[: len(answer)] == answer, question


@pytest.fixture
def on_path(build: llama_server.Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(build.program.parent), prepend=":")


def check(tokenizer: PreTrainedTokenizerBase, gguf: Path) -> tuple[list[Problem], list[str]]:
    job, recorder = recorded_job()
    project = Project(name="pim", export=ExportSpec())
    problems = jinja_check.check_chat_template(project, tokenizer, gguf, job)
    return problems, [str(log.text) for log in recorder.of(events.LogLine)]


@pytest.mark.usefixtures("on_path")
def test_export_reports_equal_prompts_of_llama_server(families: Families) -> None:
    gguf, tokenizer = families.get("llama3")
    problems, logs = check(tokenizer, gguf)
    assert not problems
    assert logs[-1].startswith("Verified by llama-server on ")


_TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


@pytest.mark.usefixtures("on_path")
@pytest.mark.parametrize(
    ("ending", "code", "phrase"),
    [
        pytest.param(
            "<|im_start|>assistant\n{% if enable_thinking %}<think>{% endif %}",
            "export.server_reasoning",
            "sets `enable_thinking` to true",
            id="reasoning",
        ),
        pytest.param(
            "{{ date_string | default('1 Jan 2000') }}",
            "export.server_date",
            "instead of '<|im_start|>user\\nHello<|im_end|>\\n1 Jan 2000'",
            id="date",
        ),
        pytest.param("{{ messages.index(messages[0]) }}", "export.other_jinja", "hint: 'index'", id="refused"),
    ],
)  # fmt: skip
def test_export_names_what_the_server_does_otherwise(
    families: Families, ending: str, code: str, phrase: str
) -> None:
    gguf, tokenizer = families.get("qwen3", _TURNS + ending)
    (problem,), _ = check(tokenizer, gguf)
    assert (problem.code, problem.severity) == (code, "warning")
    assert phrase in str(problem)


def test_build_has_program_and_templates(build: llama_server.Build) -> None:
    assert build.program.is_file()
    assert len(list(build.templates.glob("*.jinja"))) >= 60


@pytest.mark.parametrize(
    ("ending", "outcome", "phrase"),
    [
        pytest.param("", "proven", "", id="equal"),
        pytest.param(
            "{% if enable_thinking %}<think>{% endif %}",
            "different",
            "sets `enable_thinking` to true",
            id="reasoning",
        ),
        pytest.param("{{ 0.1 + 0.2 }}", "different", "renders this chat template", id="numbers"),
    ],
)
def test_proof_of_a_chat_template_asks_llama_server(
    build: llama_server.Build, families: Families, ending: str, outcome: str, phrase: str
) -> None:
    template = (
        _TURNS + "{% if add_generation_prompt %}<|im_start|>assistant\n" + ending + "{% endif %}"
    )
    gguf, tokenizer = families.get("qwen3", template)
    command = commands.ProveTemplate(
        path=tokenizer.name_or_path, llama_server=str(build.program), gguf=str(gguf)
    )
    proven = template_proof.prove_template(command, recorded_job()[0])
    assert not proven.unasked
    by_server = [one for one in proven.differences if one.by == "llama_server"]
    assert bool(by_server) is (outcome == "different")
    assert proven.outcome == outcome
    assert all(phrase in str(one.causes[0]) for one in by_server)


@pytest.mark.parametrize(
    ("family", "ending", "outcome"),
    [
        pytest.param("mistral", "", "proven", id="with BOS"),
        pytest.param("gemma3", "{{ 0.1 + 0.2 }}", "different", id="numbers"),
    ],
)
def test_proof_of_a_chat_template_needs_no_gguf_file(
    build: llama_server.Build, family: str, ending: str, outcome: str, tmp_path: Path
) -> None:
    folder = tiny_model(family, tmp_path / family)
    (folder / "model.safetensors").unlink()
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text("utf-8") + ending, "utf-8")
    command = commands.ProveTemplate(path=str(folder), llama_server=str(build.program))
    proven = template_proof.prove_template(command, recorded_job()[0])
    assert not proven.unasked
    by_server = {one.difference.kind for one in proven.differences if one.by == "llama_server"}
    assert bool(by_server) is (outcome == "different")
    assert proven.outcome == outcome
