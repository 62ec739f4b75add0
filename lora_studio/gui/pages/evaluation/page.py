"""The Evaluate page: is a model better than the base model, and what has it forgotten?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, QRectF, Qt, QTimer, Signal
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import (
    QComboBox,
    QFrame,
    QGridLayout,
    QMenu,
    QPushButton,
    QScrollArea,
    QStackedWidget,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core import formatting
from lora_studio.core.evaluation import forgetting, preferences, report, storage, summary
from lora_studio.core.evaluation.columns import Column
from lora_studio.core.evaluation.preferences import Preference, PreferenceVote
from lora_studio.core.evaluation.results import EvaluationResults, overlay
from lora_studio.core.evaluation.statistics import Interval
from lora_studio.core.evaluation.storage import EvaluationFolder
from lora_studio.core.evaluation.summary import DifferenceVerdict, EvaluationSummary
from lora_studio.core.playground import Playground, Vote
from lora_studio.core.problems import Problem, ProblemError, Where, fail
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import chat_models, names
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.runs.chat_models import ChatModelOption
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import describe_os_error, write_atomic
from lora_studio.gui import language
from lora_studio.gui.jobs.control import JobRecord
from lora_studio.gui.jobs.debounced_query import DebouncedQuery
from lora_studio.gui.language import mark, tr, tr_n
from lora_studio.gui.message_translation import localize, localize_problem, localize_stage
from lora_studio.gui.pages.evaluation.result_views import (
    ResultRowView,
    ScoreTable,
    format_column,
    list_column_names,
)
from lora_studio.gui.pages.evaluation.setup_form import BenchmarkDialog, SetupForm
from lora_studio.gui.pages.page import AppPage
from lora_studio.gui.plots.score_plots import ChangePlot, ScoreChange, TradeOffPlot
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import Spacing, color, get_theme
from lora_studio.gui.threads import BackgroundReader, TaskRunner
from lora_studio.gui.widgets.basics import (
    Card,
    EmptyState,
    LabelRole,
    button,
    clear_layout,
    column,
    flow_row,
    label,
    make_scroll_area,
)
from lora_studio.gui.widgets.columns import ResponsiveSplitter
from lora_studio.gui.widgets.file_dialogs import choose_file_to_write
from lora_studio.gui.widgets.progress_line import ProgressLine
from lora_studio.gui.widgets.tooltips import plain_tip

#: Milliseconds between two reads of an evaluation that is running.
_READ_EVERY = 3000
#: Least height of the tabs of the results, in pixels at a text size of 100 %.
_TABS = 330
_EMPTY, _SETUP, _RESULTS = range(3)


class EvaluationPage(AppPage):
    """Chooses what to evaluate, follows the evaluation, and shows what came out.

    Signals:
        start_requested(command, run): start or continue an evaluation.
        pause_requested: end the running evaluation after the current batch; it can be continued.
        cancel_requested: end the running evaluation now; answers so far stay.
        question_outdated(command): drop the answer to a question.
    """

    name = "evaluation"
    title = mark("Evaluate")

    start_requested = Signal(object, object)
    pause_requested = Signal()
    cancel_requested = Signal()
    question_outdated = Signal(object)

    def __init__(self, state: ProjectState, parent: QWidget | None = None) -> None:
        """Build the page for the open project."""
        super().__init__(parent, scrolls=False)
        self._state = state
        self.library = EvaluationLibrary(self)
        self.record = JobRecord("evaluate")
        self.query = DebouncedQuery(self._make_query, self)
        self.run_choice, self.evaluation_choice = QComboBox(), QComboBox()
        self.setup_form, self.verdict, self.scores = (
            SetupForm(),
            EvaluationVerdictCard(),
            ScoreTable(),
        )
        self.rows, self.change_view = ResultRowView(), ChangeView()
        self.preferences = PreferenceView()
        self.export, self.overlay = ExportMenu(), OverlayMenu()
        self.progress, self.content, self.tabs = ProgressLine(), QStackedWidget(), QTabWidget()
        self.new = button(tr("New evaluation"), self._show_setup, icon="plus")
        self.back_to_results = button(tr("Show results"), self._show_results)
        self.pause = button(tr("Pause"), self.pause_requested.emit, icon="pause")
        self.cancel = button(tr("Cancel"), self.cancel_requested.emit, icon="stop")
        self.choices: list[RunChoice] = []
        self.shown: ReadEvaluation | None = None
        self._wanted = ""  # the evaluation that is running, to show as soon as it is listed
        self._read_timer = QTimer(self, singleShot=True, interval=_READ_EVERY)
        self._build()
        self._wire()
        self._on_opened()

    # --- events -------------------------------------------------------------------------------

    def on_shown(self) -> None:
        """List the runs again, which may have been trained or evaluated."""
        self.library.refresh(self._state.runs_folder)
        self.query.schedule()

    def on_event(self, event: object) -> None:
        """Follow an evaluation, and show what test sets contain."""
        self.query.on_event(event)
        if (dialog := self.findChild(BenchmarkDialog)) is not None:
            dialog.on_event(event)
        is_mine = self.record.apply(event)
        match event:
            case events.TestSetsInspected():
                self.setup_form.show_reports(event.test_sets, event.items)
            case events.OllamaFound():
                self.setup_form.show_ollama_models(event.host, event.models)
            case events.EvaluationStarted() if is_mine:
                self._wanted = event.evaluation
                self.library.refresh(self._state.runs_folder)
            case events.AnswersRecorded() if is_mine:
                self._show_progress(event)
                if not self._read_timer.isActive() and self.isVisible():
                    self._read_timer.start()
            case events.Progress() if is_mine:
                share = event.done / event.total if event.total else None
                self.progress.show_progress(localize_stage(event.stage), share, event.eta_s)
            case events.Done() | events.Failed() | events.Cancelled() if is_mine:
                self._read_timer.stop()
                self.library.refresh(self._state.runs_folder)
        if is_mine:
            self._show_state()

    def stop_background_work(self) -> None:
        """Stop background work."""
        self._read_timer.stop()
        self.query.forget()
        for part in (self.library, self.rows, self.export):
            part.stop_background_work()

    def _on_opened(self) -> None:
        self.library.stop_background_work()
        self.record.clear()
        self.choices, self.shown, self._wanted = [], None, ""
        self.export.set_evaluation(None)
        self._fill_runs()
        if self.isVisible():
            self.library.refresh(self._state.runs_folder)

    def _on_run_changed(self) -> None:
        self._show_state()
        if self.isVisible() and not self._state.running:
            self.library.refresh(self._state.runs_folder)

    def _show_progress(self, event: events.AnswersRecorded) -> None:
        share = event.done / event.total if event.total else None
        doing = tr("{column}: {done} of {total} answers").format(
            column=event.column, done=event.done, total=event.total
        )
        self.progress.show_progress(doing, share, event.eta_s)

    # --- choosing -----------------------------------------------------------------------------

    def _on_listed(self, choices: Sequence[RunChoice]) -> None:
        self.choices = list(choices)
        self._fill_runs()
        self.query.schedule()

    def _fill_runs(self) -> None:
        before = self._get_choice()
        wanted = before.run if before is not None else self._state.run
        self.run_choice.clear()
        for choice in self.choices:
            self.run_choice.addItem(choice.name, choice)
        position = [n for n, choice in enumerate(self.choices) if choice.run == wanted]
        self.run_choice.setCurrentIndex(position[0] if position else 0 if self.choices else -1)
        self.run_choice.setVisible(bool(self.choices))
        after = self._get_choice()
        if after is None or before is None or after.columns != before.columns:
            self.setup_form.show_columns(after.columns if after is not None else ())
        self._show_options()
        self._fill_evaluations()

    def _get_choice(self) -> RunChoice | None:
        choice = self.run_choice.currentData()
        return choice if isinstance(choice, RunChoice) else None

    def _on_run_chosen(self) -> None:
        choice = self._get_choice()
        self.setup_form.show_columns(choice.columns if choice is not None else ())
        self._fill_evaluations()
        self.query.schedule()

    def _fill_evaluations(self) -> None:
        choice = self._get_choice()
        folders = choice.evaluations if choice is not None else ()
        shown = self._wanted or (self.shown.folder.path.name if self.shown else "")
        self.evaluation_choice.clear()
        for folder in folders:
            self.evaluation_choice.addItem(_format_evaluation(folder), folder)
        names = [folder.path.name for folder in folders]
        self.evaluation_choice.setCurrentIndex(names.index(shown) if shown in names else min(0, len(names) - 1))  # fmt: skip
        is_new = self._wanted in names and bool(self._wanted)
        if is_new:
            self._wanted = ""
        self._open_chosen()
        if not folders:
            self._show_setup()
        elif is_new or self.content.currentIndex() == _EMPTY:
            self._show_results()
        self._show_state()

    def _open_chosen(self) -> None:
        folder = self.evaluation_choice.currentData()
        if not isinstance(folder, EvaluationFolder):
            self.shown = None
            self.export.set_evaluation(None)
            folder = None
        self.overlay.show_evaluations(self._list_others(folder))
        self.library.open(folder, self.overlay.chosen)

    def _list_others(self, shown: EvaluationFolder | None) -> dict[EvaluationFolder, str]:
        """Return all evaluations but the shown one, with their titles."""
        return {
            folder: f"{choice.name}, {_format_evaluation(folder)}"
            for choice in self.choices
            for folder in choice.evaluations
            if folder != shown
        }

    def _show_options(self) -> None:
        """Offer the models of other runs."""
        chosen = self._get_choice()
        options: list[ChatModelOption] = []
        for choice in self.choices:
            if chosen is None or choice.run != chosen.run:
                options += chat_models.list_run_chat_models(choice.run)
        self.setup_form.menu.show_options(options)

    def _find_ollama(self) -> None:
        self.ask.emit(commands.InspectOllama(host=self._state.get_ollama_host()))

    def _ask_for_benchmark(self) -> None:
        dialog = BenchmarkDialog(self)
        dialog.ask.connect(self.ask)
        dialog.outdated.connect(self.question_outdated)
        dialog.chosen.connect(self.setup_form.add_test_set)
        dialog.open()

    def _make_query(self) -> commands.InspectTestSets | None:
        choice, test_sets = self._get_choice(), self.setup_form.list_test_sets()
        if choice is None or not test_sets or not self.isVisible():
            return None
        return commands.InspectTestSets(run=str(choice.run.path), test_sets=test_sets)

    # --- display ------------------------------------------------------------------------------

    def _on_read(self, read: ReadEvaluation) -> None:
        self.shown = read
        self.verdict.show_results(
            read.results, read.summary, read.preferences, note=self.overlay.describe()
        )
        for part in (self.scores, self.rows, self.change_view):
            part.show_results(read.results, read.summary)
        self.preferences.show_results(read.results, read.preferences)
        self.export.set_evaluation(read)
        self._show_state()

    def _on_read_failed(self, problem: Problem) -> None:
        """Report it, and show the evaluation alone if the others can't be overlaid."""
        self._state.messages.problem(problem)
        if self.overlay.chosen:
            self.overlay.choose(())

    def _show_setup(self) -> None:
        self.content.setCurrentIndex(_SETUP if self.choices else _EMPTY)
        self._show_state()
        self.query.schedule()

    def _show_results(self) -> None:
        self.content.setCurrentIndex(_RESULTS)
        self._show_state()

    def _show_state(self) -> None:
        """Show which buttons make sense now."""
        is_running = self._state.running == "evaluate"
        is_setup = self.content.currentIndex() == _SETUP
        can_continue = self._can_continue()
        self.progress.setVisible(is_running)
        self.pause.setVisible(is_running)
        self.cancel.setVisible(is_running)
        for each in (self.pause, self.cancel):
            each.setEnabled(not self._state.stopping)
        self.new.setVisible(not is_setup and bool(self.choices))
        self.back_to_results.setVisible(is_setup and self.evaluation_choice.count() > 0)
        self.evaluation_choice.setVisible(not is_setup and self.evaluation_choice.count() > 0)
        self.export.setVisible(not is_setup and bool(self.choices))
        has_others = len(self._list_others(None)) > 1
        self.overlay.setVisible(not is_setup and has_others)
        primary = self.header.primary
        primary.setVisible(bool(self.choices) and not is_running and (is_setup or can_continue))
        primary.setText(tr("Evaluate") if is_setup else tr("Continue evaluation"))
        blocker = self.setup_form.find_blocker() if is_setup else None
        if self._state.running and not is_running:
            blocker = tr("Wait until the running job finishes.")
        primary.setEnabled(blocker is None)
        primary.setToolTip(plain_tip(blocker or tr("{action} (Ctrl+Enter)").format(action=primary.text())))  # fmt: skip

    def _can_continue(self) -> bool:
        folder = self.evaluation_choice.currentData()
        shown = self.shown
        return shown is not None and shown.folder == folder and not shown.is_complete

    # --- user actions -------------------------------------------------------------------------

    def _on_primary(self) -> None:
        choice = self._get_choice()
        if choice is None:
            return
        run = str(choice.run.path)
        if self.content.currentIndex() == _SETUP:
            if self.setup_form.find_blocker() is not None:
                return
            self._request(commands.Evaluate(run=run, plan=self.setup_form.make_plan()), choice.run)
        elif self.shown is not None:
            name = self.shown.folder.path.name
            self._request(commands.Evaluate(run=run, evaluation=name), choice.run)

    def _request(self, command: commands.Evaluate, run: RunFolder) -> None:
        self.progress.show_progress(tr("Starting"), None)
        self.start_requested.emit(command, run)

    def _on_written(self, path: Path) -> None:
        self._state.messages.success(tr("Exported to {file}.").format(file=path))

    # --- building -----------------------------------------------------------------------------

    def _build(self) -> None:
        self.run_choice.setAccessibleName(tr("Run"))
        self.evaluation_choice.setAccessibleName(tr("Evaluation"))
        for box in (self.run_choice, self.evaluation_choice):
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
            box.setMaximumWidth(520)
        for part in (self.pause, self.cancel, self.new, self.back_to_results):
            self.header.extra.addWidget(part)
        tools = flow_row(
            self.run_choice, self.evaluation_choice, self.overlay, at_right=self.export
        )
        self.content.addWidget(self._make_empty_state())
        form = make_scroll_area(self.setup_form, tr("New evaluation"), sideways=True)
        self.content.addWidget(form)
        self.tabs.addTab(self.scores, tr("Scores"))
        self.tabs.addTab(self.rows, tr("Rows"))
        self.tabs.addTab(self.change_view, tr("Gain and forgetting"))
        self.tabs.addTab(self.preferences, tr("Preferred answers"))
        self.tabs.setDocumentMode(True)
        self.tabs.tabBar().setAccessibleName(tr("Results"))
        results = QWidget()
        results.setLayout(column(self.verdict, self.tabs, spacing=Spacing.M))
        results_layout = results.layout()
        assert results_layout is not None
        # With large text, the verdict would leave no room for the tabs, so the page scrolls.
        set_scaled_sizes(self.tabs, at_least=_TABS)
        self.content.addWidget(make_scroll_area(results, tr("Results"), sideways=True))
        self.body.addWidget(tools)
        self.body.addWidget(self.progress)
        self.body.addWidget(self.content, 1)

    def _make_empty_state(self) -> EmptyState:
        return EmptyState(
            tr("Nothing to evaluate yet"),
            tr(
                "Train an adapter first. Then find out here whether it answers better than the base "
                "model, and whether it has forgotten anything."
            ),
            button(tr("Go to Train"), lambda: self.go_to.emit("training"), icon="train"),
        )

    def _wire(self) -> None:
        self._state.opened.connect(self._on_opened)
        self._state.run_changed.connect(self._on_run_changed)
        self.library.listed.connect(self._on_listed)
        self.library.read.connect(self._on_read)
        self.library.failed.connect(self._on_read_failed)
        self.overlay.changed.connect(self._open_chosen)
        self.export.written.connect(self._on_written)
        self.export.failed.connect(self._state.messages.problem)
        self.query.ask.connect(self.ask)
        self.query.outdated.connect(self.question_outdated)
        self.run_choice.activated.connect(lambda _: self._on_run_chosen())
        self.evaluation_choice.activated.connect(lambda _: self._open_chosen())
        self.setup_form.changed.connect(self._show_state)
        self.setup_form.changed.connect(self.query.schedule)
        self.setup_form.ollama_requested.connect(self._find_ollama)
        self.setup_form.benchmark_requested.connect(self._ask_for_benchmark)
        self.header.primary.clicked.connect(self._on_primary)
        self._read_timer.timeout.connect(self._open_chosen)


def _format_evaluation(folder: EvaluationFolder) -> str:
    """Return when an evaluation was started, which is its name."""
    return formatting.format_run_name(f"{folder.path.name[:15]}-x").partition(" ·")[0]


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
            action.triggered.connect(lambda is_on, folder=folder: self._toggle(folder, is_on))

    def _toggle(self, folder: EvaluationFolder, is_on: bool) -> None:
        others = [each for each in self.chosen if each != folder]
        self.choose([*others, folder] if is_on else others)

    def _show_count(self) -> None:
        count = len(self.chosen)
        title = tr("Compare with")
        self.setText(f"{title} ({count})" if count else title)
        self.setEnabled(bool(self._titles))


_BAR_HEIGHT = 14


class PreferenceView(QScrollArea):
    """Shows the preferences of the judge, and those of people, for each pair of models."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self.texts: list[str] = []
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setProperty("surface", "stop")
        self.setAccessibleName(tr("Preferred answers"))
        self._inside = QWidget()
        self._inside.setObjectName("scrolled")
        self._layout = QVBoxLayout(self._inside)
        self._layout.setContentsMargins(0, Spacing.M, Spacing.M, 0)
        self._layout.setSpacing(Spacing.L)
        self.setWidget(self._inside)

    def show_results(self, results: EvaluationResults, shown: Sequence[Preference]) -> None:
        """Show the preferences of the judge of an evaluation, and those of people."""
        clear_layout(self._layout)
        self.texts = []
        names = list_column_names(results.plan)
        for each in shown:
            self._add(each, names)
        if not self.texts:
            self._layout.addWidget(label(tr("To compare answers in pairs, turn on the judge in a new evaluation, or vote on these models in the Playground."), "muted", wrap=True))  # fmt: skip
        self._layout.addStretch(1)

    def _add(self, shown: Preference, names: dict[str, str]) -> None:
        pair = tr("{model} compared with {other}").format(model=names[shown.column], other=names[shown.baseline])  # fmt: skip
        sentence = localize(shown.sentence)
        if shown.unknown:
            sentence += "  ·  " + tr_n("{n} without a verdict", "{n} without a verdict", shown.unknown)  # fmt: skip
        heading = label(f"{pair}  ·  {localize(shown.judged_by)}", "label", wrap=True)
        self._layout.addLayout(
            column(heading, PreferenceBar(shown), label(sentence, wrap=True), spacing=Spacing.XS)
        )
        self.texts.append(f"{pair}: {sentence}")


class PreferenceBar(QWidget):
    """A bar of wins, ties, and losses; a mark shows the share with its interval."""

    def __init__(self, preference: Preference, parent: QWidget | None = None) -> None:
        """Show a preference."""
        super().__init__(parent)
        self._preference = preference
        set_scaled_sizes(self, height=_BAR_HEIGHT)
        self.setAccessibleDescription(localize(preference.sentence))
        get_theme().changed.connect(self.update)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the three parts, the middle, and the interval."""
        shown = self._preference
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        width, height, left = float(self.width()), float(self.height()), 0.0
        for count, role in ((shown.wins, "ok"), (shown.ties, "line"), (shown.losses, "error")):
            part = width * count / max(1, shown.compared)
            painter.fillRect(QRectF(left, 0, part, height), QColor(color(role)))
            left += part
        painter.setPen(QPen(QColor(color("muted")), 1, Qt.PenStyle.DashLine))
        painter.drawLine(int(width / 2), 0, int(width / 2), self.height())
        painter.setPen(QPen(QColor(color("text")), 2))
        middle = self.height() // 2
        low, high = int(width * shown.interval.low), int(width * shown.interval.high)
        painter.drawLine(low, middle, high, middle)
        for end in (low, high):
            painter.drawLine(end, middle - 3, end, middle + 3)
        painter.end()


class ChangeView(QWidget):
    """Shows the changes of each model against the baseline: on the task, and in general abilities."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__(parent)
        self.note = label(role="caption", wrap=True)
        self.changes, self.trade_off = ChangePlot(), TradeOffPlot()
        gain, self._points = Card(tr("Gain and forgetting")), Card(tr("Gain over forgetting"))
        gain.body.addWidget(self.changes, 1)
        self._points.body.addWidget(self.trade_off, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, Spacing.M, 0, 0)
        layout.setSpacing(Spacing.M)
        layout.addWidget(self.note)
        layout.addWidget(ResponsiveSplitter(gain, self._points, (3, 2)), 1)

    def show_results(self, results: EvaluationResults, shown: EvaluationSummary) -> None:
        """Show an evaluation."""
        names = list_column_names(results.plan)
        others = [key for key in names if key != shown.baseline]
        is_measured = forgetting.KEY in shown.metrics
        self.note.setText(
            tr("Changes against {name} in percentage points, with 95 % intervals.").format(
                name=names[shown.baseline]
            )
            if is_measured
            else tr("To see what was forgotten, include the test set “Forgetting”.")
        )
        self._show_changes(results, shown, names, others)
        self._show_points(shown, names, others)

    def _show_changes(
        self,
        results: EvaluationResults,
        shown: EvaluationSummary,
        names: dict[str, str],
        others: list[str],
    ) -> None:
        tasks = {
            key: metrics[0]
            for key, metrics in shown.metrics.items()
            if key != forgetting.KEY and metrics and not summary.is_lower_better(metrics[0])
        }
        titles = {each.key: localize(each.title) for each in results.plan.test_sets}
        categories = [key for key in forgetting.CATEGORIES if key != forgetting.TEXT_CATEGORY]
        if forgetting.KEY not in shown.metrics:
            categories = []
        subjects = [titles.get(key, key) for key in tasks]
        subjects += [localize(forgetting.format_category(key)) for key in categories]
        series = []
        for other in others:
            report = shown.forgetting.get(other)
            verdicts = [shown.verdicts.get((key, name, other)) for key, name in tasks.items()]
            verdicts += [report.categories.get(key) if report else None for key in categories]
            series.append((names[other], [_to_change(verdict) for verdict in verdicts]))
        self.changes.show_changes(subjects, series)

    def _show_points(
        self, shown: EvaluationSummary, names: dict[str, str], others: list[str]
    ) -> None:
        points = []
        for key in others:
            gain, report = shown.get_main_verdict(key), shown.forgetting.get(key)
            change = _average_change(report.categories) if report is not None else math.nan
            if gain is not None and math.isfinite(change):
                points.append((names[key], 100 * change, 100 * gain.difference.change))
        self.trade_off.show_points(points)
        self._points.setVisible(bool(points))


def _to_change(verdict: DifferenceVerdict | None) -> ScoreChange | None:
    if verdict is None:
        return None
    low, high = verdict.difference.interval.low, verdict.difference.interval.high
    return ScoreChange(100 * verdict.difference.change, Interval(100 * low, 100 * high))


def _average_change(categories: dict[str, DifferenceVerdict]) -> float:
    """Return the mean change of all items but the plain text, NaN without any."""
    differences = [
        verdict.difference for key, verdict in categories.items() if key != forgetting.TEXT_CATEGORY
    ]
    rows = sum(difference.rows for difference in differences)
    return sum(d.rows * d.change for d in differences) / rows if rows else math.nan


#: The formats by the suffix of the file.
WRITERS: dict[str, Callable[[EvaluationResults, Iterable[PreferenceVote]], str]] = {
    ".csv": report.to_csv,
    ".json": report.to_json,
    ".html": lambda results, votes: report.build_report(
        results, votes, translate=localize, language=language.get_current()
    ),
}


class ExportMenu(QPushButton):
    """A button with a menu of formats.

    Signals:
        written(path): a file was written.
        failed(problem): a file can't be written.
    """

    written = Signal(object)
    failed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        """Create the button, disabled until there is an evaluation."""
        super().__init__(tr("Export"), parent)
        self._shown: ReadEvaluation | None = None
        self._tasks = TaskRunner(self.failed.emit, QObject(self))
        menu = QMenu(self)
        titles = {
            ".html": tr("HTML report…"),
            ".csv": tr("CSV, every answer…"),
            ".json": tr("JSON…"),
        }
        for suffix, title in titles.items():
            menu.addAction(title, partial(self.ask, suffix))
        self.setMenu(menu)
        self.setEnabled(False)

    def set_evaluation(self, shown: ReadEvaluation | None) -> None:
        """Set what is exported."""
        self._shown = shown
        self.setEnabled(shown is not None)

    def ask(self, suffix: str) -> None:
        """Ask for the file."""
        if self._shown is not None:
            proposal = Path(f"evaluation-{self._shown.folder.path.name}{suffix}")
            choose_file_to_write(
                self.window(),
                tr("Export evaluation"),
                lambda name: self.write(Path(name)),
                proposal,
                f"*{suffix}",
            )

    def write(self, path: Path) -> None:
        """Write the evaluation in the format of the file's suffix, in the background."""
        if (shown := self._shown) is not None:
            writer = WRITERS.get(path.suffix.lower(), report.to_json)
            self._tasks.start(partial(_write, shown, writer, path), self.written.emit)

    def stop_background_work(self) -> None:
        """End the background work."""
        self._tasks.stop_background_work()


def _write(
    shown: ReadEvaluation,
    writer: Callable[[EvaluationResults, Iterable[PreferenceVote]], str],
    path: Path,
    _thread: BackgroundReader,
) -> Path:
    try:
        write_atomic(path, writer(shown.results, shown.votes))
    except OSError as error:
        raise fail(
            "evaluation.not_exported",
            "The evaluation can't be written to {file}: {reason}.",
            "Choose another folder, or check that the disk is writable and not full.",
            where=Where(file=str(path.parent)),
            file=str(path),
            reason=describe_os_error(error),
        ) from error
    return path


_GLYPHS: dict[str, tuple[str, LabelRole]] = {
    "better": ("▲", "ok"), "worse": ("▼", "error"), "unclear": ("=", "muted"), "too_few": ("?", "muted"),
}  # fmt: skip


class EvaluationVerdictCard(Card):
    """Shows one sentence for each model: the change on the task, and below it what was forgotten."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start empty."""
        super().__init__("", parent)
        self.sentences: list[str] = []
        self._grid = QGridLayout()
        self._grid.setHorizontalSpacing(Spacing.M)
        self._grid.setVerticalSpacing(Spacing.XS)
        self._grid.setColumnStretch(2, 1)
        self.note = label(role="caption", wrap=True)
        self.add(self._grid, self.note)

    def show_results(
        self,
        results: EvaluationResults,
        shown: EvaluationSummary,
        preferences: Sequence[Preference] = (),
        *,
        note: str = "",
    ) -> None:
        """Show the verdicts of an evaluation, of its judge, and of people who voted."""
        clear_layout(self._grid)
        self.sentences = []
        names = list_column_names(results.plan)
        for key, name in names.items():
            if key == shown.baseline:
                continue
            verdict, report = shown.get_main_verdict(key), shown.forgetting.get(key)
            if verdict is not None:
                self._add(name, *_GLYPHS[verdict.finding], localize(verdict.sentence))
            elif report is None:
                self._add(name, "?", "muted", tr("Nothing to compare yet"))
            if report is not None:
                glyph, role = _GLYPHS["worse" if report.has_forgotten else "unclear"]
                self._add(
                    "" if verdict is not None else name, glyph, role, localize(report.sentence)
                )
            for each in preferences:
                if (each.column, each.baseline) == (key, shown.baseline):
                    sentence = f"{localize(each.judged_by)}: {localize(each.sentence)}"
                    self._add("", *_GLYPHS[each.finding], sentence, is_main=False)
        if not self.sentences:
            self._add("", "", "muted", tr("To get a verdict, evaluate at least two models."))
        facts = self._describe(results, names[shown.baseline])
        if note:
            items = tr_n("{n} item that all evaluations have", "{n} items that all evaluations have", len(results.items))  # fmt: skip
            facts = "  ·  ".join((facts, note, items))
        self.note.setText(facts)

    def _describe(self, results: EvaluationResults, baseline: str) -> str:
        parts = [tr("Compared with: {name}").format(name=baseline)]
        if not results.is_complete:
            parts.append(tr("Partial results; intervals become narrower with every answer."))
        parts += [
            f"{localize(report.title)}: {localize(report.left_out)}"
            for report in results.facts.test_sets
            if report.left_out
        ]
        names = list_column_names(results.plan)
        parts += [
            f"{names.get(report.key, report.key)}: {localize_problem(report.problem)}"
            for report in results.facts.columns
            if report.problem is not None
        ]
        if results.facts.judge_problem is not None:
            problem = localize_problem(results.facts.judge_problem)
            parts.append(tr("Judge: {result}").format(result=problem))
        return "  ·  ".join(parts)

    def _add(
        self, name: str, glyph: str, role: LabelRole, sentence: str, *, is_main: bool = True
    ) -> None:
        row = self._grid.rowCount()
        heading = label(name, "label")
        is_found = is_main and role in ("ok", "error")
        text = label(sentence, "section" if is_found else "body", wrap=True)
        for number, part in enumerate((heading, label(glyph, role), text)):
            self._grid.addWidget(part, row, number)
        text.setAccessibleName(f"{name} {sentence}".strip())
        self.sentences.append(f"{name}: {sentence}" if name else sentence)


@dataclass(frozen=True)
class RunChoice:
    """A run that can be evaluated: its name, its models, and its evaluations, the newest first."""

    run: RunFolder
    name: str
    columns: tuple[Column, ...]
    evaluations: tuple[EvaluationFolder, ...]


@dataclass(frozen=True)
class ReadEvaluation:
    """An evaluation as read from its folder, with what it shows so far.

    `votes` are people's blind votes in the Playground of the project, and `preferences` those of its judge
    and of these people. `others` are overlaid; `is_complete` is about this evaluation, without them.
    """

    folder: EvaluationFolder
    results: EvaluationResults
    summary: EvaluationSummary
    votes: tuple[Vote, ...] = ()
    preferences: tuple[Preference, ...] = ()
    is_complete: bool = True
    others: tuple[EvaluationFolder, ...] = ()


class EvaluationLibrary(QObject):
    """Lists the runs of a project with their evaluations, and reads one evaluation at a time.

    Signals:
        listed(list[RunChoice]): the runs that can be evaluated, newest first.
        read(ReadEvaluation): an evaluation was read.
        failed(problem): a folder can't be read.
    """

    listed = Signal(object)
    read = Signal(object)
    failed = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        """Start without a project."""
        super().__init__(parent)
        self._tasks = TaskRunner(self.failed.emit, self)
        self._wanted: EvaluationFolder | None = None
        self._others: tuple[EvaluationFolder, ...] = ()
        self._reading = False
        self._again = False
        self._listing = 0

    def refresh(self, runs: Path | None) -> None:
        """List the runs in a folder."""
        if runs is not None:
            self._listing += 1
            self._tasks.start(partial(_list_choices, runs), partial(self._on_listed, self._listing))

    def open(
        self, folder: EvaluationFolder | None, others: Sequence[EvaluationFolder] = ()
    ) -> None:
        """Read an evaluation, or read it again after the read in progress; None shows none.

        The evaluations in `others` are overlaid.
        """
        self._wanted, self._others = folder, tuple(others)
        if folder is None or self._reading:
            self._again = folder is not None
            return
        self._reading, self._again = True, False
        self._tasks.start(partial(_read, folder, self._others), self._on_read)

    def stop_background_work(self) -> None:
        """End all reads. Can be called repeatedly."""
        self._tasks.stop_background_work()
        self._reading = False

    def _on_listed(self, listing: int, choices: object) -> None:
        """Report a list, unless a newer one was asked for: lists can arrive in another order."""
        if listing == self._listing:
            self.listed.emit(choices)

    def _on_read(self, outcome: object) -> None:
        self._reading = False
        if isinstance(outcome, ProblemError):
            self.failed.emit(outcome.problems[0])
        elif isinstance(outcome, ReadEvaluation) and (outcome.folder, outcome.others) == (
            self._wanted,
            self._others,
        ):  # a read that began before other evaluations were chosen is outdated
            self.read.emit(outcome)
        if self._again:
            self.open(self._wanted, self._others)


def _list_choices(runs: Path, thread: BackgroundReader) -> list[RunChoice]:
    choices = []
    for run in thread.cooperative_iter(run_folder.list_runs(runs)):
        try:
            columns = tuple(chat_models.list_run_columns(run))
        except (ProblemError, OSError):
            continue  # a damaged run; the Runs page says so
        evaluations = tuple(storage.list_evaluations(run.evaluations_folder))
        if columns or evaluations:
            choices.append(RunChoice(run, names.read_run_name(run), columns, evaluations))
    return sorted(choices, key=lambda choice: choice.run.path.name, reverse=True)


def _read(
    folder: EvaluationFolder, others: Sequence[EvaluationFolder], _thread: BackgroundReader
) -> ReadEvaluation | ProblemError:
    """Return the evaluation, or the error, which must not lose the reader its next task."""
    try:
        results = folder.read()
        is_complete = results.is_complete
        if others:
            results = overlay([results, *(each.read() for each in others)], format_column)
    except ProblemError as error:
        return error
    shown = summary.summarize(results)
    votes = tuple(Playground.of_run(folder.path.parent.parent).find_votes())
    found = preferences.list_preferences(results, votes, shown.baseline)
    return ReadEvaluation(folder, results, shown, votes, tuple(found), is_complete, tuple(others))
