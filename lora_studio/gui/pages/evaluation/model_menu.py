"""Button with a menu of further models to evaluate: of other runs, files, and servers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QMenu, QPushButton, QWidget
from shiboken6 import isValid

from lora_studio.core.chat import AnySpeaker, GgufSpeaker, ModelSpeaker
from lora_studio.core.runs import speakers
from lora_studio.core.runs.speakers import SpeakerOption
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.pages.evaluation.server_model_dialog import ServerModelDialog
from lora_studio.gui.pages.evaluation.server_model_editor import ServerModelEditor
from lora_studio.gui.widgets.file_dialogs import choose_file, choose_folder

_MOST_RUNS = 20


class ModelMenu(QPushButton):
    """Adds a model that isn't one of the run.

    Signals:
        chosen(title, model): a model was chosen.
        ollama_requested: the models of the Ollama server are needed; see `show_ollama_models`.
    """

    chosen = Signal(str, object)
    ollama_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create the button with the models in files."""
        super().__init__(tr("Add model"), parent)
        self._options: dict[str, list[SpeakerOption]] = {}
        self._ollama: tuple[str, tuple[str, ...]] = ("", ())
        self._editor: ServerModelEditor | None = None
        self._menu = QMenu(self)
        self._menu.aboutToShow.connect(self.fill)
        self.setMenu(self._menu)

    def show_options(self, options: Sequence[SpeakerOption]) -> None:
        """Set the models of other runs."""
        self._options = {}
        for option in options:
            self._options.setdefault(option.run, []).append(option)

    def show_ollama_models(self, host: str, names: Sequence[str]) -> None:
        """Set the models of the Ollama server."""
        self._ollama = (host, tuple(names))
        if self._editor is not None and isValid(self._editor):
            self._editor.show_ollama_models(*self._ollama)

    def fill(self) -> None:
        """Rebuild the menu."""
        for inner in self._menu.findChildren(QMenu):
            inner.deleteLater()
        self._menu.clear()
        for name, options in list(self._options.items())[:_MOST_RUNS]:
            inner = self._menu.addMenu(name.replace("&", "&&"))
            for option in options:
                title = localize(option.title)
                inner.addAction(title.replace("&", "&&"), self._choose_later(f"{name}: {title}", option.speaker))  # fmt: skip
        if self._options:
            self._menu.addSeparator()
        self._menu.addAction(tr("Adapter folder…"), self._pick_adapter)
        self._menu.addAction(tr("Model folder…"), self._pick_model)
        self._menu.addAction(tr("GGUF file…"), self._pick_gguf)
        self._menu.addAction(tr("Model on a server…"), self.ask_for_server_model)

    def ask_for_server_model(self) -> None:
        """Ask for a model in Ollama or on an OpenAI-compatible server."""
        self._editor = ServerModelEditor()
        self._editor.show_ollama_models(*self._ollama)
        self._editor.ollama_requested.connect(self.ollama_requested)
        dialog = ServerModelDialog(self._editor, self.window())
        dialog.chosen.connect(self.chosen)
        dialog.open()
        self.ollama_requested.emit()

    def _choose_later(self, title: str, speaker: AnySpeaker) -> Callable[[], None]:
        return lambda: self.chosen.emit(title, speaker)

    def _pick_adapter(self) -> None:
        choose_folder(
            self.window(),
            tr("Select adapter folder"),
            lambda name: self.chosen.emit(Path(name).name, speakers.create_adapter_speaker(name)),
        )

    def _pick_model(self) -> None:
        choose_folder(
            self.window(),
            tr("Select model folder"),
            lambda name: self.chosen.emit(Path(name).name, ModelSpeaker(folder=name)),
        )

    def _pick_gguf(self) -> None:
        choose_file(
            self.window(),
            tr("Select GGUF file"),
            lambda name: self.chosen.emit(Path(name).stem, GgufSpeaker(file=name)),
            name_filter=tr("GGUF files (*.gguf)"),
        )
