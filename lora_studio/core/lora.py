"""The LoRA step: shape of the adapter."""

from __future__ import annotations

from typing import Literal

from lora_studio.core.spec import Spec, setting

Targets = Literal["attention_qv", "attention", "attention_mlp", "all_linear", "names"]


class LoraSpec(Spec):
    """A low-rank update W + (alpha / rank) · B·A of chosen linear layers (Hu et al. 2021)."""

    rank: int = setting(
        16,
        "Rank",
        "Width of the low-rank update, in dimensions. 8 for tone and format, 16 for most tasks, 32 "
        "for a new domain, 64 for much new material. Memory and file size grow with it.",
        ge=1,
        le=1024,
    )
    alpha: int = setting(
        32,
        "Alpha",
        "Strength of the update: it is scaled by alpha / rank. One or two times the rank is usual.",
        ge=1,
        le=4096,
    )
    dropout: float = setting(
        0.0,
        "Dropout",
        "Share of adapter inputs zeroed at random while training. 0 is fastest; 0.05 to 0.1 helps "
        "against overfitting on a small dataset.",
        ge=0.0,
        le=0.9,
        step=0.01,
    )
    bias: Literal["none", "lora_only", "all"] = setting(
        "none",
        "Biases",
        "Which bias terms train as well. None keeps the adapter a pure low-rank update.",
        choices={"none": "None", "lora_only": "Of adapted layers", "all": "All"},
        advanced=True,
    )
    targets: Targets = setting(
        "all_linear",
        "Target modules",
        "Which linear layers of each transformer block get an adapter. More layers learn more and "
        "cost more memory.",
        choices={
            "attention_qv": "Attention q, v",
            "attention": "Attention q, k, v, o",
            "attention_mlp": "Attention + MLP",
            "all_linear": "All linear layers",
            "names": "By name",
        },
    )
    target_names: tuple[str, ...] = setting(
        (),
        "Module names",
        "Names of the linear layers to adapt, such as q_proj or down_proj. Used with By name only.",
    )

    @property
    def scale(self) -> float:
        """Factor of B·A in the merged weight: alpha / rank."""
        return self.alpha / self.rank
