"""Repair the record of a run whose events were damaged, as far as its checkpoint knows them."""

from __future__ import annotations

from lora_studio.core.protocol import events
from lora_studio.core.runs.facts import lost_steps_warning
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.state import LostSteps
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.training.trainer_state import TrainerState


def restore_events(run: RunFolder, state: TrainerState, job: JobContext) -> None:
    """Warn about steps whose metrics are missing, and record missing evaluations again.

    A checkpoint contains all evaluations until then, but no steps.
    """
    stream = list(run.iter_events_of("step_done", "evaluated", "training_started", "recovered"))
    lost = LostSteps()
    for event in stream:
        lost.on_event(event)
    lost.rewind(state.step)  # what follows is trained again
    lost.expect(state.step)
    if (problem := lost_steps_warning(run, lost)) is not None:
        job.emit(events.Warned(problem=problem))
    recorded = {event.step: event.loss for event in stream if isinstance(event, events.Evaluated)}
    missing = [entry for entry in state.evaluations if recorded.get(entry.step) != entry.loss]
    # Later ones as well: curves drop what follows a step that comes again.
    for entry in state.evaluations if missing else ():
        if entry.step >= missing[0].step:
            job.emit(entry.to_event())
