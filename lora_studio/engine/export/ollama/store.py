"""What an Ollama server keeps: shown, copied, removed, and compared with what was sent to it."""

from __future__ import annotations

import json
import re
from typing import Any

import ollama as official

from lora_studio.core.export import is_ollama_name, is_ollama_name_taken
from lora_studio.core.problems import Problem, ProblemError, Where, fail
from lora_studio.core.project.project import Draft
from lora_studio.core.protocol import events
from lora_studio.engine.export.ollama import server as ollama_server
from lora_studio.engine.export.ollama.server import QUICK, CreateRequest, problems, server

_WHERE = Where(step="export", field="ollama_name")
_BLOB = re.compile(r"^FROM .*sha256[-:]([0-9a-f]{64})\s*$", re.MULTILINE)


def show(host: str, name: str) -> events.OllamaShown:
    """What the server has stored for a model; raises ProblemError when there is none."""
    place = server(host)
    with problems(place), place.http() as http:
        # The official client drops the system prompt.
        answer = http.post("/api/show", json={"model": name})
        if answer.status_code == 404:
            raise _no_model(host, name)
        answer.raise_for_status()
        shown: dict[str, Any] = answer.json()
    parameters, stops = _parameters(shown.get("parameters") or "")
    blob = _BLOB.search(shown.get("modelfile") or "")
    details = shown.get("details") or {}
    return events.OllamaShown(
        host=place.host,
        name=name,
        template=shown.get("template") or "",
        system=shown.get("system") or "",
        stops=stops,
        parameters=parameters,
        digest=f"sha256:{blob[1]}" if blob else "",
        family=details.get("family") or "",
        quantization=details.get("quantization_level") or "",
    )


def copy(host: str, source: str, target: str, *, force: bool = False) -> None:
    """Gives a model a second name; raises ProblemError when it is taken, unless `force`."""
    place = server(host)
    check_name(target)
    if not force and is_ollama_name_taken(target, ollama_server.find(host).models):
        raise taken(target, place.host)
    with problems(place), place.client(QUICK) as client:
        try:
            client.copy(source, target)
        except official.ResponseError as error:
            raise _unless_missing(error, host, source) from error


def remove(host: str, name: str) -> None:
    """Removes a model; raises ProblemError when there is none of that name."""
    place = server(host)
    with problems(place), place.client(QUICK) as client:
        try:
            client.delete(name)
        except official.ResponseError as error:
            raise _unless_missing(error, host, name) from error


def check_name(name: str) -> None:
    """Raises ProblemError where no server would take the name."""
    if not is_ollama_name(name):
        draft = Draft()
        draft.set("export", "ollama_name", name)
        raise ProblemError(draft.problems())


def taken(name: str, host: str) -> ProblemError:
    """The problem that a model of this name exists."""
    return fail(
        "ollama.exists",
        f"There is a model {name} at {host} already.",
        "Choose another name or tag, or replace it (--force on the command line).",
        where=_WHERE,
    )


def differences(recipe: CreateRequest, digest: str, stored: events.OllamaShown) -> list[str]:
    """In words what the server has stored otherwise than it was sent; empty when all is well."""
    sent = {key: value for key, value in recipe.parameters.items() if key != "stop"}
    found = [
        name
        for name, one, two in (
            ("the TEMPLATE", recipe.template, stored.template),
            ("the system prompt", recipe.system, stored.system),
            ("the stop strings", set(recipe.stops), set(stored.stops)),
        )
        if one != two
    ]
    for key, value in sent.items():
        kept = stored.parameters.get(key)
        if kept is None or float(kept) != float(value):
            found.append(f"{key} ({value} became {kept or 'nothing'})")
    if stored.digest and stored.digest != digest:
        found.append("the weights")
    return found


def not_as_sent(name: str, found: list[str]) -> Problem:
    """The problem that a server has stored something else than it was sent."""
    return Problem(
        code="ollama.stored_otherwise",
        what=f"Ollama has stored {name} otherwise than it was sent: {'; '.join(found)}.",
        remedy="Its answers can differ from those of the trained model. Update Ollama and create "
        "the model again.",
        where=_WHERE,
    )


def _unless_missing(error: official.ResponseError, host: str, name: str) -> Exception:
    return _no_model(host, name) if error.status_code == 404 else error


def _no_model(host: str, name: str) -> ProblemError:
    known = ollama_server.find(host).models
    there = f"There are: {', '.join(known[:8])}." if known else "There are no models yet."
    return fail("ollama.no_model", f"Ollama has no model {name}.", there, where=_WHERE)


def _parameters(text: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """The parameters and the stop strings of a server's listing, one a line, texts in quotes."""
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
