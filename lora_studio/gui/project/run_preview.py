"""A preview of the training run: rows, validation rows, steps and backend."""

from __future__ import annotations

from dataclasses import dataclass

from lora_studio.core import formatting
from lora_studio.core.dataset.spec import Task
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


def describe_negatives(training: TrainingSpec, task: Task | None) -> str:
    """Return what each query is compared with, "" for data of another task than embeddings."""
    if task != "embedding":
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
