"""Browse base models by source: this computer, the Hugging Face cache, Ollama and LM Studio, the
Hub.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtWidgets import QListWidget, QListWidgetItem, QWidget

from lora_studio.core.memory import model_fit
from lora_studio.core.messages import text
from lora_studio.core.model.catalog import ModelEntry, ModelLocation, ModelOutline
from lora_studio.core.model.recommended import RECOMMENDED
from lora_studio.core.model.spec import (
    BUILTIN_BYTES,
    BUILTIN_FILE_TYPE,
    BUILTIN_PREFIX,
    DEFAULT_BUILTIN,
)
from lora_studio.core.problems import Problem
from lora_studio.core.protocol import events
from lora_studio.core.system import offline
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.message_translation import localize_problem
from lora_studio.gui.pages.model.finder import ModelFinder
from lora_studio.gui.pages.model.hub_filters import HubFilters
from lora_studio.gui.pages.model.model_list import Line, ModelList
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.text_size import Size
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import Card, FlowLayout, button, label, row
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
    why=text("For a first try; trains in minutes without a GPU. English."),
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
        settings: Callable[[], model_fit.FitSettings | None],
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
