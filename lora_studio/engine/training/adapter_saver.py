"""Save the trained adapter: the best one during training, and the final one at the end."""

from __future__ import annotations

import shutil
from pathlib import Path

from torch.optim import Optimizer

from lora_studio.core.messages import Text, text
from lora_studio.core.problems import InvalidContentError, Problem, Where, warning
from lora_studio.core.protocol import events
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import damaged_files
from lora_studio.core.system.files import copy_file, create_folder_atomic
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.training import checkpoint_files
from lora_studio.engine.training.memory.capture import (
    MemoryPressureError,
    OutOfMemory,
    capture_oom,
)
from lora_studio.engine.training.memory.problems import best_adapter_memory_warning
from lora_studio.engine.training.recipe import optimizers, score_head
from lora_studio.engine.training.recipe.best_adapter import BestAdapterStore
from lora_studio.engine.training.recipe.pooling import write_modules
from lora_studio.engine.training.trainer_state import SavedAdapter, TrainerState


class AdapterSaver:
    """Writes adapters in PEFT's layout. Only rank 0 may call it."""

    def __init__(
        self,
        run: RunFolder,
        spec: TrainingSpec,
        tuned: AdaptedModel,
        optimizer: Optimizer,
        job: JobContext,
    ) -> None:
        """Take the model and its optimizer, whose current weights may differ from those to save."""
        self._run, self._spec, self._job = run, spec, job
        self._tuned, self._optimizer = tuned, optimizer
        self.best = BestAdapterStore(run)

    def save_if_best(self, state: TrainerState) -> None:
        """Save the adapter if the last evaluation is the best so far and the recipe keeps the best.

        Emits Warned when there isn't enough memory; training continues without it.
        """
        folder = self.best.prepare_folder(state.evaluations, self._spec)
        if folder is None:
            return
        result = capture_oom(lambda: self._write(folder, records=True), attempts=2)
        if isinstance(result, OutOfMemory):
            self._job.emit(events.Warned(problem=best_adapter_memory_warning(state.step)))

    def save_final(self, state: TrainerState) -> SavedAdapter:
        """Replace the run's adapter with the best one if the recipe keeps it, else with the last.

        Raises MemoryPressureError.
        """
        target = self._run.adapter
        best = self.best.find_best(state.evaluations, self._spec)
        if best is None or not self._copy_best(best.step):
            result = capture_oom(lambda: self._write(target), attempts=2)
            if isinstance(result, OutOfMemory):
                raise MemoryPressureError(result.reason)
            saved = SavedAdapter(state.step, None)
        else:
            saved = SavedAdapter(best.step, best.loss, best.score, best.reward)
        checksums.record_checksums(self._run, target)
        size = sum(file.stat().st_size for file in target.iterdir())
        self._job.emit(
            events.AdapterSaved(
                step=saved.step,
                folder=str(target),
                bytes=size,
                best_loss=saved.loss if saved.reward is None else None,
                best_score=saved.score,
                best_reward=saved.reward,
            )
        )
        return saved

    def _copy_best(self, step: int) -> bool:
        """Copy the best adapter to the run's; return False after a warning if it is damaged.

        It may already be there: a training that had ended saved it.
        """
        best = self._run.get_best_adapter(step)
        try:
            if not best.is_dir():
                raise InvalidContentError("it is missing")
            with create_folder_atomic(self._run.adapter) as folder:
                shutil.copytree(best, folder, dirs_exist_ok=True, copy_function=copy_file)
                self._require_intact_best(best, folder)
                (folder / checksums.RECORD).unlink(missing_ok=True)
        except InvalidContentError as error:
            if self._is_saved(step):
                return True
            self._job.emit(events.Warned(problem=_damaged_best_warning(step, error.reason)))
            return False
        return True

    def _require_intact_best(self, best: Path, copy: Path) -> None:
        """Raise InvalidContentError if a copy of the best adapter isn't as written, or if nothing says what was."""
        if (copy / checksums.RECORD).exists():
            try:
                checksums.read_record(copy, checksums.RECORD)
            except InvalidContentError:
                raise
            except (OSError, ValueError) as error:
                if isinstance(error, OSError):
                    damaged_files.raise_unless_damaged(error)
                reason = text("{file} can't be read", file=checksums.RECORD)
                raise InvalidContentError(reason) from error
        elif not checksums.is_recorded(self._run, best):  # by an earlier version
            raise InvalidContentError("there is no record of its content")
        elif (damage := checksums.find_damage(self._run, best, copy=copy)) is not None:
            raise InvalidContentError(damage)

    def _is_saved(self, step: int) -> bool:
        """Return whether the run's adapter is the intact one of a step."""
        saved = (self._run.read_manifest().get("results") or {}).get("kept")
        return (
            isinstance(saved, dict)
            and saved.get("step") == step
            and checksums.is_recorded(self._run, self._run.adapter)
            and checksums.find_damage(self._run, self._run.adapter) is None
        )

    def _write(self, target: Path, *, records: bool = False) -> None:
        tokenizer, initial = self._tuned.base.tokenizer, self._tuned.initial_adapter
        with (
            create_folder_atomic(target) as folder,
            optimizers.use_inference_weights(self._optimizer),
        ):
            checkpoint_files.write_adapter(self._tuned.model, folder, tokenizer, initial)
            if self._tuned.embedding is not None:
                write_modules(folder, self._tuned.embedding)
            if self._tuned.labels:
                score_head.write_classifier_config(self._tuned, folder)
            if records:
                checksums.write_record(folder)


def _damaged_best_warning(step: int, damage: Text) -> Problem:
    return warning(
        "training.best_damaged",
        "The best adapter, of step {step}, is damaged: {reason}. The last adapter was saved instead.",
        "Check the disk for errors. To get the best adapter again, train again.",
        where=Where(step="training", field="keep_best"),
        step=step,
        reason=damage,
    )
