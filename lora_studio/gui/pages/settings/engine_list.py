"""The installed engines and the actions on them, for Settings."""

from __future__ import annotations

import contextlib
from collections import Counter

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QPushButton, QWidget

from lora_studio.client import worker
from lora_studio.core import formatting
from lora_studio.core.problems import ProblemError
from lora_studio.gui.controls.choices import ComboControl
from lora_studio.gui.controls.controls import name_control
from lora_studio.gui.language import tr
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import FlowLayout, button, column, label, row
from lora_studio.gui.widgets.tooltips import plain_tip
from lora_studio.setup import engines, folders
from lora_studio.setup.engines import Engine


class EngineActions(QWidget):
    """Shows the active engine, a list if there are several, and a button for every action.

    Signals:
        action_requested(action): "install", "repair", "update", "rollback", "move", "remove" or "show".
        chosen(name): activate another engine.
    """

    action_requested = Signal(str)
    chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Show the installed engines; `refresh` reads them again."""
        super().__init__(parent)
        self.state = label("", wrap=True)
        self.choice = ComboControl({})
        name_control(self.choice, tr("Active engine"))
        self.choice.edited.connect(lambda name: self.chosen.emit(name))
        self.install = self._make_action_button("install", tr("Set up…"))
        self.update_ = self._make_action_button("update", tr("Update…"))
        self.repair = self._make_action_button("repair", tr("Repair…"))
        self.rollback = self._make_action_button("rollback", tr("Roll back"))
        self.move_ = self._make_action_button("move", tr("Move…"))
        self.remove = self._make_action_button("remove", tr("Remove…"))
        self.busy = self._make_action_button("show", tr("Show setup progress…"))
        actions = QWidget()
        flow = FlowLayout(actions, Spacing.S)
        for part in self.buttons:
            flow.addWidget(part)
        self._chooser = QWidget()
        self._chooser.setLayout(row(label(tr("Active engine"), "muted"), self.choice, None))
        self.setLayout(column(self.state, self._chooser, actions, spacing=Spacing.S))
        self.refresh()

    @property
    def buttons(self) -> tuple[QPushButton, ...]:
        """Return every button, in the order shown."""
        return (
            self.busy, self.install, self.update_, self.repair, self.rollback, self.move_,
            self.remove,
        )  # fmt: skip

    def _make_action_button(self, name: str, text: str) -> QPushButton:
        return button(text, lambda: self.action_requested.emit(name))

    def refresh(self, *, running: bool = False) -> None:
        """Show the installed engines and the possible actions."""
        installed, current, previous = (
            engines.list_engines(),
            engines.get_current(),
            engines.get_previous(),
        )
        self.state.setText(_describe_state(current, installed))
        self.choice.set_choices(_make_distinct_titles(installed))
        if current is not None:
            self.choice.show_value(current.name)
        self._chooser.setVisible(len(installed) > 1)
        self.busy.setVisible(running)
        self.install.setVisible(not running)
        can = {
            self.update_: current is not None and not current.fits,
            self.repair: current is not None,
            self.rollback: previous is not None,
            self.move_: bool(installed),
            self.remove: bool(installed),
        }
        for part, is_possible in can.items():
            part.setVisible(is_possible and not running)
        if previous is not None:
            self.rollback.setToolTip(
                plain_tip(tr("Switch back to {name}").format(name=format_engine_title(previous)))
            )


def _describe_state(current: Engine | None, installed: list[Engine]) -> str:
    if current is not None:
        size = formatting.format_size(current.bytes)
        return tr("{name}: {size}").format(name=format_engine_title(current), size=size)
    if installed:
        return tr("No engine is active.")
    with contextlib.suppress(ProblemError):
        worker.get_engine_command()
        return tr(
            "LoRA Studio runs jobs in this Python environment. You don't need to set up an engine."
        )
    return tr("No engine is installed. Set one up in {folder}.").format(
        folder=str(folders.get_root().path)
    )


def _make_distinct_titles(installed: list[Engine]) -> dict[str, str]:
    """Return a title for each engine by name, with the creation time if titles are equal."""
    texts = {engine.name: format_engine_title(engine) for engine in installed}
    often = Counter(texts.values())
    for engine in installed:
        if often[texts[engine.name]] > 1:
            created = engine.created[:16].replace("T", " ")
            texts[engine.name] = tr("{engine} (created {date})").format(
                engine=texts[engine.name], date=created
            )
    return texts


def format_engine_title(engine: Engine) -> str:
    """Return the title of an engine: GPU vendor and versions."""
    kind = {"cpu": tr("CPU"), "cuda": "NVIDIA", "rocm": "AMD", "mps": "Apple"}
    return tr("{kind}, LoRA Studio {version}, PyTorch {torch}, Python {python}").format(
        kind=kind[engine.variant], version=engine.app_version, torch=engine.torch,
        python=engine.python_version,
    )  # fmt: skip
