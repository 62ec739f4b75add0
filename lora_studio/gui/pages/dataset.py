"""The dataset step: which rows, how they read as tokens, and how long they are."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QFrame, QSplitter, QStackedWidget, QTabWidget, QWidget

from lora_studio.core import checks, events, words
from lora_studio.core.commands import InspectDataset
from lora_studio.core.dataset import DatasetSpec
from lora_studio.core.model import ModelSpec
from lora_studio.core.problems import Step
from lora_studio.gui.inquiry import Inquiry, named_model
from lora_studio.gui.pages.page import Page
from lora_studio.gui.plots.length_histogram import LengthHistogram
from lora_studio.gui.project_state import ProjectState
from lora_studio.gui.theme import Space
from lora_studio.gui.widgets.basics import Card, EmptyState, More, column, label, restyle
from lora_studio.gui.widgets.columns import Columns
from lora_studio.gui.widgets.controls import ComboControl
from lora_studio.gui.widgets.conversation import ChatView, TokenView
from lora_studio.gui.widgets.path_control import PathControl, dropped_path
from lora_studio.gui.widgets.row_table import RowTable

#: Rows shown in the table.
_PREVIEW = 200
#: Fields on which the answer of an inspection rests.
_ASKED = ("file", "format", "chat_template", "system_prompt", "train_on", "max_length", "too_long")
_STEP: Step = "dataset"


class DatasetPage(Page):
    """Asks the inspector about the file, with the model's tokenizer where there is a model."""

    step = "dataset"
    title = "Dataset"

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """File on top; rows and lengths below to the left, settings to the right."""
        super().__init__(state, parent)
        self.inquiry = Inquiry(self._question, self)
        self.inquiry.ask.connect(self.ask)
        self.file = PathControl(state.about(_STEP, "file"))
        self.drop = _DropZone(self.file)
        self.table = RowTable()
        self.chat, self.tokens = ChatView(), TokenView()
        self.histogram = LengthHistogram()
        self.found = label(role="muted", wrap=True)
        self.footer = label(wrap=True)
        self.skipped = label(role="warn", wrap=True)
        self.tabs, self.data = QTabWidget(), QStackedWidget()
        self._lay_out()
        self.setAcceptDrops(True)
        self.table.row_chosen.connect(self._show_row)
        self.histogram.limit_chosen.connect(lambda limit: state.set(_STEP, "max_length", limit))
        self.inquiry.busy_changed.connect(lambda _: self._show_answer())
        state.value_changed.connect(self._value_changed)
        state.opened.connect(self._opened)
        state.facts_changed.connect(self._facts_changed)
        state.problems_changed.connect(lambda _: self._show_answer())
        self._opened()
        self.refresh()

    # --- layout -------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        self.file.line.setPlaceholderText("Drop a JSON or JSONL file here, or choose one")
        file = self.add_editor("file", control=self.file)
        file.set_label_visible(False)
        file.set_help("")
        inside = column(file, self.found, spacing=Space.S)
        inside.setContentsMargins(Space.CARD, Space.CARD, Space.CARD, Space.CARD)
        self.drop.setLayout(inside)
        detail = QTabWidget()
        detail.addTab(self.chat, "Chat")
        detail.addTab(self.tokens, "Tokens")
        self.tabs.addTab(_beside(self.table, detail), "Rows")
        self.tabs.addTab(self.histogram, "Lengths")
        self.tabs.setMinimumSize(520, 300)
        rows = QWidget()
        rows.setLayout(column(self.tabs, self.footer, self.skipped))
        self.data.addWidget(
            EmptyState(
                "No rows yet",
                "Choose a file above: its rows appear here as conversations and as tokens, with "
                "what trains in colour.",
                example="A few hundred good rows teach a tone or a format; a thousand a task.",
            )
        )
        self.data.addWidget(rows)
        card = Card()
        card.add(self.data)
        self.body.addWidget(self.drop)
        self.body.addWidget(Columns(card, column(self._settings(), None), (1, 0)), 1)

    def _settings(self) -> Card:
        card = Card("How it is used")
        card.setFixedWidth(320)
        names = {value: _short(name) for value, name in self._formats().items()}
        card.add(
            self.add_editor("format", control=ComboControl(names)),
            self.add_editor("train_on"),
            self.add_editor("max_length"),
            self.add_editor("validation_share"),
        )
        more = More()
        more.add(
            self.add_editor("too_long"),
            self.add_editor("chat_template"),
            self.add_editor("system_prompt", style="text"),
        )
        card.add(more)
        return card

    # --- what the user does -------------------------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """A file, anywhere on the page."""
        if dropped_path(event, "file") is not None:
            self.drop.set_hot(True)
            event.acceptProposedAction()

    def dragLeaveEvent(self, event: object) -> None:
        """Carried away again."""
        self.drop.set_hot(False)

    def dropEvent(self, event: QDropEvent) -> None:
        """Takes it as the dataset."""
        self.drop.set_hot(False)
        if (path := dropped_path(event, "file")) is not None:
            event.acceptProposedAction()
            self.file.take(path)

    def on_shown(self) -> None:
        """The disk may have changed meanwhile."""
        self.state.check_again()
        self.inquiry.now()

    # --- questions and answers ----------------------------------------------------------------

    def on_event(self, event: object) -> None:
        """Watches for the end of the inspection; answers come through the project's facts."""
        self.inquiry.take(event)

    def _question(self) -> InspectDataset | None:
        """The split asks nothing anew; without a usable model there are no tokens."""
        dataset, model = self.state.spec(_STEP), self.state.spec("model")
        problems = checks.check(self.state.draft)
        wrong = checks.errors(checks.of_step(problems, _STEP))
        if not isinstance(dataset, DatasetSpec) or wrong:
            return None
        usable = isinstance(model, ModelSpec) and self.state.facts.model is not None
        asked = DatasetSpec(**{name: getattr(dataset, name) for name in _ASKED})
        named = named_model(model) if usable and isinstance(model, ModelSpec) else None
        return InspectDataset(dataset=asked, model=named, preview=_PREVIEW)

    def _opened(self) -> None:
        self.inquiry.forget()
        self.inquiry.soon()
        self._show_limit()
        self._show_answer()

    def _value_changed(self, step: str, field: str) -> None:
        if step == _STEP:
            if field in ("max_length", "too_long"):
                self._show_limit()
            if field == "validation_share":
                self._show_footer()
            if field in _ASKED:
                self.state.report("inspect_dataset", [])
                self.inquiry.soon()
            if field == "file":
                self.state.forget("dataset")

    def _facts_changed(self, name: str) -> None:
        if name == "dataset":
            self._show_answer()
        elif name == "model":
            self.inquiry.soon()

    # --- what is shown ------------------------------------------------------------------------

    def _show_limit(self) -> None:
        limit, too_long = self.state.get(_STEP, "max_length"), self.state.get(_STEP, "too_long")
        if isinstance(limit, int) and limit >= 16:
            self.histogram.set_limit(limit, "skip" if too_long == "skip" else "cut")

    def _show_answer(self) -> None:
        answer = self.state.facts.dataset
        self.data.setCurrentIndex(0 if answer is None else 1)
        self.drop.set_empty(not self.state.get(_STEP, "file"))
        self.found.setText(self._what_was_found(answer))
        if answer is None:
            self.table.show_rows(())
            self.histogram.set_lengths((), ())
        elif answer.preview != self.table.rows.rows:
            self.table.show_rows(answer.preview)
        if answer is not None:
            self.histogram.set_lengths(answer.lengths, answer.trained_lengths)
        self._show_footer()

    def _what_was_found(self, answer: events.DatasetInspected | None) -> str:
        if self.inquiry.busy:
            return "Reading…"
        if answer is not None:
            detected = _short(self._formats()[answer.format])
            return f"{detected} rows with the columns {words.listed(answer.columns)}."
        if self.state.get(_STEP, "file"):
            return ""
        return (
            "One conversation per line, for example "
            '{"messages": [{"role": "user", "content": "…"}, '
            '{"role": "assistant", "content": "…"}]}'
        )

    def _formats(self) -> dict[str, str]:
        return self.state.about(_STEP, "format").choices

    def _show_row(self, shown: events.RowPreview | None) -> None:
        self.chat.show_messages(shown.messages if shown else ())
        self.tokens.show_spans(shown.spans if shown else ())

    def _show_footer(self) -> None:
        answer = self.state.facts.dataset
        self.footer.setVisible(answer is not None)
        self.skipped.setVisible(answer is not None and bool(answer.skipped))
        if answer is None:
            return
        self.footer.setText(_footer(answer, self.state.get(_STEP, "validation_share")))
        self.skipped.setText(_skipped(answer.skipped))


def _beside(left: QWidget, right: QWidget) -> QSplitter:
    """Two parts with a thin handle between them, as wide as each other at first."""
    made = QSplitter()
    for part, margins in ((left, (0, Space.M, Space.M, 0)), (right, (Space.M, Space.S, 0, 0))):
        holder = QWidget()
        inside = column(part)
        inside.setContentsMargins(*margins)
        holder.setLayout(inside)
        made.addWidget(holder)
        made.setStretchFactor(made.count() - 1, 1)
    made.setHandleWidth(1)
    made.setChildrenCollapsible(False)
    made.setSizes([500, 500])
    return made


def _short(name: str) -> str:
    """The name of a format without its columns."""
    return name.split(" (")[0]


class _DropZone(QFrame):
    """Around the file: dashed while empty, a card afterwards, lit while something hovers."""

    def __init__(self, file: PathControl) -> None:
        super().__init__()
        self.setProperty("surface", "drop")
        file.setAcceptDrops(False)  # the page takes drops anywhere

    def set_empty(self, empty: bool) -> None:
        self._set("surface", "drop" if empty else "card")

    def set_hot(self, hot: bool) -> None:
        self._set("hot", hot)

    def _set(self, name: str, value: object) -> None:
        if self.property(name) != value:
            self.setProperty(name, value)
            restyle(self)


def _footer(answer: events.DatasetInspected, share: object) -> str:
    left_out = sum(item.count for item in answer.skipped)
    parts = [
        f"{words.plural(answer.rows_read, 'row')} read = "
        f"{words.number(answer.rows_used)} used + {words.number(left_out)} skipped"
    ]
    if answer.rows_cut:
        parts.append(f"{words.number(answer.rows_cut)} cut")
    if answer.lengths:
        parts.append(f"{words.plural(sum(answer.lengths), 'token')} per epoch")
    if isinstance(share, int | float) and 0 <= share <= 0.5:
        parts.append(f"{words.percent(float(share))} kept for validation")
    return "  ·  ".join(parts)


def _skipped(skipped: Sequence[events.Skipped]) -> str:
    """Each reason with its count and first rows."""
    lines = []
    for item in skipped:
        first = ", ".join(map(words.number, item.rows[:5]))
        more = ", …" if item.count > len(item.rows[:5]) else ""
        where = f" (row{'s' if len(item.rows) > 1 else ''} {first}{more})" if first else ""
        lines.append(f"⚠ {words.plural(item.count, 'row')} skipped: {item.reason}{where}")
    return "\n".join(lines)
