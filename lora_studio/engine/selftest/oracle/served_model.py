"""Whether a Modelfile or a model on an Ollama server is what the chat template and the project say.

Commands are read as Ollama's parser reads them. A prompt is that of the trained tokenizer's chat template, an
answer ends where the template ends it, and parameters are the project's, or change no probability.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from lora_studio.core import limits
from lora_studio.core.dataset.samples import UnusableRow
from lora_studio.core.dataset.spec import Message, Role
from lora_studio.core.export import ExportSpec
from lora_studio.core.messages import Text, text
from lora_studio.core.problems import Where, fail
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.foreign_files import read_bytes
from lora_studio.core.templates.features import TemplateFeature
from lora_studio.core.templates.go.rendering import GoTemplate, GoTemplateError
from lora_studio.core.templates.server.data import build_template_data
from lora_studio.core.templates.server.probes import ProbeKind, PromptProbe, list_probes
from lora_studio.core.templates.server.prompt_path import NO_TEMPLATE
from lora_studio.core.templates.server.terms import DerivedTemplate
from lora_studio.engine.model import gguf_header, loading
from lora_studio.engine.runtime import llama_cpp
from lora_studio.engine.selftest.value_differences import MISSING, describe_difference
from lora_studio.engine.tokens.chat_format import ChatFormat

#: Parameters with which a server samples from the probabilities of the model alone. Each must be set: the
#: defaults of servers are others (top_k 40, repeat_penalty 1.1).
_NEUTRAL = {
    "top_k": 0.0, "min_p": 0.0, "typical_p": 1.0, "repeat_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
}  # fmt: skip

#: Characters that Ollama's parser keeps although they aren't printable.
_KEPT = "\n\t\r"

#: Features without which a TEMPLATE can't have the prompts of conversations with tools.
_OF_TOOLS = frozenset({TemplateFeature.TOOLS, TemplateFeature.CALLS})


@dataclass(frozen=True)
class StatedModel:
    """What a Modelfile or a server says about a model; `template` is "" if the server uses another one."""

    template: str
    system: str
    stops: tuple[str, ...]
    parameters: Mapping[str, str]


def require_as_trained(
    run: RunFolder,
    project: Project,
    gguf: Path,
    derived: DerivedTemplate | None,
    stored: events.OllamaShown | None = None,
    *,
    quantization: str = "",
) -> None:
    """Raise ProblemError if a run's Modelfile, or the model that a server has stored, isn't what was trained.

    `gguf` is the file that was sent to the server, `derived` the TEMPLATE (None for an embedding model), of
    which only the features it claims are used. `quantization` is the chosen one ("": the project's first).
    """
    spec = project.export
    wanted = run.get_gguf_file(project.name, quantization or spec.quantizations[0])
    differences: list[Text] = []
    if stored is None:
        commands: list[tuple[str, str]] = []
        try:
            commands = read_modelfile(read_bytes(run.modelfile, limits.LARGE_FILE).decode("utf-8"))
        except ValueError as error:
            reason = str(error)
            differences.append(
                text("{key} can't be read ({reason})", key="Modelfile", reason=reason)
            )
        differences += _find_command_differences(commands, run.modelfile.parent, wanted)
        stated = _summarize(commands)
        if derived is not None and not stated.template:
            differences.append(describe_difference("TEMPLATE", derived.template, MISSING))
    else:
        is_used = stored.template != NO_TEMPLATE and not (stored.chat_template or stored.renderer)
        stated = StatedModel(stored.template if is_used else "", stored.system, stored.stops, stored.parameters)  # fmt: skip
        differences += _find_file_differences(gguf, quantization or spec.quantizations[0])
    if derived is None:
        differences += _find_parameter_differences(stated.parameters, {"num_ctx": spec.num_ctx})
    else:
        tokenizer = loading.load_tokenizer(run.tokenizer, trust=project.model.trust_remote_code)
        bos = str(tokenizer.bos_token or "") if llama_cpp.should_add_bos(gguf) else ""
        differences += find_differences(stated, tokenizer, spec, derived.covers, bos)
    if not differences:
        return
    raise fail(
        "export.other_modelfile" if stored is None else "ollama.other_settings",
        "The Modelfile isn't what the trained model needs: {differences}."
        if stored is None
        else "The model in Ollama isn't what was trained: {differences}.",
        "This is a fault of LoRA Studio. Don't use the model with these settings, and report the fault with the "
        "log of the run.",
        where=Where(step="export", file=str(run.modelfile) if stored is None else ""),
        differences=tuple(differences[:8]),
    )


def find_differences(
    stated: StatedModel,
    tokenizer: PreTrainedTokenizerBase,
    spec: ExportSpec,
    covers: Sequence[TemplateFeature],
    bos: str,
) -> list[Text]:
    """Return in what the statements about a chat model differ from the tokenizer and the project.

    `covers` are the features that the TEMPLATE claims; `bos` is what the server itself writes first.
    """
    wanted = {"temperature": spec.temperature, "top_p": spec.top_p, "num_ctx": spec.num_ctx}
    differences = _find_parameter_differences(stated.parameters, _NEUTRAL | wanted)
    system = _drop_unprintable(spec.system_prompt)
    if system != _drop_unprintable(stated.system):
        differences.append(describe_difference("SYSTEM", system, stated.system))
    differences += _find_stop_differences(stated.stops, tokenizer)
    if stated.template:
        differences += _find_prompt_differences(stated, tokenizer, covers, bos)
    return differences


# ------------------------------------------------------------------------------- the Modelfile


def read_modelfile(content: str) -> list[tuple[str, str]]:
    """Return the commands of a Modelfile with their values, as Ollama's parser reads it (parser.go).

    It drops characters that Go doesn't print, and ends a quoted value at its closing quotation mark followed by
    white space. The name of a parameter belongs to its command. Raises ValueError for another text.
    """
    content = _drop_unprintable(content)
    command = re.compile(r"[ \t\r\n]*(?:#[^\n]*(?:\n|\Z)[ \t\r\n]*)*([A-Za-z]+)[ \t]+")
    commands, at = [], 0
    while match := command.match(content, at):
        at, name = match.end(), match[1].upper()
        if name == "PARAMETER":
            if (parameter := re.compile(r"(\w+)[ \t]+").match(content, at)) is None:
                raise ValueError("a parameter has no value")
            at, name = parameter.end(), f"PARAMETER {parameter[1]}"
        mark = next((mark for mark in ('"""', '"') if content.startswith(mark, at)), "")
        end = re.compile(rf"{mark}(?=\s|\Z)" if mark else r"\n|\Z").search(content, at + len(mark))
        if end is None:
            raise ValueError(f"the value of {name} doesn't end")
        commands.append((name, content[at + len(mark) : end.start()]))
        at = end.end()
    if re.sub(r"#[^\n]*", "", content[at:]).strip():
        raise ValueError("there is text between commands")
    return commands


def _drop_unprintable(content: str) -> str:
    return "".join(each for each in content if each.isprintable() or each in _KEPT)


def _summarize(commands: Sequence[tuple[str, str]]) -> StatedModel:
    values = dict(commands)
    parameters = {
        name.partition(" ")[2]: v for name, v in commands if name.startswith("PARAMETER ")
    }
    stops = tuple(value for name, value in commands if name == "PARAMETER stop")
    parameters.pop("stop", None)
    template = values.get("TEMPLATE", "")
    return StatedModel(template, values.get("SYSTEM", ""), stops, parameters)


def _find_command_differences(
    commands: Sequence[tuple[str, str]], folder: Path, wanted: Path
) -> list[Text]:
    """Return the commands that are missing, repeated, or too many, and another file than `wanted`."""
    differences: list[Text] = []
    names = [name for name, _ in commands if name != "PARAMETER stop"]
    for name in dict.fromkeys(names):
        known = name in ("FROM", "TEMPLATE", "SYSTEM") or name.startswith("PARAMETER ")
        if not known or names.count(name) > 1:
            value = next(value for stated, value in reversed(commands) if stated == name)
            differences.append(describe_difference(name, MISSING, value))
    source = dict(commands).get("FROM", "")
    if not source or (folder / source).resolve() != wanted.resolve():
        differences.append(describe_difference("FROM", f"./{wanted.relative_to(folder).as_posix()}", source or MISSING))  # fmt: skip
    return differences


def _find_file_differences(gguf: Path, quantization: str) -> list[Text]:
    """Return the difference of a file with another quantization than the chosen one."""
    stored = gguf_header.get_file_type(gguf_header.read(gguf))
    if stored in ("", quantization):
        return []
    return [describe_difference("FROM", quantization, stored)]


# --------------------------------------------------------------------------------- parameters


def _find_parameter_differences(
    stated: Mapping[str, str], wanted: Mapping[str, float]
) -> list[Text]:
    differences = []
    for name in [*wanted, *(name for name in stated if name not in wanted)]:
        value, expected = stated.get(name, MISSING), wanted.get(name, MISSING)
        if isinstance(value, str):
            try:
                if float(value) == expected:
                    continue
            except ValueError:
                pass
        differences.append(describe_difference(name, expected, value))
    return differences


# ----------------------------------------------------------------------------- ends of answers


def _find_stop_differences(
    stops: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> Iterator[Text]:
    """Yield the ends of answers that aren't stated, and the stop strings that the template never writes."""
    between = _list_texts_between(ChatFormat(tokenizer))
    ending = next((after.lstrip() for role, after in between if role == "assistant"), "")
    eos = str(tokenizer.eos_token or "")
    if ending and not any(stop and ending.startswith(stop) for stop in stops):
        marks = (token for token in tokenizer.get_added_vocab() if ending.startswith(token))
        yield describe_difference("stop", max(marks, key=len, default=ending.rstrip()), MISSING)
    elif eos and eos not in stops:
        yield describe_difference("stop", eos, MISSING)
    known = {*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens, ending.strip()}
    for stop in stops:
        if stop not in known and not any(stop in written for _, written in between):
            yield describe_difference("stop", MISSING, stop)


def _list_texts_between(form: ChatFormat) -> list[tuple[Role | None, str]]:
    """Return what the template writes after each message of a conversation, and before the first (None)."""
    roles: tuple[Role, ...] = ("system", "user", "assistant", "user", "assistant")
    for chosen in (roles, roles[1:]):
        turns = [Message(role=role, content=f"qz{n}zq") for n, role in enumerate(chosen)]
        try:
            pieces = re.split(r"qz\dzq", form.render(turns))
        except UnusableRow:
            continue
        if len(pieces) == len(turns) + 1:
            return list(zip((None, *chosen), pieces, strict=True))
    return []


# ------------------------------------------------------------------------------------- prompts


def _find_prompt_differences(
    stated: StatedModel,
    tokenizer: PreTrainedTokenizerBase,
    covers: Sequence[TemplateFeature],
    bos: str,
) -> Iterator[Text]:
    """Yield the first conversation that the TEMPLATE renders differently than the chat template."""
    form = ChatFormat(tokenizer)
    try:
        template = GoTemplate(stated.template)
    except GoTemplateError as error:
        yield text("{key} can't be read ({reason})", key="TEMPLATE", reason=str(error))
        return
    kinds = {kind for kind in ProbeKind if kind.is_plain}
    kinds |= {ProbeKind.TOOLS} if {*covers} >= _OF_TOOLS else set()
    markers = tuple(t for t in tokenizer.get_added_vocab() if t in form.template.source)
    for probe in list_probes(markers):
        if probe.kind not in kinds:
            continue
        messages, tools = tuple(map(_sort_arguments, probe.messages)), _sort_properties(probe.tools)
        if stated.system and messages[0].role != "system":
            messages = (Message(role="system", content=stated.system), *messages)
        try:
            wanted = form.render(messages, tools, prompt=True).removeprefix(bos)
        except UnusableRow:
            continue  # never trained
        try:
            data = build_template_data(_to_request(messages), tools)
            actual = template.render(data, today=date.today())
        except GoTemplateError as error:
            yield text("{key} can't be rendered ({reason})", key="TEMPLATE", reason=str(error))
            return
        if wanted != actual:
            yield _describe_prompt(probe, wanted, actual)
            return


def _sort_arguments(turn: Message) -> Message:
    """Return a message whose tool calls have their arguments by name, the only order that Go knows."""
    calls = (
        call.model_copy(update={"arguments": dict(sorted(call.arguments.items()))})
        for call in turn.tool_calls
    )
    return turn.model_copy(update={"tool_calls": tuple(calls)})


def _sort_properties(value: Any) -> Any:
    """Return tools whose parameters are in the order of their names, the only one that Go knows."""
    if isinstance(value, Mapping):
        return {
            key: dict(sorted(_sort_properties(item).items()))
            if key == "properties"
            else _sort_properties(item)
            for key, item in value.items()
        }
    return tuple(map(_sort_properties, value)) if isinstance(value, tuple) else value


def _to_request(messages: Sequence[Message]) -> list[dict[str, object]]:
    """Return messages as the server decodes them from a request."""
    request: list[dict[str, object]] = []
    names: dict[str, str] = {}
    for turn in messages:
        message: dict[str, object] = {"role": turn.role, "content": turn.content}
        if turn.tool_calls:
            names |= {call.name: call.id for call in turn.tool_calls}
            message["tool_calls"] = [
                {"id": call.id, "function": {"name": call.name, "arguments": call.arguments}}
                for call in turn.tool_calls
            ]
        if turn.role == "tool":
            message |= {"tool_name": turn.name, "tool_call_id": names.get(turn.name, "")}
        request.append(message)
    return request


def _describe_prompt(probe: PromptProbe, wanted: str, actual: str) -> Text:
    equal = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(wanted, actual, strict=False))
    first = max(len(list(equal)) - 12, 0)
    return text(
        "{key} writes {actual} instead of {expected} for {conversation}",
        key="TEMPLATE",
        actual=repr(actual[first : first + 40]),
        expected=repr(wanted[first : first + 40]),
        conversation=probe.kind.description,
    )
