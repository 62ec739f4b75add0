"""Check a Modelfile, or a model on an Ollama server, against the chat template and the project.

Commands are read as Ollama's parser reads them. A prompt is that of the trained tokenizer's chat template, an
answer ends where the template ends it, and parameters are the project's, or change no probability.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from lora_studio.core import limits
from lora_studio.core.export import ExportSpec
from lora_studio.core.messages import Text, text
from lora_studio.core.problems import Where, fail
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.foreign_files import read_bytes
from lora_studio.core.tasks.samples import Message, Role, UnusableRow
from lora_studio.core.templates.go.rendering import GoTemplate, GoTemplateError
from lora_studio.core.templates.server.prompt_path import NO_TEMPLATE
from lora_studio.core.templates.server.prompt_proof import ProbeKind, PromptProbe
from lora_studio.core.templates.server.rendering import build_template_data
from lora_studio.core.templates.server.terms import DerivedTemplate, TemplateFeature
from lora_studio.engine.model import gguf_header, loading
from lora_studio.engine.runtime import llama_cpp
from lora_studio.engine.selftest.tensor_faults import MISSING, describe_difference
from lora_studio.engine.tokens.chat_format import ChatFormat, count_common_prefix
from lora_studio.engine.tokens.trained_prompts import list_trained_prompts, to_ollama

#: Parameters with which a server samples from the probabilities of the model alone. Each must be set: the
#: defaults of servers are others (top_k 40, repeat_penalty 1.1).
_NEUTRAL = {
    "top_k": 0.0, "min_p": 0.0, "typical_p": 1.0, "repeat_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
}  # fmt: skip

#: Characters that Ollama's parser keeps although they aren't printable.
_KEPT = "\n\t\r"

#: Characters of a prompt that are shown, and of those before the first difference.
_SHOWN, _BEFORE = 40, 12


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
    """Raise ProblemError if a run's Modelfile, or the model that a server has stored, doesn't match the trained model.

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
        differences += _find_command_differences(commands, run.modelfile.parent, wanted, run.get_projector_file(project.name))  # fmt: skip
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
        "The Modelfile doesn't match the trained model: {differences}."
        if stored is None
        else "The model in Ollama doesn't match the trained model: {differences}.",
        "This is a bug in LoRA Studio. Don't use this model in Ollama, and report the bug with the run's log.",
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
    """Return where a Modelfile or a stored model differs from the tokenizer and the project.

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
    commands: Sequence[tuple[str, str]], folder: Path, wanted: Path, projector: Path
) -> list[Text]:
    """Return the commands that are missing, repeated, or too many, and other files than `wanted` and `projector`.

    `projector` is only wanted if it exists.
    """
    differences: list[Text] = []
    if projector.is_file():
        others = [each for each in commands if each[0] != "FROM" or (folder / each[1]).resolve() != projector.resolve()]  # fmt: skip
        if len(others) != len(commands) - 1:
            differences.append(describe_difference("FROM", projector.name, MISSING))
        commands = others
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
    """Yield the first conversation that the TEMPLATE renders differently from the chat template."""
    try:
        template = GoTemplate(stated.template)
        for prompt in list_trained_prompts(tokenizer, stated.system, _sort_keys):
            probe, messages = prompt.probe, prompt.probe.messages
            if not _is_claimed(probe, covers):
                continue
            if stated.system and messages[0].role != "system":
                messages = (Message(role="system", content=stated.system), *messages)
            data = build_template_data(to_ollama(messages), probe.tools, probe.think)
            actual = template.render(data, today=date.today())
            if actual != (expected := prompt.text.removeprefix(bos)):
                start = max(count_common_prefix(expected, actual) - _BEFORE, 0)
                yield text(
                    "{key} writes {actual} instead of {expected} for {conversation}",
                    key="TEMPLATE",
                    actual=repr(actual[start : start + _SHOWN]),
                    expected=repr(expected[start : start + _SHOWN]),
                    conversation=probe.kind.description,
                )
                return
    except GoTemplateError as error:
        yield text("{key} can't be rendered ({reason})", key="TEMPLATE", reason=str(error))


def _is_claimed(probe: PromptProbe, covers: Sequence[TemplateFeature]) -> bool:
    """Return whether a TEMPLATE with these features must render a conversation as the chat template does."""
    needed = {
        TemplateFeature.TOOLS: bool(probe.tools),
        TemplateFeature.CALLS: bool(probe.tools),
        TemplateFeature.SWITCH: probe.think is not None,
        TemplateFeature.THOUGHTS: any(turn.thinking for turn in probe.messages),
    }
    return probe.kind != ProbeKind.NEIGHBORS and {f for f, is_so in needed.items() if is_so} <= {
        *covers
    }


def _sort_keys(probe: PromptProbe) -> PromptProbe:
    """Return a conversation whose arguments and properties are sorted by name, as Go prints them."""
    messages = []
    for turn in probe.messages:
        calls = [
            call.model_copy(update={"arguments": dict(sorted(call.arguments.items()))})
            for call in turn.tool_calls
        ]
        messages.append(turn.model_copy(update={"tool_calls": tuple(calls)}))
    tools = []
    for tool in probe.tools:
        function = tool["function"]
        properties = dict(sorted(function["parameters"]["properties"].items()))
        parameters = function["parameters"] | {"properties": properties}
        tools.append(tool | {"function": function | {"parameters": parameters}})
    return replace(probe, messages=tuple(messages), tools=tuple(tools))
