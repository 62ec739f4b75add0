"""Streams that compute answers token by token, so that several can take turns in one process."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Literal, Protocol

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteria

from lora_studio.core.chat import Sampling, to_ollama_options
from lora_studio.core.tasks.samples import Message
from lora_studio.engine.devices import devices
from lora_studio.engine.export.ollama import server
from lora_studio.engine.generation.batched import SampledToken
from lora_studio.engine.generation.token_sampling import TokenSampler
from lora_studio.engine.generation.turn_boundaries import TurnEndCriteria
from lora_studio.engine.runtime.failures import CancelledError

#: Longest wait for a server's next piece while other columns are active, in seconds.
_NAP = 0.02

Ending = Literal["end", "length", "stopped"]


class AnswerStream(Protocol):
    """One unfinished answer. `lane` names a resource that one stream can use at a time, or is ""."""

    lane: str
    prompt_tokens: int
    ending: Ending

    @property
    def tokens(self) -> int:
        """Return the number of tokens so far."""

    def step(self, check: Callable[[], None]) -> bool:
        """Advance by about one token; return False once the answer is complete.

        `check` raises when the chat is canceled.
        """

    def get_text(self) -> str:
        """Return the answer so far."""

    def close(self) -> None:
        """Stop the work behind the answer."""


class TokenStream:
    """An answer whose tokens this process computes."""

    def __init__(
        self,
        tokens: Iterator[int] | TorchTokens,
        decode: Callable[[list[int]], str],
        ends: Callable[[int], bool],
        end: TurnEndCriteria,
        prompt_tokens: int,
        lane: str = "",
    ) -> None:
        """Take `ends`, which returns whether a token ends an answer, and `end` with the stop texts."""
        self._tokens, self._decode, self._ends, self._end = tokens, decode, ends, end
        self._ids: list[int] = []
        self._text: tuple[int, str] = (0, "")
        self.prompt_tokens, self.lane = prompt_tokens, lane
        self.ending: Ending = "length"

    @property
    def tokens(self) -> int:
        """Return the number of tokens so far."""
        return len(self._ids)

    def step(self, check: Callable[[], None]) -> bool:
        """Compute one more token."""
        if isinstance(self._tokens, TorchTokens):
            token = self._tokens.next_token(check)
        else:
            check()
            token = next(self._tokens, None)
        if token is None:
            return False
        if self._ends(token):
            self.ending = "end"
            return False
        self._ids.append(token)
        if self._end.text and self._end.cut(self._get_whole_text())[1]:
            self.ending = "end"
            return False
        return True

    def get_text(self) -> str:
        """Return the answer so far, without a character whose last bytes are missing."""
        return self._end.cut(self._get_whole_text())[0].removesuffix("\ufffd")

    def close(self) -> None:
        """Stop the computation."""
        self._tokens.close()  # type: ignore[union-attr]  # generators and TorchTokens have it

    def _get_whole_text(self) -> str:
        if self._text[0] != len(self._ids):
            self._text = len(self._ids), self._decode(self._ids)
        return self._text[1]


class _ClosedError(Exception):
    """The stream was closed while it computed."""


class TorchTokens(StoppingCriteria):
    """The tokens of transformers' `generate`, which pauses in a thread after each token.

    `activate` activates the right adapters before each token. The random numbers of an answer are its own, so a
    seed gives the same answer whether it runs alone or with others.
    """

    def __init__(
        self,
        network: Any,
        ids: Sequence[int],
        sampling: Sampling,
        ends: Sequence[int] = (),
        pad: int | None = None,
        activate: Callable[[], object] = lambda: None,
    ) -> None:
        """Take the prompt, `ids`; nothing is computed before the first `next_token`."""
        self._network, self._ids, self._activate = network, list(ids), activate
        self._settings = GenerationConfig(
            max_new_tokens=sampling.max_tokens,
            do_sample=False,
            eos_token_id=list(ends) or None,
            pad_token_id=pad,
        )
        self._sampled = SampledToken(TokenSampler(sampling, [self._ids]), [0], len(self._ids))
        self._wanted = threading.Semaphore(0)
        self._made: queue.SimpleQueue[int | BaseException | None] = queue.SimpleQueue()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="answer", daemon=True)

    def next_token(self, check: Callable[[], None]) -> int | None:
        """Return the next token, None after the last; raises what `check` or the model raises."""
        if self._over:
            return None
        self._activate()
        if not self._thread.ident:
            self._thread.start()
        self._wanted.release()
        while True:
            check()
            with suppress(queue.Empty):
                token = self._made.get(timeout=0.1)
                break
        if isinstance(token, int):
            return token
        self._over = True
        if token is not None:
            raise token
        return None

    def close(self) -> None:
        """End the thread after the current token."""
        self._over = True
        self._wanted.release()
        if self._thread.ident:
            self._thread.join()

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        """Pause after a token; `generate` calls this."""
        self._sampled.require_usable()
        self._made.put(int(input_ids[0, -1]))
        self._wait()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    def _wait(self) -> None:
        self._wanted.acquire()
        if self._over:
            raise _ClosedError

    def _run(self) -> None:
        try:
            self._wait()
            devices.set_current_device(self._network.device)  # each thread has its own
            prompt = torch.tensor([self._ids], device=self._network.device)
            # Not in inference mode: tensors that a model caches, such as rotations, could not change later.
            with torch.no_grad():
                self._network.generate(
                    input_ids=prompt,
                    attention_mask=torch.ones_like(prompt),
                    generation_config=self._settings,
                    logits_processor=LogitsProcessorList([self._sampled]),
                    stopping_criteria=[self],
                )
        except _ClosedError:
            self._made.put(None)
        except BaseException as error:
            self._made.put(error)
        else:
            self._made.put(None)


class OllamaStream:
    """An answer that a server computes while this process computes others."""

    lane = ""

    def __init__(
        self, host: str, name: str, messages: Sequence[Message], sampling: Sampling
    ) -> None:
        """Prepare the request; the first step sends it."""
        self._asked = (host, name, tuple(messages), to_ollama_options(sampling))
        self._pieces: list[str] = []
        self._came: queue.SimpleQueue[server.OllamaReply | BaseException | None] = (
            queue.SimpleQueue()
        )
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ollama", daemon=True)
        self.tokens = self.prompt_tokens = 0
        self.ending: Ending = "length"

    def step(self, check: Callable[[], None]) -> bool:
        """Add what has arrived, after a short wait."""
        check()
        if not self._thread.ident:
            self._thread.start()
        try:
            reply = self._came.get(timeout=_NAP)
        except queue.Empty:
            return True
        if isinstance(reply, BaseException):
            raise reply
        if reply is None:
            return False
        self._pieces.append(reply.text)
        self.tokens += 1
        if reply.last:
            self.tokens, self.prompt_tokens = reply.tokens, reply.prompt
            self.ending = "end" if reply.finished else "length"
        return not reply.last

    def get_text(self) -> str:
        """Return the answer so far."""
        return "".join(self._pieces)

    def close(self) -> None:
        """Disconnect at the next piece, which makes the server stop."""
        self._over.set()

    def _run(self) -> None:
        try:
            for reply in server.stream(*self._asked):
                if self._over.is_set():
                    raise CancelledError
                self._came.put(reply)
            self._came.put(None)
        except BaseException as error:
            self._came.put(error)
