"""Create what runs a column, by the kind of its model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lora_studio.core.chat import AdapterSpeaker, GgufSpeaker, ModelSpeaker, OllamaSpeaker
from lora_studio.core.evaluation.columns import AnyColumnModel, ServerModel
from lora_studio.core.project.project import Project
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.devices import lock
from lora_studio.engine.evaluation.gguf_runner import create_gguf_runner
from lora_studio.engine.evaluation.runners import ColumnRunner
from lora_studio.engine.evaluation.server_runner import (
    create_ollama_runner,
    create_server_runner,
)
from lora_studio.engine.evaluation.torch_runner import (
    TorchModels,
    create_adapter_runner,
    create_model_runner,
)
from lora_studio.engine.runtime.channel import JobContext


@dataclass
class RunnerFactory:
    """Creates runners for the models of an evaluation; `models` holds the one in memory."""

    run: RunFolder
    project: Project
    models: TorchModels
    job: JobContext

    @contextmanager
    def open(self, model: AnyColumnModel) -> Iterator[ColumnRunner]:
        """Yield the runner of a model, with the training device held while one in torch runs.

        Raises ProblemError.
        """
        if isinstance(model, AdapterSpeaker | ModelSpeaker):
            with lock.hold_devices(self.project.model, self.run, "evaluation", self.job):
                yield self._create(model)
            return
        self.models.release()
        runner = self._create(model)
        try:
            yield runner
        finally:
            runner.close()

    def _create(self, model: AnyColumnModel) -> ColumnRunner:
        match model:
            case AdapterSpeaker():
                return create_adapter_runner(self.models, self.run, self.project, model)
            case ModelSpeaker():
                return create_model_runner(self.models, self.project, model)
            case GgufSpeaker():
                return create_gguf_runner(self.project, model, self.job)
            case OllamaSpeaker():
                return create_ollama_runner(model, self.job)
            case ServerModel():
                return create_server_runner(model, self.job)
