"""A problem explained: what, where, what to do, and what is behind problems of its kind."""

from __future__ import annotations

from PySide6.QtCore import QUrl, Signal
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QWidget

from lora_studio.core.problems import Problem
from lora_studio.core.project.project import SPECS
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import tell, tell_facts
from lora_studio.gui.problems.remedies import explained, what_now
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets import docs_viewer
from lora_studio.gui.widgets.basics import button, column, label, row
from lora_studio.gui.widgets.dialog import Dialog


class ProblemDialog(Dialog):
    """The end of every "What now?".

    Signals:
        jump(step, field): the user wants to see the place.
        fix(problem): the user wants the fix applied.
        hub(problem): the user wants offline mode to end, or to sign in.
        engine(problem): the user wants the engine set up or mended.
        diagnostics: the user wants a diagnostics file.
    """

    jump = Signal(str, str)
    fix = Signal(object)
    engine = Signal(object)
    hub = Signal(object)
    diagnostics = Signal()

    def __init__(self, problem: Problem, parent: QWidget) -> None:
        """The button at the right does the first thing that can be done."""
        super().__init__(tr("What now?"), f"{tell(problem.what)}\n\n{tell(problem.remedy)}", parent)
        self._problem = problem
        place = problem.where.file or ""
        parts = [label(explained(problem), "muted", wrap=True)]
        if place:
            parts.append(label(place, "caption", wrap=True))
        parts.append(label(tr("Code: {code}").format(code=problem.code), "caption"))
        self.body.addLayout(column(*parts, spacing=Spacing.M))
        self._add_docs(parent)
        self.copy = self.add_button(button(tr("Copy"), self._copy, icon="copy"))
        self.add_button(button(tr("Diagnostics file…"), self._diagnose))
        now = what_now(problem)
        if now.deed not in ("explain", "raise", "resume"):
            self.act = self.add_button(button(now.label, self._act))
        self.add_button(button(tr("Close"), self.accept, kind="primary"), default=True)

    def _add_docs(self, over: QWidget) -> None:
        """A way to what is written about the setting that the problem is one of."""
        step, field = self._problem.where.step, self._problem.where.field
        if step is None or field not in SPECS[step].model_fields:
            return
        about = tell_facts(SPECS[step], field or "")
        self.docs = button(
            tr("About {setting}").format(setting=about.title),
            lambda: docs_viewer.show(about.help_topic, over),
            kind="link",
            icon="info",
            role="accent",
        )
        self.docs.clicked.connect(self.accept)
        self.body.addLayout(row(self.docs, None))

    def _act(self) -> None:
        self.accept()
        problem = self._problem
        now = what_now(problem)
        match now.deed:
            case "fix":
                self.fix.emit(problem)
            case "jump":
                self.jump.emit(now.place, problem.where.field or "")
            case "file":
                open_place(problem)
            case "engine":
                self.engine.emit(problem)
            case "online" | "sign_in":
                self.hub.emit(problem)

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(f"{self._problem} [{self._problem.code}]")

    def _diagnose(self) -> None:
        self.accept()
        self.diagnostics.emit()


def open_place(problem: Problem) -> None:
    """Shows the problem's file or folder with the system's own program for it."""
    if problem.where.file:
        QDesktopServices.openUrl(QUrl.fromLocalFile(problem.where.file))
