"""The interface of a backend, which loads a base model and attaches an adapter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import peft

from lora_studio.core.model.embedding_files import EmbeddingOutput
from lora_studio.core.project.project import Project
from lora_studio.engine.model.loading import LoadedModel
from lora_studio.engine.runtime.channel import JobContext


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


class Backend(Protocol):
    """Load the base model of a project and attach an adapter."""

    def prepare(
        self, project: Project, job: JobContext, scratch: Path, initial_adapter: Path | None = None
    ) -> AdaptedModel:
        """Return the adapted model; emits ModelLoaded, and Warned where needed.

        `scratch` is a folder for files that are needed until the training ends. `initial_adapter` is the folder
        that keeps PiSSA's initial adapter, for a training that resumes; without it, that is computed exactly
        each time, as earlier versions did.
        """
        ...
