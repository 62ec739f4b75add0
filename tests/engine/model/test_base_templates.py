"""A base model with a chosen chat template: the adapter, merge and export all carry it."""

from __future__ import annotations

from pathlib import Path

import pytest
from gguf import GGUFReader

from lora_studio.core.protocol import commands, events
from lora_studio.engine.model.from_gguf import GgufTokenizerHeader
from lora_studio.engine.model.tokenizer import load_tokenizer
from tests.engine.conftest import TinyModel
from tests.helpers.runs.jobs import RecordingChannel, handle, new_run, write_rows

pytestmark = pytest.mark.slow

ROWS = [
    {"instruction": f"Name ship {number}.", "output": f"The ship is called Pim {number}."}
    for number in range(24)
]


def finished(channel: RecordingChannel) -> RecordingChannel:
    assert not channel.of(events.Failed), channel.of(events.Failed)
    channel.last(events.Done)
    return channel


@pytest.mark.parametrize("name", ["alpaca", pytest.param("gemma", marks=pytest.mark.thorough)])
def test_chosen_chat_template_reaches_every_output(
    name: str, tiny: TinyModel, tmp_path: Path
) -> None:
    run = new_run(
        tmp_path,
        model={"source": str(tiny("phi3")), "device": "cpu", "precision": "fp32"},
        dataset={
            "sources": [str(write_rows(tmp_path / "rows.jsonl", ROWS))],
            "chat_template": name,
            "max_length": 128,
            "validation_share": 0.25,
        },
        training={"max_steps": 2},
        export={"quantizations": ["F16"], "ollama_create": False},
    )
    finished(handle(commands.Train(run=str(run.path))))
    finished(handle(commands.Merge(run=str(run.path))))
    channel = finished(handle(commands.Export(run=str(run.path))))

    adapter, merged = (load_tokenizer(folder) for folder in (run.adapter, run.merged))
    assert adapter.chat_template == merged.chat_template
    text = merged.apply_chat_template(
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes."}],
        tokenize=False,
    )
    answer_start = {"alpaca": "### Response:\n", "gemma": "<start_of_turn>model\n"}[name]
    # The vocabulary lacks the format's end-of-turn token, so the end-of-sequence token ends the answer.
    assert f"{answer_start}Yes.<|endoftext|>" in text
    (file,) = run.gguf.glob("*.gguf")
    assert (
        GgufTokenizerHeader(GGUFReader(file)).get_text("tokenizer.chat_template")
        == merged.chat_template
    )
    assert channel.last(events.TemplateDerived).proven
    modelfile = run.modelfile.read_text("utf-8")
    assert answer_start.strip() in modelfile
    assert "<|endoftext|>" in modelfile
    assert all(result.passed for result in channel.of(events.SelfTested))
