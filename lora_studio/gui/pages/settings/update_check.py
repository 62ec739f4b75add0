"""Check for a newer version of the program, if the user allows it."""

from __future__ import annotations

import time

from PySide6.QtCore import QObject, Signal

from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.system import offline
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import tell_problem
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.problems.messages import Messages
from lora_studio.gui.threads import DetachedThread
from lora_studio.setup import app_update
from lora_studio.setup.app_update import Release

#: Seconds between two questions that nobody pressed a button for: a day.
INTERVAL = 86_400.0


class _Asking(DetachedThread):
    """One check.

    Signals:
        answered(release): a newer release, or None.
        failed(problem): the check failed.
    """

    answered = Signal(object)
    failed = Signal(object)

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address

    def run(self) -> None:
        """Check once; emit nothing if the window is gone."""
        try:
            found = app_update.look(self._address)
            if not self.silent:
                self.answered.emit(found)
        except ProblemError as error:
            if not self.silent:
                self.failed.emit(error.problems[0])


class UpdateCheck(QObject):
    """Checks at startup, at most once a day, and on request.

    Signals:
        result_ready(text, page): the result, with the URL of a newer release or "".
    """

    told = Signal(str, str)

    def __init__(
        self, preferences: Preferences, messages: Messages, parent: QObject | None = None
    ) -> None:
        """Create the check; nothing is requested yet."""
        super().__init__(parent)
        self._preferences = preferences
        self._messages = messages
        self._asking: _Asking | None = None
        self._aloud = False

    def at_start(self) -> None:
        """Check if it is allowed and due."""
        due = time.time() - self._preferences.updates_asked >= INTERVAL
        allowed = self._preferences.look_for_updates and not offline.is_on()
        if allowed and due and self.address:
            self._ask(aloud=False)

    def look(self) -> None:
        """Check now: the user pressed the button, which allows this one request."""
        if not self.address:
            self.told.emit(tr("No update URL is set. Enter one above."), "")
        elif offline.is_on():
            self.told.emit(tr("Offline mode is on, so LoRA Studio can't check for updates."), "")
        else:
            self._ask(aloud=True)

    def allow(self, allowed: bool) -> None:
        """Save whether to check at startup."""
        self._preferences.look_for_updates = allowed
        self._preferences.save()

    def choose(self, address: str) -> None:
        """Save the URL to check."""
        self._preferences.update_address = address.strip()
        self._preferences.save()

    @property
    def address(self) -> str:
        """Return the URL to check, "" for none."""
        return app_update.address(self._preferences.update_address)

    def leave(self) -> None:
        """Drop a running check: the window is closing."""
        if self._asking is not None:
            self._asking.forget()
            self._asking = None

    def _ask(self, *, aloud: bool) -> None:
        if self._asking is not None:
            return
        self._aloud = aloud
        self._preferences.updates_asked = time.time()
        self._preferences.save()
        self._asking = _Asking(self.address)
        self._asking.answered.connect(self._answered)
        self._asking.failed.connect(self._failed)
        self._asking.finished.connect(self._over)
        self._asking.start()

    def _answered(self, found: Release | None) -> None:
        if found is None:
            self.told.emit(tr("LoRA Studio is up to date."), "")
            return
        text = tr("LoRA Studio {version} is available.").format(version=found.version)
        self.told.emit(text, found.url)
        if not self._aloud:
            self._messages.info(text)

    def _failed(self, problem: Problem) -> None:
        self.told.emit(tell_problem(problem), "")

    def _over(self) -> None:
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.deleteLater()
