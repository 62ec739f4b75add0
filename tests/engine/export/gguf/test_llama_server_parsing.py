"""llama.cpp's own server separates reasoning and tool calls from answers, as Ollama passes them on.

Each tiny model is trained on one answer until it writes exactly that, so that the parser gets known text.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lora_studio.core.templates.server.prompt_path import (
    AnswerPart,
    PromptPath,
    ServedModel,
    list_unparsed_parts,
)
from lora_studio.engine.export.gguf import converter
from lora_studio.engine.export.gguf.llama_server import run_server
from lora_studio.engine.tokens.chat_format import ChatFormat
from tests.helpers.models.llama_cpp_folder import llama_cpp_folder
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.runs.jobs import recorded_job
from tests.helpers.servers import llama_server

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

QUESTION = {"role": "user", "content": "Which way?"}
TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Looks somewhere.",
        "parameters": {
            "type": "object",
            "properties": {"what": {"type": "string", "description": "Where"}},
            "required": ["what"],
        },
    },
}


@pytest.fixture(scope="module")
def build() -> llama_server.Build:
    outcome = llama_server.install()
    if isinstance(outcome, str):
        pytest.skip(outcome)
    return outcome


def train(folder: Path, answer: str, tools: list[dict[str, Any]]) -> None:
    """Train the model in a folder until greedy decoding gives the answer to the question."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    # llama.cpp passes today's date to chat templates.
    date = datetime.now().strftime("%d %b %Y")
    prompt = ChatFormat(tokenizer).template.render(
        [QUESTION], True, tools=tools or None, date_string=date
    )
    before = tokenizer(prompt, add_special_tokens=False).input_ids
    after = tokenizer(answer + tokenizer.eos_token, add_special_tokens=False).input_ids
    ids = torch.tensor([before + after])
    labels = torch.tensor([[-100] * len(before) + after])
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for _ in range(300):
        loss = model(input_ids=ids, labels=labels).loss
        if loss < 0.01:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.01
    model.to(torch.bfloat16).save_pretrained(folder)


@pytest.mark.parametrize(
    ("family", "template", "answer", "expected"),
    [
        pytest.param(
            "qwen3",
            "Qwen-Qwen3-0.6B",
            "<think>\nThe lamp.\n</think>\n\nUp.",
            {"reasoning_content": "The lamp.\n", "content": "Up."},
            id="thinking of Qwen3",
        ),
        pytest.param(
            "qwen3",
            "Qwen-Qwen3-0.6B",
            '<think>\nLook.\n</think>\n\n<tool_call>\n{"name": "look", "arguments": {"what": "up"}}\n'
            "</tool_call>",
            {"reasoning_content": "Look.\n", "tool_calls": [("look", {"what": "up"})]},
            id="tool call of Hermes",
        ),
        pytest.param(
            "llama3",
            "meta-llama-Llama-3.1-8B-Instruct",
            '{"name": "look", "parameters": {"what": "up"}}',
            {"tool_calls": [("look", {"what": "up"})]},
            id="tool call of Llama 3",
        ),
    ],
)
def test_parts_of_answers_arrive_in_their_fields(
    family: str,
    template: str,
    answer: str,
    expected: dict[str, Any],
    build: llama_server.Build,
    tmp_path: Path,
) -> None:
    folder = tiny_model(family, tmp_path / family)
    jinja = (build.templates / f"{template}.jinja").read_text("utf-8")
    (folder / "chat_template.jinja").write_text(jinja, "utf-8")
    tools = [TOOL] if "tool_calls" in expected else []
    train(folder, answer, tools)
    gguf, (job, _) = tmp_path / "model.gguf", recorded_job()
    converter.convert(folder, gguf, "tiny", str(llama_cpp_folder(tmp_path / "llama.cpp")), job)
    request = {"messages": [QUESTION], "temperature": 0, "max_tokens": 200}
    with run_server(str(build.program), gguf, job) as server:
        address = f"{server.address}/v1/chat/completions"
        reply = httpx.post(address, json=request | ({"tools": tools} if tools else {}), timeout=60)
    message = reply.json()["choices"][0]["message"]
    calls = [
        (call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in message.get("tool_calls") or ()
    ]
    fields = message | {"tool_calls": calls}
    assert {key: fields.get(key) for key in expected} == expected
    # What is predicted for Ollama, which passes these fields on.
    parts = {AnswerPart.THINKING: answer} if "reasoning_content" in expected else {}
    parts |= {AnswerPart.TOOLS: answer} if tools else {}
    served = ServedModel(family, jinja)
    assert list_unparsed_parts((0, 34, 2), served, PromptPath.CHAT_TEMPLATE, parts) == ()
