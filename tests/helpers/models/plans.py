"""Training plans for estimates: a decoder of 1.1 B parameters with the widths of TinyLlama."""

from __future__ import annotations

from typing import Any

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.memory.plan import MemoryPlan
from lora_studio.core.memory.rows import RowStatistics
from lora_studio.core.model.catalog import LinearLayers, ModelShape
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import events
from lora_studio.core.training.spec import TrainingSpec

GIB = 1 << 30
HIDDEN, INNER, KEYS, LAYERS, VOCABULARY = 2048, 5632, 256, 22, 32_000
_WIDTHS = {
    "q_proj": (HIDDEN, HIDDEN, ".layers.self_attn"),
    "k_proj": (HIDDEN, KEYS, ".layers.self_attn"),
    "v_proj": (HIDDEN, KEYS, ".layers.self_attn"),
    "o_proj": (HIDDEN, HIDDEN, ".layers.self_attn.o_proj"),
    "gate_proj": (HIDDEN, INNER, ".layers.mlp"),
    "up_proj": (HIDDEN, INNER, ".layers.mlp"),
    "down_proj": (INNER, HIDDEN, ".layers.mlp.down_proj"),
}
LINEAR = tuple(
    LinearLayers(name=name, inputs=inputs, outputs=outputs, count=LAYERS, reads=reads)
    for name, (inputs, outputs, reads) in _WIDTHS.items()
)
QUANTISED = sum(layer.parameters for layer in LINEAR)
PARAMETERS = QUANTISED + 2 * VOCABULARY * HIDDEN + (2 * LAYERS + 1) * HIDDEN


def inspected(rank: int = 16, **others: Any) -> events.ModelInspected:
    """Return the inspected model with an adapter on all linear layers."""
    trainable = sum(rank * (layer.inputs + layer.outputs) * layer.count for layer in LINEAR)
    facts: dict[str, Any] = {
        "source": "org/decoder",
        "folder": "",
        "architecture": "LlamaForCausalLM",
        "parameters": PARAMETERS,
        "layers": LAYERS,
        "hidden_size": HIDDEN,
        "vocabulary": VOCABULARY,
        "context": 2048,
        "stored_dtype": "bf16",
        "license": None,
        "has_chat_template": True,
        "weight_bytes": {},
        "linear_names": tuple(_WIDTHS),
        "adapter": events.ParametersCounted(
            trainable=trainable,
            total=PARAMETERS + trainable,
            targets=tuple(_WIDTHS),
            adapter_bytes=4 * trainable,
        ),
        "shape": ModelShape(
            intermediate_size=INNER,
            heads=32,
            kv_heads=4,
            head_size=64,
            norm_width=2 * HIDDEN,
            linear=LINEAR,
        ),
    }
    return events.ModelInspected(**facts | others)


def device(free: float = 24, name: str = "cuda:0") -> events.Device:
    """Return a device with `free` GiB free."""
    return events.Device(
        name=name, title="RTX", total_bytes=24 * GIB, free_bytes=round(free * GIB), precision="bf16"
    )


def plan(*, free: float = 24, name: str = "cuda:0", limit: int = 2048, **recipe: Any) -> MemoryPlan:
    """Return a training on rows of 100 to 1,000 tokens in random order; `recipe` are its settings."""
    return MemoryPlan(
        inspected=inspected(),
        model=ModelSpec(source="org/decoder", precision="bf16"),
        lora=LoraSpec(),
        training=TrainingSpec(**recipe),
        rows=RowStatistics(
            heaviest={
                1 << n: tuple(max(100, 1000 - 50 * i) for i in range(1 << n)) for n in range(7)
            },
            longest=1000,
            trained=0.5,
            tokens=100_000,
            count=200,
            edges=(0, 200, 400, 600, 800, 1000),
            over=(1.0, 0.8, 0.4, 0.2, 0.05, 0.0),
        ),
        limit=limit,
        device=device(free, name),
    )
