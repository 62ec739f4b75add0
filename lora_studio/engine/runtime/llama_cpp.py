"""GGUF inference in this process through llama.cpp's C interface: tokens, logits, answers."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from lora_studio.core.chat import Sampling
from lora_studio.core.messages import Text, text
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.engine.runtime import torch_settings
from lora_studio.engine.runtime.failures import CancelledError

#: Tokens evaluated at once; cancels are also checked within a batch.
BATCH = 512

#: ggml_log_level
_WARNING, _CONTINUED = 3, 5

#: cffi frees a callback with its handle; llama.cpp keeps this one for as long as the process runs.
_log: list[Any] = []


@dataclass(frozen=True)
class SequenceToken:
    """A token to evaluate: its position, its sequences, and whether its logits are wanted.

    What several sequences begin with is evaluated once if its tokens belong to all of them.
    """

    token: int
    position: int
    sequences: tuple[int, ...] = (0,)
    wants_logits: bool = False


class Llama:
    """One GGUF model with one context. Close it: Python doesn't manage its memory.

    `cancelled` is called while the model loads and computes; once it returns True, the current call
    raises CancelledError. `observe` is called with the address of each node of the computation (a
    `struct ggml_tensor`): before the node is computed with True, to return whether its values are
    wanted, then with False, to return whether to continue.
    """

    def __init__(
        self,
        file: Path,
        *,
        context: int = 0,
        sequences: int = 1,
        cancelled: Callable[[], bool] = lambda: False,
        observe: Callable[[int, bool], bool] | None = None,
    ) -> None:
        """Load the model; `context` in tokens, 0 for what the model was trained with.

        `sequences` that are evaluated together share the context. Raises ProblemError when llama.cpp rejects the file.
        """
        self._ffi, self._lib = _load_library()
        self._cancelled = cancelled
        # cffi frees a callback with its handle: both live as long as the model does.
        self._on_progress = self._ffi.callback(
            "bool(float, void *)", lambda _done, _data: not cancelled()
        )
        self._on_node = self._ffi.callback("bool(void *)", lambda _data: cancelled())
        self._observer = self._ffi.NULL if observe is None else self._create_callback(observe)
        self._context: Any = None
        self._model: Any = self._load(file)
        self._vocabulary = self._lib.llama_model_get_vocab(self._model)
        try:
            self._context = self._create_context(file, context, sequences)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Llama:
        """Return the model itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Free the model."""
        self.close()

    def close(self) -> None:
        """Free the model's memory; calling it again does nothing."""
        if self._context is not None:
            self._lib.llama_free(self._context)
            self._context = None
        if self._model is not None:
            self._lib.llama_model_free(self._model)
            self._model = None

    @property
    def vocabulary_size(self) -> int:
        """Return the number of tokens, the width of a row of logits."""
        return int(self._lib.llama_vocab_n_tokens(self._vocabulary))

    @property
    def context_size(self) -> int:
        """Return how many tokens fit into one conversation."""
        return int(self._lib.llama_n_ctx(self._context))

    def is_end_of_generation(self, token: int) -> bool:
        """Return whether generation stops at this token (end of text, end of turn)."""
        return bool(self._lib.llama_vocab_is_eog(self._vocabulary, token))

    def tokenize(self, text: str, *, add_special: bool = False) -> list[int]:
        """Return the token IDs of a rendered conversation, or of raw text with `add_special`.

        Control tokens are parsed. `add_special` adds BOS and EOS if the model is used with them.
        """
        return _tokenize(self._ffi, self._lib, self._vocabulary, text, add_special=add_special)

    def get_pieces(self, ids: Sequence[int]) -> list[bytes]:
        """Return the bytes of each token; control tokens by their names."""
        return [self._get_piece(token, special=True) for token in ids]

    def is_control(self, token: int) -> bool:
        """Return whether a token is a mark of the format rather than text."""
        return bool(self._lib.llama_vocab_is_control(self._vocabulary, token))

    def get_chat_template(self) -> str:
        """Return the Jinja template in the file, "" without one."""
        template = self._lib.llama_model_chat_template(self._model, self._ffi.NULL)
        return "" if template == self._ffi.NULL else self._ffi.string(template).decode("utf-8")

    def get_bos_and_eos(self) -> tuple[str, str]:
        """Return the texts of the tokens that begin and end a text."""
        lib, vocabulary = self._lib, self._vocabulary
        ids = (lib.llama_vocab_bos(vocabulary), lib.llama_vocab_eos(vocabulary))
        bos, eos = (
            "" if i < 0 else self.get_pieces([i])[0].decode("utf-8", "replace") for i in ids
        )
        return bos, eos

    def detokenize(self, ids: Sequence[int]) -> str:
        """Return the text of an answer, without control tokens."""
        pieces = (self._get_piece(token) for token in ids)
        return b"".join(pieces).decode("utf-8", errors="replace")

    def compute_logits(self, ids: Sequence[int], positions: Sequence[int]) -> np.ndarray:
        """Return logits after the tokens at `positions` (ascending), float32 [positions,
        vocabulary].
        """
        requested = set(positions)
        result = np.empty((len(positions), self.vocabulary_size), dtype=np.float32)
        row = 0
        self.forget_all()
        for start in range(0, len(ids), BATCH):
            end = min(start + BATCH, len(ids))
            self._decode(ids[start:end], start, {p - start for p in requested if start <= p < end})
            for position in range(start, end):
                if position in requested:
                    result[row] = self.get_logits(position - start)
                    row += 1
        return result

    def read(self, ids: Sequence[int]) -> None:
        """Compute everything at every position, so that `observe` sees it.

        At positions without requested outputs llama.cpp skips most of the last layer.
        """
        self.forget_all()
        for start in range(0, len(ids), BATCH):
            part = ids[start : start + BATCH]
            self._decode(part, start, set(range(len(part))))

    def generate(self, ids: Sequence[int], sampling: Sampling) -> Iterator[int]:
        """Yield the tokens of an answer, the one that ends it included; greedy at temperature 0.

        If the last token doesn't end generation, the answer was cut by `max_tokens` or by the context.
        """
        sampler = self.create_sampler(ids, sampling)
        try:
            self.forget_all()
            for start in range(0, len(ids), BATCH):
                part = ids[start : start + BATCH]
                self._decode(part, start, {len(part) - 1})
            position = len(ids)
            for _ in range(sampling.max_tokens):
                token = sampler.sample(-1)
                yield token
                if self.is_end_of_generation(token) or position >= self.context_size:
                    return
                self._decode([token], position, {0})
                position += 1
        finally:
            sampler.close()

    def _load(self, file: Path) -> Any:
        parameters = self._lib.llama_model_default_params()
        parameters.progress_callback = self._on_progress
        if self._observer != self._ffi.NULL:
            parameters.n_gpu_layers = 0
        model = self._lib.llama_model_load_from_file(str(file).encode(), parameters)
        if model == self._ffi.NULL:
            self._raise_if_cancelled()
            raise _loading_error(file, text("llama.cpp can't load it"))
        return model

    def _create_callback(self, observe: Callable[[int, bool], bool]) -> Any:
        ffi = self._ffi
        return ffi.callback(
            "bool(struct ggml_tensor *, bool, void *)",
            lambda node, ask, _: observe(int(ffi.cast("uintptr_t", node)), bool(ask)),
        )

    def _create_context(self, file: Path, tokens: int, sequences: int) -> Any:
        parameters = self._lib.llama_context_default_params()
        parameters.n_ctx = tokens
        if sequences > 1:
            parameters.n_seq_max, parameters.kv_unified = sequences, True
        parameters.n_batch = parameters.n_ubatch = BATCH
        # Outputs may be requested at every position of a batch.
        parameters.n_outputs_max_per_seq = 0
        parameters.n_threads = parameters.n_threads_batch = count_threads()
        parameters.abort_callback = self._on_node
        if self._observer != self._ffi.NULL:
            parameters.cb_eval = self._observer
            # Observed values have to stay in main memory.
            parameters.offload_kqv = parameters.op_offload = False
        context = self._lib.llama_init_from_model(self._model, parameters)
        if context == self._ffi.NULL:
            raise _loading_error(
                file, text("not enough memory for a context of {tokens} tokens", tokens=tokens)
            )
        return context

    def _decode(self, ids: Sequence[int], start: int, outputs: set[int]) -> None:
        """Evaluate tokens at positions start, start + 1, …; `outputs` index into `ids`."""
        self.decode(
            [
                SequenceToken(token, start + index, wants_logits=index in outputs)
                for index, token in enumerate(ids)
            ]
        )

    def decode(self, tokens: Sequence[SequenceToken]) -> None:
        """Evaluate tokens of any sequences, at most BATCH; raises ProblemError."""
        most = max(len(each.sequences) for each in tokens)
        batch = self._lib.llama_batch_init(len(tokens), 0, most)
        try:
            batch.n_tokens = len(tokens)
            for index, each in enumerate(tokens):
                batch.token[index] = each.token
                batch.pos[index] = each.position
                batch.n_seq_id[index] = len(each.sequences)
                for number, sequence in enumerate(each.sequences):
                    batch.seq_id[index][number] = sequence
                batch.logits[index] = each.wants_logits
            status = self._lib.llama_decode(self._context, batch)
        finally:
            self._lib.llama_batch_free(batch)
        if status != 0:
            self._raise_if_cancelled()
            raise fail(
                "gguf.not_computed",
                "llama.cpp failed to evaluate a conversation of {tokens} tokens (status {status:d}).",
                "Close other programs that use memory, or shorten the conversation.",
                tokens=max(each.position for each in tokens) + 1,
                status=status,
            )
        self._raise_if_cancelled()

    def forget_all(self) -> None:
        """Remove all sequences."""
        self._lib.llama_memory_clear(self._lib.llama_get_memory(self._context), True)

    def forget(self, sequence: int, start: int = 0) -> bool:
        """Remove a sequence from position `start` on; False if the model can't remove a part."""
        memory = self._lib.llama_get_memory(self._context)
        return bool(self._lib.llama_memory_seq_rm(memory, sequence, start, -1))

    def copy_beginning(self, source: int, target: int, tokens: int) -> None:
        """Let a sequence begin with the first tokens of another one, without computing them again."""
        memory = self._lib.llama_get_memory(self._context)
        self._lib.llama_memory_seq_cp(memory, source, target, 0, tokens)

    @property
    def is_recurrent(self) -> bool:
        """Return whether its state can't be cut at any position, as that of Mamba can't."""
        lib, model = self._lib, self._model
        return bool(lib.llama_model_is_recurrent(model) or lib.llama_model_is_hybrid(model))

    def create_sampler(self, ids: Sequence[int], sampling: Sampling) -> LlamaSampler:
        """Return a sampler for one answer to a prompt, whose tokens count for the repetition penalty."""
        return LlamaSampler(self._lib, self._context, self._create_chain(sampling), ids)

    def get_logits(self, index: int) -> np.ndarray:
        """Return the logits after a token of the last batch, valid until the next one."""
        pointer = self._lib.llama_get_logits_ith(self._context, index)
        size = self.vocabulary_size * 4
        return np.frombuffer(self._ffi.buffer(pointer, size), dtype=np.float32)

    def _get_piece(self, token: int, *, special: bool = False) -> bytes:
        room = 64
        while True:
            buffer = self._ffi.new("char[]", room)
            count = self._lib.llama_token_to_piece(
                self._vocabulary, token, buffer, room, 0, special
            )
            if count >= 0:
                return bytes(self._ffi.buffer(buffer, count))
            room = -count

    def _create_chain(self, sampling: Sampling) -> Any:
        """Return a sampler chain in the order that transformers uses."""
        lib = self._lib
        chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        parts: list[Any] = []
        if sampling.repetition_penalty != 1:  # for all text so far
            sizes = (self.vocabulary_size, self.context_size)
            parts.append(
                lib.llama_sampler_init_penalties(*sizes, sampling.repetition_penalty, 0.0, 0.0)
            )
        if sampling.temperature <= 0:
            parts.append(lib.llama_sampler_init_greedy())
        else:
            parts.append(lib.llama_sampler_init_temp(sampling.temperature))
            if sampling.top_k > 0:
                parts.append(lib.llama_sampler_init_top_k(sampling.top_k))
            if sampling.top_p < 1:
                parts.append(lib.llama_sampler_init_top_p(sampling.top_p, 1))
            if sampling.min_p > 0:
                parts.append(lib.llama_sampler_init_min_p(sampling.min_p, 1))
            parts.append(lib.llama_sampler_init_dist(sampling.seed))
        for part in parts:
            lib.llama_sampler_chain_add(chain, part)
        return chain

    def _raise_if_cancelled(self) -> None:
        if self._cancelled():
            raise CancelledError


def should_add_bos(file: Path) -> bool:
    """Return whether llama.cpp, and so Ollama, puts a BOS token before a prompt."""
    with _open_vocabulary(file) as (_, lib, vocabulary):
        return bool(lib.llama_vocab_get_add_bos(vocabulary))


def tokenize_prompts(file: Path, prompts: Iterable[str]) -> list[list[int]]:
    """Return token ids of prompts as Ollama reads them: control tokens parsed, BOS and EOS added.

    Reads the vocabulary alone.
    """
    with _open_vocabulary(file) as (ffi, lib, vocabulary):
        return [_tokenize(ffi, lib, vocabulary, text, add_special=True) for text in prompts]


@contextmanager
def _open_vocabulary(file: Path) -> Iterator[tuple[Any, Any, Any]]:
    ffi, lib = _load_library()
    parameters = lib.llama_model_default_params()
    parameters.vocab_only = True
    model = lib.llama_model_load_from_file(str(file).encode(), parameters)
    if model == ffi.NULL:
        raise _loading_error(file, text("llama.cpp can't read its vocabulary"))
    try:
        yield ffi, lib, lib.llama_model_get_vocab(model)
    finally:
        lib.llama_model_free(model)


def _tokenize(ffi: Any, lib: Any, vocabulary: Any, text: str, *, add_special: bool) -> list[int]:
    raw = text.encode("utf-8")
    room = len(raw) + 8
    while True:
        ids = ffi.new("llama_token[]", room)
        count = lib.llama_tokenize(vocabulary, raw, len(raw), ids, room, add_special, True)
        if count >= 0:
            return list(ids[0:count])
        room = -count


@functools.cache
def _load_library() -> tuple[Any, Any]:
    """Return cffi and llama.cpp, which logs warnings and errors only: its full log has megabytes."""
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # a debugger would hold a process that aborts
    from llama_cpp_py_sync._cffi_bindings import get_ffi, get_lib

    ffi, lib = get_ffi(), get_lib()
    _log.append(ffi.callback("void(enum ggml_log_level, char *, void *)", _Log(ffi)))
    lib.llama_log_set(_log[0], ffi.NULL)
    lib.llama_backend_init()
    return ffi, lib


class _Log:
    """Pass on warnings and errors; a text without a level continues the previous one."""

    def __init__(self, ffi: Any) -> None:
        self._ffi = ffi
        self._level = 0

    def __call__(self, level: int, text: Any, _: Any) -> None:
        self._level = self._level if level == _CONTINUED else level
        if self._level >= _WARNING:
            sys.stderr.write(self._ffi.string(text).decode("utf-8", errors="replace"))


def count_threads() -> int:
    """Return how many threads llama.cpp uses: the user's setting, else one per processor it may use."""
    granted = os.environ.get("OMP_NUM_THREADS", "")
    return int(granted) if granted.isdigit() and int(granted) else torch_settings.count_cores()


def _loading_error(file: Path, reason: Text) -> ProblemError:
    return fail(
        "gguf.not_loaded",
        "{file} can't be opened: {reason}.",
        "Export the model again. If that doesn't help, free some memory or update the engine. "
        "llama.cpp's message is in the log.",
        where=Where(file=str(file)),
        file=file.name,
        reason=reason,
    )


class LlamaSampler:
    """Chooses the tokens of one answer. Close it: Python doesn't manage its memory."""

    def __init__(self, lib: Any, context: Any, sampler: Any, ids: Sequence[int]) -> None:
        """Take a sampler chain and the tokens of the prompt."""
        self._lib, self._context, self._sampler = lib, context, sampler
        for token in ids:
            lib.llama_sampler_accept(sampler, token)

    def sample(self, index: int) -> int:
        """Return the next token, from the logits of the token at `index` in the last `decode`."""
        return int(self._lib.llama_sampler_sample(self._sampler, self._context, index))

    def close(self) -> None:
        """Free the sampler."""
        self._lib.llama_sampler_free(self._sampler)


class EmbeddingLlama(Llama):
    """An embedding model in a GGUF file, which pools as the file says."""

    def __init__(self, file: Path, *, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Load the model for texts of at most BATCH tokens; raises ProblemError."""
        super().__init__(file, context=BATCH, cancelled=cancelled)
        self._lib.llama_set_embeddings(self._context, True)

    def __enter__(self) -> EmbeddingLlama:
        """Return the model itself."""
        return self

    @property
    def pooling_type(self) -> int:
        """Return the `enum llama_pooling_type` of the file; 0 for a file of another model."""
        return int(self._lib.llama_pooling_type(self._context))

    def embed(self, ids: Sequence[int]) -> np.ndarray | None:
        """Return the normalized vector of a text, [size] float32, None if the file doesn't pool."""
        self.forget_all()
        self.decode(
            [
                SequenceToken(token, position, wants_logits=True)
                for position, token in enumerate(ids)
            ]
        )
        pointer = self._lib.llama_get_embeddings_seq(self._context, 0)
        if pointer == self._ffi.NULL:
            return None
        size = 4 * int(self._lib.llama_model_n_embd_out(self._model))
        vector = np.frombuffer(self._ffi.buffer(pointer, size), dtype=np.float32)
        return vector / np.linalg.norm(vector)
