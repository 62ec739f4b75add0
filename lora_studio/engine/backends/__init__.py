"""Ways to load a base model and wrap it with LoRA, one Protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import peft

from lora_studio.core.project import Project
from lora_studio.engine.channel import Job
from lora_studio.engine.model import Loaded


@dataclass
class Tuned:
    """A base model wrapped with an adapter that trains; `base.model` is the wrapped model's own."""

    base: Loaded
    model: peft.PeftModel


class Backend(Protocol):
    """Loads the base model of a project and wraps it; both emit what they found."""

    def prepare(self, project: Project, job: Job) -> Tuned:
        """Emits ModelLoaded, Warned where a layer is left out, and ParametersCounted."""
        ...
