"""Models of runs to chat with: none that a record from somebody else leads to."""

from __future__ import annotations

import pytest

from lora_studio.core.protocol import events
from lora_studio.core.runs import speakers


@pytest.mark.parametrize(
    ("recorded", "host"),
    [("http://127.0.0.1:1", "http://127.0.0.1:1"), ("http://evil.example", "ours.example")],
)
def test_record_of_a_run_sends_no_question_elsewhere(recorded: str, host: str) -> None:
    created = events.OllamaCreated(host=recorded, name="m", version="1")
    assert speakers.create_ollama_speaker(created, "ours.example").host == host
