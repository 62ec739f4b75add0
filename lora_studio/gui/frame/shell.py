"""The frame around the pages, and all wiring between pages, project, inspector and job."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QShowEvent
from PySide6.QtWidgets import (
    QApplication,
    QMainWindow,
    QStackedWidget,
    QWidget,
)

from lora_studio.client import sleep_inhibitor
from lora_studio.core.problems import Problem
from lora_studio.core.protocol import commands, events
from lora_studio.gui.controls.field_editor import FieldEditor
from lora_studio.gui.desktop import task_bar
from lora_studio.gui.desktop.integration import DesktopIntegration
from lora_studio.gui.desktop.notifications import DesktopNotifications
from lora_studio.gui.frame import layout, rail_states
from lora_studio.gui.frame.actions import Actions
from lora_studio.gui.frame.device_gauges import DeviceGauges
from lora_studio.gui.frame.header_bar import HeaderBar
from lora_studio.gui.frame.lazy_pages import LazyPage, LazyPages, MakePages
from lora_studio.gui.frame.rail import Rail, RailState
from lora_studio.gui.help.commands import HelpCommands
from lora_studio.gui.help.tour import Tour
from lora_studio.gui.jobs.cluster_export import ClusterExport
from lora_studio.gui.jobs.control import JobControl
from lora_studio.gui.jobs.inspector import Inspector
from lora_studio.gui.jobs.launcher import STEP_OF, JobLauncher
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import tell
from lora_studio.gui.pages.home.interrupted import Interrupted
from lora_studio.gui.pages.home.page import HomePage
from lora_studio.gui.pages.lora.library import AdapterLibrary
from lora_studio.gui.pages.page import AppPage, StepPage
from lora_studio.gui.pages.runs.queue import RunQueue
from lora_studio.gui.pages.settings.engine_manager import EngineManager
from lora_studio.gui.pages.settings.update_check import UpdateCheck
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.problems.message_bar import MessageBar
from lora_studio.gui.problems.messages import Messages
from lora_studio.gui.problems.problem_strip import ProblemStrip
from lora_studio.gui.problems.remedies import STEP_TITLES
from lora_studio.gui.project import memory_plan
from lora_studio.gui.project.commands import ProjectCommands
from lora_studio.gui.project.lock import ProjectLock
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.widgets import tab_order
from lora_studio.gui.widgets.drag_and_drop import dropped_project
from lora_studio.gui.window import wiring
from lora_studio.gui.window.appearance import Appearance
from lora_studio.gui.window.closing import CloseGuard

#: Milliseconds after which a window that was shown is painted: now there is time for the rest.
_PAINTED = 300


class Window(QMainWindow, LazyPage):
    """One project at a time, one heavy job at a time.

    Signals:
        renewal_wanted: another window is to take the place of this one, in the language chosen.
    """

    renewal_wanted = Signal()

    def __init__(
        self,
        preferences: Preferences,
        make_pages: MakePages,
    ) -> None:
        """Opens on Home; `open_project` goes further. `make_pages` gives one page per step."""
        super().__init__()
        self.preferences = preferences
        self.messages = Messages(self)
        self.state = ProjectState(self.messages, self)
        self.inspector = Inspector(self)
        self.jobs = JobControl(self)
        self.gauges = DeviceGauges()
        self._painted = QTimer(self, singleShot=True, interval=_PAINTED)
        self._painted.timeout.connect(self.gauges.start)
        self.news = DesktopNotifications(self)
        self.manners = DesktopIntegration(
            self.jobs, sleep_inhibitor.of_system(), task_bar.of_system(), self.news
        )
        self.actions_ = Actions(self, self.state.undo)
        self.flow = JobLauncher(self.state, self.jobs, self)
        self.projects = ProjectCommands(self.state, self.preferences, self)
        self.cluster = ClusterExport(self.state, self)
        self.help = HelpCommands(self)
        self.tour = Tour(self)
        self.lock = ProjectLock(self)
        self.engine = EngineManager(self.messages, self)
        self.updates = UpdateCheck(preferences, self.messages, self)
        self.closing = CloseGuard(
            self.state, self.jobs, self.flow, self.projects, self.cluster, self
        )
        self.library = AdapterLibrary(self.state, self.preferences, self)
        self.interrupted = Interrupted(self.messages, self)
        self.home = HomePage()
        self.queue = RunQueue(self.state, self.jobs, self.flow, self)
        self.furniture = LazyPages(self.state, preferences, self.queue, make_pages, self)
        self.appearance = Appearance(self)
        self.furniture.made.connect(self._furnished)
        self.header = HeaderBar(self.actions_.menu)
        self.message_bar = MessageBar()
        self.strip = ProblemStrip()
        self.rail = Rail()
        self.stack = QStackedWidget()
        self.setAcceptDrops(True)
        layout.lay_out(self)
        wiring.wire(self)
        wiring.add_actions(self)
        self.messages.connect_view()
        self.show_project()
        self.go("home")

    # --- building -----------------------------------------------------------------------------

    def _furnished(self) -> None:
        for widget in self.everywhere:
            if widget is not self.home:
                self.stack.addWidget(widget)
        wiring.wire_furniture(self)

    # --- where we are -------------------------------------------------------------------------

    @property
    def has_project(self) -> bool:
        """Whether a project is open: there is nothing to do on the pages before."""
        return self.state.draft.path is not None

    @property
    def place(self) -> str:
        """The name of the place or the step that is shown."""
        shown = self.stack.currentWidget()
        return shown.step if isinstance(shown, StepPage) else cast(AppPage, shown).name

    def go(self, name: str) -> None:
        """Shows a place or the page of a step; steps need a project."""
        if name in STEP_TITLES and not self.has_project:
            return
        self.commit()
        page = self.pages[name] if name in STEP_TITLES else None
        target = page or (self.home if name == "home" else self.places[name])
        self.stack.setCurrentWidget(target)
        self.rail.go(name)
        target.setFocus()
        if name == "home":
            self.home.show_recent(self.preferences.known_projects())
        target.on_shown()
        if page is not None:
            page.refresh()

    def title_of(self, name: str) -> str:
        """The title of a place or step."""
        return tr(self.pages[name].title if name in self.pages else self.places[name].title)

    def jump(self, step: str, field: str = "") -> None:
        """Shows the place of a problem; Home, where projects are opened, while none is open."""
        self.go("home" if step in STEP_TITLES and not self.has_project else step)
        if (page := self.pages.get(step)) is not None:
            page.focus_field(field or None)

    def commit(self) -> None:
        """Takes over what is being typed."""
        widget: QWidget | None = self.focusWidget()
        while widget is not None and not isinstance(widget, FieldEditor):
            widget = widget.parentWidget()
        if widget is not None:
            widget.commit()

    def neighbour(self, page: StepPage, direction: int) -> None:
        names = ["home", *self.pages]
        index = names.index(page.step) + direction
        if 0 <= index < len(names):
            self.go(names[index])

    def step_on(self, direction: int) -> None:
        """The step after or before the one that is shown, whether or not it is ready."""
        if (page := self.pages.get(self.place)) is not None:
            self.neighbour(page, direction)

    def stop_job(self) -> None:
        """Ends the job under way, as the header's button does."""
        if self.jobs.running and not self.jobs.stopping:
            self.flow.stop()

    def press_primary(self) -> None:
        self.commit()
        page = self.pages.get(self.place)
        if page is not None and page.header.primary.isEnabled():
            page.header.primary.click()
        elif page is not None and (missing := page.blocker()):
            self.messages.info(
                missing
            )  # a button that is closed shows its reason to the mouse alone
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

    def project_opened(self) -> None:
        self.inspector.forget()
        if self.jobs.running:
            self.messages.info(tr("The job of the other project goes on in the background."))
        self.jobs.detach()
        if (held := self.lock.take(self.state.draft.path)) is not None:
            self.state.keep_unwritten(held)
            self.messages.problem(held)
        if self.state.draft.path is not None:
            self.preferences.opened(self.state.draft.path)
        self.show_project()
        self.ask_for_devices()
        self.go(self.flow.follow_latest() or self._first_open_step())

    def _first_open_step(self) -> str:
        waiting = (step for step, page in self.pages.items() if not page.is_done())
        return next(waiting, "export")

    def forget(self, file: Path) -> None:
        self.preferences.drop(file)
        self.home.show_recent(self.preferences.known_projects())

    def show_project(self, *_: object) -> None:
        draft = self.state.draft
        name = draft.name if self.has_project else tr("No project")
        self.header.set_project(name, str(draft.folder or ""), saved=rail_states.saved(self.state))
        self.setWindowTitle(f"{draft.name} – LoRA Studio" if self.has_project else "LoRA Studio")
        for step in STEP_TITLES:
            self.rail.button(step).setEnabled(self.has_project)
            self.show_rail(step)
        self.actions_.allow_project(self.has_project)
        self.actions_.fill_recent(self.preferences.recent_projects(), self.open_project)
        self.problems_changed(self.state.problems())

    # --- problems and states ------------------------------------------------------------------

    def problems_changed(self, problems: list[Problem]) -> None:
        self.strip.show_problems(problems if self.has_project else [])
        for step in STEP_TITLES:
            self.show_rail(step)

    def show_rail(self, step: str) -> None:
        state = RailState("todo")  # nothing to do before a project is open
        if self.has_project:
            state = rail_states.of_step(self.pages[step], self.state, self.jobs)
        self.rail.button(step).set_state(state)

    def apply_fix(self, problem: Problem) -> None:
        if (fix := problem.fix) is not None:
            self.state.change(tell(fix.label), fix.changes)
            self.jump(fix.step, fix.field)

    # --- questions ----------------------------------------------------------------------------

    def ask_for_devices(self) -> None:
        """Asks for the devices and packages of the engine, unless they are known."""
        if self.state.facts.devices is None:
            self.inspector.ask(commands.InspectDevices())

    def answered(self, event: events.Event) -> None:
        self.state.take_answer(event)
        for page in self.everywhere:
            page.on_event(event)

    def question_finished(self, kind: str, problem: Problem | None) -> None:
        found = [problem] if problem else []
        if kind == "inspect_ollama":  # it only takes what is made: nothing waits for it
            wanted = found if self.state.get("export", "ollama_create") is True else []
            found = [item.model_copy(update={"severity": "warning"}) for item in wanted]
        if kind == "inspect_dataset" and (data := self.state.facts.dataset) is not None:
            # A source that is refused keeps the others from being trained on as well.
            found += [item for item in data.problems if item.severity == "error"]
        self.state.report(kind, found)

    def show_device(self, *_: object) -> None:
        self.header.device.show_device(memory_plan.device(self.state))

    # --- jobs ---------------------------------------------------------------------------------

    def run_requested(self, kind: str) -> None:
        self.commit()
        if kind == "cluster":
            self.cluster.ask()
        else:
            self.flow.request(kind)

    def job_event(self, event: events.Event) -> None:
        for page in self.everywhere:
            page.on_event(event)

    def job_changed(self) -> None:
        job = self.jobs
        self.header.show_job(
            job.advance.doing, job.advance.share, job.advance.eta_s, stopping=job.stopping
        )
        for step in STEP_OF.values():
            self.show_rail(step)

    def job_ended(self) -> None:
        QApplication.alert(self)
        if self.state.facts.devices is not None:
            self.inspector.ask(commands.InspectDevices())  # what the job held is free again

    def come_forward(self) -> None:
        """Brings the window before the others, with what it was called for."""
        self.setWindowState(self.windowState() & ~Qt.WindowState.WindowMinimized)
        self.raise_()
        self.activateWindow()

    def show_queue(self) -> None:
        """Leads to what waits."""
        self.go("runs")
        self.runs.show_queue()

    def show_copying(self, share: float | None) -> None:
        """Shows in the header how far a folder for a cluster is copied; None for none."""
        doing = tr("Copying for the cluster") if self.cluster.is_writing else ""
        self.header.show_task(doing, share)

    def show_job(self) -> None:
        if self.jobs.running:
            self.go(STEP_OF[self.jobs.kind])

    def open_and_resume(self, path: Path) -> None:
        if self.open_project(path):
            QTimer.singleShot(0, self, lambda: self.flow.request("resume"))

    # --- the rest -----------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent) -> None:
        """From now on somebody looks at the gauges."""
        super().showEvent(event)
        if not self.gauges.has_begun:
            self._painted.start()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """A project, wherever it is dropped."""
        if dropped_project(event) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Opens it."""
        if (path := dropped_project(event)) is not None:
            event.acceptProposedAction()
            self.open_project(path)

    def focusNextPrevChild(self, forwards: bool) -> bool:
        """Tab reaches every control, in both directions."""
        return tab_order.go_on(self, forwards)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Closes at once, or when what is under way has come to the end that the user chose."""
        self.commit()
        if self.closing.may_close():
            self.leave()
            event.accept()
        else:
            event.ignore()

    def leave(self) -> None:
        """Saves and lets go of every thread; a job at work goes on. Harmless when done twice."""
        if self.has_project and self.state.dirty:
            self.state.save()
        self.tour.end()
        self.lock.release()
        self._painted.stop()
        self.gauges.leave()
        self.manners.leave()
        self.news.leave()
        self.cluster.leave()
        self.engine.leave()
        self.library.leave()
        self.updates.leave()
        self.queue.leave()
        self.jobs.detach()  # before the pages: they look at what follows it
        for page in self.everywhere if self.furniture.is_there else [self.home]:
            page.leave()
        self.inspector.shut_down()
        self.preferences.geometry = bytes(self.saveGeometry().toHex().data()).decode()
        self.preferences.save()
