"""Lines between window and worker, and the messages in them."""

from __future__ import annotations

import io
import json
import random
import threading
import typing
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from lora_studio.cli.event_text import describe
from lora_studio.core.messages import READABLE, Text
from lora_studio.core.protocol import commands, events
from tests.campaign.family import SimpleFamily, WrongResultError
from tests.campaign.mutation import damage_bytes, damage_json, draw_text, draw_value, dump


def _build_seed(model: Any, depth: int = 0) -> Any:
    """Return plausible JSON for a type: an object for a model, one value for each field."""
    origin, arguments = typing.get_origin(model), typing.get_args(model)
    if model is Text:
        return {"template": "{n} of {total:size}", "values": {"n": 1, "total": 2.5}}
    if isinstance(model, type) and issubclass(model, BaseModel):
        if depth > 4:
            return {}
        return {
            name: field.default
            if isinstance(field.default, str | int | float | bool) and name == "kind"
            else _build_seed(field.annotation, depth + 1)
            for name, field in model.model_fields.items()
        }
    if origin is typing.Literal:
        return arguments[0]
    if origin is tuple:
        return [_build_seed(part, depth + 1) for part in arguments if part is not Ellipsis]
    if origin is list:
        return [_build_seed(arguments[0], depth + 1)]
    if origin is dict:
        return {"a": _build_seed(arguments[1], depth + 1)}
    if arguments:
        return _build_seed(arguments[0], depth + 1)
    return {str: "x", int: 3, float: 1.5, bool: True}.get(model)


def _seed_of(model: type[BaseModel]) -> Any:
    return {**_build_seed(model), "id": "x"}


EVENTS = [_seed_of(model) for model in typing.get_args(events.Event)]
COMMANDS = [
    _seed_of(model)
    for union in (commands.Job, commands.Question, commands.Control)
    for model in typing.get_args(union)
]


def generate_event(rng: random.Random) -> bytes:
    """Return a damaged event."""
    return damage_json(rng, EVENTS)


def run_event(content: bytes, sandbox: Path) -> str:
    """Parse the event and show it as the terminal does; accepted ones survive a round trip."""
    try:
        event = events.parse(content)
    except ValidationError:
        return "refused"
    line = events.to_line(events.parse(events.to_line(event)))
    if events.to_line(events.parse(line)) != line:
        raise WrongResultError("an event is different after a round trip")
    str(describe(event))
    events.to_line(event, READABLE)
    for name in ("problem", "message", "what"):
        str(getattr(event, name, ""))
    return "accepted"


def generate_command(rng: random.Random) -> bytes:
    """Return damaged lines for a worker."""
    lines = [damage_json(rng, COMMANDS).replace(b"\n", b" ") for _ in range(rng.choice((1, 1, 2)))]
    content = b"\n".join(lines) + b"\n"
    return damage_bytes(rng, content) if rng.random() < 0.1 else content


def run_command(content: bytes, sandbox: Path) -> str:
    """Let a worker's reader dispatch the lines; nothing is carried out."""
    from lora_studio.engine.runtime.channel import Inbox

    received: list[Any] = []
    inbox = Inbox(received.append)
    inbox.read_pipe(io.BytesIO(content))
    for thread in threading.enumerate():
        if thread.name == "commands":
            thread.join()
    if received[-1:] != [None]:
        raise WrongResultError("the reader ended before its input")
    accepted = [command for command in received if command is not None]
    for command in accepted:
        pipe = commands.to_pipe(command)
        if commands.to_pipe(commands.parse(pipe)) != pipe:
            raise WrongResultError("a command is different after a round trip")
    return "accepted" if accepted else "refused"


_FIELDS = (
    "{n}", "{n:d}", "{n:size}", "{n:percent}", "{n:duration}", "{n:remaining}", "{n:loss}", "{n:small}", "{n:date}", "{n:memory}",
    "{n:count}", "{n:number}", "{n:>9999999999}", "{n:{n}}", "{n!r}", "{n!x}", "{n.real}", "{n[0]}", "{n.__class__.__mro__}", "{}", "{0}", "{",
    "}", "{{", "{x}", "{n:%Y}", "{n:,}", "{n:.999999999f}", "{n:c}", "{n:e}", "{ n }", "{n:}", "{n!s:>5}",
)  # fmt: skip


def generate_message(rng: random.Random) -> bytes:
    """Return a message: a template and values of any kind."""
    template = "".join(
        rng.choice((rng.choice(_FIELDS), rng.choice(_FIELDS), draw_text(rng, 8)))
        for _ in range(rng.randrange(1, 5))
    )
    inner = {"template": rng.choice(_FIELDS), "values": {"n": draw_value(rng)}}
    value = rng.choice((draw_value(rng), inner, [inner, inner]))
    message = {"template": template, "values": {"n": value, "x": draw_value(rng)}}
    if rng.random() < 0.02:
        for _ in range(rng.choice((3, 12, 40))):  # each level is written several times
            message = {"template": "{n}{n}{n}", "values": {"n": message}}
    if rng.random() < 0.3:
        message["singular"] = rng.choice(_FIELDS)
    return dump(message)


def run_message(content: bytes, sandbox: Path) -> str:
    """Parse the message and write it as a sentence."""
    try:
        message = Text.model_validate_json(content)
    except ValidationError:
        return "refused"
    str(message)
    json.loads(message.model_dump_json(context=READABLE))
    return "accepted"


FAMILIES = [
    SimpleFamily("commands", generate_command, run_command, weight=3),
    SimpleFamily("events", generate_event, run_event, weight=4),
    SimpleFamily("messages", generate_message, run_message, smoke=100, weight=2),
]
