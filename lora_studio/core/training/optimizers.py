"""The optimizers: where each comes from, how much memory it needs, and which learning rates suit it.

Not offered: GaLore and APOLLO project gradients to a low rank, which those of an adapter already
have; LOMO updates weights during the backward pass, so gradients can't be clipped or accumulated;
torchao's 4- and 8-bit AdamW compile for over a minute what bitsandbytes ships compiled.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

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
    """Facts about one optimizer.

    `class_name` is its class in `library`, and `arguments` are those besides the rate and the weight
    decay. `state_bytes` is what it keeps for each trained parameter, in bytes; paged state can be
    moved from a GPU to main memory. Below the learning rate `lowest`, LoRA hardly changes; above
    `highest`, training usually diverges; `usual` is between them.
    """

    title: str
    library: Library
    class_name: str
    state_bytes: float
    usual: float = 2e-4
    lowest: float = 0.0
    highest: float = 5e-3
    paged: bool = False
    schedule_free: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)


def _bitsandbytes(title: str, class_name: str, state_bytes: float) -> OptimizerInfo:
    """Describe an optimizer of bitsandbytes that uses AdamW's learning rates."""
    paged = class_name.startswith("Paged")
    return OptimizerInfo(title, "bitsandbytes", class_name, state_bytes, paged=paged)


def _lion(title: str, class_name: str, state_bytes: float) -> OptimizerInfo:
    """Describe Lion: its steps are signs, so it needs a third to a tenth of AdamW's rate."""
    about = _bitsandbytes(title, class_name, state_bytes)
    return replace(about, usual=5e-5, highest=5e-4)


def _schedule_free(title: str, class_name: str) -> OptimizerInfo:
    """Describe a schedule-free optimizer: it averages over its path and needs more than AdamW's
    rate."""
    return OptimizerInfo(
        title, "schedulefree", class_name, 8, usual=1e-3, highest=2e-2, schedule_free=True
    )


#: WORKAROUND: in bitsandbytes 0.50, AdEMAMix32bit allocates one of its two averages only and writes
#: beyond it (an error on a CPU, foreign memory on a GPU); AdEMAMix allocates both.
OPTIMIZERS: dict[Optimizer, OptimizerInfo] = {
    "adamw": OptimizerInfo("AdamW", "torch", "AdamW", 8, arguments={"fused": True}),
    "adamw_8bit": _bitsandbytes("AdamW 8-bit", "AdamW8bit", 2),
    "paged_adamw": _bitsandbytes("AdamW, paged", "PagedAdamW32bit", 8),
    "paged_adamw_8bit": _bitsandbytes("AdamW 8-bit, paged", "PagedAdamW8bit", 2),
    "lion": _lion("Lion", "Lion32bit", 4),
    "lion_8bit": _lion("Lion 8-bit", "Lion8bit", 1),
    "paged_lion": _lion("Lion, paged", "PagedLion32bit", 4),
    "paged_lion_8bit": _lion("Lion 8-bit, paged", "PagedLion8bit", 1),
    "ademamix": _bitsandbytes("AdEMAMix", "AdEMAMix", 12),
    "ademamix_8bit": _bitsandbytes("AdEMAMix 8-bit", "AdEMAMix8bit", 3),
    "paged_ademamix": _bitsandbytes("AdEMAMix, paged", "PagedAdEMAMix", 12),
    "paged_ademamix_8bit": _bitsandbytes("AdEMAMix 8-bit, paged", "PagedAdEMAMix8bit", 3),
    # One value for each row and each column of a matrix; those of an adapter are narrow. At the
    # recipe's rate, without its own schedule (Shazeer & Stern 2018).
    "adafactor": OptimizerInfo(
        "Adafactor", "transformers", "Adafactor", 0.5,
        arguments={"scale_parameter": False, "relative_step": False},
    ),
    "sgd": OptimizerInfo(
        "SGD with momentum", "torch", "SGD", 4, usual=0.1, lowest=5e-3, highest=1.0,
        arguments={"momentum": 0.9},
    ),
    "adagrad": OptimizerInfo(
        "Adagrad", "torch", "Adagrad", 4, usual=1e-2, lowest=5e-4, highest=0.1
    ),
    "rmsprop": OptimizerInfo("RMSprop", "torch", "RMSprop", 4),
    "rmsprop_8bit": _bitsandbytes("RMSprop 8-bit", "RMSprop8bit", 1),
    "schedule_free_adamw": _schedule_free("AdamW, schedule-free", "AdamWScheduleFree"),
    "schedule_free_radam": _schedule_free("RAdam, schedule-free", "RAdamScheduleFree"),
    "schedule_free_sgd": OptimizerInfo(
        "SGD, schedule-free", "schedulefree", "SGDScheduleFree", 4, usual=1.0, lowest=5e-3,
        highest=1.0, schedule_free=True,
    ),
}  # fmt: skip

#: The title of each optimizer.
TITLES: dict[str, str] = {name: about.title for name, about in OPTIMIZERS.items()}


def explain_unavailable(optimizer: Optimizer, device: str, missing: Collection[str] = ()) -> Text:
    """Return why an optimizer isn't available, in one sentence; empty if it is.

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
