"""Find conversations for which llama.cpp's Jinja builds another prompt than the training's.

Ollama since 0.30, LM Studio, and llama.cpp render the chat template in the GGUF file with llama.cpp's own
Jinja engine. If llama-server is on this computer, the probe conversations go through it.
"""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from lora_studio.core import llama_cpp as programs
from lora_studio.core.messages import counted, listed, text
from lora_studio.core.problems import Problem, Where, warning
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.templates import constructs
from lora_studio.core.templates.chat_template import ChatTemplate
from lora_studio.core.templates.server.prompt_proof import ProbeDifference
from lora_studio.engine.export.gguf.llama_server import LlamaServer, run_server
from lora_studio.engine.export.ollama.prompt_judge import (
    TrainedPrompt,
    describe_difference,
    list_trained_prompts,
)
from lora_studio.engine.runtime.channel import JobContext


def check_chat_template(
    project: Project, tokenizer: PreTrainedTokenizerBase, gguf: Path, job: JobContext
) -> Problem | None:
    """Return a warning if llama-server builds other prompts; None if equal or if there is no server."""
    program = programs.find_server(project.export.llama_cpp)
    if program is None:
        return None
    job.report_progress(text("comparing prompts with llama-server"), 0, None)
    trained = list_trained_prompts(tokenizer, project.export.system_prompt)
    with run_server(program, gguf, job) as server:
        differences = find_jinja_differences(server, tokenizer, trained)
    if not differences:
        message = counted(
            len(trained),
            "Verified by llama-server on {n} conversation: it builds the prompt of training.",
            "Verified by llama-server on {n} conversations: it builds the prompts of training.",
        )
        job.emit(events.Log(text=message))
        return None
    return _different_jinja_problem(tokenizer, differences)


def find_jinja_differences(
    server: LlamaServer, tokenizer: PreTrainedTokenizerBase, trained: tuple[TrainedPrompt, ...]
) -> list[ProbeDifference]:
    """Return the conversations for which the server has other token IDs, or no prompt."""
    bos = str(tokenizer.bos_token or "")
    differences: list[ProbeDifference] = []
    for one in trained:
        probe = one.probe
        try:
            prompt = server.apply_template(one.messages, probe.tools, probe.think)
        except ValueError as error:
            differences.append(
                ProbeDifference(
                    kind=probe.kind, question=probe.messages[-1].content, refused=text(str(error))
                )
            )
            continue
        ids = server.tokenize(prompt)
        if ids != one.ids:
            differences.append(describe_difference(one, prompt, ids, bos))
    return differences


def _different_jinja_problem(
    tokenizer: PreTrainedTokenizerBase, differences: list[ProbeDifference]
) -> Problem:
    first = differences[0]
    kinds = dict.fromkeys(difference.kind for difference in differences)
    template = ChatTemplate(tokenizer.get_chat_template())
    suspects = [construct.title for construct in constructs.find_suspects(template)]
    return warning(
        "export.other_jinja",
        "llama.cpp renders this chat template differently for {kinds}. For “{question}” it writes "
        "{actual} instead of {expected}. Unusual parts of the template: {constructs}."
        if suspects
        else "llama.cpp renders this chat template differently for {kinds}. For “{question}” it "
        "writes {actual} instead of {expected}.",
        "Ollama 0.30 and later, LM Studio, and llama.cpp are affected. Choose a chat template without "
        "these parts before training, or use the TEMPLATE with an older Ollama.",
        where=Where(step="export"),
        kinds=listed([kind.description for kind in kinds]),
        question=first.question,
        actual=repr(str(first.refused) or first.actual),
        expected=repr(first.expected),
        constructs=listed(suspects),
    )
