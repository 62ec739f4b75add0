"""How fast training is and how long it still takes: one `StepDone` for every optimizer step."""

from __future__ import annotations

from collections import deque
from typing import Any

from lora_studio.core.protocol import events
from lora_studio.engine.runtime.channel import JobContext

#: Steps that speed and the time left are averaged over.
_WINDOW = 20


class StepMetrics:
    """Speed and time left over the last steps.

    Every step is told, however short: a line in `events.jsonl` takes 50 µs, and a curve with gaps
    could not be compared with that of a resumed run.
    """

    def __init__(self, job: JobContext, steps: int) -> None:
        """`steps` is how many the whole training has."""
        self._job = job
        self._steps = steps
        self._recent: deque[tuple[float, int]] = deque(maxlen=_WINDOW)

    def step_done(self, *, seconds: float, step: int, tokens: int, **facts: Any) -> None:
        """Takes one step in and tells it."""
        self._recent.append((seconds, tokens))
        total = sum(seconds for seconds, _ in self._recent)
        self._job.emit(
            events.StepDone(
                step=step,
                steps=self._steps,
                tokens=tokens,
                tokens_per_s=sum(tokens for _, tokens in self._recent) / total if total else 0.0,
                eta_s=total / len(self._recent) * (self._steps - step),
                **facts,
            )
        )
