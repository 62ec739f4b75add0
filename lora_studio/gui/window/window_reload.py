"""Replaces the window when the language changes: its texts are translated when it is created."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer
from PySide6.QtWidgets import QApplication

from lora_studio.gui import language, message_translation
from lora_studio.gui.language import tr
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.undo import get_undo_stack
from lora_studio.gui.window.main_window import Window


class WindowReload(QObject):
    """Holds the window that is shown, and replaces it on request.

    A running job continues, and the new window follows it.
    """

    def __init__(
        self, app: QApplication, window: Window, make: Callable[[Preferences], Window]
    ) -> None:
        """Create windows with `make`."""
        super().__init__(app)
        self._app, self._make = app, make
        self.window = window
        window.reload_requested.connect(self._schedule)

    def _schedule(self) -> None:
        """Reload later: the window must not be deleted while it emits a signal."""
        QTimer.singleShot(0, self, self.reload)

    def reload(self) -> None:
        """Show the same page of the same project in the chosen language; undo history is kept."""
        old = self.window
        old.commit()
        if old.cluster.is_writing or old.engine.control.running:
            old.messages.info(tr("Wait until the running task ends, then change the language."))
            return
        if old.has_project and old.state.dirty and not old.save():
            return  # `save` has shown the reason
        project, page_name, edits = (
            old.state.draft.path,
            old.page_name,
            get_undo_stack(old.state.undo),
        )
        old.leave()
        language.install(self._app, old.preferences.language)
        message_translation.clear_cache()
        new = self.window = self._make(old.preferences)
        new.reload_requested.connect(self._schedule)
        new.setGeometry(old.geometry())
        new.show()
        if project is not None and new.open_project(project):
            new.state.restore_history(edits)
        new.show_page(page_name)
        old.close()
        old.deleteLater()
