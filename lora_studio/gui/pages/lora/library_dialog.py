"""The dialog of the adapter library: list, inspect and combine adapters."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from PySide6.QtCore import QEvent, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QHelpEvent, QKeyEvent, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QSizePolicy,
    QSpinBox,
    QTableWidget,
    QTableWidgetItem,
    QToolTip,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core import chat, formatting
from lora_studio.core.chat import AdapterChatModel
from lora_studio.core.formatting import format_float
from lora_studio.core.lora.adapters import (
    METHODS,
    AdapterFacts,
    AdapterFit,
    LayerFacts,
    Method,
    WeightedAdapter,
)
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import chat_models
from lora_studio.gui.controls.adapter_weights import BlendPanel, DecimalEditor
from lora_studio.gui.jobs.worker_on_demand import OnDemandWorker
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.message_translation import localize, localize_problem
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.text_size import Size, set_scaled_sizes
from lora_studio.gui.theme import Spacing, body_font, color, get_theme
from lora_studio.gui.widgets import tables
from lora_studio.gui.widgets.basics import (
    Card,
    FlowLayout,
    FocusFrame,
    button,
    label,
    make_scroll_area,
    row,
)
from lora_studio.gui.widgets.dialog import Dialog
from lora_studio.gui.widgets.external_open import open_path
from lora_studio.gui.widgets.fact_list import FactList
from lora_studio.gui.widgets.file_dialogs import choose_folder
from lora_studio.gui.widgets.glyph import StatusLabel
from lora_studio.gui.widgets.progress_line import ProgressLine
from lora_studio.gui.widgets.tooltips import plain_tip

_NAME, _FITS, _KIND, _RANK, _BASE, _SIZE = range(6)
#: Width in pixels that the list needs for all its columns.
_ROOM_FOR_ALL = 480


#: What an adapter is for, if it can't chat.
_USES = {
    "embedding": mark("Embeddings: can be merged and exported, but can't chat"),
    "classification": mark("Scores or labels of texts: can't chat"),
}


class AdapterLibraryDialog(Dialog):
    """Lists adapters on the left and shows the selected one with its actions on the right.

    Signals:
        adapters_listed, chat_requested, training_requested, merge_requested: see `AdapterLibrary`.
    """

    adapters_listed = Signal(object)
    chat_requested = Signal(str)
    training_requested = Signal(str)
    merge_requested = Signal(str)

    def __init__(
        self, state: ProjectState, preferences: Preferences, link: OnDemandWorker, parent: QWidget
    ) -> None:
        """Create the dialog and list the adapters of projects and added folders."""
        super().__init__(tr("Adapter library"), "", parent)
        self._state, self._preferences, self.link = state, preferences, link
        self.adapters: tuple[AdapterFacts, ...] = ()
        self._shown_query = self._combining = ""
        self._choose_next = ""
        self._build_list()
        self._build_detail()
        self.combine = CombinePanel()
        self.combine.folder = (state.draft.folder or Path.home()) / "adapters"
        self._build_layout()
        link.event_received.connect(self._on_event)
        self.combine.combine_requested.connect(self._start_combining)
        self.combine.cancel_requested.connect(lambda: link.cancel(self._combining))
        self.list_adapters()

    # --- building -----------------------------------------------------------------------------

    def _build_list(self) -> None:
        self.table = _List(0, 6)
        self.table.setAccessibleName(tr("Adapters"))
        heads = (tr("Adapter"), tr("Fits"), tr("Type"), tr("Rank"), tr("Base model"), tr("Size"))
        self.table.setHorizontalHeaderLabels(heads)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        tables.set_up_table(self.table)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        for column in (_NAME, _BASE):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)
        self.table.currentCellChanged.connect(self._on_chosen)
        self.table.itemChanged.connect(self._on_ticked)
        self.status = StatusLabel()
        self.add = button(tr("Add folder…"), self.pick, icon="plus")
        self.refresh = button(tr("Refresh"), self.list_adapters, icon="refresh")

    def _build_detail(self) -> None:
        self.name = label("", "section", wrap=True)
        self.fit = StatusLabel()
        self.facts = FactList()
        self.norms = NormBars()
        self.strength = label("", "caption", wrap=True)
        self.chat = button(tr("Chat"), self._open_chat, icon="playground")
        self.start = button(tr("Continue training"), self._start, icon="train")
        self.merge = button(tr("Merge"), self._merge, icon="merge")
        self.merge.setToolTip(tr("Start a run that merges this adapter into the project's model"))
        self.show_folder = button(tr("Show folder"), self._show_folder, icon="folder")

    def _build_layout(self) -> None:
        room = self.screen().availableSize()
        self.resize(QSize(Size.scaled(1120), Size.scaled(680)).boundedTo(room))
        left = QVBoxLayout()
        left.setSpacing(Spacing.S)
        left.addWidget(self.table, 1)
        left.addWidget(self.status)
        left.addLayout(row(self.add, self.refresh, None))
        combining = Card(tr("Combine"))
        combining.add(self.combine)
        left.addWidget(combining)
        detail = Card()
        detail.add(self.name, self.fit, self.facts, self.norms, self.strength)
        ways = FlowLayout()
        for way in (self.chat, self.start, self.merge, self.show_folder):
            ways.addWidget(way)
        detail.add(ways)
        inner = QWidget()
        right = QVBoxLayout(inner)
        right.setContentsMargins(0, 0, Spacing.S, 0)
        right.addWidget(detail)
        right.addStretch(1)
        area = make_scroll_area(inner, tr("Adapter details"))
        area.setMinimumSize(Size.scaled(400), 300)
        sides = QHBoxLayout()
        sides.setSpacing(Spacing.L)
        sides.addLayout(left, 4)
        sides.addWidget(area, 3)
        self.body.addLayout(sides, 1)
        self.add_button(button(tr("Close"), self.accept, kind="primary"), default=True)
        self._show(None)

    # --- listing ------------------------------------------------------------------------------

    def list_adapters(self) -> None:
        """List the adapters again."""
        projects = [file.parent for file in self._preferences.list_recent_projects()]
        if self._state.draft.folder is not None:
            projects = [self._state.draft.folder, *projects]
        folders = [str(each / part) for each in projects for part in ("runs", "adapters")]
        folders += self._preferences.adapter_folders
        self.status.set_status(tr("Searching for adapters…"))
        unique_folders = tuple(dict.fromkeys(folders))
        self.link.send(commands.ListAdapters(folders=unique_folders, model=self._get_model()))

    def pick(self) -> None:
        """Ask for another folder to list."""
        choose_folder(self, tr("Choose a folder with adapters"), self.add_folder)

    def add_folder(self, folder: str) -> None:
        """Add a folder to the adapter folders and list it."""
        if folder not in self._preferences.adapter_folders:
            self._preferences.adapter_folders.append(folder)
            self._preferences.save()
        self.list_adapters()

    def get_selected(self) -> AdapterFacts | None:
        """Return the adapter whose details are shown."""
        row_ = self.table.currentRow()
        return self.adapters[row_] if 0 <= row_ < len(self.adapters) else None

    def _on_event(self, event: events.Event) -> None:
        match event:
            case events.Progress(unit="layers") if event.id == self._combining:
                self.combine.set_running(True, event.done / (event.total or 1))
            case events.AdaptersFound():
                self._fill(event.adapters, event.fits)
            case events.AdapterShown() if event.id == self._shown_query:
                self._show_layers(event)
            case events.AdapterCombined():
                self._choose_next = event.folder
            case events.Failed() if event.id == self._shown_query:
                self.fit.set_status(localize_problem(event.problem), "error")
                self.fit.show()
            case events.Done() | events.Failed() | events.Cancelled() if (
                event.id == self._combining
            ):
                self._on_combined(event)
            case events.Failed():
                self.status.set_status(localize_problem(event.problem), "error")

    def _get_model(self) -> ModelSpec | None:
        """Return the project's model if it is complete on this computer; nothing is downloaded
        here.
        """
        spec, model = self._state.get_spec("model"), self._state.facts.model
        if not isinstance(spec, ModelSpec) or not spec.source:
            return None
        is_complete = model is not None and model.source == spec.source and not model.missing_bytes
        return spec if is_complete or spec.kind == "folder" else None

    def _fill(self, adapters: Sequence[AdapterFacts], fits: Mapping[str, AdapterFit]) -> None:
        selected = self.get_selected()
        folder = self._choose_next or (selected.folder if selected is not None else "")
        ticked = {each.folder for each in self._list_ticked()}
        self._choose_next = ""
        self.adapters = tuple(adapters)
        self.table.blockSignals(True)
        tables.fill_table(
            self.table,
            [
                _make_row(each, fits.get(each.folder), ticked=each.folder in ticked)
                for each in adapters
            ],
        )
        self.table.blockSignals(False)
        count = tr_n("{n} adapter", "{n} adapters", len(adapters))
        none = tr("No adapters yet. Train one, or add a folder that contains adapters.")
        self.status.set_status(count if adapters else none)
        self.adapters_listed.emit(
            tuple(
                each.folder
                for each in adapters
                if each.problem is None and each.use == "generation"
            )
        )
        places = [line for line, each in enumerate(adapters) if each.folder == folder]
        if adapters:
            self.table.setCurrentCell(places[0] if places else 0, _NAME)
            self._on_chosen(self.table.currentRow())
        self._on_ticked()

    # --- selected adapter ---------------------------------------------------------------------

    def _on_chosen(self, *_: int) -> None:
        facts = self.get_selected()
        self._show(facts)
        if facts is None or facts.problem is not None:
            return
        command = commands.ShowAdapter(folder=facts.folder, model=self._get_model())
        if self._shown_query:
            self.link.cancel(self._shown_query)
        self._shown_query = command.id
        self.link.send(command)

    def _show(self, facts: AdapterFacts | None) -> None:
        self._offer_actions(facts if facts is not None and facts.problem is None else None)
        self.show_folder.setEnabled(facts is not None)
        self.norms.show_layers(())
        self.strength.setText("")
        self.name.setText(_name(facts) if facts is not None else tr("No adapter selected"))
        self.facts.show_facts(_list_facts(facts) if facts is not None else [])
        self.fit.hide()
        if facts is not None and facts.problem is not None:
            self.fit.set_status(localize_problem(facts.problem), "error")
            self.fit.show()

    def _offer_actions(self, facts: AdapterFacts | None) -> None:
        """Enable what can be done with an adapter: chat and further training if its model writes text."""
        use = facts.use if facts is not None and self._state.draft.path is not None else None
        self.chat.setEnabled(use == "generation")
        self.start.setEnabled(use == "generation")
        self.merge.setEnabled(use in ("generation", "embedding"))

    def _show_layers(self, event: events.AdapterShown) -> None:
        self.norms.show_layers(event.adapter.layers)
        self.strength.setText(self.norms.summarize())
        fit = event.fit
        if fit is None:
            return
        self._offer_actions(event.adapter if fit.fits else None)
        if not fit.fits:
            self.fit.set_status(tr("Not compatible with the project's model. {reason}").format(reason=localize(fit.reason)), "error")  # fmt: skip
        elif fit.warning:
            self.fit.set_status(
                tr("Compatible, with a warning: {warning}").format(warning=localize(fit.warning)),
                "warn",
            )
        else:
            self.fit.set_status(tr("Compatible with the project's model."), "ok")
        self.fit.show()

    def _open_chat(self) -> None:
        self._close_with(self.chat_requested)

    def _start(self) -> None:
        self._close_with(self.training_requested)

    def _merge(self) -> None:
        self._close_with(self.merge_requested)

    def _close_with(self, signal: object) -> None:
        if (facts := self.get_selected()) is not None:
            signal.emit(facts.folder)  # type: ignore[attr-defined]  # a bound signal
            self.accept()

    def _show_folder(self) -> None:
        if (facts := self.get_selected()) is not None:
            open_path(Path(facts.folder))

    # --- combining ----------------------------------------------------------------------------

    def _list_ticked(self) -> list[AdapterFacts]:
        ticked = []
        for line, facts in enumerate(self.adapters):
            item = self.table.item(line, _NAME)
            if item is not None and item.checkState() == Qt.CheckState.Checked:
                ticked.append(facts)
        return ticked

    def _on_ticked(self, *_: object) -> None:
        self.combine.choose(self._list_ticked())

    def _start_combining(self, command: commands.CombineAdapters) -> None:
        self._combining = command.id
        self.combine.set_running(True)
        self.link.send(command)

    def _on_combined(self, ending: events.Ending) -> None:
        self._combining = ""
        self.combine.set_running(False)
        if isinstance(ending, events.Failed):
            self.combine.show_error(localize_problem(ending.problem))
        elif isinstance(ending, events.Done):
            folder = str(self.combine.folder)
            self.add_folder(folder) if self._state.draft.folder is None else self.list_adapters()


class _List(QTableWidget):
    """A list that hides columns, which the details repeat, while names don't fit."""

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        narrow = self.viewport().width() < Size.scaled(_ROOM_FOR_ALL)
        for column in (_KIND, _RANK, _SIZE):
            self.setColumnHidden(column, narrow)


def _name(facts: AdapterFacts) -> str:
    return localize(
        chat.format_chat_model_name(chat_models.create_adapter_chat_model(facts.folder))
    )


def _format_rank(facts: AdapterFacts) -> str:
    low, high = facts.ranks
    return "" if not high else str(low) if low == high else f"{low}–{high}"


def _format_cells(facts: AdapterFacts, fit: AdapterFit | None) -> tuple[str, ...]:
    base = facts.base.rstrip("/\\").replace("\\", "/").rpartition("/")[2]
    usable = facts.problem is None
    fits = "" if usable and fit is None else "✓" if fit is not None and fit.fits else "✗"
    size = formatting.format_size(facts.bytes) if facts.bytes else ""
    return _name(facts), fits, facts.kind if usable else "", _format_rank(facts), base, size


def _make_row(
    facts: AdapterFacts, fit: AdapterFit | None, *, ticked: bool
) -> list[QTableWidgetItem]:
    cells = []
    for column, text in enumerate(_format_cells(facts, fit)):
        cell = tables.make_number(text) if column in (_RANK, _SIZE) else QTableWidgetItem(text)
        cell.setToolTip(plain_tip(_format_tooltip(facts, column)))
        if column == _NAME and facts.problem is None:
            cell.setFlags(cell.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            cell.setCheckState(Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)
        cells.append(cell)
    return cells


def _format_tooltip(facts: AdapterFacts, column: int) -> str:
    """Return the tooltip of a cell whose text may not fit."""
    if facts.problem is not None:
        return localize(facts.problem.what)
    return {_NAME: f"{_name(facts)}\n{facts.folder}", _BASE: facts.base}.get(column, facts.folder)


def _list_facts(facts: AdapterFacts) -> list[tuple[str, str]]:
    scale = (
        tr("{rank}, alpha {alpha}").format(
            rank=_format_rank(facts), alpha=formatting.format_float(facts.alpha, "g")
        )
        if facts.rank
        else ""
    )
    return [
        (tr("Folder"), facts.folder),
        (tr("Type"), facts.kind if facts.problem is None else ""),
        (tr("Use"), tr(_USES[facts.use]) if facts.use in _USES else ""),
        (tr("Rank"), scale),
        (tr("Target modules"), ", ".join(facts.modules)),
        (tr("Trained in full"), ", ".join(facts.trained_whole)),
        (tr("Base model"), facts.base),
        (tr("Parameters"), formatting.format_count(facts.parameters) if facts.parameters else ""),
        (tr("Note"), localize(facts.note or "")),
    ]


_LAYER = re.compile(r"\.(\d+)\.")
_HEIGHT = 120


class NormBars(FocusFrame):
    """A bar per layer, from first to last; arrow keys and the mouse show a bar's values."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create the chart without layers."""
        super().__init__(parent)
        self._groups: list[tuple[str, list[tuple[str, float]]]] = []
        self._at = -1
        self.setAccessibleName(tr("Update strength by layer"))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        get_theme().changed.connect(self.update)

    def show_layers(self, layers: Sequence[LayerFacts]) -> None:
        """Show the layers whose norm is known."""
        groups: dict[str, list[tuple[str, float]]] = {}
        for layer in layers:
            if layer.norm is not None and math.isfinite(layer.norm):
                match = _LAYER.search(layer.module)
                group = match[1] if match else layer.module
                name = layer.module[match.end() :] if match else layer.module
                groups.setdefault(group, []).append((name, layer.norm))
        self._groups = list(groups.items())
        self._at = -1
        self.setAccessibleDescription(self.summarize())
        self.setVisible(bool(groups))
        self.update()

    def update_norms(self) -> list[float]:
        """Return the Frobenius norm of each layer's update: √Σ of the squares over its modules."""
        return [math.hypot(*(norm for _, norm in modules)) for _, modules in self._groups]

    def summarize(self) -> str:
        """Return one sentence that describes the chart."""
        strengths = self.update_norms()
        if not strengths:
            return ""
        most = max(range(len(strengths)), key=strengths.__getitem__)
        return tr("Largest update: layer {layer}, ‖ΔW‖ {norm}.").format(
            layer=self._groups[most][0], norm=format_float(strengths[most], ".3g")
        )

    def describe_bar(self, bar: int) -> str:
        """Return the text of a bar: its layer and the modules in it."""
        if not 0 <= bar < len(self._groups):
            return ""
        group, modules = self._groups[bar]
        each = "\n".join(f"{name}  {format_float(norm, '.3g')}" for name, norm in modules)
        return tr("Layer {layer}: ‖ΔW‖ {norm}").format(
            layer=group, norm=format_float(self.update_norms()[bar], ".3g")
        ) + (f"\n{each}" if len(modules) > 1 else "")

    def sizeHint(self) -> QSize:
        """Return a small size."""
        return QSize(280, Size.scale_height(_HEIGHT))

    def minimumSizeHint(self) -> QSize:
        """Return a narrow size."""
        return QSize(120, Size.scale_height(_HEIGHT))

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the bars, and the numbers of the first and the last layer below them."""
        super().paintEvent(event)  # the frame
        strengths = self.update_norms()
        highest = max(strengths, default=0.0)
        if highest <= 0:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        font = body_font(Size.CAPTION)
        painter.setFont(font)
        below = painter.fontMetrics().height() + 4
        base = self.height() - below
        for bar, strength in enumerate(strengths):
            box = self._get_bar_rect(bar)
            height = max(1.0, (base - 4) * strength / highest)
            box.setTop(base - height)
            box.setBottom(base)
            chosen = self.hasFocus() and bar == self._at
            painter.fillRect(box, color("evaluation" if chosen else "accent"))
        painter.setPen(color("line"))
        painter.drawLine(0, base, self.width(), base)
        painter.setPen(color("muted"))
        label_area = QRectF(0, base + 2, self.width(), below)
        painter.drawText(label_area, Qt.AlignmentFlag.AlignLeft, self._groups[0][0])
        last = self._groups[-1][0] if len(self._groups) > 1 else ""
        painter.drawText(label_area, Qt.AlignmentFlag.AlignRight, last)
        painter.drawText(label_area, Qt.AlignmentFlag.AlignHCenter, tr("layer"))
        painter.end()

    def event(self, event: QEvent) -> bool:
        """Show the values of the bar under the mouse."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            QToolTip.showText(
                event.globalPos(), plain_tip(self.describe_bar(self._find_bar(event.pos().x())))
            )
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Move from bar to bar with Left and Right."""
        step = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(Qt.Key(event.key()))
        if step is None or not self._groups:
            super().keyPressEvent(event)
            return
        self._at = min(max(self._at + step, 0), len(self._groups) - 1)
        self.setAccessibleDescription(self.describe_bar(self._at))
        position = self.mapToGlobal(self._get_bar_rect(self._at).center().toPoint())
        QToolTip.showText(position, plain_tip(self.describe_bar(self._at)))
        self.update()

    def _get_bar_rect(self, bar: int) -> QRectF:
        width = self.width() / max(len(self._groups), 1)
        gap = min(3.0, width * 0.25)
        return QRectF(bar * width + gap / 2, 0, min(width - gap, 40.0), self.height())

    def _find_bar(self, x: int) -> int:
        return int(x * len(self._groups) / max(self.width(), 1))


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
                localize(
                    chat.format_chat_model_name(AdapterChatModel(adapters=(_to_weighted(each),)))
                )
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
