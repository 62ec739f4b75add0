"""Six plain pages with every editor in one column, for tests of the window's frame."""

from __future__ import annotations

from lora_studio.core.problems import STEPS
from lora_studio.core.project.project import SPECS
from lora_studio.gui.pages.page import StepPage
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.widgets.basics import Card, CollapsibleSection

TITLES = ("Model", "LoRA", "Dataset", "Train", "Merge", "Export")
JOBS = {"training": "train", "merging": "merge", "export": "export"}


class PlainPage(StepPage):
    """A page with the editors of one step; records the events that it receives."""

    def __init__(self, state: ProjectState) -> None:
        """Add all fields, the advanced ones in a collapsed section."""
        super().__init__(state)
        self.received: list[object] = []
        card, more = Card(self.title), CollapsibleSection()
        for field in SPECS[self.step].model_fields:
            editor = self.add_editor(field)
            (more if editor.facts.advanced else card).add(editor)
        card.add(more)
        self.body.addWidget(card)
        self.body.addStretch(1)
        self.refresh()

    def on_event(self, event: object) -> None:
        """Record the event."""
        self.received.append(event)

    def on_primary(self) -> None:
        """Start the step's job, or continue to the next step."""
        if self.step in JOBS:
            self.run_requested.emit(JOBS[self.step])
        else:
            super().on_primary()


def pages(state: ProjectState, preferences: Preferences) -> list[StepPage]:
    """Return one page per step."""
    step_pages = []
    for step, title in zip(STEPS, TITLES, strict=True):
        kind = type(f"Plain{title}", (PlainPage,), {"step": step, "title": title})
        step_pages.append(kind(state))
    return step_pages
