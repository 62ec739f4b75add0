"""Search filters for the Hub: text, size, license, sort order."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QLineEdit, QWidget

from lora_studio.core.protocol.commands import SearchModels
from lora_studio.gui.controls.choices import ComboControl
from lora_studio.gui.controls.controls import name_control
from lora_studio.gui.language import mark, tr
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import FlowLayout, button, column, row

#: Labels of size ranges with their bounds in billions of parameters.
_SIZES: dict[str, tuple[float, float, str]] = {
    "": (0, 0, mark("Any size")),
    "1": (0, 1, mark("Up to 1 B")),
    "4": (1, 4, mark("1 to 4 B")),
    "9": (4, 9, mark("4 to 9 B")),
    "16": (9, 16, mark("9 to 16 B")),
    "more": (16, 0, mark("Over 16 B")),
}
_LICENSES = ("apache-2.0", "mit", "llama3.1", "llama3.2", "gemma", "cc-by-4.0")
_SORTS = {
    "downloads": mark("Most downloaded"),
    "likes": mark("Most liked"),
    "updated": mark("Recently updated"),
}


class HubFilters(QWidget):
    """A search field and three lists. Changing a list searches at once; typed text searches on Enter.

    Signals:
        searched(SearchModels): search with these filters.
        fitting_changed: whether to show only models that fit was toggled.
    """

    searched = Signal(object)
    fitting_changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create filters for any size and license, most downloaded first."""
        super().__init__(parent)
        self.line = QLineEdit(placeholderText=tr("Name or organization"))
        self.line.setAccessibleName(tr("Search the Hub"))
        self.go = button(tr("Search"), self.search, icon="search")
        self.size_of = ComboControl({name: tr(about[2]) for name, about in _SIZES.items()})
        self.license = ComboControl({"": tr("Any license"), **{name: name for name in _LICENSES}})
        self.sort = ComboControl({name: tr(about) for name, about in _SORTS.items()})
        self.fitting = QCheckBox(tr("Fits this device"))
        self.open = QCheckBox(tr("Hide gated models"))
        self.open.setToolTip(tr("Hide models that require you to accept their terms first"))
        for control, name, value in (
            (self.size_of, tr("Size"), ""),
            (self.license, tr("License"), ""),
            (self.sort, tr("Sort by"), "downloads"),
        ):
            name_control(control, name)
            control.show_value(value)
            control.edited.connect(lambda value, control=control: self._on_edited(control, value))
        more = QWidget()
        flow = FlowLayout(more)
        for part in (self.size_of, self.license, self.sort, self.fitting, self.open):
            flow.addWidget(part)
        policy = more.sizePolicy()
        policy.setHeightForWidth(True)
        more.setSizePolicy(policy)
        self.setLayout(column(row(self.line, self.go), more, spacing=Spacing.S))
        self._values = {self.size_of: "", self.license: "", self.sort: "downloads"}
        self.line.returnPressed.connect(self.search)
        self.open.toggled.connect(lambda _: self.search())
        self.fitting.toggled.connect(lambda _: self.fitting_changed.emit())

    def make_search(self) -> SearchModels:
        """Return the search that the filters describe."""
        low, high, _ = _SIZES[self._values[self.size_of]]
        return SearchModels.model_validate(
            {
                "text": self.line.text().strip(),
                "smallest": round(low * 1e9),
                "largest": round(high * 1e9),
                "license": self._values[self.license],
                "gated": not self.open.isChecked(),
                "sort": self._values[self.sort],
            }
        )

    def search(self) -> None:
        """Search with the current filters."""
        self.searched.emit(self.make_search())

    def _on_edited(self, control: ComboControl, value: str) -> None:
        self._values[control] = value
        control.show_value(value)
        self.search()
