"""Where to train: one device of a list, or several GPUs by ticking them."""

from __future__ import annotations

from typing import Any

from PySide6.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.protocol import events
from lora_studio.gui.controls.choices import ComboControl
from lora_studio.gui.controls.controls import Control
from lora_studio.gui.language import mark, tr
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import FlowLayout, label


class DeviceControl(Control):
    """A list, and a tick box for each GPU where the machine has several."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Knows only what is everywhere, until `show_devices`."""
        super().__init__(parent)
        self.combo = ComboControl(choices_of(None))
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

    def show_devices(self, found: events.DevicesFound | None) -> None:
        """Offers what this machine has; the value stays."""
        self.combo.set_choices(choices_of(found))
        for box in self.ticks.values():
            box.hide()
            box.deleteLater()
        gpus = [device for device in (found.devices if found else ()) if "cuda:" in device.name]
        self.ticks = {device.name: QCheckBox(f"{device.title} ({device.name})") for device in gpus}
        for box in self.ticks.values():
            self._flow.addWidget(box)
            box.clicked.connect(self._tick)
        self._several.setVisible(len(gpus) > 1)
        self._together.setVisible(len(gpus) > 1)
        self.show_value(self._value)

    def show_value(self, value: Any) -> None:
        """Shows one device in the list as well, several by their ticks alone."""
        self._value = str(value)
        self._show_in_list()
        for name, box in self.ticks.items():
            box.setChecked(name in self._value.split(","))

    def _show_in_list(self) -> None:
        """Several are no entry of the list: their number stands there instead."""
        self.combo.show_value(self._value)
        if (count := self._value.count(",") + 1) > 1:
            self.combo.box.setPlaceholderText(tr("{count} GPUs").format(count=count))

    def _choose(self, value: object) -> None:
        self.show_value(value)
        self.edited.emit(value)

    def _tick(self) -> None:
        """One tick is a device like one chosen from the list; none leaves it to the program."""
        ticked = [name for name, box in self.ticks.items() if box.isChecked()]
        value = ",".join(ticked) or "auto"
        self._value = value
        self._show_in_list()
        self.edited.emit(value)
        self.left.emit()


def choices_of(found: events.DevicesFound | None) -> dict[str, str]:
    """Automatic first, with the device it means; without an answer only what is everywhere."""
    if found is None or not found.devices:
        return {"auto": mark("Automatic"), "cpu": "CPU"}
    choices = {"auto": tr("Automatic ({title})").format(title=found.devices[0].title)}
    for device in found.devices:
        if device.name != "auto":
            choices[device.name] = tr("{device}, {free} of {total} free").format(
                device=device.title,
                free=formatting.memory(device.free_bytes),
                total=formatting.memory(device.total_bytes),
            )
    return choices
