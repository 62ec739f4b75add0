"""Train a run: load the model, attach the adapter, read the dataset, and hand it all to the trainer."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft.helpers import disable_input_dtype_casting
from peft.tuners.lora import LoraLayer
from peft.utils.incremental_pca import IncrementalPCA

from lora_studio import __version__
from lora_studio.core.messages import text
from lora_studio.core.problems import Where, fail
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import write_atomic
from lora_studio.core.tasks.samples import Sample
from lora_studio.core.tasks.table import TASKS
from lora_studio.engine.backends.backend import AdaptedModel, Backend, prepare_with_peft
from lora_studio.engine.dataset.prepare import PreparedDataset, prepare
from lora_studio.engine.dataset.rows.mixture import MixedRows
from lora_studio.engine.dataset.rows.sequences import EncodedRows
from lora_studio.engine.dataset.splitting import DatasetSplit
from lora_studio.engine.devices.ranks import ProcessGroup
from lora_studio.engine.lora import adapter_weights, attach
from lora_studio.engine.lora.initialization import iter_lora_layers
from lora_studio.engine.model import folder as model_folder
from lora_studio.engine.model.folder import require_same_base
from lora_studio.engine.rewards.registry import open_rewards
from lora_studio.engine.runtime.channel import Flags, JobContext
from lora_studio.engine.runtime.failures import PausedError
from lora_studio.engine.runtime.torch_settings import keep_freed_memory
from lora_studio.engine.tasks.table import TRAINED_TASKS
from lora_studio.engine.tokens.batches import Batch, collate
from lora_studio.engine.tokens.encoder import (
    Encoded,
    EncodedClassified,
    EncodedLabeled,
    EncodedPair,
    EncodedPrompt,
    EncodedSearchPair,
    TrainingRow,
)
from lora_studio.engine.training import (
    checkpoint_files,
    kernel_choice,
    problems,
    trackers,
    trainer_state,
)
from lora_studio.engine.training.distributed import sharding
from lora_studio.engine.training.distributed.launch import launch_ranks, leave_at_end
from lora_studio.engine.training.frozen_models.teacher import prepare_teacher, record_teacher
from lora_studio.engine.training.memory import forecast
from lora_studio.engine.training.reproduction import script
from lora_studio.engine.training.reproduction.statements import ReproductionFacts
from lora_studio.engine.training.step_batches import TrainingData, TrainingRows
from lora_studio.engine.training.trainer import Trainer


def train(
    run: RunFolder,
    job: JobContext,
    *,
    resume: bool = False,
    lower: bool = False,
    backend: Backend | None = None,
    ranks: ProcessGroup | None = None,
) -> events.Done:
    """Train the adapter of a run, to its end or until the user stops or pauses it.

    With `resume` it continues from the last complete checkpoint, on the CPU in 32-bit to the same result
    bit for bit. `lower` starts at a lower memory level, because the previous attempt ran out of memory.
    `ranks` is the process group if another program started the processes. Raises ProblemError or CancelledError;
    earlier checkpoints are kept.
    """
    project = run.load_project()
    run.require_inputs(project, with_data=True)
    trackers.check_trackers(project.training)
    project = adapter_weights.copy_start_adapter(run, project, resume=resume)
    if not resume:
        checkpoint_files.delete_all_checkpoints(run)
        run.update_manifest(memory=None, kernels=None)
        shutil.rmtree(run.initial_adapter, ignore_errors=True)
        checksums.forget_checksums(run, run.initial_adapter)
    elif checksums.is_recorded(run, run.initial_adapter):
        checksums.require_intact(run, run.initial_adapter)
    with (
        checkpoint_files.create_scratch_folder(run) as scratch,
        trackers.mirror_metrics(run, project, job, resume=resume),
        ExitStack() as stack,
        leave_at_end(ranks)
        if ranks
        else launch_ranks(run, project, job, scratch, resume=resume) as group,
    ):
        return _train_rank(
            run, project, job, group, scratch, stack, resume=resume, lower=lower, backend=backend
        )


def follow(run: RunFolder, ranks: ProcessGroup, job: JobContext, *, resume: bool) -> None:
    """Train as a rank other than 0, in a separate process."""
    project = adapter_weights.copy_start_adapter(run, run.load_project(), resume=True)
    with (
        checkpoint_files.create_scratch_folder(run, f"rank-{ranks.rank}") as scratch,
        leave_at_end(ranks),
        ExitStack() as stack,
    ):
        _train_rank(run, project, job, ranks, scratch, stack, resume=resume)


def _train_rank(
    run: RunFolder,
    project: Project,
    job: JobContext,
    ranks: ProcessGroup,
    scratch: Path,
    stack: ExitStack,
    *,
    resume: bool,
    lower: bool = False,
    backend: Backend | None = None,
) -> events.Done:
    """Train as one rank; what rates answers stays open, and freed memory is kept, as long as `stack`."""
    job.pausable = True
    try:
        project = _with_device(project, ranks, job)
        tuned, data = _prepare(
            run, project, backend or prepare_with_peft, job, ranks, scratch, resume=resume
        )
        project, data = _prepare_task(run, project, tuned, data, job, ranks, stack)
        # The other ranks load only now, so that they reuse rank 0's downloads, conversions and tokens.
        assert project.model.sharding != "auto"
        ranks.connect(project.model.sharding)
    except PausedError:
        return events.Done(paused=True)
    job.pausable = False
    if project.model.sharding == "shard":
        ranks.is_sharded = True
        sharding.shard_weights(tuned)
    if tuned.base.device.type == "cpu":
        stack.enter_context(keep_freed_memory())
    job.show_stage(text("preparing the optimizer"))
    trainer = Trainer(run, project.training, tuned, data, job, ranks, scratch)
    if resume:
        trainer.load_checkpoint()
    _synchronize(ranks, tuned, data)
    writes = ranks.is_first and not (resume and script.is_complete(trainer.run))
    return _fit(project, tuned, trainer, job, ranks, lower=lower, writes_script=writes)


def _prepare_task(
    run: RunFolder,
    project: Project,
    tuned: AdaptedModel,
    data: TrainingData,
    job: JobContext,
    ranks: ProcessGroup,
    stack: ExitStack,
) -> tuple[Project, TrainingData]:
    """Return the project with the pooling of embeddings decided, and the data with what rates answers."""
    project = TRAINED_TASKS[data.task].prepare_model(project, tuned, job)
    if tuned.embedding is not None and ranks.is_first:
        run.update_manifest(embedding=asdict(tuned.embedding))
    if TASKS[data.task].writes_rollouts and ranks.is_first:
        opened = stack.enter_context(
            open_rewards(project.training.rewards, _without_pause(job, ranks))
        )
        data = replace(data, rewards=opened)
    return project, data


def _without_pause(job: JobContext, ranks: ProcessGroup) -> JobContext:
    """Return the job for work of rank 0 that other ranks wait for: a pause takes effect after it."""
    return job if ranks.world_size == 1 else replace(job, flags=Flags(cancel=job.flags.cancel))


def _prepare(
    run: RunFolder,
    project: Project,
    backend: Backend,
    job: JobContext,
    ranks: ProcessGroup,
    scratch: Path,
    *,
    resume: bool,
) -> tuple[AdaptedModel, TrainingData]:
    """Return the model with its adapter, and the rows to train on, with the tokens of a teacher if there is one."""
    distilled = prepare_teacher(project, job) if project.training.teacher.strip() else None
    if distilled and ranks.is_first:
        record_teacher(run, distilled, resume=resume)
    tuned = backend(project, job, scratch, _find_initial_adapter(run, resume=resume))
    if ranks.is_first and tuned.initial_adapter == run.initial_adapter:
        checksums.record_checksums(run, run.initial_adapter)
    if resume:
        require_same_base(run, tuned.base.folder)
    prepared = distilled.prepared if distilled else None
    data = prepare_data(run, project, tuned, job, record=ranks.is_first, prepared=prepared)
    data = distilled.attach(data) if distilled else data
    if project.lora.init == "eva" and not project.lora.start_from:
        initialize_from_data(tuned, data.training, project.training.micro_batch, job)
    return tuned, data


def _find_initial_adapter(run: RunFolder, *, resume: bool) -> Path | None:
    """Return the folder of the initial adapter; None for a run of an earlier version, which kept none."""
    is_older = resume and run.list_checkpoint_steps() and not run.initial_adapter.is_dir()
    return None if is_older else run.initial_adapter


def _with_device(project: Project, ranks: ProcessGroup, job: JobContext) -> Project:
    """Return the project with this rank's device, and with the sharding decided."""
    model, names = project.model, project.model.devices
    if ranks.device:
        model = model.model_copy(update={"device": ranks.device})
    decision = sharding.decide_sharding(model, names, ranks, job)
    if decision == "shard" and project.lora.new_tokens:
        raise problems.sharded_tokens_error()
    model = model.model_copy(update={"sharding": decision})
    return project.model_copy(update={"model": model})


def prepare_data(
    run: RunFolder,
    project: Project,
    tuned: AdaptedModel,
    job: JobContext,
    *,
    record: bool = True,
    prepared: PreparedDataset | None = None,
) -> TrainingData:
    """Read, tokenize and split the dataset, unless it is prepared already.

    Emits DatasetReady and ParametersCounted, and writes the run's record.
    """
    if prepared is None:
        tokenizer = tuned.base.tokenizer
        prepared = prepare(project.dataset, tokenizer, project.training.seed, job)
    for problem in prepared.warnings:
        job.emit(events.Warned(problem=problem))
    job.emit(prepared.ready)
    task = prepared.rows.task
    TRAINED_TASKS[task].attach_head(project.training, tuned, tuple(prepared.ready.labels))
    job.emit(attach.count_parameters(tuned.model))
    if record:
        write_manifest(run, project, tuned, prepared.ready, prepared.rows)
        write_heldout(run, prepared.rows, prepared.split)
    return TrainingData(
        task,
        EncodedRows(prepared.training),
        EncodedRows(prepared.validation),
        prepared.fingerprint,
        prepared.ready,
    )


def _synchronize(ranks: ProcessGroup, tuned: AdaptedModel, data: TrainingData) -> None:
    """Start every rank from rank 0's weights; raises ProblemError when the rows differ."""
    if len(set(ranks.all_gather(data.fingerprint))) > 1:
        raise problems.different_rows_error()
    changes_base = tuned.initial_adapter is not None and not ranks.is_sharded
    ranks.broadcast_tensors(
        value for value in tuned.model.parameters() if value.requires_grad or changes_base
    )


def _collect_reproduction_facts(
    project: Project, tuned: AdaptedModel, trainer: Trainer
) -> ReproductionFacts:
    """Return what the reproduction script needs to know about this run."""
    return ReproductionFacts(
        project=project,
        tuned=tuned,
        task=trainer.data.task,
        rows=trainer.data.training,
        plan=trainer.batches.plan,
        steps=trainer.total_steps,
        optimizer=trainer.optimizer,
        is_packed=trainer.logprob_model.packed,
        is_filled=trainer.logprob_model.fills,
        uses_tf32=kernel_choice.uses_tf32(),
        has_validation=bool(trainer.data.validation),
        world_size=trainer.ranks.world_size,
        step=trainer.state.step,
        label_counts=dict(trainer.data.ready.labels),
    )


def _fit(
    project: Project,
    tuned: AdaptedModel,
    trainer: Trainer,
    job: JobContext,
    ranks: ProcessGroup,
    *,
    lower: bool,
    writes_script: bool,
) -> events.Done:
    """Train; estimate the memory before, and calibrate the estimate with the measured peak.

    `writes_script` writes the script that repeats the training, with the micro-batches that the estimate
    allows.
    """
    # The adapter's 32-bit weights are rounded for each product instead of widening its inputs: ten
    # percent faster on a CPU, and on a GPU the products run on its tensor cores.
    job.show_stage(text("estimating memory and time"))
    with disable_input_dtype_casting(tuned.model, active=tuned.base.dtype != torch.float32):
        estimated = forecast.estimate_training(
            project,
            tuned,
            trainer.data,
            job,
            step=trainer.state.step,
            world_size=ranks.world_size,
            is_packed=trainer.logprob_model.packed,
            fill=trainer.fill_micro_batches,
        )
        if writes_script:
            facts = _collect_reproduction_facts(project, tuned, trainer)
            script.write_reproduction(trainer.run, facts, job)
        done = trainer.fit(lower=lower)
        is_full_level = trainer.state.memory_level == trainer_state.choose_starting_level(
            project.training
        )
        is_full_level &= trainer.state.least_tokens == estimated.plan.least_tokens
        # The teacher was in this process: its memory would count as the training's.
        is_alone = ranks.world_size == 1 and not project.training.teacher.strip()
        is_alone &= trainer.rollouts is None
        if is_alone and is_full_level:
            estimated.learn(trainer.state.step, trainer.batches.steps_per_epoch)
        return done


_LIBRARIES = (
    "torch", "transformers", "peft", "accelerate", "bitsandbytes", "tokenizers", "safetensors", "triton",
    "liger-kernel",
)  # fmt: skip

#: Maximum number of validation rows for the self-test, and of training rows without a validation split.
_HELD_OUT = 512
_BORROWED = 32


def write_manifest(
    run: RunFolder,
    project: Project,
    tuned: AdaptedModel,
    data: events.DatasetReady,
    rows: MixedRows,
) -> None:
    """Record everything that is needed to understand or repeat the training."""
    run.update_manifest(
        versions=_get_versions(),
        seed=project.training.seed,
        base_model={"source": project.model.source} | model_folder.get_identity(tuned.base.folder),
        dataset={
            "sources": [
                source.model_dump() | {"sha256": store.sha256}
                for source, store in zip(project.dataset.sources, rows.stores, strict=False)
            ],
            "task": data.task,
            "rows_read": data.rows_read,
            "rows_train": data.rows_train,
            "rows_validation": data.rows_validation,
            "rows_cut": data.rows_cut,
            "skipped": [entry.model_dump() for entry in data.skipped],
        },
        device=str(tuned.base.device),
        threads=torch.get_num_threads(),
        precision=tuned.base.precision,
        dtype=str(tuned.base.dtype).removeprefix("torch."),
        parameters=_get_counts(tuned),
    )


def write_heldout(run: RunFolder, rows: MixedRows, split: DatasetSplit) -> None:
    """Write validation rows, one JSON line each, for the self-test.

    Without a validation split, training rows are used instead, and the manifest records that.
    """
    has_validation = len(split.validation) > 0
    chosen = split.validation[:_HELD_OUT] if has_validation else split.training[:_BORROWED]
    samples = [rows.read_sample(*position) for position in chosen.tolist()]
    write_atomic(run.heldout_file, "".join(f"{_format_line(sample)}\n" for sample in samples))
    checksums.record_checksums(run, run.path, [run.heldout_file.name])
    run.update_manifest(
        heldout={
            "conversations": len(samples),
            "from": "validation rows"
            if has_validation
            else "training rows (no rows were held out)",
        }
    )


def _format_line(sample: Sample) -> str:
    """Return a sample in the form that `read_heldout` reads, with the chosen or expected answer."""
    turns = (*sample.conversation, *sample.chosen)
    entry: dict[str, Any] = {
        "messages": [turn.model_dump(exclude_defaults=True, exclude={"trained"}) for turn in turns]
    }
    if sample.tools:
        entry["tools"] = sample.tools
    if TASKS[sample.task].is_document:
        entry = {"text": sample.text}
    return json.dumps(entry, ensure_ascii=False)


def _get_versions() -> dict[str, str]:
    versions = {"lora-studio": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions | {"platform": platform.platform()}


def _get_counts(tuned: AdaptedModel) -> dict[str, Any]:
    from lora_studio.engine.lora import attach

    counted = attach.count_parameters(tuned.model)
    return {
        "trainable": counted.trainable,
        "total": counted.total,
        "percent": round(counted.percent, 4),
        "targets": counted.targets,
    }


#: Maximum number of trained tokens to read, from rows spread over the whole dataset.
_MAX_TOKENS = 1 << 15


@torch.no_grad()
def initialize_from_data(
    tuned: AdaptedModel, rows: TrainingRows, micro_batch: int, job: JobContext
) -> None:
    """Set A to the leading principal directions of each layer's inputs; B stays zero.

    Only inputs at positions that predict trained tokens count. Ranks aren't redistributed (ρ = 1).
    Raises ProblemError where the rows have fewer such positions than the rank.
    """
    layers = dict(iter_lora_layers(tuned.model))
    rank = max(layer.r["default"] for layer in layers.values())
    batches = list(_iter_batches(rows, micro_batch, rank))
    if not batches:
        raise fail(
            "lora.eva_needs_more_data",
            "EVA needs at least {rank} trained tokens, as many as the rank; the rows have fewer.",
            "Add rows, lower the rank, or choose the default initialization.",
            where=Where(step="lora", field="init"),
            rank=rank,
        )
    inputs = _InputDirections(layers)
    was_training = tuned.model.training
    tuned.model.eval()
    base = tuned.model.get_base_model()
    decoder = base.get_decoder() if hasattr(base, "get_decoder") else base
    # Weights that will be sharded are still in main memory.
    device, dtype = base.get_input_embeddings().weight.device, tuned.base.dtype
    with inputs, torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        for done, batch in enumerate(batches):
            job.report_progress(text("reading the data for EVA"), done, len(batches), "batches")
            inputs.positions = batch.get_padded_sources()
            ids, mask = batch.to_padded()
            decoder(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False)
    tuned.model.train(was_training)
    for name, layer in layers.items():
        a = layer.lora_A["default"].weight
        a.copy_(inputs.compute_directions(name)[: a.shape[0]])


class _InputDirections:
    """Principal directions of the inputs of layers; consecutive layers with the same input share them."""

    def __init__(self, layers: dict[str, LoraLayer]) -> None:
        self._layers = layers
        self._leader: dict[str, str] = {}
        self._components: dict[str, IncrementalPCA] = {}
        self._last: tuple[str, torch.Tensor | None] = ("", None)
        self._hooks = ExitStack()
        self.positions = torch.zeros(0, dtype=torch.int64)

    def __enter__(self) -> None:
        for name, layer in self._layers.items():
            handle = layer.register_forward_pre_hook(
                lambda _, inputs, name=name: self._update(name, inputs[0])
            )
            self._hooks.callback(handle.remove)

    def __exit__(self, *_: object) -> None:
        self._hooks.close()
        self._last = ("", None)

    def compute_directions(self, name: str) -> torch.Tensor:
        """Return orthonormal directions, the leading one first, [rank or more, in]."""
        return self._components[self._leader[name]].components_

    def _update(self, name: str, inputs: torch.Tensor) -> None:
        if self._last[1] is not inputs:
            self._last = (name, inputs)
        leader = self._leader.setdefault(name, self._last[0])
        if leader != name:
            return
        if name not in self._components:
            rank = max(layer.r["default"] for layer in self._layers.values())
            self._components[name] = IncrementalPCA(
                n_components=min(rank, inputs.shape[-1]), lowrank=True, lowrank_seed=0,
                lowrank_q=min(2 * rank, inputs.shape[-1]),
            )  # fmt: skip
        # Autocast would give its decomposition 16-bit matrices, for which CUDA has none.
        with torch.autocast(inputs.device.type, enabled=False):
            self._components[name].partial_fit(inputs.flatten(0, -2)[self.positions].float())


def _iter_batches(rows: TrainingRows, micro_batch: int, directions: int) -> Iterator[Batch]:
    """Yield rows spread over the dataset, in batches with twice as many trained tokens as `directions`."""
    chosen: list[Encoded] = []
    tokens = tokens_read = 0
    for index in _iter_evenly(len(rows)):
        row = _to_encoded(rows[index])
        chosen.append(row)
        tokens += int(row.trained[1:].sum())
        if len(chosen) >= micro_batch and tokens >= 2 * directions:
            yield collate(chosen)
            tokens_read += tokens
            chosen, tokens = [], 0
        if tokens_read >= _MAX_TOKENS:
            return
    if tokens_read == 0 and tokens >= directions:
        yield collate(chosen)


def _iter_evenly(count: int) -> Iterator[int]:
    """Yield every number below `count` once, in an order that spreads any prefix over the whole range."""
    step = next((s for s in (7919, 104729, 1) if count % s or s == 1), 1)
    return (index * step % count for index in range(count))


def _to_encoded(row: TrainingRow) -> Encoded:
    match row:
        case EncodedPrompt():  # its answers don't exist yet
            return Encoded(row.ids, np.ones(len(row.ids), bool))
        case EncodedSearchPair():
            return Encoded(row.positive, np.ones(len(row.positive), bool))
        case EncodedPair():
            return row.chosen
        case EncodedLabeled():
            return row.answer
        case EncodedClassified():  # every token counts: none trains
            ids = row.text.ids
            return Encoded(ids, np.ones(len(ids), bool))
    return row
