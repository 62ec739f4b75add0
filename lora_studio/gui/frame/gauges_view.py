"""The gauges in the header: load, memory and temperature of the device."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QProgressBar, QWidget

from lora_studio.core import formatting
from lora_studio.core.protocol import events
from lora_studio.gui.frame.device_gauges import DeviceSample, GpuSample, find_gpu
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import label, restyle, row, set_role
from lora_studio.gui.widgets.tooltips import plain_tip

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
