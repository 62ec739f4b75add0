"""An adapter as PEFT saves it, read without PEFT: which tensor changes which base weight, and how."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.engine import weights
from lora_studio.engine.weights import Stored

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

_LORA = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight\Z")
_WHOLE = re.compile(r"base_model\.model\.(.+?)(?:\.base_layer)?\.(weight|bias)\Z")

#: Settings of PEFT that change how an update is computed; none is written by this program.
_OTHER_KINDS = (
    "use_dora", "alora_invocation_tokens", "use_bdlora", "arrow_config", "velora_config",
    "monteclora_config", "kasa_config", "trainable_token_indices",
    "lora_bias", "fan_in_fan_out", "ensure_weight_tying", "layer_replication",
)  # fmt: skip


@dataclass(frozen=True)
class Update:
    """W' = W + scale · B·A of one linear layer; A is [rank, in], B is [out, rank]."""

    a: Stored
    b: Stored
    scale: float

    def apply(self, weight: torch.Tensor) -> torch.Tensor:
        """The merged weight in the data type of `weight`, summed in 32 bits.

        The same operations in the same order as PEFT's merge, so that the result is equal bit for
        bit (peft/tuners/lora/layer.py, Linear.merge).
        """
        weight += self.b.read().float() @ self.a.read().float() * self.scale
        return weight


@dataclass
class Adapter:
    """All of an adapter: updates and whole replacements by module or tensor name of the model.

    `complication` names what needs PEFT and a model in memory, None for a plain LoRA.
    """

    folder: Path
    config: dict[str, Any]
    updates: dict[str, Update] = field(default_factory=dict)
    replacements: dict[str, Stored] = field(default_factory=dict)
    complication: str | None = None


def read(folder: Path) -> Adapter:
    """The adapter in a folder; raises ProblemError when it is none or does not fit its settings."""
    config = _config(folder)
    adapter = Adapter(folder, config, complication=_complication(config))
    pairs: dict[str, dict[str, Stored]] = {}
    for tensor in weights.header(folder / WEIGHTS):
        match = _LORA.match(tensor.name)
        if match and not _of_parameter(match[1], config):
            pairs.setdefault(match[1], {})[match[2]] = tensor
        elif "lora_" not in tensor.name and (match := _WHOLE.match(tensor.name)):
            adapter.replacements[f"{match[1]}.{match[2]}"] = tensor
        else:
            adapter.complication = adapter.complication or f"it holds {tensor.name}"
    if adapter.complication is None:
        adapter.updates = {
            name: _update(folder, config, name, pair) for name, pair in pairs.items()
        }
        if not adapter.updates and not adapter.replacements:
            raise foreign(folder, "it holds no weights")
    return adapter


def _of_parameter(module: str, config: dict[str, Any]) -> bool:
    """Whether an update is of a bare parameter, such as all experts of a layer in one tensor."""
    if not config.get("target_parameters"):
        return False
    targets = config.get("target_modules") or ()
    if isinstance(targets, str):
        return re.fullmatch(targets, module) is None
    return not any(module == name or module.endswith(f".{name}") for name in targets)


def foreign(folder: Path, reason: str) -> ProblemError:
    """The problem of an adapter that was not made for the base model at hand."""
    return fail(
        "merging.foreign_adapter",
        f"The adapter does not belong to this base model: {reason}.",
        "Choose the base model that the adapter was trained on, in its very same version.",
        where=Where(step="merging", file=str(folder)),
    )


def not_finite(name: str, dtype: torch.dtype) -> ProblemError:
    """The problem of a merged tensor with an infinite value or none at all."""
    remedy = "The adapter is damaged, or the training diverged: train again with a lower rate."
    if dtype == torch.float16:
        remedy = "float16 may be too narrow for this model: choose bfloat16 for the merged model."
    return fail(
        "merging.not_finite",
        f"The merged {name} holds values that are infinite or no numbers.",
        remedy,
        where=Where(step="merging", field="dtype"),
    )


def _config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text("utf-8"))
    except (OSError, ValueError):
        raise fail(
            "merging.no_adapter",
            f"{folder} holds no trained adapter.",
            "Train first, or let the training save its adapter before it is stopped.",
            where=Where(step="merging", file=str(folder)),
        ) from None
    kind = config.get("peft_type")
    if kind != "LORA":
        raise fail(
            "merging.not_lora",
            f"The adapter is of the kind {kind}, not LORA, and cannot be merged here.",
            "Choose a LoRA adapter.",
            where=Where(step="merging", file=str(folder)),
        )
    return config


def _complication(config: dict[str, Any]) -> str | None:
    used = [name for name in _OTHER_KINDS if config.get(name)]
    return f"it uses {', '.join(used)}" if used else None


def _update(folder: Path, config: dict[str, Any], module: str, pair: dict[str, Stored]) -> Update:
    """Scale is alpha / rank, or alpha / √rank for rsLoRA (Kalajdzievski 2023)."""
    if set(pair) != {"A", "B"}:
        raise foreign(folder, f"it holds only one half of the update of {module}")
    rank = _of_module(config.get("rank_pattern"), module, config["r"])
    alpha = _of_module(config.get("alpha_pattern"), module, config["lora_alpha"])
    if pair["A"].shape[0] != rank or pair["B"].shape[1] != rank:
        raise foreign(
            folder, f"the update of {module} has rank {pair['A'].shape[0]}, its settings say {rank}"
        )
    scale = alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
    return Update(pair["A"], pair["B"], scale)


def _of_module(pattern: dict[str, Any] | None, module: str, default: Any) -> Any:
    """A setting that may differ by module; the first matching key counts, as in PEFT."""
    keys: Iterable[str] = pattern or ()
    for key in keys:
        if re.match(rf"(.*\.)?({key})$", module):
            assert pattern is not None
            return pattern[key]
    return default
