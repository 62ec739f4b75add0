"""Recover from running out of memory: retry the same work with less in memory at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
import torch

from lora_studio.core.messages import Text, text
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.devices.oom_capture import OutOfMemory, capture_oom, release_memory
from lora_studio.engine.devices.random_state import get_random_state, set_random_state
from lora_studio.engine.devices.ranks import ProcessGroup
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.training.memory import ladder, problems
from lora_studio.engine.training.memory.ladder import MemoryLevel, choose_starting_level
from lora_studio.engine.training.memory.watch import MemoryWatch


@dataclass(frozen=True)
class Completed:
    """The action ran to its end."""


@dataclass(frozen=True)
class Retry:
    """Only the memory level was lowered: run the action again."""


@dataclass(frozen=True)
class RolledBack:
    """The weights were updated in part, so the last checkpoint was loaded: continue from its step."""


@dataclass(frozen=True)
class GiveUp:
    """There is nothing left to try in this process."""

    error: ProblemError


Outcome = Completed | Retry | RolledBack | GiveUp


class RecoverableTrainer(Protocol):
    """What recovery needs of a trainer."""

    @property
    def step(self) -> int:
        """Return the number of optimizer steps that are done."""
        ...

    @property
    def memory_level(self) -> MemoryLevel:
        """Return the level in use."""
        ...

    def apply_memory_level(self, level: MemoryLevel) -> None:
        """Compute at this level from now on; the rows of a step stay the same."""
        ...

    def stop_filling(self) -> bool:
        """Compute no more tokens at once than the level's largest micro-batch has; return whether that is less."""
        ...

    def load_checkpoint(self) -> None:
        """Restore the last complete checkpoint."""
        ...


class StepLayout(Protocol):
    """What recovery needs to know about the rows."""

    @property
    def lengths(self) -> np.ndarray:
        """Return the lengths of the training rows in tokens."""
        ...

    @property
    def rows_per_step(self) -> int:
        """Return the number of rows in an optimizer step."""
        ...


class OomRecovery:
    """Runs the parts of a training and recovers each one from running out of memory."""

    def __init__(
        self,
        trainer: RecoverableTrainer,
        run: RunFolder,
        job: JobContext,
        ranks: ProcessGroup,
        watch: MemoryWatch,
        tuned: AdaptedModel,
        batches: StepLayout,
        *,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler | None,
    ) -> None:
        """Take the trainer to recover and the watch to reset once memory has been released.

        `scaler` is None without float16.
        """
        self._trainer, self._run, self._job = trainer, run, job
        self._ranks, self._watch = ranks, watch
        self._tuned, self._batches = tuned, batches
        self._optimizer, self._scaler = optimizer, scaler

    def keep_unfilled(self) -> None:
        """Stop filling micro-batches if memory ran out before; the last checkpoint may be older than that."""
        if self._ranks.broadcast(self._run.read_manifest().get("memory")):
            self._trainer.stop_filling()

    def start(self, spec: TrainingSpec, *, lower: bool) -> None:
        """Apply the level that was low enough before, or with `lower` the next lower one.

        Raises ProblemError when there is no lower level.
        """
        recorded = self._run.read_manifest().get("memory")
        recorded, lower = self._ranks.broadcast((recorded, lower))
        current = asdict(self._trainer.memory_level)
        self._trainer.apply_memory_level(choose_starting_level(spec, current, recorded))
        if lower:
            killed = OutOfMemory(text("The system ended the training because memory ran out."))
            outcome = self._step_down(killed)
            if isinstance(outcome, GiveUp):
                raise outcome.error

    def run(self, action: Callable[[], object]) -> Completed | RolledBack:
        """Run an action; whenever memory runs out, lower the memory level and run it again.

        Each attempt starts with the same random numbers. Raises ProblemError when nothing is left to
        try. With sharded weights it raises at once, so that a new process resumes.
        """
        while True:
            outcome = self._try_action(action)
            match outcome:
                case Retry():
                    continue
                case GiveUp():
                    raise outcome.error
                case _:
                    return outcome

    def _try_action(self, action: Callable[[], object]) -> Outcome:
        random_state = get_random_state()
        result = capture_oom(action)
        if not isinstance(result, OutOfMemory):
            return Completed()
        if self._ranks.is_sharded:
            return GiveUp(problems.restart_required_error(result.reason))
        outcome = self._step_down(result)
        if isinstance(outcome, Retry):
            set_random_state(random_state)
        return outcome

    def _step_down(self, failure: OutOfMemory) -> Retry | RolledBack | GiveUp:
        """Release memory and apply the next lower level.

        Where short rows fill micro-batches because memory seemed to allow it, the settings' own micro-batches
        are the first to try: halving them too, or recomputing, would slow down all further steps.
        """
        trainer = self._trainer
        self._discard_gradients()
        self._watch.reset()
        can_recompute = ladder.can_recompute(self._tuned.model)
        lower: MemoryLevel | None = trainer.memory_level
        stopped_filling = trainer.stop_filling()
        if not stopped_filling:
            lower = trainer.memory_level.get_next_lower(can_recompute=can_recompute)
        if lower is None:
            return GiveUp(
                problems.memory_exhausted_error(
                    failure.reason, self._batches.lengths, self._tuned.base.precision
                )
            )
        if failure.weights_changed:
            trainer.load_checkpoint()
            trainer.stop_filling()  # the checkpoint may be from before
        trainer.apply_memory_level(lower)
        self._report(lower, failure.reason, stopped_filling=stopped_filling)
        return RolledBack() if failure.weights_changed else Retry()

    def _discard_gradients(self) -> None:
        """Drop all gradients and release their memory.

        The float16 scaler may have unscaled them already and would assume the same of the next ones. An
        update resets that, and the scaler's state is restored.
        """
        self._optimizer.zero_grad()
        release_memory()
        if self._scaler is not None:
            scaler_state = self._scaler.state_dict()
            with contextlib.suppress(AssertionError):  # nothing has been unscaled
                self._scaler.update()
                self._scaler.load_state_dict(scaler_state)

    def _report(self, level: MemoryLevel, reason: Text, *, stopped_filling: bool) -> None:
        accumulation = level.count_micro_batches(self._batches.rows_per_step)
        if self._ranks.is_first:
            entry = {"gradient_accumulation": accumulation, "why": str(reason)}
            self._run.update_manifest(memory=asdict(level) | entry)
        self._job.emit(
            events.Recovered(
                step=self._trainer.step,
                micro_batch=level.micro_batch,
                gradient_accumulation=accumulation,
                gradient_checkpointing=level.recomputing,
                stopped_filling=stopped_filling,
                why=reason,
            )
        )
