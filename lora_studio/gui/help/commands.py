"""The actions of the Help menu and of the buttons next to a problem."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QDialog, QWidget

from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.project import access_requests
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import consent, paths
from lora_studio.core.system.consent import ForeignCode
from lora_studio.core.system.files import create_folder, describe_os_error
from lora_studio.gui.controls.field_editor import FieldEditor
from lora_studio.gui.frame.shell import Shell
from lora_studio.gui.help import palette
from lora_studio.gui.help.dialogs import (
    AboutDialog,
    DiagnosticsDialog,
    ShortcutSheet,
    list_shortcuts,
)
from lora_studio.gui.help.palette import CommandPalette
from lora_studio.gui.language import tr
from lora_studio.gui.problems.dialogs import ConsentDialog, ProblemDialog
from lora_studio.gui.problems.suggested_actions import suggest_action
from lora_studio.gui.project.commands import ForeignRunDialog
from lora_studio.gui.widgets import docs_viewer
from lora_studio.gui.widgets.external_open import open_path


class HelpCommands(QObject):
    """Opens the dialogs of the Help menu over the window, each at most once."""

    def __init__(self, shell: Shell) -> None:
        """Search and describe `shell`."""
        super().__init__(shell)
        self._shell = shell

    def open_palette(self) -> None:
        """Open the command palette."""
        if self._is_closed(CommandPalette):
            self._shell.commit()
            dialog = CommandPalette(palette.list_entries(self._shell), self._shell)
            dialog.open()
            dialog.line.setFocus()

    def explain_focus(self) -> None:
        """Open the documentation of the focused setting, or of the shown step."""
        widget: QWidget | None = self._shell.focusWidget()
        while widget is not None and not isinstance(widget, FieldEditor):
            widget = widget.parentWidget()
        if widget is not None:
            widget.explain()
            return
        page = self._shell.pages.get(self._shell.page_name) if self._shell.has_project else None
        topics = [editor.facts.help_topic for editor in page.editors.values()] if page else []
        docs_viewer.show(topics[0] if topics else "", self._shell)

    def show_shortcuts(self) -> None:
        """Open the list of all keyboard shortcuts."""
        if self._is_closed(ShortcutSheet):
            shortcuts = list_shortcuts(self._shell)
            ShortcutSheet(shortcuts, self._shell).open()

    def show_about(self) -> None:
        """Open the versions and licenses; ask the engine for its versions if they are unknown."""
        if self._is_closed(AboutDialog):
            self._shell.ask_for_devices()
            AboutDialog(self._shell.state, self._shell).open()

    def run_action(self, problem: Problem) -> None:
        """Run the suggested action of a problem."""
        action = suggest_action(problem)
        if action is None:
            self.explain(problem)
        else:
            action.run(self._shell, problem)

    def ask_for_consent(self, find: Callable[[Path], ForeignCode | None], folder: Path) -> None:
        """Show the code in a folder; repeat the failed queries when it is allowed."""
        try:
            code = find(folder)
        except (OSError, ProblemError) as failure:
            self._shell.messages.error(describe_os_error(failure))
            return
        if code is None or consent.is_trusted(code):  # changed or allowed in the meantime
            self._shell.repeat_queries()
            return
        dialog = ConsentDialog(code, self._shell)
        dialog.allowed.connect(self._shell.repeat_queries)
        dialog.failed.connect(self._shell.messages.error)
        dialog.open()

    def ask_for_access(self, folder: Path) -> None:
        """Show what a run from elsewhere asks for; its jobs and queries may do that when it is allowed."""
        run = RunFolder(folder)
        try:
            frozen = run.load_project()
        except ProblemError as failure:
            self._shell.messages.problem(failure.problems[0])
            return
        requests = access_requests.list_unallowed_of_run(run.path, frozen)
        if not requests:  # allowed in the meantime
            self._shell.repeat_queries()
            return

        def allow() -> None:
            access_requests.allow_requests(requests)
            self._shell.repeat_queries()

        dialog = ForeignRunDialog(run.path, requests, self._shell)
        dialog.allowed.connect(allow)
        dialog.open()

    def explain(self, problem: Problem) -> None:
        """Open a dialog that explains a problem."""
        dialog = ProblemDialog(problem, self._shell)
        dialog.action_requested.connect(self.run_action)
        dialog.diagnostics_requested.connect(self.show_diagnostics)
        dialog.open()

    def show_diagnostics(self) -> None:
        """Open the dialog that writes a diagnostics file."""
        if self._is_closed(DiagnosticsDialog):
            state, messages = self._shell.state, self._shell.messages
            dialog = DiagnosticsDialog(state.facts.devices, state.draft.path, self._shell)
            dialog.written.connect(
                lambda file: messages.success(tr("Saved to {file}.").format(file=file))
            )
            dialog.failed.connect(messages.error)
            dialog.open()

    def show_logs(self) -> None:
        """Open the folder of the window's log."""
        folder = paths.get_log_folder()
        create_folder(folder)
        open_path(folder)

    def _is_closed(self, kind: type[QDialog]) -> bool:
        return not any(dialog.isVisible() for dialog in self._shell.findChildren(kind))
