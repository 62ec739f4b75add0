"""What a parent may ask of a worker: one closed union, one parse function."""

from __future__ import annotations

import uuid
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from lora_studio.core.dataset import DatasetSpec, Message
from lora_studio.core.lora import LoraSpec
from lora_studio.core.model import ModelSpec

TextSource = Literal["base", "tuned", "merged", "gguf", "ollama"]


class _Command(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(default_factory=lambda: uuid.uuid4().hex[:12])


class Train(_Command):
    """Trains the adapter of a run; `resume` goes on from its last complete checkpoint."""

    kind: Literal["train"] = "train"
    run: str
    resume: bool = False


class Merge(_Command):
    """Merges the adapter of a run into its base model."""

    kind: Literal["merge"] = "merge"
    run: str


class Export(_Command):
    """Writes the GGUF files of a run, tests them and creates the Ollama model."""

    kind: Literal["export"] = "export"
    run: str


class Generate(_Command):
    """Answers conversations with one or more models of a run, greedily unless told otherwise."""

    kind: Literal["generate"] = "generate"
    run: str
    sources: tuple[TextSource, ...]
    conversations: tuple[tuple[Message, ...], ...]
    max_tokens: int = Field(128, ge=1, le=65536)
    temperature: float = Field(0.0, ge=0.0, le=2.0)
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    seed: int = 0


class InspectModel(_Command):
    """Facts of a model and the adapter size, without loading weights."""

    kind: Literal["inspect_model"] = "inspect_model"
    model: ModelSpec
    lora: LoraSpec = LoraSpec()


class InspectDataset(_Command):
    """Reads a dataset and shows its first rows; with a model also tokens and lengths."""

    kind: Literal["inspect_dataset"] = "inspect_dataset"
    dataset: DatasetSpec
    model: ModelSpec | None = None
    preview: int = Field(20, ge=0, le=1000)


class InspectDevices(_Command):
    """Lists the devices that a model can be placed on."""

    kind: Literal["inspect_devices"] = "inspect_devices"


class InspectOllama(_Command):
    """Asks an Ollama server for its version and models."""

    kind: Literal["inspect_ollama"] = "inspect_ollama"
    host: str = ""


class Cancel(_Command):
    """Ends the command `target` without a result; heeded within ten seconds or enforced."""

    kind: Literal["cancel"] = "cancel"
    target: str


class Stop(_Command):
    """Ends the training `target` after this step and keeps the adapter."""

    kind: Literal["stop"] = "stop"
    target: str


class Checkpoint(_Command):
    """Writes a checkpoint of the training `target` after this step."""

    kind: Literal["checkpoint"] = "checkpoint"
    target: str


class Shutdown(_Command):
    """Ends the worker when its current command has ended."""

    kind: Literal["shutdown"] = "shutdown"


Job = Train | Merge | Export | Generate
Question = InspectModel | InspectDataset | InspectDevices | InspectOllama
Control = Cancel | Stop | Checkpoint | Shutdown
Command = Annotated[Job | Question | Control, Field(discriminator="kind")]

_ADAPTER: TypeAdapter[Job | Question | Control] = TypeAdapter(Command)


def parse(line: str | bytes) -> Job | Question | Control:
    """The command in one JSON line; raises pydantic.ValidationError."""
    return _ADAPTER.validate_json(line)
