"""The probe conversations as training renders them, and where a server's prompts differ from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from lora_studio.core.messages import Text
from lora_studio.core.tasks.samples import Message, ToolCall, UnusableRow
from lora_studio.core.templates.server.prompt_path import AnswerPart
from lora_studio.core.templates.server.prompt_proof import ProbeDifference, PromptProbe, list_probes
from lora_studio.engine.tokens.chat_format import (
    ChatFormat,
    count_common_prefix,
    refuse_template,
)

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


def list_trained_prompts(
    tokenizer: PreTrainedTokenizerBase,
    system: str = "",
    prepare: Callable[[PromptProbe], PromptProbe] = lambda probe: probe,
) -> tuple[TrainedPrompt, ...]:
    """Return the probe conversations that the chat template accepts, as training renders them.

    `system` is the model's own system prompt, which the server adds where a conversation has none. `prepare`
    may change each conversation first. Raises UnusableRow for a template that doesn't compile.
    """
    form = ChatFormat(tokenizer)
    markers = [
        token
        for token in dict.fromkeys([*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens])
        if token in form.template.source
    ]
    probes = [prepare(probe) for probe in list_probes(tuple(markers))]
    return tuple(_iter_trained_prompts(form, tokenizer, probes, system))


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


def describe_difference(
    one: TrainedPrompt, actual: str, ids: Sequence[int], bos: str
) -> ProbeDifference:
    """Return where two prompts differ as texts, or as token IDs if the texts are equal."""
    # The BOS that llama.cpp adds isn't in the server's text.
    expected = one.text if actual.startswith(bos) else one.text.removeprefix(bos)
    if expected == actual:
        position = count_common_prefix(one.ids, ids)
        near = slice(position, position + 4)
        return name_difference(one, str(one.ids[near]), str(list(ids[near])))
    return describe_text_difference(one, actual, one.text.removesuffix(expected))


def describe_text_difference(one: TrainedPrompt, actual: str, omitted: str) -> ProbeDifference:
    """Return where two prompts differ as texts; `omitted` is the start that only training's has."""
    expected = one.text.removeprefix(omitted)
    position = count_common_prefix(expected, actual)
    around = slice(max(position - _CONTEXT, 0), position + _CONTEXT)
    difference = name_difference(one, expected[around], actual[around])
    start = len(one.text) - len(expected)
    return difference.model_copy(update={"position": start + position})


def name_difference(one: TrainedPrompt, expected: str, actual: str) -> ProbeDifference:
    """Return a difference of this conversation."""
    question = one.probe.messages[-1].content
    return ProbeDifference(kind=one.probe.kind, question=question, expected=expected, actual=actual)


def describe_refusal(one: TrainedPrompt, reason: Text) -> ProbeDifference:
    """Return the difference of a conversation for which a server builds no prompt."""
    question = one.probe.messages[-1].content
    return ProbeDifference(kind=one.probe.kind, question=question, refused=reason)


def to_ollama(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return messages as clients of Ollama send them."""
    return [_to_ollama(turn, messages[:number]) for number, turn in enumerate(messages)]


def _to_ollama(turn: Message, earlier: Sequence[Message]) -> dict[str, Any]:
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


def render_answers(tokenizer: PreTrainedTokenizerBase) -> dict[AnswerPart | None, str]:
    """Return an answer with each part that the chat template writes in a form of its own, and a plain one.

    Reasoning that training has in the content counts if the template recognizes it there.
    """
    form = ChatFormat(tokenizer)
    question = Message(role="user", content="Hi")
    call = ToolCall(name="look", arguments={"what": "up"})
    answers: dict[AnswerPart | None, Message] = {
        None: Message(role="assistant", content="Hello"),
        AnswerPart.TOOLS: Message(role="assistant", content="", tool_calls=(call,)),
    }
    if form.reads_thinking or "</think>" in form.template.source:
        thought = Message(role="assistant", content="Hello", thinking="A greeting")
        answers[AnswerPart.THINKING] = thought
    rendered: dict[AnswerPart | None, str] = {}
    for part, answer in answers.items():
        try:
            prompt = form.render([question], prompt=True)
            rendered[part] = form.render([question, answer]).removeprefix(prompt)
        except UnusableRow:  # the chat template has no such part
            continue
    return rendered
