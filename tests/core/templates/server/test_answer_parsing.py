"""Parts of answers that each version separates, predicted and as the rules of the server parse them."""

from __future__ import annotations

import pytest

from lora_studio.core.templates.server.prompt_path import (
    AnswerPart,
    ServedModel,
    list_unparsed_parts,
    parse_version,
    predict_prompt_path,
)
from tests.helpers.servers.ollama_rules import VERSIONS, Created, Rules

_TOOL = {"type": "function", "function": {"name": "look", "description": "", "parameters": {}}}
_CALLS = (
    "{{ if .ToolCalls }}%s{{ range .ToolCalls }}"
    '{"name": "{{ .Function.Name }}", "%s": {{ .Function.Arguments }}}{{ end }}{{ end }}'
)
_RANGE = "{{ .Tools }}{{ range .Messages }}%s{{ .Content }}{{ end }}"
_THOUGHT = "{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}"

GO = {
    "plain": "{{ range .Messages }}{{ .Content }}{{ end }}",
    "thinking": "{{ range .Messages }}" + _THOUGHT + "{{ .Content }}{{ end }}",
    "hermes": _RANGE % (_THOUGHT + _CALLS % ("<tool_call>\n", "arguments")),
    "llama3": _RANGE % (_CALLS % ("", "parameters")),
    "none": "",
}
JINJA = {
    "plain": "{{ messages[0].content }}",
    "hermes": "<think></think> tools tool_calls tool_response",
    "llama3": "tools tool_calls ipython",
}
ANSWERS = {
    "hermes": '<think>Up?</think>\n<tool_call>\n{"name": "look", "arguments": {"what": "up"}}\n</tool_call>',
    "llama3": '{"name": "look", "parameters": {"what": "up"}}',
    "thinking": "<think>Up?</think>\nUp.",
    "xml": "<tool_call>\n<function=look><parameter=what>up</parameter></function>\n</tool_call>",
}
_PARTS = {
    "hermes": (AnswerPart.THINKING, AnswerPart.TOOLS),
    "llama3": (AnswerPart.TOOLS,),
    "thinking": (AnswerPart.THINKING,),
    "xml": (AnswerPart.TOOLS,),
}


@pytest.mark.parametrize("version", ["0.8.0", *VERSIONS])
@pytest.mark.parametrize(
    ("go", "jinja", "answer"),
    [
        ("plain", "plain", "hermes"),
        ("plain", "plain", "llama3"),
        ("thinking", "plain", "thinking"),
        ("hermes", "hermes", "hermes"),
        ("llama3", "llama3", "llama3"),
        ("hermes", "plain", "xml"),
        ("none", "hermes", "hermes"),
        ("none", "llama3", "llama3"),
        ("none", "plain", "llama3"),
    ],
)
def test_predicted_parts_are_those_that_the_rules_leave(
    version: str, go: str, jinja: str, answer: str
) -> None:
    model = ServedModel("llama", JINJA[jinja], GO[go])
    path = predict_prompt_path(parse_version(version), model).path
    parts = dict.fromkeys(_PARTS[answer], ANSWERS[answer])
    unparsed = list_unparsed_parts(parse_version(version), model, path, parts)
    rules, created = Rules(version), Created(GO[go])
    selected = rules.select(created, "llama", JINJA[jinja])
    body = {"tools": [_TOOL] if AnswerPart.TOOLS in parts else []}
    message = rules.parse(selected, created, JINJA[jinja], ANSWERS[answer], body)
    fields = {AnswerPart.THINKING: "thinking", AnswerPart.TOOLS: "tool_calls"}
    assert unparsed == tuple(part for part in parts if fields[part] not in message)
    if not unparsed and AnswerPart.TOOLS in parts:
        (call,) = message["tool_calls"]
        assert call["function"] == {"name": "look", "arguments": {"what": "up"}}


@pytest.mark.parametrize("version", ["0.22.1", "0.34.2"])
def test_renderers_parse_their_own_answers(version: str) -> None:
    model = ServedModel("gemma4", JINJA["plain"], "", "gemma4", "gemma4")
    path = predict_prompt_path(parse_version(version), model).path
    parts = dict.fromkeys(AnswerPart, ANSWERS["xml"])
    assert list_unparsed_parts(parse_version(version), model, path, parts) == ()
