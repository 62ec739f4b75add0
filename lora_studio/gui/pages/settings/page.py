"""Settings: appearance, accounts, network, engine, folders."""

from __future__ import annotations

import platform
import shlex

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QGridLayout, QWidget

from lora_studio import __version__
from lora_studio.client import worker
from lora_studio.core import formatting
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.gui.controls.choices import ComboControl, SegmentsControl
from lora_studio.gui.controls.controls import name_control
from lora_studio.gui.language import LANGUAGES, mark, tr
from lora_studio.gui.message_translation import localize, localize_problem
from lora_studio.gui.pages.page import AppPage
from lora_studio.gui.pages.settings.engine_list import EngineActions
from lora_studio.gui.pages.settings.folders_card import FoldersCard
from lora_studio.gui.pages.settings.network_card import NetworkCard
from lora_studio.gui.pages.settings.services_card import ServicesCard
from lora_studio.gui.pages.settings.trusted_code_card import TrustedCodeCard
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.text_size import SIZES, Size
from lora_studio.gui.theme import Spacing, get_theme
from lora_studio.gui.widgets.basics import Card, button, column, label, row
from lora_studio.gui.widgets.columns import ResponsiveColumns
from lora_studio.gui.widgets.fact_list import align_at_top

#: Maximum width of both columns together, in pixels; longer lines are hard to read.
_WIDTH = 1520


class SettingsPage(AppPage):
    """Appearance, accounts, network, engine and folders.

    Signals:
        theme_chosen(mode): "light", "dark" or "system".
        text_size_chosen(percent): 100, 125 or 150.
        offline_chosen(on): turn offline mode on or off.
        language_chosen(code): a key of `gui.language.LANGUAGES`, or "system".
        reload_requested: rebuild the window in the chosen language.
    """

    name = "settings"
    title = mark("Settings")

    theme_chosen = Signal(str)
    text_size_chosen = Signal(int)
    language_chosen = Signal(str)
    reload_requested = Signal()
    offline_chosen = Signal(bool)

    def __init__(
        self,
        state: ProjectState,
        preferences: Preferences | None = None,
        parent: QWidget | None = None,
    ) -> None:
        """Create the page; it shows devices when the inspector has found them."""
        super().__init__(parent)
        self._state = state
        stored = preferences or Preferences()
        look = self._make_appearance_card(stored)
        self.engine_card = Card(tr("Engine"))
        self._facts = QGridLayout()
        self._facts.setHorizontalSpacing(Spacing.L)
        self._facts.setVerticalSpacing(Spacing.S)
        self._facts.setColumnStretch(1, 1)
        self.engine = EngineActions()
        self.engine_card.add(self._facts, self.engine)
        self.trusted_code = TrustedCodeCard()
        self.trusted_code.failed.connect(state.messages.error)
        self.network = NetworkCard()
        self.network.offline_chosen.connect(self.offline_chosen)
        self.network.failed.connect(state.messages.error)
        self.services = ServicesCard(stored)
        self.services.account.ask.connect(self.ask)
        self.services.account.failed.connect(state.messages.problem)
        self.services.ollama_host_changed.connect(self._on_ollama_host_changed)
        self.folders = FoldersCard(stored, lambda: bool(state.running))
        self.folders.failed.connect(state.messages.problem)
        self._build_layout(look)
        state.facts_changed.connect(self._on_facts_changed)
        self._fill_engine()

    def _build_layout(self, look: Card) -> None:
        inner = ResponsiveColumns(
            column(look, self.services, self.network, None, spacing=Spacing.L),
            column(self.engine_card, self.folders, self.trusted_code, None, spacing=Spacing.L),
        )
        inner.setMaximumWidth(Size.scaled(_WIDTH))
        centered_row = row(inner, None, spacing=0)
        centered_row.setStretch(0, 1)
        centered_row.setStretch(1, 0)  # takes no space until the columns have their maximum width
        self.body.addLayout(centered_row)
        self.body.addStretch(1)

    def on_shown(self) -> None:
        """Request the devices unless they are known; list what may have changed."""
        self.services.refresh()
        self.folders.refresh()
        self.trusted_code.refresh()
        self.network.set_ollama_host(self._state.get_ollama_host())
        self.network.refresh()
        if self._state.facts.devices is None:
            self.ask.emit(commands.InspectDevices())

    def leave(self) -> None:
        """End the background work: the window is closing."""
        self.folders.leave()

    def on_event(self, event: object) -> None:
        """Show the answers about the account."""
        self.services.account.on_event(event)

    def _on_ollama_host_changed(self) -> None:
        self._state.forget("ollama")
        self.network.set_ollama_host(self._state.get_ollama_host())

    def refresh_engine(self, *, running: bool) -> None:
        """Show the engine again after a change or while a setup is running."""
        self.engine.refresh(running=running)
        self._fill_engine()

    def _make_appearance_card(self, preferences: Preferences) -> Card:
        self.look = SegmentsControl(
            {"system": tr("System"), "light": tr("Light"), "dark": tr("Dark")}
        )
        self.text_size = SegmentsControl({str(size): f"{size} %" for size in SIZES})
        self.language = ComboControl({"system": mark("System"), **LANGUAGES})
        self.note = label("", "caption", wrap=True)
        self.at_once = button(tr("Switch now"), self.reload_requested.emit, kind="link")
        self.note.hide()
        self.at_once.hide()
        card = Card(tr("Appearance"))
        grid = QGridLayout()
        grid.setHorizontalSpacing(Spacing.L)
        grid.setVerticalSpacing(Spacing.S)
        grid.setColumnStretch(1, 1)
        for row_, (name, control, value) in enumerate(
            (
                (tr("Theme"), self.look, get_theme().mode),
                (tr("Text size"), self.text_size, str(Size.percent)),
                (tr("Language"), self.language, preferences.language),
            )
        ):
            title = label(name, "muted")
            title.setBuddy(control)
            name_control(control, name)
            control.show_value(value)
            grid.addWidget(title, row_, 0)
            grid.addWidget(control, row_, 1)
        self.look.edited.connect(lambda mode: self.theme_chosen.emit(mode))
        self.text_size.edited.connect(lambda size: self.text_size_chosen.emit(int(size)))
        self.language.edited.connect(self._on_language_edited)
        card.add(grid, self.note, row(self.at_once, None))
        return card

    def show_offline(self) -> None:
        """Show whether offline mode is on, also if the environment sets it."""
        self.network.show_offline()

    def _on_language_edited(self, code: str) -> None:
        self.note.setText(tr("The language changes the next time you start LoRA Studio."))
        self.note.show()
        self.at_once.show()
        self.language_chosen.emit(code)

    def _on_facts_changed(self, name: str) -> None:
        if name == "devices":
            self._fill_engine()

    def _fill_engine(self) -> None:
        while (item := self._facts.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.deleteLater()
        for index, (name, value, role) in enumerate(self._list_engine_facts()):
            title = label(name, "muted")
            words_of = label(value, "error" if role == "error" else "body", wrap=True)
            for part in (title, words_of):
                align_at_top(part)
            self._facts.addWidget(title, index, 0, Qt.AlignmentFlag.AlignTop)
            self._facts.addWidget(words_of, index, 1)

    def _list_engine_facts(self) -> list[tuple[str, str, str]]:
        rows = [
            (
                tr("Version"),
                tr("LoRA Studio {version}, Python {python_version}").format(
                    version=__version__, python_version=platform.python_version()
                ),
                "",
            )
        ]
        try:
            rows.append((tr("Engine"), shlex.join(worker.get_engine_command()), ""))
        except ProblemError as error:
            rows.append((tr("Engine"), localize_problem(error.problems[0]), "error"))
        devices = self._state.facts.devices
        for device in devices.devices if devices else ():
            rows.append((tr("Device"), _describe_device(device), ""))
        return rows


def _describe_device(device: events.Device) -> str:
    memory = formatting.format_memory(device.total_bytes)
    title = localize(device.title)
    return tr("{device}, {memory}, {free_bytes} free").format(
        device=title if device.name == "cpu" else f"{title} ({device.name})",
        memory=memory,
        free_bytes=formatting.format_memory(device.free_bytes),
    )
