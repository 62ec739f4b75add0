"""What is asked before something in Ollama is replaced, removed or given a second name."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QLineEdit, QWidget

from lora_studio.core.export import free_ollama_name
from lora_studio.gui.language import tr
from lora_studio.gui.widgets.basics import button, label
from lora_studio.gui.widgets.dialog import Dialog


class ConfirmDialog(Dialog):
    """A question with one way forward.

    Signals:
        confirmed: the user wants it.
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
        """`action` is what the button says; Enter goes back where it is a danger."""
        super().__init__(title, text, parent)
        self.go_back = self.add_button(button(tr("Back"), self.reject), default=danger)
        self.act = self.add_button(
            button(action, self._confirm, kind="danger" if danger else "primary"),
            default=not danger,
        )

    def _confirm(self) -> None:
        self.accept()
        self.confirmed.emit()


class CopyDialog(Dialog):
    """A second name for a model.

    Signals:
        chosen(source, target): the name is free.
    """

    chosen = Signal(str, str)

    def __init__(self, source: str, taken: tuple[str, ...], parent: QWidget | None = None) -> None:
        """`taken` are the names on the server."""
        super().__init__(
            tr("Copy {source}").format(source=source),
            tr("The copy takes no space: it is a second name."),
            parent,
        )
        self._source, self._taken = source, taken
        self.name = QLineEdit(free_ollama_name(source, taken))
        self.name.setAccessibleName(tr("Name of the copy"))
        self._error = label("", "error", wrap=True)
        self.body.addWidget(self.name)
        self.body.addWidget(self._error)
        self.add_button(button(tr("Back"), self.reject))
        self.copy = self.add_button(button(tr("Copy"), self._accept, kind="primary"), default=True)
        self.name.textChanged.connect(self._check)
        self.name.selectAll()
        self._check()

    def _check(self) -> None:
        name = self.name.text().strip()
        full = name if ":" in name else f"{name}:latest"
        wrong = tr("A model of this name is there.") if full in self._taken else ""
        self._error.setText(wrong)
        self._error.setVisible(bool(wrong))
        self.copy.setEnabled(bool(name) and not wrong)

    def _accept(self) -> None:
        self.accept()
        self.chosen.emit(self._source, self.name.text().strip())
