"""Start the window: log, theme, exception hook, signals and event loop."""

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
from functools import partial
from pathlib import Path
from types import TracebackType

from lora_studio.client import worker  # noqa: F401 - see above
from lora_studio.core.project import checks  # noqa: F401 - see above

# WORKAROUND: PySide6 reads the source of every module that is imported after it, in search of
# `__feature__` (shibokensupport.feature). Importing modules without Qt first saves 0.2 s.
from lora_studio.core.system.files import create_folder

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
from PySide6.QtWidgets import QApplication, QWidget

from lora_studio import __version__
from lora_studio.core.network import connections
from lora_studio.core.problems import Where, error
from lora_studio.core.system import files, foreign_files, offline, paths
from lora_studio.gui import language, message_translation, theme
from lora_studio.gui.language import tr
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import get_undo_stack
from lora_studio.gui.widgets.work_cover import remove_cover, show_cover
from lora_studio.gui.window.main_window import Window
from lora_studio.gui.window.wiring import make_window

_LOG = logging.getLogger("lora_studio")

#: Switch interval of the interpreter, in seconds, while the window is open. Qt releases and
#: acquires it many times per repaint; with Python's default of 5 ms each, the window froze for most
#: of a second while another thread read a long run.
SWITCH_INTERVAL = 0.001

#: Milliseconds until a painted window is on the screen, and until one counts as not to be painted.
_PAINTED, _NOT_PAINTED = 20, 1500


class ExceptionHook(QObject):
    """Logs uncaught exceptions of all threads and reports them to the user.

    Signals:
        happened(what): a one-line description, delivered in the window's thread.
    """

    happened = Signal(str)

    def install(self) -> None:
        """Install the hook for the main thread and all others."""
        sys.excepthook = self._on_exception
        threading.excepthook = self._on_thread_exception

    def _on_exception(
        self, kind: type[BaseException], exception: BaseException, trace: TracebackType | None
    ) -> None:
        if issubclass(kind, KeyboardInterrupt):
            QApplication.quit()
            return
        _LOG.error("%s", "".join(traceback.format_exception(kind, exception, trace)))
        self.happened.emit(f"{kind.__name__}: {exception}")

    def _on_thread_exception(self, arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None:
            self._on_exception(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)


class Application(QApplication):
    """Handles macOS's requests to open a project, which don't arrive on the command line.

    Signals:
        open_requested(file): a file was double-clicked, or dropped on the Dock icon.
    """

    open_requested = Signal(str)

    def event(self, event: QEvent) -> bool:
        """Handle requests to open a file."""
        if isinstance(event, QFileOpenEvent):
            self.open_requested.emit(event.file())
            return True
        return super().event(event)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the window and return the exit status; `argv` may name a project to open."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    connections.start()
    log = start_log()
    app = create_application(arguments)
    window = prepare(app)
    reload = WindowReload(app, window, make_window)
    bugs = ExceptionHook(app)
    bugs.happened.connect(lambda what: show_bug(reload.window, what, log))
    bugs.install()
    app.open_requested.connect(lambda file: reload.window.open_project(Path(file)))
    app.aboutToQuit.connect(
        lambda: reload.window.shut_down()
    )  # also called when the desktop session ends
    FirstPaint(window, partial(begin_session, window, arguments))
    window.show()
    restore_handlers = quit_on_signals(app)
    with freeze_imports():
        status = app.exec()
    restore_handlers()
    return status


def create_application(arguments: Sequence[str]) -> Application:
    """Return Qt's application object with the program's name and version."""
    app = Application([sys.argv[0], *arguments])
    app.setApplicationName("LoRA Studio")
    app.setApplicationVersion(__version__)
    app.setDesktopFileName("lora-studio")
    return app


class FirstPaint(QObject):
    """Calls a function once a window is on the screen, since what it does delays the first paint."""

    def __init__(self, window: QWidget, callback: Callable[[], None]) -> None:
        """Wait for `window`; if it isn't painted, because it is minimized, call after a while."""
        super().__init__(window)
        self._window, self._callback = window, callback
        self._timer = QTimer(self, singleShot=True, interval=_NOT_PAINTED)
        self._timer.timeout.connect(self._call)
        window.installEventFilter(self)
        self._timer.start()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Shorten the wait when the window is painted: the rest of its widgets follow at once."""
        if event.type() == QEvent.Type.Paint:
            self._window.removeEventFilter(self)
            self._timer.start(_PAINTED)
        return False

    def _call(self) -> None:
        self._window.removeEventFilter(self)
        self._callback()
        self.deleteLater()


def begin_session(window: Window, arguments: Sequence[str]) -> None:
    """Open the named or the last project, report damaged settings, and open the setup or the tour."""
    named = next((item for item in arguments if not item.startswith("-")), None)
    file = Path(named) if named is not None else window.find_last_project()
    if file is None:
        _begin_without_project(window)
        window.lazy_pages.prepare(lambda: None)
        return
    cover = show_cover(window, tr("Opening {project}…").format(project=file.stem))

    def open_it() -> None:
        try:
            (window.open_project if named is not None else window.restore_session)(file)
        finally:
            remove_cover(cover)
        _report_settings(window)  # opening a project dismisses earlier messages

    window.lazy_pages.prepare(open_it)


def _begin_without_project(window: Window) -> None:
    _report_settings(window)
    if not window.preferences.tour_seen and window.engine.dialog is None:
        window.tour.start()


def _report_settings(window: Window) -> None:
    """Report damaged settings, and open the setup if no engine is usable."""
    for problem in foreign_files.collect_notices():
        window.state.messages.problem(problem)
    if unsaved := files.settings_problem():
        window.state.messages.problem(unsaved)
    window.engine.open_if_missing()


def prepare(app: QApplication) -> Window:
    """Return the window with the language, theme and text size of the user, not shown yet."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    preferences = Preferences.load()
    if preferences.offline:
        offline.switch(True)
    language.install(app, preferences.language)
    theme.apply(app, preferences.theme).set_text_size(preferences.text_size)
    app.setWindowIcon(theme.icon("lora", "accent"))
    return make_window(preferences)


@contextlib.contextmanager
def freeze_imports() -> Iterator[None]:
    """Exclude everything imported so far from garbage collections inside the block.

    A full collection would walk hundreds of thousands of such objects and freeze the window.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def quit_on_signals(app: QApplication) -> Callable[[], None]:
    """Quit the event loop on Ctrl+C and SIGTERM; return a function that restores the handlers.

    Python handles signals only between bytecode instructions, and an idle event loop executes none.
    So the signal's number is written to a socket, which wakes up the loop. A loop that hasn't started
    yet ends as soon as it starts.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    previous_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    handlers = {
        number: signal.signal(number, lambda *_: QTimer.singleShot(0, app, app.quit))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    notifier = QSocketNotifier(reader.fileno(), QSocketNotifier.Type.Read)
    notifier.activated.connect(lambda *_: reader.recv(64))

    def restore() -> None:
        notifier.setEnabled(False)
        signal.set_wakeup_fd(previous_fd)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        reader.close()
        writer.close()

    return restore


def show_bug(window: Window, what: str, log: Path) -> None:
    """Report an unexpected error to the user."""
    problem = error(
        "window.unexpected",
        "LoRA Studio ran into an unexpected error: {exception}",
        "Your project is saved, and a running job continues. If something looks wrong, restart the "
        "app. Full details are in the log.",
        where=Where(file=str(log)),
        exception=what,
    )
    window.help.explain(problem)


def start_log() -> Path:
    """Log to a file in the log folder, or to the terminal if it can't be written; return the file."""
    file = paths.get_log_folder() / "window.log"
    _LOG.setLevel(logging.INFO)
    try:
        create_folder(file.parent)
        handler: logging.Handler = logging.handlers.RotatingFileHandler(
            file, maxBytes=1_000_000, backupCount=2, encoding="utf-8"
        )
    except OSError:
        handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    _LOG.addHandler(handler)
    qInstallMessageHandler(_log_qt_message)
    return file


def _log_qt_message(kind: QtMsgType, _context: QMessageLogContext, text: str) -> None:
    levels = {QtMsgType.QtWarningMsg: logging.WARNING, QtMsgType.QtCriticalMsg: logging.ERROR}
    _LOG.log(levels.get(kind, logging.INFO), "Qt: %s", text)


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
        old_window.shut_down()
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
