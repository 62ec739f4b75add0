"""A minute around the window, over the real thing: the sample project."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtWidgets import QWidget

from lora_studio.gui.frame.shell import Shell
from lora_studio.gui.help.coach_marks import CoachMarks
from lora_studio.gui.language import mark, tr


@dataclass(frozen=True)
class TourStop:
    """One place to stand at: where, what is lit there, and what is said."""

    place: str
    target: Callable[[Shell], QWidget]
    title: str
    text: str


def stops() -> tuple[TourStop, ...]:
    """All of them, in the order of the tour."""
    return (
        TourStop(
            "home",
            lambda window: window.home.sample,
            mark("Welcome"),
            mark(
                "One minute shows you around. The sample project is opened for it: a small model, some "
                "rows of data, and everything set."
            ),
        ),
        TourStop(
            "model",
            lambda window: window.rail,
            mark("Six steps"),
            mark(
                "From a model to Ollama. Each says how it stands: to do, ready, a problem or at work. "
                "Visit them in any order."
            ),
        ),
        TourStop(
            "model",
            lambda window: window.pages["model"].header.primary,
            mark("One main button"),
            mark(
                "Each page has one. While something is missing it tells what, and Ctrl+Enter presses it "
                "from anywhere on the page."
            ),
        ),
        TourStop(
            "dataset",
            lambda window: window.pages["dataset"].area,
            mark("Your examples"),
            mark(
                "Drop files here: any usual format is recognised. You see every row as the model will, "
                "and faults are found before they cost a training."
            ),
        ),
        TourStop(
            "training",
            lambda window: window.pages["training"].header.primary,
            mark("Training"),
            mark(
                "Whether it fits your device is told before. It goes on when you close the window, pauses "
                "at any step, and survives a crash."
            ),
        ),
        TourStop(
            "export",
            lambda window: window.pages["export"].area,
            mark("Proven in Ollama"),
            mark(
                "Export writes the files and asks the same questions of what you trained and of what will "
                "run. You see how well they agree."
            ),
        ),
        TourStop(
            "runs",
            lambda window: window.rail.button("runs"),
            mark("Runs and Playground"),
            mark(
                "Every training is kept with its settings and curves, to be compared. In the Playground "
                "you talk to base and tuned model side by side."
            ),
        ),
        TourStop(
            "home",
            lambda window: window.header,
            mark("From anywhere"),
            mark(
                "The header shows your device and the job under way. Ctrl+K finds any setting or command, "
                "Ctrl+/ shows all shortcuts, and Help starts this tour again."
            ),
        ),
    )


class Tour(QObject):
    """Leads from stop to stop; the window is where it was led when the tour ends.

    Signals:
        ended: the user has seen it, or enough of it.
    """

    ended = Signal()

    def __init__(self, window: Shell) -> None:
        """Nothing is shown until `start`."""
        super().__init__(window)
        self._window = window
        self._stops = stops()
        self._marks: CoachMarks | None = None
        self.at = 0

    @property
    def is_on(self) -> bool:
        """Whether a mark is shown."""
        return self._marks is not None

    def start(self) -> None:
        """Shows the first mark; from now on it comes only when it is asked for."""
        if self._marks is not None:
            return
        preferences = self._window.preferences
        preferences.tour_seen = True
        preferences.save()
        self._marks = CoachMarks(self._window)
        self._marks.moved.connect(lambda by: self._stand(self.at + by))
        self._marks.ended.connect(self.end)
        self._stand(0)

    def end(self) -> None:
        """Takes the marks away; harmless when there are none."""
        if self._marks is not None:
            self._marks.hide()
            self._marks.deleteLater()
            self._marks = None
            if (page := self._window.stack.currentWidget()) is not None:
                page.setFocus()
            self.ended.emit()

    def _stand(self, at: int) -> None:
        if self._marks is None:
            return
        if at >= len(self._stops):
            self.end()
            return
        self.at = max(0, at)
        stop, window = self._stops[self.at], self._window
        if stop.place in window.pages and not window.has_project:
            window.projects.open_sample()
        window.show_page(stop.place)
        QTimer.singleShot(0, self, self._show)  # the page has to be laid out first

    def _show(self) -> None:
        if self._marks is not None:
            stop = self._stops[self.at]
            target = stop.target(self._window)
            self._marks.show_mark(target, tr(stop.title), tr(stop.text), self.at, len(self._stops))
