"""One setting of a search and the values to try."""

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
from lora_studio.gui.controls.quantities import parse, shown
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import tell_facts
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import FlowLayout, label

#: Values that are offered at first, by setting.
_USUAL: dict[str, str] = {
    "lora.rank": "8 16 32", "training.learning_rate": "5e-5 1e-4 2e-4", "training.epochs": "1 2 3",
    "lora.dropout": "0 0.05 0.1", "lora.alpha": "16 32 64",
}  # fmt: skip


def numbers_in(text: str, about: FieldFacts) -> list[Any]:
    """The numbers of a list, each as its field takes it: `8 16 32`, `1e-4, 2e-4`, `0,05; 0,1`, `1k, 2k`.

    What is no number stays as it was typed. A comma parts numbers, unless blanks or semicolons do.
    """
    if about.unit:
        text = re.sub(rf"(?i)\b{re.escape(about.unit)}\b", " ", text)
    text = re.sub(r"(?<=\d)\s+(?=%)", "", text)
    parts = re.split(r"[;\s]+", text.strip(" ;,"))
    if len(parts) == 1:
        parts = parts[0].split(",")
    return [parse(part.strip(","), about) for part in parts if part.strip(",")]


class AxisEditor(QWidget):
    """A setting to choose by name; numbers are typed as a list, choices are ticked.

    Signals:
        changed: another setting, or other values.
    """

    changed = Signal()

    def __init__(
        self, name: str, chosen: str, *, optional: bool = False, parent: QWidget | None = None
    ) -> None:
        """`chosen` is the setting at first; `optional` offers none as well."""
        super().__init__(parent)
        self._abouts = {
            setting: tell_facts(SPECS[copies.split(setting)[0]], about.name)
            for setting, about in grid_search.searchable().items()
        }
        self.setting, self.numbers, self.choices = QComboBox(), LineEdit(), QWidget()
        self._flow = FlowLayout(self.choices, Spacing.M)
        self._boxes: list[tuple[QCheckBox, Any]] = []
        self.error = label(role="error", wrap=True)
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
        self.numbers.setAccessibleName(tr("Values of {setting}").format(setting=name))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.XS)
        caption = label(name, "label")
        caption.setBuddy(self.setting)
        for part in (caption, self.setting, self.numbers, self.choices, self.error):
            layout.addWidget(part)
        self.setting.setCurrentIndex(max(0, self.setting.findData(chosen)))
        self.setting.currentIndexChanged.connect(lambda _: self._offer())
        line = self.setting.lineEdit()
        assert line is not None
        line.editingFinished.connect(self._settle)
        self.numbers.textChanged.connect(lambda _: self.changed.emit())
        self._offer()

    @property
    def name(self) -> str:
        """The chosen setting, "" for none."""
        return str(self.setting.currentData() or "")

    def about(self) -> FieldFacts | None:
        """What is known of it."""
        return self._abouts.get(self.name)

    def wanted(self) -> list[Any]:
        """The values to try."""
        about = self.about()
        if about is None:
            return []
        if self._boxes:
            return [value for box, value in self._boxes if box.isChecked()]
        return list(dict.fromkeys(numbers_in(self.numbers.text(), about)))

    def fit(self, width: int) -> None:
        """Takes the height that its choices and words need at a width, in pixels."""
        for part in (self.choices, self.error):
            if not part.isHidden():
                part.setMinimumHeight(part.heightForWidth(width))
        layout = self.layout()
        assert layout is not None
        layout.activate()

    def choose(self, setting: str) -> None:
        """Chooses a setting."""
        self.setting.setCurrentIndex(self.setting.findData(setting))

    def show_error(self, text: str) -> None:
        """What is wrong with the values."""
        self.error.setText(text)
        self.error.setVisible(bool(text))

    def _settle(self) -> None:
        """Typed words that are the name of no setting go back to the chosen one."""
        found = self.setting.findText(self.setting.currentText(), Qt.MatchFlag.MatchFixedString)
        self.setting.setCurrentIndex(found if found >= 0 else self.setting.currentIndex())
        self.setting.setEditText(self.setting.itemText(self.setting.currentIndex()))

    def _offer(self) -> None:
        about = self.about()
        for box, _ in self._boxes:
            self._flow.removeWidget(box)
            box.deleteLater()
        self._boxes = []
        if about is not None and about.kind in ("choice", "flag"):
            choices = about.choices or {}
            offered = (
                [(words, value) for value, words in choices.items()]
                if about.kind == "choice"
                else [(tr("no"), False), (tr("yes"), True)]
            )
            for words, value in offered:
                box = QCheckBox(words)
                box.toggled.connect(lambda _: self.changed.emit())
                self._flow.addWidget(box)
                box.show()
                self._boxes.append((box, value))
        self.choices.setVisible(bool(self._boxes))
        self.numbers.setVisible(about is not None and not self._boxes)
        if about is not None and not self._boxes:
            usual = _USUAL.get(self.name) or shown(about.default, about)
            self.numbers.setText(usual)
            unit = tr(" in {unit}").format(unit=tr(about.unit)) if about.unit else ""
            self.numbers.setToolTip(tr("Values{unit}, separated by blanks").format(unit=unit))
        self.show_error("")
        self.changed.emit()
