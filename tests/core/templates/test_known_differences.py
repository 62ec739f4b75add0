"""What a derived TEMPLATE loses against its chat template is found by rendering it."""

from __future__ import annotations

from typing import Any

import pytest

from lora_studio.core.messages import Text
from lora_studio.core.templates.chat_template import ChatTemplate
from lora_studio.core.templates.ollama_template import DerivedTemplate, derive_from
from lora_studio.core.templates.proof import ConversationKind, ProofCase, find_kinds
from lora_studio.core.templates.server.rendering import render_as_server
from lora_studio.core.templates.server.terms import RenderRequest, TemplateFeature

CHATML = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}<assistant>"
#: Calls are a part of the answer's text; results have marks around them.
RESULTS = (
    "{% for m in messages %}<{{ m.role }}>"
    "{% if m.role == 'tool' %}[{{ m.content }}]{% else %}{{ m.content }}{% endif %}</s>{% endfor %}<assistant>"
)
PREAMBLE = (
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}\n{% else %}Below is a task.\n{% endif %}"
    "{% for m in messages %}{% if m.role == 'user' %}### Task:\n{{ m.content }}\n"
    "{% elif m.role == 'assistant' %}### Answer:\n{{ m.content }}</s>\n{% endif %}{% endfor %}### Answer:\n"
)
ON_REQUEST = (
    CHATML + "{% if thinking is defined and thinking %}<think>{% else %}</think>{% endif %}"
)
#: Every part of a message is followed by a blank; pictures come first.
IN_PARTS = (
    "{% for m in messages %}{{ m.role }}: "
    "{% for part in m.content %}{% if part.type == 'image' %}<image>\n{% endif %}{% endfor %}"
    "{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }} {% endif %}{% endfor %}"
    "{% endfor %}assistant:"
)
#: Results belong to a user's turn; a question right after them is in the same one.
SHARED_TURN = (
    "{% set ns = namespace(open=false) %}{% for m in messages %}"
    "{% if m.role == 'assistant' %}{% if ns.open %}</user>{% endif %}{% set ns.open = false %}"
    "<bot>{{ m.content }}{% for c in m.tool_calls or [] %}"
    "<call>{{ c.function.name }} {{ c.function.arguments | tojson }}</call>{% endfor %}</bot>"
    "{% else %}{% if not ns.open %}<user>{% endif %}{% set ns.open = true %}"
    "{% if m.role == 'tool' %}<result>{{ m.content }}</result>{% else %}{{ m.content }}{% endif %}"
    "{% endif %}{% endfor %}</user><bot>"
)


def derived(source: str) -> DerivedTemplate:
    return derive_from(ChatTemplate(source, {"eos_token": "</s>"}), eos=["</s>"])


def named(derivation: DerivedTemplate) -> set[Text]:
    """Return what the limits are about, without what they say about it."""
    return {limit.values.get("conversation", limit) for limit in derivation.limits}  # type: ignore[misc]


def is_equal(source: str, derivation: DerivedTemplate, messages: list[dict[str, Any]]) -> bool:
    prompt = render_as_server(derivation.template, RenderRequest(messages=tuple(messages)))
    return prompt == ChatTemplate(source).render(messages)


def say(*talk: str) -> list[dict[str, Any]]:
    """Return a conversation: the role's initial before each content."""
    roles = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    return [{"role": roles[line[0]], "content": line[1:]} for line in talk]


def test_tool_results_without_calls_are_derived() -> None:
    derivation = derived(RESULTS)
    assert (derivation.proven, TemplateFeature.RESULTS in derivation.covers) == (True, True)
    assert is_equal(RESULTS, derivation, say("uHi", "a{look}", "t12", "aIt is 12.", "uSure?"))
    assert is_equal(RESULTS, derivation, say("uHi", "a{look}{look}", "t12", "t13"))


@pytest.mark.slow
def test_a_question_right_after_a_result_is_derived() -> None:
    derivation = derived(SHARED_TURN)
    assert derivation.proven
    call = {"id": "a", "function": {"name": "look", "arguments": {"at": "x"}}}
    messages = say("uHi", "a", "t12", "uAnd?")
    messages[1]["tool_calls"] = [call]
    covered = TemplateFeature.INTERRUPTIONS in derivation.covers
    listed = ConversationKind.INTERRUPTIONS.description in named(derivation)
    assert is_equal(SHARED_TURN, derivation, messages) is covered is not listed


TALKS = {
    ConversationKind.USER_ROW: say("uHi", "uThere"),
    ConversationKind.ANSWER_ROW: say("uHi", "aOne", "aTwo", "uOn"),
    ConversationKind.SYSTEM_ROW: say("sOne", "sTwo", "uHi"),
    ConversationKind.SYSTEMS: say("uHi", "sBe brief.", "uOn"),
    ConversationKind.RESULTS_ALONE: say("uHi", "a{look}", "t12", "aIt is 12.", "uSure?"),
    ConversationKind.BEGINNING: say("aHello", "uHi"),
    ConversationKind.ENDING: say("uHi", "aHello"),
}
#: The kinds in which the TEMPLATEs of two sources differ. A list of them can't be empty by mistake.
DIFFERENT = {
    CHATML: {"user_row", "answer_row", "system_row"},
    PREAMBLE: {"user_row", "answer_row", "systems", "system_row", "results_alone"},
}


@pytest.mark.parametrize("source", [CHATML, PREAMBLE, RESULTS, ON_REQUEST], ids=range(4))
def test_conversations_that_differ_are_limits(source: str) -> None:
    derivation = derived(source)
    assert derivation.proven
    different = {kind for kind, talk in TALKS.items() if not is_equal(source, derivation, talk)}
    assert different == DIFFERENT.get(source, different)
    assert different == {kind for kind in TALKS if kind.description in named(derivation)}


def test_role_that_the_template_omits_is_named() -> None:
    (limit,) = (
        limit
        for limit in derived(CHATML).limits
        if limit.values.get("conversation") == ConversationKind.DEVELOPER.description
    )
    assert str(limit.values["parts"]) == "developer messages"


def test_reasoning_on_request_is_a_limit() -> None:
    assert ConversationKind.THINK_ON.description in named(derived(ON_REQUEST))
    assert ConversationKind.THINK_ON.description not in named(derived(CHATML))


def test_parts_of_a_message_are_tried() -> None:
    limits = named(derived(IN_PARTS))
    assert text_of("a message of several text parts") in limits
    assert text_of("a message with a picture") in limits
    assert text_of("a message with a picture") not in named(derived(CHATML))


def text_of(template: str) -> Text:
    return Text(template=template)


def test_all_kinds_of_a_conversation_are_found() -> None:
    call = {"function": {"name": "look", "arguments": {}}}
    messages = say("sOne", "sTwo", "aHello", "uHi", "aLet me see.", "t1", "uOn", "sBrief", "u")
    messages[4] |= {"tool_calls": [call, call], "thinking": "Hm"}
    kind = ConversationKind
    assert find_kinds(ProofCase(messages, think=True)) == {
        kind.SYSTEM_ROW, kind.SYSTEMS, kind.BEGINNING, kind.CALLS, kind.CALL_ROW, kind.PENDING_CALLS,
        kind.INTERRUPTIONS, kind.CONTENT_BESIDE_CALLS, kind.THOUGHTS_BESIDE_CALLS, kind.THINK_ON,
    }  # fmt: skip
    assert find_kinds(ProofCase(say("sOne", "uHi", "aHello", "uOn"))) == set()
