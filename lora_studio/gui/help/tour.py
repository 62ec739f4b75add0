"""The guided tour of the sample project: eight stops, about a minute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtWidgets import QWidget

from lora_studio.gui.frame.shell import Shell
from lora_studio.gui.help.coach_marks import CoachMarks
from lora_studio.gui.language import mark, tr
from lora_studio.gui.problems.suggested_actions import STEP_TITLES


@dataclass(frozen=True)
class TourStop:
    """A page, the widget highlighted on it, and the text next to it."""

    page: str
    target: Callable[[Shell], QWidget]
    title: str
    text: str


#: All stops in the order of the tour.
STOPS: tuple[TourStop, ...] = (
    TourStop(
        "home",
        lambda shell: shell.home.sample,
        mark("Welcome"),
        mark(
            "This one-minute tour opens the sample project: a small model, some training data, "
            "and all settings filled in."
        ),
    ),
    TourStop(
        "model",
        lambda shell: shell.rail,
        mark("Six steps"),
        mark(
            "From the base model to Ollama. Each step shows its state: to do, ready, a problem, "
            "or running. Visit them in any order."
        ),
    ),
    TourStop(
        "model",
        lambda shell: shell.pages["model"].header.primary,
        mark("One main button"),
        mark(
            "Each page has one. If something is missing, its tooltip says what. Press Ctrl+Enter "
            "to click it from anywhere on the page."
        ),
    ),
    TourStop(
        "dataset",
        lambda shell: shell.pages["dataset"].area,
        mark("Your examples"),
        mark(
            "Drop your files here; common formats are detected. You see each row exactly as the "
            "model does, and mistakes are found before you train."
        ),
    ),
    TourStop(
        "training",
        lambda shell: shell.pages["training"].header.primary,
        mark("Training"),
        mark(
            "You see up front whether the training fits your device. It continues when you close "
            "the window, pauses at any step, and survives a crash."
        ),
    ),
    TourStop(
        "export",
        lambda shell: shell.pages["export"].area,
        mark("Verified in Ollama"),
        mark(
            "Export writes the files and asks the trained model and the exported one the same "
            "questions. You see how closely their answers agree."
        ),
    ),
    TourStop(
        "runs",
        lambda shell: shell.rail.button("runs"),
        mark("Runs and Playground"),
        mark(
            "Every training run keeps its settings and curves, so you can compare runs. In the "
            "Playground, you chat with the base model and the fine-tuned model side by side."
        ),
    ),
    TourStop(
        "home",
        lambda shell: shell.header,
        mark("From anywhere"),
        mark(
            "The header shows your device and the running job. Ctrl+K searches settings and "
            "commands, Ctrl+/ lists all shortcuts, and Help starts this tour again."
        ),
    ),
)


class Tour(QObject):
    """Shows one stop after another; when it ends, the window stays on the last page.

    Signals:
        ended: the last stop was passed, or the user ended the tour.
    """

    ended = Signal()

    def __init__(self, shell: Shell) -> None:
        """Show nothing until `start`."""
        super().__init__(shell)
        self._shell = shell
        self._marks: CoachMarks | None = None
        self._index = 0

    @property
    def is_running(self) -> bool:
        """Whether a stop is shown."""
        return self._marks is not None

    def start(self) -> None:
        """Show the first stop, and remember that the tour was seen."""
        if self._marks is not None:
            return
        preferences = self._shell.preferences
        preferences.tour_seen = True
        preferences.save()
        self._marks = CoachMarks(self._shell)
        self._marks.moved.connect(lambda by: self._show_stop(self._index + by))
        self._marks.ended.connect(self.end)
        self._show_stop(0)

    def end(self) -> None:
        """Remove the marks; safe to call while the tour isn't running."""
        if self._marks is not None:
            self._marks.hide()
            self._marks.deleteLater()
            self._marks = None
            if (page := self._shell.stack.currentWidget()) is not None:
                page.setFocus()
            self.ended.emit()

    def _show_stop(self, index: int) -> None:
        if self._marks is None:
            return
        if index >= len(STOPS):
            self.end()
            return
        self._index = max(0, index)
        stop, shell = STOPS[self._index], self._shell
        if stop.page in STEP_TITLES and not shell.has_project:
            shell.projects.open_sample()
        shell.show_page(stop.page)
        QTimer.singleShot(0, self, self._show_mark)  # the page has to be laid out first

    def _show_mark(self) -> None:
        if self._marks is not None:
            stop = STOPS[self._index]
            target = stop.target(self._shell)
            self._marks.show_mark(target, tr(stop.title), tr(stop.text), self._index, len(STOPS))
