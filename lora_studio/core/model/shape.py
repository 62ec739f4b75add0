"""The layer dimensions that estimates need; read from the model's configuration, without weights."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict

_ATTENTION = re.compile(r"attn|attention|mixer", re.IGNORECASE)


class LinearLayers(BaseModel):
    """All linear layers with one name: `inputs` and `outputs` are widths, `count` is their number.

    Layers with the same `reads` share an input tensor, as q, k and v do.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    name: str
    inputs: int
    outputs: int
    count: int
    reads: str

    @property
    def parameters(self) -> int:
        """Number of weights in all of them together."""
        return self.inputs * self.outputs * self.count

    @property
    def is_in_attention(self) -> bool:
        """Whether it is part of attention, judged by the name of its parent module."""
        return bool(_ATTENTION.search(self.reads.removesuffix(f".{self.name}")))

    @property
    def is_attention_output(self) -> bool:
        """Whether its input is the attention output, as for o_proj."""
        return self.is_in_attention and self.reads.endswith(f".{self.name}")


class ModelShape(BaseModel):
    """Widths and counts of a decoder; 0 if a model lacks that component.

    With `fused_attention`, one layer computes queries, keys and values.

    `norm_width` is the sum of the widths of one block's norms, `plain_norms` whether these are RMS
    norms like Llama's, `plain_gates` whether its gated layers are like Llama's. `expert_size` is
    the inner width of one expert, `expert_parameters` counts the stacked weights of all experts in
    all blocks. `caps_scores` and `caps_logits` are whether attention and output have a cap, as
    Gemma 2's.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    intermediate_size: int
    heads: int
    kv_heads: int
    head_size: int
    norm_width: int
    plain_norms: bool = True
    gated: bool = True
    plain_gates: bool = False
    fused_attention: bool = False
    caps_scores: bool = False
    caps_logits: bool = False
    tied: bool = False
    experts: int = 0
    experts_per_token: int = 0
    expert_size: int = 0
    expert_parameters: int = 0
    linear: tuple[LinearLayers, ...] = ()

    @property
    def query_width(self) -> int:
        """Total width of a token's queries."""
        return self.heads * self.head_size

    @property
    def key_width(self) -> int:
        """Total width of a token's keys, or of its values."""
        return self.kv_heads * self.head_size
