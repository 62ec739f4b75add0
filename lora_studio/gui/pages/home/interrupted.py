"""Trainings that were cut off while no window was open: told once, with Resume beside it."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject

from lora_studio.core import formatting
from lora_studio.core.problems import Problem, Where
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import tell
from lora_studio.gui.pages.home.recent_projects import ProjectGlance
from lora_studio.gui.problems.messages import Messages


class Interrupted(QObject):
    """Takes what a look at the recent projects has found."""

    def __init__(self, messages: Messages, parent: QObject | None = None) -> None:
        """Nothing was told yet."""
        super().__init__(parent)
        self._messages = messages
        self._told: set[Path] = set()

    def take(self, seen: list[ProjectGlance]) -> None:
        """Tells of the latest training that can be resumed, once for each run."""
        for glance in seen:
            if glance.state != "interrupted" or not glance.resumable or glance.run is None:
                continue
            if glance.run.path not in self._told:
                self._told.add(glance.run.path)
                self._messages.problem(_problem(glance))
                return


def _problem(glance: ProjectGlance) -> Problem:
    assert glance.run is not None
    checkpoint = glance.run.checkpoint_steps()[-1]
    return Problem(
        code="run.interrupted",
        what=tr("Training of {project} was interrupted at step {step} of {steps}.").format(
            project=glance.name,
            step=formatting.number(glance.step),
            steps=formatting.number(glance.steps),
        ),
        remedy=tr("{reason} It can go on from the checkpoint at step {step}.").format(
            reason=tell(glance.reason), step=formatting.number(checkpoint)
        ),
        where=Where(file=str(glance.file)),
        severity="warning",
    )
