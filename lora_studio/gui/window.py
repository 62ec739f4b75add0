"""The frame around the pages, and all wiring between pages, project, inspector and job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from PySide6.QtCore import QByteArray, QTimer
from PySide6.QtGui import QCloseEvent
from PySide6.QtWidgets import (
    QApplication,
    QHBoxLayout,
    QMainWindow,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from lora_studio.core import checks, commands, events, words
from lora_studio.core.problems import Problem, Step
from lora_studio.gui import memory_plan, theme
from lora_studio.gui.cluster_export import ClusterExport
from lora_studio.gui.dialogs import ClosingDialog, UnsavedDialog
from lora_studio.gui.inspector import Inspector
from lora_studio.gui.job_control import JobControl
from lora_studio.gui.job_flow import STEP_OF, JobFlow
from lora_studio.gui.messages import Messages
from lora_studio.gui.pages.home import HomePage
from lora_studio.gui.pages.page import Page
from lora_studio.gui.pages.place import Place
from lora_studio.gui.pages.playground import PlaygroundPage
from lora_studio.gui.pages.runs import RunsPage
from lora_studio.gui.pages.settings import SettingsPage
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project_commands import ProjectCommands
from lora_studio.gui.project_state import ProjectState
from lora_studio.gui.widgets.editors import FieldEditor
from lora_studio.gui.widgets.header_bar import HeaderBar
from lora_studio.gui.widgets.message_bar import MessageBar
from lora_studio.gui.widgets.problem_strip import ProblemStrip
from lora_studio.gui.widgets.rail import Rail, RailState
from lora_studio.gui.window_actions import Actions

ICONS = {
    "model": "model", "lora": "lora", "dataset": "dataset", "training": "train",
    "merging": "merge", "export": "export",
}  # fmt: skip


class Window(QMainWindow):
    """One project at a time, one heavy job at a time."""

    def __init__(
        self,
        preferences: Preferences,
        make_pages: Callable[[ProjectState, Preferences], Sequence[Page]],
    ) -> None:
        """Opens on Home; `open_project` goes further. `make_pages` gives one page per step."""
        super().__init__()
        self.preferences = preferences
        self.messages = Messages(self)
        self.state = ProjectState(self.messages, self)
        self.inspector = Inspector(self)
        self.jobs = JobControl(self)
        self.actions_ = Actions(self, self.state.undo)
        self.flow = JobFlow(self.state, self.jobs, self)
        self.projects = ProjectCommands(self.state, self.preferences, self)
        self.cluster = ClusterExport(self.state, self)
        self._closing = False  # closes as soon as the job under way has ended
        self.home = HomePage()
        self.runs = RunsPage(self.state)
        self.playground = PlaygroundPage(self.state)
        self.settings = SettingsPage(self.state)
        self.places: dict[str, Place] = {
            place.name: place for place in (self.home, self.runs, self.playground, self.settings)
        }
        made = make_pages(self.state, preferences)
        self.pages: dict[str, Page] = {page.step: page for page in made}
        self.everywhere: list[Page | Place] = [*self.pages.values(), *self.places.values()]
        self.header = HeaderBar(self.actions_.menu)
        self.message_bar = MessageBar()
        self.strip = ProblemStrip()
        self.rail = Rail()
        self.stack = QStackedWidget()
        self._build()
        self._wire()
        self._add_actions()
        self.messages.connect_view()
        self._show_project()
        self.go("home")

    # --- building -----------------------------------------------------------------------------

    def _build(self) -> None:
        self.setWindowTitle("LoRA Studio")
        self.setMinimumSize(960, 640)
        self.resize(1280, 800)
        self.restoreGeometry(QByteArray.fromHex(self.preferences.geometry.encode()))
        self.rail.add("home", "home", "Home")
        self.rail.add_gap()
        for step, page in self.pages.items():
            self.rail.add(step, ICONS[step], page.title)
        self.rail.add_space()
        for place in (self.runs, self.playground, self.settings):
            self.rail.add(place.name, place.name, place.title)
        for widget in self.everywhere:
            self.stack.addWidget(widget)
        right = QVBoxLayout()
        right.setSpacing(0)
        right.addWidget(self.header)
        right.addWidget(self.message_bar)
        right.addWidget(self.stack, 1)
        right.addWidget(self.strip)
        inner = QWidget()
        inner.setObjectName("window")
        layout = QHBoxLayout(inner)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.rail)
        layout.addLayout(right, 1)
        self.setCentralWidget(inner)

    def _wire(self) -> None:
        self.messages.posted.connect(self.message_bar.show_message)
        self.rail.chosen.connect(self.go)
        self.header.stop_clicked.connect(self.flow.stop)
        self.header.job_clicked.connect(self._show_job)
        self.strip.jump.connect(self.jump)
        self.strip.fix.connect(self._apply_fix)
        self.state.opened.connect(self._project_opened)
        self.state.problems_changed.connect(self._problems_changed)
        self.state.dirty_changed.connect(self._show_project)
        self.state.saved.connect(self._saved)
        for changed in (self.state.opened, self.state.value_changed, self.state.facts_changed):
            changed.connect(self._show_device)
        self.inspector.answered.connect(self._answered)
        self.inspector.finished.connect(self._question_finished)
        self.flow.started.connect(self.go)
        self.jobs.event_received.connect(self._job_event)
        self.jobs.changed.connect(self._job_changed)
        self.jobs.ended.connect(self._job_ended)
        self.home.new_clicked.connect(self.projects.new)
        self.home.open_clicked.connect(self.projects.ask)
        self.home.sample_clicked.connect(self.projects.open_sample)
        self.home.project_clicked.connect(self.open_project)
        self.home.resume_clicked.connect(self._open_and_resume)
        self.home.forget_clicked.connect(self._forget)
        self.settings.theme_chosen.connect(self._choose_theme)
        for page in self.pages.values():
            self._wire_page(page)
        for place in self.places.values():
            place.go_to.connect(self.go)
            place.ask.connect(self.inspector.ask)

    def _wire_page(self, page: Page) -> None:
        page.continue_clicked.connect(lambda: self._neighbour(page, 1))
        page.back_clicked.connect(lambda: self._neighbour(page, -1))
        page.ask.connect(self.inspector.ask)
        page.question_expected.connect(self.inspector.expect)
        page.question_dropped.connect(self.inspector.cancel)
        page.run_requested.connect(self._run_requested)
        page.import_requested.connect(self.flow.request_import)
        page.push_requested.connect(self.flow.request_push)
        page.stop_requested.connect(self.flow.stop)
        page.pause_requested.connect(self.flow.pause)
        page.cancel_requested.connect(self.jobs.cancel)
        page.checkpoint_requested.connect(self.jobs.checkpoint)
        page.status_changed.connect(lambda: self._show_rail(page.step))

    def _add_actions(self) -> None:
        add = self.actions_.add
        add("New project…", "Ctrl+N", self.projects.new, icon="plus")
        add("Open…", "Ctrl+O", self.projects.ask, icon="folder")
        self.actions_.add_recent()
        self.actions_.menu.addSeparator()
        add("Save", "Ctrl+S", self.save, icon="save")
        add("Save as…", "Ctrl+Shift+S", self.projects.save_as)
        add("Show folder", "", self.projects.show_folder)
        add("Train on a cluster…", "", self.cluster.ask)
        self.actions_.menu.addSeparator()
        self.actions_.add_undo()
        self.actions_.menu.addSeparator()
        add("Quit", "Ctrl+Q", self.close)
        add("Primary button", "Ctrl+Return Ctrl+Enter", self._press_primary, menu=False)
        for number, step in enumerate(self.pages, start=1):
            add(f"Go to {self.pages[step].title}", f"Ctrl+{number}", _going(self, step), menu=False)
        keys = {"home": "Ctrl+0", "runs": "Ctrl+7", "playground": "Ctrl+8", "settings": "Ctrl+9"}
        for name, place in self.places.items():
            add(
                f"Go to {place.title if name != 'home' else 'Home'}",
                keys[name],
                _going(self, name),
                menu=False,
            )

    # --- where we are -------------------------------------------------------------------------

    @property
    def has_project(self) -> bool:
        """Whether a project is open: there is nothing to do on the pages before."""
        return self.state.draft.path is not None

    @property
    def place(self) -> str:
        """The name of the place or the step that is shown."""
        shown = self.stack.currentWidget()
        return shown.step if isinstance(shown, Page) else cast(Place, shown).name

    def go(self, name: str) -> None:
        """Shows a place or the page of a step; steps need a project."""
        page = self.pages.get(name)
        if name in self.pages and not self.has_project:
            return
        self.commit()
        target = page or self.places[name]
        self.stack.setCurrentWidget(target)
        self.rail.go(name)
        target.setFocus()
        if name == "home":
            self.home.show_recent(self.preferences.recent_projects())
        target.on_shown()
        if page is not None:
            page.refresh()

    def jump(self, step: str, field: str = "") -> None:
        """Shows the place of a problem."""
        self.go(step)
        if (page := self.pages.get(step)) is not None:
            page.focus_field(field or None)

    def commit(self) -> None:
        """Takes over what is being typed."""
        widget: QWidget | None = self.focusWidget()
        while widget is not None and not isinstance(widget, FieldEditor):
            widget = widget.parentWidget()
        if widget is not None:
            widget.commit()

    def _neighbour(self, page: Page, direction: int) -> None:
        names = ["home", *self.pages]
        index = names.index(page.step) + direction
        if 0 <= index < len(names):
            self.go(names[index])

    def _press_primary(self) -> None:
        self.commit()
        page = self.pages.get(self.place)
        if page is not None and page.header.primary.isEnabled():
            page.header.primary.click()
        elif (place := self.places.get(self.place)) is not None:
            place.press_primary()

    # --- projects -----------------------------------------------------------------------------

    def open_project(self, path: Path) -> bool:
        """Opens a project file or folder; a job under way goes on in the background."""
        self.commit()
        return self.state.open(path)

    def save(self) -> bool:
        """Writes the project file now."""
        self.commit()
        return self.state.save() if self.has_project else False

    def _project_opened(self) -> None:
        self.inspector.forget()
        if self.jobs.running:
            self.messages.info("The job of the other project goes on in the background.")
        self.jobs.detach()
        if self.state.draft.path is not None:
            self.preferences.opened(self.state.draft.path)
        self._show_project()
        self._ask_for_devices()
        self.go(self.flow.follow_latest() or self._first_open_step())

    def _first_open_step(self) -> str:
        waiting = (step for step, page in self.pages.items() if not page.done())
        return next(waiting, "export")

    def _forget(self, file: Path) -> None:
        self.preferences.drop(file)
        self.home.show_recent(self.preferences.recent_projects())

    def _saved(self) -> None:
        self._show_project()

    def _show_project(self) -> None:
        draft = self.state.draft
        saved = "" if not self.has_project else "not saved" if self.state.dirty else "saved"
        name = draft.name if self.has_project else "No project"
        self.header.set_project(name, str(draft.folder or ""), saved=saved)
        self.setWindowTitle(f"{draft.name} – LoRA Studio" if self.has_project else "LoRA Studio")
        for step in self.pages:
            self.rail.button(step).setEnabled(self.has_project)
            self._show_rail(step)
        for command in ("Save", "Save as", "Show folder", "Train on a cluster"):
            self.actions_.commands[command].setEnabled(self.has_project)
        self.actions_.fill_recent(self.preferences.recent_projects(), self.open_project)
        self._problems_changed(self.state.problems())

    # --- problems and states ------------------------------------------------------------------

    def _problems_changed(self, problems: list[Problem]) -> None:
        self.strip.show_problems(problems if self.has_project else [])
        for step in self.pages:
            self._show_rail(step)

    def _show_rail(self, step: str) -> None:
        self.rail.button(step).set_state(self._rail_state(step))

    def _rail_state(self, step: str) -> RailState:
        if not self.has_project:
            return RailState("todo", "")
        if self.jobs.running and STEP_OF[self.jobs.kind] == step:
            share = self.jobs.advance.share
            return RailState(
                "running", "running" if share is None else f"running, {100 * share:.0f} %"
            )
        found = checks.of_step(self.state.problems(), cast(Step, step))
        wrong = [item for item in checks.errors(found) if not item.code.endswith(".none")]
        if wrong:
            return RailState("problem", words.plural(len(wrong), "problem"))
        if self.pages[step].done():
            return RailState("ready", "ready")
        return RailState("todo", "to do")

    def _apply_fix(self, problem: Problem) -> None:
        if (fix := problem.fix) is not None:
            self.state.change(fix.label, fix.changes)
            self.jump(fix.step, fix.field)

    # --- questions ----------------------------------------------------------------------------

    def _ask_for_devices(self) -> None:
        if self.state.facts.devices is None:
            self.inspector.ask(commands.InspectDevices())

    def _answered(self, event: events.Event) -> None:
        self.state.take_answer(event)
        for page in self.everywhere:
            page.on_event(event)

    def _question_finished(self, kind: str, problem: Problem | None) -> None:
        self.state.report(kind, [problem] if problem else [])

    def _show_device(self, *_: object) -> None:
        self.header.device.show_device(memory_plan.device(self.state))

    # --- jobs ---------------------------------------------------------------------------------

    def _run_requested(self, kind: str) -> None:
        self.commit()
        if kind == "cluster":
            self.cluster.ask()
        else:
            self.flow.request(kind)

    def _job_event(self, event: events.Event) -> None:
        for page in self.everywhere:
            page.on_event(event)

    def _job_changed(self) -> None:
        job = self.jobs
        self.header.job.show_job(
            job.advance.doing, job.advance.share, job.advance.eta_s, stopping=job.stopping
        )
        for step in STEP_OF.values():
            self._show_rail(step)

    def _job_ended(self) -> None:
        QApplication.alert(self)
        if self._closing and not self.jobs.running:
            self.close()

    def _show_job(self) -> None:
        if self.jobs.running:
            self.go(STEP_OF[self.jobs.kind])

    def _open_and_resume(self, path: Path) -> None:
        if self.open_project(path):
            QTimer.singleShot(0, self, lambda: self.flow.request("resume"))

    # --- the rest -----------------------------------------------------------------------------

    def _choose_theme(self, mode: str) -> None:
        self.preferences.theme = cast(theme.Mode, mode)
        self.preferences.save()
        theme.theme().apply(self.preferences.theme)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Asks what becomes of a job under way; loses neither it nor a change."""
        self.commit()
        if self.jobs.running:
            event.ignore()
            if not self._closing:
                self._ask_about_job()
        elif self.has_project and self.state.dirty and not self.state.save():
            event.ignore()
            self._ask_about_changes()
        else:
            self.leave()
            event.accept()

    def _ask_about_job(self) -> None:
        dialog = ClosingDialog(self.jobs.kind, self)
        dialog.decided.connect(self._close_decided)
        dialog.rejected.connect(self._stay)
        self.jobs.ended.connect(dialog.accept)
        dialog.open()

    def _close_decided(self, decision: str) -> None:
        if decision == "background":
            self.jobs.detach()
            self.close()
        else:
            self._closing = True
            (self.flow.pause if decision == "pause" else self.flow.stop)()

    def _stay(self) -> None:
        self._closing = False

    def _ask_about_changes(self) -> None:
        dialog = UnsavedDialog(self.state.name, self)
        dialog.save_as_clicked.connect(self.projects.save_as)
        dialog.discard_clicked.connect(self._discard)
        dialog.open()

    def _discard(self) -> None:
        self.state.undo.setClean()
        self.close()

    def leave(self) -> None:
        """Saves and lets go of every thread; a job at work goes on. Harmless when done twice."""
        if self.has_project and self.state.dirty:
            self.state.save()
        self.cluster.leave()
        for page in self.everywhere:
            page.leave()
        self.jobs.detach()
        self.inspector.shut_down()
        self.preferences.geometry = bytes(self.saveGeometry().toHex().data()).decode()
        self.preferences.save()


def _going(window: Window, place: str) -> Callable[[], None]:
    def go() -> None:
        window.go(place)

    return go
