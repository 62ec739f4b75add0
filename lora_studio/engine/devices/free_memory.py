"""The free memory of a GPU from its driver: reading it through PyTorch would use some of that memory."""

from __future__ import annotations

import math
from typing import Any

from lora_studio.core.system import nvml as nvml_module
from lora_studio.engine.devices import nvml


def read_free_bytes(index: int) -> int | None:
    """Return the free memory of the GPU with a PyTorch index in bytes; None if its driver doesn't tell."""
    free = nvml.get_free_bytes(index)
    return _read_amd_free_bytes(index) if free is None else free


def _read_amd_free_bytes(index: int) -> int | None:
    """Return the free memory of an AMD GPU on Linux.

    Not of integrated GPUs and of parts of a GPU, which have more or less than the GPU's own memory.
    """
    import torch

    if torch.version.hip is None:
        return None
    facts = torch.cuda.get_device_properties(index)
    address = _get_pci_address(facts)
    folder = next((each for each in nvml_module.list_folders() if each.name == address), None)
    gpu = None if folder is None else nvml_module.read_gpu(folder)
    if gpu is None or not math.isclose(gpu.total_bytes, facts.total_memory, rel_tol=0.1):
        return None
    return max(0, gpu.total_bytes - gpu.used_bytes)


def _get_pci_address(facts: Any) -> str | None:
    """Return the address by which Linux names a GPU, None before PyTorch 2.8."""
    if not hasattr(facts, "pci_bus_id"):
        return None
    return f"{facts.pci_domain_id:04x}:{facts.pci_bus_id:02x}:{facts.pci_device_id:02x}.0"
