"""Menu of other evaluations to show beside the chosen one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QMenu, QPushButton, QWidget

from lora_studio.core.evaluation.storage import EvaluationFolder
from lora_studio.gui.language import tr

_MOST = 30


class OverlayMenu(QPushButton):
    """A button with a checkable menu.

    Signals:
        changed: other evaluations were chosen.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start without evaluations."""
        super().__init__(tr("Compare with"), parent)
        self.chosen: list[EvaluationFolder] = []
        self._titles: dict[EvaluationFolder, str] = {}
        self._menu = QMenu(self)
        self._menu.aboutToShow.connect(self.fill)
        self.setMenu(self._menu)

    def show_evaluations(self, titles: dict[EvaluationFolder, str]) -> None:
        """Set the evaluations to choose from, with their titles; chosen ones stay chosen."""
        self._titles = titles
        self.chosen = [folder for folder in self.chosen if folder in titles]
        self._show_count()

    def choose(self, chosen: Sequence[EvaluationFolder]) -> None:
        """Choose evaluations."""
        self.chosen = list(chosen)
        self._show_count()
        self.changed.emit()

    def describe(self) -> str:
        """Return which number stands for which evaluation."""
        return "  ·  ".join(
            f"{number}: {self._titles[folder]}"
            for number, folder in enumerate(self.chosen, 2)
            if folder in self._titles
        )

    def fill(self) -> None:
        """Rebuild the menu."""
        self._menu.clear()
        for folder, title in list(self._titles.items())[:_MOST]:
            action = self._menu.addAction(title.replace("&", "&&"))
            action.setCheckable(True)
            action.setChecked(folder in self.chosen)
            action.triggered.connect(self._toggle_later(folder))

    def _toggle_later(self, folder: EvaluationFolder) -> Callable[[bool], None]:
        def toggle(is_on: bool) -> None:
            others = [each for each in self.chosen if each != folder]
            self.choose([*others, folder] if is_on else others)

        return toggle

    def _show_count(self) -> None:
        count = len(self.chosen)
        title = tr("Compare with")
        self.setText(f"{title} ({count})" if count else title)
        self.setEnabled(bool(self._titles))
