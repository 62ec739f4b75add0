"""A training from its set-up to its end: load, wrap, read, and give all of it to the loop."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import torch
from peft.helpers import disable_input_dtype_casting

from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.backends.backend import AdaptedModel, Backend
from lora_studio.engine.backends.peft import PeftBackend
from lora_studio.engine.dataset.prepare import prepare
from lora_studio.engine.dataset.rows.sequences import sequence
from lora_studio.engine.lora import continue_from_adapter
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import PausedError
from lora_studio.engine.training import checkpoints, eva, run_record, trackers
from lora_studio.engine.training.distributed import sharding
from lora_studio.engine.training.distributed.launch import launch_ranks
from lora_studio.engine.training.distributed.ranks import ProcessGroup
from lora_studio.engine.training.memory import forecast, ladder
from lora_studio.engine.training.reproduction import reproduction
from lora_studio.engine.training.trainer import Trainer, TrainingData


def train(
    run: RunFolder,
    job: JobContext,
    *,
    resume: bool = False,
    lower: bool = False,
    backend: Backend | None = None,
    ranks: ProcessGroup | None = None,
) -> events.Done:
    """Trains the adapter of a run, to its end or until the user stops or pauses it.

    With `resume` it goes on from the last complete checkpoint, on the CPU in 32-bit to the same
    result bit for bit. `lower`: the attempt before ran out of memory without a word.
    `ranks`: somebody else started the other processes. Raises ProblemError or CancelledError;
    checkpoints written before stay.
    """
    project = run.load_project()
    trackers.check(project.training)
    checkpoints.sweep(run)
    project = continue_from_adapter.keep(run, project, resume=resume)
    if not resume:
        checkpoints.clear(run)
        run.update_manifest(memory=None, kernels=None)
    with (
        checkpoints.scratch(run) as scratch,
        trackers.following(run, project, job, resume=resume),
        nullcontext(ranks)
        if ranks
        else launch_ranks(run, project, job, scratch, resume=resume) as group,
    ):
        return _take_part(
            run, project, job, group, scratch, resume=resume, lower=lower, backend=backend
        )


def follow(run: RunFolder, ranks: ProcessGroup, job: JobContext, *, resume: bool) -> None:
    """Trains as one of several ranks, not the first, in a process of its own."""
    project = continue_from_adapter.keep(run, run.load_project(), resume=True)
    with checkpoints.scratch(run, f"rank-{ranks.rank}") as scratch:
        _take_part(run, project, job, ranks, scratch, resume=resume)


def _take_part(
    run: RunFolder,
    project: Project,
    job: JobContext,
    ranks: ProcessGroup,
    scratch: Path,
    *,
    resume: bool,
    lower: bool = False,
    backend: Backend | None = None,
) -> events.Done:
    names = project.model.devices
    if ranks.device:
        model = project.model.model_copy(update={"device": ranks.device})
        project = project.model_copy(update={"model": model})
    job.pausable = True
    try:
        model = sharding.decide_sharding(project.model, names, ranks.world_size, job)
        project = project.model_copy(update={"model": model})
        tuned = (backend or PeftBackend()).prepare(project, job, scratch)
        data = prepare_data(run, project, tuned, job, record=ranks.is_first)
        if project.lora.init == "eva" and not project.lora.start_from:
            eva.look_at_data(tuned, data.training, project.training.micro_batch, job)
        # Only now do the others load: downloads, conversions and tokens are there, made once.
        ranks.connect()
    except PausedError:
        return events.Done(paused=True)
    job.pausable = False
    if model.sharding == "shard":
        ranks.is_sharded = True
        sharding.shard_weights(tuned)
    loop = Trainer(run, project.training, tuned, data, job, ranks, scratch)
    if resume:
        loop.resume()
    loop.align()
    if ranks.is_first and not (resume and reproduction.is_there(run)):
        reproduction.write(run, loop.recipe(project), job)
    # The adapter's 32-bit weights are rounded for each product instead of its inputs widened: a
    # tenth faster on a CPU, and on a GPU the products run on its matrix units.
    with disable_input_dtype_casting(tuned.model, active=tuned.base.dtype != torch.float32):
        fit = forecast.tell(
            project, tuned, data.task, data.training, job, step=loop.step, ranks=ranks.world_size
        )
        done = loop.run_to_end(lower=lower)
        if ranks.world_size == 1 and loop.rung == ladder.first(loop.spec):
            fit.learn(loop.step, loop.plan.steps_per_epoch)
        return done


def prepare_data(
    run: RunFolder, project: Project, tuned: AdaptedModel, job: JobContext, *, record: bool = True
) -> TrainingData:
    """Reads, tokenises and splits the dataset; emits DatasetReady and writes the run's record."""
    spec = project.dataset
    prepared = prepare(spec, tuned.base.tokenizer, project.training.seed, job)
    for problem in prepared.warnings:
        job.emit(events.Warned(problem=problem))
    job.emit(prepared.ready)
    if record:
        run_record.record_setup(run, project, tuned, prepared.ready, prepared.rows)
        run_record.write_heldout(run, prepared.rows, prepared.split)
    return TrainingData(
        prepared.rows.task,
        sequence(prepared.training, prepared.rows.task),
        sequence(prepared.validation, prepared.rows.task),
        prepared.fingerprint,
    )
