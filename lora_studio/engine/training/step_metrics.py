"""Throughput and time left: one `StepDone` event for every optimizer step."""

from __future__ import annotations

from collections import deque
from typing import Any

from lora_studio.core.protocol import events
from lora_studio.engine.runtime.channel import JobContext

#: Number of steps that throughput and time left are averaged over.
_WINDOW = 20


class StepMetrics:
    """Emits a `StepDone` for every step, however short.

    A line in `events.jsonl` costs 50 µs, and a curve with gaps couldn't be compared with that of a
    resumed run.
    """

    def __init__(self, job: JobContext, total_steps: int) -> None:
        """Take the number of steps of the whole training."""
        self._job = job
        self._total_steps = total_steps
        self._recent: deque[tuple[float, int]] = deque(maxlen=_WINDOW)

    def emit_step(self, *, seconds: float, step: int, tokens: int, **metrics: Any) -> None:
        """Emit the metrics of one step; `metrics` are further fields of StepDone."""
        self._recent.append((seconds, tokens))
        total_seconds = sum(seconds for seconds, _ in self._recent)
        total_tokens = sum(tokens for _, tokens in self._recent)
        self._job.emit(
            events.StepDone(
                step=step,
                steps=self._total_steps,
                tokens=tokens,
                tokens_per_s=total_tokens / total_seconds if total_seconds else 0.0,
                eta_s=total_seconds / len(self._recent) * (self._total_steps - step),
                **metrics,
            )
        )
