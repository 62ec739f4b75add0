"""Pages and places of the window, made when the first of them is needed.

To make them takes longer, and more memory, than everything before: the window is seen, and its Home
used, without waiting for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from lora_studio.gui.pages.home.page import HomePage
from lora_studio.gui.pages.page import AppPage, StepPage
from lora_studio.gui.pages.runs.queue import RunQueue
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import ProjectState

if TYPE_CHECKING:
    from lora_studio.gui.pages.playground.page import PlaygroundPage
    from lora_studio.gui.pages.runs.page import RunsPage
    from lora_studio.gui.pages.settings.page import SettingsPage

MakePages = Callable[[ProjectState, Preferences], Sequence[StepPage]]


class LazyPages(QObject):
    """Everything that is shown in the window's middle, except Home.

    Signals:
        made: it is all there now; connected to whatever puts it into the window.
    """

    made = Signal()

    def __init__(
        self,
        state: ProjectState,
        preferences: Preferences,
        queue: RunQueue,
        make_pages: MakePages,
        parent: QObject | None = None,
    ) -> None:
        """Nothing yet. `make_pages` gives one page per step."""
        super().__init__(parent)
        self._state, self._preferences, self._queue = state, preferences, queue
        self._make_pages = make_pages
        self.is_there = False
        self._pages: dict[str, StepPage] = {}

    @property
    def pages(self) -> dict[str, StepPage]:
        """The page of each step."""
        self.make()
        return self._pages

    @property
    def runs(self) -> RunsPage:
        """All runs."""
        self.make()
        return self._runs

    @property
    def playground(self) -> PlaygroundPage:
        """Models to talk to."""
        self.make()
        return self._playground

    @property
    def settings(self) -> SettingsPage:
        """What the user has chosen for all projects."""
        self.make()
        return self._settings

    def make(self) -> None:
        """Makes everything, the first time."""
        if self.is_there:
            return
        self.is_there = True
        # Their imports take as long as all others together, pyqtgraph's most of all.
        from lora_studio.gui.pages.playground.page import PlaygroundPage
        from lora_studio.gui.pages.runs.page import RunsPage
        from lora_studio.gui.pages.settings.page import SettingsPage

        self._runs = RunsPage(self._state, self._queue, self._preferences)
        self._playground = PlaygroundPage(self._state)
        self._settings = SettingsPage(self._state, self._preferences)
        made = self._make_pages(self._state, self._preferences)
        self._pages = {page.step: page for page in made}
        self.made.emit()


class LazyPage:
    """What a window with furniture offers of it; the first that is asked for has all of it made."""

    furniture: LazyPages
    home: HomePage

    @property
    def pages(self) -> dict[str, StepPage]:
        """The page of each step."""
        return self.furniture.pages

    @property
    def runs(self) -> RunsPage:
        """All runs."""
        return self.furniture.runs

    @property
    def playground(self) -> PlaygroundPage:
        """Models to talk to."""
        return self.furniture.playground

    @property
    def settings(self) -> SettingsPage:
        """What the user has chosen for all projects."""
        return self.furniture.settings

    @property
    def places(self) -> dict[str, AppPage]:
        """What is no step, by its name."""
        found = (self.home, self.runs, self.playground, self.settings)
        return {place.name: place for place in found}

    @property
    def everywhere(self) -> list[StepPage | AppPage]:
        """All pages and places."""
        return [*self.pages.values(), *self.places.values()]
