"""What arithmetic about a model has to know of its layers; read from its outline, without weights."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict

_ATTENTION = re.compile(r"attn|attention|mixer", re.IGNORECASE)


class LinearLayers(BaseModel):
    """All linear layers of one name: `inputs` and `outputs` are widths, `count` how many there are.

    Layers with the same `reads` take the same tensor in, as q, k and v do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    inputs: int
    outputs: int
    count: int
    reads: str

    @property
    def parameters(self) -> int:
        """Weights of all of them together."""
        return self.inputs * self.outputs * self.count

    @property
    def is_in_attention(self) -> bool:
        """Whether it is a part of attention, by the name of what it belongs to."""
        return bool(_ATTENTION.search(self.reads.removesuffix(f".{self.name}")))

    @property
    def is_attention_output(self) -> bool:
        """Whether what attention gave goes in, as into those that are called o_proj."""
        return self.is_in_attention and self.reads.endswith(f".{self.name}")


class ModelShape(BaseModel):
    """Widths and counts of a decoder; all 0 where a model has no such thing. With `fused_attention`
    one layer computes queries, keys and values.

    `norm_width` is the sum of the widths that one block's norms work on, `plain_norms` whether these
    are root-mean-square norms of Llama's kind, `plain_gates` whether its gated layers are. `expert_size`
    is the inner width of one expert, `expert_parameters` counts the stacked weights of all experts of
    all blocks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    intermediate_size: int
    heads: int
    kv_heads: int
    head_size: int
    norm_width: int
    plain_norms: bool = True
    gated: bool = True
    plain_gates: bool = False
    fused_attention: bool = False
    tied: bool = False
    experts: int = 0
    experts_per_token: int = 0
    expert_size: int = 0
    expert_parameters: int = 0
    linear: tuple[LinearLayers, ...] = ()

    @property
    def query_width(self) -> int:
        """Width of all queries of a token together."""
        return self.heads * self.head_size

    @property
    def key_width(self) -> int:
        """Width of all keys, or values, of a token together."""
        return self.kv_heads * self.head_size
