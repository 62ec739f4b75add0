"""Commands and events of serving: llama-server runs until it is stopped."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from lora_studio.core.messages import text
from lora_studio.core.protocol.base import BaseCommand, BaseEvent


class ServedRun(BaseModel):
    """A run whose adapter is served, and how strongly it applies unless a request says otherwise."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    run: str
    scale: float = Field(1.0, allow_inf_nan=False)


class Serve(BaseCommand):
    """Serve runs at an OpenAI-compatible address on this computer until stopped.

    llama-server runs `file`, a GGUF file of the first run with its merged model, or without one the base
    model with the adapters of all runs. `port` 0 is a free one; `llama_cpp` is the user's own folder.
    """

    title = text("Serving the model")
    step = "export"
    ends_with_parent = True
    kind: Literal["serve"] = "serve"
    runs: tuple[ServedRun, ...] = Field(min_length=1)
    file: str = ""
    port: int = Field(0, ge=0, le=65535)
    llama_cpp: str = ""

    def list_runs(self) -> list[str]:
        """Return the runs whose adapters are served."""
        return [each.run for each in self.runs]


class ServedAdapter(BaseModel):
    """An adapter on the server; `id` is its number in requests, `scale` its default there.

    `name` is the run's title, or the name of its folder.
    """

    model_config = ConfigDict(
        defer_build=True, frozen=True, extra="forbid", ser_json_inf_nan="strings"
    )

    id: int
    name: str
    scale: float


class ServerReady(BaseEvent):
    """llama-server answers at `address`; requests name the model `model`.

    `file` is the GGUF file that it runs, `program` is llama-server itself. `key` is sent with each request, as to
    OpenAI. `embeds`: the model turns texts into vectors and doesn't chat.
    """

    kind: Literal["server_ready"] = "server_ready"
    address: str
    model: str
    file: str
    program: str
    key: str = ""
    adapters: tuple[ServedAdapter, ...] = ()
    embeds: bool = False


class ServerLogged(BaseEvent):
    """Lines that llama-server printed."""

    kind: Literal["server_logged"] = "server_logged"
    lines: tuple[str, ...]
