"""Find training steps whose metrics are missing from a run's events, because the file is damaged."""

from __future__ import annotations

from lora_studio.core.messages import counted, text
from lora_studio.core.problems import Problem, Where, warning
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.manifest import EVENTS_START


class LostSteps:
    """Follows the events of a run; `ranges` are the first and last step of each gap so far."""

    def __init__(self) -> None:
        """Start before the first step."""
        self.ranges: list[tuple[int, int]] = []
        self.last = 0

    def on_event(self, event: object) -> None:
        """Follow an event, in the order of the file."""
        match event:
            case events.TrainingStarted() | events.Recovered():
                self.rewind(event.step)
            case events.StepDone():
                if event.step <= self.last:
                    self.rewind(event.step - 1)
                self.expect(event.step - 1)
                self.last = event.step

    def expect(self, step: int) -> None:
        """Add a gap up to a step that training is known to have done."""
        if step > self.last:
            self.ranges.append((self.last + 1, step))
            self.last = step

    def rewind(self, step: int) -> None:
        """Drop what follows a step, since training continues from it."""
        self.last = min(self.last, step)
        self.ranges = [(first, min(last, step)) for first, last in self.ranges if first <= step]


def expect_checkpoints(lost: LostSteps, run: RunFolder) -> None:
    """Add the steps up to the last checkpoint; a running training writes events before checkpoints."""
    if steps := run.list_checkpoint_steps():
        lost.expect(steps[-1])


def lost_steps_warning(run: RunFolder, lost: LostSteps) -> Problem | None:
    """Return the warning about missing metrics; None if none are missing.

    A run that was exported to a cluster starts without the events of its first steps.
    """
    before = run.read_manifest().get(EVENTS_START) or 0
    ranges = [(max(first, before + 1), last) for first, last in lost.ranges if last > before]
    if not ranges:
        return None
    return warning(
        "run.lost_metrics",
        counted(
            sum(last - first + 1 for first, last in ranges),
            "The metrics of {n} step are missing: {steps}. {file} is damaged.",
            "The metrics of {n} steps are missing: {steps}. {file} is damaged.",
            steps=tuple(
                text("{first:d} to {last:d}", first=first, last=last) for first, last in ranges
            ),
            file=run.events_file.name,
        ),
        "Restore the file from a backup to get the curves back. The adapter and the checkpoints are not "
        "affected.",
        where=Where(file=str(run.events_file)),
    )
