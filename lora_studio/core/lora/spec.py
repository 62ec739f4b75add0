"""The LoRA step: the shape of the adapter."""

from __future__ import annotations

import math
import re
from typing import Literal

from pydantic import field_validator

from lora_studio.core.spec import Spec, setting, value_error

#: At most four digits: more blocks than any model has, but few enough to list.
_BLOCKS = re.compile(r"\d{1,4}(\s*-\s*\d{1,4})?(\s*,\s*\d{1,4}(\s*-\s*\d{1,4})?)*\Z")
_OWN_RANK = re.compile(r"[^\s=:]+=[1-9]\d{0,3}(:[1-9]\d{0,3})?\Z")

Targets = Literal["attention_qv", "attention", "mlp", "attention_mlp", "all_linear", "names"]


class LoraSpec(Spec):
    """A low-rank update W + (alpha / rank) · B·A of chosen linear layers (Hu et al. 2021)."""

    adapter_type: Literal["lora", "miss"] = setting(
        "lora",
        "Adapter type",
        "LoRA learns two matrices for each layer. MiSS learns one, which slices of the input share: "
        "it keeps no layer inputs in memory and has fewer parameters, but often changes more of what the "
        "model already knows. It is saved as a LoRA adapter that gives the same answers.",
        choices={"lora": "LoRA", "miss": "MiSS"},
        help_topic="miss",
    )
    rank: int = setting(
        16,
        "Rank",
        "Dimension of the low-rank update. Use 8 for tone and format, 16 for most tasks, 32 "
        "for a new domain, 64 for a lot of new material. Memory and file size grow with it.",
        ge=1,
        le=1024,
        help_topic="lora-update",
    )
    alpha: int = setting(
        32,
        "Alpha",
        "Scales the update by alpha / rank. One or two times the rank is common.",
        ge=1,
        le=4096,
        help_topic="lora-update",
    )
    dropout: float = setting(
        0.0,
        "Dropout",
        "Share of adapter inputs set to zero at random during training. 0 is fastest; 0.05 to"
        " 0.1 reduces overfitting on small datasets.",
        ge=0.0,
        le=0.9,
        step=0.01,
        help_topic="dropout",
    )
    bias: Literal["none", "lora_only", "all"] = setting(
        "none",
        "Biases",
        "Bias terms to train as well. None keeps the adapter a pure low-rank update.",
        choices={"none": "None", "lora_only": "Adapted layers only", "all": "All"},
        advanced=True,
        help_topic="target-modules",
    )
    targets: Targets = setting(
        "all_linear",
        "Target modules",
        "Linear layers of each transformer block that get an adapter. More layers learn more "
        "and use more memory.",
        choices={
            "attention_qv": "Attention q, v",
            "attention": "Attention q, k, v, o",
            "mlp": "MLP",
            "attention_mlp": "Attention + MLP",
            "all_linear": "All linear layers",
            "names": "By name",
        },
        help_topic="target-modules",
    )
    target_names: tuple[str, ...] = setting(
        (),
        "Module names",
        "Names of the linear layers to adapt, such as q_proj or down_proj. Only used if the "
        "target modules are set to By name.",
        help_topic="target-modules",
    )

    adapt_experts: bool = setting(
        False,
        "Adapt experts",
        "In a mixture of experts, also adapts the stacked weights of all experts. This takes as much "
        "additional memory as these weights take in 16 bits. Routers always stay frozen.",
        help_topic="target-modules",
    )

    use_rslora: bool = setting(
        False,
        "Rank-stabilized LoRA",
        "Scales the update by alpha / √rank instead of alpha / rank, so that high ranks learn"
        " as fast as low ones (rsLoRA, Kalajdzievski 2023). Useful from rank 64.",
        advanced=True,
        help_topic="rank-stabilized-lora",
    )
    use_dora: bool = setting(
        False,
        "DoRA",
        "Learns the magnitude of each weight row separately from its direction (Liu et al. "
        "2024). Often better at low ranks; slower, and uses more memory.",
        advanced=True,
        help_topic="dora",
    )
    init: Literal["default", "gaussian", "orthogonal", "pissa", "olora", "loftq", "eva"] = setting(
        "default",
        "Initialization",
        "Initial values of the adapter. Default starts with no change to the model. EVA samples "
        "rows of the dataset and starts with the directions that vary most. PiSSA uses the "
        "largest singular vectors of the weights and often learns faster; OLoRA uses an "
        "orthonormal basis of them. Both need an unquantized base model. LoftQ compensates for "
        "the error of 4-bit weights. With PiSSA, OLoRA, and LoftQ, the saved adapter has twice "
        "the rank.",
        choices={
            "default": "Default",
            "gaussian": "Gaussian",
            "orthogonal": "Orthogonal",
            "pissa": "PiSSA",
            "olora": "OLoRA",
            "loftq": "LoftQ",
            "eva": "EVA",
        },
        advanced=True,
        help_topic="initial-values",
    )
    blocks: str = setting(
        "",
        "Blocks",
        "Indices of the transformer blocks that get an adapter, starting at 0, such as 0-7, 12. "
        "Leave empty for all.",
        advanced=True,
        help_topic="target-modules",
    )
    own_ranks: tuple[str, ...] = setting(
        (),
        "Ranks by module",
        "Different ranks for some modules, such as q_proj=32, or q_proj=32:64 for rank 32 and"
        " alpha 64.",
        advanced=True,
        help_topic="lora-update",
    )
    modules_to_save: tuple[str, ...] = setting(
        (),
        "Modules trained in full",
        "Names of modules to train in full and save with the adapter, such as lm_head or "
        "embed_tokens. They need as much memory as in full fine-tuning.",
        advanced=True,
        help_topic="modules-trained-in-full",
    )

    new_tokens: tuple[str, ...] = setting(
        (),
        "New tokens",
        "Texts that become one token each, such as <tool> and </tool>. Their rows of the embedding and "
        "the output layer are trained with the adapter. Training keeps a copy of both layers in memory.",
        advanced=True,
        help_topic="new-tokens",
    )

    start_from: str = setting(
        "",
        "Start from adapter",
        "Folder of a LoRA adapter whose weights training starts from. Its rank, alpha, and "
        "target modules are used. Preference training uses it as the reference model instead of "
        "the base model.",
        path="folder",
        advanced=True,
        help_topic="starting-from-an-adapter",
    )

    @field_validator("blocks")
    @classmethod
    def _blocks_are_numbers(cls, value: str) -> str:
        value = value.strip()
        if value and not _BLOCKS.match(value):
            raise value_error("is not a list of block numbers such as 0-7, 12")
        if any(last < first for first, last in _parse_block_ranges(value)):
            raise value_error("contains a range whose end is before its start")
        return value

    @field_validator("new_tokens")
    @classmethod
    def _new_tokens_are_texts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for token in value:
            if not token.strip():
                raise value_error("has an empty entry")
            if token != token.strip():
                raise value_error("has a token that begins or ends with a space")
        if len(set(value)) < len(value):
            raise value_error("has the same token twice")
        return value

    @field_validator("own_ranks")
    @classmethod
    def _own_ranks_are_pairs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            if not _OWN_RANK.match(entry):
                raise value_error(
                    "has an entry that isn't of the form name=rank or name=rank:alpha"
                )
        return value

    @property
    def scale(self) -> float:
        """Factor of B·A in the merged weight: alpha / rank, alpha / √rank with rsLoRA, 1 with MiSS."""
        if self.adapter_type == "miss":
            return 1.0
        return self.alpha / (math.sqrt(self.rank) if self.use_rslora else self.rank)

    @property
    def changes_base(self) -> bool:
        """Whether the initialization subtracts the adapter from the base weights, which changes
        them.
        """
        return self.init in ("pissa", "olora", "loftq") and not self.start_from

    @property
    def block_numbers(self) -> list[int] | None:
        """Return the blocks to adapt in ascending order, None for all."""
        if not self.blocks:
            return None
        ranges = (range(first, last + 1) for first, last in _parse_block_ranges(self.blocks))
        return sorted(set().union(*ranges))

    @property
    def rank_pattern(self) -> dict[str, int]:
        """Return module name -> rank, for modules with a rank of their own."""
        return {name: rank for name, rank, _ in self._own()}

    @property
    def alpha_pattern(self) -> dict[str, int]:
        """Return module name -> alpha; a module without its own alpha keeps the ratio to its rank."""
        return {
            name: alpha or max(1, round(self.alpha / self.rank * rank))
            for name, rank, alpha in self._own()
        }

    def _own(self) -> list[tuple[str, int, int]]:
        ranges = []
        for entry in self.own_ranks:
            name, _, numbers = entry.partition("=")
            rank, _, alpha = numbers.partition(":")
            ranges.append((name, int(rank), int(alpha or 0)))
        return ranges


def _parse_block_ranges(blocks: str) -> list[tuple[int, int]]:
    """Return the first and the last block of each part of a list such as 0-7, 12."""
    parts = [part.partition("-") for part in blocks.split(",") if part]
    return [(int(first), int(last or first)) for first, _, last in parts]
