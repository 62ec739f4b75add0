"""Conversations that aren't a list of turns: trees of turns, exported chats, and numbered rounds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lora_studio.core.dataset.formats.values import is_blank, is_missing, normalize_name

#: Parts of an exported chat that are not messages: settings, memories, drafts of thoughts.
_UNSAID = ("user_editable_context", "model_editable_context", "thoughts", "reasoning_recap")
_ROUND = re.compile(r"(?:turn|round)[ _-]?(\d{1,6})")
#: Markers around every field of such a round: `<|Human|>: …<eoh>`.
_BEFORE = re.compile(r"\A\s*<\|[^<>|\n]{1,40}\|>:[ \t]?\n?")
_BEHIND = re.compile(r"\s*<eo[chmrt]>\s*\Z")


def is_object_list(value: Any) -> bool:
    """Return whether a value is a list of objects."""
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def iter_best_path(turn: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a turn, then the best reply by `rank` (0 is the best), recursively."""
    current: dict[str, Any] | None = turn
    while current is not None:
        yield current
        replies = [reply for reply in current.get("replies") or () if _is_accepted(reply)]
        current = min(replies, key=_get_rank, default=None)


def _is_accepted(reply: dict[str, Any]) -> bool:
    """Return whether a reply was neither deleted nor rejected in review."""
    return not reply.get("deleted") and reply.get("review_result") is not False


def _get_rank(reply: dict[str, Any]) -> float:
    rank = reply.get("rank")
    return rank if isinstance(rank, int | float) and not is_missing(rank) else float("inf")


def is_export(value: dict[str, Any]) -> bool:
    """Return whether a value is a chat exported by ChatGPT: nodes by id, each with message and
    children.
    """
    return bool(value) and all(
        isinstance(node, dict) and "message" in node and isinstance(node.get("children"), list)
        for node in value.values()
    )


def iter_exported_turns(nodes: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the turns of an exported chat; of regenerated answers, the last one."""
    node_id = next((name for name, node in nodes.items() if not _has_parent(node, nodes)), None)
    seen: set[Any] = set()
    while node_id in nodes and node_id not in seen:
        seen.add(node_id)
        node = nodes[node_id]
        if turn := _read_exported(node["message"]):
            yield turn
        node_id = next((name for name in reversed(node["children"]) if isinstance(name, str)), None)


def _has_parent(node: dict[str, Any], nodes: dict[str, Any]) -> bool:
    parent = node.get("parent")
    return isinstance(parent, str) and parent in nodes


def _read_exported(message: Any) -> dict[str, Any] | None:
    """Return one turn of an exported chat; None for nodes that are not messages."""
    if not isinstance(message, dict) or not isinstance(content := message.get("content"), dict):
        return None
    about, author = message.get("metadata"), message.get("author")
    hidden = isinstance(about, dict) and about.get("is_visually_hidden_from_conversation")
    if hidden or content.get("content_type") in _UNSAID or not isinstance(author, dict):
        return None
    parts = content.get("parts", [content.get("text")])
    texts = [_read_part(part) for part in (parts if isinstance(parts, list) else []) if part]
    return {"role": author.get("role"), "content": texts} if texts else None


def _read_part(part: Any) -> Any:
    """Return the text of a part, also of transcribed audio; any other part is an image."""
    text = part.get("text") if isinstance(part, dict) else part
    return text if isinstance(text, str) else {"type": "image"}


def find_rounds(value: Any) -> list[dict[str, Any]]:
    """Return the rounds of {"turn_1": {…}, "turn_2": {…}} in order, [] for anything else."""
    if not isinstance(value, dict) or not value:
        return []
    numbers = {str(name): _ROUND.fullmatch(str(name).casefold()) for name in value}
    if not all(numbers.values()) or not all(isinstance(one, dict) for one in value.values()):
        return []
    order = sorted(value, key=lambda name: int(str(name).casefold().strip("turnod _-")))
    return [value[name] for name in order]


def iter_round_turns(fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the turns of a round. Calls have a notation of their own and stay texts."""
    texts = {normalize_name(str(name)): _strip_markers(text) for name, text in fields.items()}
    thought = _clean_text(texts.pop("innerthoughts", ""))
    calls, result = (
        _clean_text(texts.pop("commands", "")),
        _clean_text(texts.pop("toolresponses", "")),
    )
    answer = next((texts.pop(name) for name in ("moss", "assistant", "bot") if name in texts), None)
    yield from ({"role": name, "content": text} for name, text in texts.items())
    if calls:
        yield {"role": "assistant", "content": calls, "reasoning_content": thought}
        yield {"role": "tool", "content": result}
        thought = ""
    if answer is not None:
        yield {"role": "assistant", "content": answer, "reasoning_content": thought}


def _strip_markers(text: Any) -> Any:
    """Return a text without the markers around it."""
    return _BEHIND.sub("", _BEFORE.sub("", text)) if isinstance(text, str) else text


def _clean_text(text: Any) -> Any:
    """Return a text, "" if it is a placeholder for an empty one."""
    return "" if is_blank(text) or text == "None" else text
