"""Checks of a model in Ollama: its self-test, its token ids, the server's own token count."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from lora_studio.core.messages import counted, listed, text
from lora_studio.core.problems import Fix, Problem, Where, fail, warning
from lora_studio.core.runs import selftest_report
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.heldout import read_heldout
from lora_studio.core.tasks.samples import UnusableRow
from lora_studio.core.templates.go.rendering import GoTemplate, GoTemplateError
from lora_studio.core.templates.ollama_template import DerivedTemplate
from lora_studio.core.templates.probing.probe_conversations import put_thoughts_in_content
from lora_studio.core.templates.proof import (
    ConversationKind,
    ProofCase,
    find_kinds,
    generate_conversations,
)
from lora_studio.core.templates.server.prompt_path import suggest_gemma4_name
from lora_studio.core.templates.server.rendering import build_template_data
from lora_studio.engine.model import gguf_header
from lora_studio.engine.runtime import llama_cpp
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tokens.chat_format import ChatFormat, wrap_tools
from lora_studio.engine.tokens.trained_prompts import to_ollama

#: Conversations whose token IDs are compared, and held-out ones whose prompts are.
_COMPARED, _RENDERED = 24, 200

_WHERE = Where(step="export")


def require_passing_selftest(run: RunFolder, quantization: str, *, anyway: bool) -> None:
    """Raise ProblemError when a file, or what it was made from, failed the self-test of its run.

    With `anyway` the loss of a low-bit quantization is accepted, but never another fault.
    """
    stages: list[dict[str, Any]] = selftest_report.read(run).get("stages", [])  # [] if not tested
    failed = {stage["stage"]: stage for stage in stages if not stage["passed"]}
    is_direct = selftest_report.is_direct_file(run, quantization)
    tested = [stage["stage"] for stage in stages]
    before = selftest_report.list_stages_before(quantization, tested, is_direct=is_direct)
    faulty = [name for name in before if name in failed]
    if quantization in failed and not failed[quantization]["tokens_equal"]:  # or never measured
        faulty.append(quantization)
    if is_direct and faulty == ["merged"]:
        raise fail(
            "ollama.untested",
            "The merged model failed its self-test, and {quantization} hasn't been tested since.",
            "Export again or run the self-test again, then create the model.",
            where=_WHERE,
            quantization=quantization,
        )
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


def require_trained_chat_template(tokenizer: PreTrainedTokenizerBase, gguf: Path) -> None:
    """Raise ProblemError unless the GGUF file contains the chat template of training, byte for byte."""
    embedded = gguf_header.read(gguf).values.get("tokenizer.chat_template")
    if embedded != tokenizer.get_chat_template():
        raise fail(
            "export.other_chat_template",
            "{file} contains another chat template than the model was trained with."
            if embedded
            else "{file} contains no chat template.",
            "Export again with the built-in llama.cpp. Your own version changes or drops the template.",
            where=Where(step="export", field="llama_cpp", file=str(gguf)),
            file=gguf.name,
        )


def compare_ids(
    run: RunFolder,
    tokenizer: PreTrainedTokenizerBase,
    gguf: Path,
    derived: DerivedTemplate,
    job: JobContext,
) -> Problem | None:
    """Return the problem if Ollama would read other tokens than the tokenizer, else None.

    One side is the chat template through the tokenizer; the other the TEMPLATE, or the chat template
    if there is none, through llama.cpp, which adds BOS by its own rule. Conversations from the
    dataset decide; those of the proof contain rare Unicode white space, on which tokenizers differ
    for other reasons.
    """
    from_dataset = _get_test_conversations(run, derived)
    conversations = from_dataset + _get_proof_conversations(derived, _COMPARED)
    today = date.today()
    bos = _get_added_bos(tokenizer, gguf)
    expected = [_tokenize_talk(tokenizer, talk, bos) for talk in conversations]
    if derived.proven:
        template = GoTemplate(derived.template)
        prompts = [
            template.render(build_template_data(talk), today=today) for talk in conversations
        ]
    else:
        # llama.cpp renders the chat template itself and removes the BOS that it adds.
        added = str(tokenizer.bos_token) if bos else ""
        prompts = [_render_talk(tokenizer, talk).removeprefix(added) for talk in conversations]
    actual = llama_cpp.tokenize_prompts(gguf, prompts)
    equal = [one == two for one, two in zip(expected, actual, strict=True)]
    if not all(equal[: len(from_dataset)]):
        index = equal.index(False)
        return _different_tokens_problem(conversations[index], expected[index], actual[index])
    _report_equal_tokens(equal, job, with_template=derived.proven)
    return None


def find_differing_rows(
    run: RunFolder, tokenizer: PreTrainedTokenizerBase, gguf: Path, derived: DerivedTemplate
) -> Problem | None:
    """Return a warning if the TEMPLATE builds other prompts than training for held-out conversations.

    The proof covers what the TEMPLATE supports. These conversations show whether the data needs more.
    """
    form, template, today = ChatFormat(tokenizer), GoTemplate(derived.template), date.today()
    added = str(tokenizer.bos_token) if _get_added_bos(tokenizer, gguf) else ""
    differing, equal = list[frozenset[ConversationKind]](), list[frozenset[ConversationKind]]()
    for sample in read_heldout(run)[:_RENDERED]:
        turns = list(sample.messages)
        while turns and turns[-1].role == "assistant":
            turns.pop()
        if not turns:
            continue
        messages = to_ollama(turns)
        if ".Thinking" not in derived.template:  # then servers leave reasoning in the content
            messages = [put_thoughts_in_content(message) for message in messages]
        tools = tuple(wrap_tools(sample.tools) or ())
        actual: str | None
        try:
            expected = form.render(turns, sample.tools, prompt=True).removeprefix(added)
            actual = template.render(build_template_data(messages, tools), today=today)
        except UnusableRow:
            continue  # never trained
        except GoTemplateError:
            actual = None
        kinds = find_kinds(ProofCase(messages, tools))
        (equal if expected == actual else differing).append(kinds)
    if not differing:
        return None
    present = frozenset[ConversationKind]().union(*differing)
    causes = present.difference(*equal) or present
    return warning(
        "export.template_loses_data",
        "Ollama's TEMPLATE builds other prompts than training for {differing} of {rows} validation "
        "conversations, which have {kinds}."
        if causes
        else "Ollama's TEMPLATE builds other prompts than training for {differing} of {rows} validation "
        "conversations.",
        "The log lists what the TEMPLATE can't express. Ollama 0.30 and later can use the chat template in the "
        "GGUF file instead: set OLLAMA_GO_TEMPLATE=0 there. Or remove such conversations from your data and "
        "train again.",
        where=_WHERE,
        differing=len(differing),
        rows=len(differing) + len(equal),
        kinds=listed([kind.description for kind in ConversationKind if kind in causes]),
    )


def _report_equal_tokens(equal: Sequence[bool], job: JobContext, *, with_template: bool) -> None:
    message = (
        counted(
            sum(equal),
            "TEMPLATE and chat template give the same tokens in {n} conversation.",
            "TEMPLATE and chat template give the same tokens in {n} conversations.",
        )
        if with_template
        else counted(
            sum(equal),
            "The GGUF file and the tokenizer give the same tokens in {n} conversation.",
            "The GGUF file and the tokenizer give the same tokens in {n} conversations.",
        )
    )
    job.log(message)
    if different := len(equal) - sum(equal):
        message = counted(
            different,
            "In {n} conversation with unusual characters, the tokens of the GGUF file differ.",
            "In {n} conversations with unusual characters, the tokens of the GGUF file differ.",
        )
        job.log(message)


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
    ids: list[int] = tokenizer(_render_talk(tokenizer, talk), add_special_tokens=False).input_ids
    return [*front, *ids] if ids[: len(front)] != [*front] else ids


def _render_talk(tokenizer: PreTrainedTokenizerBase, talk: Sequence[dict[str, Any]]) -> str:
    text = tokenizer.apply_chat_template(list(talk), tokenize=False, add_generation_prompt=True)
    return str(text)


def _get_added_bos(tokenizer: PreTrainedTokenizerBase, gguf: Path) -> list[int]:
    """Return the BOS that the server adds to every prompt, or [].

    If the chat template writes none, as may be in files of others, prompts have one token more; the
    derivation lists that among the limits.
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


def check_gemma4_name(name: str, architecture: str, parameters: int) -> Problem | None:
    """Return a warning if the model's name makes Ollama choose the prompt of another size."""
    if architecture != "gemma4":
        return None
    right = suggest_gemma4_name(name, parameters)
    if right == name:
        return None
    return warning(
        "ollama.misleading_name",
        "Ollama reads the size of a Gemma 4 model from its name, and {model} names another size.",
        "Create it as {suggestion}, or leave the size out of the name.",
        where=Where(step="export", field="ollama_name"),
        fix=Fix(
            label=text("Use {suggestion}", suggestion=right),
            step="export",
            field="ollama_name",
            value=right,
        ),
        model=name,
        suggestion=right,
    )
