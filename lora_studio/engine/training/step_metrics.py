"""The metrics of optimizer steps: summed on the device, and emitted with throughput and time left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch

from lora_studio.core.messages import NO_TEXT, Text, text
from lora_studio.core.protocol import events
from lora_studio.core.training.evaluation_schedule import EvaluationSchedule
from lora_studio.engine.devices.devices import get_widest_float
from lora_studio.engine.runtime.channel import JobContext

#: Number of steps that throughput and time left are averaged over.
_WINDOW = 20
#: Seconds from which a step is slow, so that its progress is shown.
_SLOW = 2.0


class StepMetrics:
    """Emits a `StepDone` for every step, however short.

    A line in `events.jsonl` costs 50 µs, and a curve with gaps couldn't be compared with that of a
    resumed run.
    """

    def __init__(
        self, job: JobContext, total_steps: int, evaluations: EvaluationSchedule | None = None
    ) -> None:
        """Take the number of steps of the whole training, and when it is evaluated."""
        self._job = job
        self._total_steps = total_steps
        self._evaluations = evaluations or EvaluationSchedule(total_steps, 0)
        self._evaluation_seconds = 0.0  # of the latest one, with its sample answers
        self._recent: deque[tuple[float, int]] = deque(maxlen=_WINDOW)
        self._step = self._micro_batches = 0  # of the running step
        self._stage: Text = NO_TEXT
        self._shown = 0.0

    def start_step(self, step: int, micro_batches: int) -> None:
        """Show that a step, counted from 1, begins, if it is slow or follows other work."""
        self._step, self._micro_batches = step, micro_batches
        is_slow = bool(self._recent) and self._recent[-1][0] >= _SLOW
        if is_slow or self._job.stage != self._stage:
            self._show_step(0)

    def show_micro_batch(self, number: int) -> None:
        """Show that some micro-batches of the step are done, at most once a second."""
        if self._step and time.monotonic() - self._shown >= _SLOW / 2:
            self._show_step(number)

    def _show_step(self, micro_batches: int) -> None:
        steps, self._shown = self._total_steps, time.monotonic()
        done = self._step - 1 + micro_batches / max(1, self._micro_batches)
        self._stage = text("step {step} of {steps}", step=self._step, steps=steps)
        eta = self._estimate_seconds(steps - done, self._step) if self._recent else None
        self._job.show_stage(self._stage, done, steps, "steps", eta)

    def record_evaluation(self, seconds: float) -> None:
        """Take the duration of an evaluation, which the next ones are expected to have."""
        self._evaluation_seconds = max(0.0, seconds)

    def _estimate_seconds(self, steps: float, next_evaluation: int) -> float:
        """Return how long so many steps take, with the evaluations after the step `next_evaluation` and later ones."""
        seconds = sum(seconds for seconds, _ in self._recent) / len(self._recent) * steps
        return seconds + self._evaluation_seconds * self._evaluations.count_from(next_evaluation)

    def emit_step(self, *, seconds: float, step: int, tokens: int, **fields: Any) -> None:
        """Emit the metrics of one step; `fields` are further fields of StepDone."""
        self._step = 0
        self._recent.append((seconds, tokens))
        total_seconds = sum(seconds for seconds, _ in self._recent)
        total_tokens = sum(tokens for _, tokens in self._recent)
        self._job.emit(
            events.StepDone(
                step=step,
                steps=self._total_steps,
                tokens=tokens,
                tokens_per_s=total_tokens / total_seconds if total_seconds else 0.0,
                eta_s=self._estimate_seconds(self._total_steps - step, step),
                **fields,
            )
        )


def add_sums(sums: dict[str, torch.Tensor], values: Mapping[str, torch.Tensor]) -> None:
    """Add scalars to sums of the same names, in 64-bit where the device has it, without waiting for it."""
    for name, value in values.items():
        total = sums.get(name)
        device = value.device if total is None else total.device
        wide = value.detach().to(device, get_widest_float(device), non_blocking=True)
        sums[name] = wide if total is None else total + wide


def read_scalars(scalars: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Return the values of scalars by name, in a single copy: each copy waits for the device."""
    if not scalars:
        return {}
    device = next(iter(scalars.values())).device
    wide = get_widest_float(device)
    parts = [value.detach().to(device, wide, non_blocking=True) for value in scalars.values()]
    return dict(zip(scalars, torch.stack(parts).cpu().tolist(), strict=True))
