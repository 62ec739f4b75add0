"""Engine actions of the window: set up, repair, switch, move, remove."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QFileDialog, QWidget

from lora_studio.client import worker
from lora_studio.core import formatting
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.gui.controls.choices import ComboControl
from lora_studio.gui.controls.controls import name_control
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.message_translation import localize, localize_problem
from lora_studio.gui.problems.suggested_actions import ENGINE_PROBLEMS, Messages, Toast
from lora_studio.gui.theme import Spacing
from lora_studio.gui.threads import DetachedThread
from lora_studio.gui.widgets.basics import button, column, label, row, with_title
from lora_studio.gui.widgets.dialog import Dialog
from lora_studio.gui.widgets.external_open import open_path
from lora_studio.gui.widgets.fact_list import FactList
from lora_studio.gui.widgets.file_dialogs import choose_folder, open_file_dialog
from lora_studio.gui.widgets.progress_line import ProgressLine
from lora_studio.setup import detect, engines, folders
from lora_studio.setup.events import (
    Cancelled,
    Done,
    Ending,
    EngineReady,
    Event,
    Failed,
    MachineFound,
    Progress,
    SetupPlanned,
    Warned,
)
from lora_studio.setup.tools import StopFlag

if TYPE_CHECKING:
    from lora_studio.setup.operations import EngineSetup, SetupRequest


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

    def stop_background_work(self) -> None:
        """Cancel a setup because the window is closing; downloads are kept."""
        if self._dialog is not None:
            self._dialog.close()
        self.control.stop_background_work()

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


#: Titles of the stages of a setup.
STAGES = {
    "Planning": mark("Checking requirements"),
    "Downloading": mark("Downloading"),
    "Downloading Python": mark("Downloading Python"),
    "Installing": mark("Installing"),
    "Checking": mark("Testing the engine"),
    "Checking Python": mark("Checking Python"),
    "Moving": mark("Moving"),
    "Removing": mark("Removing"),
}


class SetupThread(DetachedThread):
    """Iterates over the events of one piece of work.

    Signals:
        event_received(event): each event in order; the last one is its ending.
    """

    event_received = Signal(object)

    def __init__(self, work: Callable[[], Iterator[Event]], stop: StopFlag) -> None:
        """Create the thread; `work` checks `stop`."""
        super().__init__()
        self._work = work
        self._stop = stop

    def run(self) -> None:
        """Iterate to the end; every stream ends with its own ending."""
        for event in self._work():
            if not self.silent:
                self.event_received.emit(event)

    def forget(self) -> None:
        """Cancel the work and emit nothing more; downloads are kept."""
        self._stop.ask()
        super().forget()


class EngineControl(QObject):
    """The state of the setup; one runs at a time.

    Signals:
        changed: the state changed.
        ended(ending): the work ended, planning included.
        switched: another engine is active now, or none.
    """

    changed = Signal()
    ended = Signal(object)
    switched = Signal()

    def __init__(
        self,
        parent: QObject | None = None,
        make: Callable[[SetupRequest, StopFlag], EngineSetup] | None = None,
    ) -> None:
        """Create the control; `make` returns the steps of a setup."""
        super().__init__(parent)
        self.make = make or _set_up
        self._thread: SetupThread | None = None
        self._stop = StopFlag()
        self._set_up: EngineSetup | None = None
        self._switches = False
        self.machine: MachineFound | None = None
        self.plan: SetupPlanned | None = None
        self.request: SetupRequest | None = None  # the setup that the latest plan describes
        self.agreed: SetupRequest | None = (
            None  # the setup that the user has confirmed and that isn't complete
        )
        self.progress: Progress | None = None
        self.warnings: list[Warned] = []
        self.ending: Ending | None = None
        self.stopping = False

    @property
    def running(self) -> bool:
        """Return whether work is running."""
        return self._thread is not None

    @property
    def planned(self) -> bool:
        """Return whether there is a plan to install."""
        return self.plan is not None and not self.running and self._set_up is not None

    @property
    def share(self) -> float | None:
        """Return the progress of the stage, 0 to 1."""
        progress = self.progress
        return progress.done / progress.total if progress and progress.total else None

    @property
    def speed(self) -> float | None:
        """Return the download speed in bytes per second."""
        progress = self.progress
        if progress is None or progress.unit != "B" or not progress.eta_s or progress.total is None:
            return None
        return (progress.total - progress.done) / progress.eta_s

    def prepare(self, request: SetupRequest) -> None:
        """Plan a setup; ignored while other work is running."""
        if self.running:
            return
        work = self._make_setup(request)
        if self.start(work.prepare, work.stop, switches=False):
            self._set_up = work

    def carry_out(self) -> None:
        """Install what was planned."""
        work = self._set_up
        if work is not None:
            self._set_up = None
            self.agreed = self.request
            stop = StopFlag()
            work.stop = stop
            self.start(work.carry_out, stop)

    def resume(self, request: SetupRequest) -> None:
        """Plan the setup that the user has confirmed again, and install it without asking."""
        if self.running:
            return
        work = self._make_setup(request)
        self.start(work.carry_out, work.stop)

    def _make_setup(self, request: SetupRequest) -> EngineSetup:
        """Return a new setup and clear what is known of the previous one."""
        self.machine = self.plan = None
        self.request = request
        return self.make(request, StopFlag())

    def start(
        self, work: Callable[[], Iterator[Event]], stop: StopFlag, *, switches: bool = True
    ) -> bool:
        """Start any piece of work; return False while another one is running."""
        if self.running:
            return False
        self._stop, self._switches, self.stopping = stop, switches, False
        self._set_up, self.progress, self.ending, self.warnings = None, None, None, []
        self._thread = SetupThread(work, stop)
        self._thread.event_received.connect(self._on_event)
        self._thread.finished.connect(self._on_finished)
        self._thread.start()
        self.changed.emit()
        return True

    def cancel(self) -> None:
        """Cancel the work soon; downloads are kept."""
        if self.running:
            self.stopping = True
            self._stop.ask()
            self.changed.emit()

    def stop_background_work(self) -> None:
        """Cancel the work without waiting: the window is closing."""
        if (thread := self._thread) is not None:
            self._thread = None
            thread.forget()

    def _on_event(self, event: Event) -> None:
        match event:
            case MachineFound():
                self.machine = event
            case SetupPlanned():
                self.plan = event
            case Progress():
                self.progress = event
            case Warned():
                self.warnings.append(event)
            case EngineReady():
                self._switches = True
            case Done() | Failed() | Cancelled():
                self.ending = event
        self.changed.emit()

    def _on_finished(self) -> None:
        thread, self._thread = self._thread, None
        if thread is None:
            return
        thread.deleteLater()
        self.progress = None
        self.changed.emit()
        if self.ending is not None:
            self.ended.emit(self.ending)
        if self._switches and isinstance(self.ending, Done):
            self.switched.emit()


def _set_up(request: SetupRequest, stop: StopFlag) -> EngineSetup:
    """Return the real setup, imported late because it takes 7 % of the window's startup time."""
    from lora_studio.setup.operations import EngineSetup

    return EngineSetup(request, stop)


_WIDTH = 620

_TITLES = {
    "install": mark("Set up the engine"),
    "repair": mark("Repair the engine"),
    "update": mark("Update the engine"),
}
_TEXTS = {
    "install": mark(
        "The engine contains PyTorch and the libraries that train your model. It is "
        "downloaded once, tested with a tiny training run, and installed in a folder "
        "of your own. You don't need administrator rights."
    ),
    "repair": mark(
        "Checks every package against its checksums and downloads only damaged ones "
        "again. The current engine is kept until the new one works."
    ),
    "update": mark(
        "Updates the engine to this version of LoRA Studio. Only changed packages are "
        "downloaded. You can roll back afterwards."
    ),
}
_DOES = {"install": mark("Set up"), "repair": mark("Repair"), "update": mark("Update")}
_VARIANTS = {
    "auto": mark("Automatic"),
    "cpu": mark("CPU"),
    "cuda": mark("NVIDIA GPU (CUDA)"),
    "rocm": mark("AMD GPU (ROCm)"),
}


class EngineDialog(Dialog):
    """Plans a setup immediately and installs it on request. Work continues if the dialog is closed.

    Signals:
        python_chosen(path): use an existing Python instead of a setup.
    """

    python_chosen = Signal(object)

    def __init__(
        self, control: EngineControl, request: SetupRequest, parent: QWidget | None = None
    ) -> None:
        """Create the dialog; `control` does the work and may be running already."""
        super().__init__(tr(_TITLES[request.mode]), tr(_TEXTS[request.mode]), parent)
        self.setModal(False)
        self.text.setMinimumWidth(_WIDTH)
        self.control = control
        self._request = request
        self._build()
        control.changed.connect(self._show)
        if not control.running:
            control.prepare(request)
        self._show()

    def _build(self) -> None:
        self.variant = ComboControl(_VARIANTS)
        name_control(self.variant, tr("Hardware"))
        self.variant.show_value(self._request.variant or "auto")
        self.variant.edited.connect(self._choose_variant)
        self.facts = FactList()
        self.folder = button(tr("Change folder…"), self._choose_folder, kind="link", icon="folder")
        self.python = button(tr("Use an existing Python…"), self._choose_python, kind="link")
        self.offline = button(tr("Use a wheel folder…"), self._choose_wheels, kind="link")
        self.offline.setToolTip(
            tr("Install offline from a wheel folder that was created on another computer")
        )
        self.progress = ProgressLine()
        self.note = label("", "warn", wrap=True)
        self.problem = label("", "error", wrap=True)
        self.log = button(tr("Open log"), self._open_log, kind="link")
        self.outcome = label("", "ok", wrap=True)
        self.choice = with_title(tr("Hardware"), self.variant)
        if self._request.mode != "install":
            for part in (self.choice, self.folder, self.python):
                part.hide()
        others = row(self.folder, self.python, self.offline, None, spacing=Spacing.M)
        self.body.addLayout(
            column(
                self.choice,
                self.facts,
                others,
                self.progress,
                self.note,
                self.problem,
                self.outcome,
            )
        )
        self.body.addStretch(1)  # keeps its height when a part is hidden
        self.buttons.insertWidget(0, self.log)
        self.close_ = self.add_button(button(tr("Close"), self.reject))
        self.cancel = self.add_button(button(tr("Cancel"), self.control.cancel))
        self.go = self.add_button(
            button(tr(_DOES[self._request.mode]), self._start, kind="primary"), default=True
        )

    # --- user actions -------------------------------------------------------------------------

    def _start(self) -> None:
        if isinstance(self.control.ending, Done) and not self.control.planned:
            self.accept()
        elif self.control.planned:
            self.control.carry_out()
        elif self.control.agreed == self._request:
            self.control.resume(self._request)
        else:
            self._restart_plan(self._request)

    def _restart_plan(self, request: SetupRequest) -> None:
        """Plan again with other options."""
        self._request = request
        self.control.prepare(request)

    def _choose_variant(self, name: str) -> None:
        variant = next(
            (known_variant for known_variant in detect.VARIANTS if known_variant == name), None
        )
        self._restart_plan(replace(self._request, variant=variant))

    def _choose_folder(self) -> None:
        title = tr("Choose a folder for the engine")
        choose_folder(self, title, self._set_folder, folders.get_root().path)

    def _set_folder(self, chosen: str) -> None:
        self._restart_plan(replace(self._request, to=Path(chosen)))

    def _choose_wheels(self) -> None:
        choose_folder(self, tr("Choose a wheel folder"), self._set_wheels)

    def _set_wheels(self, chosen: str) -> None:
        self._restart_plan(replace(self._request, wheelhouse=Path(chosen)))

    def _choose_python(self) -> None:
        dialog = QFileDialog(self, tr("Choose a Python executable with PyTorch installed"))
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        # Not resolved: a virtual environment's link points to the Python outside of it.
        dialog.setOption(QFileDialog.Option.DontResolveSymlinks)
        open_file_dialog(dialog, lambda name: self.python_chosen.emit(Path(name)))

    def _open_log(self) -> None:
        open_path(folders.get_root().log)

    # --- display ------------------------------------------------------------------------------

    def _show(self) -> None:
        control, ending = self.control, self.control.ending
        if control.planned and control.request != self._request and self.isVisible():
            control.prepare(self._request)  # planning was in progress when the dialog was opened
            return
        self._show_facts()
        self._show_progress()
        failed = ending.problem if isinstance(ending, Failed) else None
        self.problem.setText(localize_problem(failed) if failed else "")
        self.problem.setVisible(failed is not None)
        self.log.setVisible(failed is not None and folders.get_root().log.is_file())
        self._show_notes()
        ready = isinstance(ending, Done) and not control.planned and not control.running
        cancelled = isinstance(ending, Cancelled)
        self.outcome.setText(
            tr("The engine is ready.")
            if ready
            else tr(
                "Setup canceled. Downloaded files are kept, and the next setup continues "
                "from there."
            )
            if cancelled
            else ""
        )
        self.outcome.setVisible(ready or cancelled)
        for part in (self.variant, self.folder, self.python, self.offline):
            part.setEnabled(not control.running)
        self.cancel.setVisible(control.running)
        self.cancel.setEnabled(not control.stopping)
        self.close_.setText(tr("Continue in background") if control.running else tr("Close"))
        self.close_.setVisible(not ready)
        self.go.setEnabled(not control.running)
        does = tr(_DOES[self._request.mode])
        again = failed is not None or cancelled
        self.go.setText(tr("Close") if ready else tr("Try again") if again else does)
        if self.go.isEnabled() and self.focusWidget() is self.close_:
            self.go.setFocus()  # the focus moved elsewhere while the button was disabled
        self._fit_height()

    def _show_notes(self) -> None:
        plan = self.control.plan
        notes = [localize_problem(warning.problem) for warning in self.control.warnings]
        if self.control.planned and plan is not None and plan.needed > plan.free:
            notes.append(tr("Not enough disk space. Free up some space, or choose another folder."))
        self.note.setText("\n".join(notes))
        self.note.setVisible(bool(notes))

    def _fit_height(self) -> None:
        """Grow with the content; wrapped text is higher than Qt's size hint."""
        layout = self.layout()
        assert layout is not None
        layout.activate()
        needed = max(layout.totalSizeHint().height(), layout.totalHeightForWidth(self.width()))
        if self.isVisible() and self.height() < needed:
            self.resize(self.width(), needed)

    def _show_facts(self) -> None:
        control, folder = self.control, self._request.to or folders.get_root().path
        rows = [
            (
                tr("This computer"),
                localize(control.machine.accelerator.describe()) if control.machine else "",
            ),
            (tr("Folder"), control.plan.folder if control.plan else str(folder)),
        ]
        if (plan := control.plan) is not None:
            rows += _list_plan_facts(plan)
        self.facts.show_facts(rows)

    def _show_progress(self) -> None:
        control = self.control
        self.progress.setVisible(control.running)
        if not control.running:
            return
        progress = control.progress
        doing = tr("Canceling") if control.stopping else ""
        if not doing and progress is not None:
            doing = tr(STAGES.get(str(progress.stage), str(progress.stage)))
            if progress.unit == "B" and progress.total:
                doing = tr("{doing}: {done} of {total}").format(
                    doing=doing,
                    done=formatting.format_size(progress.done),
                    total=formatting.format_size(progress.total),
                )
        if (speed := control.speed) is not None:
            doing = tr("{doing}  ·  {speed}/s").format(
                doing=doing, speed=formatting.format_size(speed)
            )
        self.progress.show_progress(doing, control.share, progress.eta_s if progress else None)


def _list_plan_facts(plan: SetupPlanned) -> list[tuple[str, str]]:
    torch = (
        tr("from your package index")
        if plan.torch == "standard"
        else tr("build {name}").format(name=plan.torch)
    )
    return [
        (tr("Download"), _describe_download(plan)),
        (
            tr("Disk space"),
            tr("{needed} required, {free} free").format(
                needed=formatting.format_size(plan.needed), free=formatting.format_size(plan.free)
            ),
        ),
        (tr("PyTorch"), torch),
        (tr("Python"), plan.python),
    ]


def _describe_download(plan: SetupPlanned) -> str:
    """Return the bytes to download, the number of packages and how many are installed already."""
    size = formatting.format_size(plan.download)
    if not plan.reused:
        return tr_n("{size} ({n} package)", "{size} ({n} packages)", plan.packages, size=size)
    return tr_n(
        "{size} ({n} package, {installed} already installed)",
        "{size} ({n} packages, {installed} already installed)",
        plan.packages,
        size=size,
        installed=formatting.format_number(plan.reused),
    )
