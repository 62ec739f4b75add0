"""The dataset step: sources, rows as the model sees them, lengths, findings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QShortcut
from PySide6.QtWidgets import QStackedWidget, QTabWidget, QVBoxLayout, QWidget

from lora_studio.core import formatting
from lora_studio.core.dataset.repairs import REASONS
from lora_studio.core.formatting import format_number
from lora_studio.core.messages import Template, Text
from lora_studio.core.problems import Step
from lora_studio.core.project import checks
from lora_studio.core.protocol import events
from lora_studio.core.protocol.events import Finding
from lora_studio.core.spec import FieldFacts
from lora_studio.core.tasks.table import TASKS
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.gui.controls.choices import ComboControl
from lora_studio.gui.controls.controls import Control
from lora_studio.gui.controls.field_editor import FieldEditor
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.message_translation import localize
from lora_studio.gui.pages.dataset.queries import DatasetQueries, Kind
from lora_studio.gui.pages.dataset.row_browser import RowBrowser, RowFilter
from lora_studio.gui.pages.dataset.source_list import SourceList
from lora_studio.gui.pages.page import StepPage
from lora_studio.gui.plots.length_histogram import LengthHistogram
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project import data_sources, run_preview
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import Role, Spacing
from lora_studio.gui.widgets.basics import (
    Card,
    CollapsibleSection,
    EmptyState,
    FlowLayout,
    button,
    clear_layout,
    column,
    label,
    make_scroll_area,
    row,
    separator,
)
from lora_studio.gui.widgets.columns import ResponsiveColumns
from lora_studio.gui.widgets.fact_list import StatTiles
from lora_studio.gui.widgets.file_dialogs import get_dropped_paths
from lora_studio.gui.widgets.glyph import Glyph
from lora_studio.gui.widgets.tables import BarRow, BarTable
from lora_studio.gui.widgets.task_status import TaskStatus
from lora_studio.gui.widgets.tooltips import plain_tip

_STEP: Step = "dataset"
_ROWS, _LENGTHS, _FINDINGS, _LABELS = range(4)
#: Width of the settings next to the rows, in pixels.
_SETTINGS = 320


class DatasetPage(StepPage):
    """Sources on top; rows, lengths, findings and labels below; training options on the right."""

    step = "dataset"
    title = mark("Dataset")

    def __init__(
        self,
        state: ProjectState,
        preferences: Preferences | None = None,
        parent: QWidget | None = None,
    ) -> None:
        """Create the page; `preferences` stores recently used sources."""
        super().__init__(state, parent)
        self._preferences = preferences or Preferences()
        self.queries = DatasetQueries(state, self)
        self.sources = SourceList(self._preferences.recent_data)
        self.rows, self.lengths, self.labels = RowBrowser(), LengthsView(), LabelsView()
        self.findings = FindingsView(state.get_facts(_STEP, "fixes"), self._describe_setting)
        self.group = ComboControl({"": tr("None")}, editable=True)
        self.status, self.footer = TaskStatus(), DatasetFooter()
        self.tabs, self.data = QTabWidget(), QStackedWidget()
        self._shown: events.DatasetInspected | None = None
        self._columns: dict[str, str] = {}
        self._at_work: Kind | None = None
        self._build_layout()
        self._wire()
        self._on_opened()
        self.refresh()

    # --- layout -------------------------------------------------------------------------------

    def _build_layout(self) -> None:
        sources = self.add_editor("sources", control=self.sources)
        _hide_label(sources)
        fixes = self.add_editor("fixes", control=self.findings)
        _hide_label(fixes)
        self.tabs.addTab(self.rows, tr("Rows"))
        self.tabs.addTab(self.lengths, tr("Lengths"))
        self.tabs.addTab(fixes, tr("Findings"))
        self.tabs.addTab(self.labels, tr("Labels"))
        self.tabs.setCornerWidget(self.status)
        self.tabs.setMinimumHeight(340)
        self.tabs.tabBar().setAccessibleName(tr("Dataset views"))
        results = QWidget()
        results.setLayout(column(self.tabs, self.footer))
        self.data.addWidget(
            EmptyState(
                tr("No rows yet"),
                tr(
                    "Add a file, a folder, or a Hub dataset above. Its rows appear here as chats "
                    "and as tokens, with the loss mask highlighted."
                ),
                example=tr(
                    "A few hundred good rows are enough for a tone or a format, about a "
                    "thousand for a task."
                ),
            )
        )
        self.data.addWidget(results)
        card = Card()
        card.setMinimumWidth(520)
        card.add(self.data)
        self.body.addWidget(sources)
        settings = column(*self._make_settings(), None)
        self.body.addWidget(ResponsiveColumns(card, settings, (1, 0), right_width=_SETTINGS), 1)
        self.setAcceptDrops(True)

    def _make_settings(self) -> Sequence[Card]:
        used = Card(tr("Training options"))
        used.add(self.add_editor("train_on", style="combo"), self.add_editor("max_length"))
        more = CollapsibleSection()
        more.add(
            self.add_editor("too_long"),
            self.add_editor("thinking", style="combo"),
            self.add_editor("chat_template"),
            self.add_editor("system_prompt", style="text"),
        )
        used.add(more)
        validation = Card(tr("Validation"))
        validation.add(self.add_editor("validation_share"))
        more = CollapsibleSection()
        more.add(
            self.add_editor("validation_count"),
            self.add_editor("validation_file"),
            self.add_editor("group_column", control=self.group),
        )
        validation.add(more)
        return used, validation

    def _wire(self) -> None:
        state = self.state
        self.queries.ask.connect(self.ask)
        self.queries.outdated.connect(self.question_outdated)
        self.queries.canceled_by_user.connect(self.question_dropped)
        self.queries.changed.connect(self._show_status)
        self.queries.changed.connect(self.status_changed)
        self.rows.ask.connect(self.ask)
        self.status.cancel_clicked.connect(lambda kind: self.queries.cancel(cast(Kind, kind)))
        self.status.resume_clicked.connect(lambda kind: self.queries.resume(cast(Kind, kind)))
        self.sources.added.connect(self._add_recent)
        self.lengths.limit_chosen.connect(lambda limit: state.set(_STEP, "max_length", limit))
        self.findings.rows_requested.connect(self._show_finding)
        self.findings.change_requested.connect(lambda field, value: state.set(_STEP, field, value))
        self.footer.reason_clicked.connect(self._show_reason)
        state.value_changed.connect(self._on_value_changed)
        state.opened.connect(self._on_opened)
        state.facts_changed.connect(self._on_facts_changed)
        state.problems_changed.connect(lambda _: self._show_footer())
        find = QShortcut("Ctrl+F", self, self._find)
        find.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)

    # --- user actions -------------------------------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Accept files and folders anywhere on the page."""
        if get_dropped_paths(event):
            self.sources.set_hot(True)
            event.acceptProposedAction()

    def dragLeaveEvent(self, event: object) -> None:
        """Remove the highlight: nothing was dropped."""
        self.sources.set_hot(False)

    def dropEvent(self, event: QDropEvent) -> None:
        """Add the dropped files and folders to the sources."""
        self.sources.set_hot(False)
        if paths := get_dropped_paths(event):
            event.acceptProposedAction()
            self.sources.add_paths(paths)

    def on_shown(self) -> None:
        """Check the files again, because they may have changed on disk."""
        self.state.check_again()
        self.question_expected.emit("inspect_dataset")
        self.queries.send_due()

    def check_files(self) -> None:
        """Inspect the data again if its files have changed on disk."""
        self.queries.check_files()

    def reveal(self, editor: FieldEditor) -> None:
        """Also open the tab that contains the editor."""
        super().reveal(editor)
        if editor.field == "fixes":
            self.data.setCurrentIndex(1)
            self.tabs.setCurrentIndex(_FINDINGS)

    def _find(self) -> None:
        self.tabs.setCurrentIndex(_ROWS)
        self.rows.search.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.rows.search.selectAll()

    def _add_recent(self, paths: Sequence[str]) -> None:
        folder = self.state.draft.folder
        for path in paths:
            local = (folder / path) if folder else Path(path)
            self._preferences.add_recent_data(str(local.absolute()) if local.exists() else path)
        self.sources.set_recent(self._preferences.recent_data)

    def _show_finding(self, finding: events.Finding) -> None:
        self.tabs.setCurrentIndex(_ROWS)
        self.rows.show_only(_make_finding_filter(finding))

    def _show_reason(self, reason: Text) -> None:
        self.tabs.setCurrentIndex(_ROWS)
        if (finding := self._list_repaired().get(reason)) is not None:
            self.rows.show_only(_make_finding_filter(finding))
            return
        title = tr("Skipped: {reason}").format(reason=localize(reason))
        self.rows.show_only(RowFilter(f"skipped: {reason}", title, reason=reason))

    def _list_repaired(self) -> dict[Text, events.Finding]:
        """Return the findings whose rows a repair leaves out, by the reason why."""
        report = self.state.facts.findings
        return {
            REASONS[finding.fix]: finding
            for finding in (report.findings if report else ())
            if finding.fix in REASONS
        }

    def describe_unchecked(self) -> str:
        """Return a caption until all rows are read."""
        return self.queries.describe_unread()

    # --- questions and answers ----------------------------------------------------------------

    def on_event(self, event: object) -> None:
        """Track pending queries; their answers arrive through the project's facts."""
        self.queries.on_event(event)
        self.rows.on_event(event)

    def _on_opened(self) -> None:
        self.sources.base = self.state.draft.folder
        self._shown = None
        self._show_limit()
        self._show_dataset()
        self._show_lengths()
        self._show_findings()
        self._show_status()

    def _on_value_changed(self, step: str, field: str) -> None:
        if step == "training":
            self._show_steps()
        if step != _STEP:
            return
        if field in ("max_length", "too_long"):
            self._show_limit()
        if field == "sources":
            self._on_sources_changed()
        if field == "fixes":
            self._count_findings()
        self.rows.set_token_inputs(*self.queries.get_token_inputs())
        self._show_footer()

    def _on_sources_changed(self) -> None:
        """Keep rows and findings until the new answer, unless all their sources were removed."""
        answer = self.state.facts.dataset
        answered = {self._to_absolute(item.path) for item in answer.sources} if answer else set()
        current = {
            self._to_absolute(item["path"]) for item in data_sources.to_plain(self._get_sources())
        }
        if not answered & current:
            for name in ("dataset", "plan", "findings"):
                self.state.forget(name)
        self._show_sources()

    def _on_facts_changed(self, name: str) -> None:
        match name:
            case "dataset":
                self.status_changed.emit()
                self._show_limit()
                self._show_dataset()
                self._show_lengths()
            case "lengths" | "plan":
                self._show_lengths()
                self._show_footer()
            case "findings":
                self._show_findings()
                self._show_footer()
            case "model":
                self._show_lengths()
                self.rows.set_token_inputs(*self.queries.get_token_inputs())

    # --- display ------------------------------------------------------------------------------

    def _get_sources(self) -> Any:
        return self.state.get(_STEP, "sources")

    def _to_absolute(self, path: str) -> str:
        local = Path(path).expanduser()
        folder = self.state.draft.folder
        return str((folder / local).resolve()) if folder and (folder / local).exists() else path

    def _show_sources(self) -> None:
        answer = self.state.facts.dataset
        detected_sources = (
            {self._to_absolute(item.path): item for item in answer.sources} if answer else {}
        )
        sources = data_sources.to_plain(self._get_sources())
        detected = [detected_sources.get(self._to_absolute(item["path"])) for item in sources]
        self.sources.show_detected(detected, busy=self.queries.is_busy("inspect_dataset"))
        columns = {name: name for item in detected_sources.values() for name in item.columns}
        if columns != self._columns:
            self._columns = columns
            self.group.set_choices({"": tr("None")} | columns)

    def _show_dataset(self) -> None:
        answer = self.state.facts.dataset
        self.data.setCurrentIndex(0 if answer is None else 1)
        self._show_sources()
        self._show_footer()
        if answer is self._shown:
            return
        self._shown = answer
        if answer is None:
            self.rows.set_dataset(None)
            return
        inspected = self.queries.get_inspected_dataset() if answer.complete else None
        self.rows.set_dataset(
            inspected, answer.preview, rows=answer.rows_read, task=answer.task,
            sources=len(answer.sources),
        )  # fmt: skip
        self.rows.set_token_inputs(
            *(self.queries.get_token_inputs() if inspected else (None, None, ()))
        )

    def _show_limit(self) -> None:
        limit, too_long = self.state.get(_STEP, "max_length"), self.state.get(_STEP, "too_long")
        if isinstance(limit, int) and limit >= 16:
            answer = self.state.facts.dataset
            if answer is not None and answer.task is not None and TASKS[answer.task].is_document:
                too_long = "split"
            self.lengths.set_limit(limit, too_long if too_long in ("skip", "split") else "cut")

    def _show_lengths(self) -> None:
        is_chosen = self._get_sources() and self.state.get("model", "source")
        errors = [
            *checks.filter_errors(self.state.list_problems("model")),
            *checks.filter_errors(self.state.list_problems(_STEP)),
        ]
        self.lengths.show_lengths(
            self.state.facts.lengths, is_coming=bool(is_chosen) and not errors
        )
        self.lengths.show_plan(self.state.facts.plan)
        self._show_steps()

    def _show_steps(self) -> None:
        training, split = self.state.get_spec("training"), run_preview.split(self.state)
        if isinstance(training, TrainingSpec) and split and split.per_epoch:
            total = formatting.format_number(training.count_steps(split.per_epoch))
            self.lengths.show_steps(
                total if split.is_exact else tr("about {total}").format(total=total)
            )
        else:
            self.lengths.show_steps("")

    def _show_findings(self) -> None:
        busy = self.queries.is_busy("lint_dataset") and self.state.facts.findings is None
        self.findings.show_findings(
            self.state.facts.findings, tr("Checking the rows…") if busy else ""
        )
        self.tabs.setTabVisible(_LABELS, self.labels.show_labels(self.state.facts.findings))
        self._count_findings()

    def _count_findings(self) -> None:
        count, still_open = self.findings.count(), self.findings.open_count()
        title = tr("Findings ({open} of {count} open)") if still_open else tr("Findings")
        if still_open == count and count:
            title = tr("Findings ({count})")
        self.tabs.setTabText(_FINDINGS, title.format(open=still_open, count=count))
        report = self.state.facts.findings
        listed = [item for item in (report.findings if report else ()) if item.rows]
        every = tuple(dict.fromkeys(pair for item in listed for pair in item.rows))
        filters = [RowFilter("findings", tr("Rows with findings"), every)] if every else []
        self.rows.set_filters([*filters, *map(_make_finding_filter, listed)])

    def _show_status(self) -> None:
        running, declined = self.queries.get_running(), self.queries.get_canceled()
        at_work = running[0] if running else None
        if running is not None:
            self.status.show_running(*running)
        elif declined is not None:
            self.status.show_stopped(declined)
        else:
            self.status.show_nothing()
        if at_work != self._at_work:  # not for every progress event
            self._at_work = at_work
            self._show_sources()
            self._show_findings()

    def _show_footer(self) -> None:
        """Show the totals below the tabs and the steps among the lengths."""
        self._show_steps()
        answer, lengths, plan = (
            self.state.facts.dataset, self.state.facts.lengths, self.state.facts.plan,
        )  # fmt: skip
        if answer is None:
            return
        read, skipped = (plan or answer).rows_read, (plan or answer).skipped
        left_out = sum(item.count for item in skipped)
        # An estimate is of some rows only.
        measured = lengths.tokens if lengths and lengths.complete else None
        tokens = plan.tokens if plan else measured
        split = run_preview.split(self.state)
        problems = self.state.list_problems(_STEP)
        if any(problem.code == "dataset.no_usable_rows" for problem in problems):
            left_out, tokens, split = read, None, None
        parts = [
            tr_n(
                "{n} row read: {used} used, {skipped} skipped",
                "{n} rows read: {used} used, {skipped} skipped",
                read,
                used=formatting.format_number(read - left_out),
                skipped=formatting.format_number(left_out),
            )
            if answer.complete
            else tr_n("{n} row so far", "{n} rows so far", answer.rows_read),
            tr("{tokens} tokens per epoch").format(tokens=formatting.format_count(tokens))
            if tokens is not None
            else "",
            split.describe() if split and answer.complete else "",
        ]
        listed = {skip.reason for skip in answer.skipped} | self._list_repaired().keys()
        self.footer.show_totals(parts, skipped, listed)

    def _describe_setting(self, field: str, value: Any) -> str:
        about = self.state.get_facts(_STEP, field)
        title = about.choices.get(
            str(value), formatting.format_number(value) if type(value) is int else value
        )
        if about.unit:
            return tr("{setting}: {value} {unit}").format(
                setting=about.title, value=title, unit=tr(about.unit)
            )
        return tr("{setting}: {value}").format(setting=about.title, value=title)


def _make_finding_filter(finding: events.Finding) -> RowFilter:
    return RowFilter(finding.code, localize(finding.title), finding.rows)


def _hide_label(editor: FieldEditor) -> None:
    """Hide label and help text of an editor that the page labels itself."""
    editor.set_label_visible(False)
    editor.set_help("")


class LabelsView(QWidget):
    """Shows how many rows each label has, the most frequent first."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start without labels."""
        super().__init__(parent)
        self.summary = label("", "muted", wrap=True)
        self.table = BarTable(tr("Labels"))
        self.table.set_titles(
            tr("Label"), tr("Share"), ["", tr("Rows"), tr("Training"), tr("Validation")]
        )
        self._linted: events.DatasetLinted | None = None
        layout = column(self.summary, self.table, spacing=Spacing.S)
        layout.setContentsMargins(0, Spacing.M, 0, 0)
        self.setLayout(layout)

    def show_labels(self, linted: events.DatasetLinted | None) -> bool:
        """Show the labels that a check has counted; return whether there are any."""
        if linted is None or not linted.label_count:
            return False
        if linted is self._linted:
            return True
        self._linted = linted
        self.table.setVisible(bool(linted.labels))
        total = sum(each.rows for each in linted.labels)
        words = tr_n("{n} label", "{n} labels", linted.label_count)
        if linted.labels:
            rows = tr_n("{n} row", "{n} rows", total)
            words = tr("{labels}, {rows}. Repairs are applied.").format(labels=words, rows=rows)
        self.summary.setText(words)
        self.table.show_rows([_make_row(each, total) for each in linted.labels])
        return True


def _make_row(each: events.LabelCount, total: int) -> BarRow:
    share = each.rows / max(1, total)
    counts = (each.rows, each.training, each.validation)
    return BarRow(
        each.label,
        share,
        (formatting.format_percent(share), *map(formatting.format_number, counts)),
    )


_TILES = {
    "half": mark("Median"),
    "p90": mark("90th percentile"),
    "p99": mark("99th percentile"),
    "longest": mark("Longest"),
    "tokens": mark("Tokens per epoch"),
    "trained": mark("Trained tokens"),
    "rows": mark("Rows measured"),
    "steps": mark("Optimizer steps"),
}
_PERCENTILES = {"half": 50, "p90": 90, "p99": 99, "longest": 100}


class LengthsView(QWidget):
    """Statistics over the whole dataset, before truncation.

    Signals:
        limit_chosen(int): the user moved the line of the maximum length.
    """

    limit_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create an empty view."""
        super().__init__(parent)
        self.histogram = LengthHistogram()
        self.tiles = StatTiles(_TILES, columns=4)
        self.note = label(role="muted", wrap=True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, Spacing.S, 0, 0)
        layout.setSpacing(Spacing.M)
        layout.addWidget(self.histogram, 1)
        layout.addWidget(self.tiles)
        layout.addWidget(self.note)
        self.note.hide()
        self.setFocusProxy(self.histogram)
        self.histogram.limit_chosen.connect(self.limit_chosen)

    def show_lengths(
        self, measured: events.LengthsMeasured | None, *, is_coming: bool = False
    ) -> None:
        """Show measured lengths; None while they are unknown, and whether they are being measured."""
        self.histogram.set_lengths(measured, is_coming=is_coming)
        if measured is None:
            self.tiles.clear()
            self.note.hide()
            return
        lengths = {
            tile: tr_n("{n} token", "{n} tokens", measured.percentiles[level])
            for tile, level in _PERCENTILES.items()
            if level in measured.percentiles
        }
        rows = {"rows": formatting.format_number(measured.rows)}
        self.tiles.show_values(lengths | rows)
        self._show_tokens(measured.tokens, measured.trained_tokens)
        self.note.setVisible(not measured.complete)
        self.note.setText(tr("Still measuring. These values cover the rows read so far."))

    def show_plan(self, plan: events.DatasetPlanned | None) -> None:
        """Show the tokens of an epoch of the run, which are fewer than those of all rows."""
        if plan is not None:
            self._show_tokens(plan.tokens, plan.trained_tokens)

    def _show_tokens(self, tokens: int, trained: int) -> None:
        share = formatting.format_percent(trained / tokens if tokens else 0.0)
        self.tiles.show_values(
            {
                "tokens": formatting.format_count(tokens),
                "trained": f"{formatting.format_count(trained)} ({share})",
            }
        )

    def show_steps(self, steps: str) -> None:
        """Show the number of optimizer steps."""
        self.tiles.show_values({"steps": steps})

    def set_limit(self, limit: int, too_long: Literal["cut", "skip", "split"]) -> None:
        """Show the maximum length of the project."""
        self.histogram.set_limit(limit, too_long)


#: Maximum number of reasons shown; the filter of the table has all of them.
_REASONS = 4


class DatasetFooter(QWidget):
    """One line of totals, and below it a link for each reason why rows are skipped.

    Signals:
        reason_clicked(Text): show the rows that are skipped for this reason.
    """

    reason_clicked = Signal(object)  # Text

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create an empty footer."""
        super().__init__(parent)
        self.totals = label(wrap=True)
        self.reasons = QWidget()
        self._flow = FlowLayout(self.reasons, spacing=Spacing.L)
        self.reasons.setContentsMargins(
            Spacing.XS, 0, 0, 0
        )  # links extend beyond their text on the left
        self._shown: list[tuple[events.Skipped, bool]] = []
        self.setLayout(column(self.totals, self.reasons, spacing=Spacing.XS))

    def show_totals(
        self,
        parts: Sequence[str],
        skipped: Sequence[events.Skipped],
        listed: Collection[Text],
    ) -> None:
        """Show totals side by side, and the reasons for skipped rows.

        Those in `listed` are links, because the table can show their rows.
        """
        self.totals.setText("  ·  ".join(part for part in parts if part))
        self.reasons.setVisible(bool(skipped))
        shown = [(skip, skip.reason in listed) for skip in skipped]
        if shown != self._shown:
            self._shown = shown
            self._fill()

    def _fill(self) -> None:
        clear_layout(self._flow)
        for skip, is_listed in self._shown[:_REASONS]:
            caption = tr_n(
                "{n} row skipped: {reason}",
                "{n} rows skipped: {reason}",
                skip.count,
                reason=localize(skip.reason),
            )
            if not is_listed:
                self._flow.addWidget(label(caption, "warn"))
                continue
            show = button(
                caption,
                self._make_click_handler(skip.reason),
                kind="link",
                icon="warning",
                role="warn",
            )
            show.setToolTip(plain_tip(_show_them(skip)))
            self._flow.addWidget(show)
        hidden = sum(skip.count for skip, _ in self._shown[_REASONS:])
        if hidden:
            self._flow.addWidget(
                label(
                    tr_n(
                        "{n} row skipped for other reasons",
                        "{n} rows skipped for other reasons",
                        hidden,
                    ),
                    "muted",
                )
            )

    def _make_click_handler(self, reason: Text) -> Callable[[], None]:
        return lambda: self.reason_clicked.emit(reason)


def _show_them(item: events.Skipped) -> str:
    row_numbers = ", ".join(map(formatting.format_number, item.rows[:5]))
    if not row_numbers:
        return tr("Show these rows")
    more = ", …" if item.count > len(item.rows[:5]) else ""
    return tr_n(
        "Show these rows: row {rows}",
        "Show these rows: rows {rows}",
        item.count,
        rows=row_numbers + more,
    )


_FIXED: tuple[str, Role] = ("check", "ok")
_SIGNS: dict[str, tuple[str, Role]] = {
    "error": ("error", "error"),
    "warning": ("warning", "warn"),
    "hint": ("info", "muted"),
}


class FindingsView(Control):
    """Editor of the fixes: one click applies a fix, another undoes it.

    Signals:
        rows_requested(Finding): show the rows of a finding.
        change_requested(field, value): change another setting of this step, as a finding suggests.
    """

    rows_requested = Signal(object)
    change_requested = Signal(str, object)
    has_title = True

    def __init__(
        self, about: FieldFacts, in_words: Callable[[str, Any], str], parent: QWidget | None = None
    ) -> None:
        """Create an empty view; `in_words` returns the button text for setting a field to a value."""
        super().__init__(parent)
        self._titles, self._in_words = about.choices, in_words
        self._fixes: tuple[str, ...] = ()
        self._linted: events.DatasetLinted | None = None
        self._note = ""
        self._buttons: dict[str, QWidget] = {}  # the button of each repair
        self._area = make_scroll_area(None, about.title)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, Spacing.S, 0, 0)
        layout.addWidget(self._area)
        self.setFocusProxy(self._area)
        self._fill()

    def show_value(self, value: Any) -> None:
        """Show which fixes are active."""
        fixes = tuple(value) if isinstance(value, list | tuple) else ()
        if fixes != self._fixes:
            self._fixes = fixes
            self._fill()

    def show_findings(self, linted: events.DatasetLinted | None, note: str = "") -> None:
        """Show the findings; `note` says why there are none yet."""
        if (linted, note) != (self._linted, self._note):
            self._linted, self._note = linted, note
            self._fill()

    def open_count(self) -> int:
        """Return the number of findings that aren't fixed."""
        findings = self._linted.findings if self._linted else ()
        return sum(not self._is_fixed(item) for item in findings)

    def count(self) -> int:
        """Return the number of listed findings, fixed ones included."""
        findings = self._linted.findings if self._linted else ()
        return len(findings) + sum(all(item.fix != fix for item in findings) for fix in self._fixes)

    # --- helpers ------------------------------------------------------------------------------

    def _fill(self) -> None:
        self._buttons = {}
        inner = QWidget()
        inner.setObjectName("scrolled")
        rows = QVBoxLayout(inner)
        rows.setContentsMargins(0, 0, Spacing.S, 0)
        rows.setSpacing(0)
        findings = self._linted.findings if self._linted else ()
        if text := self._format_heading(findings):
            rows.addWidget(label(text, "muted", wrap=True))
            rows.addSpacing(Spacing.S)
        for finding in findings:
            rows.addWidget(separator())
            rows.addWidget(self._make_row(finding))
        for fix in self._fixes:
            if all(finding.fix != fix for finding in findings):
                rows.addWidget(separator())
                rows.addWidget(self._make_repair(fix))
        rows.addStretch(1)
        self._area.setWidget(inner)

    def _format_heading(self, findings: Sequence[Finding]) -> str:
        if self._note:
            return self._note
        if self._linted is None:
            return tr("Data problems appear here once all rows are read.")
        checked = (
            tr_n(
                "{n} row checked. Fixes are saved in the project; your files don't change.",
                "{n} rows checked. Fixes are saved in the project; your files don't change.",
                self._linted.rows,
            )
            if findings
            else tr_n(
                "{n} row checked. No problems found.",
                "{n} rows checked. No problems found.",
                self._linted.rows,
            )
        )
        return (
            f"{checked}\n{_describe_pairs(self._linted.pairs)}" if self._linted.pairs else checked
        )

    def _make_row(self, finding: Finding) -> QWidget:
        fixed = self._is_fixed(finding)
        name, role = _FIXED if fixed else _SIGNS[finding.severity]
        title = f"{localize(finding.title)}  ·  {tr_n('{n} row', '{n} rows', finding.count)}"
        texts = column(
            label(title, "label", wrap=True),
            label(localize(finding.what), "muted", wrap=True),
            spacing=2,
        )
        buttons = [self._show_rows(finding)] if finding.rows else []
        if finding.fix is not None:
            buttons.append(self._fix_button(finding.fix, fixed, localize(finding.title)))
        elif finding.change is not None:
            buttons.append(self._make_change_button(*finding.change))
        if fixed:
            texts.addWidget(
                label(tr("Fixed: {fix}").format(fix=self._titles.get(finding.fix or "", "")), "ok")
            )
        return _make_finding_row(name, role, texts, buttons)

    def _make_repair(self, fix: str) -> QWidget:
        texts = column(
            label(self._titles.get(fix, fix), "label", wrap=True),
            label(tr("Active, but no row needs it now."), "muted", wrap=True),
            spacing=2,
        )
        return _make_finding_row(
            "check", "ok", texts, [self._fix_button(fix, True, self._titles.get(fix, fix))]
        )

    def _show_rows(self, finding: Finding) -> QWidget:
        widget = button(tr("Show rows"), lambda: self.rows_requested.emit(finding), kind="link")
        widget.setAccessibleName(tr("Show rows: {title}").format(title=localize(finding.title)))
        return widget

    def _fix_button(self, fix: str, fixed: bool, title: Template | Text) -> QWidget:
        widget = button(tr("Undo fix") if fixed else tr("Fix"), lambda: self._toggle(fix))
        widget.setMinimumWidth(96)
        widget.setToolTip(plain_tip(self._titles.get(fix, fix)))
        name = tr("Undo fix: {title}") if fixed else tr("Fix: {title}")
        widget.setAccessibleName(name.format(title=title))
        self._buttons[fix] = widget
        return widget

    def _make_change_button(self, field: str, value: Any) -> QWidget:
        return button(
            self._in_words(field, value), lambda: self.change_requested.emit(field, value)
        )

    def _is_fixed(self, finding: Finding) -> bool:
        return finding.fix is not None and finding.fix in self._fixes

    def _toggle(self, fix: str) -> None:
        remaining = [name for name in self._fixes if name != fix]
        self.edited.emit(remaining if fix in self._fixes else [*remaining, fix])
        self.left.emit()
        if (rebuilt := self._buttons.get(fix)) is not None:
            rebuilt.setFocus(Qt.FocusReason.OtherFocusReason)  # the rows were rebuilt


def _describe_pairs(pairs: events.SearchPairCounts) -> str:
    """Return what pairs for search consist of."""
    return tr_n(
        "{n} pair, {negatives} with a hard negative: {queries} different queries, {passages} different passages.",
        "{n} pairs, {negatives} with a hard negative: {queries} different queries, {passages} different passages.",
        pairs.pairs,
        negatives=format_number(pairs.with_negative),
        queries=format_number(pairs.queries),
        passages=format_number(pairs.passages),
    )


def _make_finding_row(icon: str, role: Role, texts: Any, buttons: Sequence[QWidget]) -> QWidget:
    """Return a row of an icon, text, and buttons on the right."""
    widget = QWidget()
    glyph = Glyph(icon, role)
    layout = row(glyph, texts, *buttons, spacing=Spacing.M)
    layout.setContentsMargins(0, Spacing.M, 0, Spacing.M)
    layout.setAlignment(glyph, Qt.AlignmentFlag.AlignTop)
    layout.setStretch(1, 1)
    for button_ in buttons:
        layout.setAlignment(button_, Qt.AlignmentFlag.AlignTop)
    widget.setLayout(layout)
    return widget
