"""Tool descriptions as datasets write them, and tool calls in answers."""

from __future__ import annotations

import json
import re
from typing import Any

from lora_studio.core.dataset.formats.values import (
    drop_nulls,
    is_blank,
    is_missing,
    parse_literal,
    require_valid_text,
    to_json,
    to_text,
)
from lora_studio.core.dataset.samples import UnusableRow
from lora_studio.core.dataset.spec import ToolCall

#: Fields of function descriptions for Bedrock and Gemini.
_OTHER_TOOLS = {"toolSpec", "functionDeclarations", "function_declarations"}
_QUOTED_ARGUMENTS = re.compile(r"""("arguments":\s*)'(.*)'(\s*\}\s*)\Z""", re.DOTALL)


def read_tools(value: Any) -> tuple[dict[str, Any], ...]:
    """Return function descriptions: a list, a single one, or either as JSON text; raises
    UnusableRow.

    Null fields are dropped, and Anthropic's `input_schema` becomes `parameters`, which chat templates
    look for. Everything else is unchanged.
    """
    if is_blank(value):
        return ()
    value = parse_literal(value)
    if isinstance(value, dict) and isinstance(value.get("tools"), list):
        value = value["tools"]
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list | tuple):
        raise UnusableRow("the tools are not a list of function descriptions")
    entries = [drop_nulls(parse_literal(tool)) for tool in value if not is_blank(tool)]
    if not all(isinstance(tool, dict) and not _OTHER_TOOLS & tool.keys() for tool in entries):
        raise UnusableRow("the tools are not a list of function descriptions")
    require_valid_text(to_json(entries))
    return tuple(map(_rename_schema, entries))


def _rename_schema(tool: dict[str, Any]) -> dict[str, Any]:
    """Return a function description with `parameters` in place of an input schema."""
    schema = next((name for name in ("input_schema", "inputSchema") if name in tool), None)
    if schema is None or "parameters" in tool:
        return tool
    return {"parameters" if key == schema else key: item for key, item in tool.items()}


def split_off_tools(system: str) -> tuple[str, tuple[dict[str, Any], ...]]:
    """Return a system message without the function descriptions at its end, and these descriptions.

    Returns the text unchanged and () if it does not end in descriptions.
    """
    start = system.find("{")
    decoder, position, tools = json.JSONDecoder(), start, []
    while 0 <= position < len(system):
        try:
            tool, position = decoder.raw_decode(system, position)
        except (ValueError, RecursionError):
            return system, ()
        tools.append(tool)
        position += len(system[position:]) - len(system[position:].lstrip(" \n\r\t,"))
    if not tools or not all(isinstance(tool, dict) and "name" in tool for tool in tools):
        return system, ()
    return system[:start].rstrip(), tuple(tools)


def find_calls(value: Any) -> tuple[ToolCall, ...]:
    """Return the tool calls that an answer consists of, () if it is something else."""
    items = parse_literal(value)
    if isinstance(items, dict):
        items = [items]
    if not isinstance(items, list | tuple) or not items:
        return ()
    if not all(isinstance(item, dict) and {"name", "arguments"} <= set(item) for item in items):
        return ()
    return read_calls(items)


def read_calls(value: Any) -> tuple[ToolCall, ...]:
    """Return tool calls: a list, a single one, or either as JSON text; raises UnusableRow."""
    value = parse_literal(value)
    if is_blank(value):
        return ()
    items = [value] if isinstance(value, dict) else value
    if not isinstance(items, list | tuple):
        raise UnusableRow("the tool calls are not a list")
    return tuple(read_call(parse_literal(item)) for item in items if not is_missing(item))


def read_call(item: Any) -> ToolCall:
    """Return one call, in OpenAI's form or with only name and arguments; raises UnusableRow."""
    if not isinstance(item, dict):
        raise UnusableRow("a tool call is not an object")
    function = item.get("function")
    inner = function if isinstance(function, dict) else item
    name = inner.get("name") or (function if isinstance(function, str) else None)
    if not isinstance(name, str):
        raise UnusableRow("a tool call has no name")
    names = ("arguments", "parameters", "args", "input")
    raw: Any = next((inner[key] for key in names if not is_missing(inner.get(key))), {})
    arguments = parse_literal(raw) if isinstance(raw, str) else drop_nulls(raw)
    if is_blank(arguments):
        arguments = {}
    if not isinstance(arguments, dict):
        raise UnusableRow("the arguments of a tool call are not an object")
    arguments = {str(key): value for key, value in arguments.items()}
    require_valid_text(to_json(arguments))
    return ToolCall(
        name=to_text(name),
        arguments=arguments,
        id=to_text(item.get("call_id") or item.get("id")),
    )


def unquote_arguments(text: str) -> str:
    """Return a call with single-quoted arguments as JSON with the arguments as an object."""
    match = _QUOTED_ARGUMENTS.search(text)
    return text if match is None else text[: match.start()] + "".join(match.groups())
