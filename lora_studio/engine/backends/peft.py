"""The backend that works everywhere: transformers loads, PEFT wraps."""

from __future__ import annotations

from pathlib import Path

from transformers import set_seed

from lora_studio.core.project.project import Project
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.lora import attach, initialization
from lora_studio.engine.model import loading
from lora_studio.engine.runtime.channel import JobContext


class PeftBackend:
    """Every device and precision; the adapter's initial values follow from the project's seed."""

    def prepare(self, project: Project, job: JobContext, scratch: Path) -> AdaptedModel:
        """Emits ModelLoaded, Warned where a layer is left out, and ParametersCounted."""
        loaded = loading.load(project.model, job, project.dataset, training=True)
        set_seed(project.training.seed)
        wrapped = attach.attach(
            loaded.model,
            project.lora,
            job,
            gradient_checkpointing=project.training.gradient_checkpointing != "off",
        )
        job.emit(attach.count(wrapped))
        if project.lora.init == "loftq" and project.lora.changes_base:
            initialization.make_up_for_rounding(wrapped, loaded.folder, job)
        began = initialization.keep(wrapped, scratch) if project.lora.changes_base else None
        start = Path(project.lora.start_from) if project.lora.start_from else None
        return AdaptedModel(loaded, wrapped, began, start)
