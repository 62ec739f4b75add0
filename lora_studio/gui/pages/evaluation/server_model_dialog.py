"""Dialog that adds a model on a server to an evaluation."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from lora_studio.core.chat import OllamaSpeaker
from lora_studio.gui.language import tr
from lora_studio.gui.pages.evaluation.server_model_editor import ServerModelEditor
from lora_studio.gui.widgets.basics import button
from lora_studio.gui.widgets.dialog import Dialog
from lora_studio.gui.widgets.tooltips import plain_tip


class ServerModelDialog(Dialog):
    """Asks for a model on a server.

    Signals:
        chosen(title, model): a model was entered.
    """

    chosen = Signal(str, object)

    def __init__(self, editor: ServerModelEditor, parent: QWidget | None = None) -> None:
        """Show an editor in the dialog."""
        text = tr("The model answers the same prompts as the other ones. Measures that need probabilities of tokens aren't available for it.")  # fmt: skip
        super().__init__(tr("Add a model on a server"), text, parent)
        self.editor = editor
        self.body.addWidget(editor)
        self.add_button(button(tr("Cancel"), self.reject))
        self.add = self.add_button(button(tr("Add"), self._on_add, kind="primary"), default=True)
        editor.changed.connect(self._show_state)
        self._show_state()

    def _show_state(self) -> None:
        blocker = self.editor.find_blocker()
        self.add.setEnabled(blocker is None)
        self.add.setToolTip(plain_tip(blocker or ""))
        if self.isVisible():
            self._grow()

    def _grow(self) -> None:
        """Make room for an error that appeared."""
        layout = self.layout()
        assert layout is not None
        layout.activate()
        self.resize(self.width(), max(self.height(), layout.totalHeightForWidth(self.width())))

    def _on_add(self) -> None:
        model = self.editor.make_model()
        if model is not None:
            is_ollama = isinstance(model, OllamaSpeaker)
            self.chosen.emit(f"Ollama: {model.name}" if is_ollama else model.name, model)
            self.accept()
