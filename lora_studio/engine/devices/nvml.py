"""NVML's values of the card with a given PyTorch index.

NVML numbers cards by slot and CUDA the fastest first, so cards are matched by UUID.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from functools import cache
from typing import Any

import psutil

from lora_studio.core.protocol.model import DeviceProgram
from lora_studio.core.system.nvml import Nvml


def get_uuid(index: int) -> str:
    """Return the UUID of the card with a PyTorch index; "" if it has none."""
    import torch

    return str(getattr(torch.cuda.get_device_properties(index), "uuid", ""))


@cache
def get_card(index: int) -> tuple[Nvml, Any]:
    """Return NVML and its handle of a card or a MIG slice; the handle is None if it is unknown."""
    nvml = Nvml()
    return nvml, nvml.find_card(get_uuid(index)) if nvml.library is not None else None


def get_free_bytes(index: int) -> int | None:
    """Return the free memory of a card in bytes; None if NVML can't tell."""
    nvml, card = get_card(index)
    memory = None if card is None else nvml.read_memory(card)
    return None if memory is None else int(memory.free)


def list_programs(index: int) -> tuple[DeviceProgram, ...]:
    """Return the programs that have memory of a card, the largest first.

    Processes of one program count together.
    """
    nvml, card = get_card(index)
    sizes: Counter[str] = Counter()
    for pid, size in (nvml.list_processes(card) if card is not None else {}).items():
        with suppress(psutil.Error):
            sizes[_get_program_name(pid)] += size
    return tuple(DeviceProgram(name=name, bytes=size) for name, size in sizes.most_common())


def _get_program_name(pid: int) -> str:
    """Return the name of a process's program; workers of this app are called like it, not Python."""
    process = psutil.Process(pid)
    with suppress(psutil.Error):  # another user's
        if any(part.startswith("lora_studio") for part in process.cmdline()):
            return "LoRA Studio"
    return process.name()


def read_load(index: int) -> dict[str, float]:
    """Return utilization in percent and temperature in °C, without what NVML can't tell."""
    nvml, card = get_card(index)
    if card is None:
        return {}
    load = {"gpu_percent": nvml.read_utilization(card), "gpu_celsius": nvml.read_celsius(card)}
    return {name: float(value) for name, value in load.items() if value is not None}
