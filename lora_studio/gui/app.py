"""Starts the window: theme, log, and one place where the unexpected ends."""

from __future__ import annotations

import contextlib
import gc
import logging
import logging.handlers
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

# WORKAROUND: PySide6 reads the source of every module that is imported after it, in search of
# `__feature__` (shibokensupport.feature). What needs no Qt comes first: a fifth of a second less.
from lora_studio.client import worker  # noqa: F401 - see above
from lora_studio.core.project import checks  # noqa: F401 - see above

# isort: split
from PySide6.QtCore import (
    QEvent,
    QMessageLogContext,
    QObject,
    QSocketNotifier,
    QTimer,
    QtMsgType,
    Signal,
    qInstallMessageHandler,
)
from PySide6.QtGui import QFileOpenEvent
from PySide6.QtWidgets import QApplication

from lora_studio import __version__
from lora_studio.core.problems import Problem, Where
from lora_studio.core.system import offline, paths
from lora_studio.gui import language, theme
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.window.main_window import Window
from lora_studio.gui.window.window_reload import WindowReload
from lora_studio.gui.window.wiring import make_window

_LOG = logging.getLogger("lora_studio")

#: Seconds after which a thread that computes leaves the interpreter to the window. Qt gives it back
#: and takes it again many times while it paints; with Python's own 5 ms each, a window beside a
#: thread that reads a long run stood still for most of a second.
TURN = 0.001


class ExceptionHook(QObject):
    """Takes exceptions that nobody caught, from any thread, into the log and before the user.

    Signals:
        happened(what): one line about it; delivered in the window's thread.
    """

    happened = Signal(str)

    def install(self) -> None:
        """From now on no exception ends in silence or on a terminal that nobody sees."""
        sys.excepthook = self._take
        threading.excepthook = self._take_from_thread

    def _take(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if issubclass(kind, KeyboardInterrupt):
            QApplication.quit()
            return
        _LOG.error("%s", "".join(traceback.format_exception(kind, error, trace)))
        self.happened.emit(f"{kind.__name__}: {error}")

    def _take_from_thread(self, arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None:
            self._take(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)


class Application(QApplication):
    """Hears what macOS asks for: it names no project on a command line, be the program started for it or
    at work already.

    Signals:
        asked_to_open(file): a file that was double-clicked, or dropped on the icon in the Dock.
    """

    asked_to_open = Signal(str)

    def event(self, event: QEvent) -> bool:
        """Qt's own: of the events that go to the application itself, which are few."""
        if isinstance(event, QFileOpenEvent):
            self.asked_to_open.emit(event.file())
            return True
        return super().event(event)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the window and returns the exit status; `argv` may name a project to open."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    log = start_log()
    app = Application([sys.argv[0], *arguments])
    app.setApplicationName("LoRA Studio")
    app.setApplicationVersion(__version__)
    app.setDesktopFileName("lora-studio")
    window = ready(app)
    reload = WindowReload(app, window, make_window)
    faults = ExceptionHook(app)
    faults.happened.connect(lambda what: show_fault(reload.window, what, log))
    faults.install()
    app.asked_to_open.connect(lambda file: reload.window.open_project(Path(file)))
    app.aboutToQuit.connect(lambda: reload.window.leave())  # also when the system ends the session
    window.show()
    window.engine.offer()
    window.updates.at_start()
    named = next((item for item in arguments if not item.startswith("-")), None)
    if named is not None:
        window.open_project(Path(named))
    elif not window.preferences.tour_seen and window.engine.dialog is None:
        window.tour.start()
    end_listening = quit_on_signals(app)
    with few_to_collect():
        status = app.exec()
    end_listening()
    return status


def ready(app: QApplication) -> Window:
    """The window as the user wants it: language, theme, size of text. Not shown yet."""
    sys.setswitchinterval(TURN)
    preferences = Preferences.load()
    if preferences.offline:
        offline.switch(True)
    language.install(app, preferences.language)
    theme.apply(app, preferences.theme).set_text_size(preferences.text_size)
    app.setWindowIcon(theme.icon("lora", "accent"))
    return make_window(preferences)


@contextlib.contextmanager
def few_to_collect() -> Iterator[None]:
    """Leaves what has been imported out of garbage collections inside the block.

    A full one goes through hundreds of thousands of such objects, and the window stands still for it.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def quit_on_signals(app: QApplication) -> Callable[[], None]:
    """Lets Ctrl+C and a polite kill end the event loop; returns what ends the listening.

    Python hears a signal only between two of its own instructions, of which an idle event loop has
    none: the signal's number is written to a socket, and that wakes the loop up. A loop that has not
    begun yet ends as soon as it does.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    handlers = {
        number: signal.signal(number, lambda *_: QTimer.singleShot(0, app, app.quit))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    notifier = QSocketNotifier(reader.fileno(), QSocketNotifier.Type.Read)
    notifier.activated.connect(lambda *_: reader.recv(64))

    def end() -> None:
        notifier.setEnabled(False)
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        reader.close()
        writer.close()

    return end


def show_fault(window: Window, what: str, log: Path) -> None:
    """Tells the user about a fault of the program itself."""
    problem = Problem(
        code="window.unexpected",
        what=f"Something in the program failed: {what}",
        remedy="Your project is saved and a job under way goes on. If things look odd, start the "
        "window again. The details are in the log.",
        where=Where(file=str(log)),
    )
    window.help.explain(problem)


def start_log() -> Path:
    """Logs to a file in the log folder, where there is one that can be written."""
    file = paths.log_folder() / "window.log"
    _LOG.setLevel(logging.INFO)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler: logging.Handler = logging.handlers.RotatingFileHandler(
            file, maxBytes=1_000_000, backupCount=2, encoding="utf-8"
        )
    except OSError:
        handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    _LOG.addHandler(handler)
    qInstallMessageHandler(_qt_message)
    return file


def _qt_message(kind: QtMsgType, _context: QMessageLogContext, text: str) -> None:
    levels = {QtMsgType.QtWarningMsg: logging.WARNING, QtMsgType.QtCriticalMsg: logging.ERROR}
    _LOG.log(levels.get(kind, logging.INFO), "Qt: %s", text)
