"""Ways to load a base model and wrap it with LoRA, one Protocol."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import peft

from lora_studio.core.project.project import Project
from lora_studio.engine.model.loading import LoadedModel
from lora_studio.engine.runtime.channel import JobContext


@dataclass
class AdaptedModel:
    """A base model wrapped with an adapter that trains; `base.model` is the wrapped model's own.

    `initial_adapter` is the folder of the adapter as it began, where that changed the base weights;
    `start` that of an adapter made earlier, where training goes on from one.
    """

    base: LoadedModel
    model: peft.PeftModel
    initial_adapter: Path | None = None
    start: Path | None = None


def make(name: str) -> Backend:
    """The backend "peft", or "unsloth", which has to have been imported before transformers."""
    if name == "unsloth":
        from lora_studio.engine.backends.unsloth import UnslothBackend

        return UnslothBackend()
    from lora_studio.engine.backends.peft import PeftBackend

    return PeftBackend()


class Backend(Protocol):
    """Loads the base model of a project and wraps it; both emit what they found."""

    def prepare(self, project: Project, job: JobContext, scratch: Path) -> AdaptedModel:
        """Emits ModelLoaded, Warned where a layer is left out, and ParametersCounted.

        `scratch` is a folder for what has to be remembered until the end of the training.
        """
        ...
