"""The dataset step: sources, rows as the model sees them, lengths, findings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from PySide6.QtCore import Qt
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QShortcut
from PySide6.QtWidgets import QStackedWidget, QTabWidget, QWidget

from lora_studio.core import formatting
from lora_studio.core.dataset.repairs import REASONS
from lora_studio.core.messages import Text
from lora_studio.core.problems import Step
from lora_studio.core.project import checks
from lora_studio.core.protocol import events
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.gui.controls.choices import ComboControl
from lora_studio.gui.controls.field_editor import FieldEditor
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.message_translation import localize
from lora_studio.gui.pages.dataset.findings_view import FindingsView
from lora_studio.gui.pages.dataset.footer import DatasetFooter
from lora_studio.gui.pages.dataset.labels_view import LabelsView
from lora_studio.gui.pages.dataset.lengths_view import LengthsView
from lora_studio.gui.pages.dataset.queries import DatasetQueries, Kind
from lora_studio.gui.pages.dataset.row_browser import RowBrowser, RowFilter
from lora_studio.gui.pages.dataset.source_list import SourceList
from lora_studio.gui.pages.page import StepPage
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project import data_sources, run_preview
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.widgets.basics import Card, CollapsibleSection, EmptyState, column
from lora_studio.gui.widgets.columns import ResponsiveColumns
from lora_studio.gui.widgets.drag_and_drop import get_dropped_paths
from lora_studio.gui.widgets.task_status import TaskStatus

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
            self.lengths.set_limit(limit, "skip" if too_long == "skip" else "cut")

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
