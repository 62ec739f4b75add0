"""Editor of the training device: one device from a list, or several GPUs by check boxes."""

from __future__ import annotations

from typing import Any

from PySide6.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.protocol import events
from lora_studio.gui.controls.choices import ComboControl
from lora_studio.gui.controls.controls import Control
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import FlowLayout, label


class DeviceControl(Control):
    """A list of devices, and a check box for each GPU of a machine with several."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Offer the automatic choice and the CPU until `show_devices` is called."""
        super().__init__(parent)
        self.combo = ComboControl(list_device_choices(None))
        self.setFocusProxy(self.combo.box)
        self.ticks: dict[str, QCheckBox] = {}
        self._value = "auto"
        self._together = QWidget()
        self._flow = FlowLayout(self._together)
        self._several = label(tr("Train on several GPUs (each processes part of every batch):"), role="caption")  # fmt: skip
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.S)
        for widget in (self.combo, self._several, self._together):
            layout.addWidget(widget)
        self.combo.edited.connect(self._choose)
        self.combo.left.connect(self.left)
        self.show_devices(None)

    def show_devices(self, devices: events.DevicesFound | None) -> None:
        """Offer the devices of this machine; the value doesn't change."""
        self.combo.set_choices(list_device_choices(devices))
        for box in self.ticks.values():
            box.hide()
            box.deleteLater()
        gpus = [device for device in (devices.devices if devices else ()) if "cuda:" in device.name]
        gpus.sort(key=lambda device: int(device.name.partition(":")[2]))
        self.ticks = {
            device.name: QCheckBox(f"{localize(device.title)} ({device.name})") for device in gpus
        }
        for box in self.ticks.values():
            self._flow.addWidget(box)
            box.clicked.connect(self._tick)
        self._several.setVisible(len(gpus) > 1)
        self._together.setVisible(len(gpus) > 1)
        self.show_value(self._value)

    def show_value(self, value: Any) -> None:
        """Show one device in the list and its check box, several in their check boxes only."""
        self._value = str(value)
        self._show_in_list()
        for name, box in self.ticks.items():
            box.setChecked(name in self._value.split(","))

    def _show_in_list(self) -> None:
        """Show the number of GPUs instead of an entry if several are selected."""
        self.combo.show_value(self._value)
        if (count := self._value.count(",") + 1) > 1:
            self.combo.box.setPlaceholderText(tr("{count} GPUs").format(count=count))

    def _choose(self, value: object) -> None:
        self.show_value(value)
        self.edited.emit(value)

    def _tick(self) -> None:
        """Store the checked GPUs; none checked means "auto"."""
        ticked = [name for name, box in self.ticks.items() if box.isChecked()]
        value = ",".join(ticked) or "auto"
        self._value = value
        self._show_in_list()
        self.edited.emit(value)
        self.left.emit()


def list_device_choices(devices: events.DevicesFound | None) -> dict[str, str]:
    """Return titles by device name, "auto" first; only "auto" and "cpu" while devices are unknown."""
    if devices is None or not devices.devices:
        return {"auto": mark("Automatic"), "cpu": "CPU"}
    choices = {"auto": tr("Automatic ({title})").format(title=localize(devices.devices[0].title))}
    several = sum(device.name.startswith("cuda") for device in devices.devices) > 1
    for device in devices.devices:
        if device.name != "auto":
            title = localize(device.title)
            is_one_of_several = several and device.name.startswith("cuda")
            choices[device.name] = tr("{device}, {free} of {total} free").format(
                device=f"{title} ({device.name})" if is_one_of_several else title,
                free=formatting.format_memory(device.free_bytes),
                total=formatting.format_memory(device.total_bytes),
            )
    return choices
