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
from PySide6.QtWidgets import QProgressBar, QWidget

from lora_studio.core import formatting
from lora_studio.core.protocol import events
from lora_studio.core.system import nvml as nvml_module
from lora_studio.core.system.nvml import Nvml
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.theme import Spacing
from lora_studio.gui.threads import DetachedThread
from lora_studio.gui.widgets.basics import label, restyle, row, set_role
from lora_studio.gui.widgets.tooltips import plain_tip

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
    """Samples the machine every `INTERVAL` seconds until `stop_background_work`.

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
        """Sample until `stop_background_work`; the driver is loaded in this thread because that can be slow."""
        read = self._read or _make_reader()
        wait = _FIRST
        while not self._stopped.wait(wait):
            sample = read()
            if self.silent or self._stopped.is_set():
                return
            self.sampled.emit(sample)
            wait = self._every

    def stop_background_work(self) -> None:
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


_BAR_WIDTH = 72
#: Degrees above which NVIDIA's cards slow down to cool.
_HOT = 84
_NAME_LENGTH = 26


class GaugesView(QWidget):
    """One line about the device; the tooltip and the accessible name describe the whole machine.

    Signals:
        changed: the width it needs may have changed.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Hide the gauges until there is a sample."""
        super().__init__(parent)
        self._device: events.Device | None = None
        self._sample: DeviceSample | None = None
        self._roomy = self._fits = True
        self.name = label("", "muted")
        self.load = label("", "muted")
        self.bar = QProgressBar(textVisible=False)
        self.bar.setFixedWidth(_BAR_WIDTH)
        self.memory = label("", "muted")
        self.heat = label("", "muted")
        self.machine = label("", "muted")
        self.setLayout(
            row(self.name, self.load, self.bar, self.memory, self.heat, Spacing.S, self.machine)
        )  # fmt: skip
        self.hide()

    def show_device(self, device: events.Device | None) -> None:
        """Show the device of the project; None while it is unknown."""
        self._device = device
        self._show()

    def show_sample(self, sample: DeviceSample) -> None:
        """Show the latest sample."""
        self._sample = sample
        self._show()

    def set_roomy(self, roomy: bool) -> None:
        """Show or hide the CPU load next to a GPU."""
        if roomy != self._roomy:
            self._roomy = roomy
            self._show()

    def set_fits(self, fits: bool) -> None:
        """Show or hide all gauges."""
        if fits != self._fits:
            self._fits = fits
            self._show()

    def _show(self) -> None:
        sample, device = self._sample, self._device
        gpu = find_gpu(device, sample) if sample else None
        if gpu is None and device is None and sample is not None and sample.gpus:
            gpu = sample.gpus[0]
        self.setVisible(self._fits and (sample is not None or device is not None))
        self.name.setText(_name(device, gpu))
        if gpu is not None:
            self._show_gpu(gpu)
        elif sample is not None and (device is None or not device.name.startswith("cuda")):
            self._show_machine(sample, is_cpu=device is None or device.name == "cpu")
        elif device is not None:
            self.load.setText("")
            self.heat.setText("")
            # Without samples of this GPU, its used memory is only that of a moment ago.
            used = device.total_bytes - device.free_bytes
            self._show_memory(used, 0 if sample else device.total_bytes)
        self._show_around(gpu)
        self.changed.emit()

    def _show_gpu(self, gpu: GpuSample) -> None:
        self.load.setText(f"{gpu.load} %" if gpu.load is not None else "")
        # A training leaves little of a GPU's memory unused, which is no error.
        self._show_memory(gpu.used_bytes, gpu.total_bytes, may_be_full=True)
        hot = gpu.celsius is not None and gpu.celsius >= _HOT
        self.heat.setText(f"{'▲ ' if hot else ''}{gpu.celsius} °C" if gpu.celsius else "")
        set_role(self.heat, "warn" if hot else "muted")

    def _show_machine(self, sample: DeviceSample, *, is_cpu: bool) -> None:
        """Show the memory of the machine, which an Apple GPU shares, and the load of the CPU."""
        self.load.setText(f"{sample.cpu_load:.0f} %" if is_cpu else "")
        self._show_memory(sample.ram_used, sample.ram_total)
        self.heat.setText("")

    def _show_memory(self, used: int, total: int, *, may_be_full: bool = False) -> None:
        self.bar.setVisible(total > 0)
        self.memory.setVisible(total > 0)
        if total <= 0:
            return
        share = used / total
        self.bar.setValue(round(100 * share))
        level = "error" if share > 0.95 else "warn" if share > 0.85 else ""
        level = "" if may_be_full else level
        if self.bar.property("level") != level:
            self.bar.setProperty("level", level)
            restyle(self.bar)
        self.memory.setText(
            tr("{used} of {total}").format(
                used=formatting.format_memory(used), total=formatting.format_memory(total)
            )
        )

    def _show_around(self, gpu: GpuSample | None) -> None:
        """Show the CPU next to a GPU, and the whole machine in the tooltip."""
        sample = self._sample
        around = ""
        if sample is not None and gpu is not None and self._roomy:
            around = tr("CPU {load} % · RAM {used}").format(
                load=f"{sample.cpu_load:.0f}", used=formatting.format_memory(sample.ram_used)
            )
        self.machine.setText(around)
        for part in (self.machine, self.load, self.heat):
            part.setVisible(bool(part.text()))
        description = _describe(sample) if sample else self.memory.text()
        self.setToolTip(plain_tip(description))
        self.setAccessibleName(description.replace("\n", "; "))


def _name(device: events.Device | None, gpu: GpuSample | None) -> str:
    """Return a short name of the device."""
    if device is not None and device.name != "cpu":
        return _shorten(localize(device.title))
    return _shorten(gpu.name) if gpu is not None else tr("CPU")


def _describe(sample: DeviceSample) -> str:
    lines = [
        tr("CPU: {load} % used, {used} of {total} memory used").format(
            load=f"{sample.cpu_load:.0f}",
            used=formatting.format_memory(sample.ram_used),
            total=formatting.format_memory(sample.ram_total),
        )
    ]
    for gpu in sample.gpus:
        parts = [f"{gpu.load} %"] if gpu.load is not None else []
        parts.append(
            tr("{used} of {total} memory used").format(
                used=formatting.format_memory(gpu.used_bytes),
                total=formatting.format_memory(gpu.total_bytes),
            )
        )
        parts += [f"{gpu.celsius} °C"] if gpu.celsius is not None else []
        lines.append(f"{gpu.name}: {', '.join(parts)}")
    return "\n".join(lines)


def _shorten(name: str) -> str:
    plain = name.removeprefix("NVIDIA ").removeprefix("GeForce ")
    return plain if len(plain) <= _NAME_LENGTH else f"{plain[: _NAME_LENGTH - 1]}…"
