"""Prove that any model on an Ollama server gets the prompts that a Hugging Face folder defines.

The prompts are compared as after an export. Stop strings and sampling parameters are compared with the
folder's end tokens and `generation_config.json`, or with the settings of the folder's run. Weights aren't compared.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from lora_studio.core.messages import Text, text
from lora_studio.core.problems import InvalidContentError, Where, fail
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import heldout
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.foreign_files import read_json
from lora_studio.core.tasks.samples import Sample
from lora_studio.core.templates.server.prompt_path import (
    NO_TEMPLATE,
    PathPrediction,
    ServedModel,
    Version,
    correct_path,
    find_forced_renderer,
    parse_version,
    predict_prompt_path,
)
from lora_studio.core.templates.server.prompt_proof import ProbeKind, PromptPath
from lora_studio.core.templates.server.terms import RenderRequest
from lora_studio.engine.export.ollama import prompt_judge, server, template_sandbox
from lora_studio.engine.export.ollama.client import create_client
from lora_studio.engine.export.ollama.derivation import list_parameters
from lora_studio.engine.export.ollama.prompt_judge import (
    GgufReader,
    JudgedModel,
    PromptReader,
    TokenizerReader,
    describe_parameter,
)
from lora_studio.engine.generation import turn_boundaries
from lora_studio.engine.model import gguf_header, loading
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tokens.trained_prompts import (
    describe_refusal,
    describe_text_difference,
    list_trained_prompts,
    render_answers,
    to_ollama,
)


def prove_model(command: commands.ProveOllama, job: JobContext) -> events.OllamaProven:
    """Return how a model on a server differs from a folder; raises ProblemError."""
    host, name, folder = command.host, command.name, Path(command.folder)
    tokenizer, facts = _load_tokenizer(folder), read_trained_facts(folder)
    version_name = server.inspect_server(host).version
    stored = server.show_model(host, name)
    version, file = parse_version(version_name), _find_local_file(stored)
    header = gguf_header.read(file).values if file else stored.header
    judged = JudgedModel(
        host=host,
        name=name,
        version=version_name,
        tokenizer=tokenizer,
        reader=GgufReader(file) if file else _create_reader(tokenizer, header),
        system=stored.system,
        prediction=_predict_path(version, stored, header),
        can_think="thinking" in stored.capabilities,
    )
    with server.unload_afterwards(host, name):
        proof = prompt_judge.judge_prompts(judged, job)
    is_template_unseen = proof.by != "server" and proof.path is PromptPath.TEMPLATE
    settings = (
        *_compare_chat_template(tokenizer, stored),
        *(_compare_template(judged, stored, job) if is_template_unseen else ()),
        *_compare_ends(tokenizer, stored, header),
        *_compare_sampling(facts.parameters or _read_sampling(folder), stored, version, header),
        *_compare_system(stored.system, facts.system if command.system is None else command.system),
    )
    return events.OllamaProven(
        host=stored.host,
        name=name,
        folder=str(folder),
        proof=proof,
        settings=settings,
        system=stored.system,
        is_file_read=file is not None,
        trained_kinds=facts.kinds,
    )


def _load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    if not loading.has_chat_template(folder):
        raise fail(
            "ollama.no_chat_template",
            "{folder} has no chat template to compare with.",
            "Choose the model folder that the model was made from.",
            where=Where(file=str(folder)),
            folder=str(folder),
        )
    return loading.load_tokenizer(folder)


def _predict_path(
    version: Version, stored: events.OllamaShown, header: Mapping[str, Any]
) -> PathPrediction:
    """Return the path that the server uses, by its rules and by what it shows."""
    architecture = str(header.get("general.architecture") or stored.family)
    if not stored.renderer and find_forced_renderer(version, architecture):
        architecture = ""  # created by a server that didn't set the renderer yet
    model = ServedModel(
        architecture=architecture,
        chat_template=stored.chat_template or str(header.get("tokenizer.chat_template") or ""),
        template="" if stored.template == NO_TEMPLATE else stored.template,
        renderer=stored.renderer,
        parser=stored.parser,
    )
    return correct_path(
        predict_prompt_path(version, model),
        version,
        model,
        selects_jinja=bool(stored.chat_template),
    )


def _find_local_file(stored: events.OllamaShown) -> Path | None:
    """Return the model's GGUF file if the server is on this computer and the file can be read."""
    file = Path(stored.file)
    if not stored.file or not create_client(stored.host).is_loopback:
        return None
    try:
        gguf_header.read(file)
    except (InvalidContentError, OSError):
        return None
    return file


def _create_reader(tokenizer: PreTrainedTokenizerBase, header: Mapping[str, Any]) -> PromptReader:
    """Return a reader for a file that only the server can read, with llama.cpp's rules of BOS and EOS.

    Where the file doesn't say, vocabularies of SentencePiece and of Llama 3 have a BOS
    (src/llama-vocab.cpp, build 11434). The server's token counts reveal an exception.
    """
    usual = header.get("tokenizer.ggml.model") in ("llama", "gemma4") or header.get(
        "tokenizer.ggml.pre"
    ) in ("llama3", "llama-v3", "llama-bpe", "falcon3", "lfm2", "gemma4")
    adds_bos = bool(header.get("tokenizer.ggml.add_bos_token", usual))
    return TokenizerReader(
        tokenizer,
        adds_bos=adds_bos and tokenizer.bos_token_id is not None,
        adds_eos=bool(header.get("tokenizer.ggml.add_eos_token")),
    )


def _compare_system(actual: str, expected: str) -> Iterator[Text]:
    if actual.strip() != expected.strip():
        yield text(
            "the system prompt is {actual} instead of {expected}",
            actual=repr(actual),
            expected=repr(expected),
        )


def _compare_chat_template(
    tokenizer: PreTrainedTokenizerBase, stored: events.OllamaShown
) -> Iterator[Text]:
    if stored.chat_template not in ("", tokenizer.get_chat_template()):
        yield text("the chat template in the GGUF file isn't the folder's")


def _compare_template(
    model: JudgedModel, stored: events.OllamaShown, job: JobContext
) -> Iterator[Text]:
    """Yield the first plain conversation that the stored TEMPLATE renders differently.

    An older server doesn't show its prompts, but renders the TEMPLATE as this program does.
    """
    prompts = list_trained_prompts(model.tokenizer, model.system)
    plain = [one for one in prompts if one.probe.kind.is_text_only]
    system = [{"role": "system", "content": model.system}] if model.system else []
    requests: list[RenderRequest] = []
    for one in plain:
        messages = to_ollama(one.probe.messages)
        added = system if messages[0]["role"] != "system" else []
        requests.append(RenderRequest(messages=(*added, *messages)))
    rendered = template_sandbox.render_all(stored.template, requests, date.today(), job)
    bos = str(model.tokenizer.bos_token or "") if model.reader.adds_bos else ""
    for one, prompt in zip(plain, rendered, strict=True):
        if prompt != one.text.removeprefix(bos):
            difference = (
                describe_refusal(one, prompt)
                if isinstance(prompt, Text)
                else describe_text_difference(one, prompt, bos)
            )
            yield text("the TEMPLATE is different: {details}", details=difference.details)
            return


# ------------------------------------------------------------------------------- ends of answers

#: Tokens that end answers in llama.cpp by their text, besides those in the header
#: (src/llama-vocab.cpp, build 11434).
_KNOWN_ENDS = (
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>",
    "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "</s>", "<|eom_id|>", "<EOT>", "<eos>",
    "[EOT]", "[EOS]", "<turn|>", "<end_of_utterance>",
)  # fmt: skip

_END_KEYS = tuple(f"tokenizer.ggml.{name}_token_id" for name in ("eos", "eot", "eom"))


def _compare_ends(
    tokenizer: PreTrainedTokenizerBase, stored: events.OllamaShown, header: Mapping[str, Any]
) -> Iterator[Text]:
    """Yield the trained ends that the server doesn't know, and its stops that cut answers."""
    end = turn_boundaries.create_turn_end_criteria(tokenizer)
    tokens = dict(zip(tokenizer.convert_ids_to_tokens(list(end.ids)), end.ids, strict=True))
    known = {header.get(key) for key in _END_KEYS}
    for token, number in tokens.items():
        if number not in known and token not in (*_KNOWN_ENDS, *stored.stops):
            yield text("answers don't end at {token}", token=repr(token))
    if end.text and end.text not in stored.stops:
        yield text("answers don't end at {token}", token=repr(end.text))
    marks = {
        token.content for token in tokenizer.added_tokens_decoder.values() if token.special
    } | {*tokens, end.text}
    answers = render_answers(tokenizer).values()
    for stop in stored.stops:
        if stop in tokens or stop == end.text:
            continue
        # A mark of the format outside of answers, as stock templates stop at, changes nothing.
        if stop not in marks or any(stop in answer for answer in answers):
            yield text("the stop string {token} cuts answers short", token=repr(stop))


# ------------------------------------------------------------------------------------- sampling

#: The server's names of the settings in generation_config.json that it also has.
_NAMES = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p",
    "typical_p": "typical_p", "repetition_penalty": "repeat_penalty",
}  # fmt: skip

#: Settings that generation_config.json doesn't have, and their values that change nothing.
_NEUTRAL = {"presence_penalty": 0.0, "frequency_penalty": 0.0, "mirostat": 0.0, "num_predict": -1.0}

#: A server's own defaults (api/types.go, DefaultOptions, 0.33.0-rc2).
_DEFAULTS = {"temperature": 0.8, "top_p": 0.9, "top_k": 40.0, "min_p": 0.0, "typical_p": 1.0}

#: Defaults in the header of a file, which are used since 0.33.3.
_HEADER_NAMES = {
    "temperature": "temp", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p",
    "repeat_penalty": "penalty_repeat", "mirostat": "mirostat",
}  # fmt: skip
_HEADER_DEFAULTS_SINCE: Version = (0, 33, 3)

#: The penalty is 1.0 instead of 1.1 since then.
_NO_PENALTY_SINCE: Version = (0, 32, 10)


def _compare_sampling(
    wanted: Mapping[str, float],
    stored: events.OllamaShown,
    version: Version,
    header: Mapping[str, Any],
) -> Iterator[Text]:
    """Yield the parameters with which the server deviates from those of the run or the folder."""
    for name, expected in (_NEUTRAL | dict(wanted)).items():
        if name == "num_ctx" and name not in stored.parameters:  # its default depends on the memory
            yield text("{parameter} (missing)", parameter=name)
            continue
        actual = stored.parameters.get(name) or _get_default(name, version, header)
        try:
            is_equal = abs(float(actual) - expected) < 1e-6
        except ValueError:
            is_equal = False
        if not is_equal:
            yield describe_parameter(name, str(actual), f"{expected:g}")


def _get_default(name: str, version: Version, header: Mapping[str, Any]) -> float | str:
    stated = header.get(f"general.sampling.{_HEADER_NAMES.get(name, name)}")
    if version >= _HEADER_DEFAULTS_SINCE and stated is not None:
        return str(stated)
    if name == "repeat_penalty":
        return 1.0 if version >= _NO_PENALTY_SINCE else 1.1
    return _DEFAULTS.get(name, _NEUTRAL.get(name, 0.0))


def _read_sampling(folder: Path) -> dict[str, float]:
    """Return the folder's sampling settings by the server's names.

    Without `do_sample`, transformers ignores all but the penalty.
    """
    try:
        content = read_json(folder / "generation_config.json")
    except (OSError, ValueError):
        content = {}
    config = content if isinstance(content, dict) else {}
    settings = {"repeat_penalty": 1.0}
    for key, name in _NAMES.items():
        value = config.get(key)
        if isinstance(value, int | float) and (config.get("do_sample") or name == "repeat_penalty"):
            settings[name] = float(value)
    return settings


@dataclass(frozen=True)
class TrainedFacts:
    """The system prompt and parameters to serve a model with, and the special kinds of its conversations.

    `kinds` is None if the data is unknown; without a run, there are no `parameters`.
    """

    system: str = ""
    parameters: Mapping[str, float] = field(default_factory=dict)
    kinds: tuple[ProbeKind, ...] | None = None


def read_trained_facts(folder: Path) -> TrainedFacts:
    """Return the facts of the run that a folder belongs to, or none; raises ProblemError.

    The held-out conversations stand for the whole data, from which they were drawn at random.
    """
    for parent in (folder, *folder.parents[:2]):
        run = RunFolder(parent)
        if run.manifest_file.is_file() and run.project_file.is_file():
            rows = heldout.read_heldout(run)
            kinds = {kind for row in rows for kind in _iter_kinds(row)}
            spec = run.load_project().export
            return TrainedFacts(
                spec.system_prompt, list_parameters(spec), tuple(sorted(kinds)) if rows else None
            )
    return TrainedFacts()


def _iter_kinds(row: Sample) -> Iterator[ProbeKind]:
    turns = row.messages
    if any(one.role == other.role for one, other in itertools.pairwise(turns)):
        yield ProbeKind.NEIGHBORS
    if row.tools or any(turn.tool_calls or turn.role == "tool" for turn in turns):
        yield ProbeKind.TOOLS
    if any(turn.thinking or "</think>" in turn.content for turn in turns):
        yield ProbeKind.THINKING
