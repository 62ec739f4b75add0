"""Ask a model on any server with OpenAI's interface, such as vLLM, LM Studio, or llama-server."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx

from lora_studio.core.chat import Sampling, to_openai_options
from lora_studio.core.evaluation.columns import ServerModel
from lora_studio.core.network.bounded_answers import (
    MALFORMED_ERRORS,
    AnswerLimits,
    bound_answers,
)
from lora_studio.core.network.connections import contacting
from lora_studio.core.network.purposes import Purpose
from lora_studio.core.problems import Problem, ProblemError, Where, fail
from lora_studio.core.system.offline import is_local_host
from lora_studio.core.tasks.samples import Message

#: An answer comes as a whole, after minutes where the model is slow.
_SECONDS = 1800.0
_MAX_BYTES = 16_000_000


class OpenAiClient:
    """A connection to a server, for one model."""

    def __init__(self, model: ServerModel, http: httpx.Client) -> None:
        """Take an open client; `connect` creates both."""
        self._model, self._http = model, http

    def ask(self, messages: Sequence[Message], sampling: Sampling) -> Reply:
        """Return one answer; raises ProblemError with the server's reason."""
        body = {
            "model": self._model.name,
            "messages": [{"role": turn.role, "content": turn.content} for turn in messages],
        } | to_openai_options(sampling)
        try:
            answer = self._http.post("/chat/completions", json=body)
            content = answer.json()
        except httpx.TransportError as error:
            raise self._fail(
                str(error).rstrip(".") or type(error).__name__, is_gone=True
            ) from error
        except (httpx.HTTPError, ValueError, RecursionError) as error:
            raise self._fail(str(error).rstrip(".") or type(error).__name__) from error
        if not answer.is_success:
            raise self._fail(_get_reason(content, answer.status_code))
        try:
            return _to_reply(content)
        except MALFORMED_ERRORS as error:
            raise self._fail("its answer has an unexpected form") from error

    def _fail(self, reason: str, *, is_gone: bool = False) -> ProblemError:
        return fail(
            "evaluation.server_unreachable" if is_gone else "evaluation.server_failed",
            "{model} at {address} didn't answer: {reason}.",
            "Check the address, the name of the model, and the log of the server. Then continue the evaluation.",
            where=Where(file=self._model.address),
            model=self._model.name,
            address=self._model.address,
            reason=reason[:500],
        )


@contextmanager
def connect(model: ServerModel, *, seconds: float = _SECONDS) -> Iterator[OpenAiClient]:
    """Yield a client for a model, which waits `seconds` for an answer.

    Raises ProblemError if the variable with its key isn't set.
    """
    timeout = httpx.Timeout(min(60.0, seconds), connect=min(10.0, seconds), read=seconds)
    answer_limits = AnswerLimits(max_bytes=_MAX_BYTES, first_seconds=seconds, seconds=seconds)
    headers = {}
    if model.key_variable:
        key = os.environ.get(model.key_variable, "").strip()
        if not key:
            raise fail(
                "evaluation.no_key",
                "The environment variable {variable} isn't set.",
                "Set it to the key of the server before you start LoRA Studio.",
                variable=model.key_variable,
            )
        headers["authorization"] = f"Bearer {key}"
    is_local = is_local_host(urlsplit(model.address).hostname)
    with (
        contacting(Purpose.MODEL_SERVER),
        httpx.Client(
            base_url=model.address, headers=headers, timeout=timeout, trust_env=not is_local
        ) as http,
    ):
        yield OpenAiClient(model, bound_answers(http, lambda _: answer_limits))


def _to_reply(content: Any) -> Reply:
    """Return an answer with its counts; raises an error for an unexpected form."""
    choice = content["choices"][0]
    text = choice["message"].get("content") or ""
    if not isinstance(text, str):
        raise TypeError("the content isn't a text")
    usage = content.get("usage") or {}
    return Reply(
        text=text,
        tokens=int(usage.get("completion_tokens") or 0),
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        ending="length" if choice.get("finish_reason") == "length" else "end",
    )


def _get_reason(content: Any, status: int) -> str:
    """Return what a server says of a request that it refused."""
    reported = content.get("error") if isinstance(content, Mapping) else None
    message = reported.get("message") if isinstance(reported, Mapping) else reported
    return str(message).rstrip(".") if message else f"status {status}"


@dataclass(frozen=True)
class Reply:
    """An answer, or the problem why there is none; `seconds` as in `ItemResult`."""

    text: str = ""
    tokens: int = 0
    prompt_tokens: int = 0
    seconds: float = 0.0
    ending: Literal["end", "length", ""] = ""
    problem: Problem | None = None
