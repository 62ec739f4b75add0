"""Predict which prompt an Ollama server builds: from its renderer, the TEMPLATE, or the GGUF's Jinja.

Ollama chooses by version, architecture, and content of the templates. The rules are those of its source
at 0.33.0-rc2 of 2026-08-21 (server/images.go, server/routes.go, server/create.go, template/template.go,
thinking/template.go); the first version with each rule is from the tags of its repository. Nothing here
asks a server: a prediction becomes a proof only when the server's own prompt is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from lora_studio.core.messages import Text, text
from lora_studio.core.templates.go.parsing import (
    ActionNode,
    BranchNode,
    CallNode,
    FieldNode,
    Node,
    PipeNode,
    RangeNode,
    TextNode,
)
from lora_studio.core.templates.go.rendering import GoTemplate, GoTemplateError
from lora_studio.core.templates.server.prompt_proof import PromptPath as PromptPath
from lora_studio.core.templates.server.rendering import iter_names

Version = tuple[int, ...]

#: From here on, llama-server runs GGUF files and applies their own chat template.
NATIVE_SINCE: Version = (0, 30)

#: `_debug_render_only` answers with the prompt instead of generating.
RENDERS_SINCE: Version = (0, 11, 5)

#: Renderers that `create` sets by architecture, and since when.
FORCED_RENDERERS: dict[str, tuple[str, Version]] = {
    "gemma4": ("gemma4", (0, 21)),
    "laguna": ("laguna", (0, 22, 1)),
    "nemotron_h": ("nemotron-3-nano", (0, 22, 1)),
    "nemotron_h_moe": ("nemotron-3-nano", (0, 22, 1)),
    "nemotron_h_omni": ("nemotron-3-nano", (0, 22, 1)),
}

#: What a server shows for a model without TEMPLATE.
NO_TEMPLATE = "{{ .Prompt }}"


@dataclass(frozen=True)
class ServedModel:
    """What decides about the prompt: both templates ("" for none), and the model's configuration."""

    architecture: str
    chat_template: str = ""
    template: str = ""
    renderer: str = ""
    parser: str = ""


@dataclass(frozen=True)
class PathPrediction:
    """The path that a server is expected to use, and why, unless OLLAMA_GO_TEMPLATE is set there."""

    path: PromptPath
    reason: Text


def parse_version(version: str) -> Version:
    """Return a version as numbers; one that isn't numeric (a development build) counts as the newest."""
    parts = version.lstrip("v").split("-")[0].split("+")[0].split(".")
    return tuple(map(int, parts)) if all(map(str.isdigit, parts)) else (10**9,)


def find_forced_renderer(version: Version, architecture: str) -> str:
    """Return the renderer that `create` sets for an architecture, "" for none."""
    renderer, since = FORCED_RENDERERS.get(architecture, ("", (0,)))
    return renderer if version >= since else ""


def predict_prompt_path(version: Version, model: ServedModel) -> PathPrediction:
    """Return the path that a server of this version uses for a model."""
    forced = find_forced_renderer(version, model.architecture)
    if renderer := model.renderer or forced:
        reason = text(
            "Ollama uses its own renderer {renderer} for the architecture {architecture}"
            if forced
            else "the model was created with the renderer {renderer}",
            renderer=renderer,
            architecture=model.architecture,
        )
        return PathPrediction(PromptPath.RENDERER, reason)
    if version < NATIVE_SINCE:
        if model.template:
            reason = text("Ollama before 0.30 renders only TEMPLATEs")
            return PathPrediction(PromptPath.TEMPLATE, reason)
        return PathPrediction(PromptPath.NONE, text("Ollama before 0.30 needs a TEMPLATE"))
    if model.parser or _is_harmony(model):
        reason = text("a parser or Harmony is used, which excludes the chat template")
        return PathPrediction(PromptPath.TEMPLATE, reason)
    return _predict_mixed(model)


def correct_path(
    prediction: PathPrediction, version: Version, model: ServedModel, *, selects_jinja: bool
) -> PathPrediction:
    """Return the prediction, or the other template if the server says that it has selected that one.

    Since 0.30, `/api/show` has the chat template in place of the TEMPLATE if it is the one that is used
    (server/routes.go, selectedModelTemplate).
    """
    if version < NATIVE_SINCE or prediction.path is PromptPath.RENDERER:
        return prediction
    if selects_jinja == (prediction.path is PromptPath.CHAT_TEMPLATE):
        return prediction
    if not selects_jinja and not model.template:
        return PathPrediction(PromptPath.NONE, text("the server found no template"))
    path = PromptPath.CHAT_TEMPLATE if selects_jinja else PromptPath.TEMPLATE
    return PathPrediction(path, text("the server shows that it selected it"))


def _predict_mixed(model: ServedModel) -> PathPrediction:
    """Return the path of a server that can use either template."""
    if not model.template:
        if not model.chat_template:
            return PathPrediction(PromptPath.NONE, text("the model has no template"))
        reason = text("the model has no TEMPLATE")
        return PathPrediction(PromptPath.CHAT_TEMPLATE, reason)
    if not model.chat_template:
        reason = text("the GGUF file has no chat template")
        return PathPrediction(PromptPath.TEMPLATE, reason)
    if _prefers_chat_template(model):
        reason = text("the chat template supports more than the TEMPLATE (tools or thinking)")
        return PathPrediction(PromptPath.CHAT_TEMPLATE, reason)
    reason = text("the TEMPLATE supports what the chat template does")
    return PathPrediction(PromptPath.TEMPLATE, reason)


def _is_harmony(model: ServedModel) -> bool:
    marks = ("<|start|>", "<|end|>")
    return model.architecture in ("gptoss", "gpt-oss") and all(m in model.template for m in marks)


# ------------------------------------------------------------------------------- what create sends


@dataclass(frozen=True)
class CreationPlan:
    """The TEMPLATE to create a model with, "" for none, and the path that follows."""

    template: str
    prediction: PathPrediction


def plan_creation(version: Version, model: ServedModel, template: str) -> CreationPlan | None:
    """Return what to create a model with; `template` is the verified TEMPLATE, "" if there is none.

    A server that can use the chat template in the GGUF file gets no TEMPLATE, so that none can win
    over it. Returns None if only a verified TEMPLATE could give the trained prompt.
    """
    bare = replace(model, template="")
    prediction = predict_prompt_path(version, bare)
    if prediction.path in (PromptPath.RENDERER, PromptPath.CHAT_TEMPLATE):
        return CreationPlan("", prediction)
    if not template:
        return None
    return CreationPlan(template, predict_prompt_path(version, replace(model, template=template)))


# ------------------------------------------------------------------------------------ capabilities


def list_chat_template_abilities(chat_template: str) -> frozenset[str]:
    """Return what Ollama reads from a Jinja template: `tools` and `thinking`."""
    abilities = {"tools"} if "tools" in chat_template or "tool_call" in chat_template else set()
    if ("<think>" in chat_template and "</think>" in chat_template) or (
        re.search(r"""content\.split\((['"])</think>\1\)""", chat_template)
        and "reasoning_content" not in chat_template
        and "<SPECIAL_12>" not in chat_template
    ):
        abilities.add("thinking")
    return frozenset(abilities)


def list_template_abilities(template: str) -> frozenset[str]:
    """Return what Ollama reads from a TEMPLATE: `tools`, `insert` and `thinking`; none if invalid."""
    try:
        tree = GoTemplate(template).tree
    except GoTemplateError:
        return frozenset()
    names = set(iter_names(tree))
    abilities = {"tools"} & names
    if "suffix" in names:
        abilities.add("insert")
    if all(_infer_thinking_tags(tree.root)):
        abilities.add("thinking")
    return frozenset(abilities)


def _prefers_chat_template(model: ServedModel) -> bool:
    """Return whether the chat template wins while OLLAMA_GO_TEMPLATE is unset."""
    jinja = list_chat_template_abilities(model.chat_template)
    go = list_template_abilities(model.template)
    jinja_answers = _has_jinja_round_trip(model.chat_template)
    go_answers = _has_template_round_trip(model.template)
    if len(jinja) > len(go):
        return jinja_answers or not go_answers
    return jinja == go and "tools" in jinja and jinja_answers and not go_answers


_JINJA_RESULTS = re.compile(
    r"""tool_response|tool_results|ipython|role(['"])\] == (['"])tool\2|message\.role == (['"])tool\3"""
)


def _has_jinja_round_trip(chat_template: str) -> bool:
    calls = "tool_calls" in chat_template or "assistant_tool_call" in chat_template
    return calls and bool(_JINJA_RESULTS.search(chat_template))


def _has_template_round_trip(template: str) -> bool:
    try:
        names = set(iter_names(GoTemplate(template).tree))
    except GoTemplateError:
        return False
    marks = ('eq .Role "tool"', "tool_response", "TOOL_RESULTS")
    return {"tools", "toolcalls"} <= names and any(mark in template for mark in marks)


def _infer_thinking_tags(root: tuple[Node, ...]) -> tuple[str, str]:
    """Return the texts around .Thinking in a range over .Messages, ("", "") without one."""
    opening = closing = ""
    for nodes in _iter_thinking_lists(root, in_messages=False):
        if isinstance(nodes[0], TextNode):
            opening = nodes[0].value.decode("utf-8", "replace").strip()
        if isinstance(nodes[-1], TextNode):
            closing = nodes[-1].value.decode("utf-8", "replace").strip()
    return opening, closing


def _iter_thinking_lists(
    nodes: tuple[Node, ...], *, in_messages: bool
) -> Iterator[tuple[Node, ...]]:
    """Yield, in order, the innermost list of nodes around each .Thinking."""
    for node in nodes:
        match node:
            case ActionNode(pipe) | CallNode(pipe=PipeNode() as pipe):
                if in_messages and _reads_field(pipe, "Thinking"):
                    yield nodes
            case RangeNode():
                inner = _reads_field(node.pipe, "Messages")
                yield from _iter_thinking_lists(node.body, in_messages=inner)
                yield from _iter_thinking_lists(node.otherwise, in_messages=inner)
            case BranchNode():
                if in_messages and _reads_field(node.pipe, "Thinking"):
                    yield nodes
                yield from _iter_thinking_lists(node.then, in_messages=in_messages)
                yield from _iter_thinking_lists(node.otherwise, in_messages=in_messages)


def _reads_field(pipe: PipeNode, field: str) -> bool:
    """Return whether an operand of the pipeline is a field that starts with this name."""
    for command in pipe.commands:
        for operand in command.operands:
            if isinstance(operand, PipeNode):
                if _reads_field(operand, field):
                    return True
            elif isinstance(operand, FieldNode) and operand.names[:1] == (field,):
                return True
    return False


# --------------------------------------------------------------------------------------- Gemma 4

#: The sizes that Ollama looks for in names, and from how many parameters on a model has each.
_GEMMA4_SIZES = (
    ("31b", 29_000_000_000), ("26b", 20_000_000_000), ("12b", 12_000_000_000),
    ("e4b", 6_500_000_000), ("e2b", 0),
)  # fmt: skip

_GEMMA4_SIZE = re.compile("|".join(size for size, _ in _GEMMA4_SIZES), re.IGNORECASE)


def name_gemma4_prompt(name: str, parameters: int) -> str:
    """Return which of its two Gemma 4 prompts Ollama chooses, `small` or `large`: by name, then by size."""
    lower = name.lower()
    if "e2b" in lower or "e4b" in lower:
        return "small"
    if any(size in lower for size in ("12b", "26b", "31b")):
        return "large"
    return "large" if parameters >= 12_000_000_000 else "small"


def suggest_gemma4_name(name: str, parameters: int) -> str:
    """Return a name with which Ollama chooses the prompt of the model's size: the same if it does."""
    if name_gemma4_prompt(name, parameters) == name_gemma4_prompt("", parameters):
        return name
    right = next(size for size, least in _GEMMA4_SIZES if parameters >= least)
    return _GEMMA4_SIZE.sub(right, name)


# Predict which parts of answers an Ollama server separates: reasoning and tool calls.
#
# A part that it doesn't recognize arrives as text in `content`. The rules are those of its source at
# 0.33.0-rc2 of 2026-08-21 (server/routes.go, ChatHandler; thinking/template.go; tools/tools.go;
# llm/llama_server.go); the first version with each rule is from the tags of its repository.

#: Servers return reasoning in `thinking`.
_THINKING_SINCE: Version = (0, 9)


class AnswerPart(StrEnum):
    """A part of an answer that clients expect in a field of its own."""

    THINKING = "thinking"
    TOOLS = "tools"

    @property
    def description(self) -> Text:
        """Return the part as a phrase."""
        return _PARTS[self]


_PARTS = {
    AnswerPart.THINKING: text("reasoning (`thinking`)"),
    AnswerPart.TOOLS: text("tool calls (`tool_calls`)"),
}


def list_unparsed_parts(
    version: Version, model: ServedModel, path: PromptPath, parts: Mapping[AnswerPart, str]
) -> tuple[AnswerPart, ...]:
    """Return the parts that a server leaves in the text of answers.

    `parts` are those that the model was trained to write, each with an answer that has it.
    """
    match path:
        case PromptPath.RENDERER:  # `create` sets a parser with each renderer
            return ()
        case PromptPath.CHAT_TEMPLATE:
            # llama.cpp separates both; requests with tools are refused without this capability.
            parsed = {AnswerPart.THINKING, *list_chat_template_abilities(model.chat_template)}
        case PromptPath.TEMPLATE if not model.parser:
            parsed = {*list_template_abilities(model.template)}
            if version < _THINKING_SINCE:
                parsed.discard(AnswerPart.THINKING)
            # Arguments written as a JSON object are the only form that is recognized.
            if not re.search(r'\{\s*"[^"]*"\s*:', parts.get(AnswerPart.TOOLS, "")):
                parsed.discard(AnswerPart.TOOLS)
        case PromptPath.TEMPLATE:
            return ()
        case _:
            parsed = set()
    return tuple(part for part in parts if part not in parsed)
