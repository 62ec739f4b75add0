"""Checks of a model in Ollama: its self-test, its token ids, the server's own token count."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from lora_studio.core.dataset.spec import Message
from lora_studio.core.messages import Text, counted, text
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.heldout import read_heldout
from lora_studio.core.system.foreign_files import MAX_LARGE, read_json
from lora_studio.core.templates.go.rendering import GoTemplate
from lora_studio.core.templates.ollama_template import DerivedTemplate
from lora_studio.core.templates.proof_cases import generate_conversations
from lora_studio.core.templates.server.data import build_template_data
from lora_studio.engine.export.ollama import server
from lora_studio.engine.model import loading
from lora_studio.engine.runtime import llama_cpp
from lora_studio.engine.runtime.channel import JobContext

#: Conversations whose token ids are compared, and those that the server counts tokens of.
_COMPARED, _COUNTED = 24, 3

_WHERE = Where(step="export")


def require_passing_selftest(run: RunFolder, quantization: str, *, anyway: bool) -> None:
    """Raise ProblemError when a file failed the self-test of its run.

    With `anyway` the loss of a low-bit quantization is accepted, but never another fault.
    """
    try:
        stages: list[dict[str, Any]] = read_json(run.selftest_file, MAX_LARGE)["stages"]
    except (OSError, ValueError, KeyError):
        return  # not tested, by the user's choice
    failed = {stage["stage"]: stage for stage in stages if not stage["passed"]}
    faulty = [name for name in ("merged", "converted") if name in failed]
    if quantization in failed and not failed[quantization]["tokens_equal"]:  # or never measured
        faulty.append(quantization)
    if faulty:
        raise fail(
            "ollama.failed_selftest",
            "The self-test failed for {stages}, so no model is created.",
            "Merge and export again. Details are in the run's selftest.json.",
            where=_WHERE,
            stages=", ".join(faulty),
        )
    if quantization in failed and not anyway:
        raise fail(
            "ollama.lossy",
            "{quantization} loses so much precision that its self-test failed. Nothing else is wrong.",
            "Choose a quantization with more bits, or create the model anyway (`{option}` on the "
            "command line).",
            where=Where(step="export", field="quantizations"),
            quantization=quantization,
            option="--anyway",
        )


def compare_ids(
    run: RunFolder,
    tokenizer: PreTrainedTokenizerBase,
    gguf: Path,
    derived: DerivedTemplate,
    job: JobContext,
) -> Problem | None:
    """Return the problem if Ollama would read other tokens than the tokenizer, else None.

    One side is the chat template through the tokenizer; the other the TEMPLATE through llama.cpp,
    which adds BOS by its own rule. Conversations from the dataset decide; those of the proof
    contain rare Unicode white space, on which tokenizers differ for other reasons.
    """
    from_dataset = _get_test_conversations(run, derived)
    conversations = from_dataset + _get_proof_conversations(derived, _COMPARED)
    today = date.today()
    template = GoTemplate(derived.template)
    bos = _get_added_bos(tokenizer, gguf)
    expected = [_tokenize_talk(tokenizer, talk, bos) for talk in conversations]
    prompts = [template.render(build_template_data(talk), today=today) for talk in conversations]
    actual = llama_cpp.tokenize_prompts(gguf, prompts)
    equal = [one == two for one, two in zip(expected, actual, strict=True)]
    if not all(equal[: len(from_dataset)]):
        index = equal.index(False)
        return _different_tokens_problem(conversations[index], expected[index], actual[index])
    message = counted(
        sum(equal),
        "TEMPLATE and chat template give the same tokens in {n} conversation.",
        "TEMPLATE and chat template give the same tokens in {n} conversations.",
    )
    job.emit(events.Log(text=message))
    if different := len(equal) - sum(equal):
        message = counted(
            different,
            "In {n} conversation with unusual characters, the tokens of the GGUF file differ.",
            "In {n} conversations with unusual characters, the tokens of the GGUF file differ.",
        )
        job.emit(events.Log(text=message))
    return None


def describe_untested_model(name: str, reason: Text) -> Text:
    """Return the message that a model was created but not tested."""
    return text("{model} was created, but not tested: {reason}", model=name, reason=reason)


def _get_test_conversations(run: RunFolder, derived: DerivedTemplate) -> list[list[dict[str, Any]]]:
    """Return questions from held-out conversations, else a few plain ones."""
    plain = [[{"role": "user", "content": text}] for text in ("Hello!", "What is 2 + 2?")]
    talks: list[list[dict[str, Any]]] = []
    for sample in read_heldout(run):
        turns = [{"role": turn.role, "content": turn.content} for turn in sample.messages]
        while turns and turns[-1]["role"] != "user":
            turns.pop()
        roles = {turn["role"] for turn in turns}
        alternate = all(a["role"] != b["role"] for a, b in pairwise(turns))
        refused = derived.system == "refused" and "system" in roles
        if turns and alternate and not refused and "tool" not in roles:
            talks.append(turns)
    return talks[:_COMPARED] or plain


def _get_proof_conversations(derived: DerivedTemplate, count: int) -> list[list[dict[str, Any]]]:
    """Return conversations of the proof in the usual order, which every chat template accepts."""
    usual = (
        talk
        for talk in generate_conversations()
        if all(a["role"] != b["role"] for a, b in pairwise(talk))
        and (derived.system != "refused" or talk[0]["role"] != "system")
    )
    return [talk for talk, _ in zip(usual, range(count), strict=False)]


def _tokenize_talk(
    tokenizer: PreTrainedTokenizerBase, talk: Sequence[dict[str, Any]], front: Sequence[int]
) -> list[int]:
    """Return the tokenizer's ids of a conversation, after the tokens `front` that the server adds."""
    text = tokenizer.apply_chat_template(list(talk), tokenize=False, add_generation_prompt=True)
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return [*front, *ids] if ids[: len(front)] != [*front] else ids


def _get_added_bos(tokenizer: PreTrainedTokenizerBase, gguf: Path) -> list[int]:
    """Return the BOS that the server adds to every prompt, or [].

    If the chat template writes none, prompts have one token more than in training; the derivation
    lists that among the limits.
    """
    return (
        [tokenizer.bos_token_id] if llama_cpp.should_add_bos(gguf) and tokenizer.bos_token else []
    )


def _different_tokens_problem(
    talk: Sequence[dict[str, Any]], expected: list[int], actual: list[int]
) -> Problem:
    position = next(
        (n for n, (a, b) in enumerate(zip(expected, actual, strict=False)) if a != b),
        min(len(expected), len(actual)),
    )
    return warning(
        "export.other_tokens",
        "Ollama would read different tokens from those the model was trained on: {actual} instead "
        "of {expected}, from token {position} of a conversation of {messages} messages.",
        "No Modelfile and no Ollama model were created. The tokenizer in the GGUF file differs "
        "from the model's own; a newer llama.cpp may convert it correctly.",
        where=_WHERE,
        actual=str(actual[position : position + 3]),
        expected=str(expected[position : position + 3]),
        position=position,
        messages=len(talk),
    )


def count_prompts(
    run: RunFolder,
    project: Project,
    gguf: Path,
    derived: DerivedTemplate,
    recipe: server.CreateRequest,
    job: JobContext,
) -> int:
    """Compare the server's token counts of prompts with ours; raises ProblemError if they differ.

    Returns how many were compared, 0 if the server can't run the model.
    """
    tokenizer = loading.load_tokenizer(run.tokenizer, trust=project.model.trust_remote_code)
    job.report_progress(text("comparing token counts with Ollama"), 0, None)
    talks = _get_test_conversations(run, derived)[:_COUNTED]
    for checked, talk in enumerate(talks):
        turns = tuple(Message(role=turn["role"], content=turn["content"]) for turn in talk)
        try:
            reply = server.chat(
                project.export.ollama_host, recipe.name, turns, {"num_predict": 1}, job
            )
        except ProblemError as error:
            reason = error.problems[0].what
            job.emit(events.Log(text=describe_untested_model(recipe.name, reason)))
            return checked
        own = recipe.system and talk[0]["role"] != "system"
        system = [{"role": "system", "content": recipe.system}] if own else []
        expected = len(_tokenize_talk(tokenizer, [*system, *talk], _get_added_bos(tokenizer, gguf)))
        if reply.prompt and reply.prompt != expected:
            raise fail(
                "ollama.other_prompt",
                "Ollama reads {actual} tokens, but the model was trained on {expected}.",
                "The model exists, but its answers can differ from the trained model's. Update "
                "Ollama and create it again. Check whether the server rewrites prompts.",
                where=_WHERE,
                actual=reply.prompt,
                expected=expected,
            )
    return len(talks)
