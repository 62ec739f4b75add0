"""Choose where the weights of a model go: on one GPU, or a part of the layers on each."""

from __future__ import annotations

from collections.abc import Callable

import torch

from lora_studio.core.memory.weights import DIVIDED_ABOVE
from lora_studio.core.messages import Text, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.engine.devices import devices, nvml


def should_spread(spec: ModelSpec, device: torch.device, count_bytes: Callable[[], int]) -> bool:
    """Return whether the layers have to be spread over all GPUs, because no GPU has room for the model.

    That is slower than one GPU, as only one of them computes at a time. `count_bytes` returns the bytes
    of the weights.
    """
    if spec.device != "auto" or device.type != "cuda" or torch.cuda.device_count() < 2:
        return False
    facts = torch.cuda.get_device_properties(device)
    free = nvml.get_free_bytes(device.index or 0)
    return count_bytes() > DIVIDED_ABOVE * (facts.total_memory if free is None else free)


def describe_choice(device: torch.device, *, spread: bool) -> Text | None:
    """Return which of several GPUs are used, and why; None if there is no choice."""
    count = torch.cuda.device_count() if device.type == "cuda" else 0
    if count < 2:
        return None
    if spread:
        return text(
            "The model is too large for one GPU. Its layers are spread over all {count}.",
            count=count,
        )
    return text(
        "The model fits on one GPU, so it uses {device} ({title}). To train on several at a time, name "
        "them as the device: {names}.",
        device=str(device),
        title=torch.cuda.get_device_properties(device).name,
        names=",".join(f"cuda:{i}" for i in range(count) if devices.is_gpu_supported(i)),
    )
