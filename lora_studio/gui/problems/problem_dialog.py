"""A dialog that explains a problem: what, where, what to do, and background on its kind."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QWidget

from lora_studio.core.problems import Problem
from lora_studio.core.project.project import SPECS
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize, localize_facts
from lora_studio.gui.problems.explanations import explain_kind
from lora_studio.gui.problems.suggested_actions import suggest_action
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets import docs_viewer
from lora_studio.gui.widgets.basics import button, column, label, row
from lora_studio.gui.widgets.dialog import Dialog
from lora_studio.gui.widgets.external_open import open_path


class ProblemDialog(Dialog):
    """The dialog that every "What now?" button opens.

    Signals:
        field_requested(page, field): show the field of the problem.
        fix_requested(problem): apply its fix.
        hub_requested(problem): leave offline mode, sign in, or review code.
        engine_requested(problem): set up or repair the engine.
        diagnostics_requested: save a diagnostics file.
    """

    field_requested = Signal(str, str)
    fix_requested = Signal(object)
    engine_requested = Signal(object)
    hub_requested = Signal(object)
    diagnostics_requested = Signal()

    def __init__(self, problem: Problem, parent: QWidget) -> None:
        """Show the problem, with a button for its suggested action."""
        super().__init__(
            tr("What now?"), f"{localize(problem.what)}\n\n{localize(problem.remedy)}", parent
        )
        self._problem = problem
        parts = [label(explain_kind(problem), "muted", wrap=True)]
        if problem.where.file:
            parts.append(label(problem.where.file, "caption", wrap=True))
        parts.append(label(tr("Code: {code}").format(code=problem.code), "caption"))
        self.body.addLayout(column(*parts, spacing=Spacing.M))
        self._add_docs(parent)
        self.copy = self.add_button(button(tr("Copy"), self._copy, icon="copy"))
        self.add_button(button(tr("Diagnostics file…"), self._request_diagnostics))
        action = suggest_action(problem)
        if action.kind not in ("explain", "window", "resume"):
            self.action = self.add_button(button(action.label, self._run_action))
        self.add_button(button(tr("Close"), self.accept, kind="primary"), default=True)

    def _add_docs(self, over: QWidget) -> None:
        """Add a link to the documentation of the setting that the problem is about."""
        step, field = self._problem.where.step, self._problem.where.field
        if step is None or field not in SPECS[step].model_fields:
            return
        facts = localize_facts(SPECS[step], field or "")
        self.docs = button(
            tr("About {setting}").format(setting=facts.title),
            lambda: docs_viewer.show(facts.help_topic, over),
            kind="link",
            icon="info",
            role="accent",
        )
        self.docs.clicked.connect(self.accept)
        self.body.addLayout(row(self.docs, None))

    def _run_action(self) -> None:
        self.accept()
        problem = self._problem
        action = suggest_action(problem)
        match action.kind:
            case "fix":
                self.fix_requested.emit(problem)
            case "page":
                self.field_requested.emit(action.page, problem.where.field or "")
            case "file":
                open_file(problem)
            case "engine":
                self.engine_requested.emit(problem)
            case "online" | "sign_in" | "consent":
                self.hub_requested.emit(problem)

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(f"{self._problem} [{self._problem.code}]")

    def _request_diagnostics(self) -> None:
        self.accept()
        self.diagnostics_requested.emit()


def open_file(problem: Problem) -> None:
    """Open the problem's file or folder in the system's default program."""
    if problem.where.file:
        open_path(Path(problem.where.file))
