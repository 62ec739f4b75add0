"""Six plain pages with every editor in one column: tests of the frame stand on these alone."""

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
    """Editors of one step; keeps what it is told."""

    def __init__(self, state: ProjectState) -> None:
        """All fields, the advanced ones folded away."""
        super().__init__(state)
        self.seen: list[object] = []
        card, more = Card(self.title), CollapsibleSection()
        for field in SPECS[self.step].model_fields:
            made = self.add_editor(field)
            (more if made.about.advanced else card).add(made)
        card.add(more)
        self.body.addWidget(card)
        self.body.addStretch(1)
        self.refresh()

    def on_event(self, event: object) -> None:
        """Remembers the event."""
        self.seen.append(event)

    def on_primary(self) -> None:
        """Starts the step's job, else goes on."""
        if self.step in JOBS:
            self.run_requested.emit(JOBS[self.step])
        else:
            super().on_primary()


def pages(state: ProjectState, preferences: Preferences) -> list[StepPage]:
    """One page per step."""
    made = []
    for step, title in zip(STEPS, TITLES, strict=True):
        kind = type(f"Plain{title}", (PlainPage,), {"step": step, "title": title})
        made.append(kind(state))
    return made
