"""Sample load, memory and temperature of the machine in a thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from PySide6.QtCore import QThread, Signal

from lora_studio.core.protocol import events
from lora_studio.core.system import nvml as nvml_module
from lora_studio.core.system.nvml import Nvml
from lora_studio.gui.threads import DetachedThread

#: Seconds between two samples: frequent enough to follow, rare enough to cost little.
INTERVAL = 2.0
#: Seconds until the first sample: the window is painted first, and the CPU load is measured over an interval.
_FIRST = 0.2
#: Longest wait for the thread when the window closes, in milliseconds; a sample takes far less.
_SHUTDOWN_MS = 300
#: Relative difference up to which two drivers mean the same size of memory.
_ALIKE = 0.02


@dataclass(frozen=True)
class GpuSample:
    """One GPU: memory in bytes, load in percent, None if the driver doesn't report it; AMD's have no UUID."""

    name: str
    uuid: str
    used_bytes: int
    total_bytes: int
    load: int | None = None
    celsius: int | None = None


@dataclass(frozen=True)
class DeviceSample:
    """One sample of the machine: memory in bytes, load of all CPUs together in percent."""

    cpu_load: float
    ram_used: int
    ram_total: int
    gpus: tuple[GpuSample, ...] = ()


class DeviceGauges(DetachedThread):
    """Samples the machine every `INTERVAL` seconds until `leave`.

    Signals:
        sampled(sample): a new `DeviceSample`.
    """

    sampled = Signal(object)

    def __init__(
        self, read: Callable[[], DeviceSample] | None = None, every: float = INTERVAL
    ) -> None:
        """Call `read` for a sample every `every` seconds."""
        super().__init__()
        self._read = read
        self._every = every
        self._stopped = threading.Event()
        self.has_started = False

    def start(self, priority: QThread.Priority = QThread.Priority.InheritPriority) -> None:
        """Start sampling."""
        self.has_started = True
        super().start(priority)

    def run(self) -> None:
        """Sample until `leave`; the driver is loaded in this thread because that can be slow."""
        read = self._read or _make_reader()
        wait = _FIRST
        while not self._stopped.wait(wait):
            sample = read()
            if self.silent or self._stopped.is_set():
                return
            self.sampled.emit(sample)
            wait = self._every

    def leave(self) -> None:
        """Stop sampling; safe to call at any time."""
        self._stopped.set()
        if self.isRunning():
            self.forget()
            self.wait(_SHUTDOWN_MS)


def read_gpus(nvml: Nvml, cards: Sequence[Any]) -> tuple[GpuSample, ...]:
    """Return a sample of every GPU, except ones that stopped responding."""
    samples = (_read_gpu(nvml, card) for card in cards)
    return tuple(gpu for gpu in samples if gpu is not None)


def read_amd_gpus(folders: Sequence[Path]) -> tuple[GpuSample, ...]:
    """Return a sample of every AMD GPU."""
    gpus = [gpu for gpu in map(nvml_module.read_gpu, folders) if gpu is not None]
    return tuple(
        GpuSample(gpu.name, "", gpu.used_bytes, gpu.total_bytes, gpu.load, gpu.celsius)
        for gpu in gpus
    )


def _read_gpu(nvml: Nvml, card: Any) -> GpuSample | None:
    memory, name = nvml.read_memory(card), nvml.read_text("nvmlDeviceGetName", card)
    if memory is None or name is None:
        return None
    return GpuSample(
        name=name,
        uuid=nvml.read_text("nvmlDeviceGetUUID", card) or "",
        used_bytes=int(memory.used),
        total_bytes=int(memory.total),
        load=nvml.read_utilization(card),
        celsius=nvml.read_celsius(card),
    )


def find_gpu(
    device: events.Device | None, sample: DeviceSample, environment: Mapping[str, str] = os.environ
) -> GpuSample | None:
    """Return the GPU of an engine's device, whose index counts only visible GPUs."""
    if device is None or not device.name.startswith("cuda"):
        return None
    if device.identifier:
        matches = [gpu for gpu in sample.gpus if gpu.uuid.endswith(device.identifier)]
        if matches:
            return matches[0]
    if sample.gpus and not any(gpu.uuid for gpu in sample.gpus):
        # Without identifiers, only a GPU with a size of its own is certainly the right one.
        alike = [gpu for gpu in sample.gpus if abs(gpu.total_bytes / max(1, device.total_bytes) - 1) < _ALIKE]  # fmt: skip
        return alike[0] if len(alike) == 1 else None
    index = int(device.name.partition(":")[2] or 0)
    visible = [part.strip() for part in environment.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    chosen = visible[index] if index < len(visible) and visible[index] else str(index)
    by_uuid = [gpu for gpu in sample.gpus if chosen.startswith("GPU-") and gpu.uuid.startswith(chosen)]  # fmt: skip
    if by_uuid:
        return by_uuid[0]
    number = int(chosen) if chosen.isdigit() else index
    if number < len(sample.gpus) and str(device.title) in sample.gpus[number].name:
        return sample.gpus[number]
    return next((gpu for gpu in sample.gpus if str(device.title) in gpu.name), None)


def _make_reader() -> Callable[[], DeviceSample]:
    nvml = Nvml()
    cards = nvml.list_cards()
    folders = [] if cards else nvml_module.list_folders()
    psutil.cpu_percent()  # starts the measurement: the first result is meaningless

    def read() -> DeviceSample:
        ram = psutil.virtual_memory()
        return DeviceSample(
            psutil.cpu_percent(),
            ram.total - ram.available,
            ram.total,
            read_gpus(nvml, cards) or read_amd_gpus(folders),
        )

    return read
