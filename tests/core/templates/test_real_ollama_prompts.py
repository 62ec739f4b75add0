"""A real Ollama server builds the prompt of the chat template and parses answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from itertools import islice, pairwise
from pathlib import Path

import ollama
import pytest

from lora_studio.core.templates.chat_template import ChatTemplate
from lora_studio.core.templates.ollama_template import DerivedTemplate, derive, probe_template
from lora_studio.core.templates.probing.prober import Prober
from lora_studio.core.templates.proof import (
    TERSE_TOOLS,
    TOOLS,
    ProofCase,
    TemplateAbilities,
    TemplateProof,
    generate_cases,
)
from lora_studio.core.templates.server.rendering import merge_messages
from lora_studio.core.templates.server.terms import TemplateFeature
from tests.helpers.models import tiny_gguf
from tests.helpers.servers.real_ollama import Server, install, running_server

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "helpers" / "models" / "chat_templates"
FAMILIES = sorted(file.stem for file in FOLDER.glob("*.jinja"))
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
#: The date of all renderings: this server doesn't support the current date.
DAY = date(2025, 7, 4)
ASKED = 10


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    program = install()
    if isinstance(program, str):
        pytest.skip(program)
    with running_server(program, recording=True) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ollama.Client]:
    file = tiny_gguf.write(tmp_path_factory.mktemp("gguf") / "tiny.gguf")
    with ollama.Client(server.host, trust_env=False) as client:
        client.create(model="tiny", files={file.name: client.create_blob(file)})
        yield client


def created(client: ollama.Client, name: str) -> tuple[ChatTemplate, DerivedTemplate]:
    """Create a model for a family; return its chat template and derived TEMPLATE."""
    template = ChatTemplate((FOLDER / f"{name}.jinja").read_text("utf-8"), TOKENS)
    derivation = derive(
        template.render, bos="<s>", server_adds_bos=True, eos=["</s>"], frozen_date=DAY
    )
    stops = {"stop": list(derivation.stops)}
    client.create(model=name, from_="tiny", template=derivation.template, parameters=stops)
    return template, derivation


def prober_of(template: ChatTemplate) -> Prober:
    return probe_template(
        Prober(template.render, "<s>" if "bos_token" in template.source else "")
    ).prober


def understood(case: ProofCase) -> bool:
    """Return whether this old server passes the case on like newer ones do.

    It merges tool results, fills in empty descriptions, and knows neither ids nor names of results.
    """
    roles = [message["role"] for message in case.messages]
    return ("tool", "tool") not in pairwise(roles) and not any(t in TERSE_TOOLS for t in case.tools)


def get_server_prompt(server: Server, client: ollama.Client, name: str, case: ProofCase) -> str:
    """Return the prompt that the server builds from a conversation."""
    reply = client.chat(
        name, case.messages, tools=case.tools, think=case.think, options={"num_ctx": 1 << 15}
    )
    prompt = server.prompt()
    assert reply.prompt_eval_count == len(prompt.encode())
    return prompt


@pytest.mark.parametrize("name", FAMILIES)
def test_real_server_prompt_equals_the_chat_template(
    server: Server, client: ollama.Client, name: str
) -> None:
    template, derivation = created(client, name)
    named = "ToolName" in derivation.template or ".ID" in derivation.template
    able = TemplateAbilities(
        features=frozenset(derivation.covers) - ({TemplateFeature.CALLS} if named else set()),
        several_calls=False,
        content_beside_calls=False,
        nested_arguments=False,
        system=derivation.system != "refused",
    )
    original = TemplateProof(prober_of(template), derivation.template)
    compared = 0
    for case in islice(filter(understood, generate_cases(able)), ASKED):
        expected = original.render_original(
            replace(case, messages=merge_messages(case.messages)), DAY
        )
        if expected is None:
            continue
        assert get_server_prompt(server, client, name, case) == expected, case
        compared += 1
    assert compared >= ASKED // 2


@pytest.mark.parametrize(
    ("name", "marks"),
    [
        ("qwen3", ("<think>\n", "\n</think>\n\n")),
        ("smollm3", ("<think>\n", "\n</think>\n")),
        ("caller", ("<think>", "</think>\n")),
    ],
    ids=["qwen3", "smollm3", "caller"],
)
def test_real_server_separates_thinking_from_the_answer(
    server: Server, client: ollama.Client, name: str, marks: tuple[str, str]
) -> None:
    created(client, name)
    assert "thinking" in (client.show(name).capabilities or ())
    server.let_it_answer(f"{marks[0]}Hm.{marks[1]}Yes.")
    message = client.chat(name, [{"role": "user", "content": "Is it?"}], think=True).message
    assert ((message.thinking or "").strip(), message.content) == ("Hm.", "Yes.")


def test_real_server_parses_the_trained_tool_call(server: Server, client: ollama.Client) -> None:
    template, _ = created(client, "caller")
    user = {"role": "user", "content": "How is it there?"}
    function = {"name": "weather_at", "arguments": {"days": 3, "place": "Bern"}}
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": function}]}
    tools = [TOOLS[1]]
    before = template.render([user], tools=tools)
    server.let_it_answer(template.render([user, call], False, tools=tools)[len(before) :])
    message = client.chat("caller", [user], tools=tools).message
    assert [c.function.model_dump() for c in message.tool_calls or ()] == [function]
