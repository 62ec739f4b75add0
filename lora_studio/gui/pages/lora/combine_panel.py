"""Panel that combines several adapters into one: weights, method, name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QLineEdit, QSpinBox, QVBoxLayout, QWidget

from lora_studio.core import chat
from lora_studio.core.chat import AdapterSpeaker
from lora_studio.core.lora.adapters import METHODS, AdapterFacts, Method, WeightedAdapter
from lora_studio.core.protocol import commands
from lora_studio.gui.controls.weight_editor import DecimalEditor
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.pages.lora.blend_panel import BlendPanel
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, label, row
from lora_studio.gui.widgets.progress_line import ProgressLine

_TITLES: dict[Method, str] = {
    "cat": mark("Concatenation"),
    "svd": mark("SVD"),
    "linear": mark("Linear"),
    "ties": mark("TIES"),
    "dare_linear": mark("DARE (linear)"),
    "dare_ties": mark("DARE (TIES)"),
    "magnitude_prune": mark("Magnitude pruning"),
}
_SPARSE = ("ties", "dare_linear", "dare_ties", "magnitude_prune")


class CombinePanel(QWidget):
    """Weights, method and name of a combination.

    Signals:
        combine_requested(command): combine the adapters.
        cancel_requested: cancel the running combination.
    """

    combine_requested = Signal(object)
    cancel_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create the panel without adapters; `folder` is where new adapters are saved."""
        super().__init__(parent)
        self.folder = Path()
        self._adapters: tuple[WeightedAdapter, ...] = ()
        self._ranks: set[int] = set()
        self.hint = label("", "muted", wrap=True)
        self.blend = BlendPanel()
        self.blend.changed.connect(self._on_weights_changed)
        self.method = QComboBox()
        self.method.setAccessibleName(tr("Combination method"))
        for key, title in _TITLES.items():
            self.method.addItem(tr(title), key)
        self.description = label("", "caption", wrap=True)
        self.rank = QSpinBox(minimum=1, maximum=4096, value=16)
        self.rank.setAccessibleName(tr("Rank of the result"))
        self.density = DecimalEditor(minimum=0.05, maximum=1.0, singleStep=0.05, value=0.5)
        self.density.setAccessibleName(tr("Density: fraction of values to keep"))
        for number in (self.rank, self.density):
            set_scaled_sizes(number, width=72)
            number.lineEdit().setTextMargins(Spacing.S, 0, Spacing.XS, 0)
        self._rank_name, self._density_name = label(tr("Rank")), label(tr("Density"))
        self.name = QLineEdit()
        self.name.setAccessibleName(tr("Name of the new adapter"))
        self.make = button(tr("Combine"), self._make, icon="merge")
        self.cancel = button(tr("Cancel"), self.cancel_requested.emit, icon="stop")
        self.progress = ProgressLine()
        self.error = label("", "error", wrap=True)
        self._build_layout()
        self.method.currentIndexChanged.connect(self._refresh)
        self.name.textChanged.connect(self._refresh)
        self.set_running(False)
        self.choose(())

    def _build_layout(self) -> None:
        numbers = (self._rank_name, self.rank, self._density_name, self.density)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.S)
        layout.addWidget(self.hint)
        layout.addWidget(self.blend)
        layout.addLayout(row(self.method, *numbers, None))
        layout.addWidget(self.description)
        layout.addLayout(row(label(tr("Name")), self.name, self.make, self.cancel))
        layout.addWidget(self.progress)
        layout.addWidget(self.error)

    def choose(self, adapters: Sequence[AdapterFacts]) -> None:
        """Set the adapters to combine; weights already entered are kept."""
        weights = {each.folder: each.weight for each in self._adapters}
        self._adapters = tuple(
            WeightedAdapter(folder=each.folder, weight=weights.get(each.folder, 1.0))
            for each in adapters
        )
        self._ranks = {rank for each in adapters for rank in each.ranks}
        self.blend.show_adapters(self._adapters)
        if len(self._adapters) > 1:
            titles = [
                localize(chat.format_speaker_name(AdapterSpeaker(adapters=(_to_weighted(each),))))
                for each in self._adapters
            ]
            self.name.setText(re.sub(r"[^\w+.-]+", "-", "+".join(titles))[:80])
            self.rank.setValue(max(self._ranks, default=16))
        self._refresh()

    def set_running(self, running: bool, share: float | None = None) -> None:
        """Show or hide the progress of a combination; `share` is 0 to 1."""
        self._running = running
        self.progress.setVisible(running)
        self.cancel.setVisible(running)
        self.make.setVisible(not running)
        if running:
            self.progress.show_progress(tr("Combining adapters"), share)

    def show_error(self, text: str) -> None:
        """Show why the combination isn't possible."""
        self.error.setText(text)
        self.error.setVisible(bool(text))

    def _refresh(self) -> None:
        several, method = len(self._adapters) > 1, self.method.currentData()
        self.hint.setText(
            ""
            if several
            else tr("Select two or more adapters in the list to combine them into one.")
        )
        self.hint.setVisible(not several)
        for part in (self.blend, self.method, self.description, self.name):
            part.setEnabled(several)
        self.description.setText(tr(METHODS[method]))
        for number in (self.rank, self._rank_name):
            number.setVisible(method == "svd")
        for share in (self.density, self._density_name):
            share.setVisible(method in _SPARSE)
        error = self._find_error(method) if several else ""
        self.show_error(error)
        self.make.setEnabled(several and not error)

    def _find_error(self, method: str) -> str:
        if not self.name.text().strip():
            return tr("Enter a name for the new adapter.")
        if self._get_target().exists():
            return tr("An adapter with this name already exists.")
        if len(self._ranks) > 1 and method not in ("cat", "svd"):
            return tr("The adapters have different ranks. Choose Concatenation or SVD.")
        return ""

    def _get_target(self) -> Path:
        return self.folder / self.name.text().strip()

    def _on_weights_changed(self, adapters: tuple[WeightedAdapter, ...]) -> None:
        if len(adapters) == len(self._adapters):
            self._adapters = adapters

    def _make(self) -> None:
        method = self.method.currentData()
        self.combine_requested.emit(
            commands.CombineAdapters(
                adapters=self._adapters,
                method=method,
                out=str(self._get_target()),
                rank=self.rank.value() if method == "svd" else None,
                density=self.density.value(),
            )
        )


def _to_weighted(adapter: WeightedAdapter) -> WeightedAdapter:
    return adapter.model_copy(update={"weight": 1.0})
