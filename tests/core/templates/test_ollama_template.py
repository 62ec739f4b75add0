"""Deriving an Ollama TEMPLATE from a chat template: equal output, verdicts and quoting."""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path

import gguf
import numpy as np
import pytest
import trl

from lora_studio.core.problems import ProblemError
from lora_studio.core.templates.chat_template import ChatTemplate
from lora_studio.core.templates.emitter import SYSTEM_REFUSED, quote_literal
from lora_studio.core.templates.go.rendering import GoTemplateError
from lora_studio.core.templates.modelfile import build_modelfile
from lora_studio.core.templates.ollama_template import (
    DerivedTemplate,
    derive,
    derive_from,
    probe_template,
)
from lora_studio.core.templates.probing.prober import Prober
from lora_studio.core.templates.proof import (
    DAYS,
    ConversationKind,
    ProofCase,
    TemplateAbilities,
    TemplateProof,
    generate_cases,
    generate_conversations,
)
from lora_studio.core.templates.server.rendering import Message, build_template_data, merge_messages
from lora_studio.core.templates.server.terms import (
    CONTENT_BESIDE_CALLS,
    SEVERAL_CALLS,
    ServerNeed,
    TemplateFeature,
)
from tests.helpers.models.real_go import Job, RealGo
from tests.helpers.servers import real_ollama

FOLDER = Path(__file__).parents[2] / "helpers" / "models" / "chat_templates"
FAMILIES = sorted(file.stem for file in FOLDER.glob("*.jinja"))
QUICK = ("chatml", "zephyr", "phi3", "gemma2")
TRL = Path(trl.__file__).parent / "chat_templates"
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}


def family(name: str) -> ChatTemplate:
    return ChatTemplate((FOLDER / f"{name}.jinja").read_text("utf-8"), TOKENS)


def derived_from(template: ChatTemplate, *, frozen: date | None = None) -> DerivedTemplate:
    return derive(
        template.render, bos="<s>", server_adds_bos=True, eos=["</s>"], frozen_date=frozen
    )


@cache
def family_derived(name: str) -> DerivedTemplate:
    """Return the TEMPLATE of a family; cached, because deriving takes seconds."""
    return derived_from(family(name))


def derived(source: str) -> DerivedTemplate:
    return derived_from(ChatTemplate(source, TOKENS))


def expected(template: ChatTemplate, messages: list[Message], today: date) -> str:
    """Return the output of the chat template without one BOS; empty if it refuses."""
    try:
        text = template.render(merge_messages(messages), strftime_now=today.strftime)
    except Exception:
        return ""
    return text.removeprefix("<s>")


def able(derivation: DerivedTemplate) -> TemplateAbilities:
    """Return what a TEMPLATE supports."""
    return TemplateAbilities(
        features=frozenset(derivation.covers), system=derivation.system != "refused"
    )


def equal_in_go(go: RealGo, template: ChatTemplate, derivation: DerivedTemplate) -> list[str]:
    """Return conversations with tools, calls and thinking that differ in real Go, as text."""
    prober = Prober(template.render, "<s>" if "bos_token" in template.source else "")
    style = probe_template(prober).prober
    talks = list(generate_cases(able(derivation)))
    jobs = [
        Job(
            derivation.template,
            build_template_data(c.messages, c.tools, c.think),
            DAYS[0],
            structs=True,
        )
        for c in talks
    ]
    return [
        f"{case.messages}: {text!r} instead of {original!r}"
        for case, answer in zip(talks, go.render(jobs), strict=True)
        if (text := "(refused)" if answer.error else answer.text.decode())
        != (original := refused_or(style, replace(case, messages=merge_messages(case.messages))))
    ]


def refused_or(prober: Prober, case: ProofCase) -> str:
    """Return the output of the chat template, or "(refused)"."""
    return TemplateProof(prober, "").render_original(case, DAYS[0]) or "(refused)"


def go_differences(
    go: RealGo, template: ChatTemplate, derivation: DerivedTemplate, talks: list[list[Message]]
) -> list[tuple[list[Message], str, str]]:
    """Return conversations that differ between real Go and the chat template."""
    cases = [(talk, day) for talk in talks for day in DAYS[:2]]
    jobs = [
        Job(derivation.template, build_template_data(talk), day, structs=True)
        for talk, day in cases
    ]
    different = []
    for (talk, day), answer in zip(cases, go.render(jobs), strict=True):
        text = "" if answer.error else answer.text.decode()
        if text != (original := expected(template, talk, day)):
            different.append((talk, original, text or answer.error))
    return different


# ------------------------------------------------------------------------------- the families


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_template_of_every_family_is_derived_and_proven(name: str) -> None:
    derivation = family_derived(name)
    assert (derivation.proven, derivation.first_difference, str(derivation.reason)) == (
        True,
        None,
        "",
    )
    assert derivation.conversations >= 144
    assert derivation.system == {"gemma2": "refused", "headings": "ignored"}.get(name, "used")
    assert len(derivation.template) < (5500 if derivation.tools else 3200)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_derived_template_renders_the_same_in_real_go(real_go: RealGo, name: str) -> None:
    template, derivation = family(name), family_derived(name)
    assert equal_in_go(real_go, template, derivation) == []


def literal_characters(template: str) -> Iterator[int]:
    """Yield positions of literal characters, except in hints that are never written."""
    hints = re.finditer(r"\{\{if false\}\}.*?\{\{end\}\}", template)
    unwritten = {at for hint in hints for at in range(*hint.span())}
    yield from (at for at in _outside_actions(template) if at not in unwritten)


def _outside_actions(template: str) -> Iterator[int]:
    at = 0
    for action in re.finditer(r'\{\{(?:"(?:\\.|[^"\\])*"|[^}"])*\}\}', template):
        yield from range(at, action.start())
        at = action.end()
    yield from range(at, len(template))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in FAMILIES],
)
def test_proof_notices_any_missing_literal_character(name: str) -> None:
    template, derivation = family(name), family_derived(name)
    prober = probe_template(
        Prober(template.render, "<s>" if "bos_token" in template.source else "")
    ).prober
    days = DAYS if "currentDate" in derivation.template else DAYS[:1]
    # The proof's own conversations, those without a system message first: they find the most differences.
    talks = sorted(
        generate_cases(able(derivation)),
        key=lambda c: (c.messages[0]["role"] == "system", len(c.messages)),
    )
    original = TemplateProof(prober, derivation.template)
    originals = {
        (i, day): original.render_original(
            replace(talk, messages=merge_messages(talk.messages)), day
        )
        for i, talk in enumerate(talks)
        for day in (days if i < 2 else days[:1])
    }

    def caught(mutant: str) -> bool:
        proof = TemplateProof(prober, mutant)
        return any(
            proof.render_derived(talks[i], day) != text for (i, day), text in originals.items()
        )

    assert not caught(derivation.template)
    positions = list(literal_characters(derivation.template))
    assert len(positions) > 20
    lost = [
        derivation.template[max(0, at - 20) : at + 20]
        for at in positions[:: len(positions) // 100 + 1]
        if not caught(derivation.template[:at] + derivation.template[at + 1 :])
    ]
    assert lost == []


@pytest.mark.parametrize(
    ("name", "stops"),
    [
        ("chatml", ("</s>", "<|im_end|>", "<|im_start|>")),
        ("llama3", ("</s>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>")),
        ("gemma3", ("</s>", "<end_of_turn>", "<start_of_turn>")),
        ("mistral", ("</s>", "[INST]")),
        ("phi3", ("</s>", "<|end|>", "<|user|>")),
        ("granite", ("</s>", "<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>")),
    ],
    ids=["chatml", "llama3", "gemma3", "mistral", "phi3", "granite"],
)
def test_stops_are_the_markers_after_an_answer(name: str, stops: tuple[str, ...]) -> None:
    assert family_derived(name).stops == stops


def test_role_heading_is_a_stop_without_special_tokens() -> None:
    source = "{% for m in messages %}{{ '## ' + m.role + ':\\n' + m.content + '\\n' }}{% endfor %}"
    assert derive(ChatTemplate(source).render).stops == ("## user:",)


# ------------------------------------------------------------------------------ tools and thoughts

TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "What <known> & true",
        "parameters": {
            "type": "object",
            "properties": {"about": {"type": "string", "description": "A thing"}},
            "required": ["about"],
        },
    },
}
TALK_WITH_CALLS: list[Message] = [
    {"role": "user", "content": "Hi"},
    {
        "role": "assistant",
        "content": "",
        "thinking": "I look.",
        "tool_calls": [
            {"id": "a1b2c3d4e", "function": {"name": "look_up", "arguments": {"about": "<x>"}}}
        ],
    },
    {"role": "tool", "content": 'a "thing"', "tool_name": "look_up", "tool_call_id": "a1b2c3d4e"},
]


@pytest.mark.slow
def test_tools_keep_the_json_layout_of_the_training_data(real_go: RealGo) -> None:
    derivation = family_derived("caller")
    assert (derivation.tools, derivation.thinking) == (True, True)
    data = build_template_data(TALK_WITH_CALLS, [TOOL], None)
    text = real_go.render([Job(derivation.template, data, structs=True)])[0].text.decode()
    # Go's JSON has no spaces, escapes <, and puts "required" first.
    assert json.dumps(TOOL, ensure_ascii=False) in text
    assert (
        '<think>I look.</think>\n<call>{"name": "look_up", "arguments": {"about": "<x>"}}</call>'
        in text
    )
    assert '<result>a "thing"</result>' in text


@pytest.mark.slow
def test_call_ids_and_indented_tools_are_rendered(real_go: RealGo) -> None:
    derivation = family_derived("tagger")
    assert ServerNeed.CALL_IDS in derivation.needs
    data = build_template_data(TALK_WITH_CALLS, [TOOL], None)
    text = real_go.render([Job(derivation.template, data, structs=True)])[0].text.decode()
    assert text == (
        f"[TOOLS]{json.dumps([TOOL], indent=2)}[/TOOLS][ASK]Hi[/ASK]"
        "[CALL id=a1b2c3d4e]look_up\nabout=<x>[/CALL]</s>"
        '[RESULT id=a1b2c3d4e of=look_up]"a \\"thing\\""[/RESULT]'
    )


WITH_CALLS = (
    "{% if tools %}{{ tools|tojson }}{% endif %}{% for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{% if m.tool_calls %}[CALLS]{% endif %}<e>{% endfor %}<assistant>"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("calls", "mark"),
    [
        ("{% for c in m.tool_calls %}<c>{{ c.function|tojson }}</c>{% endfor %}", "<c>{"),
        ("{{ m.tool_calls[0].function|tojson }}", "{"),
        ("[CALLS] {{ m.tool_calls|map(attribute='function')|list|tojson }}", "[CALLS] [{"),
        (
            "\n{% for c in m.tool_calls %}<c>{{ c.function.name }}|{{ c.function.arguments|tojson }}"
            "</c>{% endfor %}",
            "<c>",
        ),
    ],
    ids=["tagged", "bare-json", "json-list", "name-and-arguments"],
)
def test_template_has_a_hint_for_the_tool_call_prefix(calls: str, mark: str) -> None:
    # Ollama uses the first text after the first {{if .ToolCalls}}, up to a brace.
    derivation = derived(WITH_CALLS.replace("[CALLS]", calls))
    assert TemplateFeature.TOOLS in derivation.covers
    hint = "{{if false}}{{if .ToolCalls}}" + mark + " {{end}}{{end}}"
    assert (
        ".ToolCalls" in derivation.template.partition(hint)[0],
        hint in derivation.template,
    ) == (
        False,
        True,
    )


@pytest.mark.parametrize(
    ("name", "marks"),
    [
        ("qwen3", ("<think>", "</think>")),
        ("smollm3", ("<think>", "</think>")),
        ("caller", ("<think>", "</think>")),
        ("chatml", None),
    ],
    ids=["qwen3", "smollm3", "caller", "chatml"],
)
def test_template_has_a_hint_for_the_thinking_markers(
    name: str, marks: tuple[str, str] | None
) -> None:
    # Ollama uses the text directly around the last .Thinking in the loop over the messages.
    template = family_derived(name).template
    assert (".Thinking" in template) == (marks is not None)
    if marks:
        loop = template.rpartition(".Messages}}")[2]
        assert loop.partition("{{.Thinking}}" + marks[1] + "{{end}}{{end}}")[0].endswith(
            "{{if false}}" + marks[0]
        )


@pytest.mark.parametrize(
    ("answer", "tail", "marks"),
    [
        ("<a>[T]{{m.thinking}}[/T]\n{{m.content}}<e>", "<a>", ("[T]", "[/T]")),
        ("<a><c>thought\n{{m.thinking}}\n<d>{{m.content}}<e>", "<a>", ("<c>thought", "<d>")),
        ("<a><t>{{m.thinking}}</t>{{m.content}}<e>", "<a><t>", ("<t>", "</t>")),
        ("<a>{{m.content.split('</think>')[-1]}}<e>", "<a>", ("<think>", "</think>")),
        ("<a>{{m.content}}<e>", "<a><think>\n", ("<think>", "</think>")),
        ("<a>Hm: {{m.thinking}}\nSo: {{m.content}}<e>", "<a>", ("Hm:", "So:")),
    ],
    ids=[
        "brackets",
        "channel",
        "tag-in-prompt",
        "stripped-content",
        "opened-in-prompt",
        "plain-text",
    ],
)
def test_thinking_markers_are_those_of_the_chat_template(
    answer: str, tail: str, marks: tuple[str, str]
) -> None:
    derivation = derived(
        "{% for m in messages %}{% if m.role == 'user' %}<u>{{m.content}}<e>{% else %}"
        + answer
        + "{% endif %}{% endfor %}"
        + tail
    )
    assert derivation.proven
    assert "{{if false}}" + "{{.Thinking}}".join(marks) + "{{end}}" in derivation.template


def test_disabled_thinking_matches_the_chat_template(
    real_go: RealGo,
) -> None:
    derivation = family_derived("caller")
    talk = [{"role": "user", "content": "Hi"}]
    jobs = [
        Job(derivation.template, build_template_data(talk, think=think), structs=True)
        for think in (None, True, False)
    ]
    plain, on, off = (answer.text.decode() for answer in real_go.render(jobs))
    assert plain == on
    assert off == plain + "<think></think>\n"


WEATHER: dict[str, object] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Of a place",
        "parameters": {
            "type": "object",
            "properties": {
                "days": {"type": "integer"},
                "hours": {"type": "array", "items": {"type": "integer"}, "description": "Which"},
                "unit": {"type": "string", "description": "Scale", "enum": ["C", "K"]},
            },
            "required": ["days", "hours"],
        },
    },
}


@pytest.mark.parametrize(
    ("name", "written"),
    [
        (
            "declarer",
            '<fn><n>weather</n><d>Of a place</d><p n="days" t="integer"></p>'
            '<p n="hours" t="array">Which items: {"type": "integer"}</p>'
            '<p n="unit" t="string">Scale<v>C</v><v>K</v></p>'
            '<must>["days", "hours"]</must></fn>',
        ),
        (
            "typer",
            "// Of a place\ntype weather = (_: {\ndays: number,\n// Which\nhours: number[],\n"
            '// Scale\nunit?: "C" | "K"\n}) => any;',
        ),
    ],
    ids=["declarer", "typer"],
)
def test_tool_parameters_are_rendered_by_their_types(
    real_go: RealGo, name: str, written: str
) -> None:
    derivation = family_derived(name)
    assert (derivation.proven, derivation.tools, derivation.notes) == (True, True, ())
    data = build_template_data([{"role": "user", "content": "Hi"}], [WEATHER], None)
    text = real_go.render([Job(derivation.template, data, structs=True)])[0].text.decode()
    assert written in text


CALLER = (
    "{% set ns = namespace(made=0) %}{% for m in messages %}{% if m.role == 'tool' %}RESULT"
    "{% elif m.tool_calls %}{{ m.content }}{% for c in m.tool_calls %}CALL{% set ns.made = ns.made + 1 %}"
    "{% endfor %};{% else %}{{ m.role[0] + ':' + m.content + ';' }}{% endif %}{% endfor %}"
)
ARGUMENTS = "{{ c.function.arguments | tojson }}"


@pytest.mark.parametrize(
    ("call", "result"),
    [
        ("<{{ c.function.name }}:{{ loop.index0 }} " + ARGUMENTS + ">", "{{ m.content }};"),
        ("<{{ loop.index }} {{ c.function.name }} " + ARGUMENTS + ">", "{{ m.content }};"),
        ('{"id": "{{ ns.made }}", "of": "{{ c.function.name }}", "with": ' + ARGUMENTS + "}",
         "{{ m.content }};"),
        # A result that finds its call by the id.
        ("<{{ c.function.name }} " + ARGUMENTS + ">",
         "{% for o in messages if o.tool_calls %}{% for c in o.tool_calls if c.id == m.tool_call_id %}"
         "{{ c.function.name }}{% endfor %}{% endfor %} -> {{ m.content }};"),
    ],
    ids=["index-from-0", "index-from-1", "running-count", "result-by-id"],
)  # fmt: skip
def test_calls_are_numbered_and_results_matched_to_them(
    real_go: RealGo, call: str, result: str
) -> None:
    source = CALLER.replace("CALL", call, 1).replace("RESULT", result, 1)
    template = ChatTemplate(source, TOKENS)
    derivation = derived_from(template)
    assert (derivation.proven, TemplateFeature.CALLS in derivation.covers) == (True, True)
    assert derivation.notes == ()
    assert equal_in_go(real_go, template, derivation) == []
    is_limit = "results in a different order than their calls" in map(str, derivation.limits)
    assert is_limit == ("tool_call_id" in result)


def test_content_after_call_results_is_listed_as_a_limit() -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'tool' %}{{ 'T:' + m.content + ';' }}"
        "{% elif m.tool_calls %}{% for c in m.tool_calls %}{{ '<' + c.function.name + ' ' }}"
        "{{ c.function.arguments | tojson }}>{% endfor %}"
        "{% set ns.late = m.content %}{% else %}{{ ns.late }}{{ m.role[0] + ':' + m.content + ';' }}"
        "{% set ns.late = '' %}{% endif %}{% endfor %}{{ ns.late }}"
    )
    derivation = derived("{% set ns = namespace(late='') %}" + source)
    assert (derivation.proven, TemplateFeature.CALLS in derivation.covers) == (True, True)
    assert CONTENT_BESIDE_CALLS in derivation.limits


def calls_of(derivation: DerivedTemplate) -> bool:
    """Return whether tool calls and their results are derived and proven."""
    return derivation.proven and TemplateFeature.CALLS in derivation.covers


PLAIN_CALL = "<{{ c.function.name }} " + ARGUMENTS + ">"


def test_template_that_writes_one_call_of_several_is_matched(
    real_go: RealGo,
) -> None:
    source = CALLER.replace("m.tool_calls %}CALL", "[m.tool_calls[0]] %}CALL")
    template = ChatTemplate(
        source.replace("CALL", PLAIN_CALL, 1).replace("RESULT", "{{ m.content }};", 1), TOKENS
    )
    derivation = derived_from(template)
    assert calls_of(derivation)
    assert SEVERAL_CALLS not in derivation.limits
    assert equal_in_go(real_go, template, derivation) == []


def test_refused_parallel_calls_are_listed_as_a_limit() -> None:
    refuse = "{% if m.tool_calls | length > 1 %}{{ raise_exception('one call') }}{% endif %}"
    source = CALLER.replace("{{ m.content }}{% for c", refuse + "{{ m.content }}{% for c")
    derivation = derived(
        source.replace("CALL", PLAIN_CALL, 1).replace("RESULT", "{{ m.content }};", 1)
    )
    assert calls_of(derivation)
    assert SEVERAL_CALLS in derivation.limits


def test_calls_replaced_by_content_are_listed_as_a_limit() -> None:
    source = CALLER.replace("{% elif m.tool_calls %}", "{% elif m.tool_calls and not m.content %}")
    derivation = derived(
        source.replace("CALL", PLAIN_CALL, 1).replace("RESULT", "{{ m.content }};", 1)
    )
    assert calls_of(derivation)
    assert CONTENT_BESIDE_CALLS in derivation.limits


def test_marker_of_the_first_tool_result_is_written_once(
    real_go: RealGo,
) -> None:
    source = (
        "{% set ns = namespace(seen=false) %}"
        + CALLER.replace("CALL", PLAIN_CALL, 1).replace(
            "RESULT",
            "{% if not ns.seen %}[{% endif %}{% set ns.seen = true %}{{ m.content }};",
            1,
        )
    ).replace("{% set ns = namespace(made=0) %}", "")
    template = ChatTemplate(source.replace("{% set ns.made = ns.made + 1 %}", ""), TOKENS)
    derivation = derived_from(template)
    assert calls_of(derivation)
    assert equal_in_go(real_go, template, derivation) == []


def test_refused_empty_system_message_is_listed_as_a_limit() -> None:
    derivation = derived(
        "{% for m in messages %}{% if m.role == 'system' and not m.content %}"
        "{{ raise_exception('empty') }}{% endif %}{{ m.role + ':' + m.content + ';' }}{% endfor %}"
    )
    assert (derivation.proven, derivation.system) == (True, "used")
    rejected = [limit.values["kinds"] for limit in derivation.limits if "kinds" in limit.values]
    assert rejected == [ConversationKind.EMPTY_SYSTEM.description]


@pytest.mark.slow
def test_tools_refused_by_the_chat_template_are_a_limit() -> None:
    source = (
        "{% for t in tools or [] %}{% for p in t.function.parameters.properties.values() %}"
        "{% if p.type == 'array' and 'items' not in p %}{{ raise_exception('of what?') }}{% endif %}"
        "{% endfor %}{{ t | tojson }};{% endfor %}"
        "{% for m in messages %}{{ m.role + ':' + m.content + ';' }}{% endfor %}"
    )
    derivation = derived(source)
    assert (derivation.proven, derivation.tools, derivation.notes) == (True, True, ())
    assert "tools that the chat template rejects" in map(str, derivation.limits)


@pytest.mark.slow
def test_thinking_between_calls_matches_the_chat_template(
    real_go: RealGo,
) -> None:
    # Thoughts of the current round are written, even next to calls without any.
    source = (
        "{% set ns = namespace(last=0) %}"
        "{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}"
        "{% endfor %}{% for m in messages %}{% if m.role == 'assistant' %}A:"
        "{% if loop.index0 > ns.last %}<think>{{ m.reasoning_content or '' }}</think>{% endif %}"
        "{{ m.content }}{% for c in m.tool_calls or [] %}" + PLAIN_CALL + "{% endfor %};"
        "{% else %}{{ m.role + ':' + m.content + ';' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}A:<think>{% endif %}"
    )
    template = ChatTemplate(source, TOKENS)
    derivation = derived_from(template)
    assert calls_of(derivation)
    assert TemplateFeature.THOUGHTS in derivation.covers
    assert equal_in_go(real_go, template, derivation) == []


def test_inexpressible_tools_are_left_out_with_a_reason() -> None:
    source = (
        "{% for t in tools or [] %}{{ t.function.name | upper }};{% endfor %}"
        "{% for m in messages %}{{ m.role + ':' + m.content + '\\n' }}{% endfor %}"
    )
    derivation = derived(source)
    assert (derivation.proven, derivation.tools) == (True, False)
    assert [note.values["feature"] for note in derivation.notes] == [
        TemplateFeature.TOOLS.description
    ]


# --------------------------------------------------------------------------- templates in the wild


@pytest.mark.slow
@pytest.mark.parametrize("step", [12, pytest.param(1, marks=pytest.mark.thorough)])
def test_trl_chat_templates_are_derived_and_equal_in_real_go(real_go: RealGo, step: int) -> None:
    files = sorted(TRL.glob("*.jinja"))[::step]
    assert len(files) >= 5
    wrong = []
    for file in files:
        template = ChatTemplate(file.read_text("utf-8"), TOKENS)
        derivation = derived_from(template)
        if not derivation.proven:
            wrong.append((file.name, derivation.reason))
        elif "Zu0uZ" in template_text(template):
            talks = list(generate_conversations())[:30]
            if differences := go_differences(real_go, template, derivation, talks):
                wrong.append((file.name, str(differences[0])))
    assert wrong == []


def template_text(template: ChatTemplate) -> str:
    """Return the rendering of one plain message; empty if contents must be lists of parts."""
    try:
        return template.render([{"role": "user", "content": "Zu0uZ"}])
    except Exception:
        return ""


# ------------------------------------------------------------------------------------ single traits


CHATML = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}<|im_start|>assistant\n"


def test_empty_system_message_can_have_its_own_form() -> None:
    source = (
        "{% if messages[0].role == 'system' %}{% set s = messages[0].content %}"
        "{{ '[' + s + ']' if s else '[none]' }}{% else %}[default]{% endif %}"
        "{% for m in messages if m.role != 'system' %}{{ m.role[0] + ':' + m.content + ';' }}{% endfor %}"
    )
    derivation = derived(source)
    assert derivation.proven
    for system, start in [("x", "[x]"), ("", "[none]"), (None, "[default]")]:
        talk = [{"role": "user", "content": "Hi"}]
        if system is not None:
            talk.insert(0, {"role": "system", "content": system})
        text = TemplateProof(
            Prober(ChatTemplate(source).render), derivation.template
        ).render_derived(ProofCase(talk), DAYS[0])
        assert text == f"{start}u:Hi;"


def test_text_that_would_break_a_modelfile_is_quoted() -> None:
    nasty = '{{ "{{x}} {%}" }}{ """ \u00a0\u200b\r}} {'
    source = "{% raw %}" + nasty + "{% endraw %}" + CHATML
    derivation = derived(source)
    assert derivation.proven
    assert '"""' not in derivation.template
    assert set(re.findall(r"[^\x20-\x7e\n\t]", derivation.template)) == set()


def test_earlier_thinking_is_omitted_like_in_the_chat_template(
    real_go: RealGo,
) -> None:
    derivation = family_derived("qwen3")
    assert "an earlier answer with a <think> block" not in map(str, derivation.limits)
    talk = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello"},
        {"role": "user", "content": "On"},
    ]
    text = real_go.render([Job(derivation.template, build_template_data(talk), structs=True)])[
        0
    ].text.decode()
    assert "hm" not in text
    assert "<|im_start|>assistant\nHello<|im_end|>" in text


def test_refused_system_message_is_an_error_in_go(
    real_go: RealGo,
) -> None:
    derivation = family_derived("gemma2")
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    answer = real_go.render([Job(derivation.template, build_template_data(talk), structs=True)])[0]
    assert SYSTEM_REFUSED in answer.error


def test_content_parts_are_tried_if_plain_text_is_refused() -> None:
    source = "{% for m in messages %}{{ m.role + ':' + m.content[0]['text'] + '\\n' }}{% endfor %}"
    assert derived(source).proven


def test_bos_in_only_some_conversations_is_refused() -> None:
    source = "{% if messages|length < 3 %}{{ bos_token }}{% endif %}" + CHATML
    derivation = derived(source)
    assert (derivation.proven, derivation.template) == (False, "")
    assert str(derivation.reason) == "only some conversations start with <s>"


def test_bos_follows_whether_the_server_adds_it() -> None:
    with_bos, without = ChatTemplate("{{ bos_token }}" + CHATML, TOKENS), ChatTemplate(CHATML)
    own_bos = derive(with_bos.render, bos="<s>", server_adds_bos=False)
    assert own_bos.proven
    assert "<s><|im_start|>" in own_bos.template
    left = derive(with_bos.render, bos="<s>", server_adds_bos=True)
    assert "<s>" not in left.template
    alone = derive(without.render, bos="<s>", server_adds_bos=True)
    assert str(alone.limits[0]) == "the server starts with <s>, the chat template doesn't"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ raise_exception('closed') }}", "rejects a single user message: closed"),
        ("{{ messages[0].content | upper }}", "omits a single user message"),
        (
            "{% for m in messages %}{{ m.content | length }}{{ m.content }},{% endfor %}",
            "whitespace around a message changes the adjacent text",
        ),
        (
            "{% for m in messages | reverse %}{{ m.content }}{% endfor %}",
            "messages are written in a different order",
        ),
        (
            "{% if messages[0].role != 'system' %}{{ raise_exception('no system') }}{% endif %}"
            + CHATML,
            "rejects a single user message: no system",
        ),
        ("{{ strftime_now('%H') }}" + CHATML, "the date format %H contains %H"),
        (
            CHATML.replace("m.content", "m.content.strip(' \\n')"),
            "whitespace around a message changes the adjacent text",
        ),
    ],
    ids=[
        "raises",
        "upper-case",
        "length",
        "reversed",
        "needs-system-message",
        "hour",
        "spaces-and-newlines",
    ],
)
def test_underivable_template_is_refused_with_a_reason(source: str, reason: str) -> None:
    derivation = derived(source)
    assert (derivation.proven, derivation.template) == (False, "")
    assert reason in str(derivation.reason)


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}",
        "{% for m in messages %}{{ m.role }}:{{ m.content }}|{{ m.content }};{% endfor %}",
        "Q: {{ messages[-1].content }}\nA:",
        "{% for m in messages[-2:] %}{{ m.role }}:{{ m.content }};{% endfor %}",
        "{% for m in messages %}{{ 'LAST ' if loop.last }}{{ m.content }};{% endfor %}",
    ],
    ids=["user-only", "repeated", "last-only", "last-two", "last-marked"],
)
def test_omitted_or_repeated_contents_are_derived(source: str, real_go: RealGo) -> None:
    template = ChatTemplate(source, TOKENS)
    derivation = derived_from(template)
    assert (derivation.proven, str(derivation.reason)) == (True, "")
    assert equal_in_go(real_go, template, derivation) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages %}{{ '[Round %d] ' % (loop.index0 // 2 + 1) if m.role == 'user' }}"
        "{{ m.content }};{% endfor %}",
        "{% for m in messages %}{{ loop.index }}. {{ m.role }}: {{ m.content }}\n{% endfor %}",
        "{% for m in messages if m.role != 'system' %}{{ loop.index0 }}:{{ m.content }};{% endfor %}",
        "{% for m in messages %}{{ loop.index if loop.index > 4 }}{{ m.content }},{% endfor %}",
        "{% for m in messages %}{{ '<third>' if loop.index0 == 2 }}{{ m.content }};{% endfor %}",
        "{% for m in messages[-5:] %}<{{ m.role }}>{{ m.content }}{% endfor %}",
        "{% for m in messages %}{{ m | tojson }}\n{% endfor %}",
        "{% for m in messages %}{{ m.role }} says {{ m.content | tojson }}.\n{% endfor %}",
    ],
    ids=[
        "rounds",
        "numbers",
        "without-system",
        "late-numbers",
        "third-message",
        "last-five",
        "json-messages",
        "json-contents",
    ],
)
def test_numbering_windows_and_json_contents_are_expressed(source: str, real_go: RealGo) -> None:
    template = ChatTemplate(source, TOKENS)
    derivation = derived_from(template)
    assert (derivation.proven, str(derivation.reason)) == (True, "")
    assert equal_in_go(real_go, template, derivation) == []


@pytest.mark.parametrize(
    ("source", "construct"),
    [
        (
            "{% for m in messages %}{{ m.content | upper }};{% endfor %}",
            "the filter upper in line 1",
        ),
        (
            "{% for m in messages %}\n{{ m.content.replace('yes', 'no') }};{% endfor %}",
            "the method replace in line 2",
        ),
        (
            "{% for m in messages %}{{ '!' if loop.index > 12 }}{{ m.content }},{% endfor %}",
            "a comparison with the number of a message in line 1",
        ),
        (
            "{% for m in messages %}{{ 'HI' if 'Hello' in m.content }}{{ m.content }},{% endfor %}",
            "a search in a text in line 1",
        ),
    ],
    ids=["filter", "method", "number-comparison", "text-search"],
)
def test_inexpressible_construct_is_named_with_an_alternative(source: str, construct: str) -> None:
    derivation = derive_from(ChatTemplate(source, TOKENS), bos="<s>", server_adds_bos=True)
    assert not derivation.proven
    assert str(derivation.reason).endswith(f"a Go template can't express {construct}")
    assert derivation.alternative is not None
    assert str(derivation.alternative.what) == f"without {construct}"
    assert derivation.alternative.derived.proven


def test_stripping_of_newlines_alone_is_matched() -> None:
    derivation = derived(CHATML.replace("m.content", "m.content.strip('\\n')"))
    assert (derivation.proven, str(derivation.reason)) == (True, "")


@pytest.mark.parametrize("strip", ["strip(' ')", "lstrip(' ')", "rstrip('\\n\\t ')"])
def test_other_selective_stripping_is_not_proven(strip: str) -> None:
    assert not derived(CHATML.replace("m.content", f"m.content.{strip}")).proven


def test_inexpressible_date_is_offered_as_a_fixed_date() -> None:
    derivation = derive_from(ChatTemplate("{{ strftime_now('%H:%M') }}\n" + CHATML, TOKENS))
    assert not derivation.proven
    assert derivation.alternative is not None
    assert derivation.alternative.derived.proven
    assert str(derivation.alternative.what).startswith("with the fixed date")


def test_content_dependent_template_is_not_proven() -> None:
    source = "{% for m in messages %}{{ m.role + ':' + m.content.replace('yes', 'no') + '\\n' }}{% endfor %}"
    derivation = derived(source)
    assert not derivation.proven
    difference = derivation.first_difference
    assert difference is not None
    assert 'system:He said "no"' in difference.expected
    assert 'system:He said "yes"' in difference.actual
    assert difference.position == len('system:He said "')
    assert str(derivation.reason) == "the two templates write different texts"


def test_frozen_date_supports_any_date_format(real_go: RealGo) -> None:
    template = ChatTemplate("{{ strftime_now('%A, %d %b %Y %H:%M') }}\n" + CHATML, TOKENS)
    derivation = derived_from(template, frozen=date(2025, 7, 4))
    assert (derivation.proven, derivation.needs, "currentDate" in derivation.template) == (
        True,
        (),
        False,
    )
    assert "Friday, 04 Jul 2025 00:00" in derivation.template


@pytest.mark.parametrize(
    "form",
    [
        "%Y-%m-%d",
        "%F",
        "%d %B %Y",
        "%b %-d, %Y",
        "%e/%m/%y",
        "%h %d",
        "100 %% %Y",
        "%-m.%-d.",
    ],
)
def test_date_formats_are_derived_from_current_date(real_go: RealGo, form: str) -> None:
    template = ChatTemplate("{{ strftime_now('" + form + "') }}\n" + CHATML, TOKENS)
    derivation = derived_from(template)
    assert derivation.proven
    assert derivation.needs == (ServerNeed.DATE,)
    days = [date(2026, month, day) for month in range(1, 13) for day in (1, 9, 10, 28)]
    talk = [{"role": "user", "content": "Hi"}]
    answers = real_go.render(
        [Job(derivation.template, build_template_data(talk), day, True) for day in days]
    )
    assert [a.text.decode().split("\n")[0] for a in answers] == [d.strftime(form) for d in days]


def test_limits_list_conversations_that_differ() -> None:
    limits = [str(limit) for limit in family_derived("smollm3").limits]
    assert "/no_think in the system message" in limits
    assert "two user messages in a row" in limits
    assert "a blank answer" not in limits


def test_server_data_merges_turns_and_collects_system_messages() -> None:
    talk = [
        {"role": "system", "content": "A"},
        {"role": "user", "content": "B"},
        {"role": "user", "content": "C"},
        {"role": "system", "content": "D"},
    ]
    data = build_template_data(talk)
    assert data["System"] == "A\n\nD"
    assert [(m["Role"], m["Content"]) for m in data["Messages"]] == [
        ("system", "A"),
        ("user", "B\n\nC"),
        ("system", "D"),
    ]
    assert talk[1] == {"role": "user", "content": "B"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "}",
        "{{",
        "}}}",
        'a"""b""""',
        "\u00a0x\r\n",
        "{x}",
        "é\t\n",
        "{}}",
        "{\u200b",
        '{"""',
    ],
    ids=[
        "empty",
        "brace",
        "closing-brace",
        "double-brace",
        "triple-brace",
        "quotes",
        "unusual-spaces",
        "braces",
        "accent",
        "closing-braces",
        "zero-width",
        "brace-and-quotes",
    ],
)
def test_quoted_literal_prints_its_exact_text(real_go: RealGo, text: str) -> None:
    template = (
        "{{if true}}" + quote_literal(text) + "{{end}}{{print}}" + quote_literal(text) + "{{print}}"
    )
    assert real_go.render([Job(template, {})])[0].text.decode() == text * 2


# ---------------------------------------------------------------------------------------- Modelfile


def test_modelfile_has_template_stops_system_and_parameters() -> None:
    derivation = DerivedTemplate(
        template='{{range .Messages}}"""{{.Content}}{{end}}', stops=("</s>", "a b")
    )
    text = build_modelfile(
        Path("/models/tuned.gguf"),
        derivation,
        "Be brief.",
        {"temperature": 0.7, "num_ctx": 4096},
    )
    assert text == (
        "FROM /models/tuned.gguf\n"
        'TEMPLATE """{{range .Messages}}{{"\\"\\"\\""}}{{.Content}}{{end}}"""\n'
        'SYSTEM """Be brief."""\n'
        "PARAMETER temperature 0.7\n"
        "PARAMETER num_ctx 4096\n"
        'PARAMETER stop """</s>"""\n'
        'PARAMETER stop """a b"""\n'
    )


def test_content_invalid_in_a_modelfile_is_refused() -> None:
    plain = DerivedTemplate(template="{{.Prompt}}")
    with pytest.raises(ProblemError, match="can't contain this system prompt"):
        build_modelfile("m.gguf", plain, 'say """ and " here')
    with pytest.raises(ProblemError, match="doesn't support a system message"):
        build_modelfile("m.gguf", plain.model_copy(update={"system": "refused"}), "Be brief.")
    with pytest.raises(ProblemError, match="An action of the TEMPLATE"):
        build_modelfile("m.gguf", DerivedTemplate(template='{{print `"""`}}'))


def tiny_gguf(file: Path) -> None:
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(1)
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.slow
def test_real_ollama_returns_the_derived_template_and_stops(tmp_path: Path) -> None:
    program = real_ollama.install()
    if isinstance(program, str):
        pytest.skip(program)
    tiny_gguf(tmp_path / "tiny model.gguf")
    system = 'Say "yes"\nor\t"no". '
    with real_ollama.running_server(program) as server:
        for name in FAMILIES:
            template = family(name)
            frozen = date(2025, 7, 4)
            derivation = derived_from(template, frozen=frozen)
            prompt = system if derivation.system != "refused" else None
            text = build_modelfile(
                tmp_path / "tiny model.gguf", derivation, prompt, {"temperature": 0.5}
            )
            (tmp_path / "Modelfile").write_text(text, "utf-8")
            environment = os.environ | {"OLLAMA_HOST": server.host, "HOME": str(tmp_path)}
            command = [str(program), "create", name, "-f", str(tmp_path / "Modelfile")]
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, (name, done.stderr)
            shown = show(server.host, name)
            assert shown["template"] == derivation.template
            assert shown.get("system", "") == (prompt or "")
            assert re.findall(r'^stop +"(.*)"$', shown["parameters"], re.M) == list(
                derivation.stops
            )


def show(host: str, name: str) -> dict[str, str]:
    request = urllib.request.Request(f"{host}/api/show", json.dumps({"model": name}).encode())
    with urllib.request.urlopen(request, timeout=30) as answer:
        shown: dict[str, str] = json.load(answer)
    return shown


def test_unparsable_go_template_is_an_error_before_the_proof() -> None:
    with pytest.raises(GoTemplateError, match="unclosed action"):
        TemplateProof(Prober(ChatTemplate(CHATML).render), "{{.Content")
