"""Commands and events of the playground: chats, prompts and generated answers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from lora_studio.core.chat import ChatModel, ChatQuestion
from lora_studio.core.lora.adapters import (
    AdapterMix,
)
from lora_studio.core.messages import NO_TEXT, Text, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Problem
from lora_studio.core.protocol.base import BaseCommand, BaseEvent
from lora_studio.core.protocol.dataset import Token
from lora_studio.core.tasks.samples import Message

TextSource = Literal["base", "tuned", "merged", "gguf", "ollama"]


class OpenChat(BaseCommand):
    """Start or continue a chat: load these models and keep them in memory.

    `model` is the base model of the adapters; `chat_template` is the setting of the dataset.
    """

    title = text("Loading the chat models")
    kind: Literal["open_chat"] = "open_chat"
    model: ModelSpec
    chat_template: str = "model"
    chat_models: tuple[ChatModel, ...] = ()


class AskChat(BaseCommand):
    """Answer one question in every column at once; load missing models first.

    `run` is the run that names `model` and the host of Ollama, "" if the open project or the user does.
    """

    title = text("Generating answers")
    kind: Literal["ask_chat"] = "ask_chat"
    run: str = ""
    model: ModelSpec
    chat_template: str = "model"
    asked: tuple[ChatQuestion, ...] = Field(min_length=1)


class ShowPrompt(BaseCommand):
    """Show the exact tokens that a chat model receives for a conversation."""

    title = text("Tokenizing the prompt")
    kind: Literal["show_prompt"] = "show_prompt"
    model: ModelSpec
    chat_template: str = "model"
    chat_model: ChatModel
    messages: tuple[Message, ...]


class Generate(BaseCommand):
    """Answer conversations with one or more models of a run, greedily by default.

    `mixes` are adapters from anywhere on the run's base model, which is loaded once for all of them.
    """

    title = text("Generating answers")
    kind: Literal["generate"] = "generate"
    run: str
    sources: tuple[TextSource, ...]
    mixes: tuple[AdapterMix, ...] = ()
    conversations: tuple[tuple[Message, ...], ...]
    max_tokens: int = Field(128, ge=1, le=65536)
    temperature: float = Field(0.0, ge=0.0, le=2.0)
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    seed: int = 0


class ChatReady(BaseEvent):
    """The models of a chat are loaded; `devices` are in use, `memory_bytes` is the size of the
    weights.
    """

    kind: Literal["chat_ready"] = "chat_ready"
    devices: tuple[str, ...] = ()
    memory_bytes: int = 0


class AnswerGrew(BaseEvent):
    """An answer has grown: from character `start` on, its text is now `text`."""

    kind: Literal["answer_grew"] = "answer_grew"
    column: int
    start: int
    text: str
    tokens: int


class Answered(BaseEvent):
    """An answer is complete. `ending`: by its end token, by the token limit, or by the user.

    `seconds` is the time for this answer alone, `first_s` the time to its first token.
    """

    kind: Literal["answered"] = "answered"
    column: int
    text: str
    tokens: int
    prompt_tokens: int = 0
    first_s: float = 0.0
    seconds: float = 0.0
    ending: Literal["end", "length", "stopped"] = "end"

    @property
    def tokens_per_s(self) -> float | None:
        """Speed after the first token; None if the answer is too short to tell."""
        seconds = self.seconds - self.first_s
        return (self.tokens - 1) / seconds if self.tokens > 1 and seconds > 0 else None


class AnswerRefused(BaseEvent):
    """One column can't answer; the others continue."""

    kind: Literal["answer_refused"] = "answer_refused"
    column: int
    problem: Problem


class PromptShown(BaseEvent):
    """The prompt of a chat model: `tokens` in order; their joined texts are `text`.

    `note` says why the tokens are missing, as for servers that don't return them.
    """

    kind: Literal["prompt_shown"] = "prompt_shown"
    text: str
    tokens: tuple[Token, ...] = ()
    note: Text = NO_TEXT


class Generated(BaseEvent):
    """An answer of one model to the conversation with this index; `mix` names its adapters, if the
    command did.
    """

    kind: Literal["generated"] = "generated"
    source: TextSource
    mix: str = ""
    index: int
    text: str
    tokens: int
    finished: bool


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
