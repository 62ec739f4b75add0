"""Ask llama.cpp's own server for prompts: its Jinja is not Python's, and Ollama uses it since 0.30."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from lora_studio.core.messages import Template, Text, text
from lora_studio.core.network.connections import contacting
from lora_studio.core.network.purposes import Purpose
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.engine.export.gguf.architecture_support import (
    find_unknown_architecture,
    unknown_architecture_error,
)
from lora_studio.engine.runtime import child_process
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import CancelledError
from lora_studio.engine.tokens.chat_format import THINKING_KEYS

#: Context in tokens: probe conversations are short.
_CONTEXT = 4096

#: Lines of the server's output to keep: an error of a template follows the template itself.
_MOST_LINES = 40

#: Seconds until the server must have loaded the model's vocabulary and weights.
_PATIENCE = 600.0

#: What requests raise when the server has ended or doesn't answer in time.
ServerError = httpx.HTTPError


class LlamaServer:
    """A running llama-server."""

    def __init__(self, host: str, job: JobContext) -> None:
        """Connect to the server at `host`."""
        self._job = job
        self._http = httpx.Client(base_url=host, timeout=120.0, trust_env=False)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def is_ready(self) -> bool:
        """Return whether the server has loaded the model."""
        try:
            return self._http.get("/health").is_success
        except httpx.HTTPError:
            return False

    def apply_template(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[dict[str, Any]] = (),
        switches: Mapping[str, bool] | None = None,
    ) -> str:
        """Return the prompt of a conversation, without the BOS that llama.cpp adds; raises ValueError.

        `messages` are in the form that the chat template reads, `switches` are variables for it.
        """
        body: dict[str, Any] = {"messages": [_to_openai(message) for message in messages]}
        if tools:
            body["tools"] = list(tools)
        if switches:
            body["chat_template_kwargs"] = dict(switches)
        return str(self._post("/apply-template", body)["prompt"])

    def tokenize(self, prompt: str, *, add_special: bool = True) -> list[int]:
        """Return the token IDs of a prompt."""
        body = {"content": prompt, "add_special": add_special, "parse_special": True}
        return list(self._post("/tokenize", body)["tokens"])

    def complete(self, ids: Sequence[int], tokens: int) -> list[int]:
        """Return the token IDs of a greedy answer to a prompt, without the token that ends it."""
        body = {
            "prompt": list(ids), "n_predict": tokens, "temperature": 0.0, "top_k": 1, "seed": 0,
            "repeat_penalty": 1.0, "return_tokens": True, "cache_prompt": False,
        }  # fmt: skip
        return list(self._post("/completion", body)["tokens"])

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self._job.check()
        answer = self._http.post(path, json=body)
        content: dict[str, Any] = answer.json()
        if not answer.is_success:
            raise ValueError(str((content.get("error") or {}).get("message") or content))
        return content


def _to_openai(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message as clients of the OpenAI interface send it.

    Reasoning that a template reads from the content stays there: the server doesn't parse it either.
    """
    content = plain["content"] or ""
    if not isinstance(content, str):
        content = "".join(part["text"] for part in content)
    calls = [
        {
            "type": "function",
            "function": {"name": about["name"], "arguments": _to_json(about["arguments"])},
        }
        | ({"id": call["id"]} if "id" in call else {})
        for call in plain.get("tool_calls", ())
        for about in (call.get("function", call),)
    ]
    role = plain["role"] if plain["role"] in ("system", "user", "assistant") else "tool"
    message: dict[str, Any] = {"role": role, "content": content}
    if reasoning := next((plain[key] for key in THINKING_KEYS if key in plain), None):
        message["reasoning_content"] = reasoning
    if calls:
        message["tool_calls"] = calls
    return message | {key: plain[key] for key in ("name", "tool_call_id") if key in plain}


def _to_json(arguments: Any) -> str:
    is_text = isinstance(arguments, str)
    return arguments if is_text else json.dumps(arguments, ensure_ascii=False)


@contextmanager
def run_server(program: str, model: Path, job: JobContext, *options: str) -> Iterator[LlamaServer]:
    """Run llama-server on the loopback with a model until the block ends; raises ProblemError."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        program, "--model", str(model), "--host", "127.0.0.1", "--port", str(port), "--jinja",
        "--ctx-size", str(_CONTEXT), "--parallel", "1", "--no-warmup", *options, "--gpu-layers", "0",
    ]  # fmt: skip
    watch = _Watch(job)
    thread = threading.Thread(target=watch.run, args=(command,), daemon=True)
    thread.start()
    server = LlamaServer(f"http://127.0.0.1:{port}", job)
    try:
        with contacting(Purpose.LLAMA_SERVER):
            _wait_until_ready(server, watch, thread, program, model)
            yield server
    except ServerError as error:
        raise _server_failed_error(
            program, "{program} stopped: {reason}.", str(error).rstrip(".") or type(error).__name__
        ) from error
    finally:
        server.close()
        watch.stopped.set()
        thread.join(10)


class _Watch(JobContext):
    """Runs the program until it is stopped, and keeps its last lines."""

    def __init__(self, job: JobContext) -> None:
        super().__init__(job.id, job.channel, job.flags)
        self.stopped = threading.Event()
        self.lines: list[str] = []

    def check(self) -> None:
        """Raise CancelledError once the server is to stop."""
        if self.stopped.is_set():
            raise CancelledError
        super().check()

    def run(self, command: Sequence[str]) -> None:
        """Run the program to its end."""
        try:
            child_process.run(command, self, self._remember)
        except OSError as error:
            self._remember(str(error))
        except CancelledError:
            return

    def _remember(self, line: str) -> None:
        self.lines = [*self.lines[-_MOST_LINES:], line]


def _wait_until_ready(
    server: LlamaServer, watch: _Watch, thread: threading.Thread, program: str, model: Path
) -> None:
    waited = 0.0
    while thread.is_alive() and waited < _PATIENCE:
        watch.check()
        if server.is_ready():
            return
        watch.stopped.wait(0.1)
        waited += 0.1
    # llama.cpp's Jinja names the construct that it can't execute, then writes other lines.
    errors = [line for line in watch.lines if line.startswith(("While executing", "Error:"))]
    if errors:
        raise fail(
            "export.other_jinja",
            "{program} can't use the chat template: {reason}.",
            "Ollama 0.30 and later, LM Studio, and llama.cpp are affected. Choose another chat template "
            "before training, or use the TEMPLATE with Ollama before 0.30.",
            where=Where(step="export", field="llama_cpp", file=program),
            program=program,
            reason=" ".join(errors[-2:]),
        )
    if architecture := find_unknown_architecture("\n".join(watch.lines)):
        where = Where(step="export", field="llama_cpp", file=program)
        version = _read_version(program, watch)
        raise unknown_architecture_error(program, version, architecture, model, where)
    reason = watch.lines[-1] if watch.lines else text("it ended")
    raise _server_failed_error(program, "{program} didn't start: {reason}.", reason)


def _read_version(program: str, job: JobContext) -> str:
    """Return what llama-server says of its version, "" if nothing."""
    lines: list[str] = []
    child_process.run([program, "--version"], job, lines.append)
    named = (line.partition("version:")[2].strip() for line in lines if "version:" in line)
    return next(named, "")


def _server_failed_error(program: str, what: Template, reason: Text | str) -> ProblemError:
    return fail(
        "export.llama_server_failed",
        what,
        "Update llama.cpp, or remove llama-server from PATH. The export doesn't depend on it.",
        where=Where(step="export", field="llama_cpp", file=program),
        program=program,
        reason=reason,
    )
