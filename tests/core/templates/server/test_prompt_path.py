"""Which prompt each version of Ollama builds, by the rules in its source."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lora_studio.core.templates.server.prompt_path import (
    PathPrediction,
    PromptPath,
    ServedModel,
    find_forced_renderer,
    list_chat_template_abilities,
    list_template_abilities,
    name_gemma4_prompt,
    parse_version,
    plan_creation,
    predict_prompt_path,
    suggest_gemma4_name,
)

PLAIN_GO = "{{ range .Messages }}{{ .Role }}: {{ .Content }}\n{{ end }}"
TOOLS_GO = "{{ .Tools }}" + PLAIN_GO
ROUND_GO = (
    '{{ .Tools }}{{ range .Messages }}{{ if eq .Role "tool" }}{{ .Content }}{{ end }}'
    "{{ range .ToolCalls }}{{ .Function.Name }}{{ end }}{{ end }}"
)
THINK_GO = "{{ range .Messages }}{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ end }}"
SUFFIX_GO = "{{ .Prompt }}{{ .Suffix }}"

PLAIN = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
TOOLS = PLAIN + "{{ tools }}"
ROUND = TOOLS + "{% if m['role'] == 'tool' %}{{ m.tool_calls }}{% endif %}"
THINK = PLAIN + "<think></think>"
ROUND_THINK = ROUND + "<think></think>"


def path(version: str, model: ServedModel) -> PathPrediction:
    return predict_prompt_path(parse_version(version), model)


@pytest.mark.parametrize(
    ("jinja", "go", "expected"),
    [
        pytest.param(PLAIN, "", PromptPath.CHAT_TEMPLATE, id="no_template"),
        pytest.param("", PLAIN_GO, PromptPath.TEMPLATE, id="no_chat_template"),
        pytest.param("", "", PromptPath.NONE, id="neither"),
        pytest.param(PLAIN, PLAIN_GO, PromptPath.TEMPLATE, id="equal_without_tools"),
        pytest.param(TOOLS, PLAIN_GO, PromptPath.CHAT_TEMPLATE, id="only_jinja_has_tools"),
        pytest.param(TOOLS, TOOLS_GO, PromptPath.TEMPLATE, id="equal_with_tools"),
        pytest.param(ROUND, TOOLS_GO, PromptPath.CHAT_TEMPLATE, id="only_jinja_round_trip"),
        pytest.param(ROUND, ROUND_GO, PromptPath.TEMPLATE, id="both_round_trip"),
        pytest.param(TOOLS, ROUND_GO, PromptPath.TEMPLATE, id="only_go_round_trip"),
        pytest.param(THINK, PLAIN_GO, PromptPath.CHAT_TEMPLATE, id="only_jinja_thinks"),
        pytest.param(THINK, THINK_GO, PromptPath.TEMPLATE, id="both_think"),
        pytest.param(
            TOOLS + THINK, ROUND_GO, PromptPath.TEMPLATE, id="more_but_loses_the_round_trip"
        ),
        pytest.param(ROUND_THINK, ROUND_GO, PromptPath.CHAT_TEMPLATE, id="more_with_round_trip"),
        pytest.param(THINK, SUFFIX_GO, PromptPath.TEMPLATE, id="as_many_but_other_abilities"),
    ],
)
def test_mixed_server_chooses_between_templates(jinja: str, go: str, expected: PromptPath) -> None:
    model = ServedModel("llama", jinja, go)
    assert path("0.33.0-rc2", model).path is expected
    old = path("0.29.1", model).path
    assert old is (PromptPath.TEMPLATE if go else PromptPath.NONE)


@pytest.mark.parametrize(
    ("architecture", "version", "forced"),
    [
        pytest.param("gemma4", "0.20.9", False, id="gemma4_before"),
        pytest.param("gemma4", "0.21.0", True, id="gemma4"),
        pytest.param("laguna", "0.22.0", False, id="laguna_before"),
        pytest.param("laguna", "0.34.2", True, id="laguna"),
        pytest.param("nemotron_h_moe", "0.30.0", True, id="nemotron"),
        pytest.param("llama", "0.34.2", False, id="llama"),
    ],
)
def test_renderer_is_forced_by_architecture(architecture: str, version: str, forced: bool) -> None:
    model = ServedModel(architecture, ROUND, ROUND_GO)
    assert bool(find_forced_renderer(parse_version(version), architecture)) is forced
    assert (path(version, model).path is PromptPath.RENDERER) is forced


def test_stored_renderer_wins_and_parser_excludes_jinja() -> None:
    model = ServedModel("llama", ROUND_THINK, PLAIN_GO)
    assert path("0.33", replace(model, renderer="qwen3-coder")).path is PromptPath.RENDERER
    assert path("0.33", replace(model, parser="qwen3")).path is PromptPath.TEMPLATE


def test_harmony_excludes_jinja() -> None:
    model = ServedModel("gptoss", ROUND_THINK, "<|start|>{{ .Prompt }}<|end|>")
    assert path("0.33", model).path is PromptPath.TEMPLATE
    assert path("0.33", replace(model, architecture="llama")).path is PromptPath.CHAT_TEMPLATE


def test_template_is_sent_only_where_jinja_cannot_be_used() -> None:
    model = ServedModel("llama", PLAIN)
    old = plan_creation(parse_version("0.29"), model, PLAIN_GO)
    new = plan_creation(parse_version("0.30"), model, PLAIN_GO)
    assert old is not None
    assert (old.template, old.prediction.path) == (PLAIN_GO, PromptPath.TEMPLATE)
    assert new is not None
    assert (new.template, new.prediction.path) == ("", PromptPath.CHAT_TEMPLATE)
    assert plan_creation(parse_version("0.29"), model, "") is None
    unproven = plan_creation(parse_version("0.30"), model, "")
    assert unproven is not None
    without_jinja = plan_creation(parse_version("0.30"), ServedModel("llama"), PLAIN_GO)
    assert without_jinja is not None
    assert without_jinja.template == PLAIN_GO


@pytest.mark.parametrize(
    ("template", "abilities"),
    [
        pytest.param(PLAIN_GO, set(), id="plain"),
        pytest.param(ROUND_GO, {"tools"}, id="tools"),
        pytest.param(SUFFIX_GO, {"insert"}, id="insert"),
        pytest.param(THINK_GO, {"thinking"}, id="thinking"),
        pytest.param("{{ .Thinking }}", set(), id="thinking_outside_messages"),
        pytest.param(
            "{{ range $.Messages }}{{ if .Thinking }}a{{ .Thinking }}b{{ end }}{{ end }}",
            set(),
            id="range_over_variable",
        ),
        pytest.param("{{ if }}", set(), id="invalid"),
    ],
)
def test_abilities_of_a_template(template: str, abilities: set[str]) -> None:
    assert list_template_abilities(template) == abilities


@pytest.mark.parametrize(
    ("template", "thinks"),
    [
        pytest.param("<think></think>", True, id="both_tags"),
        pytest.param("<think>", False, id="opening_only"),
        pytest.param("content.split('</think>')", True, id="split"),
        pytest.param("content.split('</think>') reasoning_content", False, id="split_and_key"),
        pytest.param("content.split('</think>') <SPECIAL_12>", False, id="nemotron"),
    ],
)
def test_thinking_is_read_from_the_chat_template(template: str, thinks: bool) -> None:
    assert ("thinking" in list_chat_template_abilities(template)) is thinks


@pytest.mark.parametrize(
    ("name", "parameters", "prompt"),
    [
        pytest.param("pim:e4b", 31_000_000_000, "small", id="name_says_small"),
        pytest.param("pim-31B", 4_000_000_000, "large", id="name_says_large"),
        pytest.param("pim", 12_000_000_000, "large", id="large_by_size"),
        pytest.param("pim", 11_000_000_000, "small", id="small_by_size"),
    ],
)
def test_gemma4_prompt_follows_name_then_size(name: str, parameters: int, prompt: str) -> None:
    assert name_gemma4_prompt(name, parameters) == prompt


@pytest.mark.parametrize(
    ("name", "parameters", "suggestion"),
    [
        pytest.param("pim:e4b", 31_000_000_000, "pim:31b", id="large"),
        pytest.param("pim-E2B-v2", 26_000_000_000, "pim-26b-v2", id="within_a_name"),
        pytest.param("gemma4-31b", 8_000_000_000, "gemma4-e4b", id="small"),
        pytest.param("gemma4-12b", 5_000_000_000, "gemma4-e2b", id="smallest"),
        pytest.param("gemma4-e4b", 5_000_000_000, "gemma4-e4b", id="right_prompt"),
        pytest.param("pim", 12_000_000_000, "pim", id="without_a_size"),
    ],
)
def test_suggested_gemma4_name_gives_the_prompt_of_its_size(
    name: str, parameters: int, suggestion: str
) -> None:
    assert suggest_gemma4_name(name, parameters) == suggestion
    prompts = [name_gemma4_prompt(one, parameters) for one in (suggestion, "")]
    assert prompts[0] == prompts[1]


@pytest.mark.parametrize(
    ("version", "parsed"),
    [("0.33.0-rc2", (0, 33, 0)), ("v0.9.3", (0, 9, 3)), ("development", (10**9,))],
)
def test_versions_are_numbers(version: str, parsed: tuple[int, ...]) -> None:
    assert parse_version(version) == parsed
