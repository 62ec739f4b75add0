"""Open every page of the window and report what fails: `lora-studio --check-window`, for packagers.

A packaged program can lack a module or a file that a single page needs, which a start doesn't show.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from PySide6.QtCore import QEventLoop, QTimer
from PySide6.QtWidgets import QApplication, QDialog

from lora_studio.gui import app
from lora_studio.gui.window.main_window import Window

#: Milliseconds for what a page does after it is shown.
_SETTLING = 200

#: How Qt's notes begin that are about the display and the locale, not about the program.
_NOTES = ("Qt: This plugin does not support", "Qt: Detected locale")


class _Failures(logging.Handler):
    """Prints the warnings of the window's log to stderr, among them uncaught exceptions and Qt's messages."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        if not (message := self.format(record)).startswith(_NOTES):
            self.report(message)

    def report(self, message: str) -> None:
        self.count += 1
        print(message, file=sys.stderr)


def check_window() -> int:
    """Show every page and dialog of Help with the sample project; return 1 if anything fails, else 0.

    Prints what it has shown to stdout, and failures to stderr. Uses new folders instead of the user's.
    """
    with tempfile.TemporaryDirectory(prefix="lora-studio-", ignore_cleanup_errors=True) as folder:
        for name in ("DATA", "CACHE", "CONFIG", "LOGS"):
            os.environ[f"LORA_STUDIO_{name}"] = str(Path(folder) / name.lower())
        app.start_log()
        failures = _Failures()
        log = logging.getLogger("lora_studio")
        log.addHandler(failures)
        application = app.create_application([])
        bugs = app.ExceptionHook(application)
        bugs.install()
        try:
            window = app.prepare(application)
            window.show()
            for name, show in _list_views(window):
                _show(window, show)
                print(name, flush=True)
            window.close()
        except Exception:
            failures.report(traceback.format_exc())
        for handler in log.handlers:
            handler.close()
    return 1 if failures.count else 0


def _list_views(window: Window) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the name of each page and dialog, and what shows it."""
    yield "first start", partial(app.begin_session, window, [])
    yield "sample", window.projects.open_sample
    for name in (*window.pages, *window.app_pages):
        yield f"{name}: {window.get_title(name)}", partial(_show_page, window, name)
    yield "new project", window.projects.create_project
    yield "palette", window.help.open_palette
    yield "documentation", window.help.explain_focus
    yield "shortcuts", window.help.show_shortcuts
    yield "diagnostics", window.help.show_diagnostics
    yield "about", window.help.show_about


def _show_page(window: Window, name: str) -> None:
    window.show_page(name)
    if window.page_name != name:
        raise RuntimeError(f"The page {name} isn't shown, but {window.page_name}.")


def _show(window: Window, show: Callable[[], object]) -> None:
    """Show a page or dialog, paint it, and close the dialogs that are open then."""
    show()
    loop = QEventLoop()
    QTimer.singleShot(_SETTLING, loop.quit)
    loop.exec()
    window.grab()
    for widget in QApplication.topLevelWidgets():
        if isinstance(widget, QDialog) and widget.isVisible():
            widget.grab()
            widget.close()
