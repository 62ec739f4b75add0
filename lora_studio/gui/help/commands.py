"""What the Help menu does: find anything, every shortcut, about."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QDialog

from lora_studio.core.problems import Problem
from lora_studio.core.system import paths
from lora_studio.gui.frame.shell import Shell
from lora_studio.gui.help import palette_entries, shortcut_sheet
from lora_studio.gui.help.about import AboutDialog
from lora_studio.gui.help.diagnostics_dialog import DiagnosticsDialog
from lora_studio.gui.help.palette import CommandPalette
from lora_studio.gui.language import tr
from lora_studio.gui.problems.problem_dialog import ProblemDialog, open_place
from lora_studio.gui.problems.remedies import what_now


class HelpCommands(QObject):
    """Opens its dialogs over the window, one at a time."""

    def __init__(self, window: Shell) -> None:
        """`window` is what is searched and told about."""
        super().__init__(window)
        self._window = window

    def find(self) -> None:
        """Ctrl+K: anything by its name."""
        if self._is_free(CommandPalette):
            self._window.commit()
            dialog = CommandPalette(palette_entries.entries(self._window), self._window)
            dialog.open()
            dialog.line.setFocus()

    def show_shortcuts(self) -> None:
        """Every shortcut there is."""
        if self._is_free(shortcut_sheet.ShortcutSheet):
            found = shortcut_sheet.shortcuts(self._window)
            shortcut_sheet.ShortcutSheet(found, self._window).open()

    def show_about(self) -> None:
        """Versions and licences; the engine is asked for its own where it has not told yet."""
        if self._is_free(AboutDialog):
            self._window.ask_for_devices()
            AboutDialog(self._window.state, self._window).open()

    def act(self, problem: Problem) -> None:
        """Does the first thing that can be done about a problem."""
        now = what_now(problem)
        match now.deed:
            case "fix":
                self._window.apply_fix(problem)
            case "jump":
                self._window.show_field(now.place, problem.where.field or "")
            case "file":
                open_place(problem)
            case "raise":
                self._window.lock.call(Path(problem.where.file or ""))
            case "engine":
                self._window.engine.solve(problem)
            case "online":
                self._window.set_offline(on=False)
            case "sign_in":
                self._window.show_page("model")
                self._window.pages["model"].sign_in()
            case "resume":
                self._window.open_and_resume(Path(problem.where.file or ""))
            case "explain":
                self.explain(problem)

    def explain(self, problem: Problem) -> None:
        """Tells more about a problem."""
        dialog = ProblemDialog(problem, self._window)
        dialog.jump.connect(self._window.show_field)
        dialog.fix.connect(self._window.apply_fix)
        dialog.engine.connect(self._window.engine.solve)
        dialog.hub.connect(self.act)
        dialog.diagnostics.connect(self.show_diagnostics)
        dialog.open()

    def show_diagnostics(self) -> None:
        """A file for who helps; the user reads it first."""
        if self._is_free(DiagnosticsDialog):
            state, messages = self._window.state, self._window.messages
            dialog = DiagnosticsDialog(state.facts.devices, state.draft.path, self._window)
            dialog.written.connect(
                lambda file: messages.info(tr("Written to {file}.").format(file=file))
            )
            dialog.failed.connect(messages.error)
            dialog.open()

    def show_logs(self) -> None:
        """The folder of the window's log."""
        folder = paths.log_folder()
        folder.mkdir(parents=True, exist_ok=True)
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))

    def _is_free(self, kind: type[QDialog]) -> bool:
        return not any(dialog.isVisible() for dialog in self._window.findChildren(kind))
