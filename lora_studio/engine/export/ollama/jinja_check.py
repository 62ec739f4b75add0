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

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from lora_studio.core import llama_cpp as programs
from lora_studio.core.messages import Text, counted, listed, text
from lora_studio.core.problems import Problem, ProblemError, Where, warning
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.templates.server.prompt_proof import ProbeDifference
from lora_studio.engine.export.gguf.llama_server import LlamaServer, run_server
from lora_studio.engine.export.ollama.jinja_causes import CauseFinder, JinjaCause
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tokens.trained_prompts import (
    TrainedPrompt,
    describe_difference,
    describe_refusal,
    list_trained_prompts,
)


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
        job.emit(events.LogLine(text=message))
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
            "For the prompts of training, set `think` to false in requests to Ollama, or start "
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
            "For the prompts of training, start llama-server with `--no-reasoning-preserve`, or don't "
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
