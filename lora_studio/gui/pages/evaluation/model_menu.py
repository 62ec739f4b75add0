"""Button with a menu of further models to evaluate: of other runs, files, and servers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QMenu, QPushButton, QWidget

from lora_studio.core.chat import AnySpeaker, GgufSpeaker, ModelSpeaker
from lora_studio.core.runs import speakers
from lora_studio.core.runs.speakers import SpeakerOption
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.widgets.file_dialogs import choose_file, choose_folder

_MOST_RUNS = 20


class ModelMenu(QPushButton):
    """Adds a model that isn't one of the run.

    Signals:
        chosen(title, speaker): a model was chosen.
    """

    chosen = Signal(str, object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create the button with the models in files."""
        super().__init__(tr("Add model"), parent)
        self._options: dict[str, list[SpeakerOption]] = {}
        self._menu = QMenu(self)
        self._menu.aboutToShow.connect(self.fill)
        self.setMenu(self._menu)

    def show_options(self, options: Sequence[SpeakerOption]) -> None:
        """Set the models of other runs and of Ollama."""
        self._options = {}
        for option in options:
            self._options.setdefault(option.run or "Ollama", []).append(option)

    def fill(self) -> None:
        """Rebuild the menu."""
        for inner in self._menu.findChildren(QMenu):
            inner.deleteLater()
        self._menu.clear()
        for name, options in list(self._options.items())[:_MOST_RUNS]:
            inner = self._menu.addMenu(name.replace("&", "&&"))
            for option in options:
                title = localize(option.title)
                shown = f"{name}: {title}" if option.run else title
                inner.addAction(title.replace("&", "&&"), self._choose_later(shown, option.speaker))
        if self._options:
            self._menu.addSeparator()
        self._menu.addAction(tr("Adapter folder…"), self._pick_adapter)
        self._menu.addAction(tr("Model folder…"), self._pick_model)
        self._menu.addAction(tr("GGUF file…"), self._pick_gguf)

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
