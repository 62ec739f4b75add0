"""Engine actions of the window: set up, repair, switch, move, remove."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QWidget

from lora_studio.client import worker
from lora_studio.core import formatting
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.gui.language import tr
from lora_studio.gui.pages.settings.setup_dialog import EngineDialog
from lora_studio.gui.pages.settings.setup_thread import EngineControl
from lora_studio.gui.problems.messages import Messages, Toast
from lora_studio.gui.problems.suggested_actions import ENGINE_PROBLEMS
from lora_studio.gui.widgets.basics import button
from lora_studio.gui.widgets.dialog import Dialog
from lora_studio.gui.widgets.file_dialogs import choose_folder
from lora_studio.setup import engines, folders
from lora_studio.setup.events import Done, Ending, Event, Failed
from lora_studio.setup.tools import StopFlag

Mode = Literal["install", "repair", "update"]
_Make = Callable[[StopFlag], Iterator[Event]]


# Methods import `setup.operations` when they need it: it takes 7 % of the window's startup time.
class EngineManager(QObject):
    """Runs engine actions for the window; work continues when the dialog is closed.

    Signals:
        changed: the state changed; `control.running` says whether work is running.
        clearing: engines are about to be deleted or moved; stop everything that uses them.
        switched: another engine is active; restart the workers.
    """

    changed = Signal()
    clearing = Signal()
    switched = Signal()

    def __init__(self, messages: Messages, parent: QWidget) -> None:
        """Create the manager; dialogs open over `parent`, the window."""
        super().__init__(parent)
        self._messages = messages
        self._window = parent
        self._dialog: EngineDialog | None = None
        self.question: Dialog | None = None
        self.control = EngineControl(self)
        self.control.changed.connect(self.changed)
        self.control.switched.connect(self.switched)
        self.control.ended.connect(self._on_ended)

    @property
    def dialog(self) -> EngineDialog | None:
        """Return the dialog while it is open."""
        return self._dialog

    def open_if_missing(self) -> None:
        """Open the setup if no engine is usable: at the first start or after an update."""
        try:
            worker.get_engine_command()
        except ProblemError as error:
            self.solve(error.problems[0])

    def solve(self, problem: Problem) -> None:
        """Open the dialog that resolves a problem of the engine."""
        modes: dict[str, Mode] = {"engine.version": "update", "engine.gone": "repair"}
        mode = modes.get(problem.code, "install")
        if mode != "install" and engines.get_current() is None:
            mode = "install"
        self.open(mode)

    def on_message(self, message: Toast) -> None:
        """Open the setup when a job reports that it has no engine."""
        if message.problem is not None and message.problem.code in ENGINE_PROBLEMS:
            self.solve(message.problem)

    def run_action(self, action: str) -> None:
        """Run the action of a button in Settings."""
        from lora_studio.setup import operations

        match action:
            case "install" | "repair" | "update":
                self.open(action)
            case "show":
                self.open("install")
            case "rollback":
                self._start(lambda stop: operations.roll_back(stop))
            case "move":
                self._ask_where()
            case "remove":
                self._ask_remove()

    def open(self, mode: Mode) -> None:
        """Open the dialog, or bring it to the front."""
        from lora_studio.setup import operations

        if self._dialog is None:
            self._dialog = EngineDialog(
                self.control, operations.SetupRequest(mode=mode), self._window
            )
            self._dialog.finished.connect(self._on_closed)
            self._dialog.python_chosen.connect(self.adopt_python)
        self._dialog.show()
        self._dialog.activateWindow()

    def activate(self, name: str) -> None:
        """Activate another installed engine."""
        from lora_studio.setup import operations

        current = engines.get_current()
        if current is None or current.name != name:
            self._start(lambda stop: operations.switch_engine(name, stop))

    def adopt_python(self, path: Path) -> None:
        """Use the user's own Python as the engine."""
        from lora_studio.setup import operations

        self._start(lambda stop: operations.adopt_python(path, stop))

    def leave(self) -> None:
        """Cancel a setup because the window is closing; downloads are kept."""
        if self._dialog is not None:
            self._dialog.close()
        self.control.leave()

    def _start(self, make: _Make) -> None:
        stop = StopFlag()
        if not self.control.start(lambda: make(stop), stop):
            self._messages.warning(
                tr("An engine setup is already running. Wait until it finishes.")
            )

    def _ask_where(self) -> None:
        start = folders.get_root().path.parent
        choose_folder(self._window, tr("Choose a new folder for the engines"), self.move_to, start)

    def move_to(self, folder: str) -> None:
        """Move all engines to another folder."""
        from lora_studio.setup import operations

        self.clearing.emit()
        self._start(lambda stop: operations.move_engines(Path(folder), stop))

    def _ask_remove(self) -> None:
        current = engines.get_current()
        installed = engines.list_engines()
        size = formatting.format_size(sum(engine.bytes for engine in installed))
        text = tr(
            "This permanently deletes {size} in {folder}. Your projects, models, and runs aren't "
            "affected. You can't train without an engine, but you can install it again at any "
            "time."
        ).format(size=size, folder=str(folders.get_root().path))
        dialog = Dialog(tr("Remove all engines?"), text, self._window)
        dialog.add_button(button(tr("Cancel"), dialog.reject), default=True)
        if current is not None and len(installed) > 1:
            active_size = formatting.format_size(current.bytes)
            remove_active = button(
                tr("Remove active engine only ({size})").format(size=active_size)
            )
            remove_active.clicked.connect(lambda: self._remove(dialog, current.name))
            dialog.add_button(remove_active)
        everything = button(
            tr("Remove all ({size})").format(size=size), kind="danger", icon="trash"
        )
        everything.clicked.connect(lambda: self._remove(dialog, ""))
        dialog.add_button(everything)
        self.question = dialog
        dialog.open()

    def _remove(self, dialog: Dialog, name: str) -> None:
        from lora_studio.setup import operations

        dialog.accept()
        self.clearing.emit()
        self._start(lambda stop: operations.remove_engines(name, stop))

    def _on_closed(self) -> None:
        self._dialog = None

    def _on_ended(self, ending: Ending) -> None:
        if self._dialog is not None:
            return
        if isinstance(ending, Failed):
            self._messages.problem(ending.problem)
        elif isinstance(ending, Done) and not self.control.planned:
            if engines.get_current():
                self._messages.success(tr("The engine is ready."))
            else:
                self._messages.info(tr("No engine is installed."))
