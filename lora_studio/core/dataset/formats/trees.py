"""Conversations written as trees of turns: the path through them that trains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lora_studio.core.dataset.formats.values import is_missing

#: Parts of an exported chat that are not messages: settings, memories, drafts of thoughts.
_UNSAID = ("user_editable_context", "model_editable_context", "thoughts", "reasoning_recap")


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
