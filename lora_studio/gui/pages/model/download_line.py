"""A line that offers, follows, cancels and resumes the download of one model."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.protocol import events
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize_problem, localize_stage
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, row
from lora_studio.gui.widgets.glyph import StatusLabel
from lora_studio.gui.widgets.progress_line import ProgressLine


class DownloadLine(QWidget):
    """A status, a progress bar and buttons; hidden if there is nothing to download.

    Signals:
        started, cancelled: start the download, or cancel it.
        sign_in_clicked, page_clicked, online_requested: resolve what blocks the download.
    """

    started = Signal()
    cancelled = Signal()
    sign_in_clicked = Signal()
    page_clicked = Signal()
    online_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create the line, hidden."""
        super().__init__(parent)
        self.start = button("", self.started.emit, icon="download")
        self.stop = button(tr("Cancel"), self.cancelled.emit)
        self.progress = ProgressLine()
        self.status = StatusLabel()
        self.sign_in = button(tr("Sign in…"), self.sign_in_clicked.emit, kind="link")
        self.page = button(tr("Open model page"), self.page_clicked.emit, kind="link")
        self.online = button(tr("Turn off offline mode"), self.online_requested.emit, kind="link")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self.status)
        layout.addLayout(row(self.sign_in, self.page, self.online, None))
        layout.addWidget(self.progress)
        layout.addLayout(row(self.start, self.stop, None))
        self._bytes, self._running, self._resumable = 0, False, False
        self.offer(0)

    @property
    def is_running(self) -> bool:
        """Return whether a download is running."""
        return self._running

    def offer(self, missing: int) -> None:
        """Offer to download `missing` bytes; 0 if the model is complete."""
        self._bytes = missing
        if not missing:
            self._resumable = False
            self.explain("", "")
        self._show()

    def show_started(self) -> None:
        """Show that the download was started."""
        self._running, self._resumable = True, False
        self.explain("", "")
        self.progress.show_progress(tr("Connecting to the Hub…"), None)
        self._show()

    def show_progress(self, event: events.Progress) -> None:
        """Show the progress of the download."""
        share = event.done / event.total if event.total else None
        if event.total:
            status = tr("{done} of {total}").format(
                done=formatting.format_size(event.done), total=formatting.format_size(event.total)
            )
        else:
            status = localize_stage(event.stage)
        self.progress.show_progress(status, share, event.eta_s)

    def show_ending(self, event: events.Ending) -> None:
        """Show how the download ended: complete, canceled or failed."""
        self._running = False
        match event:
            case events.Done():
                self._bytes = 0
            case events.Cancelled():
                self._resumable = True
                self.explain("", tr("Download canceled. The part already downloaded is kept."))
            case events.Failed():
                problem = event.problem
                self._resumable = problem.code in ("model.interrupted", "model.hub_failed")
                self.explain(problem.code, localize_problem(problem))
        self._show()

    def explain(self, code: str, text: str) -> None:
        """Show why the download isn't possible, with the action that resolves it."""
        self.status.set_status(text, "error" if code else "muted")
        self.status.setVisible(bool(text))
        self.sign_in.setVisible(code in ("model.gated", "model.token", "model.not_found"))
        self.page.setVisible(code == "model.gated")
        self.online.setVisible(code == "model.offline")
        self._show()

    def _show(self) -> None:
        self.progress.setVisible(self._running)
        self.stop.setVisible(self._running)
        self.start.setVisible(bool(self._bytes) and not self._running)
        size = formatting.format_size(self._bytes)
        title = tr("Resume download ({size})") if self._resumable else tr("Download {size}")
        self.start.setText(title.format(size=size))
        explained = bool(self.status.text())
        self.setVisible(self._running or bool(self._bytes) or explained)
