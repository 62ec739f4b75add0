"""Save and restore everything that a training needs to continue as if it had never stopped."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import peft

from lora_studio.core.messages import text
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.lora import adapter_weights
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.training import checkpoint_files, problems
from lora_studio.engine.training.checkpoint_files import Checkpoint
from lora_studio.engine.training.distributed.ranks import ProcessGroup
from lora_studio.engine.training.memory.capture import (
    MemoryPressureError,
    OutOfMemory,
    capture_oom,
)
from lora_studio.engine.training.memory.problems import checkpoint_memory_warning
from lora_studio.engine.training.random_state import (
    RandomState,
    get_random_state,
    set_random_state,
)
from lora_studio.engine.training.recipe import optimizers
from lora_studio.engine.training.trainer_state import TrainerState
from lora_studio.engine.training.training_setup import TrainingSetup


class CheckpointManager:
    """The checkpoints of one training.

    Rank 0 writes and reads; what it reads goes to all ranks. `saved_step` is the step of the last
    checkpoint, 0 without any, and `saved_at` when it was written, in seconds of the monotonic clock.
    """

    def __init__(
        self,
        run: RunFolder,
        spec: TrainingSpec,
        scratch: Path,
        job: JobContext,
        ranks: ProcessGroup,
        model: peft.PeftModel,
        setup: TrainingSetup,
        fingerprint: str,
    ) -> None:
        """Take every stateful object; the state before the first step is saved into `scratch`.

        `fingerprint` identifies the training rows.
        """
        self._run, self._spec, self._job, self._ranks = run, spec, job, ranks
        self._model, self._optimizer = model, setup.optimizer
        self._scheduler, self._scaler = setup.scheduler, setup.scaler
        self._fingerprint, self._total_steps = fingerprint, setup.batches.total_steps
        self._initial_folder = scratch / "beginning"
        self.saved_step, self.saved_at = 0, time.monotonic()

    def save_initial(self, state: TrainerState) -> None:
        """Save the state before the first step, to roll back to until there is a checkpoint.

        Raises MemoryPressureError on every rank when rank 0 runs out of memory.
        """
        if (failure := self._save(self._initial_folder, state)) is not None:
            raise MemoryPressureError(failure.reason)

    def save(self, state: TrainerState) -> bool:
        """Save a checkpoint and delete the oldest; return whether there was enough memory.

        If there isn't, the previous checkpoint remains the last one and Warned is emitted.
        """
        folder = self._run.checkpoint(state.step)
        failure = self._save(folder, state)
        self.saved_at = time.monotonic()
        if failure is not None:
            problem = checkpoint_memory_warning(failure.reason, state.step, self.saved_step)
            self._job.emit(events.Warned(problem=problem))
            return False
        self.saved_step = state.step
        if self._ranks.is_first:
            keep = self._spec.keep_checkpoints
            checkpoint_files.delete_outdated_checkpoints(self._run, state.step, keep)
            self._job.emit(events.CheckpointSaved(step=state.step, folder=str(folder)))
        return True

    def is_due(self, state: TrainerState, steps_per_epoch: int, *, is_last: bool) -> bool:
        """Return whether to save now: at the last step, by steps or minutes, or on request.

        Every rank has to call it. A request is answered once.
        """
        if self._job.flags.checkpoint.is_set():
            self._job.flags.checkpoint.clear()
            return True
        seconds = 60 * self._spec.save_minutes
        if seconds and self._ranks.broadcast(time.monotonic() - self.saved_at >= seconds):
            return True
        every = self._spec.count_steps_between(self._spec.save_every, steps_per_epoch)
        return is_last or bool(every and state.step % every == 0)

    def load_last(self) -> TrainerState | None:
        """Restore the last complete checkpoint, else the initial state; None when there is neither.

        Raises ProblemError when the rows or the adapter differ from the checkpoint's.
        """
        checkpoint = self._ranks.broadcast(self._read_last() if self._ranks.is_first else None)
        if checkpoint is None:
            message = text("There is no checkpoint yet. Training starts from the beginning.")
            self._job.emit(events.Log(text=message))
            return None
        if checkpoint.entries["fingerprint"] != self._fingerprint:
            raise problems.rows_changed_error()
        try:
            adapter_weights.load_adapter_weights(self._model, checkpoint.adapter)
        except adapter_weights.AdapterMismatchError as error:
            folder = self._run.checkpoint(checkpoint.step)
            raise problems.checkpoint_mismatch_error(error.reason, str(folder)) from error
        self._restore_tensors(checkpoint.tensors)
        self.saved_step = checkpoint.step
        return TrainerState.from_checkpoint(checkpoint.entries, self._spec)

    def _save(self, folder: Path, state: TrainerState) -> OutOfMemory | None:
        """Write a checkpoint on rank 0; return on every rank whether rank 0 ran out of memory."""
        random_states = self._ranks.all_gather(get_random_state())
        failure: OutOfMemory | None = None
        if self._ranks.is_first:
            result = capture_oom(lambda: self._write(folder, state, random_states), attempts=2)
            failure = result if isinstance(result, OutOfMemory) else None
        return self._ranks.broadcast(failure)

    def _write(self, folder: Path, state: TrainerState, random_states: list[RandomState]) -> None:
        tensors = {
            "optimizer": optimizers.get_optimizer_state(self._optimizer),
            "scheduler": self._scheduler.state_dict(),
            "scaler": self._scaler.state_dict() if self._scaler else {},
            "random": random_states,
        }
        entries = state.to_checkpoint() | {
            "steps": self._total_steps,
            "fingerprint": self._fingerprint,
        }
        with optimizers.use_inference_weights(self._optimizer):
            checkpoint_files.write_checkpoint(folder, self._model, tensors, entries)

    def _read_last(self) -> Checkpoint | None:
        checkpoint = checkpoint_files.read_last_complete(self._run, self._job)
        if checkpoint is None and self._initial_folder.is_dir():
            return checkpoint_files.read_checkpoint(self._initial_folder)
        return checkpoint

    def _restore_tensors(self, tensors: dict[str, Any]) -> None:
        optimizers.restore_optimizer(self._optimizer, tensors["optimizer"])
        self._scheduler.load_state_dict(tensors["scheduler"])
        # A training that started on another device may have saved no scaler state.
        if self._scaler is not None and tensors["scaler"]:
            self._scaler.load_state_dict(tensors["scaler"])
        set_random_state(tensors["random"], self._ranks.rank)
