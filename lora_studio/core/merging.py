"""The merging step: how the adapter is merged into the base model."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import field_validator

from lora_studio.core.lora import adapters
from lora_studio.core.spec import Spec, check_text, setting


class MergingSpec(Spec):
    """How the adapter is merged into the base weights: W' = W + (alpha / rank) · B·A."""

    dtype: Literal["auto", "bf16", "fp16", "fp32"] = setting(
        "auto",
        "Precision of the merged model",
        "Precision to store the merged weights in. The default is that of the base model.",
        choices={
            "auto": "Same as the base model",
            "bf16": "bfloat16",
            "fp16": "float16",
            "fp32": "float32",
        },
        help_topic="merging",
    )
    base: str = setting(
        "",
        "Merge into",
        "Folder of the model to merge into if it differs from the one you trained on, such as"
        " the 16-bit original of a quantized model. Leave empty for the model of this "
        "project.",
        path="folder",
        advanced=True,
        help_topic="merging",
    )
    weight: float = setting(
        1.0,
        "Adapter weight",
        "Strength of this run's adapter in the merged model: 1 is as trained, 0.5 is half.",
        ge=-10.0,
        le=10.0,
        step=0.1,
        help_topic="merging",
    )
    further: tuple[str, ...] = setting(
        (),
        "Additional adapters",
        "Folders of other adapters for the same base model. They are merged after this one, "
        "each with its weight: adapters/style=0.5.",
        help_topic="merging",
    )
    shard_size_gb: float = setting(
        5.0,
        "Max. shard size",
        "Maximum size of one safetensors file.",
        unit="GB",
        gt=0.0,
        le=1000.0,
        step=0.5,
        advanced=True,
        help_topic="merging",
    )

    @field_validator("further")
    @classmethod
    def _check_further(cls, further: tuple[str, ...]) -> tuple[str, ...]:
        for adapter in further:
            check_text(adapter.rpartition("=")[0] or adapter, is_path=True)
        return further

    def resolve_further(self, folder: Path) -> tuple[str, ...]:
        """Return the additional adapters with absolute paths; raises ProblemError for an invalid
        weight."""
        weighted = [adapters.parse_weighted(text) for text in self.further]
        return tuple(
            f"{(folder / Path(each.folder).expanduser()).resolve()}={each.weight:g}"
            for each in weighted
        )
