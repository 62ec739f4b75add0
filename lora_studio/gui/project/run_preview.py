"""A preview of the training run: rows, steps, backend, and the plan of its memory."""

from __future__ import annotations

from dataclasses import dataclass

from lora_studio.core import formatting
from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.lora import adapters
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.memory import adapter_size, calibration
from lora_studio.core.memory.plan import FitSettings, MemoryPlan, pick_device
from lora_studio.core.memory.rows import (
    RowStatistics,
    approximate_row_statistics,
    build_row_statistics,
)
from lora_studio.core.memory.weights import spread_over_gpus
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import events
from lora_studio.core.tasks.samples import TaskName
from lora_studio.core.tasks.table import TASKS
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.project import data_sources
from lora_studio.gui.project.state import ProjectState


@dataclass(frozen=True)
class SplitPreview:
    """Rows to train on and to validate with, and rows of an epoch, where weights repeat rows.

    Until the worker has counted them, the numbers are estimates from all rows (`is_exact` is False).
    `separate` if the validation rows are from a file whose rows haven't been counted.
    """

    train: int
    validation: int
    per_epoch: int
    is_exact: bool = False
    separate: bool = False

    def describe(self) -> str:
        """Return the numbers as a translated phrase."""
        train = formatting.format_number(self.train)
        if self.separate:
            return tr("about {train} training rows, validation from a file").format(train=train)
        template = (
            tr("{train} training rows, {validation} validation rows")
            if self.is_exact
            else tr("about {train} training rows, {validation} validation rows")
        )
        rows = template.format(train=train, validation=formatting.format_number(self.validation))
        if self.per_epoch == self.train:
            return rows
        return tr("{rows}, {n} per epoch").format(
            rows=rows, n=formatting.format_number(self.per_epoch)
        )


def split(state: ProjectState) -> SplitPreview | None:
    """Return how the rows are split, None while the dataset is unknown."""
    if (plan := state.facts.plan) is not None:
        return SplitPreview(
            plan.rows_train, plan.rows_validation, plan.rows_per_epoch, is_exact=True
        )
    data = state.facts.dataset
    share, count = (state.get("dataset", name) for name in ("validation_share", "validation_count"))
    if data is None or not isinstance(share, int | float) or not isinstance(count, int):
        return None
    used = data.rows_used
    separate = bool(state.get("dataset", "validation_file"))
    validation = 0 if separate else min(used, count) if count > 0 else round(float(share) * used)
    repeated = data_sources.count_rows_per_epoch(
        data_sources.to_plain(state.get("dataset", "sources")), [item.used for item in data.sources]
    )
    train = used - validation
    per_epoch = round(repeated * train / used) if used else 0
    return SplitPreview(train, validation, per_epoch, separate=separate)


def describe_steps(training: TrainingSpec, split: SplitPreview | None) -> str:
    """Return effective batch size and number of optimizer steps as text."""
    batch = training.effective_batch
    size = tr_n("Effective batch size: {n} row.", "Effective batch size: {n} rows.", batch)
    if split is None or not split.per_epoch:
        return f"{size} {tr('The number of steps appears once the dataset is read.')}"
    total = training.count_steps(split.per_epoch)
    per_epoch = formatting.format_number(training.count_steps_per_epoch(split.per_epoch))
    steps = (
        tr_n(
            "{n} step (step limit), {per_epoch} per epoch.",
            "{n} steps (step limit), {per_epoch} per epoch.",
            total,
            per_epoch=per_epoch,
        )
        if total == training.max_steps
        else tr_n(
            "{n} step, {per_epoch} per epoch.",
            "{n} steps, {per_epoch} per epoch.",
            total,
            per_epoch=per_epoch,
        )
    )
    return f"{size} {steps if split.is_exact else tr('About {steps}').format(steps=steps)}"


def describe_negatives(training: TrainingSpec, task: TaskName | None) -> str:
    """Return what each query is compared with, "" for data of another task than embeddings."""
    if task is None or not TASKS[task].yields_vectors:
        return ""
    return tr_n(
        "Each query is compared with the text of {n} other row.",
        "Each query is compared with the texts of {n} other rows.",
        training.effective_batch - 1,
    )


def describe_backend(state: ProjectState) -> str:
    """Return the backend that will load the model."""
    training = state.get_spec("training")
    if not isinstance(training, TrainingSpec):
        return ""
    name = "peft" if training.backend == "auto" else training.backend
    return state.get_facts("training", "backend").choices[name]


def make_plan(state: ProjectState, precision: str = "") -> MemoryPlan | None:
    """Return the memory plan, optionally with another precision.

    None while a value is invalid or the model or device isn't known yet. Rows that haven't been
    measured yet are assumed to have the maximum length. Among several devices, the one with the least
    memory counts.
    """
    model, lora, dataset, training = (
        state.get_spec("model"), state.get_spec("lora"), state.get_spec("dataset"), state.get_spec("training"),
    )  # fmt: skip
    facts = state.facts
    if not (
        isinstance(model, ModelSpec)
        and isinstance(lora, LoraSpec)
        and isinstance(dataset, DatasetSpec)
        and isinstance(training, TrainingSpec)
        and facts.model is not None
        and facts.devices is not None
    ):
        return None
    if precision:
        model = model.model_copy(update={"precision": precision})
    lora = adapters.resolve_lora(lora)
    device = pick_device(facts.devices, model.device)
    if device is None:
        return None
    rows = _get_rows(state, dataset)
    outputs = training.count_head_outputs(rows.task, rows.labels)
    plan = MemoryPlan(
        inspected=with_adapter_size(facts.model, lora, outputs),
        model=model,
        lora=lora,
        training=training,
        rows=rows,
        limit=dataset.max_length,
        device=device,
        teacher=facts.model.teacher,
    )
    plan = spread_over_gpus(plan, facts.devices)
    return calibration.apply_correction(plan, calibration.load())


def get_fit_settings(state: ProjectState) -> FitSettings | None:
    """Return the training settings for any model; None if a value is invalid or no device is known."""
    model, lora, dataset, training = (
        state.get_spec("model"), state.get_spec("lora"), state.get_spec("dataset"), state.get_spec("training"),
    )  # fmt: skip
    target = get_device(state)
    if not (
        isinstance(model, ModelSpec)
        and isinstance(lora, LoraSpec)
        and isinstance(dataset, DatasetSpec)
        and isinstance(training, TrainingSpec)
        and target is not None
    ):
        return None
    rows, limit = _get_rows(state, dataset), dataset.max_length
    return FitSettings(model, lora, training, rows, limit, target)


def with_adapter_size(
    model: events.ModelInspected, lora: LoraSpec, head_outputs: int
) -> events.ModelInspected:
    """Return the model with the adapter's size: exact if the widths determine it, or else as the
    engine last counted it; with the head of a reward model or a classifier, if it has `head_outputs`."""
    adapter = adapter_size.count_parameters(model, lora)
    model = model if adapter is None else model.model_copy(update={"adapter": adapter})
    return adapter_size.with_head(model, head_outputs)


def get_adapter_size(state: ProjectState) -> events.ParametersCounted | None:
    """Return the size of the project's adapter; None if a value is invalid or no model is known."""
    model, lora, training = (
        state.facts.model, state.get_spec("lora"), state.get_spec("training"),
    )  # fmt: skip
    if model is None or not isinstance(lora, LoraSpec):
        return None
    if not isinstance(training, TrainingSpec):
        training = TrainingSpec()
    task = state.facts.dataset.task if state.facts.dataset else None
    labels = len(state.facts.plan.labels) if state.facts.plan else 0
    return with_adapter_size(model, lora, training.count_head_outputs(task, labels)).adapter


def get_device(state: ProjectState) -> events.Device | None:
    """Return the device that the project trains on, by default the first."""
    if (devices := state.facts.devices) is None:
        return None
    return pick_device(devices, str(state.get("model", "device"))) or pick_device(devices, "auto")


def _get_rows(state: ProjectState, dataset: DatasetSpec) -> RowStatistics:
    facts = state.facts
    if facts.plan is not None:
        return build_row_statistics(facts.plan, facts.lengths)
    task, longest = facts.dataset.task if facts.dataset else None, dataset.max_length
    if facts.lengths is None:
        return RowStatistics(heaviest={1: (longest,)}, longest=longest, task=task or "sft")
    return approximate_row_statistics(facts.lengths, task, dataset.max_length)
