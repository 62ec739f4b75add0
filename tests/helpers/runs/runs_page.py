"""The Runs page with only the parts of the window that it needs."""

from __future__ import annotations

from lora_studio.gui.jobs.control import JobControl
from lora_studio.gui.jobs.launcher import JobLauncher
from lora_studio.gui.pages.runs.page import RunsPage
from lora_studio.gui.pages.runs.queue import RunQueue
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import ProjectState


class Parts:
    """The parts of the window that the page needs."""

    def __init__(self, state: ProjectState, preferences: Preferences | None = None) -> None:
        self.state = state
        self.posted: list[str] = []
        state.messages.posted.connect(lambda message: self.posted.append(str(message.text)))
        state.messages.connect_view()
        self.jobs = JobControl()
        self.launcher = JobLauncher(state, self.jobs)
        self.queue = RunQueue(state, self.jobs, self.launcher)
        self.page = RunsPage(state, self.queue, preferences or Preferences())
        self.page.run_actions.open_requested.connect(self.launcher.open_run)
        self.page.run_actions.close_requested.connect(self.jobs.detach)
        self.jobs.event_received.connect(self.page.on_event)
        self.page.resize(1100, 760)
        self.page.show()

    def stop_background_work(self) -> None:
        self.queue.stop_background_work()
        self.page.stop_background_work()
        self.jobs.detach()
        for part in (self.page, self.queue, self.launcher, self.jobs):
            part.deleteLater()
