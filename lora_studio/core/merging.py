"""The merging step: adapter into base."""

from __future__ import annotations

from typing import Literal

from lora_studio.core.spec import Spec, setting


class MergingSpec(Spec):
    """How the adapter is folded into the base weights: W' = W + (alpha / rank) · B·A."""

    dtype: Literal["auto", "bf16", "fp16", "fp32"] = setting(
        "auto",
        "Precision of the merged model",
        "Automatic keeps the precision that the base model is stored in.",
        choices={
            "auto": "As the base model",
            "bf16": "bfloat16",
            "fp16": "float16",
            "fp32": "float32",
        },
    )
    shard_size_gb: float = setting(
        5.0,
        "Shard size",
        "Largest size of one safetensors file.",
        unit="GB",
        gt=0.0,
        le=1000.0,
        step=0.5,
        advanced=True,
    )
