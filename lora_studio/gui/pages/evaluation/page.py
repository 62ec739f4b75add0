"""The Evaluate page: is a model better than the base model, and what has it forgotten?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QComboBox, QStackedWidget, QTabWidget, QWidget

from lora_studio.core import timestamps
from lora_studio.core.evaluation.storage import EvaluationFolder
from lora_studio.core.problems import Problem
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import speakers
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.speakers import SpeakerOption
from lora_studio.gui.jobs.debounced_query import DebouncedQuery
from lora_studio.gui.jobs.record import JobRecord
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import localize_stage
from lora_studio.gui.pages.evaluation.benchmark_dialog import BenchmarkDialog
from lora_studio.gui.pages.evaluation.change_view import ChangeView
from lora_studio.gui.pages.evaluation.exports import ExportMenu
from lora_studio.gui.pages.evaluation.library import (
    EvaluationLibrary,
    ReadEvaluation,
    RunChoice,
)
from lora_studio.gui.pages.evaluation.overlay_menu import OverlayMenu
from lora_studio.gui.pages.evaluation.preference_view import PreferenceView
from lora_studio.gui.pages.evaluation.row_view import ResultRowView
from lora_studio.gui.pages.evaluation.score_table import ScoreTable
from lora_studio.gui.pages.evaluation.setup_form import SetupForm
from lora_studio.gui.pages.evaluation.verdict_card import EvaluationVerdictCard
from lora_studio.gui.pages.page import AppPage
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.text_size import set_scaled_sizes
from lora_studio.gui.theme import Spacing
from lora_studio.gui.widgets.basics import EmptyState, button, column, flow_row, make_scroll_area
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

    def leave(self) -> None:
        """Stop background work."""
        self._read_timer.stop()
        self.query.forget()
        for part in (self.library, self.rows, self.export):
            part.leave()

    def _on_opened(self) -> None:
        self.library.leave()
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
        options: list[SpeakerOption] = []
        for choice in self.choices:
            if chosen is None or choice.run != chosen.run:
                options += speakers.list_run_speakers(choice.run)
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
    return timestamps.format_run_name(f"{folder.path.name[:15]}-x").partition(" ·")[0]
