"""Choose where the weights of a model go: on one GPU, or a part of the layers on each."""

from __future__ import annotations

from collections.abc import Callable

import psutil
import torch

from lora_studio.core.memory.weights import DIVIDED_ABOVE
from lora_studio.core.messages import Text, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Where, fail
from lora_studio.engine.devices import devices, lock, memory_limit
from lora_studio.engine.devices.unused_gpus import find_unused_gpu_problem


def list_gpus(spec: ModelSpec) -> list[int]:
    """Return the indices of the GPUs that may hold layers of a model: all with "auto", else those it names.

    Several names mean a process each only to a training, whose processes get one name each.
    """
    if spec.device == "auto":
        return devices.list_supported_gpus()
    chosen = dict.fromkeys(devices.choose_device(name) for name in spec.devices)
    return [device.index or 0 for device in chosen if device.type == "cuda"]


def should_spread(spec: ModelSpec, device: torch.device, count_bytes: Callable[[], int]) -> bool:
    """Return whether the layers have to be spread over several GPUs, because one has no room for the model.

    That is slower than one GPU, as only one of them computes at a time. `count_bytes` returns the bytes
    of the weights.
    """
    if device.type != "cuda" or len(list_gpus(spec)) < 2:
        return False
    return count_bytes() > DIVIDED_ABOVE * devices.get_free_gpu_bytes(device.index or 0)


def prepare_devices(spec: ModelSpec, device: torch.device, *, spread: bool) -> None:
    """Lock and limit the GPUs that a model is about to be loaded on: several where layers are spread."""
    if spread:
        if spec.device == "auto":  # named ones are locked already
            lock.hold_every_gpu()
        devices.set_partner_gpus(list_gpus(spec))
        for index in list_gpus(spec):
            memory_limit.limit_device_memory(torch.device("cuda", index))
    devices.set_current_device(device)
    memory_limit.limit_device_memory(device)


def get_spread_limits(spec: ModelSpec, *, training: bool) -> dict[int | str, int]:
    """Return how many bytes of weights each GPU may hold, by index, where layers are spread.

    Without a limit, accelerate would also use GPUs that PyTorch has no code for. Main memory ("cpu") holds the
    rest of a model that only answers.
    """
    limits: dict[int | str, int] = {
        index: int(DIVIDED_ABOVE * devices.get_free_gpu_bytes(index)) for index in list_gpus(spec)
    }
    return limits if training else limits | {"cpu": psutil.virtual_memory().available}


def require_on_gpus(model: torch.nn.Module) -> None:
    """Raise ProblemError if layers of a spread model are in main memory or on disk: they can't train."""
    places = getattr(model, "hf_device_map", None) or {}
    if any(str(place) in ("cpu", "disk") for place in places.values()):
        raise fail(
            "model.too_large",
            "The model doesn't fit on all GPUs together.",
            "Use 4-bit weights, or choose a smaller model. Closing other programs that use the GPUs helps "
            "too.",
            where=Where(step="model", field="precision"),
        )


def describe_choice(spec: ModelSpec, device: torch.device, *, spread: bool) -> Text | None:
    """Return which of this computer's devices are used, and why; None if there is no choice."""
    if device.type == "cpu" and spec.device == "auto" and (problem := find_unused_gpu_problem()):
        return text("{what} {remedy}", what=problem.what, remedy=problem.remedy)
    gpus = devices.list_supported_gpus()
    if device.type != "cuda" or spec.device != "auto" or len(gpus) < 2:
        return None
    if spread:
        return text(
            "The model is too large for one GPU. Its layers are spread over all {count}.",
            count=len(gpus),
        )
    return text(
        "The model fits on one GPU, so it uses {device} ({title}). To train on several at a time, name "
        "them as the device: {names}.",
        device=str(device),
        title=torch.cuda.get_device_properties(device).name,
        names=",".join(f"cuda:{index}" for index in gpus),
    )
