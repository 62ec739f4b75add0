"""Compare the prompts that an Ollama server builds for a model with those it was trained on.

A server shows its prompt on request (`_debug_render_only`, since Ollama 0.11.5), whichever template it
uses. It is compared by token IDs, since those are what the model reads. The server's token counts are
asked in any case: they also reveal a server that shows one prompt and runs another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from transformers import PreTrainedTokenizerBase

from lora_studio.core.messages import Text, text
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning
from lora_studio.core.protocol import events
from lora_studio.core.templates.server.prompt_path import (
    NATIVE_SINCE,
    NO_TEMPLATE,
    RENDERS_SINCE,
    PathPrediction,
    Version,
    find_forced_renderer,
    parse_version,
)
from lora_studio.core.templates.server.prompt_proof import (
    ProbeDifference,
    PromptPath,
    PromptProbe,
    PromptProof,
)
from lora_studio.engine.export.ollama import server as ollama_server
from lora_studio.engine.export.ollama.client import (
    PATIENT,
    HttpClient,
    OllamaClient,
    UnknownArchitectureError,
    create_client,
    translate_ollama_errors,
)
from lora_studio.engine.export.ollama.server import CreateRequest
from lora_studio.engine.model import gguf_header
from lora_studio.engine.runtime import llama_cpp
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tokens.trained_prompts import (
    TrainedPrompt,
    describe_difference,
    describe_refusal,
    list_trained_prompts,
    name_difference,
    to_ollama,
)


class PromptReader(Protocol):
    """Tokenizes prompts as llama.cpp does for a model, which adds BOS itself if the file says so."""

    @property
    def adds_bos(self) -> bool:
        """Return whether BOS is added to every prompt."""
        ...

    def tokenize(self, prompts: Iterable[str]) -> list[list[int]]:
        """Return the token IDs of prompts, including the BOS that is added."""
        ...


@dataclass(frozen=True)
class GgufReader:
    """Tokenizes with llama.cpp and the model's own file."""

    file: Path

    @property
    def adds_bos(self) -> bool:
        """Return whether BOS is added to every prompt."""
        return llama_cpp.should_add_bos(self.file)

    def tokenize(self, prompts: Iterable[str]) -> list[list[int]]:
        """Return the token IDs of prompts, including the BOS that is added."""
        return llama_cpp.tokenize_prompts(self.file, prompts)


@dataclass(frozen=True)
class TokenizerReader:
    """Tokenizes with the trained tokenizer, for a file that isn't on this computer."""

    tokenizer: PreTrainedTokenizerBase
    adds_bos: bool
    adds_eos: bool = False

    def tokenize(self, prompts: Iterable[str]) -> list[list[int]]:
        """Return the token IDs of prompts, including the BOS that is added even after another one."""
        start = [self.tokenizer.bos_token_id] if self.adds_bos else []
        end = [self.tokenizer.eos_token_id] if self.adds_eos else []
        return [
            [*start, *self.tokenizer(prompt, add_special_tokens=False).input_ids, *end]
            for prompt in prompts
        ]


@dataclass(frozen=True)
class JudgedModel:
    """A model on a server, and what it is compared with: the trained tokenizer.

    `system` is the system prompt that the server has for the model.
    """

    host: str
    name: str
    version: str
    tokenizer: PreTrainedTokenizerBase
    reader: PromptReader
    system: str
    prediction: PathPrediction
    can_think: bool


def judge_prompts(model: JudgedModel, job: JobContext) -> PromptProof:
    """Return how a model's prompts are known: by its server's prompts, by its counts, or predicted."""
    trained = list_trained_prompts(model.tokenizer, model.system)
    proof = PromptProof(
        by="none",
        version=model.version,
        path=model.prediction.path,
        reason=model.prediction.reason,
    )
    plain = [one for one in trained if one.probe.kind.is_text_only]
    client = create_client(model.host)
    with client.create_http_client(PATIENT) as http:
        chat = _Chat(model, client, http, job)
        if parse_version(model.version) < RENDERS_SINCE:
            return _count_tokens(chat, plain, proof)
        proof, equal = _compare_prompts(chat, trained, proof)
        return _count_tokens(chat, equal if proof.by == "server" else plain, proof)


@dataclass(frozen=True)
class _Chat:
    """A connection over which conversations are sent to a model."""

    model: JudgedModel
    client: OllamaClient
    http: HttpClient
    job: JobContext

    def post(self, probe: PromptProbe, **options: Any) -> dict[str, Any]:
        """Return the server's answer to a conversation, of one token at most; raises ProblemError."""
        request = {**_build_request(self.model.name, probe), "stream": False, **options}

        def ask() -> dict[str, Any]:
            answer = self.http.post("/api/chat", json=request)
            answer.raise_for_status()
            return dict(answer.json())

        with translate_ollama_errors(self.client):
            return ollama_server.run_cancellable(self.job, ask)


# ------------------------------------------------------------------------------- the server's text


def _compare_prompts(
    chat: _Chat, trained: Sequence[TrainedPrompt], proof: PromptProof
) -> tuple[PromptProof, list[TrainedPrompt]]:
    """Return the proof by the server's prompts, and the conversations with equal ones."""
    model, job = chat.model, chat.job
    shown: list[tuple[TrainedPrompt, str]] = []
    refused: list[ProbeDifference] = []
    asked = [one for one in trained if one.probe.think is not True or model.can_think]
    for number, one in enumerate(asked):
        job.report_progress(text("comparing prompts with Ollama"), number, len(asked))
        try:
            prompt = _ask_for_prompt(chat, one.probe)
        except UnknownArchitectureError:
            raise
        except ProblemError as error:
            problem = error.problems[0]
            if problem.code != "ollama.refused" or one.probe.kind.is_text_only:
                return proof.model_copy(update={"unasked": problem.what}), []
            refused.append(describe_refusal(one, problem.what))
            continue
        if prompt is None:
            return proof, []
        shown.append((one, _prepare_prompt(prompt, model)))
    equal: list[TrainedPrompt] = []
    differences: list[ProbeDifference] = []
    bos = str(model.tokenizer.bos_token or "")
    read = model.reader.tokenize([prompt for _, prompt in shown])
    for (one, prompt), ids in zip(shown, read, strict=True):
        if ids == one.ids:
            equal.append(one)
        else:
            differences.append(describe_difference(one, prompt, ids, bos))
    update: dict[str, Any] = {
        "by": "server",
        "compared": len(shown) + len(refused),
        "equal": len(equal),
        "differences": (*differences, *refused),
    }
    return proof.model_copy(update=update), equal


def _ask_for_prompt(chat: _Chat, probe: PromptProbe) -> str | None:
    """Return the prompt that the server builds; None if it generates an answer instead."""
    shown = chat.post(probe, _debug_render_only=True).get("_debug_info")
    return str(shown["rendered_template"]) if shown else None


def _build_request(name: str, probe: PromptProbe) -> dict[str, Any]:
    request: dict[str, Any] = {
        "model": name,
        "messages": to_ollama(probe.messages),
    }
    if probe.tools:
        request["tools"] = list(probe.tools)
    if probe.think is not None:
        request["think"] = probe.think
    return request | {"options": {"num_predict": 1}}


def _prepare_prompt(prompt: str, model: JudgedModel) -> str:
    """Return the prompt as the server hands it to llama.cpp, which adds BOS itself if the file says so.

    Since 0.30 the server removes the BOS of its own renderers, and any literal `<bos>`
    (llm/llama_server.go, completionPrompt, 0.33.0-rc2). llama.cpp's own prompts of chat templates come
    without the BOS that it adds.
    """
    path = model.prediction.path
    if parse_version(model.version) < NATIVE_SINCE or path is PromptPath.CHAT_TEMPLATE:
        return prompt
    if not model.reader.adds_bos:
        return prompt
    if path is PromptPath.RENDERER and model.tokenizer.bos_token:
        return prompt.removeprefix(str(model.tokenizer.bos_token))
    return prompt.removeprefix("<bos>")


# ----------------------------------------------------------------------------- the server's counts


def _count_tokens(
    chat: _Chat, comparable: Sequence[TrainedPrompt], proof: PromptProof
) -> PromptProof:
    """Add how many prompts have the trained number of tokens, in one conversation of each kind.

    A wrong count is a difference, even if the text that the server showed was right.
    """
    asked = {one.probe.kind: one for one in reversed(comparable)}.values()
    correct, differences = 0, [*proof.differences]
    unasked = proof.unasked
    for number, one in enumerate(asked):
        chat.job.report_progress(text("comparing token counts with Ollama"), number, len(asked))
        try:
            count = chat.post(one.probe).get("prompt_eval_count")
        except UnknownArchitectureError:
            raise
        except ProblemError as error:
            unasked = unasked or error.problems[0].what
            break
        if not count:
            unasked = unasked or text("the server doesn't count the tokens of prompts")
        elif count == len(one.ids):
            correct += 1
        else:
            differences.append(name_difference(one, str(len(one.ids)), str(count)))
    update: dict[str, Any] = {
        "counted": correct,
        "miscounted": len(differences) - len(proof.differences),
        "differences": tuple(differences),
        "unasked": unasked,
    }
    if proof.by == "none" and (correct or differences):
        update |= {"by": "counts", "compared": len(asked), "equal": correct}
    return proof.model_copy(update=update)


_WHERE_NAME = Where(step="export", field="ollama_name")

#: Keys that llama.cpp's quantizer writes when the server copies a file through it.
_REWRITTEN = ("general.file_type", "general.quantization_version", "general.parameter_count")


def find_differences(
    recipe: CreateRequest,
    digest: str,
    stored: events.OllamaShown,
    version: Version,
    gguf: Path,
    job: JobContext,
) -> list[Text]:
    """Return what the server has stored differently from what was sent; empty when all is equal."""
    facts = gguf_header.read(gguf)
    forced = find_forced_renderer(version, facts.architecture)
    embedded = str(facts.values.get("tokenizer.chat_template") or "")
    pairs: tuple[tuple[Text, Any, Any], ...] = (
        (
            text("the TEMPLATE"),
            recipe.template,
            ("" if not recipe.template and stored.template == NO_TEMPLATE else stored.template),
        ),
        (text("the chat template"), embedded, stored.chat_template or embedded),
        (text("the system prompt"), recipe.system, stored.system),
        (text("the stop strings"), set(recipe.stops), set(stored.stops)),
        (text("the renderer"), forced, stored.renderer),
        # The parsers of these architectures have the names of their renderers.
        (text("the parser"), forced, stored.parser),
    )
    differences = [name for name, expected, actual in pairs if expected != actual]
    differences += _list_added_parameters(recipe, stored)
    differences += find_essential_differences(recipe, digest, stored, version, gguf, job)
    return differences


def find_essential_differences(
    recipe: CreateRequest,
    digest: str,
    stored: events.OllamaShown,
    version: Version,
    gguf: Path,
    job: JobContext,
) -> list[Text]:
    """Return differences of the weights and of the parameters that were sent, which also embedding models use."""
    differences = _compare_sent_parameters(recipe, stored)
    if stored.digest and stored.digest != digest:
        differences += _compare_rewritten_file(stored, version, gguf, job)
    return differences


def _compare_sent_parameters(recipe: CreateRequest, stored: events.OllamaShown) -> list[Text]:
    differences = []
    for key, value in recipe.parameters.items():
        actual = stored.parameters.get(key)
        if actual is None:
            differences.append(text("{parameter} (missing)", parameter=key))
        elif not _is_equal(actual, value):
            differences.append(describe_parameter(key, actual, str(value)))
    return differences


def _list_added_parameters(recipe: CreateRequest, stored: events.OllamaShown) -> list[Text]:
    return [
        text("{parameter} (added by the server: {actual})", parameter=key, actual=actual)
        for key, actual in sorted(stored.parameters.items())
        if key not in recipe.parameters
    ]


def describe_parameter(name: str, actual: str, expected: str) -> Text:
    """Return a parameter with another value than expected as a phrase."""
    return text(
        "{parameter} ({actual} instead of {expected})",
        parameter=name,
        actual=actual,
        expected=expected,
    )


def _is_equal(actual: str, expected: float) -> bool:
    try:
        return float(actual) == float(expected)
    except ValueError:
        return False


# --------------------------------------------------------------------------------- the weights


def _compare_rewritten_file(
    stored: events.OllamaShown, version: Version, gguf: Path, job: JobContext
) -> list[Text]:
    """Return how the server's file differs from ours, if it is on this computer.

    Since 0.30 `create` copies files through llama.cpp's quantizer, which changes the digest.
    """
    if version < NATIVE_SINCE:
        return [text("the weights")]
    file = Path(stored.file)
    if not stored.file or not create_client(stored.host).is_loopback or not file.is_file():
        job.log(
            text(
                "Ollama stored the weights in a file of its own, which isn't on this computer, "
                "so they weren't compared."
            )
        )
        return []
    return compare_files(gguf, file)


def compare_files(sent: Path, stored: Path) -> list[Text]:
    """Return how two GGUF files differ: in values of the header or in tensors."""
    from gguf import GGUFReader

    one, two = GGUFReader(sent), GGUFReader(stored)
    differences = [
        text("{key} of the file", key=key)
        for key in sorted({*one.fields, *two.fields})
        if not key.startswith("GGUF.")
        and key not in _REWRITTEN
        and _read_field(one, key) != _read_field(two, key)
    ]
    ours, theirs = ({tensor.name: tensor for tensor in reader.tensors} for reader in (one, two))
    differences += [
        text("the tensor {name}", name=name)
        for name in sorted({*ours, *theirs})
        if _summarize(ours.get(name)) != _summarize(theirs.get(name))
    ]
    return differences


def _read_field(reader: Any, key: str) -> object:
    field = reader.fields.get(key)
    return None if field is None else field.contents()


def _summarize(tensor: Any) -> tuple[object, ...] | None:
    if tensor is None:
        return None
    digest = hashlib.sha256(tensor.data.tobytes()).hexdigest()
    return tensor.tensor_type, tuple(tensor.shape), digest


# ----------------------------------------------------------------------------------- problems


def stored_differently_error(name: str, differences: Sequence[Text]) -> ProblemError:
    """Return the error that a server has stored something different from what was sent."""
    return fail(
        "ollama.stored_otherwise",
        "Ollama stored {model} differently from what was sent: {differences}.",
        "Its answers can differ from those of the trained model. Update Ollama and create the "
        "model again.",
        where=_WHERE_NAME,
        model=name,
        differences=tuple(differences[:8]),
    )


def missing_capability_warning(name: str, missing: Sequence[str]) -> Problem:
    """Return the warning that the server doesn't offer what the prompt's template supports."""
    return warning(
        "ollama.missing_capability",
        "Ollama doesn't recognize that {model} supports {capabilities}.",
        "Requests that use them fail or are ignored. Everything else is unaffected.",
        where=_WHERE_NAME,
        model=name,
        capabilities=", ".join(missing),
    )
