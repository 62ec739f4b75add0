"""Convert conversations, whatever their field names, to messages.

Conventions, where datasets differ:

- An assistant turn trains unless it says otherwise (`weight`, `loss_weight` or `loss_scale` 0;
  `train`, `training` or `loss` false; `masked` true). So can parts of its text (`loss_masks`).
- Turns keep their order. Neighboring turns of one role, and a conversation that the assistant
  opens, are unchanged; merging turns is a repair (`merge_turns`).
- Empty turns are kept if at least one answer has text; removing them is a repair.
- An unknown role makes the row unusable: guessing could train on the wrong speaker.
- In a tree of turns with `replies`, the best ranked reply is used each time; in a chat exported by
  ChatGPT, the last regenerated answer.
- Consecutive call turns become one answer with several calls.
- A leading `<think>…</think>` of an answer becomes its `thinking`, without the line breaks around
  it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, Literal, NamedTuple

from lora_studio.core import limits
from lora_studio.core.dataset.formats.values import (
    drop_nulls,
    is_blank,
    is_media_part,
    is_missing,
    normalize_name,
    parse_literal,
    require_valid_text,
    to_json,
    to_text,
)
from lora_studio.core.tasks.samples import Message, Role, ToolCall, UnusableKind, UnusableRow

#: Character ranges, end excluded, sorted and disjoint.
Ranges = tuple[tuple[int, int], ...]

_WEIGHTS = ("weight", "loss_weight", "loss_scale")
_TRAINS = ("train", "training", "loss")
_BEGIN, _END = "begin_offset", "end_offset"
_ALL_OF_THINKING = "the row masks parts of its reasoning, which is not supported"


def is_masked(value: Mapping[str, Any]) -> bool:
    """Return whether a turn or a part is marked as excluded from the loss."""
    weights = (value.get(name) for name in _WEIGHTS)
    if any(str(weight).strip() in ("0", "0.0", "False") for weight in weights):
        return True
    if value.get("masked") in (True, "true", "True"):
        return True
    return any(value.get(name) in (False, "false", "False") for name in _TRAINS)


def read_train_details(value: Any, length: int) -> Ranges:
    """Return the ranges of a text of `length` characters that a list of marked spans excludes.

    Each span is an object with `begin_offset`, `end_offset` (the last character, included) and
    `train`. Characters outside all spans do not train. Raises UnusableRow for anything else.
    """
    details = parse_literal(value)
    if not isinstance(details, list | tuple) or not all(map(_is_detail, details)):
        raise UnusableRow("the row masks parts of an answer in an unknown notation")
    trains = bytearray(length)
    for on in (True, False):
        for detail in details:
            begin, end = max(0, int(detail[_BEGIN])), min(length, int(detail[_END]) + 1)
            if is_masked(detail) is not on and begin < end:
                trains[begin:end] = bytes([on]) * (end - begin)
    return _build_ranges(trains)


def read_segments(value: Any) -> tuple[str, Ranges] | None:
    """Return the text of segments that each have a `label` for training, and its untrained ranges.

    Returns None if the value is not a list of such segments.
    """
    pieces = parse_literal(value)
    if not isinstance(pieces, list | tuple) or not pieces or not all(map(_is_segment, pieces)):
        return None
    edges = list(accumulate((len(piece["text"]) for piece in pieces), initial=0))
    spans = zip(pairwise(edges), pieces, strict=True)
    return (
        "".join(piece["text"] for piece in pieces),
        tuple(span for span, piece in spans if not piece["label"] and span[0] < span[1]),
    )


def invert_ranges(ranges: Ranges, length: int) -> Ranges:
    """Return the parts of a text of `length` characters that are in none of the ranges."""
    edges = [0, *(edge for span in ranges for edge in span), length]
    between = zip(edges[::2], edges[1::2], strict=True)
    return tuple((begin, end) for begin, end in between if begin < end)


def shift_ranges(ranges: Ranges, start: int, text: str) -> Ranges:
    """Return the ranges relative to `start`; raises UnusableRow if one excludes letters before it."""
    if any(text[begin : min(end, start)].strip() for begin, end in ranges if begin < start):
        raise UnusableRow(_ALL_OF_THINKING)
    return tuple((max(0, begin - start), end - start) for begin, end in ranges if end > start)


def _is_segment(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("text"), str)
        and isinstance(value.get("label"), bool)
    )


def _is_detail(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(name), int | float) and abs(value[name]) < 2**53
        for name in (_BEGIN, _END)
    )


def _build_ranges(trains: bytearray) -> Ranges:
    """Return the untrained spans as ranges."""
    edges = [0, *(at for at, (a, b) in enumerate(pairwise(trains), 1) if a != b), len(trains)]
    return tuple((a, b) for a, b in pairwise(edges) if a < b and not trains[a])


Style = Literal["messages", "sharegpt"]

_WHO = ("role", "from", "speaker", "author", "sender", "user")
_WHAT = ("content", "value", "text", "message", "utterance", "parts")
#: Fields of an object that holds the turns of a conversation beside other facts about it.
_HOLDERS = ("messages", "turns", "conversation", "conversations", "dialogue", "dialog")
_THINKING = ("reasoning_content", "thinking", "reasoning")
_CALLS = ("tool_calls", "function_call")
_PARTLY = ("train_detail", "training_detail")
#: Items between turns, as in OpenAI's Responses API.
_CALL_ITEM, _RESULT_ITEM, _THOUGHT_ITEM = "function_call", "function_call_output", "reasoning"
_ITEMS = (_CALL_ITEM, _RESULT_ITEM, _THOUGHT_ITEM)
#: Fast path for turns with two fields and a common role, which nearly all turns are: the full check
#: takes a third of a row's conversion time.
_PLAIN_KEYS = (("role", "content"), ("from", "value"))
_PLAIN_ROLES: dict[str, Role] = {
    "system": "system", "user": "user", "human": "user", "assistant": "assistant",
    "gpt": "assistant",
}  # fmt: skip
_THOUGHT = re.compile(r"\s*<think>(.*?)</think>\n*", re.DOTALL)

# "\n\nHuman: …\n\nAssistant: …", or one turn per line if the whole column is a conversation.
_SPEAKERS = (
    "Human|Assistant|User|USER|ASSISTANT|HUMAN|SYSTEM|System|FUNCTION RESPONSE|Bot|AI|GPT|Customer|"
    r"Agent|Patient|Doctor|Student|Teacher|\[\|Human\|\]|\[\|AI\|\]"
)
_PARAGRAPHS = re.compile(rf"(?:\A\s*|\n\n)({_SPEAKERS}):[^\S\n]?|(?:\A|\n)(\[\|(?:Human|AI)\|\]) ?")
_LINES = re.compile(rf"(?:\A\s*|\n)({_SPEAKERS}):[^\S\n]?|(?:\A|\n)(\[\|(?:Human|AI)\|\]) ?")
_END_OF_TEXT = "<|endoftext|>"
_INLINE_CALL = re.compile(r"\s*<functioncall>(.*)\Z", re.DOTALL)


CUT_SHORT = "the answer was cut off or filtered before its end"
_ENDS = ("finish_reason", "stop_reason", "finishReason")
_BEFORE_THE_END = ("length", "content_filter", "max_tokens", "MAX_TOKENS", "SAFETY", "RECITATION")
#: Lists of answers in a response of a server, in the APIs of OpenAI and Gemini.
_RESPONSES = ("choices", "candidates", "generations")


def is_cut_short(answer: Mapping[str, Any]) -> bool:
    """Return whether a server's answer reports that it was truncated."""
    return any(answer.get(name) in _BEFORE_THE_END for name in _ENDS)


def read_response(value: Any) -> Any:
    """Return the first answer in a server's response, or in its list of answers; other values unchanged.

    Raises UnusableRow for an answer that was truncated.
    """
    response = parse_literal(value)
    if isinstance(response, dict):
        response = next((response[name] for name in _RESPONSES if response.get(name)), response)
    first = response[0] if isinstance(response, list) and response else None
    if not isinstance(first, dict) or first is value:
        return value
    answer = first.get("message", first.get("content"))
    if isinstance(first.get("text"), str) and isinstance(value, dict):
        answer = {"content": first["text"]}  # of APIs without turns
    if not isinstance(answer, dict):
        return value
    if is_cut_short(first):
        raise UnusableRow(CUT_SHORT)
    return {"role": "assistant", **answer}


# --- what a value is --------------------------------------------------------------------------


def detect_style(value: Any) -> Style | None:
    """Return the style of a conversation; None if the value is not a list of turns.

    `messages` has role and content; `sharegpt` has other field names or none. A list of bare
    strings is not a conversation.
    """
    turns = _list_turns(value)
    if not turns or not all(isinstance(turn, dict) and _is_turn(turn) for turn in turns[:4]):
        return None
    if all(_find_speaker_field(turn) is None for turn in turns[:4]):
        # {"answer": …, "model": …} alone is not a turn of a conversation.
        speakers = {parse_speaker(str(key)) for turn in turns[:4] for key in turn}
        return "sharegpt" if {"user", "assistant"} <= speakers else None
    openai = "role" in turns[0] and not {"value", "text"} & set(turns[0])
    return "messages" if openai else "sharegpt"


def read_system(value: Any) -> str:
    """Return the text of a system message: text, parts, or a turn; raises UnusableRow."""
    if isinstance(value, dict) and (what := _find_content_field(value)):
        value = value[what]
    return read_parts(value).text


def is_turn(value: Any) -> bool:
    """Return whether a value is one turn: an object with a role and content."""
    return isinstance(value, dict) and _is_turn(value)


def has_turns(value: Any) -> bool:
    """Return whether a value is a list in which at least one item is a turn with a role."""
    return isinstance(value, list | tuple) and any(
        isinstance(item, dict) and _find_speaker_field(item) is not None for item in value
    )


def is_tree(value: Any) -> bool:
    """Return whether a value is a turn with a tree of replies."""
    return is_turn(value) and is_object_list(value.get("replies"))


def is_answer_first(value: Any) -> bool:
    """Return whether the first turn of a conversation is the assistant's (or it is empty)."""
    for turn in _list_turns(value) or ():
        who = _find_speaker_field(turn) if isinstance(turn, dict) else None
        return who is not None and parse_speaker(str(turn[who])) in ("assistant", "call")
    return True


def is_question_last(value: Any) -> bool:
    """Return whether the last turn of a conversation is the user's."""
    turns = _list_turns(value) or [None]
    who = _find_speaker_field(turns[-1]) if isinstance(turns[-1], dict) else None
    return who is not None and parse_speaker(str(turns[-1][who])) == "user"


def _is_turn(turn: dict[str, Any]) -> bool:
    if turn.get("type") in _ITEMS:
        return True
    if _find_speaker_field(turn) is not None:
        return _find_content_field(turn) is not None or any(
            turn.get(name) for name in _CALLS + _THINKING
        )
    speakers = [parse_speaker(str(key)) for key, item in turn.items() if isinstance(item, str)]
    return bool(speakers) and (None not in speakers or {"user", "assistant"} <= {*speakers})


def _list_turns(value: Any) -> list[Any] | None:
    """Return the turns in a value, or None.

    The value may be a list, its spelling as text, an object that holds the list, or parallel lists,
    which is how columnar files store a list of objects.
    """
    value = parse_literal(value)
    if isinstance(value, dict):
        value = next((value[name] for name in _HOLDERS if is_object_list(value.get(name))), value)
    if is_tree(value):
        return list(iter_best_path(value))
    if isinstance(value, dict) and is_export(value):
        return list(iter_exported_turns(value))
    if rounds := find_rounds(value):
        return [turn for one in rounds for turn in iter_round_turns(one)]
    if isinstance(value, dict):
        lists = {key: item for key, item in value.items() if isinstance(item, list | tuple)}
        if not lists or len({len(item) for item in lists.values()}) != 1:
            return None
        return [dict(zip(lists, items, strict=True)) for items in zip(*lists.values(), strict=True)]
    if not isinstance(value, list | tuple):
        return None
    # Gemini's API allows questions without a role.
    return [
        {"role": "user", **turn} if isinstance(turn, dict) and _has_only_parts(turn) else turn
        for turn in value
    ]


def _has_only_parts(turn: dict[str, Any]) -> bool:
    return len(turn) == 1 and isinstance(turn.get("parts"), list)


def _find_speaker_field(turn: dict[str, Any]) -> str | None:
    names = (name for name in _WHO if isinstance(turn.get(name), str))
    who = next(names, None)
    # In {"user": "Hello"}, the key names the speaker.
    return None if who == "user" and not _find_content_field(turn) else who


def _find_content_field(turn: dict[str, Any]) -> str | None:
    return next((name for name in _WHAT if not is_missing(turn.get(name))), None)


# --- conversations ----------------------------------------------------------------------------


def read_conversation(value: Any) -> list[Message]:
    """Return the turns of a conversation; raises UnusableRow.

    Accepts a list of turns, of question-answer pairs, or of strings that alternate starting with
    the user; or a transcript with a speaker's name before each turn.
    """
    turns = _list_turns(value)
    if turns is None:
        if isinstance(value, str) and (spoken := parse_transcript(value, whole=True)):
            return spoken
        raise UnusableRow("the row contains no list of messages")
    if len(turns) > limits.ROW_TURNS:
        raise UnusableRow("the row has more than {limit} turns", limit=limits.ROW_TURNS)
    if turns and all(isinstance(turn, str) for turn in turns):
        if all(map(_LINES.match, turns)) and (
            spoken := parse_transcript("\n".join(turns), whole=True)
        ):
            return spoken
        roles: tuple[Role, Role] = ("user", "assistant")
        return [build_message(roles[index % 2], turn) for index, turn in enumerate(turns)]
    names: dict[str, str] = {}  # tool names by call id
    messages: list[Message] = []
    is_open = False  # whether the next turn may continue the last answer
    for turn in turns:
        kind = _is_answer_item(turn)
        for item in _iter_messages(turn, names):
            names |= {call.id: call.name for call in item.tool_calls if call.id}
            if is_open and item.role == "assistant" and (kind or not messages[-1].tool_calls):
                item = _join_answer(messages.pop(), item)
            messages.append(item)
        is_open = bool(messages) and bool(kind) and messages[-1].role == "assistant"
        is_open = is_open and not messages[-1].content
    return messages


def _is_answer_item(turn: Any) -> bool:
    """Return whether a turn is only a call or only a thought, which may belong to the next answer."""
    if not isinstance(turn, dict):
        return False
    name = turn.get("role") or turn.get("from")
    if isinstance(name, str) and name in _PLAIN_ROLES:
        return False
    who = _find_speaker_field(turn)
    is_call = who is not None and parse_speaker(str(turn[who])) == "call"
    return is_call or turn.get("type") in (_CALL_ITEM, _THOUGHT_ITEM)


def _join_answer(one: Message, other: Message) -> Message:
    """Return two parts of an answer as one; the first has no text."""
    return other.model_copy(
        update={
            "thinking": one.thinking or other.thinking,
            "tool_calls": one.tool_calls + other.tool_calls,
            "trained": one.trained and other.trained,
        }
    )


def read_pairs(value: Any) -> list[Message]:
    """Return the earlier turns in a column of question-answer pairs or turns; raises UnusableRow."""
    if is_blank(value):
        return []
    turns = _list_turns(value)
    if turns is None:
        raise UnusableRow("the history is not a list of pairs")
    return read_conversation(turns)


def parse_transcript(text: str, *, whole: bool = False) -> list[Message] | None:
    """Return the turns of a transcript, "\\n\\nHuman: Hi\\n\\nAssistant: Hello"; None if it is not one.

    Turns are separated by a blank line; with `whole` (the text is known to be a conversation), a
    line break is enough. The texts of turns are unchanged, except for one blank before them.
    """
    marks = list((_LINES if whole else _PARAGRAPHS).finditer(text))
    if len(marks) > limits.ROW_TURNS:
        return None
    speakers = [parse_speaker(mark[1] or mark[2]) for mark in marks]
    if not marks or marks[0].start() != 0 or not {"user", "assistant"} <= set(speakers):
        return None
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    messages: list[Message] = []
    for mark, speaker, end in zip(marks, speakers, ends, strict=True):
        content = text[mark.end() : end]
        content = _strip_end_marker(content) if whole else content
        if call := _INLINE_CALL.match(content):
            messages.append(
                build_message("assistant", "", calls=read_calls(unquote_arguments(call[1].strip())))
            )
        elif speaker is not None and speaker != "call":
            messages.append(build_message(speaker, content))
    return messages


def _strip_end_marker(content: str) -> str:
    """Return a turn without trailing line breaks and end-of-text marker."""
    end = content.rstrip()
    return (end[: -len(_END_OF_TEXT)].rstrip() if end.endswith(_END_OF_TEXT) else content).rstrip(
        "\n"
    )


def _iter_messages(turn: Any, names: Mapping[str, str]) -> Iterator[Message]:
    if isinstance(turn, dict) and len(turn) == 2:
        for who, what in _PLAIN_KEYS:
            name, content = turn.get(who), turn.get(what)
            if isinstance(name, str) and isinstance(content, str) and name in _PLAIN_ROLES:
                yield build_message(_PLAIN_ROLES[name], content)
                return
    if isinstance(turn, list | tuple) and len(turn) == 2:
        first, second = turn
        speaker = parse_speaker(first) if isinstance(first, str) else None
        if speaker in ("system", "user", "assistant") and len(str(first)) > 1:
            yield build_message(speaker, second)
        else:
            yield build_message("user", first)
            yield build_message("assistant", second)
        return
    if not isinstance(turn, dict):
        raise UnusableRow("a turn is not an object")
    if turn.get("type") == _CALL_ITEM:
        yield build_message("assistant", "", calls=(read_call(turn),))
    elif turn.get("type") == _RESULT_ITEM:
        output = read_parts(turn.get("output")).text
        yield build_message("tool", output, name=names.get(str(turn.get("call_id")), ""))
    elif turn.get("type") == _THOUGHT_ITEM:
        reasoning = turn.get("content") or turn.get("summary")
        if thought := read_parts(reasoning).text if reasoning else "":
            yield build_message("assistant", "", thinking=thought)
    elif (field := _find_speaker_field(turn)) is None:
        yield from _iter_keyed(turn)
    else:
        yield from _iter_spoken(str(turn[field]), turn, names)


def _iter_keyed(turn: dict[str, Any]) -> Iterator[Message]:
    """Yield turns named by their keys: {"input": …, "output": …}, {"human": …, "assistant": …}."""
    contents = {
        parse_speaker(str(key)): item for key, item in turn.items() if isinstance(item, str)
    }
    known_roles: tuple[Role, ...] = ("system", "user", "assistant")
    if not any(role in contents for role in known_roles):
        raise UnusableRow("a turn has no role")
    for role in known_roles:
        if role in contents:
            yield build_message(role, contents[role])


def _iter_spoken(name: str, turn: dict[str, Any], names: Mapping[str, str]) -> Iterator[Message]:
    speaker = parse_speaker(name)
    if speaker is None:
        raise UnusableRow(
            "a turn has the unknown role “{role}”", role=require_valid_text(name[:40])
        )
    if is_cut_short(turn):
        raise UnusableRow(CUT_SHORT)
    what = _find_content_field(turn)
    value = turn[what] if what else None
    if speaker == "call":
        yield _read_call_turn(value)
        return
    calls = read_calls(turn.get("tool_calls")) + read_calls(turn.get("function_call"))
    if what is None and speaker == "tool" and not is_missing(turn.get("observation")):
        # A tool result in the same turn as its call.
        yield build_message("assistant", "", calls=(read_call(turn),))
        yield build_message("tool", turn["observation"], name=to_text(turn.get("name")))
        return
    if what is None and not calls and not any(turn.get(name) for name in _THINKING):
        raise UnusableRow("a turn has no content")
    thinking = next((turn[name] for name in _THINKING if not is_blank(turn.get(name))), "")
    parts = read_parts(value, names)
    yield from parts.results
    if parts.results and not parts.text:
        return
    details = next((turn[name] for name in _PARTLY if not is_blank(turn.get(name))), None)
    yield build_message(
        speaker,
        parts.text,
        thinking=to_text(thinking) or parts.thinking,
        calls=calls + parts.calls,
        name=_find_tool_name(turn, names) if speaker == "tool" else "",
        trains=not is_masked(turn),
        untrained=parts.untrained
        if details is None
        else read_train_details(details, len(parts.text)),
    )


def _find_tool_name(turn: dict[str, Any], names: Mapping[str, str]) -> str:
    """Return the tool of a result, by its name or by its call."""
    call_id = turn.get("tool_call_id") or turn.get("call_id")
    return to_text(turn.get("name")) or names.get(str(call_id), "")


def build_message(
    role: Role,
    value: Any,
    *,
    thinking: str = "",
    calls: tuple[ToolCall, ...] = (),
    name: str = "",
    trains: bool = True,
    untrained: Ranges = (),
) -> Message:
    """Return one turn as a message, with leading reasoning in `thinking`; raises UnusableRow.

    `untrained` are character ranges of the value that do not train.
    """
    content = to_text(value)
    if role != "assistant":
        return Message(role=role, content=content, name=name)
    if not thinking and (thought := _THOUGHT.match(content)):
        untrained = shift_ranges(untrained, thought.end(), content)
        thinking, content = thought[1].strip("\n"), content[thought.end() :]
    is_trained = any(
        content[begin:end].strip() for begin, end in invert_ranges(untrained, len(content))
    )
    return Message(
        role=role,
        content=content,
        trained=trains and (is_trained or not untrained),
        thinking=thinking,
        tool_calls=calls,
        name=name,
        untrained=untrained if trains and is_trained else (),
    )


def _read_call_turn(value: Any) -> Message:
    """Return a turn that is only a call; its text if the call can't be parsed."""
    try:
        calls = read_calls(value)
    except UnusableRow:
        calls = ()
    return (
        build_message("assistant", "", calls=calls) if calls else build_message("assistant", value)
    )


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


# Turns whose content is a list of parts: texts, reasoning, tool calls, and tool results.
#
# Parts have a `type`, as in the APIs of OpenAI and Anthropic, or only a `text`. Tool calls and files in
# the notation of Bedrock (`toolUse`) and Gemini (`functionCall`) make the row unusable.

_TEXT_PARTS = ("text", "input_text", "output_text", "summary_text", "reasoning_text", "refusal")
_UNREADABLE_PART = "redacted_thinking"  # encrypted content
_OTHER_PARTS = ("thinking", "reasoning", "tool_use", "tool_call", "tool_result")
#: Objects in parts of other APIs, which say that a part is not the text or the JSON of a turn.
_OTHER_NOTATIONS = (
    "toolUse", "toolResult", "reasoningContent", "functionCall", "functionResponse", "inlineData",
    "fileData", "function_call", "function_response", "inline_data", "file_data",
)  # fmt: skip
#: Ends of the kinds of calls that a server carries out itself, and of their results.
_SERVER_PARTS = ("_tool_use", "_tool_result")
#: Field names under which a result refers to its call.
_CALL_IDS = ("tool_use_id", "tool_call_id", "call_id")
_REASONS = ("text", "content", "value", "summary")
_RESULTS = ("content", "output")
_NOT_TEXT = "a turn contains something other than text"
_OTHER_API = "a turn has parts in the notation of Bedrock or Gemini, which isn't supported"


class Parts(NamedTuple):
    """Content in parts: text, reasoning, tool calls, and tool results as turns of their own.

    `untrained` are character ranges of the text whose parts say that they do not train.
    """

    text: str
    thinking: str = ""
    calls: tuple[ToolCall, ...] = ()
    results: Sequence[Message] = ()
    untrained: Ranges = ()


def read_parts(value: Any, names: Mapping[str, str] | None = None) -> Parts:
    """Return the parts of a turn's content; raises UnusableRow. `names` maps call IDs to tool
    names.
    """
    items = [value] if isinstance(value, dict) and is_part(value) else value
    if not isinstance(items, list | tuple):
        return Parts(to_text(value))
    _refuse_foreign_parts(items)
    if not all(isinstance(part, str) or is_part(part) for part in items):
        if any(isinstance(part, dict) and is_part(part) for part in items):
            raise UnusableRow(_NOT_TEXT)
        return Parts(to_text(value))
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    results: list[Message] = []
    untrained: list[tuple[int, int]] = []
    length = 0
    for part in items:
        kind = (part.get("type") or "text") if isinstance(part, dict) else "text"
        if isinstance(part, str):
            texts.append(to_text(part))
        elif kind == _UNREADABLE_PART:
            continue
        elif kind in ("thinking", "reasoning"):
            thoughts.append(_read_part_text(part, (kind, *_REASONS)))
        elif kind in ("tool_use", "tool_call"):
            calls += read_calls(part["value"]) if part.get("value") else (read_call(part),)
        elif kind == "tool_result":
            results.append(_read_result(part, names or {}))
        else:
            texts.append(_read_part_text(part, ("text", "content", "value", "refusal")))
        begin, length = length, sum(map(len, texts))
        if length > begin and isinstance(part, dict) and is_masked(part):
            untrained.append((begin, length))
    return Parts("".join(texts), "".join(thoughts), tuple(calls), results, tuple(untrained))


def is_part(part: Any) -> bool:
    """Return whether an object is a part of a turn rather than JSON that the turn contains."""
    if not isinstance(part, dict):
        return False
    kind = part.get("type")
    if isinstance(kind, str):
        known_kinds = (*_TEXT_PARTS, *_OTHER_PARTS, _UNREADABLE_PART)
        return kind in known_kinds or is_media_part(part)
    return kind is None and isinstance(part.get("text"), str)


def _refuse_foreign_parts(items: Sequence[Any]) -> None:
    """Raise UnusableRow for media and parts that are neither supported nor JSON that the turn contains."""
    for part in items:
        if not isinstance(part, dict):
            continue
        if is_media_part(part):
            raise UnusableRow("a turn contains an image, audio, or video", UnusableKind.MEDIA)
        is_other = any(isinstance(part.get(name), dict) for name in _OTHER_NOTATIONS)
        if is_other or part.get("thought") is True:
            raise UnusableRow(_OTHER_API)
        kind = str(part.get("type"))
        is_file = kind == "document" and isinstance(part.get("source"), dict)
        if is_file or kind.endswith(_SERVER_PARTS):
            raise UnusableRow(_NOT_TEXT)


def _read_result(part: dict[str, Any], names: Mapping[str, str]) -> Message:
    """Return a tool result as a turn."""
    call = next((part[name] for name in _CALL_IDS if not is_missing(part.get(name))), "")
    name = to_text(part.get("name")) or names.get(str(call), "")
    content = next((part[field] for field in _RESULTS if not is_missing(part.get(field))), None)
    if isinstance(content, dict) and not is_part(content):
        content = to_json(drop_nulls(content))
    elif content is None:
        raise UnusableRow(_NOT_TEXT)
    return Message(role="tool", content=read_parts(content).text, name=name)


def _read_part_text(part: dict[str, Any], names: Sequence[str]) -> str:
    name = next((name for name in names if not is_missing(part.get(name))), None)
    if name is None:
        raise UnusableRow(_NOT_TEXT)
    inner = part[name]
    if isinstance(inner, list) or (isinstance(inner, dict) and is_part(inner)):
        return read_parts(inner).text
    return to_text(inner)


#: `call` is an assistant turn that contains only a tool call.
Speaker = Role | Literal["call"]

_SPELLINGS: dict[Speaker, tuple[str, ...]] = {
    "system": ("system", "sys", "systemprompt", "systemmessage", "systeminstruction", "developer",
        "context"),
    "user": (
        "user", "human", "prompter", "instruction", "question", "query", "prompt", "input", "asker",
        "customer", "client", "patient", "student", "usr", "q", "enduser", "requester", "visitor", "caller", "buyer",
    ),
    "assistant": (
        "assistant", "gpt", "bot", "model", "chatgpt", "ai", "chatbot", "llm", "bing", "bard",
        "claude", "gemini", "moss", "agent", "answer", "response", "output", "completion", "reply",
        "doctor", "therapist", "teacher", "tutor", "a", "support", "supportagent", "operator", "advisor", "helpdesk",
        "representative",
    ),
    "tool": (
        "tool", "function", "observation", "ipython", "functionresponse", "functionresult",
        "functionoutput", "toolresponse", "toolresponses", "toolresult", "toolresults",
        "tooloutput", "environment",
    ),
    "call": ("functioncall", "functioncalls", "toolcall", "toolcalls"),
}  # fmt: skip

_ROLES: dict[str, Speaker] = {
    spelling: speaker for speaker, spellings in _SPELLINGS.items() for spelling in spellings
}
_MODEL_NAMES = ("gpt", "chatgpt", "claude", "gemini", "assistant")


def parse_speaker(name: str) -> Speaker | None:
    """Return the role that a speaker's name means; None if unknown.

    Handles decorated and versioned names: `<|Human|>`, `gpt-4`, `function-call`.
    """
    key = normalize_name(name)
    if key in _ROLES:
        return _ROLES[key]
    return "assistant" if key.startswith(_MODEL_NAMES) else None


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
