"""The window made anew where it stands: every text of it is in the language of when it was made."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer
from PySide6.QtWidgets import QApplication

from lora_studio.gui import language, message_translation
from lora_studio.gui.frame.shell import Window
from lora_studio.gui.language import tr
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.undo import history


class WindowReload(QObject):
    """Holds the window that is shown, and puts another in its place when the language changes.

    A job goes on meanwhile, and the new window follows it.
    """

    def __init__(
        self, app: QApplication, window: Window, make: Callable[[Preferences], Window]
    ) -> None:
        """`make` gives a window as the preferences want it."""
        super().__init__(app)
        self._app, self._make = app, make
        self.window = window
        window.renewal_wanted.connect(self._soon)

    def _soon(self) -> None:
        """Not within a signal of what is to go."""
        QTimer.singleShot(0, self, self.renew)

    def renew(self) -> None:
        """The same project at the same place, in the language that is chosen now; edits can be undone."""
        old = self.window
        old.commit()
        if old.cluster.is_writing or old.engine.control.running:
            old.messages.info(tr("Wait for what is under way, then change the language."))
            return
        if old.has_project and old.state.dirty and not old.save():
            return  # and has said why
        project, place, done = old.state.draft.path, old.place, history(old.state.undo)
        old.leave()
        language.install(self._app, old.preferences.language)
        message_translation.forget()
        new = self.window = self._make(old.preferences)
        new.renewal_wanted.connect(self._soon)
        new.setGeometry(old.geometry())
        new.show()
        if project is not None and new.open_project(project):
            new.state.take_history(done)
        new.go(place)
        old.close()
        old.deleteLater()
