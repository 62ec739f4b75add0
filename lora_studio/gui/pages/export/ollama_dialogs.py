"""Dialogs that confirm replacing, removing or copying a model in Ollama."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QLineEdit, QWidget

from lora_studio.core.export import find_free_ollama_name
from lora_studio.gui.language import tr
from lora_studio.gui.widgets.basics import button, label
from lora_studio.gui.widgets.dialog import Dialog


class ConfirmDialog(Dialog):
    """Ask whether to go ahead with an action.

    Signals:
        confirmed: the user chose the action.
    """

    confirmed = Signal()

    def __init__(
        self,
        title: str,
        text: str,
        action: str,
        parent: QWidget | None = None,
        *,
        danger: bool = False,
    ) -> None:
        """Label the button with `action`; if the action is dangerous, Enter cancels."""
        super().__init__(title, text, parent)
        self.cancel = self.add_button(button(tr("Cancel"), self.reject), default=danger)
        self.confirm = self.add_button(
            button(action, self._confirm, kind="danger" if danger else "primary"),
            default=not danger,
        )

    def _confirm(self) -> None:
        self.accept()
        self.confirmed.emit()


class CopyDialog(Dialog):
    """Ask for the name of a model's copy.

    Signals:
        chosen(source, target): copy the model; `target` is not in use.
    """

    chosen = Signal(str, str)

    def __init__(self, source: str, taken: tuple[str, ...], parent: QWidget | None = None) -> None:
        """Suggest a free name; `taken` are the names on the server."""
        super().__init__(
            tr("Copy {source}").format(source=source),
            tr("The copy shares the model's files, so it uses no additional disk space."),
            parent,
        )
        self._source, self._taken = source, taken
        self.name = QLineEdit(find_free_ollama_name(source, taken))
        self.name.setAccessibleName(tr("Name of the copy"))
        self._error = label("", "error", wrap=True)
        self.body.addWidget(self.name)
        self.body.addWidget(self._error)
        self.add_button(button(tr("Cancel"), self.reject))
        self.copy = self.add_button(button(tr("Copy"), self._accept, kind="primary"), default=True)
        self.name.textChanged.connect(self._check)
        self.name.selectAll()
        self._check()

    def _check(self) -> None:
        name = self.name.text().strip()
        full = name if ":" in name else f"{name}:latest"
        is_taken = full in self._taken
        self._error.setText(tr("A model with this name already exists.") if is_taken else "")
        self._error.setVisible(is_taken)
        self.copy.setEnabled(bool(name) and not is_taken)

    def _accept(self) -> None:
        self.accept()
        self.chosen.emit(self._source, self.name.text().strip())
