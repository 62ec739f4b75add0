"""Browse base models by source: this computer, the Hugging Face cache, Ollama and LM Studio, the
Hub.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PySide6.QtCore import (
    QAbstractListModel,
    QEvent,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QRect,
    QRectF,
    QSize,
    Qt,
    Signal,
)
from PySide6.QtGui import QKeyEvent, QMouseEvent, QPainter, QPainterPath
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QLineEdit,
    QListView,
    QListWidget,
    QListWidgetItem,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from lora_studio.core import formatting
from lora_studio.core.memory import model_fit
from lora_studio.core.memory.model_fit import ModelFit
from lora_studio.core.memory.plan import FitSettings
from lora_studio.core.messages import text
from lora_studio.core.model.catalog import (
    LOCAL,
    RECOMMENDED,
    ModelEntry,
    ModelLocation,
    ModelOutline,
)
from lora_studio.core.model.spec import (
    BUILTIN_BYTES,
    BUILTIN_FILE_TYPE,
    BUILTIN_PREFIX,
    DEFAULT_BUILTIN,
)
from lora_studio.core.problems import Problem
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.commands import SearchModels
from lora_studio.core.system import offline
from lora_studio.gui import theme
from lora_studio.gui.controls.choices import ComboControl
from lora_studio.gui.controls.controls import name_control
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.message_translation import localize, localize_problem
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.text_size import Size
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import Card, FlowLayout, button, column, label, row
from lora_studio.gui.widgets.file_dialogs import choose_folder
from lora_studio.gui.widgets.glyph import StatusLabel
from lora_studio.gui.widgets.tooltips import plain_tip

#: Title and locations of each source.
_SOURCES: dict[str, tuple[str, tuple[ModelLocation, ...]]] = {
    "recommended": (mark("Recommended"), ()),
    "here": (mark("This computer"), ("folder",)),
    "cache": (mark("Hugging Face cache"), ("cache",)),
    "gguf": (mark("Ollama, LM Studio"), ("ollama", "lm_studio")),
    "hub": (mark("Hugging Face Hub"), ("hub",)),
}
_EMPTY = {
    "here": mark("Add the folder where you keep your models. The models in it are listed here."),
    "cache": mark(
        "No cached models yet. Models that you or other tools download from the Hub appear here."
    ),
    "gguf": mark("No Ollama or LM Studio model on this computer can be used as a base model."),
    "hub": mark(
        "Search by name or organization. Leave the field empty to list the most downloaded models."
    ),
}

#: The built-in model is listed like any other.
BUILTIN = ModelEntry(
    source=BUILTIN_PREFIX + DEFAULT_BUILTIN,
    title=DEFAULT_BUILTIN,
    location="folder",
    bytes=BUILTIN_BYTES,
    parameters=134_515_008,
    architecture="LlamaForCausalLM",
    license="apache-2.0",
    outline=ModelOutline(
        layers=30, hidden_size=576, intermediate_size=1536, heads=9, kv_heads=3, vocabulary=49_152
    ),
    stored=BUILTIN_FILE_TYPE,
    why=text("A good first try: trains in minutes, even without a GPU. English."),
)

#: Width of the list of models in pixels at 100 %, below which the details move under it.
_MODELS_WIDTH = 260


class ModelBrowser(QWidget):
    """The sources on the left, the models of the selected source on the right.

    Signals:
        chosen(ModelEntry): use this model as the base model.
        sign_in_clicked, sign_out_clicked: change the Hub token.
        online_requested: turn off offline mode.
    """

    chosen = Signal(object)
    sign_in_clicked = Signal()
    sign_out_clicked = Signal()
    online_requested = Signal()

    def __init__(
        self,
        finder: ModelFinder,
        preferences: Preferences,
        settings: Callable[[], FitSettings | None],
        parent: QWidget | None = None,
    ) -> None:
        """Create the browser; `settings` returns what training would use, None while no device is
        known.
        """
        super().__init__(parent)
        self._finder, self._preferences, self._settings = finder, preferences, settings
        self._current, self._has_current = "", False
        self.sources = QListWidget()
        self.sources.setAccessibleName(tr("Source"))
        for name, (title, _) in _SOURCES.items():
            item = QListWidgetItem(tr(title))
            item.setData(Qt.ItemDataRole.UserRole, name)
            self.sources.addItem(item)
        self.filters = HubFilters()
        self.folders = QWidget()
        self._folders = FlowLayout(self.folders)
        self.add_button = button(tr("Add folder…"), self._pick, icon="plus")
        self.list = ModelList()
        self.list.setMinimumHeight(250)
        self._fit_sources()
        self.status = StatusLabel()
        self.sign_in = button(tr("Sign in…"), self.sign_in_clicked.emit, kind="link")
        self.sign_out = button(tr("Sign out"), self.sign_out_clicked.emit, kind="link")
        self.online = button(tr("Turn off offline mode"), self.online_requested.emit)
        self.retry = button(tr("Try again"), self.reload, icon="refresh")
        self.account = label("", "caption")
        self._build_layout()
        self.sources.currentRowChanged.connect(lambda _: self.on_source_changed())
        self.filters.searched.connect(finder.search)
        self.filters.fitting_changed.connect(self.refresh)
        self.list.chosen.connect(self.chosen)
        finder.changed.connect(self.refresh)
        self.show_account(None)
        self.sources.setCurrentRow(0)

    def _build_layout(self) -> None:
        source_card = Card(tr("Source"))
        source_card.add(self.sources)
        models = Card(tr("Models"))
        models.head.addWidget(self.account)
        models.head.addWidget(self.sign_in)
        models.head.addWidget(self.sign_out)
        models.add(self.filters, self.folders, self.status)
        models.add(row(self.online, self.retry, None), self.list)
        models.body.setStretchFactor(self.list, 1)
        layout = row(source_card, models, spacing=Spacing.L)
        layout.setStretch(1, 1)
        self.setLayout(layout)

    def _fit_sources(self) -> None:
        """Make the list as wide as its longest entry in this language and text size, and that of models no narrower
        than a name and its verdict.
        """
        self.list.setMinimumWidth(Size.scaled(_MODELS_WIDTH))
        needed = self.sources.sizeHintForColumn(0) + 2 * self.sources.frameWidth() + Spacing.S
        self.sources.setFixedWidth(max(Size.scaled(156), needed))

    def changeEvent(self, event: QEvent) -> None:
        """Adapt the width to another text size."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._fit_sources()

    # --- listing ------------------------------------------------------------------------------

    @property
    def source(self) -> str:
        """Return the selected source: "recommended", "here", "cache", "gguf" or "hub"."""
        item = self.sources.currentItem()
        return str(item.data(Qt.ItemDataRole.UserRole)) if item else "here"

    def show_source(self, name: str) -> None:
        """Select a source, which shows its models."""
        self.sources.setCurrentRow(list(_SOURCES).index(name))

    def reload(self) -> None:
        """List the models of the selected source again."""
        if self.source == "hub":
            self.filters.search()
        else:
            self._finder.list_local(self._preferences.model_folders)

    def on_source_changed(self) -> None:
        """Show the models of the selected source; search the Hub the first time it is selected."""
        if self.source == "hub" and "hub" not in self._finder.models and not offline.is_on():
            self.filters.search()
        self.refresh()

    def _pick(self) -> None:
        choose_folder(self.window(), tr("Choose a folder with models"), self.add_folder)

    def add_folder(self, folder: str) -> None:
        """Add a folder to the model folders and list it."""
        self._preferences.add_model_folder(folder)
        self._finder.list_local(self._preferences.model_folders)

    def remove_folder(self, folder: str) -> None:
        """Remove a folder from the model folders and from the lists."""
        self._preferences.remove_model_folder(folder)
        self._finder.list_local(self._preferences.model_folders)

    # --- display ------------------------------------------------------------------------------

    def show_current(self, source: str) -> None:
        """Select the project's model in the list."""
        if not self._has_current:
            self._has_current = True
            is_new = not source or source == BUILTIN.source
            self.show_source("recommended" if is_new else "here")
        if source != self._current:
            self._current = source
            self.refresh()

    def show_account(self, account: events.AccountFound | None) -> None:
        """Show the signed-in account; None while it is unknown."""
        has = account is not None and account.has_token
        self._account = account
        name = account.name if account else ""
        self.account.setText(tr("Signed in as {name}").format(name=name) if has and name else "")
        self._show_buttons()

    def refresh(self) -> None:
        """Show the models of the selected source, those that fit first."""
        lines = self._list_lines()
        self.list.show_models(lines, self._current)
        self.filters.setVisible(self.source == "hub")
        self.folders.setVisible(self.source == "here")
        if self.source == "here":
            self._show_folders()
        self._show_status(lines)
        self._show_buttons()

    def _list_lines(self) -> list[Line]:
        locations = _SOURCES[self.source][1]
        entries = [x for location in locations for x in self._finder.models.get(location, ())]
        if self.source in ("recommended", "here"):
            entries.insert(0, BUILTIN)
        if self.source == "recommended":
            entries.extend(RECOMMENDED)
        settings = self._settings()
        lines: list[Line] = [
            (entry, model_fit.estimate_fit(entry, settings) if settings else None)
            for entry in entries
        ]
        if self.source == "hub" and self.filters.fitting.isChecked():
            lines = [(entry, fit) for entry, fit in lines if fit is not None and fit.fits]
        if self.source == "recommended" and settings and settings.device.name != "cpu":
            lines.reverse()  # the largest that fit first: without a GPU, they would take days
        return sorted(
            lines, key=lambda line: 3 if line[0].refusal else model_fit.get_fit_sort_key(line[1])
        )

    def _show_status(self, lines: list[Line]) -> None:
        problem = self._get_problem()
        looking = any(self._finder.is_loading(location) for location in _SOURCES[self.source][1])
        if problem is not None:
            self.status.set_status(localize_problem(problem), "error")
        elif looking:
            self.status.set_status(
                tr("Searching the Hub…") if self.source == "hub" else tr("Searching…")
            )
        elif self.source == "hub" and offline.is_on():
            self.status.set_status(tr("Offline mode is on. Turn it off to search the Hub."), "warn")
        elif not lines or (self.source == "here" and len(lines) == 1):
            self.status.set_status(self._explain_empty_list())
        else:
            judged = [fit.fits and x.is_usable for x, fit in lines if fit is not None]
            count = tr_n("{n} model", "{n} models", len(lines))
            fits = tr("{count} fit on this device").format(count=sum(judged))
            self.status.set_status(f"{count} · {fits}" if judged else count)

    def _explain_empty_list(self) -> str:
        models = self._finder.models.get("hub") if self.source == "hub" else None
        if models is None:
            return tr(_EMPTY[self.source])
        if not models:
            return tr("No models found on the Hub.")
        if self._settings() is None:
            return tr("Waiting for the device check to see which models fit.")
        return tr_n(
            "The only model found doesn't fit on this device.",
            "None of the {n} models found fit on this device.",
            len(models),
        )

    def _get_problem(self) -> Problem | None:
        problems = [self._finder.problems.get(location) for location in _SOURCES[self.source][1]]
        return next((problem for problem in problems if problem is not None), None)

    def _show_buttons(self) -> None:
        hub, has = self.source == "hub", bool(self._account and self._account.has_token)
        self.account.setVisible(hub and has)
        self.sign_in.setVisible(hub and not has)
        self.sign_out.setVisible(
            hub and has and not (self._account and self._account.from_environment)
        )
        stopped = hub and offline.is_on()
        self.filters.setEnabled(not stopped)
        self.sign_in.setEnabled(not stopped)
        self.online.setVisible(stopped)
        self.retry.setVisible(self._get_problem() is not None and not stopped)

    def _show_folders(self) -> None:
        while (item := self._folders.takeAt(0)) is not None:
            if (widget := item.widget()) is not None and widget is not self.add_button:
                widget.hide()
                widget.deleteLater()
        for folder in self._preferences.model_folders:
            chip = button(folder, icon="close")
            chip.setToolTip(plain_tip(tr("Remove {folder} from the list").format(folder=folder)))
            chip.setAccessibleName(chip.toolTip())
            chip.clicked.connect(lambda _=False, folder=folder: self.remove_folder(folder))
            self._folders.addWidget(chip)
        self._folders.addWidget(self.add_button)


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


# A list of models: name, size, parameters and license, and a bar that shows how each fits the
# device.

_BAR, _BAR_WIDTH = 6, 112
_Index = QModelIndex | QPersistentModelIndex

#: A model, and how well it fits; None while no device is known.
Line = tuple[ModelEntry, ModelFit | None]

_ENTRY = Qt.ItemDataRole.UserRole

#: Share of the free memory from which even small micro-batches barely fit.
_TIGHT = 0.8
_PRECISIONS = {"auto": mark("16-bit"), "8bit": mark("8-bit"), "4bit": mark("4-bit")}


def describe(entry: ModelEntry, *, brief: bool = False) -> str:
    """Return size, parameters, license and downloads in one line, or why the model isn't
    supported.
    """
    if entry.refusal:
        return localize(entry.refusal)
    parts = [
        tr("{count} parameters").format(count=formatting.format_count(entry.parameters))
        if entry.parameters
        else "",
        formatting.format_size(entry.bytes) if entry.bytes else "",
        entry.license,
        tr("gated") if entry.gated else "",
        _format_downloads(entry.downloads, brief=brief)
        if entry.downloads is not None
        else entry.stored,
    ]
    return " · ".join(part for part in parts if part)


def _format_downloads(number: int, *, brief: bool) -> str:
    count = formatting.format_count(number)
    return f"↓ {count}" if brief else tr("{count} downloads").format(count=count)


def judge_fit(entry: ModelEntry, fit: ModelFit | None) -> tuple[str, theme.Role]:
    """Return whether training with a model fits, in a word or two, and its color role."""
    if entry.refusal:
        return tr("not supported"), "muted"
    if entry.missing:
        return tr("incomplete"), "warn"
    if fit is None:
        return "", "muted"
    if not fit.fits:
        return tr("too large"), "error"
    if fit.eased and fit.share > _TIGHT:
        return tr("{bits} (tight fit)").format(bits=tr(_PRECISIONS[fit.precision])), "ok"
    return tr("fits in {bits}").format(bits=tr(_PRECISIONS[fit.precision])), "ok"


class ModelList(QListView):
    """A list in which arrow keys move, and Enter or a click selects. Unsupported models can't be selected.

    Signals:
        chosen(ModelEntry): use this model as the base model.
        confirmed: the user double-clicked the chosen model, to use it and continue.
    """

    chosen = Signal(object)
    confirmed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create an empty list."""
        super().__init__(parent)
        self.lines = _Lines(self)
        self.setModel(self.lines)
        self.setItemDelegate(_Delegate(self))
        self.setAccessibleName(tr("Models"))
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setMouseTracking(True)
        self.clicked.connect(self._choose)
        theme.get_theme().changed.connect(self.viewport().update)

    def show_models(self, lines: Sequence[Line], current: str = "") -> None:
        """Replace all entries and select the one whose source is `current`."""
        self.lines.replace(lines)
        row_index = next((i for i, (entry, _) in enumerate(lines) if entry.source == current), -1)
        index = self.lines.index(row_index) if row_index >= 0 else QModelIndex()
        self.setCurrentIndex(index)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Confirm the model that the first click has chosen; Qt's own signal is lost with the new list."""
        super().mouseDoubleClickEvent(event)
        line = self.indexAt(event.position().toPoint()).data(_ENTRY)
        if event.button() == Qt.MouseButton.LeftButton and line and line[0].is_usable:
            self.confirmed.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Select the current model with Enter or Space."""
        keys = (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space)
        if event.key() in keys and not event.modifiers():
            self._choose(self.currentIndex())
        else:
            super().keyPressEvent(event)

    def _choose(self, index: QModelIndex) -> None:
        line = index.data(_ENTRY) if index.isValid() else None
        if line is not None and line[0].is_usable:
            self.chosen.emit(line[0])


class _Lines(QAbstractListModel):
    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._lines: list[Line] = []

    def replace(self, lines: Sequence[Line]) -> None:
        self.beginResetModel()
        self._lines = list(lines)
        self.endResetModel()

    def rowCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008 - Qt's own signature
        return 0 if parent.isValid() else len(self._lines)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not 0 <= index.row() < len(self._lines):
            return None
        entry, fit = self._lines[index.row()]
        if role == _ENTRY:
            return entry, fit
        if role == Qt.ItemDataRole.DisplayRole:
            return entry.title
        if role == Qt.ItemDataRole.AccessibleTextRole:
            texts = (entry.title, describe(entry), judge_fit(entry, fit)[0])
            return ", ".join(part for part in texts if part)
        if role == Qt.ItemDataRole.ToolTipRole:
            return plain_tip(_format_tooltip(entry, fit))
        return None


def _format_tooltip(entry: ModelEntry, fit: ModelFit | None) -> str:
    lines = [entry.title, describe(entry)]
    if fit is not None and not entry.refusal:
        needed, free = formatting.format_memory(fit.needed), formatting.format_memory(fit.available)
        least = (
            tr("Training needs at least {needed} of memory in {bits}; {free} is free.")
            if fit.eased
            else tr("Training needs {needed} of memory in {bits}; {free} is free.")
        )
        lines.append(least.format(needed=needed, bits=tr(_PRECISIONS[fit.precision]), free=free))
    if entry.why:
        lines.append(localize(entry.why))
    return "\n".join(lines)


def _measure_why() -> int:
    """Return the height of the line that says what a recommended model is for, in pixels."""
    return int(Size.CAPTION) + Spacing.S


class _Delegate(QStyledItemDelegate):
    """Paint name and facts, what a recommended model is for, and on the right the verdict above its bar."""

    def sizeHint(self, option: QStyleOptionViewItem, index: _Index) -> QSize:
        height = Size.BODY + Size.CAPTION + 28
        return QSize(200, height + (_measure_why() if index.data(_ENTRY)[0].why else 0))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        entry, fit = index.data(_ENTRY)
        # PySide's type stubs lack the attributes of `option`, which Qt sets.
        rect: QRect = option.rect
        state: QStyle.StateFlag = option.state
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._paint_background(painter, rect, state)
        inner = rect.adjusted(Spacing.M, Spacing.S, -Spacing.M, -Spacing.S)
        if entry.why:
            inner.setBottom(inner.bottom() - _measure_why())
            below = QRect(inner.left(), inner.bottom(), inner.width(), _measure_why())
            self._paint_text(
                painter, below, localize(entry.why), "text", Qt.AlignmentFlag.AlignLeft, 1
            )
        width = Size.scaled(_BAR_WIDTH)
        side = QRect(inner.right() - width + 1, inner.top(), width, inner.height())
        left = inner.adjusted(0, 0, -width - Spacing.M, 0)
        start, end = Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight
        text, role = judge_fit(entry, fit)
        title_area = inner if entry.refusal or not text else left  # no bar next to it
        self._paint_text(
            painter,
            title_area if not text else left,
            entry.title,
            "muted" if entry.refusal else "text",
            start,
            0,
        )
        self._paint_text(painter, title_area, describe(entry, brief=True), "muted", start, 1)
        self._paint_text(painter, side, text, role, end, 0)
        if fit is not None and not entry.refusal and not entry.missing:
            self._paint_bar(painter, side, fit, role)
        painter.restore()

    def _paint_background(self, painter: QPainter, rect: QRect, state: QStyle.StateFlag) -> None:
        selected = bool(state & QStyle.StateFlag.State_Selected)
        hovered = bool(state & QStyle.StateFlag.State_MouseOver)
        tint = theme.color("accent")
        if selected or hovered:
            tint.setAlpha(38 if selected else 16)
            painter.fillRect(rect, tint)
        if state & QStyle.StateFlag.State_HasFocus:
            painter.setPen(theme.color("accent"))
            painter.drawRect(rect.adjusted(0, 0, -1, -1))
        painter.setPen(theme.color("line"))
        painter.drawLine(rect.bottomLeft(), rect.bottomRight())

    def _paint_text(
        self,
        painter: QPainter,
        room: QRect,
        text: str,
        role: str,
        side: Qt.AlignmentFlag,
        line: int,
    ) -> None:
        painter.setFont(theme.body_font(Size.CAPTION if line else Size.BODY))
        painter.setPen(theme.color(role))
        metrics = painter.fontMetrics()
        cut = Qt.TextElideMode.ElideRight if line else Qt.TextElideMode.ElideMiddle
        elided = metrics.elidedText(text, cut, room.width())
        upright = Qt.AlignmentFlag.AlignBottom if line else Qt.AlignmentFlag.AlignTop
        painter.drawText(room, int(side | upright), elided)

    def _paint_bar(self, painter: QPainter, room: QRect, fit: ModelFit, role: str) -> None:
        track = QRectF(room.left(), room.bottom() - _BAR - 2, room.width(), _BAR)
        path = QPainterPath()
        path.addRoundedRect(track, _BAR / 2, _BAR / 2)
        painter.fillPath(path, theme.color("line"))
        filled = QRectF(track)
        filled.setWidth(track.width() * min(1.0, max(0.02, fit.share)))
        painter.setClipPath(path)
        painter.fillRect(filled, theme.color(role))
        painter.setClipping(False)


Question = commands.ListModels | commands.SearchModels


class ModelFinder(QObject):
    """The cached models of every source.

    Signals:
        ask(command): a question for the query workers; its events arrive in `on_event`.
        changed: a listing started, arrived or failed.
    """

    ask = Signal(object)
    changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        """Create an empty cache."""
        super().__init__(parent)
        self.models: dict[ModelLocation, tuple[ModelEntry, ...]] = {}
        self.problems: dict[ModelLocation, Problem] = {}
        self._waiting: list[ModelLocation] = []
        self._folders: tuple[str, ...] = ()
        self._pending: dict[
            str, tuple[str, ModelLocation]
        ] = {}  # query kind -> ID and location of the pending query

    def list_local(self, folders: Sequence[str]) -> None:
        """List the models on this computer, including those in `folders`."""
        self._folders = tuple(folders)
        self._waiting = list(LOCAL)
        self._pending.pop("list_models", None)  # a dropped question gets no ending
        self._send_next()

    def search(self, command: commands.SearchModels) -> None:
        """Search the Hub."""
        self.problems.pop("hub", None)
        self._send(command, "hub")

    def clear(self, location: ModelLocation) -> None:
        """Drop the models of a source and the answer to a pending question about it."""
        self.models.pop(location, None)
        self.problems.pop(location, None)
        self._pending = {
            kind: pending for kind, pending in self._pending.items() if pending[1] != location
        }
        self.changed.emit()

    def is_loading(self, location: ModelLocation) -> bool:
        """Return whether an answer about a source is pending."""
        pending = {location for _, location in self._pending.values()}
        return location in pending or location in self._waiting

    def on_event(self, event: object) -> bool:
        """Handle an event; return whether it answers a question of this finder."""
        kind = next(
            (k for k, (id_, _) in self._pending.items() if id_ == getattr(event, "id", "")), ""
        )
        if not kind:
            return False
        location = self._pending[kind][1]
        match event:
            case events.ModelsFound():
                self.models[location] = event.models
                self.problems.pop(location, None)
            case events.Failed():
                self.problems[location] = event.problem
        if isinstance(event, events.Ending):
            del self._pending[kind]
            if kind == "list_models":
                self._send_next()
        if isinstance(event, events.ModelsFound | events.Ending):
            self.changed.emit()
        return True

    def _send_next(self) -> None:
        if "list_models" in self._pending or not self._waiting:
            return
        location = self._waiting.pop(0)
        folders = self._folders if location == "folder" else ()
        self._send(
            commands.ListModels.model_validate({"location": location, "folders": folders}), location
        )

    def _send(self, command: Question, location: ModelLocation) -> None:
        self._pending[command.kind] = (command.id, location)
        self.ask.emit(command)
        self.changed.emit()
