"""Editor for one setting of a grid search and the values to try."""

from __future__ import annotations

import re
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QCompleter,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core.project.project import SPECS
from lora_studio.core.runs import copies, grid_search
from lora_studio.core.spec import FieldFacts
from lora_studio.gui.controls.controls import LineEdit
from lora_studio.gui.controls.quantities import format_value, parse
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize_facts
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import FlowLayout, label
from lora_studio.gui.widgets.tooltips import plain_tip

#: Suggested values by setting.
_SUGGESTED: dict[str, str] = {
    "lora.rank": "8 16 32", "training.learning_rate": "5e-5 1e-4 2e-4", "training.epochs": "1 2 3",
    "lora.dropout": "0 0.05 0.1", "lora.alpha": "16 32 64",
}  # fmt: skip


def parse_numbers(text: str, about: FieldFacts) -> list[Any]:
    """Return the numbers of a list in any notation: `8 16 32`, `1e-4, 2e-4`, `0,05; 0,1`, `1k, 2k`.

    Text that isn't a number is returned as typed. A comma separates numbers unless there are spaces
    or
    semicolons.
    """
    if about.unit:
        text = re.sub(rf"(?i)\b{re.escape(about.unit)}\b", " ", text)
    text = re.sub(r"(?<=\d)\s+(?=%)", "", text)
    parts = re.split(r"[;\s]+", text.strip(" ;,"))
    if len(parts) == 1:
        parts = parts[0].split(",")
    return [parse(part.strip(","), about) for part in parts if part.strip(",")]


class AxisEditor(QWidget):
    """Selects a setting by name; numbers are typed as a list, choices are checked.

    Signals:
        changed: the setting or its values changed.
    """

    changed = Signal()

    def __init__(
        self, name: str, chosen: str, *, optional: bool = False, parent: QWidget | None = None
    ) -> None:
        """Preselect the setting `chosen`; if `optional`, "None" can be selected too."""
        super().__init__(parent)
        self._abouts = {
            setting: localize_facts(SPECS[copies.split_setting(setting)[0]], about.name)
            for setting, about in grid_search.list_searchable_settings().items()
        }
        self.setting, self.numbers, self.choices = QComboBox(), LineEdit(), QWidget()
        self._flow = FlowLayout(self.choices, Spacing.M)
        self.boxes: list[tuple[QCheckBox, Any]] = []
        self.error = label(role="error", wrap=True)
        self._fill_setting(name, optional=optional)
        self.numbers.setAccessibleName(tr("Values of {setting}").format(setting=name))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.XS)
        caption = label(name, "label")
        caption.setBuddy(self.setting)
        for part in (caption, self.setting, self.numbers, self.choices, self.error):
            layout.addWidget(part)
        self.setting.setCurrentIndex(max(0, self.setting.findData(chosen)))
        self.setting.currentIndexChanged.connect(lambda _: self._show_values())
        line = self.setting.lineEdit()
        assert line is not None
        line.editingFinished.connect(self._restore_setting)
        self.numbers.textChanged.connect(lambda _: self.changed.emit())
        self._show_values()

    def _fill_setting(self, name: str, *, optional: bool) -> None:
        """List all settings that can be searched; typing filters the list."""
        self.setting.setAccessibleName(name)
        self.setting.setEditable(True)
        self.setting.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        if optional:
            self.setting.addItem(tr("None"), "")
        for setting, about in self._abouts.items():
            self.setting.addItem(about.title, setting)
            self.setting.setItemData(
                self.setting.count() - 1, f"{setting}\n{about.description}",
                Qt.ItemDataRole.ToolTipRole,
            )  # fmt: skip
        completer = self.setting.completer()
        assert completer is not None  # an editable list has one
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        completer.setCompletionMode(QCompleter.CompletionMode.PopupCompletion)

    @property
    def name(self) -> str:
        """The selected setting, "" for none."""
        return str(self.setting.currentData() or "")

    def get_facts(self) -> FieldFacts | None:
        """Return the facts of the selected setting, None for none."""
        return self._abouts.get(self.name)

    def parse_values(self) -> list[Any]:
        """Return the values to try."""
        about = self.get_facts()
        if about is None:
            return []
        if self.boxes:
            return [value for box, value in self.boxes if box.isChecked()]
        return list(dict.fromkeys(parse_numbers(self.numbers.text(), about)))

    def fit(self, width: int) -> None:
        """Set the height that choices and error need at a width, in pixels."""
        for part in (self.choices, self.error):
            if not part.isHidden():
                part.setMinimumHeight(part.heightForWidth(width))
        layout = self.layout()
        assert layout is not None
        layout.activate()

    def choose(self, setting: str) -> None:
        """Select a setting."""
        self.setting.setCurrentIndex(self.setting.findData(setting))

    def show_error(self, text: str) -> None:
        """Show an error below the values, "" for none."""
        self.error.setText(text)
        self.error.setVisible(bool(text))

    def _restore_setting(self) -> None:
        """Restore the selected setting if the typed text isn't the name of one."""
        index = self.setting.findText(self.setting.currentText(), Qt.MatchFlag.MatchFixedString)
        self.setting.setCurrentIndex(index if index >= 0 else self.setting.currentIndex())
        self.setting.setEditText(self.setting.itemText(self.setting.currentIndex()))

    def _show_values(self) -> None:
        about = self.get_facts()
        for box, _ in self.boxes:
            self._flow.removeWidget(box)
            box.deleteLater()
        self.boxes = []
        if about is not None and about.kind in ("choice", "flag"):
            choices = about.choices or {}
            options = (
                [(title, value) for value, title in choices.items()]
                if about.kind == "choice"
                else [(tr("no"), False), (tr("yes"), True)]
            )
            for title, value in options:
                box = QCheckBox(title)
                box.toggled.connect(lambda _: self.changed.emit())
                self._flow.addWidget(box)
                box.show()
                self.boxes.append((box, value))
        self.choices.setVisible(bool(self.boxes))
        self.numbers.setVisible(about is not None and not self.boxes)
        if about is not None and not self.boxes:
            self.numbers.setText(_SUGGESTED.get(self.name) or format_value(about.default, about))
            self.numbers.setToolTip(
                plain_tip(
                    tr("Values in {unit}, separated by spaces").format(unit=tr(about.unit))
                    if about.unit
                    else tr("Values, separated by spaces")
                )
            )
        self.show_error("")
        self.changed.emit()
