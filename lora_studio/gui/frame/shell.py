"""The parts of the window and the navigation between its pages; `window.main_window` adds the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from PySide6.QtCore import QEvent, QObject, Qt, QTimer
from PySide6.QtGui import QAction, QKeySequence, QUndoStack
from PySide6.QtWidgets import QApplication, QMainWindow, QMenu, QStackedWidget, QWidget

from lora_studio.client import sleep_inhibitor
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.project import checks
from lora_studio.core.project.project import format_title
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.commands import COMMANDS
from lora_studio.core.system import offline
from lora_studio.gui.controls.field_editor import FieldEditor
from lora_studio.gui.desktop import integration
from lora_studio.gui.desktop.integration import DesktopIntegration, DesktopNotifications
from lora_studio.gui.frame.device_gauges import DeviceGauges
from lora_studio.gui.frame.header_bar import HeaderBar
from lora_studio.gui.frame.lazy_pages import LazyPages, MakePages, make_step_pages
from lora_studio.gui.frame.rail import Rail, RailState
from lora_studio.gui.jobs.cluster_export import ClusterExport
from lora_studio.gui.jobs.control import JobControl
from lora_studio.gui.jobs.launcher import JobLauncher
from lora_studio.gui.jobs.query_workers import QueryWorkers
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.pages.home.page import HomePage, InterruptedRuns, ProjectSummary
from lora_studio.gui.pages.lora.library import AdapterLibrary
from lora_studio.gui.pages.page import AppPage, StepPage
from lora_studio.gui.pages.runs.queue import RunQueue
from lora_studio.gui.pages.settings.engine_manager import EngineManager
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.problems.problem_strip import ProblemStrip
from lora_studio.gui.problems.suggested_actions import STEP_TITLES, Messages
from lora_studio.gui.problems.toasts import ToastStack
from lora_studio.gui.project import run_preview
from lora_studio.gui.project.commands import ProjectCommands
from lora_studio.gui.project.lock import ProjectLock
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.theme import set_icon
from lora_studio.gui.widgets.tooltips import plain_tip

if TYPE_CHECKING:
    from lora_studio.gui.pages.evaluation.page import EvaluationPage
    from lora_studio.gui.pages.playground.page import PlaygroundPage
    from lora_studio.gui.pages.runs.page import RunsPage
    from lora_studio.gui.pages.settings.page import SettingsPage


class Shell(QMainWindow):
    """Base of the main window, with one open project and at most one running job.

    It creates its parts and moves between pages; `window.wiring` connects their signals.
    """

    def __init__(self, preferences: Preferences, make_pages: MakePages = make_step_pages) -> None:
        """Create the parts; `make_pages` returns one page per step."""
        super().__init__()
        self.preferences = preferences
        self.messages = Messages(self)
        self.state = ProjectState(self.messages, self)
        self._create_jobs()
        self.actions_ = Actions(self, self.state.undo)
        self.projects = ProjectCommands(self.state, self.preferences, self)
        self.lock = ProjectLock(self)
        self.engine = EngineManager(self.messages, self)
        self.library = AdapterLibrary(self.state, self.preferences, self)
        self.interrupted = InterruptedRuns(self.messages, self)
        self.home = HomePage()
        self.lazy_pages = LazyPages(self.state, preferences, self.queue, make_pages, self)
        self.header = HeaderBar(self.actions_.menu)
        self.strip = ProblemStrip()
        self.rail = Rail()
        self.stack = QStackedWidget()
        self.lazy_pages.page_created.connect(self.stack.addWidget)
        self.toasts = ToastStack(self.stack)

    def _create_jobs(self) -> None:
        self.query_workers = QueryWorkers(self)
        self.jobs = JobControl(self)
        self.launcher = JobLauncher(self.state, self.jobs, self)
        self.queue = RunQueue(self.state, self.jobs, self.launcher, self)
        self.cluster = ClusterExport(self.state, self)
        self.gauges = DeviceGauges()
        self.notifications = DesktopNotifications(self)
        self.desktop = DesktopIntegration(
            self.jobs,
            sleep_inhibitor.create_inhibitor(),
            integration.make_task_bar(),
            self.notifications,
        )

    # --- pages --------------------------------------------------------------------------------

    @property
    def pages(self) -> dict[str, StepPage]:
        """The page of each step."""
        return self.lazy_pages.steps

    @property
    def runs(self) -> RunsPage:
        """The page of all runs."""
        return cast("RunsPage", self.lazy_pages.app_pages["runs"])

    @property
    def evaluation(self) -> EvaluationPage:
        """The page that evaluates models."""
        return cast("EvaluationPage", self.lazy_pages.app_pages["evaluation"])

    @property
    def playground(self) -> PlaygroundPage:
        """The page for chatting with models."""
        return cast("PlaygroundPage", self.lazy_pages.app_pages["playground"])

    @property
    def settings(self) -> SettingsPage:
        """The page of the settings that all projects share."""
        return cast("SettingsPage", self.lazy_pages.app_pages["settings"])

    @property
    def app_pages(self) -> dict[str, AppPage]:
        """The pages that aren't steps, by name."""
        return {self.home.name: self.home, **self.lazy_pages.app_pages}

    @property
    def all_pages(self) -> list[StepPage | AppPage]:
        """The step pages, then the others."""
        return [*self.pages.values(), *self.app_pages.values()]

    # --- navigation ---------------------------------------------------------------------------

    @property
    def page_name(self) -> str:
        """The name of the shown page: a step, or the `name` of an app page."""
        current = self.stack.currentWidget()
        return current.step if isinstance(current, StepPage) else cast(AppPage, current).name

    def show_page(self, name: str) -> None:
        """Show the page of a step or an app page; steps need an open project."""
        if name in STEP_TITLES and not self.has_project:
            return
        self.commit()
        step_page = self.pages[name] if name in STEP_TITLES else None
        page = step_page or (self.home if name == "home" else self.app_pages[name])
        self.stack.setCurrentWidget(page)
        self.rail.select(name)
        page.setFocus()
        if name == "home":
            self.home.show_recent(self.preferences.list_known_projects())
        page.on_shown()
        if step_page is not None:
            step_page.refresh()
            self.check_files()

    def get_title(self, name: str) -> str:
        """Return the title of a page."""
        return tr(self.pages[name].title if name in self.pages else self.app_pages[name].title)

    def changeEvent(self, event: QEvent) -> None:
        """Check the files again when the user returns, who may have moved or restored some."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ActivationChange and self.isActiveWindow():
            self.check_files()

    def check_files(self) -> None:
        """Check the project's files, and repeat the queries about those that have changed."""
        if self.has_project:
            self.state.check_again()
            for page in self.pages.values():
                page.check_files()

    def show_field(self, step: str, field: str = "") -> None:
        """Show the page of a problem and focus its field; show Home if no project is open."""
        self.show_page("home" if step in STEP_TITLES and not self.has_project else step)
        if (page := self.pages.get(step)) is not None:
            page.focus_field(field or None)

    def show_neighbor(self, page: StepPage, direction: int) -> None:
        """Show the page after (1) or before (-1) another one."""
        names = ["home", *self.pages]
        index = names.index(page.step) + direction
        if 0 <= index < len(names):
            self.show_page(names[index])

    def show_next_step(self, direction: int) -> None:
        """Show the step after (1) or before (-1) the shown one, whether or not it is ready."""
        if (page := self.pages.get(self.page_name)) is not None:
            self.show_neighbor(page, direction)

    def commit(self) -> None:
        """Apply what is being typed to the project."""
        widget: QWidget | None = self.focusWidget()
        while widget is not None and not isinstance(widget, FieldEditor):
            widget = widget.parentWidget()
        if widget is not None:
            widget.commit()

    def press_primary(self) -> None:
        """Press the primary button of the shown page, or say why it is disabled."""
        self.commit()
        page = self.pages.get(self.page_name)
        if page is not None and page.header.primary.isEnabled():
            page.header.primary.click()
        elif page is not None and (missing := page.find_blocker()):
            # The tooltip of a disabled button can't be read without a mouse.
            self.messages.info(missing)
        elif (app_page := self.app_pages.get(self.page_name)) is not None:
            app_page.press_primary()

    # --- projects -----------------------------------------------------------------------------

    @property
    def has_project(self) -> bool:
        """Whether a project is open."""
        return self.state.draft.path is not None

    def open_project(self, path: Path) -> bool:
        """Open a project file or folder; a running job continues in the background."""
        self.commit()
        return self.state.open(path)

    def open_and_resume(self, path: Path) -> None:
        """Open a project and resume its interrupted training."""
        if self.open_project(path):
            QTimer.singleShot(0, self, lambda: self.launcher.request("resume"))

    def save(self) -> bool:
        """Save the project file now."""
        self.commit()
        return self.state.save() if self.has_project else False

    def on_project_opened(self) -> None:
        """Lock the project, show it and follow its latest run."""
        self.query_workers.forget()
        if self.jobs.running:
            self.messages.info(tr("The other project's job continues in the background."))
        self.jobs.detach()
        if (locked := self.lock.acquire(self.state.draft.path)) is not None:
            self.state.make_read_only(locked)
            self.messages.problem(locked)
        if (file := self.state.draft.path) is not None:
            self.preferences.add_recent_project(file, format_title(self.state.draft.name))
        self.show_project()
        self.ask_for_devices()
        self.show_page(self.launcher.follow_latest() or self._find_open_step())

    def _find_open_step(self) -> str:
        waiting = (step for step, page in self.pages.items() if not page.is_done())
        return next(waiting, "export")

    def forget_project(self, file: Path) -> None:
        """Remove a project from the recent ones."""
        self.preferences.remove_recent_project(file)
        self.home.show_recent(self.preferences.list_known_projects())

    def show_project(self, *_: object) -> None:
        """Show the project's name and whether it is saved; enable what needs a project."""
        draft = self.state.draft
        name = draft.name if self.has_project else tr("No project")
        saved = describe_saved(self.state)
        self.header.set_project(name, str(draft.folder or ""), saved=saved)
        self.setWindowTitle(f"{draft.name} – LoRA Studio" if self.has_project else "LoRA Studio")
        for step in STEP_TITLES:
            self.rail.button(step).setEnabled(self.has_project)
        self.actions_.set_project_enabled(self.has_project)
        self._fill_recent()
        self.on_problems_changed(self.state.list_problems())

    def store_titles(self, summaries: list[ProjectSummary]) -> None:
        """Show the titles of recent projects as a scan has read them, and store them."""
        self.preferences.set_recent_titles({item.file: item.title for item in summaries})
        self._fill_recent()

    def _fill_recent(self) -> None:
        files = self.preferences.list_recent_projects()
        titles = {file: self.preferences.get_recent_title(file) for file in files}
        self.actions_.fill_recent(titles, self.open_project)

    # --- problems and states ------------------------------------------------------------------

    def on_problems_changed(self, problems: list[Problem]) -> None:
        """Show the project's problems in the strip and on the rail."""
        self.strip.show_problems(problems if self.has_project else [])
        for step in STEP_TITLES:
            self.show_step_state(step)

    def show_step_state(self, step: str) -> None:
        """Show on the rail how far a step is."""
        state = RailState("todo")
        if self.has_project:
            state = get_step_state(self.pages[step], self.state, self.jobs)
        self.rail.button(step).set_state(state)

    def apply_fix(self, problem: Problem) -> None:
        """Apply the fix of a problem and show the field it changed."""
        if (fix := problem.fix) is not None:
            self.state.apply_fix(fix)
            self.show_field(fix.step, fix.field)

    # --- questions to the query workers -----------------------------------------------------------

    def ask_for_devices(self) -> None:
        """Ask for the engine's devices and packages, unless they are known."""
        if self.state.facts.devices is None:
            self.query_workers.ask(commands.InspectDevices())

    def on_answer(self, event: events.Event) -> None:
        """Pass an answer of the query workers to the project and the pages."""
        self.state.set_answer(event)
        for page in self.all_pages:
            page.on_event(event)

    def on_question_finished(self, kind: str, problem: Problem | None) -> None:
        """Report the problem of a failed question, or that the question was answered."""
        problems = [problem] if problem else []
        if kind == "inspect_ollama":
            is_used = self.state.get("export", "ollama_create") is True
            problems = [
                item.model_copy(update={"severity": "warning"})
                for item in problems
                if is_used and not self.state.is_missing_unchosen_ollama(item)
            ]
        if kind == "inspect_dataset" and (data := self.state.facts.dataset) is not None:
            # One unreadable source prevents training on the others, too.
            problems += [item for item in data.problems if item.severity == "error"]
        self.state.report(kind, problems)

    def set_offline(self, *, on: bool) -> None:
        """Turn offline mode on or off, also in workers that were started before.

        A running job can't go online again; the next one can. Jobs of other projects stay as they are.
        """
        self.preferences.offline = on
        self.preferences.save()
        offline.switch(on)
        if on:
            try:
                self.jobs.go_offline(self.state.runs_folder)
            except ProblemError as error:
                self.state.messages.problem(error.problems[0])
        self.query_workers.restart_workers()
        self.settings.show_offline()
        self.repeat_queries()

    def repeat_queries(self) -> None:
        """Repeat the pages' queries that failed, because what they need has changed."""
        for page in self.pages.values():
            page.repeat_queries()
        self.show_page(self.page_name)

    def show_device(self, *_: object) -> None:
        """Show the device that the project's model is placed on."""
        self.header.device.show_device(run_preview.get_device(self.state))

    # --- jobs ---------------------------------------------------------------------------------

    def stop_job(self) -> None:
        """Stop the running job, as the header's button does."""
        if self.jobs.running and not self.jobs.stopping:
            self.launcher.stop()

    def pause_job(self) -> None:
        """Pause the running training; other jobs can't be paused."""
        if self.jobs.kind == "train" and self.jobs.running and not self.jobs.stopping:
            self.launcher.pause()
        else:
            self.messages.info(tr("No training is running."))

    def sign_in(self) -> None:
        """Ask for a Hub token on the Model page."""
        self.show_page("model")
        self.pages["model"].sign_in()

    def show_job(self) -> None:
        """Show the page of the running job."""
        if self.jobs.running:
            is_evaluation = self.jobs.kind == "evaluate"
            step = commands.COMMANDS[self.jobs.kind].step or "training"
            self.show_page("evaluation" if is_evaluation else step)

    def on_job_event(self, event: events.Event) -> None:
        """Pass an event of the run to the pages."""
        for page in self.all_pages:
            page.on_event(event)

    def on_job_changed(self) -> None:
        """Show the progress of the job in the header and on the rail."""
        progress = self.jobs.progress
        ending = tr("Pausing…") if self.jobs.pausing else tr("Stopping…")
        self.header.show_job(
            progress.stage,
            progress.share,
            progress.eta_s,
            ending=ending if self.jobs.stopping else "",
        )
        # Only training keeps the steps it has done; until then, the page says Cancel, too.
        keeps_steps = self.jobs.kind == "train" and self.jobs.has_steps
        self.header.job.stop.setText(tr("Stop") if keeps_steps else tr("Cancel"))
        for step in ("training", "merging", "export"):
            self.show_step_state(step)

    def on_job_ended(self) -> None:
        """Alert the user, and query the devices again, because their memory has been released."""
        QApplication.alert(self)
        if self.state.facts.devices is not None:
            self.query_workers.ask(commands.InspectDevices())

    def show_queue(self) -> None:
        """Show the queued runs."""
        self.show_page("runs")
        self.runs.show_queue()

    def show_copying(self, share: float | None) -> None:
        """Show in the header how far a folder for a cluster is copied; None for none."""
        doing = tr("Copying for the cluster") if self.cluster.is_writing else ""
        self.header.show_task(doing, share)

    def bring_to_front(self) -> None:
        """Bring the window in front of all others."""
        self.setWindowState(self.windowState() & ~Qt.WindowState.WindowMinimized)
        self.raise_()
        self.activateWindow()


#: Steps that end with the result of a job; the others only have settings.
_JOB_STEPS = ("training", "merging", "export")


def get_step_state(page: StepPage, state: ProjectState, jobs: JobControl) -> RailState:
    """Return the state of a page's step; a running job ranks before problems."""
    if state.draft.path is None:
        return RailState("todo", "")
    if jobs.running and COMMANDS[jobs.kind].step == page.step:
        share = jobs.progress.share
        doing = tr("stopping") if jobs.stopping else tr("running")
        doing = tr("pausing") if jobs.pausing else doing
        return RailState("running", doing if share is None else f"{doing}, {100 * share:.0f} %")
    problems = checks.filter_by_step(state.list_problems(), page.step)
    errors = [item for item in checks.filter_errors(problems) if not item.code.endswith(".none")]
    if errors:
        return RailState("problem", tr_n("{n} problem", "{n} problems", len(errors)))
    if outdated := page.describe_outdated():
        return RailState("paused", outdated)
    if page.is_done():
        if unchecked := page.describe_unchecked():
            return RailState("todo", unchecked)
        return RailState("ready", tr("done") if page.step in _JOB_STEPS else tr("ready"))
    resting = page.describe_paused()
    is_optional = page.step == "merging" and state.exports_without_merge()
    waiting = tr("optional") if is_optional else tr("to do")
    return RailState("paused" if resting else "todo", resting or waiting)


def describe_saved(state: ProjectState) -> str:
    """Return text that says whether the project is saved."""
    if state.draft.path is None:
        return ""
    if state.draft.read_only is not None:
        return tr("read-only, not saved") if state.dirty else tr("read-only")
    return tr("not saved") if state.dirty else tr("saved")


class Actions(QObject):
    """The actions of the window; as they belong to it, their shortcuts work on every page."""

    def __init__(self, window: QWidget, undo: QUndoStack) -> None:
        """Create empty menus; undo and redo come from the project's stack."""
        super().__init__(window)
        self._window = window
        self.menu = QMenu(window)
        self.recent = QMenu(tr("Recent"), self.menu)
        self.help = QMenu(tr("Help"), self.menu)
        # WORKAROUND: PySide can lose the Python wrappers of actions that the stack creates while they exist.
        self.undo, self.redo = QAction(tr("Undo"), self), QAction(tr("Redo"), self)
        for action, can, named in (
            (self.undo, undo.canUndoChanged, undo.undoTextChanged),
            (self.redo, undo.canRedoChanged, undo.redoTextChanged),
        ):
            action.setEnabled(False)
            can.connect(action.setEnabled)
            named.connect(partial(_name_edit, action, action.text()))
        self.undo.triggered.connect(undo.undo)
        self.redo.triggered.connect(undo.redo)
        self.undo.setShortcut(QKeySequence("Ctrl+Z"))
        self.redo.setShortcuts([QKeySequence("Ctrl+Shift+Z"), QKeySequence("Ctrl+Y")])
        #: Every action by name.
        self.commands: dict[str, QAction] = {}
        self._project_actions: list[QAction] = []

    def add(
        self,
        name: str,
        text: str,
        keys: str,
        slot: Callable[[], object],
        *,
        icon: str = "",
        menu: QMenu | None = None,
        project: bool = False,
    ) -> QAction:
        """Add an action with its shortcuts to the window, and to a menu.

        `name` is its key in `commands`. An action with `project` is only enabled while a project is open.
        """
        action = QAction(text, self)
        if keys:
            action.setShortcuts([QKeySequence(key) for key in keys.split()])
        action.setShortcutContext(Qt.ShortcutContext.WindowShortcut)
        action.triggered.connect(lambda _=False: slot())
        self._window.addAction(action)
        self.commands[name] = action
        if menu is not None:
            menu.addAction(action)
        if icon:
            set_icon(action, icon)
        if project:
            self._project_actions.append(action)
        return action

    def set_project_enabled(self, allowed: bool) -> None:
        """Enable or disable the actions that need a project."""
        for action in self._project_actions:
            action.setEnabled(allowed)

    def add_undo(self) -> None:
        """Add undo and redo to the menu; their texts name the edit."""
        for name, action in (("undo", self.undo), ("redo", self.redo)):
            self.commands[name] = action
            self._window.addAction(action)
            self.menu.addAction(action)

    def fill_recent(self, titles: dict[Path, str], slot: Callable[[Path], object]) -> None:
        """Fill the list of recent projects: their names, and the folder of those with the same name."""
        self.recent.clear()
        self.recent.setEnabled(bool(titles))
        self.recent.setToolTipsVisible(True)
        counts = Counter(titles.values())
        for file, title in titles.items():
            words = title if counts[title] == 1 else f"{title}    {file.parent}"
            action = self.recent.addAction(words.replace("&", "&&"))
            action.setToolTip(plain_tip(str(file)))
            action.triggered.connect(lambda _=False, file=file: slot(file))


def _name_edit(action: QAction, word: str, edit: str) -> None:
    """Append the edit to be undone to the action's text."""
    action.setText(f"{word}: {edit}" if edit else word)
