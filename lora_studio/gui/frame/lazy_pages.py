"""All pages except Home, created one after another once the window is on the screen.

Importing and building them takes longer than the rest of the startup, so the window appears, with a
usable Home page, before they exist. Whatever is still missing is created when it is first needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import import_module

from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtWidgets import QWidget

from lora_studio.gui.language import tr
from lora_studio.gui.pages.page import AppPage, StepPage
from lora_studio.gui.pages.runs.queue import RunQueue
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.widgets.work_cover import cover_window

MakePages = Callable[[ProjectState, Preferences], Iterable[StepPage]]

#: What takes long to import, each imported in a turn of the event loop of its own.
_SLOW_IMPORTS = (
    "numpy",
    "pyqtgraph",
    *(f"lora_studio.gui.pages.{name}.page" for name in ("model", "dataset", "training", "export")),
    *(f"lora_studio.gui.pages.{name}.page" for name in ("runs", "evaluation", "playground")),
)


def make_step_pages(state: ProjectState, preferences: Preferences) -> Iterator[StepPage]:
    """Yield the six step pages of one project, in the order of the workflow."""
    from lora_studio.gui.pages.dataset.page import DatasetPage
    from lora_studio.gui.pages.export.page import ExportPage
    from lora_studio.gui.pages.lora.page import LoraPage
    from lora_studio.gui.pages.merging import MergingPage
    from lora_studio.gui.pages.model.page import ModelPage
    from lora_studio.gui.pages.training.page import TrainingPage

    yield ModelPage(state, preferences)
    yield LoraPage(state)
    yield DatasetPage(state, preferences)
    yield TrainingPage(state)
    yield MergingPage(state)
    yield ExportPage(state)


def _make_app_pages(
    state: ProjectState, preferences: Preferences, queue: RunQueue
) -> Iterator[AppPage]:
    from lora_studio.gui.pages.evaluation.page import EvaluationPage
    from lora_studio.gui.pages.playground.page import PlaygroundPage
    from lora_studio.gui.pages.runs.page import RunsPage
    from lora_studio.gui.pages.settings.page import SettingsPage

    yield RunsPage(state, queue, preferences)
    yield EvaluationPage(state)
    yield PlaygroundPage(state)
    yield SettingsPage(state, preferences)


class LazyPages(QObject):
    """The six step pages, Runs, Evaluate, Playground and Settings.

    Signals:
        page_created(page): one page exists now.
        created: all pages exist now.
    """

    page_created = Signal(QWidget)
    created = Signal()

    def __init__(
        self,
        state: ProjectState,
        preferences: Preferences,
        queue: RunQueue,
        make_pages: MakePages,
        window: QWidget,
    ) -> None:
        """Store how to create the pages; `make_pages` returns one page per step."""
        super().__init__(window)
        self._window = window
        self.is_created = False
        self._is_creating = False
        self._steps: dict[str, StepPage] = {}
        self._app_pages: dict[str, AppPage] = {}
        self._remaining = self._iter_parts(state, preferences, queue, make_pages)

    @property
    def steps(self) -> dict[str, StepPage]:
        """The page of each step."""
        self.create()
        return self._steps

    @property
    def app_pages(self) -> dict[str, AppPage]:
        """The other pages by name."""
        self.create()
        return self._app_pages

    def prepare(self, callback: Callable[[], object]) -> None:
        """Create the pages one after another while the window stays usable; then call `callback`."""
        if self._create_part():
            QTimer.singleShot(0, self, partial(self.prepare, callback))
        else:
            callback()

    def create(self) -> None:
        """Create all pages that don't exist yet."""
        if self.is_created or self._is_creating:
            return
        with cover_window(self._window, tr("Preparing the pages…")):
            while self._create_part():
                pass

    def _create_part(self) -> bool:
        """Import a library or create a page; return whether more is to be created."""
        if self.is_created:
            return False
        self._is_creating = True
        try:
            page = next(self._remaining)
        except StopIteration:
            self.is_created = True
            self.created.emit()
            return False
        finally:
            self._is_creating = False
        if page is not None:
            self.page_created.emit(page)
        return True

    def _iter_parts(
        self,
        state: ProjectState,
        preferences: Preferences,
        queue: RunQueue,
        make_pages: MakePages,
    ) -> Iterator[QWidget | None]:
        """Create one page after another, and yield it; None between two parts of the work.

        Adding a page to the window takes as long as creating it, because Qt styles it then.
        """
        for name in _SLOW_IMPORTS:
            import_module(name)
            yield None
        for page in make_pages(state, preferences):
            self._steps[page.step] = page
            yield None
            yield page
        for other in _make_app_pages(state, preferences, queue):
            self._app_pages[other.name] = other
            yield None
            yield other
