"""Check for a newer version of the program, if the user allows it."""

from __future__ import annotations

import time

from PySide6.QtCore import QObject, Signal

from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.system import offline
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize_problem
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.problems.messages import Messages
from lora_studio.gui.threads import DetachedThread
from lora_studio.setup import app_update
from lora_studio.setup.app_update import Release

#: Minimum seconds between two automatic checks: a day.
INTERVAL = 86_400.0


class _UpdateThread(DetachedThread):
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
        """Check once; emit nothing if the window has been closed."""
        try:
            release = app_update.find_newer_release(self._address)
            if not self.silent:
                self.answered.emit(release)
        except ProblemError as error:
            if not self.silent:
                self.failed.emit(error.problems[0])


class UpdateCheck(QObject):
    """Checks at startup, at most once a day, and on request.

    Signals:
        result_ready(text, page): the result, with the URL of a newer release or "".
    """

    result_ready = Signal(str, str)

    def __init__(
        self, preferences: Preferences, messages: Messages, parent: QObject | None = None
    ) -> None:
        """Create it without sending a request."""
        super().__init__(parent)
        self._preferences = preferences
        self._messages = messages
        self._thread: _UpdateThread | None = None
        self._on_request = False

    def check_at_startup(self) -> None:
        """Check if it is allowed and due."""
        is_due = time.time() - self._preferences.updates_asked >= INTERVAL
        allowed = self._preferences.look_for_updates and not offline.is_on()
        if allowed and is_due and self.address:
            self._check(on_request=False)

    def check_now(self) -> None:
        """Check now: the user pressed the button, which allows this one request."""
        if not self.address:
            self.result_ready.emit(tr("No update URL is set. Enter one above."), "")
        elif offline.is_on():
            self.result_ready.emit(
                tr("Offline mode is on, so LoRA Studio can't check for updates."), ""
            )
        else:
            self._check(on_request=True)

    def set_allowed(self, allowed: bool) -> None:
        """Save whether to check at startup."""
        self._preferences.look_for_updates = allowed
        self._preferences.save()

    def set_address(self, address: str) -> None:
        """Save the URL to check."""
        self._preferences.update_address = address.strip()
        self._preferences.save()

    @property
    def is_checking(self) -> bool:
        """Whether a check is running."""
        return self._thread is not None

    @property
    def address(self) -> str:
        """Return the URL to check, "" for none."""
        return app_update.get_server_address(self._preferences.update_address)

    def leave(self) -> None:
        """Drop a running check: the window is closing."""
        if self._thread is not None:
            self._thread.forget()
            self._thread = None

    def _check(self, *, on_request: bool) -> None:
        if self._thread is not None:
            return
        self._on_request = on_request
        self._preferences.updates_asked = time.time()
        self._preferences.save()
        self._thread = _UpdateThread(self.address)
        self._thread.answered.connect(self._on_answered)
        self._thread.failed.connect(self._on_failed)
        self._thread.finished.connect(self._on_finished)
        self._thread.start()

    def _on_answered(self, release: Release | None) -> None:
        if release is None:
            self.result_ready.emit(tr("LoRA Studio is up to date."), "")
            return
        text = tr("LoRA Studio {version} is available.").format(version=release.version)
        self.result_ready.emit(text, release.url)
        if not self._on_request:
            self._messages.info(text)

    def _on_failed(self, problem: Problem) -> None:
        self.result_ready.emit(localize_problem(problem), "")

    def _on_finished(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.deleteLater()
