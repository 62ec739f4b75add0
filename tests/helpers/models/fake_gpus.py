"""A table of made-up GPUs in place of the computer's own: no driver, no CUDA."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lora_studio.engine.devices import devices, load

GIB = 1 << 30


@dataclass
class Gpu:
    """A GPU with a name, a UUID, its capability, and its memory in GiB; `arch` is AMD's architecture.

    Its PCI address is 0000:c0:00.0 for the first, then 0000:c1:00.0.
    """

    name: str
    uuid: str
    major: int = 8
    minor: int = 9
    total: float = 24
    free: float = 23
    arch: str = ""
    reserved: float = 0.0


@dataclass
class FakeGpus:
    """The GPUs that PyTorch sees, in its order: those of CUDA_VISIBLE_DEVICES, if it is set.

    `limits` are the shares of memory that this process has been limited to, by index. An `old_driver` counts its
    GPUs, but PyTorch can't use them.
    """

    cards: list[Gpu]
    monkeypatch: pytest.MonkeyPatch
    names: tuple[str, ...] = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_120")
    hip: str | None = None
    old_driver: bool = False
    limits: dict[int, float] = field(default_factory=dict)

    def install(self) -> FakeGpus:
        """Replace PyTorch's and NVML's answers until the test ends."""
        for target, name, value in (
            (torch.cuda, "device_count", lambda: len(self.visible)),
            (torch.cuda, "is_available", lambda: bool(self.visible) and not self.old_driver),
            (torch.cuda, "get_device_properties", self._describe),
            (torch.cuda, "get_arch_list", lambda: list(self.names)),
            (torch.cuda, "mem_get_info", lambda _: pytest.fail("creates a CUDA context")),
            (torch.cuda, "memory_reserved", lambda card: int(self.find(card).reserved * GIB)),
            (torch.cuda, "set_per_process_memory_fraction", self._limit),
            (torch.version, "hip", self.hip),
            (torch.version, "cuda", None if self.hip else "13.0"),
            (load, "get_free_bytes", lambda index: int(self.find(index).free * GIB)),
            (load, "list_programs", lambda _: ()),
            (load, "get_uuid", lambda index: self.find(index).uuid),
        ):
            self.monkeypatch.setattr(target, name, value)
        self.monkeypatch.setattr(devices, "_partners", devices._Partners())
        devices.choose_gpu.cache_clear()
        return self

    @property
    def visible(self) -> list[Gpu]:
        """Return the GPUs that CUDA_VISIBLE_DEVICES leaves, as the driver reads it: up to the first unknown."""
        if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is None:
            return self.cards
        visible = []
        for part in filter(None, map(str.strip, chosen.split(","))):
            prefixes = [f"GPU-{card.uuid}" for card in self.cards]
            prefixes = [f"MIG-{card.uuid}" if "MIG" in card.name else prefix
                        for card, prefix in zip(self.cards, prefixes, strict=True)]  # fmt: skip
            found = [
                card
                for index, (card, name) in enumerate(zip(self.cards, prefixes, strict=True))
                if part == str(index) or name.startswith(part)
            ]
            if len(found) != 1:
                break
            visible += found
        return visible

    def find(self, device: Any) -> Gpu:
        """Return the GPU of a device or index."""
        index = torch.device(device).index if isinstance(device, str | torch.device) else device
        return self.visible[index or 0]

    def _describe(self, device: Any) -> Any:
        if self.old_driver:
            raise RuntimeError("The NVIDIA driver on your system is too old (found version 12020).")
        card = self.find(device)
        return SimpleNamespace(
            name=card.name, uuid=card.uuid, major=card.major, minor=card.minor,
            total_memory=int(card.total * GIB), gcnArchName=card.arch,
            pci_domain_id=0, pci_bus_id=0xC0 + self.cards.index(card), pci_device_id=0,
        )  # fmt: skip

    def _limit(self, share: float, device: Any) -> None:
        self.limits[torch.device(device).index or 0] = share
