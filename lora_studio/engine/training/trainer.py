"""The training loop: optimise, evaluate, save, and what goes wrong on the way; top to bottom."""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator

from lora_studio.core.dataset.spec import Task
from lora_studio.core.problems import Problem, ProblemError, Where, fail
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import folder_atomic
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.dataset.batches import BatchPlan, by_length
from lora_studio.engine.devices import devices
from lora_studio.engine.devices.load import DeviceLoad
from lora_studio.engine.lora import adapter_weights
from lora_studio.engine.runtime import failures
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import PausedError
from lora_studio.engine.training import checkpoints, kernel_choice
from lora_studio.engine.training.distributed.ranks import DuplicateBatch, ProcessGroup
from lora_studio.engine.training.kernels import compiling
from lora_studio.engine.training.kernels.logprobs import Scorer
from lora_studio.engine.training.memory import ladder
from lora_studio.engine.training.memory.ladder import MemoryPressureError
from lora_studio.engine.training.memory.watch import MemoryWatch
from lora_studio.engine.training.recipe import (
    best_adapter,
    neftune,
    objectives,
    optimizers,
    schedules,
)
from lora_studio.engine.training.recipe.best_adapter import BestAdapterStore
from lora_studio.engine.training.recipe.objectives import Loss
from lora_studio.engine.training.reproduction import reproduction
from lora_studio.engine.training.sampling import Sampler
from lora_studio.engine.training.step_metrics import StepMetrics

T = TypeVar("T")


@dataclass(frozen=True)
class TrainingData:
    """The rows of a run after rendering; they are read from disk one by one.

    `training` and `validation` are sequences with `lengths`, of what the task's objective takes.
    """

    task: Task
    training: Any
    validation: Any
    fingerprint: str


class Trainer:
    """The optimisation of one adapter, with everything that a checkpoint has to hold."""

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
        """Builds optimizer and schedule; raises ProblemError when the optimizer is not to be had."""
        self.folder, self.spec, self.data = run, spec, data
        self.ranks, self.job = ranks, ranks.synchronize_job(job)
        self.beginning = scratch / "beginning"
        self.tuned = tuned
        self.tokenizer, self.device = tuned.base.tokenizer, tuned.base.device
        # float16 alone needs its loss scaled; the computing itself is put into 16 bits by `_autocast`.
        self.dtype = tuned.base.dtype
        is_scaled = self.dtype == torch.float16 and self.device.type == "cuda"
        self.accelerator = Accelerator(
            cpu=self.device.type == "cpu", mixed_precision="fp16" if is_scaled else "no"
        )
        self.plan = BatchPlan(
            data.training.lengths,
            spec.micro_batch,
            spec.gradient_accumulation,
            spec.seed,
            grouped=spec.group_by_length,
        )
        self.steps = self.plan.total_steps(spec.epochs, spec.max_steps)
        self.step = 0
        optimizer = optimizers.make(spec, tuned.model)
        # Not prepared by accelerate: it lies on its device already, and a quantised one would be refused
        # on any GPU but the first. Nor wrapped for several processes: `Ranks` says why.
        self.model = tuned.model
        self.optimizer = self.accelerator.prepare_optimizer(optimizer)
        self.scorer = Scorer(
            self.model,
            tuned.start or tuned.initial_adapter,
            packing=spec.packing,
            dtype=self.dtype,
            with_liger=kernel_choice.may_use_liger(run, spec, ranks),
            compiled=spec.torch_compile != "off",
        )
        kernel_choice.tell(run, self.scorer, job, ranks)
        if spec.neftune_alpha:
            neftune.add_noise(self.scorer, spec.neftune_alpha)
        self.objective = objectives.make(spec, data.task, self.scorer, self.ranks)
        self._lay_out(spec.micro_batch)
        self.scheduler = schedules.make(spec, optimizer, self.steps)
        self.best = BestAdapterStore(run)
        rows = spec.sample_rows if data.validation else 0
        self.samples = Sampler(run, spec, rows, tuned, data.task, self.job, self._use, ranks)
        # One rank is enough, but it cannot compute alone where each holds a part of the weights.
        self.samples_here = ranks.is_first or ranks.is_sharded
        self.meter = StepMetrics(job, self.steps)
        self.load = DeviceLoad(self.device)
        self.results: dict[str, Any] = {"evaluations": [], "seconds": 0.0}
        self.rung = ladder.first(spec)
        self.watch = MemoryWatch(self.device)
        self.watch.check_between_layers(self.model)
        self.is_updating = False  # the optimizer is at work: a step cannot be done over
        self.saved_step, self.saved_at = 0, time.monotonic()
        self.owes_evaluation = (
            False  # a pause or a stop came before the one that is due at this step
        )
        # Dropout on each rank of its own.
        torch.manual_seed(spec.seed + self.ranks.rank)

    def align(self) -> None:
        """Makes what every rank begins with the first one's, and sees to it that the rows are."""
        if len(set(self.ranks.all_gather(self.data.fingerprint))) > 1:
            raise fail(
                "training.data_changed",
                "The processes of the training do not see the same rows.",
                "Leave the dataset's files alone while training starts, and start it again.",
                where=Where(step="dataset", field="sources"),
            )
        changes_base = self.tuned.initial_adapter is not None and not self.ranks.is_sharded
        self.ranks.broadcast_tensors(
            value for value in self.model.parameters() if value.requires_grad or changes_base
        )

    def run_to_end(self, *, lower: bool = False) -> events.Done:
        """Steps until the plan is fulfilled or the user stops, and saves the adapter; or pauses."""
        self.job.emit(
            events.TrainingStarted(
                steps=self.steps,
                step=self.step,
                steps_per_epoch=self.plan.steps_per_epoch,
                effective_batch=self.spec.effective_batch,
            )
        )
        self.settle(lower=lower)
        try:
            with self.watch:
                return self._run_to_end()
        except PausedError:
            return events.Done(paused=True)
        except Exception as error:
            if (problem := failures.disk_problem(error, "saving")) is None:
                raise
            self.job.emit(events.Warned(problem=self._waits_for_space(problem)))
            return events.Done(paused=True)

    def _run_to_end(self) -> events.Done:
        began = time.monotonic() - self.results["seconds"]
        stopped = False
        if self.step == 0:
            self.within_memory(self.keep_beginning)
        if self.step < self.steps:
            self.within_memory(self.probe)
            self.within_memory(self.compile)
        if self.samples_here:
            self.samples.begin(self.step)
        if self.owes_evaluation:
            self.evaluate()
        while self.step < self.steps and not stopped and not self._is_exhausted():
            if self.job.flags.pause.is_set():
                self.pause()
            if not self.within_memory(self.optimizer_step):
                continue
            self.results["seconds"] = time.monotonic() - began
            stopped = self.job.flags.stop.is_set()
            self.owes_evaluation = self._evaluation_is_due()
            if self.owes_evaluation and not stopped:
                self.evaluate()
            if self._checkpoint_is_due() or stopped:
                self.save_checkpoint()
        self.save_adapter()
        self.results["seconds"] = round(time.monotonic() - began, 3)
        stopped = stopped and self.step < self.steps
        if self.ranks.is_first:
            self.folder.update_manifest(
                results=self.results | {"steps": self.step, "stopped": stopped}
            )
        return events.Done(stopped=stopped)

    def pause(self) -> None:
        """Leaves a checkpoint of this very step and raises PausedError."""
        if self.step != self.saved_step:
            self.save_checkpoint()
        raise PausedError

    def probe(self) -> None:
        """The longest micro-batch of the whole plan, before anything counts.

        Memory that is too small for it shows in the first minute, not in the middle of the night.
        Its gradients are thrown away and its random numbers drawn again: no curve changes.
        """
        random = checkpoints.random_state()
        rows = [self.data.training[row] for row in self.longest]
        self.model.train()
        try:
            held = self.all_or_none(lambda: ladder.room_for_state(self.model, self.optimizer))
            with self._autocast():
                self.objective.begin([rows])
            self.all_or_none(lambda: self.add_up([rows], max(1, self.objective.weight(rows))))
            del held
        finally:
            self.optimizer.zero_grad()
            checkpoints.restore_random_state(random)

    def compile(self) -> None:
        """Compiles where that pays; a training that goes on does as it did before, so that no bit
        changes."""
        if self.spec.torch_compile == "off":
            return
        if (chosen := self.results.get("compiled")) is None:
            chosen = self.ranks.broadcast(compiling.choose(self.model, self.probe, self.job))
        self.results["compiled"] = chosen
        compiling.switch(self.model, on=chosen)

    def recipe(self, project: Project) -> reproduction.ReproductionFacts:
        """What is about to be done, for the script that repeats it."""
        return reproduction.ReproductionFacts(
            project,
            self.tuned,
            self.data.task,
            self.data.training,
            self.plan,
            self.steps,
            self.optimizer.optimizer,
            packed=self.scorer.packed,
            filled=self.scorer.fills,
            judged=bool(self.data.validation),
            ranks=self.ranks.world_size,
            step=self.step,
        )

    def optimizer_step(self) -> None:
        """One update from all its micro-batches; the loss is the mean over all they weigh."""
        self.model.train()
        began = time.monotonic()
        batches = [[self.data.training[row] for row in rows] for rows in self.plan.step(self.step)]
        weight = sum(self.objective.weight(rows) for rows in batches)
        with self._autocast():
            self.objective.begin(batches)
        share, parameters = self.ranks.local_batches(batches), list(self.model.parameters())
        total, figures, gradients = self.all_or_none(
            lambda: (*self.add_up(share, weight), self.ranks.pack_gradients(parameters))
        )
        self.ranks.all_reduce_gradients(gradients)
        limit = self.spec.max_grad_norm or math.inf
        norm = float(self.accelerator.clip_grad_norm_(parameters, limit))
        # One wait for the device per step: reading the number.
        sums = self.ranks.all_reduce_sum({"loss": total.item()} | figures)
        value = sums.pop("loss")
        if not math.isfinite(value) or not (math.isfinite(norm) or self._may_be_scaled_less()):
            raise self._diverged(value)
        rate = self.scheduler.get_last_lr()[0]
        self.is_updating = True
        self.all_or_none(self.optimizer.step)
        self.is_updating = False
        self.scheduler.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.results["loss"] = value
        self.meter.step_done(
            seconds=time.monotonic() - began,
            step=self.step,
            epoch=self.step / self.plan.steps_per_epoch,
            loss=value,
            learning_rate=rate,
            grad_norm=norm,
            tokens=sum(int(row.tokens) for rows in batches for row in rows),
            memory_bytes=self.ranks.reduce_peak_memory(
                devices.peak_memory_bytes(self.device), self.device
            ),
            figures=sums,
            **self.load.latest(),
        )

    def add_up(
        self, batches: Sequence[Sequence[Any]], weight: int
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Gradients of micro-batches on top of those there are; their loss and figures."""
        total = torch.zeros((), device=self.device)
        figures: defaultdict[str, float] = defaultdict(float)
        for rows in batches:
            self.job.check()
            with self._autocast():
                found = self.objective.loss(rows)
            if isinstance(rows, DuplicateBatch):
                self.accelerator.backward(0.0 * found.total)
                continue
            loss = found.total / weight
            self.accelerator.backward(loss)
            self.watch.check()
            total.add_(loss.detach().to(self.device))
            _add(figures, found, weight)
        return total, dict(figures)

    def evaluate(self) -> None:
        """The loss on the validation rows; a pause does not wait for it, it is owed then."""
        self.owes_evaluation, self.job.pausable = True, True
        random = checkpoints.random_state()
        try:
            if self.data.validation:
                self.within_memory(self._evaluate)
                self._keep_if_best()
        except PausedError:
            checkpoints.restore_random_state(random)
            self.pause()
        finally:
            self.job.pausable = False
        checkpoints.restore_random_state(random)
        self.owes_evaluation = False
        if self.samples_here:
            self.samples.take(self.step)

    def _evaluate(self) -> None:
        """Weighted by target like a training step's."""
        self.model.eval()
        rows = self.data.validation
        # In groups of as many rows as a step has, whatever the micro-batch: what an objective learns
        # of a group beforehand stays the same when memory runs out.
        groups = by_length(range(len(rows)), rows.lengths, self.plan.per_step)
        totals: defaultdict[str, float] = defaultdict(float)
        weight = done = 0
        with torch.no_grad(), self._autocast(), optimizers.weights_to_use(self.optimizer):
            for group in groups:
                self.ranks.synchronize_requests()
                self.job.progress("evaluating", done, len(rows), "rows")
                parts = by_length(group, rows.lengths, self.plan.micro_batch)
                batches = [[rows[row] for row in part] for part in parts]
                self.objective.begin(batches)
                weight += sum(self.objective.weight(batch) for batch in batches)
                self.all_or_none(partial(self._judge, self.ranks.local_batches(batches), totals))
                done += len(group)
        sums = self.ranks.all_reduce_sum(dict(totals))
        means = {name: value / weight for name, value in sums.items()}
        loss = means.pop("loss")
        self.results["evaluations"].append({"step": self.step, "loss": loss})
        self.job.emit(events.Evaluated(step=self.step, loss=loss, figures=means))
        schedules.evaluated(self.scheduler, loss)

    def _keep_if_best(self) -> None:
        """Keeps the adapter that was judged just now, if that is asked for and it is the best so far."""
        if not self.ranks.is_first:  # finding the place makes room for it: only who writes may
            return
        place = self.best.place(self.results["evaluations"], self.spec)
        if place is None:
            return
        if ladder.tried_twice(lambda: self._write_adapter(place)) is not None:
            self.job.emit(events.Warned(problem=ladder.no_room_for_best(self.step)))

    def _judge(self, batches: Sequence[Sequence[Any]], totals: defaultdict[str, float]) -> None:
        for batch in batches:
            self.job.check()
            found = self.objective.loss(batch)
            if isinstance(batch, DuplicateBatch):
                continue
            totals["loss"] += float(found.total)
            _add(totals, found, 1)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    @contextmanager
    def _use(self) -> Iterator[None]:
        """What a model is used in between steps, as it will be once it is trained."""
        with self._autocast(), optimizers.weights_to_use(self.optimizer):
            yield

    def _evaluation_is_due(self) -> bool:
        per_epoch = self.plan.steps_per_epoch
        every = self.spec.steps_between(self.spec.eval_every, per_epoch) or per_epoch
        wanted = bool(self.data.validation) or bool(self.spec.sample_prompts)
        return wanted and (self.step % every == 0 or self.step == self.steps)

    def _checkpoint_is_due(self) -> bool:
        if self.job.flags.checkpoint.is_set():
            self.job.flags.checkpoint.clear()
            return True
        minutes = self.spec.save_minutes
        if minutes and self.ranks.broadcast(time.monotonic() - self.saved_at >= 60 * minutes):
            return True
        every = self.spec.steps_between(self.spec.save_every, self.plan.steps_per_epoch)
        ends = self.step == self.steps or best_adapter.is_exhausted(
            self.results["evaluations"], self.spec
        )
        return ends or bool(every and self.step % every == 0)

    # --- when memory runs out -----------------------------------------------------------------

    def within_memory(self, action: Callable[[], None]) -> bool:
        """Does something, as often as memory runs out with less of it at a time.

        Each attempt begins with the same random numbers. False when the optimizer itself ran out:
        then training is back at its last checkpoint, and the action was not done. Where the weights
        are divided, raises ProblemError for another process to go on.
        """
        while True:
            random = checkpoints.random_state()
            if (why := ladder.tried(action)) is None:
                return True
            if self.ranks.is_sharded:
                raise ladder.begins_anew(why)
            self.go_down(why)
            if self.is_updating:
                self.is_updating = False
                return False
            checkpoints.restore_random_state(random)

    def all_or_none(self, action: Callable[[], T]) -> T:
        """Does something that every rank does alone; memory that ran out on any ran out on all."""
        if self.ranks.is_sharded:  # the others wait in the middle of a block: there is no way back
            return action()
        found: list[T] = []
        why = ladder.tried(lambda: found.append(action()))
        if self.ranks.is_true_on_any(why is not None):
            raise MemoryPressureError(why or "Memory ran out on another device.")
        return found.pop()

    def go_down(self, why: str) -> None:
        """One rung lower, with everything given back; raises ProblemError where there is none."""
        self.optimizer.zero_grad()
        ladder.release()
        self.watch.rest()
        lower = self.rung.below(can_recompute=ladder.can_recompute(self.model))
        if lower is None:
            raise ladder.exhausted(why, self.data.training.lengths, self.tuned.base.precision)
        self._scale_anew()
        if self.is_updating:  # some weights have moved and some have not
            self.resume()
        self.use(lower)
        accumulation = lower.accumulation(self.plan.per_step)
        note = asdict(lower) | {"gradient_accumulation": accumulation, "why": why}
        if self.ranks.is_first:
            self.folder.update_manifest(memory=note)
        self.job.emit(
            events.Recovered(
                step=self.step,
                micro_batch=lower.micro_batch,
                gradient_accumulation=accumulation,
                gradient_checkpointing=lower.recomputing,
                why=why,
            )
        )

    def _scale_anew(self) -> None:
        """Has float16's next gradients scaled like the last: those that are given up may have been scaled
        back already, and the scaler would take the next ones for it."""
        if (scaler := self.accelerator.scaler) is None:
            return
        before = scaler.state_dict()
        with contextlib.suppress(AssertionError):  # it has scaled nothing back
            scaler.update()
            scaler.load_state_dict(before)

    def settle(self, *, lower: bool) -> None:
        """Begins where memory was enough before, or one rung lower still."""
        noted, lower = self.ranks.broadcast((self.folder.manifest().get("memory"), lower))
        self.use(ladder.first(self.spec, asdict(self.rung), noted))
        if lower:
            self.go_down("The system ended the training because memory ran out.")

    def use(self, rung: ladder.MemoryLevel) -> None:
        """Computes with these micro-batches from now on; the rows of a step stay the same."""
        self.rung = rung
        # Every rank gets something to do, be the step cut ever so fine.
        fair = math.ceil(self.plan.per_step / self.ranks.world_size)
        self._lay_out(min(rung.micro_batch, fair))
        if rung.recomputing:
            ladder.recompute(self.model)

    def _lay_out(self, micro_batch: int) -> None:
        """So many rows at a time, or short ones up to as many tokens as the longest of those have.

        That takes no more memory, and fewer passes over the weights. Ranks share a step by its
        micro-batches, and the objectives that compare answers do it within them: there it is rows alone.
        """
        plan = self.plan
        plan.micro_batch, plan.room = micro_batch, 0
        self.longest = plan.longest(self.steps, padded=not self.scorer.packed)
        is_free = self.ranks.world_size == 1 and isinstance(self.objective, objectives.Sft)
        if is_free and self.scorer.packed and self.scorer.chunked:
            plan.room = sum(int(self.data.training.lengths[row]) for row in self.longest)

    # --- saving and going on ------------------------------------------------------------------

    def keep_beginning(self) -> None:
        """Leaves something to go back to while there is no checkpoint."""
        random = self.ranks.all_gather(checkpoints.random_state())
        why = ladder.tried_twice(lambda: self._write_checkpoint(self.beginning, random))
        if (why := self.ranks.broadcast(why)) is not None:
            raise MemoryPressureError(why)

    def save_checkpoint(self) -> None:
        """Writes all that is needed to go on from here as if nothing had happened.

        Where there is no memory even for that, the checkpoint before stays the last one for now.
        """
        random = self.ranks.all_gather(checkpoints.random_state())
        folder = self.folder.checkpoint(self.step)
        why = ladder.tried_twice(lambda: self._write_checkpoint(folder, random))
        self.saved_at = time.monotonic()
        if (why := self.ranks.broadcast(why)) is not None:
            problem = ladder.no_room_for_checkpoint(why, self.step, self.saved_step)
            self.job.emit(events.Warned(problem=problem))
            return
        self.saved_step = self.step
        if self.ranks.is_first:
            checkpoints.delete_older(self.folder, self.spec.keep_checkpoints)
            self.best.checkpointed(self.results["evaluations"])
            self.job.emit(events.CheckpointSaved(step=self.step, folder=str(folder)))

    def _write_checkpoint(self, place: Path, random: list[dict[str, Any]]) -> None:
        """The adapter, the state and what is to be read about it, by the first rank; `random` numbers
        are those of every one."""
        if not self.ranks.is_first:
            return
        scaler = self.accelerator.scaler
        state = {
            "optimizer": optimizers.state(self.optimizer),
            "scheduler": self.scheduler.state_dict(),
            "scaler": scaler.state_dict() if scaler else {},
            "random": random,
        }
        about = {
            "step": self.step,
            "steps": self.steps,
            "fingerprint": self.data.fingerprint,
            "results": self.results,
            "owes_evaluation": self.owes_evaluation,
            "memory": asdict(self.rung),
        }
        with optimizers.weights_to_use(self.optimizer):
            checkpoints.write(place, self.model, state, about)

    def save_adapter(self) -> None:
        """Puts the adapter, with its tokenizer and chat template, in place of an earlier one: the
        best of all evaluations where that is asked for, else the last."""
        if not self.ranks.is_first:
            return
        target = self.folder.adapter
        kept = self.best.to_keep(self.results["evaluations"], self.spec)
        if kept is None:
            why = ladder.tried_twice(lambda: self._write_adapter(target))
            if why is not None:
                raise MemoryPressureError(why)
        else:
            with folder_atomic(target) as folder:
                shutil.copytree(kept[0], folder, dirs_exist_ok=True)
        about = dict(kept[1]) if kept else {"step": self.step, "loss": None}
        self.results["kept"] = about
        size = sum(file.stat().st_size for file in target.iterdir())
        self.job.emit(
            events.AdapterSaved(
                step=about["step"], folder=str(target), bytes=size, best_loss=about["loss"]
            )
        )

    def _write_adapter(self, target: Path) -> None:
        with folder_atomic(target) as folder, optimizers.weights_to_use(self.optimizer):
            checkpoints.save_adapter(self.model, folder, self.tokenizer, self.tuned.initial_adapter)

    def _is_exhausted(self) -> bool:
        found = best_adapter.is_exhausted(self.results["evaluations"], self.spec)
        if found and self.step < self.steps:
            self.job.emit(events.EndedEarly(step=self.step, evaluations=self.spec.early_stopping))
        return found

    def resume(self) -> None:
        """Takes up the last complete checkpoint, if there is one; raises ProblemError when the
        data or the adapter are not those it was made with."""
        found = self.ranks.broadcast(self._last_complete() if self.ranks.is_first else None)
        if found is None:
            self.job.emit(events.Log(text="There is no checkpoint yet: training starts anew."))
            return
        if found.about["fingerprint"] != self.data.fingerprint:
            raise fail(
                "training.data_changed",
                "The training rows are not those that the checkpoint was made with.",
                "Put the dataset back as it was, or start a new run.",
                where=Where(step="dataset", field="sources"),
            )
        try:
            adapter_weights.put(self.model, found.adapter)
        except adapter_weights.AdapterMismatchError as error:
            raise fail(
                "training.checkpoint_foreign",
                f"The checkpoint does not fit the adapter that this engine makes: {error}.",
                "Take up the engine again that the training began with, or start a new run.",
                where=Where(step="training", file=str(self.folder.checkpoint(found.step))),
            ) from error
        optimizers.restore(self.optimizer, found.state["optimizer"])
        self.scheduler.load_state_dict(found.state["scheduler"])
        # There is none of a training that began without one, on another device.
        if self.accelerator.scaler is not None and found.state["scaler"]:
            self.accelerator.scaler.load_state_dict(found.state["scaler"])
        checkpoints.restore_random_state(found.state["random"], self.ranks.rank)
        self.step = self.saved_step = found.step
        self.results = found.about["results"]
        self.best.checkpointed(self.results["evaluations"])
        self.owes_evaluation = found.about.get("owes_evaluation", False)
        self.rung = ladder.first(self.spec, found.about.get("memory"))

    def _last_complete(self) -> checkpoints.Checkpoint | None:
        """The last checkpoint; before there is any, where this process began."""
        found = checkpoints.last_complete(self.folder, self.job)
        if found is None and self.beginning.is_dir():
            return checkpoints.read(self.beginning)
        return found

    def _waits_for_space(self, problem: Problem) -> Problem:
        """A disk that takes no more as the reason for a pause: it does not keep anybody from resuming."""
        remedy = (
            "Free some space or move the project to a larger disk, then resume: training goes on "
            f"from step {self.saved_step}."
            if problem.code == "disk.full"
            else "Move the project to a disk without that limit, or raise the limit on file sizes of your "
            f"account, then resume: training goes on from step {self.saved_step}."
        )
        return problem.model_copy(update={"remedy": remedy, "severity": "warning"})

    def _may_be_scaled_less(self) -> bool:
        """Whether gradients in float16 that are not finite may become so with a smaller scale, which the
        scaler takes for the next step; this one's is passed over."""
        scaler = self.accelerator.scaler
        return scaler is not None and bool(scaler.get_scale() >= 1)

    def _diverged(self, loss: float) -> ProblemError:
        step, where = self.step + 1, Where(step="training", field="learning_rate")
        if math.isfinite(loss):
            return fail(
                "training.diverged",
                f"The gradient was no longer a number in step {step}: training has diverged.",
                "Lower the learning rate, or lengthen the warm-up. With float16 precision, bfloat16 "
                "helps too. Checkpoints from before are kept.",
                where=where,
            )
        return fail(
            "training.diverged",
            f"The loss became {loss} in step {step}: training has diverged.",
            "Lower the learning rate, or lengthen the warm-up. With float16 precision, bfloat16 "
            "helps too. Checkpoints from before are kept.",
            where=where,
        )


def _add(figures: defaultdict[str, float], found: Loss, weight: int) -> None:
    """Adds a micro-batch's share of the means over a step. Costs a wait for the device each."""
    for name, value in found.figures.items():
        figures[name] += float(value) / weight
