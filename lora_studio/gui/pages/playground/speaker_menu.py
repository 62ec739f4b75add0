"""Button with a menu that selects the model of a column."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import QPoint, QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QMenu, QPushButton, QSizePolicy, QWidget

from lora_studio.core import chat
from lora_studio.core.chat import AdapterSpeaker, AnySpeaker, GgufSpeaker
from lora_studio.core.runs import speakers
from lora_studio.core.runs.speakers import SpeakerGroup, SpeakerOption
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.theme import Size, Spacing, get_palette, pixmap
from lora_studio.gui.widgets.file_dialogs import choose_file, choose_folder
from lora_studio.gui.widgets.tooltips import plain_tip

#: Number of runs at the top level of the menu; older ones are in a submenu.
_MAX_RUNS = 12


class SpeakerMenu(QPushButton):
    """Shows the selected model, and opens the menu on click, Space or Down.

    Signals:
        chosen(speaker): another model was selected.
        ollama_requested: list the models of the Ollama server.
        library_requested: show the adapter library.
    """

    chosen = Signal(object)
    ollama_requested = Signal()
    library_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start with the base model."""
        super().__init__(parent)
        self._speaker: AnySpeaker = AdapterSpeaker()
        self._choices: tuple[SpeakerOption, ...] = ()
        self._full_name = ""
        self._menu = QMenu(self)
        self.clicked.connect(self.open_menu)
        self.setProperty("kind", "choice")
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.show_speaker(AdapterSpeaker())

    def show_choices(self, choices: Sequence[SpeakerOption]) -> None:
        """Set the models to choose from besides the base model."""
        self._choices = tuple(choices)

    def show_speaker(self, speaker: AnySpeaker, name: str = "") -> None:
        """Show a model; `name` replaces its own name during a blind comparison."""
        self._speaker = speaker
        self._full_name = name or localize(chat.format_speaker_name(speaker))
        self.setAccessibleName(tr("Model: {name}").format(name=self._full_name))
        self.setToolTip(plain_tip(self._full_name))
        self._elide_text()

    def open_menu(self) -> None:
        """Open the menu below the button."""
        self.fill()
        self._menu.popup(self.mapToGlobal(QPoint(0, self.height())))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Open the menu on Down, like a combo box."""
        if event.key() == Qt.Key.Key_Down:
            self.open_menu()
        else:
            super().keyPressEvent(event)

    def minimumSizeHint(self) -> QSize:
        """Return a width of a few letters."""
        return QSize(90, super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Elide the name to the new width."""
        super().resizeEvent(event)
        self._elide_text()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the arrow of a combo box on the right."""
        super().paintEvent(event)
        arrow = pixmap(
            "chevron-down", get_palette().muted if self.isEnabled() else get_palette().line, 16
        )
        painter = QPainter(self)
        side = Size.scaled(16)
        painter.drawPixmap(self.width() - side - Spacing.S, (self.height() - side) // 2, arrow)
        painter.end()

    def _elide_text(self) -> None:
        width = max(40, self.width() - 48)
        self.setText(
            self.fontMetrics()
            .elidedText(self._full_name, Qt.TextElideMode.ElideMiddle, width)
            .replace("&", "&&")
        )

    # --- the menu -----------------------------------------------------------------------------

    def fill(self) -> None:
        """Rebuild the menu."""
        menu = self._menu
        for submenu in menu.findChildren(QMenu):
            submenu.deleteLater()
        menu.clear()
        self._add(menu, tr("Base model"), AdapterSpeaker())
        self._add_own(menu)
        self._add_runs(menu)
        menu.addSeparator()
        self._add_ollama(menu, self._list_options(SpeakerGroup.OLLAMA))
        blend = [choice for choice in self._choices if isinstance(choice.speaker, AdapterSpeaker)]
        if isinstance(self._speaker, AdapterSpeaker) and blend:
            self._add_blend(menu, blend)
        menu.addAction(tr("Adapter folder…"), self._pick_adapter)
        menu.addAction(tr("GGUF file…"), self._pick_gguf)
        menu.addAction(tr("Adapter library…"), self.library_requested.emit)

    def _list_options(self, group: SpeakerGroup) -> list[SpeakerOption]:
        return [choice for choice in self._choices if choice.group is group]

    def _add_own(self, menu: QMenu) -> None:
        project_speakers = {
            tr("Base model as GGUF"): self._list_options(SpeakerGroup.BASE),
            tr("Adapter library"): self._list_options(SpeakerGroup.LIBRARY),
        }
        for title, choices in project_speakers.items():
            if choices:
                self._add_group(menu, title, choices)
        if any(project_speakers.values()) and self._list_options(SpeakerGroup.RUN):
            menu.addSeparator()

    def _add_runs(self, menu: QMenu) -> None:
        runs: dict[str, list[SpeakerOption]] = {}
        for choice in self._list_options(SpeakerGroup.RUN):
            runs.setdefault(choice.run, []).append(choice)
        older = QMenu(tr("Older runs"), menu)
        for index, (name, choices) in enumerate(runs.items()):
            self._add_group(menu if index < _MAX_RUNS else older, name, choices)
        if len(runs) > _MAX_RUNS:
            menu.addMenu(older)

    def _add_group(self, menu: QMenu, title: str, choices: Sequence[SpeakerOption]) -> None:
        inner = menu.addMenu(title.replace("&", "&&"))
        for choice in choices:
            self._add(inner, localize(choice.title), choice.speaker)

    def _add_ollama(self, menu: QMenu, choices: Sequence[SpeakerOption]) -> None:
        inner = menu.addMenu("Ollama")
        for choice in choices:
            self._add(inner, localize(choice.title), choice.speaker)
        inner.addAction(tr("Refresh"), self.ollama_requested.emit)

    def _add_blend(self, menu: QMenu, choices: Sequence[SpeakerOption]) -> None:
        inner = menu.addMenu(tr("Combine with"))
        assert isinstance(self._speaker, AdapterSpeaker)
        current = self._speaker.adapters
        for choice in choices:
            assert isinstance(choice.speaker, AdapterSpeaker)
            more = choice.speaker.adapters
            if more[0].folder not in {each.folder for each in current}:
                name = localize(chat.format_speaker_name(choice.speaker)).replace("&", "&&")
                inner.addAction(
                    name, self._choose_later(AdapterSpeaker(adapters=(*current, *more)))
                )

    def _add(self, menu: QMenu, title: str, speaker: AnySpeaker) -> None:
        action = menu.addAction(title.replace("&", "&&"), self._choose_later(speaker))
        action.setCheckable(True)
        action.setChecked(speaker == self._speaker)

    def _choose_later(self, speaker: AnySpeaker) -> Callable[[], None]:
        return lambda: self.chosen.emit(speaker)

    def _pick_adapter(self) -> None:
        choose_folder(
            self.window(),
            tr("Select adapter folder"),
            lambda name: self.chosen.emit(speakers.create_adapter_speaker(name)),
        )

    def _pick_gguf(self) -> None:
        choose_file(
            self.window(),
            tr("Select GGUF file"),
            lambda name: self.chosen.emit(GgufSpeaker(file=name)),
            name_filter=tr("GGUF files (*.gguf)"),
        )
