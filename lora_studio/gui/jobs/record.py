"""The state of one kind of job, derived from the events of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lora_studio.core.problems import Problem
from lora_studio.core.protocol import events

#: Jobs of a run. The answers of query workers during a job begin with `Started`, too.
_KINDS = ("train", "merge", "export", "create_ollama", "push", "evaluate")

Phase = Literal["none", "running", "done", "stopped", "paused", "failed", "cancelled"]


@dataclass
class JobRecord:
    """The latest job of one kind: "train", "merge" or "export"."""

    kind: str
    phase: Phase = "none"
    problem: Problem | None = None
    progress: events.Progress | None = None
    begun: float = 0.0
    ended: float = 0.0
    _id: str = ""

    def apply(self, event: object) -> bool:
        """Apply an event; return whether it belongs to this job."""
        match event:
            case events.Started() if event.command == self.kind:
                self.phase, self.problem, self.progress = "running", None, None
                self.begun, self._id = event.time, event.id
                return True
            case events.Started() if event.command in _KINDS:
                self._id = (
                    ""  # a job of another kind: the following events don't belong to this one
                )
                return False
        if not self._id or getattr(event, "id", "") != self._id:
            return False
        match event:
            case events.Progress():
                self.progress = event
            case events.Done():
                phase: Phase = "stopped" if event.stopped else "paused" if event.paused else "done"
                self._end(phase, event)
            case events.Failed():
                self.problem = event.problem
                self._end("failed", event)
            case events.Cancelled():
                self._end("cancelled", event)
        return True

    def clear(self) -> None:
        """Reset the record for another run."""
        self.phase, self.problem, self.progress, self._id = "none", None, None, ""
        self.begun = self.ended = 0.0

    def is_running(self, job_under_way: str) -> bool:
        """Return whether the job is running."""
        return job_under_way == self.kind

    def was_cut_off(self, job_under_way: str) -> bool:
        """Return whether the job started and its worker vanished."""
        return self.phase == "running" and not self.is_running(job_under_way)

    @property
    def seconds(self) -> float:
        """Duration of the job in seconds."""
        return max(0.0, self.ended - self.begun)

    def _end(self, phase: Phase, event: events.Ending) -> None:
        self.phase, self.ended, self.progress = phase, event.time, None
