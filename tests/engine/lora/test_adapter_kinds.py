"""Each kind of adapter that the window offers: every later step works with it, or is refused by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader

from lora_studio.core.lora.adapters import WeightedAdapter
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.export.gguf.adapter_gguf import explain_unsupported
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.training.reproduction import script
from tests.engine.conftest import TinyModel
from tests.helpers.models.llama_cpp_folder import llama_cpp_folder
from tests.helpers.runs.jobs import RecordingChannel, handle, new_run, train, write_rows
from tests.helpers.runs.tiny_run import heldout_rows

pytestmark = [
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings:UserWarning"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning"),
]


@dataclass(frozen=True)
class Kind:
    """Settings of an adapter; `mixing` and `alone` are why it isn't mixed or written as an adapter GGUF."""

    lora: dict[str, Any] = field(default_factory=dict)
    family: str = "llama3"
    precision: str = "fp32"
    mixing: str = ""
    alone: str = ""


KINDS = {
    "LoRA": Kind(),
    "new tokens": Kind(
        {"new_tokens": ["<lamp>", "keeper"]}, mixing="has new tokens", alone="has new tokens"
    ),
    "new tokens, head of its own": Kind(
        {"new_tokens": ["<lamp>", "keeper"]},
        "mistral",
        mixing="has new tokens",
        alone="has new tokens",
    ),
    "rsLoRA": Kind({"use_rslora": True}),
    "DoRA": Kind({"use_dora": True}, mixing="magnitudes", alone="DoRA"),
    "MiSS": Kind({"adapter_type": "miss"}),
    "gaussian": Kind({"init": "gaussian"}),
    "orthogonal": Kind({"init": "orthogonal"}),
    "PiSSA": Kind({"init": "pissa"}),
    "OLoRA": Kind({"init": "olora"}),
    "EVA": Kind({"init": "eva"}),
    "LoftQ": Kind({"init": "loftq"}, precision="4bit"),
    "PiSSA, new tokens": Kind(
        {"init": "pissa", "new_tokens": ["<lamp>"]}, mixing="has new tokens", alone="has new tokens"
    ),
    "experts": Kind(
        {"targets": "names", "target_names": ["gate_up_proj", "q_proj"]},
        "qwen3_moe",
        mixing="adapts parameters directly",
        alone="more than linear layers",
    ),
    "embedding in full": Kind(
        {"modules_to_save": ["embed_tokens"]}, mixing="in full", alone="in full"
    ),
    "ranks by module": Kind({"own_ranks": ["q_proj=2"], "blocks": "1"}),
}


def pause_after_first_step(event: Any, flags: Any) -> None:
    if isinstance(event, events.StepDone) and event.step == 1:
        flags.pause.set()


def start(kind: Kind, tiny: TinyModel, folder: Path) -> RunFolder:
    return new_run(
        folder,
        model={"source": str(tiny(kind.family)), "precision": kind.precision, "device": "cpu"},
        dataset={
            "sources": [str(write_rows(folder / "rows.jsonl", heldout_rows(16)))],
            "validation_share": 0.25,
            "max_length": 256,
        },
        training={"max_steps": 2, "micro_batch": 4, "gradient_accumulation": 1},
        lora={"rank": 4, "alpha": 8, **kind.lora},
        export={
            "llama_cpp": str(llama_cpp_folder(folder / "llama.cpp")),
            "quantizations": ["F32"],
            "ollama_create": False,
        },
    )


def require_success(channel: RecordingChannel) -> RecordingChannel:
    assert not (failed := channel.of(events.Failed)), failed
    return channel


@pytest.mark.thorough
@pytest.mark.parametrize("name", KINDS)
def test_kind_of_adapter_in_every_step(name: str, tiny: TinyModel, tmp_path: Path) -> None:
    kind = KINDS[name]
    run = start(kind, tiny, tmp_path)
    assert train(run, pause_after_first_step).last(events.Done).paused
    resumed = require_success(train(run, resume=True))
    assert not [each for each in resumed.of(events.Warned) if "script" in each.problem.code]
    assert script.is_complete(run)
    adapter = adapter_files.read(run.adapter)
    assert kind.alone in str(explain_unsupported(adapter) or "")
    exported = require_success(handle(commands.Export(run=str(run.path))))
    tested = exported.of(events.SelfTested)
    assert tested[-1].stage == "F32"
    assert {test.verdict for test in tested} == {"passed"}, tested
    merged = require_success(handle(commands.Merge(run=str(run.path))))
    assert merged.last(events.SelfTested).verdict == "passed"
    pair = tuple(WeightedAdapter(folder=str(run.adapter), weight=0.5) for _ in range(2))
    out = tmp_path / "mixed"
    mixed = handle(commands.CombineAdapters(adapters=pair, out=str(out), method="svd"))
    if kind.mixing:
        assert kind.mixing in str(mixed.last(events.Failed).problem.what)
    else:
        require_success(mixed)
    for token in kind.lora.get("new_tokens", ()):
        (file,) = run.gguf.glob("*.gguf")
        tokens = GGUFReader(file).fields["tokenizer.ggml.tokens"].contents()
        assert token in tokens
