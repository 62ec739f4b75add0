"""The main window: the shell with help, tour, appearance, closing and layout."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QShowEvent

from lora_studio.gui.frame.lazy_pages import MakePages, make_step_pages
from lora_studio.gui.frame.shell import Shell
from lora_studio.gui.help.commands import HelpCommands
from lora_studio.gui.help.tour import Tour
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.widgets import tab_order
from lora_studio.gui.widgets.drag_and_drop import get_dropped_project
from lora_studio.gui.window import layout
from lora_studio.gui.window.appearance import Appearance
from lora_studio.gui.window.close_guard import CloseGuard

#: Milliseconds after showing the window until it is painted and the gauges can start.
_PAINTED = 300


class Window(Shell):
    """The window of the program; `wiring.make_window` creates and connects it.

    Signals:
        reload_requested: replace this window by one in the chosen language.
    """

    reload_requested = Signal()

    def __init__(self, preferences: Preferences, make_pages: MakePages = make_step_pages) -> None:
        """Create the parts and lay them out; nothing is connected yet."""
        super().__init__(preferences, make_pages)
        self.help = HelpCommands(self)
        self.tour = Tour(self)
        self.appearance = Appearance(self)
        self.closing = CloseGuard(
            self.state, self.jobs, self.launcher, self.projects, self.cluster, self
        )
        self._gauges_delay = QTimer(self, singleShot=True, interval=_PAINTED)
        self._gauges_delay.timeout.connect(self.gauges.start)
        self._gauges_delay.timeout.connect(partial(layout.fit_to_screen, self))
        self.setAcceptDrops(True)
        layout.build_layout(self)

    def showEvent(self, event: QShowEvent) -> None:
        """Start the gauges once the window has been painted; then its frame is known, too."""
        super().showEvent(event)
        if not self.gauges.has_started:
            self._gauges_delay.start()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Accept a project."""
        if get_dropped_project(event) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Open the dropped project."""
        if (path := get_dropped_project(event)) is not None:
            event.acceptProposedAction()
            self.open_project(path)

    def focusNextPrevChild(self, forwards: bool) -> bool:
        """Move the focus to the next or previous control."""
        return tab_order.move_focus(self, forwards)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Close now, or when the running job has ended, as the user chose."""
        self.commit()
        if self.closing.can_close():
            self.leave()
            event.accept()
        else:
            event.ignore()

    def find_last_project(self) -> Path | None:
        """Return the project of the last session, None if it is gone or open in another window."""
        name = self.preferences.open_project
        if not name or not os.path.isfile(name):  # noqa: PTH113 - Path.is_file raises without permission
            return None
        return None if self.lock.is_held_elsewhere(Path(name)) else Path(name)

    def restore_session(self, project: Path) -> None:
        """Open the project of the last session on the same page."""
        page = self.preferences.open_page
        if self.open_project(project) and (page in self.pages or page in self.app_pages):
            self.show_page(page)

    def leave(self) -> None:
        """Save, and end or detach all threads; a running job continues. Safe to call twice."""
        if self.has_project and self.state.dirty:
            self.state.save()
        self.tour.end()
        self.lock.release()
        self._gauges_delay.stop()
        for part in (
            self.gauges, self.desktop, self.notifications, self.cluster, self.engine,
            self.library, self.queue,
        ):  # fmt: skip
            part.leave()
        self.jobs.detach()  # before the pages, which read its state
        for page in self.all_pages if self.lazy_pages.is_created else [self.home]:
            page.leave()
        self.inspector.shut_down()
        self.preferences.open_project = str(self.state.draft.path or "")
        self.preferences.open_page = self.page_name
        self.preferences.geometry = bytes(self.saveGeometry().toHex().data()).decode()
        self.preferences.save()
