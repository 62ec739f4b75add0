"""Choose a model on a server: in Ollama, or behind an OpenAI-compatible address."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QWidget

from lora_studio.core.chat import OllamaSpeaker
from lora_studio.core.evaluation.columns import ServerModel
from lora_studio.core.system.offline import is_local_host
from lora_studio.gui.controls.controls import LineEdit
from lora_studio.gui.language import tr
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import column, label, with_title

_OLLAMA, _SERVER = range(2)
_VARIABLE = re.compile(r"[A-Za-z_]\w*\Z", re.ASCII)


class ServerModelEditor(QWidget):
    """Edits the address and the name of a model.

    Signals:
        changed: the model has changed.
        ollama_requested: the models of the Ollama server are needed; see `show_ollama_models`.
    """

    changed = Signal()
    ollama_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start with Ollama on this computer, and no model."""
        super().__init__(parent)
        self._host = ""
        self.kind, self.name = QComboBox(), QComboBox()
        self.address, self.key_variable = LineEdit(), LineEdit()
        self.note, self.error = label(role="caption", wrap=True), label(role="error", wrap=True)
        self._build()
        self._on_kind_changed()

    def show_ollama_models(self, host: str, names: Sequence[str]) -> None:
        """Offer the models of an Ollama server, keeping what is typed."""
        self._host = host
        typed = self.name.currentText()
        self.name.clear()
        self.name.addItems(list(names))
        self.name.setEditText(typed)
        self._show_kind()

    def make_model(self) -> OllamaSpeaker | ServerModel | None:
        """Return the model, None if something is missing or invalid."""
        if self.find_blocker() is not None:
            return None
        name, address = self.name.currentText().strip(), self.address.text().strip()
        if self._is_ollama():
            return OllamaSpeaker(name=name, host=address or self._host)
        return ServerModel(address=address, name=name, key_variable=self.key_variable.text().strip())  # fmt: skip

    def find_blocker(self) -> str | None:
        """Return what is missing or invalid, None if nothing is."""
        if invalid := self._find_invalid():
            return invalid
        if not self._is_ollama() and not self.address.text().strip():
            return tr("Enter the address of the server.")
        if not self.name.currentText().strip():
            return tr("Enter the name of the model on the server.")
        return None

    def _find_invalid(self) -> str | None:
        """Return what is wrong with what was entered so far."""
        address, variable = self.address.text().strip(), self.key_variable.text().strip()
        parts = _split(address)
        if address and "@" in address:
            return tr("Enter the address without a password.")
        if address and not self._is_ollama() and (parts is None or parts not in ("http", "https")):
            return tr("Enter an address such as {example}.").format(example="http://127.0.0.1:8000/v1")  # fmt: skip
        if variable and not self._is_ollama() and not _VARIABLE.match(variable):
            return tr("Enter the name of the environment variable that has the API key, such as {example}.").format(example="OPENAI_API_KEY")  # fmt: skip
        return None

    def is_remote(self) -> bool:
        """Return whether the server is on another computer."""
        address = self.address.text().strip() or (self._host if self._is_ollama() else "")
        try:
            host = urlsplit(address if "//" in address else f"//{address}").hostname
        except ValueError:
            return False
        return not is_local_host(host)

    def _is_ollama(self) -> bool:
        return bool(self.kind.currentData() == _OLLAMA)

    def _on_kind_changed(self) -> None:
        if self._is_ollama():
            self.ollama_requested.emit()
        self._show_kind()
        self.changed.emit()

    def _show_kind(self) -> None:
        is_ollama = self._is_ollama()
        default = self._host or "http://127.0.0.1:11434"
        self.address.setPlaceholderText(default if is_ollama else "http://127.0.0.1:8000/v1")
        self._key.setVisible(not is_ollama)
        self._show_state()

    def _on_edited(self) -> None:
        self._show_state()
        self.changed.emit()

    def _show_state(self) -> None:
        invalid = self._find_invalid()
        self.error.setText(invalid or "")
        self.error.setVisible(invalid is not None)
        is_remote = invalid is None and self.is_remote()
        self.note.setText(tr("This server is on another computer: prompts and answers are sent there."))  # fmt: skip
        self.note.setVisible(is_remote)

    def _build(self) -> None:
        self.kind.addItem("Ollama", _OLLAMA)
        self.kind.addItem(tr("OpenAI-compatible server"), _SERVER)
        self.kind.setAccessibleName(tr("Kind of server"))
        self.kind.activated.connect(lambda _: self._on_kind_changed())
        self.name.setEditable(True)
        self.name.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.name.setMinimumContentsLength(16)
        self.name.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.name.editTextChanged.connect(lambda _: self._on_edited())
        self.key_variable.setPlaceholderText("OPENAI_API_KEY")
        titles = (
            (self.address, tr("Address")), (self.name, tr("Model name")),
            (self.key_variable, tr("Environment variable with the API key (optional)")),
        )  # fmt: skip
        for part, title in titles:
            part.setAccessibleName(title)
        for line in (self.address, self.key_variable):
            line.textEdited.connect(lambda _: self._on_edited())
        address, name, self._key = (with_title(title, part) for part, title in titles)
        layout = column(
            with_title(tr("Server"), self.kind), address, name, self._key, self.error, self.note,
            spacing=Spacing.S,
        )  # fmt: skip
        layout.setContentsMargins(0, 0, 0, 0)
        self.setLayout(layout)


def _split(address: str) -> str | None:
    """Return the scheme of an address that has a host, None for any other text."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return parts.scheme if parts.hostname else None
