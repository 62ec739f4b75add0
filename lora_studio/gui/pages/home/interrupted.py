"""Report training runs that were interrupted while no window was open."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject

from lora_studio.core.messages import Text
from lora_studio.core.problems import Problem, Where, warning
from lora_studio.gui.pages.home.recent_projects import ProjectSummary
from lora_studio.gui.problems.messages import Messages


class InterruptedRuns(QObject):
    """Reports each interrupted run that a scan of the recent projects finds, once."""

    def __init__(self, messages: Messages, parent: QObject | None = None) -> None:
        """Create the reporter without reporting anything yet."""
        super().__init__(parent)
        self._messages = messages
        self._reported: set[Path] = set()

    def report(self, projects: list[ProjectSummary]) -> None:
        """Report the latest run that can be resumed, once for each run."""
        for project in projects:
            if project.state != "interrupted" or not project.is_resumable or project.run is None:
                continue
            if project.run.path not in self._reported:
                self._reported.add(project.run.path)
                self._messages.problem(_problem(project))
                return


def _problem(project: ProjectSummary) -> Problem:
    assert project.run is not None
    checkpoint = project.run.list_checkpoint_steps()[-1]
    return warning(
        "run.interrupted",
        "Training of {project} was interrupted at step {step} of {steps}.",
        "{reason} You can resume it from the checkpoint at step {checkpoint}.",
        where=Where(file=str(project.file)),
        project=project.name,
        step=project.step,
        steps=project.steps,
        reason=Text.model_validate(project.reason),
        checkpoint=checkpoint,
    )
