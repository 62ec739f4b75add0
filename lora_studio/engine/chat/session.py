"""A chat in columns: models stay loaded, adapters share a base model, answers are streamed
together.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedTokenizerBase

from lora_studio.core.chat import (
    AdapterChatModel,
    AnyChatModel,
    ChatQuestion,
    FolderChatModel,
    GgufChatModel,
    OllamaChatModel,
)
from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.lora.adapters import AdapterMix
from lora_studio.core.messages import text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Where, fail
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import checksums
from lora_studio.core.system.files import get_file_state, get_folder_state
from lora_studio.core.system.locks import DeviceIdentity, LockHolder
from lora_studio.core.tasks.samples import Message
from lora_studio.engine.chat import prompts, turn_scheduler
from lora_studio.engine.chat.adapters import AdapterSwitch, require_fit
from lora_studio.engine.chat.streams import (
    AnswerStream,
    OllamaStream,
    TokenStream,
    TorchTokens,
)
from lora_studio.engine.chat.turn_scheduler import ColumnAnswer
from lora_studio.engine.devices import lock as device_lock
from lora_studio.engine.generation import turn_boundaries
from lora_studio.engine.lora.adapter_weights import add_adapter_tokens
from lora_studio.engine.model import loading, sources
from lora_studio.engine.model.loading import load_for_inference, release_gpu
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import CancelledError, is_out_of_memory
from lora_studio.engine.runtime.llama_cpp import Llama
from lora_studio.engine.runtime.llama_trial import require_computable

#: Context of a GGUF file at first, in tokens; a longer conversation gets a larger one.
_CONTEXT = 4096


@dataclass
class _InTorch:
    """A model in torch, and the adapters loaded into it so far."""

    loaded: loading.LoadedModel
    switch: AdapterSwitch
    end: turn_boundaries.TurnEndCriteria

    def get_tokenizer(self, chat_model: AnyChatModel) -> PreTrainedTokenizerBase:
        """Return the tokenizer of a chat model: the model's, with the new tokens of its adapters."""
        return self.switch.get_tokenizer(self.loaded.tokenizer, _mix(chat_model))

    def close(self) -> None:
        """Do nothing: Python frees its memory."""

    @property
    def bytes(self) -> int:
        return int(self.loaded.model.get_memory_footprint())


@dataclass
class _InLlama:
    """A GGUF file, and the tokenizer that renders its prompts."""

    llama: Llama
    tokenizer: PreTrainedTokenizerBase
    end: turn_boundaries.TurnEndCriteria
    size: int

    def close(self) -> None:
        """Free memory that Python doesn't manage."""
        self.llama.close()

    @property
    def bytes(self) -> int:
        return self.size


class Session:
    """The models that a chat has loaded so far, the most recently used last."""

    def __init__(self) -> None:
        """Start without a model."""
        self._held: dict[tuple[Any, ...], _InTorch | _InLlama] = {}
        self._columns: tuple[AnyChatModel, ...] = ()  # of the last `OpenChat`
        self._job: JobContext | None = None

    def run_command(
        self, command: commands.OpenChat | commands.AskChat | commands.ShowPrompt, job: JobContext
    ) -> None:
        """Run one command of a chat; raises ProblemError."""
        self._job = job
        base = _Base(command.model, command.chat_template)
        match command:
            case commands.OpenChat():
                with _hold_device(base, command.chat_models):
                    self._columns = command.chat_models
                    self._drop_unused(base, ())
                    for chat_model in command.chat_models:
                        self._open(base, chat_model, job)
                self._emit_ready(job)
            case commands.AskChat():
                chat_models = [question.chat_model for question in command.asked]
                with _hold_device(base, chat_models):
                    self._drop_unused(base, chat_models)
                    self._answer(base, command.asked, job)
            case commands.ShowPrompt():
                job.emit(self._render_prompt(base, command.chat_model, command.messages, job))

    def close(self) -> None:
        """Free all memory."""
        self._drop_but([])

    # --- answers ------------------------------------------------------------------------------

    def _answer(self, base: _Base, questions: Sequence[ChatQuestion], job: JobContext) -> None:
        """Answer all questions in turns; what is unfinished when the chat is canceled is sent as it is."""
        answers: dict[int, ColumnAnswer] = {}

        def start_stream(question: ChatQuestion) -> None:
            stream = self._stream(base, question, job)
            answers[question.column] = ColumnAnswer(question.column, stream)

        def run(column: int, action: Callable[[], None]) -> None:
            turn_scheduler.run_or_refuse_column(column, answers, job, action)

        try:
            for question in questions:
                run(question.column, functools.partial(start_stream, question))
            self._emit_ready(job)
            while answers:
                for column in turn_scheduler.select_next_columns(answers):
                    run(column, functools.partial(turn_scheduler.advance, column, answers, job))
        except CancelledError:
            for answer in answers.values():
                if answer.stream.tokens:
                    answer.stream.ending = "stopped"
                    answer.send_whole(job)
            raise
        finally:
            for answer in answers.values():
                answer.stream.close()

    def _stream(self, base: _Base, question: ChatQuestion, job: JobContext) -> AnswerStream:
        chat_model, sampling = question.chat_model, question.sampling
        if isinstance(chat_model, OllamaChatModel):
            return OllamaStream(chat_model.host, chat_model.name, question.messages, sampling)
        open_model = self._open(base, chat_model, job)
        if isinstance(open_model, _InLlama):
            return self._stream_of_llama(base, open_model, question, job)
        tokenizer = open_model.get_tokenizer(chat_model)
        ids = tokenizer(
            turn_boundaries.render_prompt(tokenizer, question.messages), add_special_tokens=False
        ).input_ids
        mix = _mix(chat_model)
        tokens = TorchTokens(
            open_model.loaded.model,
            ids,
            sampling,
            open_model.end.ids,
            tokenizer.pad_token_id,
            lambda: open_model.switch.to(mix),
        )
        ends = open_model.end.ids
        return TokenStream(
            tokens,
            lambda ids: tokenizer.decode(ids, skip_special_tokens=True),
            lambda token: token in ends,
            open_model.end,
            len(ids),
        )

    def _stream_of_llama(
        self, base: _Base, open_model: _InLlama, question: ChatQuestion, job: JobContext
    ) -> AnswerStream:
        sampling = question.sampling
        ids = open_model.llama.tokenize(
            turn_boundaries.render_prompt(open_model.tokenizer, question.messages)
        )
        needed = len(ids) + sampling.max_tokens + 8
        if needed > open_model.llama.context_size:
            open_model = cast(_InLlama, self._open(base, question.chat_model, job, context=needed))
        llama, ends = open_model.llama, open_model.end.ids
        return TokenStream(
            llama.generate(ids, sampling),
            llama.detokenize,
            lambda token: llama.is_end_of_generation(token) or token in ends,
            open_model.end,
            len(ids),
            lane=str(self._get_key(base, question.chat_model)),
        )

    # --- prompts ------------------------------------------------------------------------------

    def _render_prompt(
        self, base: _Base, chat_model: AnyChatModel, messages: Sequence[Message], job: JobContext
    ) -> events.PromptShown:
        if isinstance(chat_model, OllamaChatModel):
            return prompts.show_ollama_prompt(chat_model, messages)
        if isinstance(chat_model, GgufChatModel):
            in_llama = cast(_InLlama, self._open(base, chat_model, job))
            return prompts.show_gguf_prompt(in_llama.llama, in_llama.tokenizer, messages)
        in_torch = self._held.get(self._get_key(base, chat_model))
        if isinstance(in_torch, _InTorch):
            return prompts.show_torch_prompt(in_torch.get_tokenizer(chat_model), messages)
        return prompts.show_torch_prompt(_load_tokenizer(base, chat_model, job), messages)

    # --- what is loaded -----------------------------------------------------------------------

    def _open(
        self, base: _Base, chat_model: AnyChatModel, job: JobContext, context: int = 0
    ) -> _InTorch | _InLlama:
        """Return the loaded model of a chat model; load it if necessary. Raises ProblemError."""
        if isinstance(chat_model, OllamaChatModel):
            raise TypeError("a server loads its models itself")
        key = self._get_key(base, chat_model)
        open_model = self._held.pop(key, None)
        if isinstance(open_model, _InLlama) and context > open_model.llama.context_size:
            open_model.close()
            open_model = None
        if open_model is None:
            open_model = self._load_or_make_room(
                lambda: self._load(base, chat_model, context, job), key
            )
        self._held[key] = open_model
        if isinstance(chat_model, AdapterChatModel) and isinstance(open_model, _InTorch):
            _check_fit(chat_model, open_model, base, job)
        return open_model

    def _load(
        self, base: _Base, chat_model: AnyChatModel, context: int, job: JobContext
    ) -> _InTorch | _InLlama:
        if isinstance(chat_model, GgufChatModel):
            return _load_gguf(chat_model, context, base, job, self._is_cancelled)
        spec, dataset = _choose_model(base, chat_model, job)
        loaded = load_for_inference(spec, job, dataset)
        loaded.model.eval()
        end = turn_boundaries.create_turn_end_criteria(
            loaded.tokenizer, loaded.model.generation_config.eos_token_id
        )
        return _InTorch(loaded, AdapterSwitch(loaded.model), end)

    def _is_cancelled(self) -> bool:
        """Return whether the current command is canceled; llama.cpp outlives the one that loaded
        it.
        """
        return self._job is not None and self._job.flags.cancel.is_set()

    def _load_or_make_room(self, load: Any, key: tuple[Any, ...]) -> _InTorch | _InLlama:
        """Load a model; if memory runs out, unload all others and try once more."""
        try:
            return cast(_InTorch | _InLlama, load())
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or not self._held:
                raise
        self._drop_but([key])
        return cast(_InTorch | _InLlama, load())

    def _drop_unused(self, base: _Base, chat_models: Sequence[AnyChatModel]) -> None:
        """Unload what neither these chat models nor a column uses: the CPU is used where no room is left."""
        self._drop_but(
            [self._get_key(base, chat_model) for chat_model in (*self._columns, *chat_models)]
        )

    def _drop_but(self, keys: Sequence[tuple[Any, ...]]) -> None:
        unused = [key for key in self._held if key not in keys]
        for key in unused:
            self._held.pop(key).close()
        if unused:
            release_gpu()

    def _get_key(self, base: _Base, chat_model: AnyChatModel) -> tuple[Any, ...]:
        match chat_model:
            case AdapterChatModel():
                local = Path(base.spec.source)
                state = get_folder_state(local) if base.spec.kind == "folder" else ()
                return ("base", base.spec.model_dump_json(), base.chat_template, state)
            case FolderChatModel():
                state = get_folder_state(Path(chat_model.folder))
                return ("model", chat_model.folder, state, base.spec.device)
            case GgufChatModel():
                tokenizer = (
                    get_folder_state(Path(chat_model.tokenizer)) if chat_model.tokenizer else ()
                )
                return ("gguf", chat_model.file, get_file_state(Path(chat_model.file)), tokenizer)
        return ("ollama",)

    def _emit_ready(self, job: JobContext) -> None:
        devices = (
            str(open_model.loaded.device) if isinstance(open_model, _InTorch) else "llama.cpp"
            for open_model in self._held.values()
        )
        size = sum(open_model.bytes for open_model in self._held.values())
        job.emit(events.ChatReady(devices=tuple(dict.fromkeys(devices)), memory_bytes=size))


@functools.cache
def get_session() -> Session:
    """Return the chat of this worker."""
    return Session()


@contextmanager
def _hold_device(base: _Base, chat_models: Sequence[AnyChatModel]) -> Iterator[None]:
    """Hold the GPU only while the chat answers; raises ProblemError while another job holds it."""

    def refuse(device: DeviceIdentity, holder: LockHolder) -> None:
        raise fail(
            "chat.device_busy",
            "{device} is in use by the run {run}."
            if holder.run
            else "{device} is in use by another job.",
            "Run the chat on the CPU, or wait until the job finishes.",
            device=device.title,
            run=Path(holder.run).name,
        )

    needed = any(not isinstance(chat_model, OllamaChatModel) for chat_model in chat_models)
    if not needed:
        yield
        return
    with device_lock.hold_model_devices(base.spec, LockHolder("", "chat"), refuse):
        yield


@dataclass(frozen=True)
class _Base:
    """The model that adapters are attached to, and the chat template chosen for it."""

    spec: ModelSpec
    chat_template: str


def _choose_model(
    base: _Base, chat_model: AnyChatModel, job: JobContext
) -> tuple[ModelSpec, DatasetSpec | None]:
    """Return the model of a chat model in torch, and what chooses its chat template; raises ProblemError."""
    if not isinstance(chat_model, FolderChatModel):
        dataset = DatasetSpec.model_validate({"chat_template": base.chat_template})
        return base.spec, dataset
    if not (Path(chat_model.folder) / "config.json").is_file():
        raise fail(
            "chat.no_model",
            "{folder} doesn't contain a model.",
            "Merge the adapter first, or choose another model.",
            where=Where(file=chat_model.folder),
            folder=chat_model.folder,
        )
    checksums.require_intact_source(Path(chat_model.folder), job.check)
    trust = base.spec.trust_remote_code
    spec = ModelSpec(source=chat_model.folder, device=base.spec.device, trust_remote_code=trust)
    return spec, None


def _load_tokenizer(
    base: _Base, chat_model: AnyChatModel, job: JobContext
) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a chat model without its model, which a job may leave no memory for."""
    spec, dataset = _choose_model(base, chat_model, job)
    tokenizer = loading.load_tokenizer(
        sources.resolve(spec, job), dataset, trust=spec.trust_remote_code
    )
    for adapter in _mix(chat_model).adapters:
        require_fit(Path(adapter.folder), base.spec, job)
        add_adapter_tokens(tokenizer, Path(adapter.folder))
    return tokenizer


def _load_gguf(
    chat_model: GgufChatModel,
    context: int,
    base: _Base,
    job: JobContext,
    cancelled: Callable[[], bool],
) -> _InLlama:
    file = Path(chat_model.file)
    if not file.is_file():
        raise fail(
            "chat.no_gguf",
            "The file {file} doesn't exist.",
            "Export the run first, or choose another file.",
            where=Where(file=str(file)),
            file=file.name,
        )
    job.report_progress(text("loading the model"), 0, None)
    checksums.require_intact_source(file, job.check)
    room = _CONTEXT
    while room < context:
        room *= 2
    require_computable(file, job)
    llama = Llama(file, context=room, cancelled=cancelled)
    try:
        if chat_model.tokenizer:
            trust = base.spec.trust_remote_code
            tokenizer = loading.load_tokenizer(Path(chat_model.tokenizer), trust=trust)
            end = turn_boundaries.create_turn_end_criteria(tokenizer)
        else:
            tokenizer, end = (
                prompts.create_renderer(llama, file),
                turn_boundaries.TurnEndCriteria(()),
            )
    except BaseException:
        llama.close()
        raise
    return _InLlama(llama, tokenizer, end, file.stat().st_size)


def _check_fit(
    chat_model: AdapterChatModel, open_model: _InTorch, base: _Base, job: JobContext
) -> None:
    """Raise ProblemError unless every adapter of a chat model fits, and load those that are new."""
    for adapter in chat_model.adapters:
        if open_model.switch.has(Path(adapter.folder)):
            continue
        require_fit(Path(adapter.folder), base.spec, job)
    open_model.switch.to(_mix(chat_model))


def _mix(chat_model: AnyChatModel) -> AdapterMix:
    return AdapterMix(
        name="", adapters=chat_model.adapters if isinstance(chat_model, AdapterChatModel) else ()
    )
