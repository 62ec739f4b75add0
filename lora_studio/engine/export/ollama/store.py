"""Show, copy, remove and verify the models stored in an Ollama server."""

from __future__ import annotations

import json
import re
from typing import Any

import ollama as official

from lora_studio.core.export import is_ollama_name, is_ollama_name_taken
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.project.project import Draft
from lora_studio.core.protocol import events
from lora_studio.engine.export.ollama import server as ollama_server
from lora_studio.engine.export.ollama.client import QUICK, create_client, translate_ollama_errors

_WHERE = Where(step="export", field="ollama_name")
_BLOB = re.compile(r"^(.*sha256[-:]([0-9a-f]{64}))\s*$")


def show_model(host: str, name: str) -> events.OllamaShown:
    """Return what the server has stored for a model; raises ProblemError when there is none."""
    server = create_client(host)
    with translate_ollama_errors(server), server.create_http_client() as http:
        # The official client drops the system prompt.
        answer = http.post("/api/show", json={"model": name})
        if answer.status_code == 404:
            raise _missing_model_error(host, name)
        answer.raise_for_status()
        shown: dict[str, Any] = answer.json()
        return read_shown(server.host, name, shown)


def read_shown(host: str, name: str, shown: dict[str, Any]) -> events.OllamaShown:
    """Return what the answer of /api/show says about a model."""
    parameters, stops = _parse_parameters(shown.get("parameters") or "")
    commands = _parse_modelfile(shown.get("modelfile") or "")
    blob = _BLOB.match(commands.get("FROM", ""))
    details = shown.get("details") or {}
    selected = shown.get("template") or ""
    stored = commands.get("TEMPLATE", selected)
    info = shown.get("model_info") or {}
    return events.OllamaShown(
        host=host,
        name=name,
        template=stored,
        chat_template=selected if selected != stored else "",
        system=shown.get("system") or "",
        stops=stops,
        parameters=parameters,
        digest=f"sha256:{blob[2]}" if blob else "",
        file=blob[1] if blob else "",
        family=details.get("family") or "",
        quantization=details.get("quantization_level") or "",
        # Servers have these fields, and leave them empty.
        renderer=commands.get("RENDERER", shown.get("renderer") or ""),
        parser=commands.get("PARSER", shown.get("parser") or ""),
        capabilities=tuple(map(str, shown.get("capabilities") or ())),
        header={key: value for key, value in info.items() if isinstance(value, str | int | float)},
    )


def copy_model(host: str, source: str, target: str, *, force: bool = False) -> None:
    """Copy a model to a second name; raises ProblemError when that exists, unless `force`."""
    server = create_client(host)
    check_name(target)
    if not force and is_ollama_name_taken(target, ollama_server.inspect_server(host).models):
        raise name_exists_error(target, server.host)
    with translate_ollama_errors(server), server.create_client(QUICK) as client:
        try:
            client.copy(source, target)
        except official.ResponseError as error:
            raise _translate_missing(error, host, source) from error


def remove_model(host: str, name: str) -> None:
    """Remove a model; raises ProblemError when there is none of that name."""
    server = create_client(host)
    with translate_ollama_errors(server), server.create_client(QUICK) as client:
        try:
            client.delete(name)
        except official.ResponseError as error:
            raise _translate_missing(error, host, name) from error


def check_name(name: str) -> None:
    """Raise ProblemError for a name that no server accepts."""
    if not is_ollama_name(name):
        draft = Draft()
        draft.set("export", "ollama_name", name)
        raise ProblemError(draft.list_problems())


def name_exists_error(name: str, host: str) -> ProblemError:
    """Return the error that a model of this name exists."""
    return fail(
        "ollama.exists",
        "The model {model} already exists at {host}.",
        "Choose another name or tag, or replace it (`{option}` on the command line).",
        where=_WHERE,
        model=name,
        host=host,
        option="--force",
    )


def _translate_missing(error: official.ResponseError, host: str, name: str) -> Exception:
    return _missing_model_error(host, name) if error.status_code == 404 else error


def _missing_model_error(host: str, name: str) -> ProblemError:
    models = ollama_server.inspect_server(host).models
    return fail(
        "ollama.no_model",
        "Ollama has no model {model}.",
        "Available models: {names}." if models else "It has no models yet.",
        where=_WHERE,
        model=name,
        names=", ".join(models[:8]),
    )


def _parse_modelfile(source: str) -> dict[str, str]:
    """Return the first value of each command of a Modelfile that a server writes.

    Only texts with line breaks, or with blanks at an end, are quoted (parser/parser.go, quote,
    0.33.0-rc2). What follows a quote that isn't closed is ignored.
    """
    commands: dict[str, str] = {}
    start = 0
    while start < len(source):
        end = (source.find("\n", start) + 1 or len(source) + 1) - 1
        name, blank, value = source[start:end].partition(" ")
        quote = next((mark for mark in ('"""', '"') if value.startswith(mark)), "")
        if quote and not (len(value) >= 2 * len(quote) and value.endswith(quote)):
            first = start + len(name + blank + quote)
            last = source.find(f"{quote}\n", first)
            if last < 0:
                break
            value, end = source[first:last], last + len(quote)
        elif quote and value.strip(f"{quote} ") != value.strip(quote):
            value = value.removeprefix(quote).removesuffix(quote)
        if not name.startswith("#"):
            commands.setdefault(name, value)
        start = end + 1
    return commands


def _parse_parameters(text: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Parse the parameters and stop strings of a server's listing, one per line, texts in quotes."""
    parameters: dict[str, str] = {}
    stops: list[str] = []
    for line in text.split("\n"):
        name, _, value = line.strip().partition(" ")
        value = value.strip()
        if value.startswith('"'):
            try:
                value = str(json.loads(value))
            except ValueError:  # Go quotes a few characters in another way than JSON
                value = value[1:-1]
        if name == "stop":
            stops.append(value)
        elif name:
            parameters[name] = value
    return parameters, tuple(stops)
