"""The controls above the curves of a training run."""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QMenu, QPushButton, QSlider, QWidget

from lora_studio.core import formatting
from lora_studio.gui.language import tr
from lora_studio.gui.plots import metrics
from lora_studio.gui.plots.drawing import MOST_OTHERS
from lora_studio.gui.plots.history import Curve
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import button, label
from lora_studio.gui.widgets.tooltips import plain_tip

#: Stops of the slider: shares of all steps to average over.
SMOOTHING = (0.0, 0.005, 0.01, 0.02, 0.04, 0.08, 0.12, 0.16, 0.24)
_USUAL = 4


class SmoothingSlider(QSlider):
    """Chooses over how much of a run smoothed lines average."""

    def __init__(self) -> None:
        """Start with the usual share."""
        super().__init__(Qt.Orientation.Horizontal)
        self.setRange(0, len(SMOOTHING) - 1)
        self.setValue(_USUAL)
        self.setPageStep(2)
        self.setFixedWidth(96)
        self.setAccessibleName(tr("Smoothing"))
        self.caption = label(tr("Smoothing"), "caption")
        self.caption.setBuddy(self)
        self.valueChanged.connect(self._describe)
        self._describe()

    @property
    def share(self) -> float:
        """The share of all steps to average over; 0 turns smoothing off."""
        return SMOOTHING[self.value()]

    def get_width(self, curve: Curve) -> int:
        """Return the number of points to average over; 0 without smoothing."""
        return curve.get_window(self.share)

    def _describe(self) -> None:
        description = (
            tr("Smoothing: mean over {share} of all steps").format(
                share=formatting.format_percent(self.share)
            )
            if self.share
            else tr("Smoothing: off")
        )
        self.setToolTip(plain_tip(description))
        self.setAccessibleDescription(description)


class PlotBar(QWidget):
    """Controls for quantity, smoothing, comparison and export; the owner draws the curves.

    Signals:
        measure_chosen(name): the quantity in the strip below the main curve, "" for none.
        log_toggled(on): how curves are drawn.
        compare_opened: the menu of other runs is about to open.
        compare_chosen(keys): the checked runs, in the order of checking.
    """

    measure_chosen = Signal(str)
    log_toggled = Signal(bool)
    compare_opened = Signal()
    compare_chosen = Signal(list)

    def __init__(self, show_all: QPushButton, parent: QWidget | None = None) -> None:
        """Offer the learning rate until other quantities have been recorded."""
        super().__init__(parent)
        self.strip = QComboBox(sizeAdjustPolicy=QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.strip.setMinimumWidth(110)  # narrower than its longest name in a narrow window
        self.strip.setAccessibleName(tr("Lower chart"))
        self.strip.setToolTip(tr("Quantity in the lower chart"))
        self.smoothing = SmoothingSlider()
        self.compare = _make_menu_button(tr("Compare"))
        self.view = _make_menu_button(tr("Curves"))
        self._ticked: list[str] = []
        self._is_chosen = False
        self._shown = "learning_rate"
        self._fill_view()
        self._build_layout(show_all)
        self.offer([])
        self.strip.activated.connect(self._on_chosen)
        self._make_menu(self.compare).aboutToShow.connect(self.compare_opened)

    # --- display ------------------------------------------------------------------------------

    def get_shown_metric(self) -> str:
        """Return the quantity of the strip."""
        return str(self.strip.currentData() or "")

    def offer(self, names: Iterable[str], main: str = "loss") -> None:
        """Offer quantities for the strip below the main one; the selected one is kept.

        Until the user selects one, it is the learning rate; below the mean reward, each of several rewards,
        or the share of answers that were cut.
        """
        recorded = [name for name in names if name != main]
        rewards = metrics.list_rewards(recorded)
        several = [metrics.EACH_REWARD] if len(rewards) > 1 else []
        offered = metrics.sort_names({"learning_rate", *recorded, *several})
        offered.append("")
        if offered == [self.strip.itemData(n) for n in range(self.strip.count())]:
            return
        usual = (
            "learning_rate" if main == "loss" else metrics.EACH_REWARD if several else "cut_share"
        )
        chosen = self.get_shown_metric() if self._is_chosen else usual
        self.strip.clear()
        only = tr("Loss only") if main == "loss" else tr("Mean reward only")
        for name in offered:
            self.strip.addItem(tr(metrics.get_metric(name).title) if name else only, name)
        self.strip.setCurrentIndex(max(0, self.strip.findData(chosen)))
        if self.get_shown_metric() != self._shown:
            self._shown = self.get_shown_metric()
            self.measure_chosen.emit(self._shown)

    def _on_chosen(self, _: int) -> None:
        self._is_chosen, self._shown = True, self.get_shown_metric()
        self.measure_chosen.emit(self._shown)

    # --- other runs ---------------------------------------------------------------------------

    def set_runs(self, runs: list[tuple[str, str]]) -> None:
        """Offer runs for comparison: a key and a title each."""
        menu = self._make_menu(self.compare)
        menu.clear()
        self._ticked = [key for key in self._ticked if key in dict(runs)]
        if not runs:
            menu.addAction(tr("Earlier runs of the project appear here.")).setEnabled(False)
        for key, name in runs:
            action = menu.addAction(name)
            action.setCheckable(True)
            action.setChecked(key in self._ticked)
            action.setData(key)
            action.setEnabled(key in self._ticked or len(self._ticked) < MOST_OTHERS)
            action.triggered.connect(lambda on, key=key: self._tick(key, on))
        if self._ticked:
            menu.addSeparator()
            menu.addAction(tr("None")).triggered.connect(self.untick)

    def list_checked(self) -> list[str]:
        """Return the keys of the checked runs."""
        return list(self._ticked)

    def untick(self) -> None:
        """Uncheck all runs."""
        if self._ticked:
            self._ticked = []
            self.compare_chosen.emit([])

    def drop(self, key: str) -> None:
        """Uncheck a run without curves."""
        if key in self._ticked:
            self._tick(key, False)

    def _tick(self, key: str, on: bool) -> None:
        self._ticked = [ticked for ticked in self._ticked if ticked != key] + [key] * on
        self.compare_chosen.emit(self.list_checked())

    # --- building -----------------------------------------------------------------------------

    def _fill_view(self) -> None:
        menu = self._make_menu(self.view)
        # WORKAROUND: PySide can lose the Python wrappers of actions that Qt creates, as in
        # `QMenu.addAction(text)` ("already deleted", after long use), but not of those created here.
        self.log = QAction(tr("Logarithmic"), self)
        self.log.setCheckable(True)
        self.log.toggled.connect(self.log_toggled)
        self.save_picture = _make_shortcut(QAction(tr("Save picture…"), self), "Ctrl+E")
        self.save_values = _make_shortcut(QAction(tr("Save values…"), self), "Ctrl+Shift+E")
        menu.addAction(self.log)
        menu.addSeparator()
        menu.addActions([self.save_picture, self.save_values])
        self.addActions([self.save_picture, self.save_values])

    def _build_layout(self, show_all: QPushButton) -> None:
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(Spacing.M)
        layout.addWidget(self.strip)
        layout.addWidget(show_all)
        layout.addStretch(1)
        layout.addWidget(self.smoothing.caption)
        layout.addWidget(self.smoothing)
        layout.addWidget(self.compare)
        layout.addWidget(self.view)

    @staticmethod
    def _make_menu(opener: QPushButton) -> QMenu:
        menu = opener.menu()
        assert isinstance(menu, QMenu)
        return menu


def _make_menu_button(text: str) -> QPushButton:
    menu_button = button(text)
    menu_button.setMenu(QMenu(menu_button))
    return menu_button


def _make_shortcut(action: QAction, keys: str) -> QAction:
    action.setShortcut(QKeySequence(keys))
    action.setShortcutContext(Qt.ShortcutContext.WindowShortcut)
    return action
