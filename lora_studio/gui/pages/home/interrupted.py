"""Report training runs that were interrupted while no window was open."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject

from lora_studio.core.messages import Text
from lora_studio.core.problems import Problem, Where, warning
from lora_studio.gui.pages.home.recent_projects import ProjectGlance
from lora_studio.gui.problems.messages import Messages


class Interrupted(QObject):
    """Reports each interrupted run once, from a scan of the recent projects."""

    def __init__(self, messages: Messages, parent: QObject | None = None) -> None:
        """Create the reporter; nothing is reported yet."""
        super().__init__(parent)
        self._messages = messages
        self._told: set[Path] = set()

    def take(self, seen: list[ProjectGlance]) -> None:
        """Report the latest run that can be resumed, once for each run."""
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
    return warning(
        "run.interrupted",
        "Training of {project} was interrupted at step {step} of {steps}.",
        "{reason} You can resume it from the checkpoint at step {checkpoint}.",
        where=Where(file=str(glance.file)),
        project=glance.name,
        step=glance.step,
        steps=glance.steps,
        reason=Text.model_validate(glance.reason),
        checkpoint=checkpoint,
    )
