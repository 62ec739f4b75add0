"""What a model that llama-server serves is, and requests to it to copy."""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol.chat import ServerReady
from lora_studio.core.runs import chat_models, folder
from lora_studio.core.runs import names as run_names
from lora_studio.core.runs.folder import RunFolder

_MESSAGES = [{"role": "user", "content": "Hello"}]
#: A text to embed.
_TEXT = "Where is the train station?"

#: Maximum number of runs, newest first, that are searched for adapters.
_MAX_RUNS = 100


@dataclass(frozen=True)
class RunOption:
    """A run with an adapter, and its name."""

    path: Path
    name: str

    @classmethod
    def read(cls, run: RunFolder) -> RunOption:
        """Return the option for a run."""
        return cls(run.path, run_names.read_run_name(run))


def iter_runs_of_base(runs: Path, first: Path) -> Iterator[RunOption]:
    """Yield the runs in a folder with adapters for the base model of the run `first`, newest first."""
    source = RunFolder(first).load_project().model.source
    for run in folder.list_started_runs(runs, _MAX_RUNS):
        with contextlib.suppress(ProblemError, OSError):
            if run.has_adapter and run.load_project().model.source == source:
                yield RunOption.read(run)


def choose_gguf_file(run: RunFolder) -> Path | None:
    """Return the GGUF file of a run's merged model to serve, None if it has none.

    Of several, the first quantization of the run's export settings is served, as Ollama uses it.
    """
    files = chat_models.list_gguf_files(run)
    project = run.load_project()
    preferred = [run.get_gguf_file(project.name, name) for name in project.export.quantizations]
    return next((file for file in preferred if file in files), next(iter(files), None))


def get_api_address(server: ServerReady) -> str:
    """Return the OpenAI-compatible address, the `base_url` of clients."""
    return f"{server.address}/v1"


def format_curl(server: ServerReady) -> str:
    """Return a shell command that asks the server, with the scale of every adapter."""
    if server.embeds:
        body: dict[str, Any] = {"model": server.model, "input": _TEXT}
        return _format_post(f"{get_api_address(server)}/embeddings", body, server.key)
    body = {"model": server.model, "messages": _MESSAGES} | _list_scales(server)
    return _format_post(f"{get_api_address(server)}/chat/completions", body, server.key)


def format_ollama_embed_curl(host: str, model: str) -> str:
    """Return a shell command that asks an embedding model in Ollama for a vector."""
    return _format_post(f"{host}/api/embed", {"model": model, "input": _TEXT})


def _format_post(address: str, body: dict[str, Any], key: str = "") -> str:
    authorization = ["-H", f"Authorization: Bearer {key}"] if key else []
    command = ["curl", address, "-H", "Content-Type: application/json", *authorization]
    command += ["-d", json.dumps(body)]
    is_windows = sys.platform == "win32"
    return subprocess.list2cmdline(command) if is_windows else shlex.join(command)


def format_python(server: ServerReady) -> str:
    """Return Python code that asks the server through the package openai."""
    key = json.dumps(server.key or "none")
    connection = f'client = OpenAI(base_url="{get_api_address(server)}", api_key={key})\n'
    if server.embeds:
        return (
            f"from openai import OpenAI\n\n{connection}"
            f"answer = client.embeddings.create(model={json.dumps(server.model)}, input={json.dumps(_TEXT)})\n"
            "print(answer.data[0].embedding)\n"
        )
    scales = _list_scales(server)
    extra = f"    extra_body={json.dumps(scales)},\n" if scales else ""
    return (
        f"from openai import OpenAI\n\n{connection}"
        "answer = client.chat.completions.create(\n"
        f"    model={json.dumps(server.model)},\n"
        f"    messages={json.dumps(_MESSAGES)},\n"
        f"{extra})\n"
        "print(answer.choices[0].message.content)\n"
    )


def _list_scales(server: ServerReady) -> dict[str, Any]:
    """Return the field of a request with the scale of every adapter; adapters that it omits don't apply."""
    if not server.adapters:
        return {}
    return {"lora": [{"id": each.id, "scale": each.scale} for each in server.adapters]}
