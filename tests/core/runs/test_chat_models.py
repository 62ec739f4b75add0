"""Models of runs to chat with: none that a record from somebody else leads to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lora_studio.core.protocol import events
from lora_studio.core.runs import chat_models, facts
from lora_studio.core.runs.folder import RunFolder


@pytest.mark.parametrize(
    ("recorded", "host"),
    [("http://127.0.0.1:1", "http://127.0.0.1:1"), ("http://evil.example", "ours.example")],
)
def test_record_of_a_run_sends_no_question_elsewhere(recorded: str, host: str) -> None:
    created = events.OllamaCreated(host=recorded, name="m", version="1")
    assert chat_models.create_ollama_chat_model(created, "ours.example").host == host


@pytest.mark.parametrize(
    ("task", "titles"),
    [("CAUSAL_LM", ["Adapter", "Checkpoint, step 5"]), ("SEQ_CLS", []), ("FEATURE_EXTRACTION", [])],
)
def test_adapters_that_write_no_text_arent_offered(
    tmp_path: Path, task: str, titles: list[str]
) -> None:
    """A classifier or an embedding model would refuse the first question."""
    run = RunFolder(tmp_path / "run")
    for folder in (run.adapter, run.checkpoint(5)):
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_text(json.dumps({"task_type": task}))
    assert [str(option.title) for option in chat_models.list_run_chat_models(run)] == titles
    assert facts.measure_sizes(run).writes_text == bool(titles)
