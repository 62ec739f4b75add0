"""Answers of an inspector about a small model and dataset, for tests of pages."""

from __future__ import annotations

from typing import Any

from lora_studio.core import events
from lora_studio.core.dataset import Message

LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
GIB = 2**30


def adapter(trainable: int = 16_800_000) -> events.ParametersCounted:
    """16.8 M of 3.2 B parameters, 67 MB."""
    return events.ParametersCounted(
        trainable=trainable, total=3_230_000_000, targets=LAYERS, adapter_bytes=4 * trainable
    )


def model(**changes: Any) -> events.ModelInspected:
    """A Llama-shaped model of 3.2 B parameters."""
    values: dict[str, Any] = {
        "source": "model",
        "folder": "/models/m",
        "architecture": "LlamaForCausalLM",
        "parameters": 3_183_200_000,
        "layers": 28,
        "hidden_size": 3072,
        "vocabulary": 128_256,
        "context": 131_072,
        "stored_dtype": "bf16",
        "licence": "apache-2.0",
        "has_chat_template": True,
        "weight_bytes": {
            "bf16": 6 * GIB, "fp16": 6 * GIB, "fp32": 12 * GIB, "8bit": 3 * GIB, "4bit": 2 * GIB,
        },
        "linear_names": LAYERS,
        "adapter": adapter(),
    }  # fmt: skip
    return events.ModelInspected(**(values | changes))


def devices(free: int = 23 * GIB) -> events.DevicesFound:
    """A graphics card, which Automatic means, and the processor."""
    card = events.Device(name="cuda:0", title="RTX 4090", total_bytes=24 * GIB, free_bytes=free)
    cpu = events.Device(name="cpu", title="Processor", total_bytes=64 * GIB, free_bytes=50 * GIB)
    return events.DevicesFound(devices=(card, cpu))


def row(number: int, question: str = "Where is my order?") -> events.RowPreview:
    """A conversation of 12 tokens: 7 context, 4 trained, 1 cut."""
    return events.RowPreview(
        row=number,
        messages=(
            Message(role="user", content=question),
            Message(role="assistant", content="On its way to you.", trained=True),
        ),
        spans=(
            events.TokenSpan(text=f"<user>{question}<assistant>", tokens=7, state="context"),
            events.TokenSpan(text="On its way", tokens=4, state="trained"),
            events.TokenSpan(text=" to you.", tokens=1, state="cut"),
        ),
    )


def dataset(**changes: Any) -> events.DatasetInspected:
    """105 rows read, 100 used, 5 skipped for two reasons."""
    values: dict[str, Any] = {
        "file": "rows.jsonl",
        "format": "alpaca",
        "columns": ("instruction", "output"),
        "rows_read": 105,
        "rows_used": 100,
        "skipped": (
            events.Skipped(reason="the answer is empty", count=4, rows=(3, 9, 11, 40)),
            events.Skipped(reason="not valid JSON", count=1, rows=(77,)),
        ),
        "rows_cut": 2,
        "lengths": tuple(range(100, 200)),
        "trained_lengths": (40,) * 100,
        "preview": (row(1), row(2, "Do you ship abroad?")),
    }
    return events.DatasetInspected(**(values | changes))
