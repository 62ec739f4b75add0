"""Limit this process to the memory of its device where the driver would use main memory instead.

Drivers for Windows move a GPU's memory to main memory when it is full, which makes every step many times
slower, without an error; so do those that run Linux on Windows (WSL). On Apple computers the GPU uses main
memory, and the system swaps. With a limit, PyTorch raises an out-of-memory error instead, and training continues
with less in memory at a time.
"""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING

from lora_studio.engine.devices import devices

if TYPE_CHECKING:
    import torch

#: Memory in bytes that a process uses outside of PyTorch's allocator: the context and the libraries' own.
_RESERVE = 512 << 20

#: Smallest share of a GPU to limit a process to: a full GPU gives its error at the next allocation anyway.
_MIN_SHARE = 0.05


def limit_device_memory(device: torch.device) -> int | None:
    """Limit this process to the memory of a device that is free now; return the limit in bytes.

    Returns None for a device whose driver raises an error of its own. Call it again when other programs may
    have taken or freed memory.
    """
    import torch

    if device.type == "mps":
        torch.mps.set_per_process_memory_fraction(
            1.0
        )  # of what Apple recommends; the default is 1.7
        return int(torch.mps.recommended_max_memory())
    if device.type != "cuda" or not spills_into_main_memory():
        return None
    total = torch.cuda.get_device_properties(device).total_memory
    free = devices.read_free_bytes(device.index or 0)
    if free is None:
        free = torch.cuda.mem_get_info(device)[0]
    own = torch.cuda.memory_reserved(device)
    limit = min(total, max(int(_MIN_SHARE * total), free + own - _RESERVE))
    torch.cuda.set_per_process_memory_fraction(limit / total, device)
    return limit


def spills_into_main_memory() -> bool:
    """Return whether the driver of a GPU uses main memory once the GPU's is full."""
    return sys.platform == "win32" or "microsoft" in platform.release().lower()
