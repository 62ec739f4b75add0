"""What each version of Ollama does when it creates a model and builds a prompt, for the fake server.

Written from the server's source, apart from the program's own rules, so that both can be compared. Every
rule names the version since when it applies and the file at 0.33.0-rc2 (2026-08-21) in which it was read;
those marked "release notes" were read in discussions up to 0.34.2 (2026-09-17).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lora_studio.core.templates.chat_template import ChatTemplate
from lora_studio.core.templates.server.rendering import render_as_server
from lora_studio.core.templates.server.terms import RenderRequest

#: Versions that stand for the changes between them.
VERSIONS = ("0.9.3", "0.29.1", "0.30.0", "0.33.0", "0.34.2")

#: server/images.go, GetModel: what a model without TEMPLATE layer has (template/template.go, DefaultTemplate).
DEFAULT_TEMPLATE = "{{ .Prompt }}"

#: server/create.go, createModel: since 0.21 (gemma4) and 0.22.1.
RENDERERS = {
    "gemma4": ("gemma4", (0, 21, 0), ["<turn|>"]),
    "laguna": ("laguna", (0, 22, 1), None),
    "nemotron_h": ("nemotron-3-nano", (0, 22, 1), None),
    "nemotron_h_moe": ("nemotron-3-nano", (0, 22, 1), None),
    "nemotron_h_omni": ("nemotron-3-nano", (0, 22, 1), None),
}

#: template/index.json has about twenty; one is enough to show what they do.
STOCK_JINJA = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
STOCK_TEMPLATE = (
    "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}{{ if .Prompt }}"
    "<|im_start|>user\n{{ .Prompt }}<|im_end|>\n{{ end }}<|im_start|>assistant\n{{ .Response }}<|im_end|>\n"
)
STOCK_STOPS = ["<|im_start|>", "<|im_end|>"]


def parse(version: str) -> tuple[int, int, int]:
    """Return a release as three numbers."""
    numbers = [int(part) for part in version.split("-")[0].split(".")]
    major, minor, patch = (*numbers, 0, 0)[:3]
    return major, minor, patch


@dataclass(frozen=True)
class Created:
    """What `create` stores for a model."""

    template: str = ""
    renderer: str = ""
    parser: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rules:
    """The rules of one version; `go_template` is the server's OLLAMA_GO_TEMPLATE, None if unset."""

    version: str
    go_template: bool | None = None

    @property
    def shows_prompts(self) -> bool:
        """api/types.go, DebugRenderOnly: since 0.11.5."""
        return parse(self.version) >= (0, 11, 5)

    @property
    def is_native(self) -> bool:
        """llm/llama_server.go: llama-server runs GGUF files since 0.30."""
        return parse(self.version) >= (0, 30, 0)

    @property
    def copies_files(self) -> bool:
        """server/create.go, copyLayerWithLlamaQuantize: since 0.30 the digest changes."""
        return self.is_native

    @property
    def refuses_adapters(self) -> bool:
        """Release notes: ADAPTER is refused since 0.34.1."""
        return parse(self.version) >= (0, 34, 1)

    def create(self, body: Mapping[str, Any], architecture: str, jinja: str) -> Created:
        """server/create.go, createModel, and server/model.go, detectChatTemplate."""
        template = str(body.get("template") or "")
        parameters = dict(body.get("parameters") or {})
        if _distance_is_below(jinja, STOCK_JINJA, 100):
            parameters.setdefault("stop", STOCK_STOPS)
            template = template or STOCK_TEMPLATE
        renderer, since, stop = RENDERERS.get(architecture, ("", (0, 0, 0), None))
        if parse(self.version) < since:
            renderer, stop = "", None
        if stop:
            parameters.setdefault("stop", stop)
        return Created(template, renderer, renderer, parameters)

    def select(self, model: Created, architecture: str, jinja: str) -> str:
        """server/images.go, selectedTemplateSource: renderer, go, jinja or none."""
        if model.renderer:
            return "renderer"
        if not self.is_native:
            return "go" if model.template else "none"
        harmony = "<|start|>" in model.template and "<|end|>" in model.template
        if model.parser or (architecture in ("gptoss", "gpt-oss") and harmony):
            return "go"
        if model.template and self._uses_go(model.template, jinja):
            return "go"
        return "jinja" if jinja else "none"

    def _uses_go(self, template: str, jinja: str) -> bool:
        """server/routes.go, shouldUseGoTemplate; server/images.go, shouldPreferChatTemplate."""
        if self.go_template is not None:
            return self.go_template
        if not jinja:
            return True
        one, two = self.jinja_abilities(jinja), go_abilities(template)
        if len(one) > len(two):
            return _go_round_trip(template) and not _jinja_round_trip(jinja)
        if one != two or "tools" not in one:
            return True
        return _go_round_trip(template) or not _jinja_round_trip(jinja)

    @staticmethod
    def jinja_abilities(jinja: str) -> set[str]:
        """server/images.go, chatTemplateCapabilities."""
        abilities = set()
        if "tools" in jinja or "tool_call" in jinja:
            abilities.add("tools")
        splits = "content.split('</think>')" in jinja or 'content.split("</think>")' in jinja
        unread = "reasoning_content" not in jinja and "<SPECIAL_12>" not in jinja
        if ("<think>" in jinja and "</think>" in jinja) or (splits and unread):
            abilities.add("thinking")
        return abilities

    def capabilities(self, selected: str, model: Created, jinja: str) -> list[str]:
        """server/images.go, Capabilities: those of the selected template."""
        abilities = {"jinja": self.jinja_abilities(jinja), "go": go_abilities(model.template)}
        extra = {"tools", "thinking"} if selected == "renderer" else abilities.get(selected, set())
        return ["completion", *sorted(extra)]

    def parse(
        self, selected: str, model: Created, jinja: str, answer: str, body: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the fields of an answer: server/routes.go, ChatHandler and handleNativeChat."""
        tools = [tool["function"]["name"] for tool in body.get("tools") or ()]
        capable = self.capabilities(selected, model, jinja)
        thinks = body.get("think", True) and "thinking" in capable
        if selected in ("jinja", "renderer"):  # llama.cpp's parser, or the renderer's own
            thinks = thinks or "<think>" in answer
        elif parse(self.version) < (0, 9, 0):
            thinks = False  # api/types.go, Message: thinking since 0.9
        fields: dict[str, Any] = {}
        if thinks and (match := re.fullmatch(r"\s*<think>(.*?)</think>(.*)", answer, re.DOTALL)):
            fields["thinking"], answer = match[1].strip(), match[2].lstrip()
        if tools and "tools" in capable:
            tag = "<tool_call>" if "<tool_call>" in answer else "{"  # llama.cpp knows both
            if selected == "go":
                tag = _find_tag(model.template)
            calls, answer = _find_calls(answer, tag, tools)
            if calls:
                fields["tool_calls"] = calls
        return {"content": answer, **fields}

    def prompt(
        self,
        selected: str,
        model: Created,
        jinja: str,
        tokens: Mapping[str, str],
        body: Mapping[str, Any],
    ) -> str:
        """Return the prompt of a request: server/prompt.go, renderPrompt, or llm/llama_server.go."""
        messages = [dict(message) for message in body["messages"]]
        think = body.get("think")
        if think is None and "thinking" in self.capabilities(selected, model, jinja):
            think = True  # server/routes.go, ChatHandler
        if selected == "jinja":
            return render_jinja(jinja, tokens, messages, body.get("tools") or (), think)
        if selected == "renderer":
            return render_with_renderer(jinja, tokens, messages, body.get("tools") or (), think)
        request = RenderRequest(
            messages=tuple(messages), tools=tuple(body.get("tools") or ()), think=think
        )
        return render_as_server(model.template or DEFAULT_TEMPLATE, request)


def render_with_renderer(
    jinja: str,
    tokens: Mapping[str, str],
    messages: Sequence[dict[str, Any]],
    tools: Sequence[dict[str, Any]],
    think: bool | None,
) -> str:
    """model/renderers: programs that ignore the chat template; no chat template here has this form."""
    return "".join(f"<|turn>{m['role']}\n{m['content']}<turn|>\n" for m in messages)


def render_jinja(
    jinja: str,
    tokens: Mapping[str, str],
    messages: Sequence[dict[str, Any]],
    tools: Sequence[dict[str, Any]],
    think: bool | None,
) -> str:
    """llm/llama_server.go: reasoning is dropped, tools are written in Go's order of fields, BOS removed."""
    plain = []
    for message in messages:
        converted = {
            key: message[key] for key in ("role", "content", "tool_call_id") if key in message
        }
        if message.get("tool_name"):
            converted["name"] = message["tool_name"]
        if message.get("tool_calls"):
            converted["tool_calls"] = [
                {"id": call.get("id", ""), "type": "function", "function": call["function"]}
                for call in message["tool_calls"]
            ]
        plain.append(converted)
    variables: dict[str, Any] = {"tools": [_order(tool) for tool in tools] or None}
    if think is not None:
        variables["enable_thinking"] = think
    template = _compile(jinja, frozenset(tokens.items()))
    prompt = template.render(plain, True, **variables)
    return prompt.removeprefix(tokens.get("bos_token", "")) if tokens.get("adds_bos") else prompt


@functools.cache
def _compile(jinja: str, tokens: frozenset[tuple[str, str]]) -> ChatTemplate:
    return ChatTemplate(jinja, dict(tokens))


def quote(value: str) -> str:
    """parser/parser.go, quote: how a value is written into a Modelfile."""
    if "\n" in value or value.startswith(" ") or value.endswith(" "):
        return f'"""{value}"""' if '"' in value else f'"{value}"'
    return value


def _find_tag(template: str) -> str:
    """tools/template.go, parseTag: the text before the first call, or an opening brace."""
    start = re.search(r"\{\{-? ?if [^}]*\.ToolCalls[^}]*\}\}", template)
    if start is None:
        return "{"
    for text in re.split(r"\{\{.*?\}\}", template[start.end() :]):
        if text.strip():
            return text.partition("{")[0].strip() or "{"
    return "{"


def _find_calls(answer: str, tag: str, tools: Sequence[str]) -> tuple[list[dict[str, Any]], str]:
    """tools/tools.go, Parser: after the tag, the name of a tool and then a JSON object."""
    before, mark, rest = answer.partition(tag)
    if not mark or (tag == "{" and before.strip()):
        return [], answer
    name = next((name for name in tools if name in rest), None)
    objects = re.search(r"\{.*\}", tag + rest if tag == "{" else rest, re.DOTALL)
    if name is None or objects is None:
        return [], answer
    try:
        content = json.JSONDecoder().raw_decode(objects[0])[0]
    except ValueError:
        return [], answer
    arguments = content.get("arguments") or content.get("parameters") or content
    return [{"function": {"name": name, "arguments": arguments}}], before


def _order(tool: Mapping[str, Any]) -> dict[str, Any]:
    """api/types.go, Tool and ToolFunction: the order in which Go writes their fields."""
    function = tool["function"]
    parameters = function.get("parameters", {})
    ordered = {
        key: parameters[key] for key in ("type", "required", "properties") if key in parameters
    }
    about = {key: function[key] for key in ("name", "description") if key in function}
    return {"type": tool["type"], "function": {**about, "parameters": ordered}}


def go_abilities(template: str) -> set[str]:
    """server/images.go, goTemplateCapabilities; thinking/template.go, InferTags (for plain tags)."""
    fields = {name.lower() for name in re.findall(r"\.([A-Za-z]+)", template)}
    abilities = {"tools"} & fields
    if "suffix" in fields:
        abilities.add("insert")
    if re.search(r"range[^}]*\.Messages", template) and re.search(
        r"\}\}[^{}]*\S[^{}]*\{\{-? ?\.Thinking ?-?\}\}\s*[^\s{]", template
    ):
        abilities.add("thinking")
    return abilities


def _go_round_trip(template: str) -> bool:
    """server/images.go, goTemplateHasToolRoundTrip."""
    fields = {name.lower() for name in re.findall(r"\.([A-Za-z]+)", template)}
    marks = ('eq .Role "tool"', "tool_response", "TOOL_RESULTS")
    return {"tools", "toolcalls"} <= fields and any(mark in template for mark in marks)


def _jinja_round_trip(jinja: str) -> bool:
    """server/images.go, chatTemplateHasToolRoundTrip."""
    marks = (
        "tool_response", "tool_results", "ipython", "role'] == 'tool'", "role'] == \"tool\"",
        "role\"] == 'tool'", 'role"] == "tool"', "message.role == 'tool'", 'message.role == "tool"',
    )  # fmt: skip
    return "tool_calls" in jinja and any(mark in jinja for mark in marks)


def _distance_is_below(one: str, two: str, limit: int) -> bool:
    """template/template.go, Named: the Levenshtein distance to a known Jinja template."""
    if not one or abs(len(one) - len(two)) >= limit:
        return False
    row = list(range(len(two) + 1))
    for number, letter in enumerate(one, 1):
        corner, row[0] = row[0], number
        for column, other in enumerate(two, 1):
            best = min(row[column] + 1, row[column - 1] + 1, corner + (letter != other))
            corner, row[column] = row[column], best
    return row[-1] < limit
