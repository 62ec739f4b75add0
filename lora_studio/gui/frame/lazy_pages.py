"""All pages except Home, created when any of them is first needed.

Importing and building them takes longer than the rest of the startup, so the window appears, with a
usable Home page, before they exist.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QWidget

from lora_studio.gui.language import tr
from lora_studio.gui.pages.page import StepPage
from lora_studio.gui.pages.runs.queue import RunQueue
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.widgets.work_cover import cover_window

if TYPE_CHECKING:
    from lora_studio.gui.pages.evaluation.page import EvaluationPage
    from lora_studio.gui.pages.playground.page import PlaygroundPage
    from lora_studio.gui.pages.runs.page import RunsPage
    from lora_studio.gui.pages.settings.page import SettingsPage

MakePages = Callable[[ProjectState, Preferences], Sequence[StepPage]]


def make_step_pages(state: ProjectState, preferences: Preferences) -> list[StepPage]:
    """Return the six step pages of one project, in the order of the workflow."""
    from lora_studio.gui.pages.dataset.page import DatasetPage
    from lora_studio.gui.pages.export.page import ExportPage
    from lora_studio.gui.pages.lora.page import LoraPage
    from lora_studio.gui.pages.merging import MergingPage
    from lora_studio.gui.pages.model.page import ModelPage
    from lora_studio.gui.pages.training.page import TrainingPage

    return [
        ModelPage(state, preferences),
        LoraPage(state),
        DatasetPage(state, preferences),
        TrainingPage(state),
        MergingPage(state),
        ExportPage(state),
    ]


class LazyPages(QObject):
    """The six step pages, Runs, Evaluate, Playground and Settings.

    Signals:
        created: all pages exist now.
    """

    created = Signal()

    def __init__(
        self,
        state: ProjectState,
        preferences: Preferences,
        queue: RunQueue,
        make_pages: MakePages = make_step_pages,
        parent: QObject | None = None,
    ) -> None:
        """Store how to create the pages; `make_pages` returns one page per step."""
        super().__init__(parent)
        self._state, self._preferences, self._queue = state, preferences, queue
        self._make_pages = make_pages
        self.is_created = False
        self._steps: dict[str, StepPage] = {}

    @property
    def steps(self) -> dict[str, StepPage]:
        """The page of each step."""
        self.create()
        return self._steps

    @property
    def runs(self) -> RunsPage:
        """The page of all runs."""
        self.create()
        return self._runs

    @property
    def evaluation(self) -> EvaluationPage:
        """The page that evaluates models."""
        self.create()
        return self._evaluation

    @property
    def playground(self) -> PlaygroundPage:
        """The page for chatting with models."""
        self.create()
        return self._playground

    @property
    def settings(self) -> SettingsPage:
        """The page of the settings that all projects share."""
        self.create()
        return self._settings

    def create(self) -> None:
        """Create all pages, unless they exist."""
        if self.is_created:
            return
        self.is_created = True
        window = self.parent()
        if isinstance(window, QWidget):
            with cover_window(window, tr("Preparing the pages…")):
                self._create()
        else:
            self._create()
        self.created.emit()

    def _create(self) -> None:
        # These imports take as long as all others combined, mostly because of pyqtgraph.
        from lora_studio.gui.pages.evaluation.page import EvaluationPage
        from lora_studio.gui.pages.playground.page import PlaygroundPage
        from lora_studio.gui.pages.runs.page import RunsPage
        from lora_studio.gui.pages.settings.page import SettingsPage

        self._runs = RunsPage(self._state, self._queue, self._preferences)
        self._evaluation = EvaluationPage(self._state)
        self._playground = PlaygroundPage(self._state)
        self._settings = SettingsPage(self._state, self._preferences)
        pages = self._make_pages(self._state, self._preferences)
        self._steps = {page.step: page for page in pages}
