"""Which models can answer in a chat, and how its next token is chosen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lora_studio.core import formatting
from lora_studio.core.lora.adapters import WeightedAdapter
from lora_studio.core.spec import Spec, setting
from lora_studio.core.tasks.samples import Message


class _Part(BaseModel):
    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")


class AdapterChatModel(_Part):
    """The session's base model with these adapters active, or the base model alone if there are
    none.
    """

    kind: Literal["base"] = "base"
    adapters: tuple[WeightedAdapter, ...] = ()


class FolderChatModel(_Part):
    """A complete model in a Hugging Face folder, such as a merged one."""

    kind: Literal["model"] = "model"
    folder: str


class GgufChatModel(_Part):
    """A GGUF file, run by llama.cpp; `tokenizer` is the folder that its chat template comes from,
    "" for the file itself.
    """

    kind: Literal["gguf"] = "gguf"
    file: str
    tokenizer: str = ""


class OllamaChatModel(_Part):
    """A model on an Ollama server; `host` "" is the default host."""

    kind: Literal["ollama"] = "ollama"
    name: str
    host: str = ""


#: What can answer in a chat: one closed union.
ChatModel = Annotated[
    AdapterChatModel | FolderChatModel | GgufChatModel | OllamaChatModel,
    Field(discriminator="kind"),
]
AnyChatModel = AdapterChatModel | FolderChatModel | GgufChatModel | OllamaChatModel


class Sampling(Spec):
    """How the next token is chosen, for every kind of model.

    The panel of the Playground and the options of `lora-studio chat` derive from these fields.
    """

    temperature: float = setting(
        0.7,
        "Temperature",
        "How random answers are. 0 always picks the most likely token.",
        ge=0.0,
        le=2.0,
        step=0.1,
    )
    top_p: float = setting(
        0.95,
        "Top-p",
        "Samples only from the most likely tokens whose probabilities add up to this. 1 turns it off.",
        gt=0.0,
        le=1.0,
        step=0.05,
    )
    top_k: int = setting(
        0,
        "Top-k",
        "Samples only from this many of the most likely tokens. 0 turns it off.",
        unit="tokens",
        ge=0,
        le=1000,
    )
    min_p: float = setting(
        0.0,
        "Min-p",
        "Samples only from tokens whose probability is at least this fraction of the highest one. "
        "0 turns it off.",
        ge=0.0,
        le=1.0,
        step=0.01,
    )
    repetition_penalty: float = setting(
        1.0,
        "Repetition penalty",
        "Makes tokens that already occurred less likely. 1 turns it off; 1.1 helps small models that "
        "repeat themselves.",
        ge=0.5,
        le=2.0,
        step=0.05,
    )
    max_tokens: int = setting(
        512,
        "Max. answer length",
        "Cuts off an answer after this many tokens.",
        unit="tokens",
        ge=1,
        le=65536,
    )
    seed: int = setting(
        0,
        "Seed",
        "Random seed: the same seed gives the same answer.",
        ge=0,
        le=2**31 - 1,
    )


#: The names of settings in Ollama, where they differ.
_OLLAMA_NAMES = {"max_tokens": "num_predict", "repetition_penalty": "repeat_penalty"}
#: Settings that every server with OpenAI's interface knows.
_OPENAI_SETTINGS = {"max_tokens", "temperature", "top_p", "seed"}


def to_ollama_options(sampling: Sampling) -> dict[str, Any]:
    """Return settings as the options of a request to Ollama."""
    return {_OLLAMA_NAMES.get(name, name): value for name, value in sampling.model_dump().items()}


def to_openai_options(sampling: Sampling) -> dict[str, Any]:
    """Return settings as fields of a request; those that only some servers know, if they aren't off."""
    fields = Sampling.model_fields
    return {
        name: value
        for name, value in sampling.model_dump().items()
        if name in _OPENAI_SETTINGS or value != fields[name].default
    }


class ChatQuestion(_Part):
    """One column's question: who answers which conversation, and how."""

    column: int = 0
    chat_model: ChatModel
    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()


def get_chat_model_key(chat_model: AnyChatModel) -> str:
    """Return a short, stable name for a chat model, by which votes are counted."""
    return _name_chat_model(chat_model, str, "{run}, {step}")


def format_chat_model_name(chat_model: AnyChatModel) -> str:
    """Return the display name of a chat model; runs are named by their start time."""
    return _name_chat_model(chat_model, formatting.format_run_name, "{run}, step {step}")


def _name_chat_model(chat_model: AnyChatModel, label: Callable[[str], str], checkpoint: str) -> str:
    """Return the name of a chat model; `label` names a run, `checkpoint` one of its checkpoints."""
    match chat_model:
        case AdapterChatModel(adapters=()):
            return "Base model"
        case AdapterChatModel():
            names = (
                _get_folder_label(each.folder, label, checkpoint) for each in chat_model.adapters
            )
            weights = (each.weight for each in chat_model.adapters)
            pairs = zip(names, weights, strict=True)
            return " + ".join(
                name if w == 1 else f"{name} × {formatting.format_float(w, 'g')}"
                for name, w in pairs
            )
        case FolderChatModel():
            return _get_folder_label(chat_model.folder, label, checkpoint)
        case GgufChatModel():
            return Path(chat_model.file).name
        case OllamaChatModel():
            return chat_model.name


def _get_folder_label(folder: str, label: Callable[[str], str], checkpoint: str) -> str:
    """Return the folder's name; for the adapter of a run or checkpoint, the name of that run or
    checkpoint."""
    path = Path(folder)
    if path.name in ("adapter", "merged"):
        path = path.parent
    if path.parent.name == "checkpoints":
        step = path.name if label is str else path.name.removeprefix("step-").lstrip("0")
        return checkpoint.format(run=label(path.parent.parent.name), step=step or "0")
    return label(path.name) or folder
