"""Classifiers that PEFT has trained: imported with their labels, and used as PEFT uses them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification

from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.manifest import get_task
from lora_studio.core.tasks.table import TASKS
from lora_studio.engine.model.loading import load_tokenizer
from tests.engine.conftest import TinyModel
from tests.helpers.runs.jobs import RecordingChannel, handle, new_run

TEXTS = ("I was charged twice.", "Where is my parcel?", "It crashes when I open it, every time.")
LABELS = ("billing", "shipping", "technical")
UNNAMED = ("LABEL_0", "LABEL_1", "LABEL_2")


def train_elsewhere(base: Path, folder: Path, outputs: int = 3) -> torch.Tensor:
    """Save a random classifier as PEFT does, and return its label probabilities of `TEXTS`."""
    tokenizer = load_tokenizer(base)
    model = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=outputs, dtype=torch.float32, pad_token_id=tokenizer.pad_token_id
    )
    config = peft.LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["q_proj", "down_proj"])
    tuned = peft.get_peft_model(model, config).eval()
    torch.manual_seed(3)
    for name, value in tuned.named_parameters():
        if value.requires_grad:
            value.data.copy_(torch.randn_like(value) * (0.1 if "lora_" in name else 0.5))
    tuned.save_pretrained(folder)
    with torch.no_grad():
        logits: torch.Tensor = tuned(**tokenizer(list(TEXTS), padding=True, return_tensors="pt")).logits  # fmt: skip
    return logits.softmax(1)


def name_labels(folder: Path, labels: tuple[str, ...]) -> None:
    """Add labels to the config.json of a folder, as transformers writes them."""
    file = folder / "config.json"
    config = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    file.write_text(json.dumps(config | {"id2label": dict(enumerate(labels))}), "utf-8")


def import_it(folder: Path, base: Path, adapter: Path) -> tuple[RunFolder, RecordingChannel]:
    run = new_run(folder, model={"source": str(base), "precision": "fp32", "device": "cpu"})
    return run, handle(commands.ImportAdapter(run=str(run.path), adapter=str(adapter)))


@pytest.mark.parametrize("named", ["beside the adapter", "in the base model", "nowhere", "wrongly"])
def test_labels_are_the_named_ones_or_numbered(tiny: TinyModel, tmp_path: Path, named: str) -> None:
    base = Path(shutil.copytree(tiny("llama3"), tmp_path / "base"))
    adapter = tmp_path / "adapter"
    expected = train_elsewhere(base, adapter)
    if named == "wrongly":  # names of other heads
        name_labels(adapter, LABELS[:2])
        name_labels(base, ("same", "same", "other"))
    elif named != "nowhere":
        name_labels(base, LABELS if named == "in the base model" else ("a", "b", "c"))
        if named == "beside the adapter":
            name_labels(adapter, LABELS)
    run, channel = import_it(tmp_path, base, adapter)
    labels = UNNAMED if named in ("nowhere", "wrongly") else LABELS
    warned = [event.problem.code for event in channel.of(events.Warned)]
    assert warned == ["adapters.unnamed_labels"] * (labels == UNNAMED)
    assert get_task(run.read_manifest()) is TASKS["classification"]
    predicted = handle(commands.Classify(run=str(run.path), texts=TEXTS))
    answer = predicted.last(events.TextsClassified)
    assert answer.labels == labels
    torch.testing.assert_close(torch.tensor(answer.probabilities), expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_imported_classifier_is_merged_for_transformers(tiny: TinyModel, tmp_path: Path) -> None:
    base, adapter = tiny("llama3"), tmp_path / "adapter"
    expected = train_elsewhere(base, adapter)
    name_labels(adapter, LABELS)
    run, _ = import_it(tmp_path, base, adapter)
    assert handle(commands.Merge(run=str(run.path))).of(events.Merged)
    merged = AutoModelForSequenceClassification.from_pretrained(run.merged, dtype=torch.float32)
    assert merged.config.id2label == dict(enumerate(LABELS))
    batch = load_tokenizer(run.merged)(list(TEXTS), padding=True, return_tensors="pt")
    with torch.no_grad():
        actual = merged(**batch).logits.softmax(1)
    torch.testing.assert_close(actual, expected, rtol=0, atol=2e-2)  # stored in 16-bit
    own = AutoConfig.from_pretrained(run.adapter)
    assert own.architectures == ["LlamaForSequenceClassification"]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("reward model", "lora.only_scores"),
        ("no head", "adapters.no_head"),
        ("empty head", "adapters.no_head"),
        ("one-dimensional head", "adapters.no_head"),
        ("other width", "adapters.head_does_not_fit"),
    ],
)
def test_what_is_no_classifier_is_refused_and_leaves_nothing(
    tiny: TinyModel, tmp_path: Path, fault: str, code: str
) -> None:
    base, adapter = tiny("llama3"), tmp_path / "adapter"
    train_elsewhere(base, adapter, 1 if fault == "reward model" else 3)
    file = adapter / "adapter_model.safetensors"
    weights: dict[str, Any] = load_file(file)
    (head,) = [name for name in weights if "score" in name]
    if fault == "no head":
        del weights[head]
    elif fault == "empty head":
        weights[head] = weights[head][:0].contiguous()
    elif fault == "one-dimensional head":
        weights[head] = weights[head][0].contiguous()
    elif fault == "other width":
        weights[head] = weights[head][:, 1:].contiguous()
    save_file(weights, file, metadata={"format": "pt"})
    run, channel = import_it(tmp_path, base, adapter)
    assert channel.last(events.Failed).problem.code == code
    assert not run.adapter.exists()


def test_classifier_of_another_model_is_refused(tiny: TinyModel, tmp_path: Path) -> None:
    other, adapter = tiny("phi3"), tmp_path / "adapter"
    train_elsewhere(tiny("llama3"), adapter)
    run, channel = import_it(tmp_path, other, adapter)
    assert channel.last(events.Failed).problem.code == "adapters.does_not_fit"
    assert not run.adapter.exists()
