"""A base model with an adapter, and the default backend, which loads and attaches both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import peft
from peft.tuners.trainable_tokens import TrainableTokensLayer
from transformers import set_seed

from lora_studio.core.messages import text
from lora_studio.core.model.embedding_files import EmbeddingOutput
from lora_studio.core.project.project import Project
from lora_studio.engine.lora import attach, initialization
from lora_studio.engine.model import loading
from lora_studio.engine.model.loading import LoadedModel
from lora_studio.engine.runtime.channel import JobContext

# WORKAROUND: PEFT 0.21 reads this from each of its layers before it turns it off, and layers of new tokens lack it,
# because they don't cast their input.
TrainableTokensLayer.cast_input_dtype_enabled = False


@dataclass
class AdaptedModel:
    """A base model with an adapter to train; `base.model` is the model inside `model`.

    `initial_adapter` is the folder of the initial adapter, where that was subtracted from the base weights;
    `start` is that of the existing adapter that training starts from. `embedding` is set for training embeddings;
    `labels` are those of a classifier, in the order of its outputs.
    """

    base: LoadedModel
    model: peft.PeftModel
    initial_adapter: Path | None = None
    start: Path | None = None
    embedding: EmbeddingOutput | None = None
    labels: tuple[str, ...] = ()


#: Loads the base model of a project and attaches an adapter, as `prepare_with_peft` does.
Backend = Callable[[Project, JobContext, Path, Path | None], AdaptedModel]


def prepare_with_peft(
    project: Project, job: JobContext, scratch: Path, initial_adapter: Path | None = None
) -> AdaptedModel:
    """Load the base model of a project with transformers, and attach an adapter with PEFT.

    For every device and precision; the project's seed determines initial values. Emits ModelLoaded, and Warned
    where needed. `scratch` is a folder for files that are needed until the training ends. `initial_adapter` is the
    folder that keeps PiSSA's initial adapter, for a training that resumes; without it, that is computed exactly
    each time, as earlier versions did.
    """
    loaded = loading.load(
        project.model, job, project.dataset, training=True, new_tokens=project.lora.new_tokens
    )
    job.show_stage(text("attaching the adapter"))
    set_seed(project.training.seed)
    kept = initial_adapter if project.lora.init == "pissa" and project.lora.changes_base else None
    is_kept = kept is not None and kept.is_dir()
    wrapped = attach.attach_adapter(
        loaded.model,
        project.lora.model_copy(update={"init": "default"}) if is_kept else project.lora,
        job,
        gradient_checkpointing=project.training.gradient_checkpointing != "off",
        iterative=kept is not None,
        token_ids=tuple(loaded.new_tokens),
    )
    if project.lora.init == "loftq" and project.lora.changes_base:
        initialization.initialize_loftq(wrapped, loaded.folder, job)
    initial = kept or scratch / "initial-adapter" if project.lora.changes_base else None
    if kept is not None and is_kept:
        initialization.subtract_from_base(wrapped, kept)
    elif initial is not None:
        initialization.save_initial_adapter(wrapped, initial)
    start = Path(project.lora.start_from) if project.lora.start_from else None
    return AdaptedModel(loaded, wrapped, initial, start)
