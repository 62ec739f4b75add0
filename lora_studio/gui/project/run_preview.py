"""A preview of the training run: rows, validation rows, steps and backend."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lora_studio.core import formatting
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.training import combinations
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import localize
from lora_studio.gui.project import data_sources
from lora_studio.gui.project.state import ProjectState


@dataclass(frozen=True)
class SplitPreview:
    """Training rows per epoch and validation rows; `separate` if the latter come from a file."""

    train: int
    validation: int
    separate: bool = False

    def describe(self) -> str:
        """Return both numbers as a translated phrase."""
        if self.separate:
            return tr("{train} training rows, validation from a file").format(
                train=formatting.format_number(self.train)
            )
        return tr("{train} training rows, {validation} validation rows").format(
            train=formatting.format_number(self.train),
            validation=formatting.format_number(self.validation),
        )


def split(state: ProjectState) -> SplitPreview | None:
    """Return how the rows are split, None while the dataset is unknown."""
    data = state.facts.dataset
    share, count = (state.get("dataset", name) for name in ("validation_share", "validation_count"))
    if data is None or not isinstance(share, int | float) or not isinstance(count, int):
        return None
    used = data.rows_used
    separate = bool(state.get("dataset", "validation_file"))
    validation = 0 if separate else min(used, count) if count > 0 else round(float(share) * used)
    per_epoch = data_sources.count_rows_per_epoch(
        data_sources.to_plain(state.get("dataset", "sources")), [item.used for item in data.sources]
    )
    train = per_epoch * (used - validation) / used if used else 0.0
    return SplitPreview(train=round(train), validation=validation, separate=separate)


def describe_steps(training: TrainingSpec, rows: int | None) -> str:
    """Return effective batch size and number of optimizer steps for `rows` training rows, as text."""
    batch = training.effective_batch
    size = tr_n("Effective batch size: {n} row.", "Effective batch size: {n} rows.", batch)
    if not rows:
        return f"{size} {tr('The number of steps appears once the dataset is read.')}"
    total, limited = count_steps(training, rows)
    per_epoch = formatting.format_number(math.ceil(rows / batch))
    if limited:
        number = tr_n(
            "About {n} step (step limit), {per_epoch} per epoch.",
            "About {n} steps (step limit), {per_epoch} per epoch.",
            total,
            per_epoch=per_epoch,
        )
    else:
        number = tr_n(
            "About {n} step, {per_epoch} per epoch.",
            "About {n} steps, {per_epoch} per epoch.",
            total,
            per_epoch=per_epoch,
        )
    return f"{size} {number}"


def count_steps(training: TrainingSpec, rows: int) -> tuple[int, bool]:
    """Return the optimizer steps of the training, and whether the step limit ends it."""
    steps = math.ceil(rows / training.effective_batch * training.epochs)
    limited = 0 < training.max_steps < steps
    return (training.max_steps if limited else steps), limited


def describe_backend(state: ProjectState) -> str:
    """Return the backend that will probably load the model, and why; the worker decides."""
    model, lora, training = (state.get_spec(step) for step in ("model", "lora", "training"))
    if not isinstance(training, TrainingSpec):
        return ""
    if training.backend != "auto":
        return state.get_facts("training", "backend").choices[training.backend]
    devices = state.facts.devices
    if devices is None or not (isinstance(model, ModelSpec) and isinstance(lora, LoraSpec)):
        return tr("Chosen when training starts")
    if not devices.has_unsloth:
        return tr("PEFT (Unsloth isn't installed)")
    if reason := combinations.explain_unsloth_conflict(model, lora, training):
        return tr("PEFT. {reason}").format(reason=localize(reason))
    device = devices.devices[0].name if model.device == "auto" else model.device
    if not device.startswith("cuda"):
        return tr("PEFT (Unsloth needs a GPU to be faster)")
    return tr("Unsloth if it supports the model, otherwise PEFT")
