"""The models that an evaluation compares, side by side: one column each."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from lora_studio.core.chat import (
    AdapterChatModel,
    FolderChatModel,
    GgufChatModel,
    OllamaChatModel,
    format_chat_model_name,
)
from lora_studio.core.messages import Text, text


class ServerModel(BaseModel):
    """A model on a server with OpenAI's interface; `address` is its base URL, up to `/v1`.

    The key is never stored: `key_variable` names the environment variable that has it, "" for none.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    kind: Literal["server"] = "server"
    address: str = Field(min_length=1)
    name: str = Field(min_length=1)
    key_variable: str = ""

    @field_validator("address")
    @classmethod
    def _check_address(cls, address: str) -> str:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an address begins with http:// or https://")
        if parts.username or parts.password:
            raise ValueError("an address has no password in it")
        return address.rstrip("/")


#: Every kind of model that can answer: those of the Playground, and any OpenAI-compatible server.
AnyColumnModel = AdapterChatModel | FolderChatModel | GgufChatModel | OllamaChatModel | ServerModel
ColumnModel = Annotated[AnyColumnModel, Field(discriminator="kind")]


class Column(BaseModel):
    """A model of an evaluation. `key` is unique in it and names the column in files and options.

    Typical keys are "base", "adapter", "merged", a quantization such as "Q4_K_M", and "ollama".
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    key: str = Field(min_length=1)
    title: str = ""
    model: ColumnModel

    @property
    def label(self) -> Text:
        """The title, or what the model is in its run: base, adapter, merged, or a quantization."""
        if self.title:
            return Text(template=self.title)
        match self.model:
            case AdapterChatModel(adapters=()):
                return text("Base model")
            case AdapterChatModel() if self.key == "adapter":
                return text("Adapter")
            case FolderChatModel() if self.key == "merged":
                return text("Merged model")
            case OllamaChatModel(name=name):
                return text("Ollama: {name}", name=name)
            case ServerModel(name=name):
                return Text(template=name)
        return Text(template=self.key)

    @property
    def name(self) -> str:
        """The label in English."""
        return str(self.label)

    @property
    def is_base(self) -> bool:
        """Whether this is the base model alone, to which the others are compared."""
        return isinstance(self.model, AdapterChatModel) and not self.model.adapters

    @property
    def can_measure_logprobs(self) -> bool:
        """Whether log-likelihoods can be computed: not for models on servers."""
        return not isinstance(self.model, OllamaChatModel | ServerModel)


def format_model_name(model: AnyColumnModel) -> str:
    """Return the display name of a model."""
    return model.name if isinstance(model, ServerModel) else format_chat_model_name(model)
