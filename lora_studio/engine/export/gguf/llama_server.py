"""Run llama.cpp's own server: to serve models, and to ask it for prompts.

Its Jinja is not Python's, and Ollama uses it since 0.30.
"""

from __future__ import annotations

import json
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from lora_studio.core import llama_cpp as programs
from lora_studio.core.messages import Template, Text, text
from lora_studio.core.network.connections import contacting
from lora_studio.core.network.purposes import Purpose
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.system.files import describe_os_error
from lora_studio.engine.export.gguf.architecture_support import (
    find_unknown_architecture,
    unknown_architecture_error,
)
from lora_studio.engine.runtime import child_process
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.disk import find_program_disk_problem
from lora_studio.engine.runtime.failures import CancelledError
from lora_studio.engine.tokens.chat_format import THINKING_KEYS

#: Options to ask for prompts: probe conversations are short, and the model runs for few tokens.
_PROBING = (
    "--ctx-size", "4096", "--parallel", "1", "--no-warmup", "--gpu-layers", "0",
)  # fmt: skip

#: Pages of other sites, which a browser runs, can't use the server, and it contacts no host. Versions
#: without these settings ignore them; options that they don't know would end them.
_VARIABLES = {"LLAMA_ARG_CORS_ORIGINS": "localhost", "LLAMA_ARG_OFFLINE": "1"}

#: The server's variable for its key, which a command line would show to every user of the computer.
KEY_VARIABLE = "LLAMA_API_KEY"

#: Keeps builds for GPUs off them: with no layer there, they still reserve memory, and end if a training holds it.
_ON_CPU = {"LLAMA_ARG_DEVICE": "none"}

#: What to do about a failure where the server only proves an export.
_NOT_NEEDED = "Update llama.cpp, or remove llama-server from PATH. The export doesn't depend on it."

#: Lines of the server's output to keep: an error of a template follows the template itself.
_MOST_LINES = 40

#: Seconds until the server must have loaded the model's vocabulary and weights.
_PATIENCE = 600.0

#: What requests raise when the server has ended or doesn't answer in time.
ServerError = httpx.HTTPError


class LlamaServer:
    """A running llama-server at an address, which answers only requests with its key."""

    def __init__(self, address: str, key: str, job: JobContext) -> None:
        """Connect to the server."""
        self.address, self.key = address, key
        self._job = job
        headers = {"authorization": f"Bearer {key}"}
        self._http = httpx.Client(base_url=address, headers=headers, timeout=120.0, trust_env=False)

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

    def set_scales(self, scales: Sequence[float]) -> None:
        """Set how strongly each adapter applies where a request doesn't say so; raises ValueError."""
        self._post("/lora-adapters", [{"id": i, "scale": scale} for i, scale in enumerate(scales)])

    def _post(self, path: str, body: Any) -> Any:
        self._job.check()
        answer = self._http.post(path, json=body)
        content = answer.json()
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
    """Run llama-server for questions about prompts until the block ends; raises ProblemError."""
    process = ServerProcess(job)
    with process.run(program, model, (*_PROBING, *options), variables=_ON_CPU) as server:
        yield server


class ServerProcess(JobContext):
    """A llama-server on the loopback that this process starts and ends, and its last lines."""

    def __init__(
        self,
        job: JobContext,
        on_line: Callable[[str], None] = lambda _: None,
        remedy: Template = _NOT_NEEDED,
    ) -> None:
        """Start nothing yet. `on_line` gets each line, in another thread; `remedy` is for failures."""
        super().__init__(job.id, job.channel, job.flags)
        self.program = self._runs = (
            ""  # as the user knows it, and what runs, which may be a copy of it
        )
        self._variables: dict[str, str] = {}
        self._on_line, self._remedy = on_line, remedy
        self._stopped = threading.Event()
        self.lines: list[str] = []
        self.thread: threading.Thread | None = None

    @contextmanager
    def run(
        self,
        program: str,
        model: Path,
        options: Sequence[str],
        *,
        port: int = 0,
        key: str = "",
        variables: Mapping[str, str] = {},
    ) -> Iterator[LlamaServer]:
        """Run the program with a model until the block ends; raises ProblemError.

        `port` 0 is a free one; `variables` are added to the program's environment. Without `key`, the key is
        random: any page in a browser, and any user of this computer, can reach the address.
        """
        port, key = _reserve_port(port), key or secrets.token_urlsafe(24)
        command = child_process.get_watched_command(
            program, "--model", str(model), "--host", "127.0.0.1", "--port", str(port), "--jinja",
            *options,
        )  # fmt: skip
        self.program = programs.get_original(program)
        self._runs, self._variables = program, _VARIABLES | programs.get_variables(program)
        self.thread = threading.Thread(
            target=self._run_to_end,
            args=(command, self._variables | dict(variables) | {KEY_VARIABLE: key}),
            daemon=True,
        )
        self.thread.start()
        server = LlamaServer(f"http://127.0.0.1:{port}", key, self)
        try:
            with contacting(Purpose.LLAMA_SERVER):
                _wait_until_ready(server, self, model)
                yield server
        except ServerError as error:
            self.check()  # a cancel ends the program while it answers
            reason = str(error).rstrip(".") or type(error).__name__
            raise self.make_error("{program} stopped: {reason}.", reason) from error
        finally:
            server.close()
            self._stopped.set()
            self.thread.join(10)

    def check(self) -> None:
        """Raise CancelledError once the server is to stop."""
        if self._stopped.is_set():
            raise CancelledError
        super().check()

    def require_running(self) -> None:
        """Raise ProblemError if the program has ended by itself."""
        if not self.is_running():
            raise self.make_error("{program} stopped: {reason}.", self.get_reason())

    def is_running(self) -> bool:
        """Return whether the program runs."""
        return self.thread is not None and self.thread.is_alive()

    def get_reason(self) -> Text | str:
        """Return what the program printed last."""
        return self.lines[-1] if self.lines else text("it ended")

    def read_version(self) -> str:
        """Return what the program says of its version, "" if nothing."""
        lines: list[str] = []
        child_process.run([self._runs, "--version"], self, lines.append, self._variables)
        named = (line.partition("version:")[2].strip() for line in lines if "version:" in line)
        return next(named, "")

    def make_error(self, what: Template, reason: Text | str) -> ProblemError:
        """Return the problem of a program that failed for a reason."""
        return fail(
            "export.llama_server_failed",
            what,
            self._remedy,
            where=Where(step="export", field="llama_cpp", file=self.program),
            program=self.program,
            reason=reason,
        )

    def _run_to_end(self, command: Sequence[str], variables: Mapping[str, str]) -> None:
        try:
            child_process.run(command, self, self._remember, variables)
        except OSError as error:
            self._remember(str(error))
        except CancelledError:
            return

    def _remember(self, line: str) -> None:
        self.lines = [*self.lines[-_MOST_LINES:], line]
        self._on_line(line)


def _reserve_port(port: int) -> int:
    """Return a port that is free now, which is the given one unless that is 0; raises ProblemError."""
    with socket.socket() as probe:
        if sys.platform != "win32":  # a server that ended a moment ago doesn't block its port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise fail(
                "serve.port",
                "Port {port:d} can't be used: {reason}.",
                "Choose another port, or 0 for any free port.",
                where=Where(step="export"),
                port=port,
                reason=describe_os_error(error),
            ) from error
        return int(probe.getsockname()[1])


def _wait_until_ready(server: LlamaServer, process: ServerProcess, model: Path) -> None:
    until = time.monotonic() + _PATIENCE
    while process.is_running() and time.monotonic() < until:
        process.check()
        if server.is_ready():
            return
        time.sleep(0.1)
    # llama.cpp's Jinja names the construct that it can't execute, then writes other lines.
    errors = [line for line in process.lines if line.startswith(("While executing", "Error:"))]
    if errors:
        raise fail(
            "export.other_jinja",
            "{program} can't use the chat template: {reason}.",
            "Ollama 0.30 and later, LM Studio, and llama.cpp are affected. Choose another chat template "
            "before training, or use the TEMPLATE with Ollama before 0.30.",
            where=Where(step="export", field="llama_cpp", file=process.program),
            program=process.program,
            reason=" ".join(errors[-2:]),
        )
    if architecture := find_unknown_architecture("\n".join(process.lines)):
        where = Where(step="export", field="llama_cpp", file=process.program)
        version = process.read_version()
        raise unknown_architecture_error(process.program, version, architecture, model, where)
    stage = text("Loading the model")
    if problem := find_program_disk_problem(process.lines, stage, model, model):
        raise ProblemError(problem)
    raise process.make_error("{program} didn't start: {reason}.", process.get_reason())
