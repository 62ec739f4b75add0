"""NVIDIA's management library (NVML), queried for the card with a given PyTorch index.

A query through CUDA creates a context on the card: 200 to 500 MB of its memory for as long as the
process lives. NVML queries the driver instead. It numbers cards by slot and CUDA the fastest first,
so cards are matched by UUID.
"""

from __future__ import annotations

import contextlib
from functools import cache
from typing import Any


def get_uuid(index: int) -> str:
    """Return the UUID of the card with a PyTorch index; "" if it has none."""
    import torch

    return str(getattr(torch.cuda.get_device_properties(index), "uuid", ""))


@cache
def get_card(index: int) -> tuple[Any, Any] | None:
    """Return NVML and its handle of a card or a MIG slice; None if it is unknown."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no package, no driver, a driver of another version, a card of another make
        return None
    for kind in ("GPU", "MIG"):
        with contextlib.suppress(pynvml.NVMLError):
            return pynvml, pynvml.nvmlDeviceGetHandleByUUID(f"{kind}-{get_uuid(index)}")
    return None


def get_free_bytes(index: int) -> int | None:
    """Return the free memory of a card in bytes; None if NVML can't tell."""
    if (card := get_card(index)) is None:
        return None
    library, handle = card
    try:
        return int(library.nvmlDeviceGetMemoryInfo(handle).free)
    except library.NVMLError:
        return None


def read_load(index: int) -> dict[str, float]:
    """Return utilization in percent and temperature in °C, without what NVML can't tell."""
    if (card := get_card(index)) is None:
        return {}
    library, handle = card
    load: dict[str, float] = {}
    with contextlib.suppress(library.NVMLError):
        load["gpu_percent"] = float(library.nvmlDeviceGetUtilizationRates(handle).gpu)
    with contextlib.suppress(library.NVMLError):
        temperature = library.nvmlDeviceGetTemperature(handle, library.NVML_TEMPERATURE_GPU)
        load["gpu_celsius"] = float(temperature)
    return load
