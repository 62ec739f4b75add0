"""The default backend: transformers loads the model, PEFT attaches the adapter."""

from __future__ import annotations

from pathlib import Path

from peft.tuners.trainable_tokens import TrainableTokensLayer
from transformers import set_seed

from lora_studio.core.messages import text
from lora_studio.core.project.project import Project
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.lora import attach, initialization
from lora_studio.engine.model import loading
from lora_studio.engine.runtime.channel import JobContext

# WORKAROUND: PEFT 0.21 reads this from each of its layers before it turns it off, and layers of new tokens lack it,
# because they don't cast their input.
TrainableTokensLayer.cast_input_dtype_enabled = False


class PeftBackend:
    """Supports every device and precision; the project's seed determines initial values."""

    def prepare(
        self, project: Project, job: JobContext, scratch: Path, initial_adapter: Path | None = None
    ) -> AdaptedModel:
        """Return the adapted model; emits ModelLoaded, and Warned where needed."""
        loaded = loading.load(
            project.model, job, project.dataset, training=True, new_tokens=project.lora.new_tokens
        )
        job.show_stage(text("attaching the adapter"))
        set_seed(project.training.seed)
        kept = (
            initial_adapter if project.lora.init == "pissa" and project.lora.changes_base else None
        )
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
