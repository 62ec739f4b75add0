"""The bar above the pages: which project, which device, what is running."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QMenu,
    QProgressBar,
    QPushButton,
    QToolButton,
    QWidget,
)

from lora_studio.core import events, words
from lora_studio.gui.language import tr
from lora_studio.gui.theme import Space, set_icon
from lora_studio.gui.widgets.basics import button, label, restyle, row, set_role

_BAR_WIDTH = 88


class HeaderBar(QFrame):
    """Project menu at the left, device and job at the right.

    Signals:
        stop_clicked: the user wants the job under way to end.
        job_clicked: the user wants to see the job under way.
    """

    stop_clicked = Signal()
    job_clicked = Signal()

    def __init__(self, menu: QMenu, parent: QWidget | None = None) -> None:
        """`menu` opens under the project's name."""
        super().__init__(parent)
        self.setProperty("surface", "header")
        self.setFixedHeight(48)
        self._project = QToolButton()
        self._project.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._project.setLayoutDirection(Qt.LayoutDirection.RightToLeft)  # the arrow comes last
        self._project.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._project.setMenu(menu)
        self._project.setAccessibleName("Project menu")
        set_icon(self._project, "chevron-down", "muted")
        self._saved = label("", "caption")
        self._device = DeviceView()
        self.task = JobView()
        self.task.stop.setText(tr("Cancel"))
        self._job = JobView()
        self._job.stop.clicked.connect(self.stop_clicked)
        self._job.open.clicked.connect(self.job_clicked)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(Space.L, 0, Space.XL, 0)
        layout.setSpacing(Space.S)
        layout.addWidget(self._project)
        layout.addWidget(self._saved)
        layout.addStretch(1)
        layout.addWidget(self._device)
        layout.addWidget(self.task)
        layout.addWidget(self._job)

    @property
    def job(self) -> JobView:
        """The part about the job under way."""
        return self._job

    @property
    def device(self) -> DeviceView:
        """The part about the device."""
        return self._device

    def set_project(self, name: str, folder: str, *, saved: str) -> None:
        """Name, place and whether everything is in the file."""
        self._project.setText(name)
        self._project.setToolTip(folder)
        self._saved.setText(saved)


class DeviceView(QWidget):
    """The device that models are placed on, with its memory."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Hidden until a device is known."""
        super().__init__(parent)
        self._name = label("", "muted")
        self._bar = QProgressBar(textVisible=False)
        self._bar.setFixedWidth(_BAR_WIDTH)
        self._memory = label("", "muted")
        self.setLayout(row(self._name, self._bar, self._memory))
        self.hide()

    def show_device(self, device: events.Device | None) -> None:
        """Shows a device; hidden while there is none."""
        self.setVisible(device is not None)
        if device is not None:
            self.show_memory(
                device.title, device.total_bytes - device.free_bytes, device.total_bytes
            )

    def show_memory(self, title: str, used: int, total: int) -> None:
        """Shows memory in use, in bytes."""
        self._name.setText(title if len(title) <= 32 else f"{title[:31]}…")
        self._name.setToolTip(title)
        self._bar.setVisible(total > 0)
        self._memory.setVisible(total > 0)
        if total > 0:
            share = used / total
            self._bar.setValue(round(100 * share))
            self._bar.setProperty(
                "level", "error" if share > 0.95 else "warn" if share > 0.85 else ""
            )
            restyle(self._bar)
            self._memory.setText(f"{words.memory(used)} of {words.memory(total)}")
            self.setAccessibleName(f"{title}: {self._memory.text()} of memory in use")


class JobView(QWidget):
    """The job under way: what, how far, how long still, and an end to it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Hidden while nothing runs."""
        super().__init__(parent)
        self.open: QPushButton = button("", kind="link")
        self._bar = QProgressBar(textVisible=False)
        self._bar.setFixedWidth(_BAR_WIDTH)
        self._left = label("", "muted")
        self.stop: QPushButton = button("Stop", icon="stop")
        layout = row(self.open, self._bar, self._left, self.stop)
        layout.setContentsMargins(Space.L, 0, 0, 0)
        self.setLayout(layout)
        self.hide()

    def show_job(
        self, doing: str, share: float | None, eta_s: float | None, *, stopping: bool
    ) -> None:
        """Shows a job; `doing` is empty for none, `share` runs from 0 to 1."""
        self.setVisible(bool(doing))
        self.open.setText(doing[:1].upper() + doing[1:])
        self._bar.setVisible(share is not None)
        self._bar.setRange(0, 1000)
        self._bar.setValue(round(1000 * (share or 0)))
        shown = [] if share is None else [f"{100 * share:.0f} %"]
        shown += [words.remaining(eta_s)] if eta_s is not None and not stopping else []
        self._left.setText("stopping…" if stopping else " · ".join(shown))
        set_role(self._left, "warn" if stopping else "muted")
        self.stop.setEnabled(not stopping)
