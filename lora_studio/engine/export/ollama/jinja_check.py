"""Find conversations for which llama.cpp's server builds another prompt than the training's.

Ollama since 0.30, LM Studio, and llama.cpp render the chat template in the GGUF file with llama.cpp's own
Jinja engine. If llama-server is on this computer, the probe conversations go through it.

The template in the file stays the training's own, byte for byte, and no version rewritten for llama.cpp is
offered. Of over 60 real chat templates in the tests, one has a construct that llama.cpp executes otherwise
(the filter `safe`). All other differences come from what the server does around a template: it turns on
reasoning, keeps earlier reasoning, sets today's date, and moves or trims messages. A template rewritten
against that would also override what requests ask for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from lora_studio.core import llama_cpp as programs
from lora_studio.core.messages import Text, counted, listed, text
from lora_studio.core.problems import Problem, ProblemError, Where, warning
from lora_studio.core.project.project import Project
from lora_studio.core.templates.chat_template import ChatTemplate
from lora_studio.core.templates.server.prompt_proof import ProbeDifference
from lora_studio.engine.export.gguf.llama_server import LlamaServer, ServerError, run_server
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import CancelledError
from lora_studio.engine.tokens.chat_format import ChatFormat
from lora_studio.engine.tokens.trained_prompts import (
    TrainedPrompt,
    describe_difference,
    describe_refusal,
    list_trained_prompts,
)

# Find out why llama-server builds another prompt than the training's, by asking again.
#
# The causes are things that llama.cpp's server does around a chat template (common/chat.cpp and
# common/jinja/caps.cpp, build 11434). Each is tried: it is the cause if undoing it on the server, or
# doing it to the training's prompt, makes the token IDs equal.


class JinjaCause(StrEnum):
    """What the server does around a chat template that training doesn't."""

    REASONING = "reasoning"
    REASONING_SET = "reasoning_set"
    EARLIER_REASONING = "earlier_reasoning"
    DATE = "date"
    SYSTEM = "system"
    TRIMMED = "trimmed"
    SAFE = "safe"
    UNKNOWN = "unknown"


#: Variables with which a request undoes what the server does by default.
_SWITCHES: dict[JinjaCause, dict[str, bool]] = {
    JinjaCause.REASONING: {"enable_thinking": False, "thinking": False},
    JinjaCause.EARLIER_REASONING: {"preserve_reasoning": False},
}

#: What can only be done to the training's prompt, since no request undoes it.
_IMITATED = (
    JinjaCause.REASONING_SET,
    JinjaCause.DATE,
    JinjaCause.SYSTEM,
    JinjaCause.TRIMMED,
    JinjaCause.SAFE,
)

_SAFE_FILTER = re.compile(r"\|\s*safe\b")

Causes = tuple[JinjaCause, ...]


class CauseFinder:
    """Tries the causes of one chat template's differences on a running server."""

    def __init__(self, server: LlamaServer, tokenizer: PreTrainedTokenizerBase) -> None:
        """Prepare for a tokenizer whose chat template compiles."""
        self._server = server
        self._tokenizer = tokenizer
        self._last: tuple[Causes, Causes] = ((), ())

    @cached_property
    def _template(self) -> ChatTemplate:
        return ChatFormat(self._tokenizer).template

    def find(self, trained: TrainedPrompt) -> frozenset[JinjaCause]:
        """Return the fewest causes that together explain a difference, UNKNOWN if none do."""
        combinations = _list_combinations(trained)
        if self._last in combinations:  # one template's conversations mostly differ for one reason
            combinations.insert(0, self._last)
        for undone, imitated in combinations:
            if self._is_explained(trained, undone, imitated):
                self._last = undone, imitated
                return frozenset((*undone, *imitated))
        return frozenset({JinjaCause.UNKNOWN})

    def _is_explained(self, trained: TrainedPrompt, undone: Causes, imitated: Causes) -> bool:
        switches = trained.probe.switches
        for cause in undone:
            switches |= _SWITCHES[cause]
        try:
            expected = self._imitate(trained, imitated) if imitated else trained.ids
            prompt = self._server.apply_template(trained.messages, trained.probe.tools, switches)
        except (CancelledError, ServerError):
            raise
        except Exception:  # the server refuses it, or foreign code in the template fails
            return False
        return self._server.tokenize(prompt) == expected

    def _imitate(self, trained: TrainedPrompt, causes: Causes) -> list[int]:
        """Return the training's token IDs of a conversation after what the server does to it."""
        messages, template = trained.messages, self._template
        variables: dict[str, Any] = dict(trained.probe.switches)
        for cause in causes:
            match cause:
                case JinjaCause.REASONING_SET:
                    variables = {"enable_thinking": True} | variables
                case JinjaCause.SAFE:
                    source = _SAFE_FILTER.sub("", template.source)
                    template = ChatTemplate(source, template.special_tokens)
                case JinjaCause.SYSTEM:
                    messages = _merge_system(messages)
                case JinjaCause.TRIMMED:
                    messages = [
                        {
                            key: value.strip()
                            if key != "role" and isinstance(value, str)
                            else value
                            for key, value in message.items()
                        }
                        for message in messages
                    ]
                case JinjaCause.DATE:
                    now = datetime.now()
                    variables["date_string"] = now.strftime("%d %b %Y")
                    variables["datetime"] = now.strftime("%b %d %Y")
        prompt = template.render(
            messages, True, tools=list(trained.probe.tools) or None, **variables
        )
        return list(self._tokenizer(prompt, add_special_tokens=False).input_ids)


def _list_combinations(trained: TrainedPrompt) -> list[tuple[Causes, Causes]]:
    """Return what to undo on the server and what to do in training, the fewest and undone first."""
    undone: list[Causes] = [(), (JinjaCause.EARLIER_REASONING,)]
    # A conversation that sets the switch itself doesn't differ because of the server's default.
    if trained.probe.think is None:
        undone += [(JinjaCause.REASONING,), (JinjaCause.REASONING, JinjaCause.EARLIER_REASONING)]
    imitated: list[Causes] = [(), *((cause,) for cause in _IMITATED)]
    pairs = [pair for pair in product(undone, imitated) if any(pair)]
    return sorted(pairs, key=lambda pair: (len(pair[0]) + len(pair[1]), len(pair[1])))


def _merge_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    first, second, *rest = messages
    if first["role"] != "system":
        return messages
    return [second | {"content": f"{first['content']}\n{second['content']}"}, *rest]


@dataclass(frozen=True)
class JinjaDifference:
    """A conversation with another prompt on llama-server, and what the server does to cause it."""

    trained: TrainedPrompt
    difference: ProbeDifference
    causes: frozenset[JinjaCause]


def check_chat_template(
    project: Project, tokenizer: PreTrainedTokenizerBase, gguf: Path, job: JobContext
) -> list[Problem]:
    """Return a warning per cause for which llama-server builds other prompts, or if it can't start.

    Returns [] if all prompts are equal, or if llama-server isn't installed.
    """
    program = programs.find_server(project.export.llama_cpp)
    if program is None:
        return []
    job.report_progress(text("comparing prompts with llama-server"), 0, None)
    trained = list_trained_prompts(tokenizer, project.export.system_prompt)
    try:
        with run_server(program, gguf, job) as server:
            return compare_prompts(server, tokenizer, trained, job)
    except ProblemError as error:
        return [problem.model_copy(update={"severity": "warning"}) for problem in error.problems]


def compare_prompts(
    server: LlamaServer,
    tokenizer: PreTrainedTokenizerBase,
    trained: Sequence[TrainedPrompt],
    job: JobContext,
) -> list[Problem]:
    """Return a warning per cause for which a server builds other prompts; logs if all are equal."""
    differences = find_jinja_differences(server, tokenizer, trained)
    if not differences:
        message = counted(
            len(trained),
            "Verified by llama-server on {n} conversation: it builds the prompt of training.",
            "Verified by llama-server on {n} conversations: it builds the prompts of training.",
        )
        job.log(message)
    return [
        _different_prompts_problem(cause, [one for one in differences if cause in one.causes])
        for cause in JinjaCause
        if any(cause in one.causes for one in differences)
    ]


def find_jinja_differences(
    server: LlamaServer, tokenizer: PreTrainedTokenizerBase, trained: Sequence[TrainedPrompt]
) -> list[JinjaDifference]:
    """Return the conversations for which the server has other token IDs, or no prompt."""
    bos = str(tokenizer.bos_token or "")
    finder = CauseFinder(server, tokenizer)
    differences: list[JinjaDifference] = []
    for one in trained:
        try:
            prompt = server.apply_template(one.messages, one.probe.tools, one.probe.switches)
        except ValueError as error:
            refused = describe_refusal(one, text(str(error)))
            differences.append(JinjaDifference(one, refused, frozenset({JinjaCause.UNKNOWN})))
            continue
        ids = server.tokenize(prompt)
        if ids != one.ids:
            difference = describe_difference(one, prompt, ids, bos)
            differences.append(JinjaDifference(one, difference, finder.find(one)))
    return differences


#: The codes, what the server does, and the remedies.
_CAUSES: dict[JinjaCause, tuple[str, Text, Text]] = {
    JinjaCause.REASONING: (
        "export.server_reasoning",
        text(
            "llama.cpp sets `enable_thinking` to true unless a request sets it, and training doesn't set it"
        ),
        text(
            "To get the same prompts as in training, set `think` to false in requests to Ollama, or start "
            "llama-server with `--reasoning off`."
        ),
    ),
    JinjaCause.REASONING_SET: (
        "export.server_sets_reasoning",
        text(
            "llama.cpp always sets `enable_thinking`, and the chat template writes another prompt "
            "where it isn't set, as in training"
        ),
        text(
            "Before training, set it at the start of the chat template: `{example}`.",
            example="{%- set enable_thinking = false %}",
        ),
    ),
    JinjaCause.EARLIER_REASONING: (
        "export.server_keeps_reasoning",
        text(
            "llama.cpp keeps the reasoning of earlier answers in the prompt, and the chat template "
            "removes it in training"
        ),
        text(
            "To get the same prompts as in training, start llama-server with `--no-reasoning-preserve`, or don't "
            "send the reasoning of earlier answers."
        ),
    ),
    JinjaCause.DATE: (
        "export.server_date",
        text(
            "llama.cpp writes today's date where the chat template writes another one in training"
        ),
        text(
            "Send training's date as `date_string` in `chat_template_kwargs`, or choose a chat template "
            "without a date before training."
        ),
    ),
    JinjaCause.SYSTEM: (
        "export.server_system",
        text(
            "llama.cpp writes the system message before the first question, because the chat template "
            "omits it"
        ),
        text(
            "Don't send a system message, or choose a chat template with system messages before "
            "training."
        ),
    ),
    JinjaCause.TRIMMED: (
        "export.server_trims",
        text("llama.cpp removes white space around every message for chat templates like this one"),
        text("Remove white space around the messages of your data, then train again."),
    ),
    JinjaCause.SAFE: (
        "export.server_safe_filter",
        text(
            "The chat template uses the filter `safe`, which llama.cpp ignores and with which Python "
            "escapes the texts that are added"
        ),
        text("Remove this filter from the chat template before training."),
    ),
    JinjaCause.UNKNOWN: (
        "export.other_jinja",
        text("llama.cpp renders this chat template differently from transformers"),
        text(
            "Choose another chat template before training, or use the TEMPLATE with Ollama before 0.30."
        ),
    ),
}


def describe_cause(cause: JinjaCause) -> Text:
    """Return what the server does as a phrase."""
    _, reason, _ = _CAUSES[cause]
    return reason


def _different_prompts_problem(
    cause: JinjaCause, differences: Sequence[JinjaDifference]
) -> Problem:
    code, reason, advice = _CAUSES[cause]
    first = differences[0].difference
    kinds = dict.fromkeys(one.difference.kind for one in differences)
    return warning(
        code,
        "{reason}. The prompt differs for {kinds}. For “{question}” the server refuses: {refused}"
        if first.refused
        else "{reason}. The prompt differs for {kinds}. For “{question}” it has {actual} instead of "
        "{expected}.",
        "{advice} Ollama 0.30 and later, LM Studio, and llama.cpp are affected.",
        where=Where(step="export"),
        reason=reason,
        advice=advice,
        kinds=listed([kind.description for kind in kinds]),
        question=first.question,
        refused=first.refused,
        actual=repr(first.actual),
        expected=repr(first.expected),
    )
