"""Run an engine setup in a thread: start, follow, cancel. No widgets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from PySide6.QtCore import QObject, Signal

from lora_studio.gui.language import mark
from lora_studio.gui.threads import DetachedThread
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
    from lora_studio.setup.operations import SetupRequest

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


class SetupSteps(Protocol):
    """A setup: its plan, and the installation that follows on request."""

    stop: StopFlag

    def prepare(self) -> Iterator[Event]:
        """Yield events until `SetupPlanned`."""

    def carry_out(self) -> Iterator[Event]:
        """Yield the events of the installation."""


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
        make: Callable[[SetupRequest, StopFlag], SetupSteps] | None = None,
    ) -> None:
        """Create the control; `make` returns the steps of a setup."""
        super().__init__(parent)
        self.make = make or _set_up
        self._thread: SetupThread | None = None
        self._stop = StopFlag()
        self._set_up: SetupSteps | None = None
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

    def _make_setup(self, request: SetupRequest) -> SetupSteps:
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

    def leave(self) -> None:
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


def _set_up(request: SetupRequest, stop: StopFlag) -> SetupSteps:
    """Return the real setup, imported late because it takes 7 % of the window's startup time."""
    from lora_studio.setup.operations import EngineSetup

    return EngineSetup(request, stop)
