"""The training loop, in the order of execution: set up, fit, step, evaluate, save."""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch.optim import Optimizer

from lora_studio.core.messages import Text, text
from lora_studio.core.model import embedding_files
from lora_studio.core.problems import InvalidContentError, Problem, Where, warning
from lora_studio.core.protocol import events
from lora_studio.core.runs import checksums
from lora_studio.core.runs.facts import lost_steps_warning
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.state import LostSteps
from lora_studio.core.system import foreign_files
from lora_studio.core.system.files import copy_file, create_folder_atomic
from lora_studio.core.tasks.table import TASKS
from lora_studio.core.training.evaluation_schedule import schedule_evaluations
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.devices import devices
from lora_studio.engine.devices.load import DeviceLoad
from lora_studio.engine.devices.oom_capture import (
    MemoryPressureError,
    OutOfMemory,
    PartialUpdateError,
    capture_oom,
    fail_together,
    find_oom,
    release_memory,
)
from lora_studio.engine.devices.ranks import (
    DuplicateBatch,
    ProcessGroup,
    RandomState,
    get_random_state,
    preserve_random_state,
    set_random_state,
)
from lora_studio.engine.kernels import adapted_linear
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.lora import adapter_weights
from lora_studio.engine.runtime import failures
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tasks import classification
from lora_studio.engine.tasks.grpo import CLIP_SHARES, Grpo
from lora_studio.engine.tasks.table import create_objective
from lora_studio.engine.tasks.task import Divisors, ReferenceObjective
from lora_studio.engine.tokens.encoder import TrainingRow
from lora_studio.engine.training import (
    best_adapter,
    checkpoint_files,
    kernel_choice,
    problems,
    trainer_state,
)
from lora_studio.engine.training.best_adapter import BestAdapterStore
from lora_studio.engine.training.checkpoint_files import Checkpoint
from lora_studio.engine.training.evaluation import Evaluator
from lora_studio.engine.training.frozen_models.reference_logprobs import ReferenceLogprobs
from lora_studio.engine.training.memory.watch import MemoryWatch
from lora_studio.engine.training.problems import (
    best_adapter_memory_warning,
    checkpoint_memory_warning,
    memory_exhausted_error,
    restart_required_error,
)
from lora_studio.engine.training.recipe import (
    neftune,
    schedules,
    torch_optimizers,
)
from lora_studio.engine.training.rollouts import Rollouts
from lora_studio.engine.training.sampling import Sampler
from lora_studio.engine.training.step_batches import (
    StepBatches,
    TrainingData,
    TrainingRows,
)
from lora_studio.engine.training.step_metrics import StepMetrics, add_sums, read_scalars
from lora_studio.engine.training.trainer_state import (
    EvaluationResult,
    MemoryLevel,
    SavedAdapter,
    TrainerState,
)


class Trainer:
    """Trains one adapter: `fit` runs the training loop; call `load_checkpoint` before it to resume."""

    def __init__(
        self,
        run: RunFolder,
        spec: TrainingSpec,
        tuned: AdaptedModel,
        data: TrainingData,
        job: JobContext,
        ranks: ProcessGroup,
        scratch: Path,
    ) -> None:
        """Build everything that a step needs; raises ProblemError when the recipe isn't available."""
        self.reference = ReferenceLogprobs(data)
        self.data = data = self.reference.data
        self.run, self.spec, self.model, self.tuned = run, spec, tuned.model, tuned
        self.device, self.dtype = tuned.base.device, tuned.base.dtype
        self.ranks, self.job = ranks, ranks.synchronize_job(job)
        self.state = TrainerState(trainer_state.choose_starting_level(spec))
        self._set_up_steps(data)
        self.rollouts: Rollouts | None = None
        if isinstance(self.objective, Grpo):
            self.rollouts = Rollouts(
                spec, tuned, data, self.objective, self.job, ranks, self._autocast, self._enter_inference
            )  # fmt: skip
        self.watch, self.device_load = MemoryWatch(self.device), DeviceLoad(self.device)
        self.watch.check_between_layers(self.model)
        self.recovery = OomRecovery(self)
        self.checkpoints = CheckpointManager(self, scratch)
        self.adapters = AdapterSaver(run, spec, tuned, self.optimizer, self.job)
        self._set_up_evaluation(tuned)
        self.metrics = StepMetrics(job, self.total_steps, self.schedule)
        torch.manual_seed(spec.seed + ranks.rank)  # each rank draws its own dropout

    def _set_up_steps(self, data: TrainingData) -> None:
        """Create what a step consists of, from rows to weights.

        accelerate's `Accelerator` offers the same, but it also sets up a process group and refuses computers
        with several RTX 40 GPUs and an older driver, even to train on one of them. The model isn't wrapped
        for several ranks; `devices/ranks.py` explains why.
        """
        spec, tuned, ranks = self.spec, self.tuned, self.ranks
        # Scales the loss where gradients are float16 (Micikevicius et al. 2018).
        is_scaled = self.dtype == torch.float16 and self.device.type == "cuda"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=is_scaled)
        self.optimizer = torch_optimizers.create_optimizer(spec, self.model)
        rows = spec.count_steps(len(data.training)) * spec.effective_batch
        rows = min(rows, math.ceil(spec.epochs * len(data.training)))
        self.logprob_model = kernel_choice.create_logprob_model(
            self.run, spec, tuned, self.job, ranks,
            # The noise of NEFTune depends on the length of the row.
            sharing=TASKS[data.task].writes_rollouts and not spec.neftune_alpha,
            tokens=round(rows * data.training.lengths.mean() / ranks.world_size),
        )  # fmt: skip
        if spec.neftune_alpha:
            neftune.add_embedding_noise(self.logprob_model, spec.neftune_alpha)
        counts = tuple(data.ready.labels.values())
        self.objective = create_objective(spec, data.task, self.logprob_model, ranks, counts)
        # Other objectives need both answers of a pair, or each answer beside those of its micro-batch.
        is_divisible = TASKS[data.task].is_supervised
        self.batches = plan_batches(
            data.training, spec, self.logprob_model, ranks, divisible=is_divisible
        )
        self.total_steps = self.batches.total_steps
        self.scheduler = schedules.create_scheduler(spec, self.optimizer, self.total_steps)

    def _set_up_evaluation(self, tuned: AdaptedModel) -> None:
        rows, plan, context = self.data.validation, self.batches.plan, self._enter_inference
        self.schedule = schedule_evaluations(
            self.spec, self.total_steps, self.batches.steps_per_epoch, has_rows=bool(rows)
        )
        self.evaluator = Evaluator(self.model, rows, plan, context, self.job, self.ranks)
        heldout = self.spec.sample_rows if rows else 0
        self.sampler = Sampler(
            self.run, self.spec, heldout, tuned, self.data.task, self.job, context, self.ranks
        )

    # --- fit ----------------------------------------------------------------------------------

    def fit(self, *, lower: bool = False) -> events.Done:
        """Train until the last step, a stop or a pause, and save the adapter unless paused.

        `lower` starts below the last memory level, because the previous attempt ran out of memory.
        """
        self.job.emit(
            events.TrainingStarted(
                steps=self.total_steps,
                step=self.state.step,
                steps_per_epoch=self.batches.steps_per_epoch,
                effective_batch=self.spec.effective_batch,
            )
        )
        self.recovery.start(self.spec, lower=lower)
        started, stopped = time.monotonic() - self.state.seconds, False
        try:
            with self.watch:
                self._prepare_first_step()
                while self.state.step < self.total_steps and not (
                    stopped or self._should_stop_early()
                ):
                    if self.job.flags.pause.is_set():
                        self.pause()
                    if not self.recovery.run(self.training_step):
                        continue
                    self.state.seconds = time.monotonic() - started
                    stopped = self.job.flags.stop.is_set()
                    self.state.evaluation_due = self.schedule.is_due(self.state.step)
                    if self.state.evaluation_due and not stopped:
                        self.evaluate()
                    if self._is_checkpoint_due() or stopped:
                        self.save_checkpoint()
                stopped = stopped and self.state.step < self.total_steps
                if self.ranks.is_first:
                    self._save_result(started, stopped)
        except failures.PausedError:
            return events.Done(paused=True)
        except Exception as error:
            if (problem := failures.disk_problem(error, "Saving")) is None:
                raise
            problem = problems.disk_pause_problem(problem, self.checkpoints.saved_step)
            self.job.emit(events.Warned(problem=problem))
            return events.Done(paused=True)
        return events.Done(stopped=stopped)

    def _save_result(self, started: float, stopped: bool) -> None:
        self.job.show_stage(text("saving the adapter"))
        self.state.saved = self.adapters.save_final(self.state)
        self.state.seconds = round(time.monotonic() - started, 3)
        results = self.state.to_results() | {"steps": self.state.step, "stopped": stopped}
        self.run.update_manifest(results=results)

    def _prepare_first_step(self) -> None:
        """Save the initial state, compute the reference, probe memory, compile, and run an evaluation that
        a pause interrupted.
        """
        if self.state.step == 0:
            self.job.show_stage(text("saving the initial state"))
            self.recovery.run(lambda: self.checkpoints.save_initial(self.state))
        is_finished = self.state.step == self.total_steps and not self.state.evaluation_due
        if isinstance(self.objective, ReferenceObjective) and not is_finished:
            self._compute_reference(self.objective)
        if self.state.step == 0:
            self.recovery.run(lambda: self.evaluator.emit_start(self.objective))
        if self.state.step < self.total_steps:
            self.job.show_stage(text("testing the largest micro-batch"))
            self.recovery.run(self.probe_memory)
            self.recovery.run(self._compile)
        self.sampler.record_base_answers(self.state.step)
        if self.state.evaluation_due:
            self.evaluate()

    def _compute_reference(self, objective: ReferenceObjective) -> None:
        """Compute the reference's log-probabilities that aren't cached; a pause keeps those that are done."""
        self.job.pausable = True
        try:
            self.recovery.run(
                lambda: self.reference.compute(
                    [self.batches.plan.get_step(step) for step in range(self.total_steps)],
                    self.tuned, self.logprob_model, objective, self.state.memory_level.micro_batch,
                    self._autocast, self.job, self.ranks,
                )
            )  # fmt: skip
        except failures.PausedError:
            self.pause()
        finally:
            self.job.pausable = False

    def probe_memory(self) -> None:
        """Run forward and backward on the longest micro-batch without updating any weight.

        If memory runs out, it does so before the first step instead of hours later. Metrics, gradients,
        and random state are unchanged.
        """
        rows: Sequence[Any] = self.batches.read_longest()
        if self.rollouts is not None:
            rows = self.rollouts.make_longest(rows)
        self.model.train()
        with preserve_random_state():
            try:
                with fail_together(self.ranks):
                    reserved = trainer_state.reserve_optimizer_state(self.model, self.optimizer)
                with self._autocast():
                    self.objective.prepare_step([rows])
                divisors = Divisors(max(1, self.objective.count_items(rows)))
                with fail_together(self.ranks):
                    self.accumulate_gradients([rows], divisors)
                del reserved
            finally:
                self.optimizer.zero_grad()

    def _compile(self) -> None:
        """Compile the model if that is faster; a resumed run keeps the decision, so that results match."""
        if self.spec.torch_compile == "off":
            return
        self.job.show_stage(text("compiling the model"))
        if self.state.compiled is None:
            pays = kernel_choice.compile_if_faster(self.model, self.probe_memory, self.job)
            self.state.compiled = self.ranks.broadcast(pays)
        kernel_choice.set_compiled(self.model, enabled=self.state.compiled)

    # --- step ---------------------------------------------------------------------------------

    def training_step(self) -> None:
        """Run one optimizer step; the loss is the weighted mean over its micro-batches."""
        self.model.train()
        started = time.monotonic()
        batches: Sequence[Sequence[Any]] = self.batches.read_step(self.state.step)
        divisors, rollout_metrics = None, {}
        if self.rollouts is not None:
            try:
                rollout = self.rollouts.roll_out(self.state.step, batches, self.state.memory_level)
            except failures.PausedError:
                self.pause()
                raise
            batches, divisors, rollout_metrics = rollout.batches, rollout.divisors, rollout.metrics
        self.metrics.start_step(self.state.step + 1, len(self.ranks.get_local_batches(batches)))
        loss, grad_norm, metrics = self.compute_gradients(batches, divisors)
        learning_rate = self.scheduler.get_last_lr()[0]
        self.update_weights()
        if divisors is not None:
            metrics = self._update_again(batches, divisors, metrics)
        self.scheduler.step()
        self.optimizer.zero_grad()
        self.state.step, self.state.loss = self.state.step + 1, loss
        peak = devices.get_peak_memory_bytes(self.device)
        self.metrics.emit_step(
            seconds=time.monotonic() - started,
            step=self.state.step,
            epoch=self.state.step / self.batches.steps_per_epoch,
            loss=loss,
            learning_rate=learning_rate,
            grad_norm=grad_norm,
            tokens=sum(int(row.tokens) for batch in batches for row in batch),
            memory_bytes=self.ranks.reduce_peak_memory(peak, self.device),
            metrics=metrics | rollout_metrics,
            **self.device_load.get_latest(),
        )

    def _update_again(
        self, batches: Sequence[Sequence[Any]], divisors: Divisors, first: dict[str, float]
    ) -> dict[str, float]:
        """Run the further updates with the answers of a step; return the metrics of the step.

        They are those of the first update, whose ratios are all 1: the clip fraction is the mean over the
        further updates, and there is none with a single update.
        """
        later: list[dict[str, float]] = []
        for _ in range(1, self.spec.rollout_passes):
            self.optimizer.zero_grad()
            try:
                later.append(self.compute_gradients(batches, divisors)[2])
            except MemoryPressureError as error:  # the first update can't be taken back
                raise PartialUpdateError(error.reason) from None
            self.update_weights()
        metrics = {name: value for name, value in first.items() if name not in CLIP_SHARES}
        if later and divisors.loss:
            # Without an answer that trains, nothing was computed and nothing clipped.
            metrics |= {name: fmean(each.get(name, 0.0) for each in later) for name in CLIP_SHARES}
        return metrics

    def compute_gradients(
        self, batches: Sequence[Sequence[Any]], divisors: Divisors | None = None
    ) -> tuple[float, float, dict[str, float]]:
        """Return loss, gradient norm and metrics of a step; raises ProblemError when it diverged.

        Without `divisors`, all of them are divided by the sum of what the rows count.
        """
        if divisors is None:
            divisors = Divisors(sum(self.objective.count_items(batch) for batch in batches))
        with self._autocast():
            self.objective.prepare_step(batches)
        local_batches = self.ranks.get_local_batches(batches)
        parameters = list(self.model.parameters())
        with fail_together(self.ranks):
            sums = self.accumulate_gradients(local_batches, divisors)
            gradients = self.ranks.pack_gradients(parameters)
        self.ranks.all_reduce_gradients(gradients)
        if self._is_scaled():
            self.scaler.unscale_(self.optimizer)
        max_norm = self.spec.max_grad_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
        values = read_scalars(sums | {"norm": norm})
        grad_norm = values.pop("norm")
        metrics = self.ranks.all_reduce_sum(values)
        loss = metrics.pop("loss")
        if not math.isfinite(loss) or not (math.isfinite(grad_norm) or self._can_reduce_scale()):
            raise problems.divergence_error(loss, self.state.step + 1)
        return loss, grad_norm, metrics

    @adapted_linear.keep_casts()
    def accumulate_gradients(
        self, batches: Sequence[Sequence[TrainingRow]], divisors: Divisors
    ) -> dict[str, torch.Tensor]:
        """Add the gradients of micro-batches; return the loss and other metrics, divided as for the whole step.

        They stay on the device: reading a value would wait for it in every micro-batch.
        """
        sums = {"loss": torch.zeros((), device=self.device)}
        for number, batch in enumerate(batches):
            self.job.check()
            self.metrics.show_micro_batch(number)
            with self._autocast():
                output = self.objective.compute_loss(batch)
            if isinstance(batch, DuplicateBatch):
                # Another rank counts these rows; with sharded weights, this one has to run the same passes.
                self.scaler.scale(0.0 * output.total).backward()
                continue
            loss = output.total / divisors.loss
            self.scaler.scale(loss).backward()
            self.watch.check()
            metrics = {
                name: value / divisors.get_for_metric(name)
                for name, value in output.metrics.items()
            }
            add_sums(sums, {"loss": loss.detach()} | metrics)
        return sums

    def update_weights(self) -> None:
        """Run the optimizer; raises PartialUpdateError when memory runs out in the middle of it."""
        try:
            with fail_together(self.ranks):
                if self._is_scaled():
                    self.scaler.step(self.optimizer)
                    self.scaler.update()
                else:
                    self.optimizer.step()
        except MemoryPressureError as error:
            raise PartialUpdateError(error.reason) from None

    def _can_reduce_scale(self) -> bool:
        """Return whether the scaler skips a step with infinite gradients, and can reduce the scale; waits for the device."""
        return self.scaler.is_enabled() and self.scaler.get_scale() >= 1

    def _is_scaled(self) -> bool:
        """Return whether there are scaled gradients.

        There are none in reward training if all rewards are equal. The scale then stays as it is: the scaler
        raises where it has no gradient to check.
        """
        return self.scaler.is_enabled() and any(
            value.grad is not None
            for group in self.optimizer.param_groups
            for value in group["params"]
        )

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    # --- evaluate -----------------------------------------------------------------------------

    def evaluate(self) -> None:
        """Compute validation loss and sample answers; interrupted by a pause, it runs again on resume."""
        self.state.evaluation_due = self.job.pausable = True
        started = time.monotonic()
        try:
            with preserve_random_state():
                if self.data.validation:
                    self.recovery.run(self._evaluate)
                    if self.ranks.is_first:
                        self.adapters.save_if_best(self.state)
        except failures.PausedError:
            self.pause()
        finally:
            self.job.pausable = False
        self.state.evaluation_due = False
        once = self.sampler.emit_answers(self.state.step)
        self.metrics.record_evaluation(time.monotonic() - started - once)

    def _evaluate(self) -> None:
        if self.rollouts is None:
            result = self.evaluator.evaluate(self.objective)
        else:
            result = self.rollouts.evaluate(self.state.memory_level)
        step, loss = self.state.step, result.loss
        score, report = self.sampler.score_answers(), result.make_report(self.tuned.labels)
        evaluated = EvaluationResult(step, loss, score, result.metrics.get(events.REWARD), report)
        self.state.evaluations.append(evaluated)
        self.job.emit(evaluated.to_event(result.metrics))
        schedules.report_evaluation(self.scheduler, loss)

    @contextmanager
    def _enter_inference(self) -> Iterator[None]:
        """Compute as the saved adapter does: under autocast, with the weights that are saved."""
        with self._autocast(), torch_optimizers.use_inference_weights(self.optimizer):
            yield

    def _should_stop_early(self) -> bool:
        step, evaluations = self.state.step, self.state.evaluations
        stops = best_adapter.is_exhausted(evaluations, self.spec)
        if stops and step < self.total_steps:
            self.job.emit(best_adapter.create_ended_early(step, evaluations, self.spec))
        return stops

    # --- save, resume, recover ----------------------------------------------------------------

    def pause(self) -> None:
        """Save a checkpoint of this step and raise PausedError."""
        if self.state.step != self.checkpoints.saved_step:
            self.save_checkpoint()
        raise failures.PausedError

    def save_checkpoint(self) -> None:
        """Save a checkpoint from which training continues with the same result."""
        self.job.show_stage(text("saving a checkpoint"))
        if self.checkpoints.save(self.state):
            self.adapters.best.set_checkpoint(self.state.evaluations, self.spec)

    def load_checkpoint(self) -> None:
        """Restore the last complete checkpoint, if there is one."""
        self.job.show_stage(text("loading the checkpoint"))
        if self.rollouts is not None:
            self.rollouts.forget()
        if (state := self.checkpoints.load_last()) is not None:
            self.state = state
            self.adapters.best.set_checkpoint(state.evaluations, self.spec)
            if self.ranks.is_first:
                restore_events(self.run, state, self.job)

    def _is_checkpoint_due(self) -> bool:
        is_exhausted = best_adapter.is_exhausted(self.state.evaluations, self.spec)
        is_last = self.state.step == self.total_steps or is_exhausted
        return self.checkpoints.is_due(self.state, self.batches.steps_per_epoch, is_last=is_last)

    def fill_micro_batches(self, tokens: int) -> int:
        """Fill micro-batches of all ranks up to so many tokens, or as before a pause; return how many."""
        self.recovery.keep_unfilled()
        if self.state.least_tokens is None:
            tokens = min(tokens, self.batches.most_step_tokens) if self.batches.can_fill else 0
            self.state.least_tokens = min(self.ranks.all_gather(tokens))
        self.batches.fill_up_to(self.state.least_tokens)
        return self.state.least_tokens

    def stop_filling(self) -> bool:
        """Fill micro-batches no further than the longest has tokens; return whether they had more."""
        self.state.least_tokens = 0
        return self.batches.stop_filling()

    def apply_memory_level(self, level: MemoryLevel) -> None:
        """Compute at this level from now on; the rows of a step stay the same."""
        if level != self.state.memory_level:
            self.stop_filling()
        self.state.memory_level = level
        self.batches.set_micro_batch(level.micro_batch, self.ranks.world_size)
        if level.recomputing:
            trainer_state.enable_recomputing(self.model)


class OomRecovery:
    """Runs the parts of a training and recovers each one from running out of memory."""

    def __init__(self, trainer: Trainer) -> None:
        """Take the trainer to recover."""
        self._trainer = trainer
        self._run, self._job, self._ranks = trainer.run, trainer.job, trainer.ranks

    def keep_unfilled(self) -> None:
        """Stop filling micro-batches if memory ran out before; the last checkpoint may be older than that."""
        if self._ranks.broadcast(self._run.read_manifest().get("memory")):
            self._trainer.stop_filling()

    def start(self, spec: TrainingSpec, *, lower: bool) -> None:
        """Apply the level that was low enough before, or with `lower` the next lower one.

        Raises ProblemError if memory use can't be reduced further.
        """
        recorded = self._run.read_manifest().get("memory")
        recorded, lower = self._ranks.broadcast((recorded, lower))
        current = asdict(self._trainer.state.memory_level)
        self._trainer.apply_memory_level(
            trainer_state.choose_starting_level(spec, current, recorded)
        )
        if lower:
            killed = OutOfMemory(text("The system ended the training because memory ran out."))
            self._step_down(killed)

    def run(self, action: Callable[[], object]) -> bool:
        """Run an action; whenever memory runs out, lower the memory level and run it again.

        Each attempt starts with the same random numbers. Returns False if the weights were updated in part, so
        that the last checkpoint was loaded: continue from its step. Raises ProblemError when nothing is left
        to try, and with sharded weights at once, so that a new process resumes.
        """
        while True:
            random_state = get_random_state()
            try:
                action()
            except Exception as error:
                if (failure := find_oom(error)) is None:
                    raise
            else:
                return True
            # The exception is gone, and with it every tensor in the frames that it passed through.
            if self._ranks.is_sharded:
                raise restart_required_error(failure.reason)
            self._step_down(failure)
            if failure.weights_changed:
                return False
            set_random_state(random_state)

    def _step_down(self, failure: OutOfMemory) -> None:
        """Release memory and apply the next lower level; raises ProblemError if there is none.

        Where short rows fill micro-batches because memory seemed to allow it, the settings' own micro-batches
        are the first to try: halving them too, or recomputing, would slow down all further steps. If weights were
        updated in part, the last checkpoint is loaded.
        """
        trainer = self._trainer
        self._discard_gradients()
        trainer.watch.reset()
        can_recompute = trainer_state.can_recompute(trainer.tuned.model)
        lower: MemoryLevel | None = trainer.state.memory_level
        stopped_filling = trainer.stop_filling()
        if not stopped_filling:
            lower = trainer.state.memory_level.get_next_lower(can_recompute=can_recompute)
        if lower is None:
            raise memory_exhausted_error(
                failure.reason, trainer.batches.lengths, trainer.tuned.base.precision
            )
        if failure.weights_changed:
            trainer.load_checkpoint()
            trainer.stop_filling()  # the checkpoint may be from before
        trainer.apply_memory_level(lower)
        self._report(lower, failure.reason, stopped_filling=stopped_filling)

    def _discard_gradients(self) -> None:
        """Drop all gradients and release their memory.

        The float16 scaler may have unscaled them already and would assume the same of the next ones. An
        update resets that, and the scaler's state is restored.
        """
        self._trainer.optimizer.zero_grad()
        release_memory()
        scaler = self._trainer.scaler
        if scaler.is_enabled():
            scaler_state = scaler.state_dict()
            with contextlib.suppress(AssertionError):  # nothing has been unscaled
                scaler.update()
                scaler.load_state_dict(scaler_state)

    def _report(self, level: MemoryLevel, reason: Text, *, stopped_filling: bool) -> None:
        accumulation = level.count_micro_batches(self._trainer.batches.rows_per_step)
        if self._ranks.is_first:
            entry = {"gradient_accumulation": accumulation, "why": str(reason)}
            self._run.update_manifest(memory=asdict(level) | entry)
        self._job.emit(
            events.Recovered(
                step=self._trainer.state.step,
                micro_batch=level.micro_batch,
                gradient_accumulation=accumulation,
                gradient_checkpointing=level.recomputing,
                stopped_filling=stopped_filling,
                why=reason,
            )
        )


def plan_batches(
    rows: TrainingRows,
    spec: TrainingSpec,
    logprob_model: LogprobModel,
    ranks: ProcessGroup,
    *,
    divisible: bool,
) -> StepBatches:
    """Return the micro-batches that all ranks divide, also where one of them can't pack rows.

    `divisible`: the rows of a micro-batch don't depend on one another.
    """
    is_padded = ranks.is_true_on_any(not logprob_model.packed)
    has_all_logits = ranks.is_true_on_any(not logprob_model.chunked)
    can_fill = divisible and not (is_padded or has_all_logits)
    return StepBatches(rows, spec, padded=is_padded, fill=can_fill)


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
                    foreign_files.raise_unless_damaged(error)
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
            torch_optimizers.use_inference_weights(self._optimizer),
        ):
            checkpoint_files.write_adapter(self._tuned.model, folder, tokenizer, initial)
            if self._tuned.embedding is not None:
                embedding_files.write_modules(folder, self._tuned.embedding)
            if self._tuned.labels:
                config = self._tuned.base.model.config
                padding = tokenizer.pad_token_id
                classification.write_config(config, self._tuned.labels, padding, folder)
            if records:
                checksums.write_record(folder)


def _damaged_best_warning(step: int, damage: Text) -> Problem:
    return warning(
        "training.best_damaged",
        "The best adapter, of step {step}, is damaged: {reason}. The last adapter was saved instead.",
        "Check the disk for errors. To restore the best adapter, train again.",
        where=Where(step="training", field="keep_best"),
        step=step,
        reason=damage,
    )


class CheckpointManager:
    """The checkpoints of one training.

    Rank 0 writes and reads; what it reads goes to all ranks. `saved_step` is the step of the last
    checkpoint, 0 without any, and `saved_at` when it was written, in seconds of the monotonic clock.
    """

    def __init__(self, trainer: Trainer, scratch: Path) -> None:
        """Take every stateful object; the state before the first step is saved into `scratch`."""
        self._run, self._spec = trainer.run, trainer.spec
        self._job, self._ranks = trainer.job, trainer.ranks
        self._model, self._optimizer = trainer.model, trainer.optimizer
        self._scheduler, self._scaler = trainer.scheduler, trainer.scaler
        self._fingerprint, self._total_steps = trainer.data.fingerprint, trainer.total_steps
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
            self._job.emit(events.LogLine(text=message))
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
            "optimizer": torch_optimizers.get_optimizer_state(self._optimizer),
            "scheduler": self._scheduler.state_dict(),
            "scaler": self._scaler.state_dict(),  # {} where it isn't used
            "random": random_states,
        }
        entries = state.to_checkpoint() | {
            "steps": self._total_steps,
            "fingerprint": self._fingerprint,
        }
        with torch_optimizers.use_inference_weights(self._optimizer):
            checkpoint_files.write_checkpoint(folder, self._model, tensors, entries)

    def _read_last(self) -> Checkpoint | None:
        checkpoint = checkpoint_files.read_last_complete(self._run, self._job)
        if checkpoint is None and self._initial_folder.is_dir():
            return checkpoint_files.read_checkpoint(self._initial_folder)
        return checkpoint

    def _restore_tensors(self, tensors: dict[str, Any]) -> None:
        torch_optimizers.restore_optimizer(self._optimizer, tensors["optimizer"])
        self._scheduler.load_state_dict(tensors["scheduler"])
        # A training that started on another device may have saved no scaler state.
        if tensors["scaler"]:
            self._scaler.load_state_dict(tensors["scaler"])
        set_random_state(tensors["random"], self._ranks.rank)
