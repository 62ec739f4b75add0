"""The bar above the pages: project, device and running job."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QMenu,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QWidget,
)

from lora_studio.core import messages
from lora_studio.core.messages import Text
from lora_studio.gui.frame.device_gauges import GaugesView
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import localize, localize_stage
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, label, row, set_role
from lora_studio.gui.widgets.tooltips import plain_tip

_BAR_WIDTH = 88
#: Which parts are visible, from the widest layout to the narrowest: the CPU next to a GPU, the saved
#: state of the project, all gauges, the progress of jobs.
_VISIBLE_PARTS = (
    (True, True, True, True),
    (False, True, True, True),
    (False, False, True, True),
    (False, False, False, True),
    (False, False, False, False),
)


class HeaderBar(QFrame):
    """Shows the project menu on the left, device and job on the right.

    Signals:
        stop_clicked: stop the running job.
        job_clicked: show the running job.
        queue_clicked: show the queued runs.
    """

    stop_clicked = Signal()
    job_clicked = Signal()
    queue_clicked = Signal()

    def __init__(self, menu: QMenu, parent: QWidget | None = None) -> None:
        """Open `menu` below the project's name."""
        super().__init__(parent)
        self._making_room = True
        self.setProperty("surface", "header")
        set_scaled_sizes(self, height=48)
        # Parts that don't fit are hidden, so that they never widen the window.
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._project = QToolButton()
        self._project.setProperty("kind", "menu")
        self._project.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
        self._project.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._project.setMenu(menu)
        self._project.setAccessibleName(tr("Project menu"))
        self._saved = label("", "caption")
        self._device = GaugesView()
        self._device.changed.connect(self._make_room)
        self.task = JobView()
        self.task.stop.setText(tr("Cancel"))
        self._job = JobView()
        self._job.stop.clicked.connect(self.stop_clicked)
        self._job.open.clicked.connect(self.job_clicked)
        self.queue = button("", self.queue_clicked.emit, kind="link", icon="runs", role="accent")
        self.queue.hide()
        self._making_room = False
        layout = QHBoxLayout(self)
        layout.setContentsMargins(Spacing.L, 0, Spacing.XL, 0)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self._project)
        layout.addWidget(self._saved)
        layout.addStretch(1)
        layout.addWidget(self._device)
        layout.addWidget(self.task)
        layout.addWidget(self._job)
        layout.addWidget(self.queue)

    @property
    def job(self) -> JobView:
        """The view of the running job."""
        return self._job

    @property
    def device(self) -> GaugesView:
        """The view of the device gauges."""
        return self._device

    @property
    def saved(self) -> str:
        """The text that says whether the project is saved."""
        return self._saved.text()

    def show_queue(self, waiting: int) -> None:
        """Show how many runs are queued."""
        self.queue.setVisible(waiting > 0)
        self.queue.setText(tr_n("{n} queued", "{n} queued", waiting))
        self.queue.setToolTip(plain_tip(tr_n("{n} queued run", "{n} queued runs", waiting)))
        self._make_room()

    def show_task(self, doing: str, share: float | None) -> None:
        """Show a task next to the job; `doing` is empty for none, `share` is from 0 to 1."""
        self.task.show_job(doing, share, None)
        self._make_room()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Hide parts that don't fit."""
        super().resizeEvent(event)
        self._make_room()

    def _make_room(self) -> None:
        if self._making_room:  # hiding a part resizes the bar again
            return
        self._making_room = True
        for roomy, saved, gauges, progress in _VISIBLE_PARTS:
            self._device.set_roomy(roomy)
            self._saved.setVisible(saved)
            self._device.set_fits(gauges)
            self.task.set_fits(progress)
            self._job.set_fits(progress)
            if self._measure_width() <= self.width():
                break
        if (layout := self.layout()) is not None:
            layout.activate()  # showing a part that doesn't fit has squeezed the others
        self._making_room = False

    def _measure_width(self) -> int:
        """Return the width in pixels that the visible parts need.

        Layouts are invalidated first: a row reports a new width only in the next event loop turn.
        """
        for part in (self._device, self.task, self._job):
            if (inner := part.layout()) is not None:
                inner.invalidate()
                part.updateGeometry()
        layout = self.layout()
        return layout.sizeHint().width() if layout is not None else 0

    def show_job(self, doing: Text, share: float | None, eta_s: float | None, *, ending: str = "") -> None:  # fmt: skip
        """Show the running job.

        `doing` is empty for none, `share` is from 0 to 1, `ending` says how a job that was asked to end
        ends.
        """
        self._job.show_job(doing, share, eta_s, ending=ending)
        self._make_room()

    def set_project(self, name: str, folder: str, *, saved: str) -> None:
        """Show name and folder of the project, and whether it is saved."""
        self._project.setText(name)
        self._project.setToolTip(plain_tip(folder))
        self._saved.setText(saved)
        self._make_room()


class JobView(QWidget):
    """Shows the running job, its progress, the time left, and a button to stop it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Hide the view while no job runs."""
        super().__init__(parent)
        self.open: QPushButton = button("", kind="link")
        self._has_share = False
        self._bar = QProgressBar(textVisible=False)
        self._bar.setFixedWidth(_BAR_WIDTH)
        self._remaining = label("", "muted")
        self.stop: QPushButton = button(tr("Stop"), icon="stop")
        layout = row(self.open, self._bar, self._remaining, Spacing.XS, self.stop)
        layout.setContentsMargins(Spacing.L, 0, 0, 0)
        self.setLayout(layout)
        self.hide()

    def set_fits(self, fits: bool) -> None:
        """Show or hide the bar and the text beside it."""
        self._bar.setVisible(fits and self._has_share)
        self._remaining.setVisible(fits)

    def show_job(
        self, doing: Text | str, share: float | None, eta_s: float | None, *, ending: str = ""
    ) -> None:
        """Show a job as `HeaderBar.show_job` does."""
        self.setVisible(bool(doing))
        self.open.setText(localize_stage(doing))
        self._has_share = share is not None
        self.set_fits(True)
        self._bar.setRange(0, 1000)
        self._bar.setValue(round(1000 * (share or 0)))
        progress_parts = [] if share is None else [f"{100 * share:.0f} %"]
        progress_parts += (
            [localize(messages.describe_remaining(eta_s))] if eta_s is not None else []
        )
        self._remaining.setText(ending or " · ".join(progress_parts))
        set_role(self._remaining, "warn" if ending else "muted")
        self.stop.setEnabled(not ending)
