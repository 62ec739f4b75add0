"""NVIDIA's management library, asked about the very card that PyTorch means by a number.

A question through CUDA begins to use the card: 200 to 500 MB of its memory for as long as the process
lives, on every card that is asked about. This library asks the driver instead. It numbers cards by
their slot and CUDA the fastest first, so that only their own identifiers tell which is which.
"""

from __future__ import annotations

import contextlib
from functools import cache
from typing import Any


def identifier(index: int) -> str:
    """What tells a card from all others, by PyTorch's number; "" where it has none."""
    import torch

    return str(getattr(torch.cuda.get_device_properties(index), "uuid", ""))


@cache
def card(index: int) -> tuple[Any, Any] | None:
    """The library and its handle of a card, or of a slice of one; None where it knows none."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no package, no driver, a driver of another version, a card of another make
        return None
    for kind in ("GPU", "MIG"):
        with contextlib.suppress(pynvml.NVMLError):
            return pynvml, pynvml.nvmlDeviceGetHandleByUUID(f"{kind}-{identifier(index)}")
    return None


def free_bytes(index: int) -> int | None:
    """Free memory of a card in bytes; None where the library cannot tell."""
    if (known := card(index)) is None:
        return None
    library, handle = known
    try:
        return int(library.nvmlDeviceGetMemoryInfo(handle).free)
    except library.NVMLError:
        return None


def load(index: int) -> dict[str, float]:
    """How busy a card is, in percent of the time, and how warm; what it cannot tell is left out."""
    if (known := card(index)) is None:
        return {}
    library, handle = known
    found: dict[str, float] = {}
    with contextlib.suppress(library.NVMLError):
        found["gpu_percent"] = float(library.nvmlDeviceGetUtilizationRates(handle).gpu)
    with contextlib.suppress(library.NVMLError):
        heat = library.nvmlDeviceGetTemperature(handle, library.NVML_TEMPERATURE_GPU)
        found["gpu_celsius"] = float(heat)
    return found
