"""Replace the window when the language changes, because texts are translated when widgets are created."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer
from PySide6.QtWidgets import QApplication

from lora_studio.gui import language, message_translation
from lora_studio.gui.language import tr
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import get_undo_stack
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
        old_window = self.window
        old_window.commit()
        if old_window.cluster.is_writing or old_window.engine.control.running:
            old_window.messages.info(
                tr("Wait until the running job finishes, then change the language.")
            )
            return
        if old_window.has_project and old_window.state.dirty and not old_window.save():
            return  # `save` has reported the reason
        project, page_name, edits = (
            old_window.state.draft.path,
            old_window.page_name,
            get_undo_stack(old_window.state.undo),
        )
        old_window.leave()
        language.install(self._app, old_window.preferences.language)
        message_translation.clear_cache()
        new_window = self.window = self._make(old_window.preferences)
        new_window.reload_requested.connect(self._schedule)
        new_window.setGeometry(old_window.geometry())
        new_window.show()
        if project is not None and new_window.open_project(project):
            new_window.state.restore_history(edits)
        new_window.show_page(page_name)
        old_window.close()
        old_window.deleteLater()
