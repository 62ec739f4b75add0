"""Optimizers as the recipe offers them: what each needs, what it keeps, which rates suit it.

What is not offered, and why: GaLore and APOLLO project gradients to a low rank, which those of an
adapter have already; LOMO updates while it goes backward, so no gradient could be clipped or added
up; torchao's 4- and 8-bit AdamW compile for over a minute what bitsandbytes has ready.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from lora_studio.core.messages import NO_TEXT, Text, text

Optimizer = Literal[
    "adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit",
    "lion", "lion_8bit", "paged_lion", "paged_lion_8bit",
    "ademamix", "ademamix_8bit", "paged_ademamix", "paged_ademamix_8bit",
    "adafactor", "sgd", "adagrad", "rmsprop", "rmsprop_8bit",
    "schedule_free_adamw", "schedule_free_radam", "schedule_free_sgd",
]  # fmt: skip

Library = Literal["torch", "transformers", "bitsandbytes", "schedulefree"]


@dataclass(frozen=True)
class OptimizerInfo:
    """Facts of one optimizer.

    `state_bytes` is what it keeps for each trained parameter, in bytes; paged state can be pushed
    out to main memory by a GPU. `lowest` and `highest` are learning rates of LoRA beyond which it
    hardly moves or usually diverges, `usual` one between them.
    """

    title: str
    library: Library
    state_bytes: float
    usual: float = 2e-4
    lowest: float = 0.0
    highest: float = 5e-3
    paged: bool = False
    schedule_free: bool = False


def _lion(title: str, state_bytes: float, *, paged: bool = False) -> OptimizerInfo:
    """Describe Lion: its steps are signs, so it needs a third to a tenth of AdamW's rate."""
    return OptimizerInfo(title, "bitsandbytes", state_bytes, usual=5e-5, highest=5e-4, paged=paged)


def _schedule_free(title: str) -> OptimizerInfo:
    """Describe a schedule-free optimizer: it averages over its path and needs more than AdamW's
    rate."""
    return OptimizerInfo(title, "schedulefree", 8, usual=1e-3, highest=2e-2, schedule_free=True)


OPTIMIZERS: dict[Optimizer, OptimizerInfo] = {
    "adamw": OptimizerInfo("AdamW", "torch", 8),
    "adamw_8bit": OptimizerInfo("AdamW 8-bit", "bitsandbytes", 2),
    "paged_adamw": OptimizerInfo("AdamW, paged", "bitsandbytes", 8, paged=True),
    "paged_adamw_8bit": OptimizerInfo("AdamW 8-bit, paged", "bitsandbytes", 2, paged=True),
    "lion": _lion("Lion", 4),
    "lion_8bit": _lion("Lion 8-bit", 1),
    "paged_lion": _lion("Lion, paged", 4, paged=True),
    "paged_lion_8bit": _lion("Lion 8-bit, paged", 1, paged=True),
    "ademamix": OptimizerInfo("AdEMAMix", "bitsandbytes", 12),
    "ademamix_8bit": OptimizerInfo("AdEMAMix 8-bit", "bitsandbytes", 3),
    "paged_ademamix": OptimizerInfo("AdEMAMix, paged", "bitsandbytes", 12, paged=True),
    "paged_ademamix_8bit": OptimizerInfo("AdEMAMix 8-bit, paged", "bitsandbytes", 3, paged=True),
    # One value for each row and each column of a matrix; those of an adapter are narrow.
    "adafactor": OptimizerInfo("Adafactor", "transformers", 0.5),
    "sgd": OptimizerInfo("SGD with momentum", "torch", 4, usual=0.1, lowest=5e-3, highest=1.0),
    "adagrad": OptimizerInfo("Adagrad", "torch", 4, usual=1e-2, lowest=5e-4, highest=0.1),
    "rmsprop": OptimizerInfo("RMSprop", "torch", 4),
    "rmsprop_8bit": OptimizerInfo("RMSprop 8-bit", "bitsandbytes", 1),
    "schedule_free_adamw": _schedule_free("AdamW, schedule-free"),
    "schedule_free_radam": _schedule_free("RAdam, schedule-free"),
    "schedule_free_sgd": OptimizerInfo(
        "SGD, schedule-free", "schedulefree", 4, usual=1.0, lowest=5e-3, highest=1.0,
        schedule_free=True,
    ),
}  # fmt: skip

#: What the recipe calls each of them.
TITLES: dict[str, str] = {name: about.title for name, about in OPTIMIZERS.items()}


def why_not(optimizer: Optimizer, device: str, missing: Collection[str] = ()) -> Text:
    """Return why an optimizer isn't available, in one sentence; empty where it is.

    `device` is the kind or name of a device (cpu, mps, cuda:0, auto), `missing` are packages that
    the engine lacks.
    """
    about = OPTIMIZERS[optimizer]
    if about.library in missing:
        return text(
            "{optimizer} needs the package {package}, which isn't installed.",
            optimizer=about.title,
            package=about.library,
        )
    if about.library == "bitsandbytes" and device.partition(":")[0] == "mps":
        return text(
            "{optimizer} needs bitsandbytes, which doesn't support Apple GPUs.",
            optimizer=about.title,
        )
    return NO_TEXT
