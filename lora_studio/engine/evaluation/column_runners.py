"""Create what runs a column, by the kind of its model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
    TorchRunner,
    create_adapter_runner,
    create_model_runner,
)
from lora_studio.engine.runtime.channel import JobContext


@dataclass
class RunnerFactory:
    """Creates runners for the models of an evaluation; `models` holds the one in memory.

    The training device is held as long as a model may be on it, so that no other job waits beside a model, and
    no model waits for another job. A model that was loaded on the CPU gives it back.
    """

    run: RunFolder
    project: Project
    models: TorchModels
    job: JobContext
    _held: ExitStack | None = None

    def __post_init__(self) -> None:
        """Have the models report that they need no training device."""
        self.models.on_cpu = self._release_device

    @contextmanager
    def open(self, model: AnyColumnModel) -> Iterator[ColumnRunner]:
        """Yield the runner of a model, with the training device held for one in torch.

        Raises ProblemError.
        """
        if not isinstance(model, AdapterSpeaker | ModelSpeaker):
            self.release()
        runner = self._create(model)
        if isinstance(runner, TorchRunner):
            if not self.models.has_on_cpu(runner.spec):
                self._hold_device()
            yield runner
            return
        try:
            yield runner
        finally:
            runner.close()

    def release(self) -> None:
        """Free the memory of the model in torch, and then the training device."""
        try:
            self.models.release()
        finally:
            self._release_device()

    def _hold_device(self) -> None:
        if self._held is None:
            held = ExitStack()
            held.enter_context(
                lock.hold_devices(self.project.model, self.run, "evaluation", self.job)
            )
            self._held = held

    def _release_device(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

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
