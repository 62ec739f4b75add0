"""What will run, from what is known before: rows, validation rows, steps, the backend."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lora_studio.core import formatting
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.training import combinations
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.gui.language import tr, tr_n
from lora_studio.gui.message_translation import tell
from lora_studio.gui.project import data_sources
from lora_studio.gui.project.state import ProjectState


@dataclass(frozen=True)
class SplitPreview:
    """Rows of one epoch to train on and rows to validate on; `separate`: those from a file."""

    train: int
    validation: int
    separate: bool = False

    def in_words(self) -> str:
        """Both numbers."""
        if self.separate:
            return tr("{train} to train on, validation from a file").format(
                train=formatting.number(self.train)
            )
        return tr("{train} to train on, {validation} to validate on").format(
            train=formatting.number(self.train), validation=formatting.number(self.validation)
        )


def split(state: ProjectState) -> SplitPreview | None:
    """How the rows are divided, None while nothing is known of the dataset."""
    data = state.facts.dataset
    share, count = (state.get("dataset", name) for name in ("validation_share", "validation_count"))
    if data is None or not isinstance(share, int | float) or not isinstance(count, int):
        return None
    used = data.rows_used
    separate = bool(state.get("dataset", "validation_file"))
    held = 0 if separate else min(used, count) if count > 0 else round(float(share) * used)
    per_epoch = data_sources.rows_per_epoch(
        data_sources.plain(state.get("dataset", "sources")), [item.used for item in data.sources]
    )
    kept = per_epoch * (used - held) / used if used else 0.0
    return SplitPreview(train=round(kept), validation=held, separate=separate)


def steps_in_words(training: TrainingSpec, rows: int | None) -> str:
    """Effective batch and number of optimizer steps; `rows` is the number to train on."""
    batch = training.effective_batch
    said = tr("Effective batch: {batch} per step.").format(batch=tr_n("{n} row", "{n} rows", batch))
    if not rows:
        return f"{said} {tr('The number of steps appears once the dataset is read.')}"
    total, limited = steps(training, rows)
    about = (
        tr("About {steps}, ended by the step limit, {per_epoch} per epoch.")
        if limited
        else tr("About {steps}, {per_epoch} per epoch.")
    )
    per_epoch = formatting.number(math.ceil(rows / batch))
    return f"{said} {about.format(steps=tr_n('{n} step', '{n} steps', total), per_epoch=per_epoch)}"


def steps(training: TrainingSpec, rows: int) -> tuple[int, bool]:
    """Optimizer steps of a whole training, and whether the step limit ends it."""
    wanted = math.ceil(rows / training.effective_batch * training.epochs)
    limited = 0 < training.max_steps < wanted
    return (training.max_steps if limited else wanted), limited


def backend(state: ProjectState) -> str:
    """What will load and wrap the model, and why; only the worker knows whether it does so."""
    model, lora, training = (state.spec(step) for step in ("model", "lora", "training"))
    if not isinstance(training, TrainingSpec):
        return ""
    if training.backend != "auto":
        return state.about("training", "backend").choices[training.backend]
    found = state.facts.devices
    if found is None or not (isinstance(model, ModelSpec) and isinstance(lora, LoraSpec)):
        return tr("chosen when training starts")
    if not found.has_unsloth:
        return tr("PEFT, because Unsloth is not installed")
    if reason := combinations.against_unsloth(model, lora, training):
        return tr("PEFT, because {reason}").format(reason=tell(reason))
    meant = found.devices[0].name if model.device == "auto" else model.device
    if not meant.startswith("cuda"):
        return tr("PEFT, because Unsloth is faster on a GPU only")
    return tr("Unsloth where it has fast layers for the model, else PEFT")
