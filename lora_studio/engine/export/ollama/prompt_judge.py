"""Compare the prompts that an Ollama server builds for a model with those it was trained on.

A server shows its prompt on request (`_debug_render_only`, since Ollama 0.11.5), whichever template it
uses. It is compared by token IDs, since those are what the model reads. The server's token counts are
asked in any case: they also reveal a server that shows one prompt and runs another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from lora_studio.core.dataset.samples import UnusableRow
from lora_studio.core.dataset.spec import Message
from lora_studio.core.messages import Text, text
from lora_studio.core.problems import ProblemError
from lora_studio.core.templates.server.probes import PromptProbe, list_probes
from lora_studio.core.templates.server.prompt_path import (
    NATIVE_SINCE,
    RENDERS_SINCE,
    PathPrediction,
    parse_version,
)
from lora_studio.core.templates.server.prompt_proof import (
    ProbeDifference,
    PromptPath,
    PromptProof,
)
from lora_studio.engine.export.ollama import server as ollama_server
from lora_studio.engine.export.ollama.client import (
    PATIENT,
    UnknownArchitectureError,
    create_client,
    translate_ollama_errors,
)
from lora_studio.engine.runtime import llama_cpp
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tokens.chat_format import (
    ChatFormat,
    count_common_prefix,
    refuse_template,
)

#: Conversations whose prompt tokens the server counts.
_COUNTED = 3

#: Characters of a prompt to show before and after the first difference.
_CONTEXT = 40


@dataclass(frozen=True)
class TrainedPrompt:
    """A probe conversation with the prompt and the token IDs that training gives it.

    `messages` are the probe's in the form that the chat template reads, after the model's own system
    prompt if the probe has none.
    """

    probe: PromptProbe
    messages: list[dict[str, Any]]
    text: str
    ids: list[int]


@dataclass(frozen=True)
class JudgedModel:
    """A model on a server, and what it was trained with: its tokenizer, GGUF file and system prompt."""

    host: str
    name: str
    version: str
    tokenizer: PreTrainedTokenizerBase
    gguf: Path
    system: str
    prediction: PathPrediction
    can_think: bool


def list_trained_prompts(
    tokenizer: PreTrainedTokenizerBase, system: str = ""
) -> tuple[TrainedPrompt, ...]:
    """Return the probe conversations that the chat template accepts, as training renders them.

    `system` is the model's own system prompt, which the server adds where a conversation has none.
    Raises UnusableRow for a template that doesn't compile.
    """
    form = ChatFormat(tokenizer)
    markers = [
        token
        for token in dict.fromkeys([*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens])
        if token in form.template.source
    ]
    return tuple(_iter_trained_prompts(form, tokenizer, list_probes(tuple(markers)), system))


def _iter_trained_prompts(
    form: ChatFormat,
    tokenizer: PreTrainedTokenizerBase,
    probes: Sequence[PromptProbe],
    system: str,
) -> Iterator[TrainedPrompt]:
    for probe in probes:
        messages = probe.messages
        if any(turn.thinking for turn in messages) and not form.reads_thinking:
            continue  # training has reasoning in the content, and clients send it there
        if system and messages[0].role != "system":
            messages = (Message(role="system", content=system), *messages)
        try:
            prompt = _render(form, messages, probe)
            is_ignored = bool(probe.tools) and prompt == form.render(messages, prompt=True)
        except UnusableRow:
            continue  # never trained
        if is_ignored:
            continue  # the chat template has no tools, and servers refuse them
        ids = tokenizer(prompt, add_special_tokens=False).input_ids
        yield TrainedPrompt(probe, form.to_plain(messages), prompt, list(ids))


def _render(form: ChatFormat, messages: Sequence[Message], probe: PromptProbe) -> str:
    if probe.think is None:
        return form.render(messages, probe.tools, prompt=True)
    plain = form.to_plain(messages)
    try:
        return form.template.render(plain, True, tools=None, **probe.switches)
    except Exception as error:  # foreign code may raise anything
        raise refuse_template(
            "the chat template fails with the thinking switch: {error}", error
        ) from error


def judge_prompts(model: JudgedModel, job: JobContext) -> PromptProof:
    """Return the proof of a created model: by its server's prompts, by its counts, or predicted."""
    trained = list_trained_prompts(model.tokenizer, model.system)
    proof = PromptProof(
        by="none",
        version=model.version,
        path=model.prediction.path,
        reason=model.prediction.reason,
    )
    if parse_version(model.version) >= RENDERS_SINCE:
        proof = _compare_prompts(model, trained, proof, job)
    return _count_tokens(model, trained, proof, job)


# ------------------------------------------------------------------------------- the server's text


def _compare_prompts(
    model: JudgedModel, trained: Sequence[TrainedPrompt], proof: PromptProof, job: JobContext
) -> PromptProof:
    shown: list[tuple[TrainedPrompt, str]] = []
    refused: list[ProbeDifference] = []
    asked = [one for one in trained if one.probe.think is not True or model.can_think]
    for number, one in enumerate(asked):
        job.report_progress(text("comparing prompts with Ollama"), number, len(asked))
        try:
            prompt = _ask_for_prompt(model.host, _build_request(model.name, one.probe), job)
        except UnknownArchitectureError:
            raise
        except ProblemError as error:
            problem = error.problems[0]
            if problem.code != "ollama.refused":
                return proof.model_copy(update={"unasked": problem.what})
            if not one.probe.kind.is_plain:
                refused.append(describe_refusal(one, problem.what))
                continue
            return proof.model_copy(update={"unasked": problem.what})
        if prompt is None:
            return proof
        shown.append((one, _prepare_prompt(prompt, model)))
    read = llama_cpp.tokenize_prompts(model.gguf, [prompt for _, prompt in shown])
    differences = [
        describe_difference(one, prompt, ids, str(model.tokenizer.bos_token or ""))
        for (one, prompt), ids in zip(shown, read, strict=True)
        if ids != one.ids
    ]
    return proof.model_copy(
        update={
            "by": "server",
            "compared": len(shown) + len(refused),
            "equal": len(shown) - len(differences),
            "differences": (*differences, *refused),
        }
    )


def _ask_for_prompt(host: str, request: Mapping[str, Any], job: JobContext) -> str | None:
    """Return the prompt that a server builds; None if it generates an answer instead."""
    client = create_client(host)

    def ask() -> str | None:
        with client.create_http_client(PATIENT) as http:
            answer = http.post(
                "/api/chat", json={**request, "stream": False, "_debug_render_only": True}
            )
            answer.raise_for_status()
            shown = answer.json().get("_debug_info")
        return str(shown["rendered_template"]) if shown else None

    with translate_ollama_errors(client):
        return ollama_server.run_cancellable(job, ask)


def _build_request(name: str, probe: PromptProbe) -> dict[str, Any]:
    request: dict[str, Any] = {
        "model": name,
        "messages": [_to_ollama(turn, probe.messages[:n]) for n, turn in enumerate(probe.messages)],
    }
    if probe.tools:
        request["tools"] = list(probe.tools)
    if probe.think is not None:
        request["think"] = probe.think
    return request | {"options": {"num_predict": 1}}


def _to_ollama(turn: Message, earlier: Sequence[Message]) -> dict[str, Any]:
    """Return a message as clients of Ollama send it."""
    message: dict[str, Any] = {"role": turn.role, "content": turn.content}
    if turn.thinking:
        message["thinking"] = turn.thinking
    if turn.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "function": {"name": call.name, "arguments": call.arguments}}
            for call in turn.tool_calls
        ]
    if turn.role == "tool":
        message["tool_name"] = turn.name
        ids = [call.id for past in earlier for call in past.tool_calls if call.name == turn.name]
        message |= {"tool_call_id": ids[-1]} if ids else {}
    return message


def _prepare_prompt(prompt: str, model: JudgedModel) -> str:
    """Return the prompt as the server hands it to llama.cpp, which adds BOS itself if the file says so.

    Since 0.30 the server removes the BOS of its own renderers, and any literal `<bos>`
    (llm/llama_server.go, completionPrompt, 0.33.0-rc2).
    """
    if parse_version(model.version) < NATIVE_SINCE or not llama_cpp.should_add_bos(model.gguf):
        return prompt
    if model.prediction.path is PromptPath.RENDERER and model.tokenizer.bos_token:
        return prompt.removeprefix(str(model.tokenizer.bos_token))
    return prompt.removeprefix("<bos>")


def describe_difference(
    one: TrainedPrompt, actual: str, ids: Sequence[int], bos: str
) -> ProbeDifference:
    """Return where two prompts differ as texts, or as token IDs if the texts are equal."""
    # The BOS that llama.cpp adds isn't in the server's text.
    expected = one.text if actual.startswith(bos) else one.text.removeprefix(bos)
    if expected == actual:
        position = count_common_prefix(one.ids, ids)
        near = slice(position, position + 4)
        return _name_difference(one, str(one.ids[near]), str(list(ids[near])))
    position = count_common_prefix(expected, actual)
    around = slice(max(position - _CONTEXT, 0), position + _CONTEXT)
    return _name_difference(one, expected[around], actual[around])


def _name_difference(one: TrainedPrompt, expected: str, actual: str) -> ProbeDifference:
    question = one.probe.messages[-1].content
    return ProbeDifference(kind=one.probe.kind, question=question, expected=expected, actual=actual)


def describe_refusal(one: TrainedPrompt, reason: Text) -> ProbeDifference:
    """Return the difference of a conversation for which a server builds no prompt."""
    question = one.probe.messages[-1].content
    return ProbeDifference(kind=one.probe.kind, question=question, refused=reason)


# ----------------------------------------------------------------------------- the server's counts


def _count_tokens(
    model: JudgedModel, trained: Sequence[TrainedPrompt], proof: PromptProof, job: JobContext
) -> PromptProof:
    """Add conversations whose number of prompt tokens the server counted as expected.

    A wrong count is a difference, even if the text that the server showed was right.
    """
    job.report_progress(text("comparing token counts with Ollama"), 0, None)
    known = {(difference.kind, difference.question) for difference in proof.differences}
    plain = [one for one in trained if one.probe.kind.is_plain][:_COUNTED]
    correct, differences = 0, [*proof.differences]
    for one in plain:
        try:
            reply = ollama_server.chat(
                model.host, model.name, one.probe.messages, {"num_predict": 1}, job
            )
        except UnknownArchitectureError:
            raise
        except ProblemError as error:
            what = error.problems[0].what
            return proof.model_copy(update={"unasked": proof.unasked or what, "counted": correct})
        if not reply.prompt:
            continue
        if reply.prompt == len(one.ids):
            correct += 1
        elif (one.probe.kind, one.probe.messages[-1].content) not in known:
            counts = (str(len(one.ids)), str(reply.prompt))
            differences.append(_name_difference(one, *counts))
    update: dict[str, Any] = {"counted": correct, "differences": tuple(differences)}
    if proof.by == "none" and (correct or differences):
        update |= {"by": "counts", "compared": len(plain), "equal": correct}
    return proof.model_copy(update=update)


def explain_differences(proof: PromptProof) -> Text:
    """Return the first difference as a phrase: the conversation and both texts."""
    first = proof.differences[0]
    if first.refused:
        return text(
            "for “{question}” the server builds no prompt: {reason}",
            question=first.question,
            reason=first.refused,
        )
    return text(
        "for “{question}” it has {actual} instead of {expected}",
        question=first.question,
        actual=repr(first.actual),
        expected=repr(first.expected),
    )
