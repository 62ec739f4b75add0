"""Models and adapters to chat with, from runs, folders and servers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from lora_studio.core.chat import (
    AdapterChatModel,
    AnyChatModel,
    FolderChatModel,
    GgufChatModel,
    OllamaChatModel,
)
from lora_studio.core.evaluation.columns import Column
from lora_studio.core.export import suggest_ollama_name
from lora_studio.core.lora.adapters import WeightedAdapter, writes_text
from lora_studio.core.messages import Text, text
from lora_studio.core.protocol import events
from lora_studio.core.runs import names as run_names
from lora_studio.core.runs.folder import PROJECTOR_PREFIX, RunFolder
from lora_studio.core.system.offline import is_local_address

_CONFIG = "adapter_config.json"


class ChatModelGroup(Enum):
    """The source of a chat model; a menu lists the groups in this order."""

    BASE = "base"
    LIBRARY = "library"
    RUN = "run"
    OLLAMA = "ollama"


@dataclass(frozen=True)
class ChatModelOption:
    """A chat model to choose, with its title within its group; `run` names the run in the group `RUN`."""

    group: ChatModelGroup
    title: Text | str
    chat_model: AnyChatModel
    run: str = ""


def create_adapter_chat_model(folder: Path | str, weight: float = 1.0) -> AdapterChatModel:
    """Return the chat model for one adapter on the base model."""
    return AdapterChatModel(adapters=(WeightedAdapter(folder=str(folder), weight=weight),))


def list_run_chat_models(run: RunFolder) -> list[ChatModelOption]:
    """Return a run's adapter, checkpoints (latest first), merged model and GGUF files.

    Returns [] for a run whose adapter can't write text.
    """
    name = run_names.read_run_name(run)
    options: list[tuple[Text | str, AnyChatModel]] = []
    if run.has_adapter:
        if not writes_text(run.adapter):
            return []
        options.append((text("Adapter"), create_adapter_chat_model(run.adapter)))
    for step in reversed(run.list_checkpoint_steps()):
        checkpoint = run.checkpoint(step)
        if writes_text(checkpoint):
            title = text("Checkpoint, step {step}", step=step)
            options.append((title, create_adapter_chat_model(checkpoint)))
    if (run.merged / "config.json").is_file():
        options.append((text("Merged model"), FolderChatModel(folder=str(run.merged))))
    options += [(file.name, create_gguf_chat_model(run, file)) for file in list_gguf_files(run)]
    return [
        ChatModelOption(ChatModelGroup.RUN, title, chat_model, name)
        for title, chat_model in options
    ]


def list_gguf_files(run: RunFolder) -> list[Path]:
    """Return the GGUF files of a run that hold a complete model."""
    if not run.gguf.is_dir():
        return []
    return sorted(
        file
        for file in run.gguf.glob("*.gguf")
        if not (file.stem.endswith("-adapter") or file.name.startswith(PROJECTOR_PREFIX))
    )


def create_gguf_chat_model(run: RunFolder, file: Path) -> GgufChatModel:
    """Return the chat model for a run's GGUF file, with the chat template used in training."""
    folders = (run.merged, run.adapter)
    tokenizer = next((each for each in folders if (each / "tokenizer_config.json").is_file()), "")
    return GgufChatModel(file=str(file), tokenizer=str(tokenizer))


def create_ollama_chat_model(created: events.OllamaCreated, host: str) -> OllamaChatModel:
    """Return the chat model for a model that a run has created in Ollama, on this computer or else on `host`.

    The record of a run may come from somebody else, whose host must not get the next question.
    """
    return OllamaChatModel(
        name=created.name, host=created.host if is_local_address(created.host) else host
    )


def list_run_columns(run: RunFolder) -> list[Column]:
    """Return everything of a run to evaluate: base, adapter, merged model, GGUF files, Ollama model.

    The base model is left out of a run that has no adapter. Raises ProblemError.
    """
    project = run.load_project()
    columns = []
    if run.has_adapter:
        columns.append(Column(key="base", model=AdapterChatModel()))
        columns.append(Column(key="adapter", model=create_adapter_chat_model(run.adapter)))
    if run.has_merged:
        columns.append(Column(key="merged", model=FolderChatModel(folder=str(run.merged))))
    for file in list_gguf_files(run):
        key = file.stem.rpartition("-")[2]
        columns.append(Column(key=key, model=create_gguf_chat_model(run, file)))
    if isinstance(run.read_manifest().get("in_ollama"), dict):
        name = project.export.ollama_name or suggest_ollama_name(project.name)
        model = OllamaChatModel(name=name, host=project.export.ollama_host)
        columns.append(Column(key="ollama", model=model))
    return columns


def iter_library_chat_models(folders: Iterable[str]) -> Iterator[ChatModelOption]:
    """Yield the adapters in the folders of the adapter library."""
    for folder in folders:
        path = Path(folder)
        if (path / _CONFIG).is_file():
            yield ChatModelOption(
                ChatModelGroup.LIBRARY, path.name, create_adapter_chat_model(path)
            )


def list_ollama_chat_models(names: Iterable[str], host: str) -> list[ChatModelOption]:
    """Return the models of an Ollama server."""
    return [
        ChatModelOption(ChatModelGroup.OLLAMA, name, OllamaChatModel(name=name, host=host))
        for name in names
    ]
