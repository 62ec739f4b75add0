"""Conversations as files have them, whatever the names of their fields, become messages.

What is done where the field has no one way:

- An assistant's turn trains unless it says otherwise (`weight`, `loss_weight` or `loss_scale` 0; `train`,
  `training` or `loss` false; `masked` true). Parts of its text can say so too (loss_masks.py).
- Turns keep their order. Neighboring turns of one role and a conversation that the assistant opens
  stay as they are; joining turns is a repair (`merge_turns`).
- Turns that are empty stay as long as one answer has text; leaving them out is a repair.
- A role that is not known makes the row unusable: guessing whom the loss belongs to is worse.
- Of a tree of turns, each with `replies`, the best ranked reply is taken every time; of a chat that
  ChatGPT exported, the last answer of those that were asked for again.
- Calls in turns of their own that follow each other are one answer with several calls.
- `<think>…</think>` at the beginning of an answer becomes its `thinking`, without the line breaks
  around it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from lora_studio.core.dataset.formats.content_parts import read_parts
from lora_studio.core.dataset.formats.loss_masks import (
    Ranges,
    invert_ranges,
    is_masked,
    read_train_details,
    shift_ranges,
)
from lora_studio.core.dataset.formats.roles import parse_speaker
from lora_studio.core.dataset.formats.rounds import find_rounds, iter_round_turns
from lora_studio.core.dataset.formats.tool_calls import read_call, read_calls, unquote_arguments
from lora_studio.core.dataset.formats.trees import (
    is_export,
    is_object_list,
    iter_best_path,
    iter_exported_turns,
)
from lora_studio.core.dataset.formats.values import (
    is_blank,
    is_missing,
    parse_literal,
    require_valid_text,
    to_text,
)
from lora_studio.core.dataset.samples import UnusableRow
from lora_studio.core.dataset.spec import Message, Role, ToolCall

Style = Literal["messages", "sharegpt"]

_WHO = ("role", "from", "speaker", "author", "sender", "user")
_WHAT = ("content", "value", "text", "message", "utterance", "parts")
_THINKING = ("reasoning_content", "thinking", "reasoning")
_CALLS = ("tool_calls", "function_call")
_PARTLY = ("train_detail", "training_detail")
#: Items between turns, as the Responses API of OpenAI lists them.
_CALL_ITEM, _RESULT_ITEM, _THOUGHT_ITEM = "function_call", "function_call_output", "reasoning"
_ITEMS = (_CALL_ITEM, _RESULT_ITEM, _THOUGHT_ITEM)
#: Turns of two fields and a usual role, nearly all there are, need no further look: a third of the
#: time of a row goes into it.
_PLAIN_KEYS = (("role", "content"), ("from", "value"))
_PLAIN_ROLES: dict[str, Role] = {
    "system": "system", "user": "user", "human": "user", "assistant": "assistant",
    "gpt": "assistant",
}  # fmt: skip
_THOUGHT = re.compile(r"\s*<think>(.*?)</think>\n*", re.DOTALL)

# "\n\nHuman: …\n\nAssistant: …", and one turn a line where a whole column is a conversation.
_SPEAKERS = (
    "Human|Assistant|User|USER|ASSISTANT|HUMAN|SYSTEM|System|FUNCTION RESPONSE|Bot|AI|GPT|Customer|"
    r"Agent|Patient|Doctor|Student|Teacher|\[\|Human\|\]|\[\|AI\|\]"
)
_PARAGRAPHS = re.compile(rf"(?:\A\s*|\n\n)({_SPEAKERS}):[^\S\n]?|(?:\A|\n)(\[\|(?:Human|AI)\|\]) ?")
_LINES = re.compile(rf"(?:\A\s*|\n)({_SPEAKERS}):[^\S\n]?|(?:\A|\n)(\[\|(?:Human|AI)\|\]) ?")
_END_OF_TEXT = "<|endoftext|>"
_INLINE_CALL = re.compile(r"\s*<functioncall>(.*)\Z", re.DOTALL)


CUT_SHORT = "the answer was cut off or filtered before its end"
_ENDS = ("finish_reason", "stop_reason")
_BEFORE_THE_END = ("length", "content_filter", "max_tokens")


def is_cut_short(answer: Mapping[str, Any]) -> bool:
    """Return whether an answer that came back from a server says that it ended before its end."""
    return any(answer.get(name) in _BEFORE_THE_END for name in _ENDS)


# --- what a value is --------------------------------------------------------------------------


def detect_style(value: Any) -> Style | None:
    """Return how a value writes a conversation: `messages` with role and content, `sharegpt`
    with other
    names or without any; None when it is no list of turns (bare strings are not)."""
    turns = _listed(value)
    if not turns or not all(isinstance(turn, dict) and _is_turn(turn) for turn in turns[:4]):
        return None
    if all(_who(turn) is None for turn in turns[:4]):
        # {"answer": …, "model": …} alone are no turns of a conversation.
        named = {parse_speaker(str(key)) for turn in turns[:4] for key in turn}
        return "sharegpt" if {"user", "assistant"} <= named else None
    openai = "role" in turns[0] and not {"value", "text"} & set(turns[0])
    return "messages" if openai else "sharegpt"


def read_system(value: Any) -> str:
    """Return the text of a system message: text, parts, or a turn; raises UnusableRow."""
    if isinstance(value, dict) and (what := _what(value)):
        value = value[what]
    return read_parts(value).text


def is_turn(value: Any) -> bool:
    """Return whether a value is one turn: an object with a role and what it says."""
    return isinstance(value, dict) and _is_turn(value)


def holds_turns(value: Any) -> bool:
    """Return whether a value is a list of which one item at least is a turn with a role."""
    return isinstance(value, list | tuple) and any(
        isinstance(item, dict) and _who(item) is not None for item in value
    )


def is_tree(value: Any) -> bool:
    """Return whether a value is a turn with the replies to it, each with replies of its own."""
    return is_turn(value) and is_object_list(value.get("replies"))


def opens_with_answer(value: Any) -> bool:
    """Return whether the first turn of a conversation is the assistant's (or there is none)."""
    for turn in _listed(value) or ():
        who = _who(turn) if isinstance(turn, dict) else None
        return who is not None and parse_speaker(str(turn[who])) in ("assistant", "call")
    return True


def ends_with_question(value: Any) -> bool:
    """Return whether the last turn of a conversation is the user's."""
    turns = _listed(value) or [None]
    who = _who(turns[-1]) if isinstance(turns[-1], dict) else None
    return who is not None and parse_speaker(str(turns[-1][who])) == "user"


def _is_turn(turn: dict[str, Any]) -> bool:
    if turn.get("type") in _ITEMS:
        return True
    if _who(turn) is not None:
        return _what(turn) is not None or any(turn.get(name) for name in _CALLS + _THINKING)
    named = [parse_speaker(str(key)) for key, item in turn.items() if isinstance(item, str)]
    return bool(named) and None not in named


def _listed(value: Any) -> list[Any] | None:
    """Return the turns in a value: a list, its spelling as text, an object with `messages`, or
    one of
    parallel lists, which is how columnar files store a list of objects."""
    value = parse_literal(value)
    if isinstance(value, dict) and is_object_list(value.get("messages")):
        value = value["messages"]
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
    return list(value) if isinstance(value, list | tuple) else None


def _who(turn: dict[str, Any]) -> str | None:
    names = (name for name in _WHO if isinstance(turn.get(name), str))
    who = next(names, None)
    # {"user": "Hello"} names the speaker by the key itself.
    return None if who == "user" and not _what(turn) else who


def _what(turn: dict[str, Any]) -> str | None:
    return next((name for name in _WHAT if not is_missing(turn.get(name))), None)


# --- conversations ----------------------------------------------------------------------------


def read_conversation(value: Any) -> list[Message]:
    """Return the turns of a conversation; raises UnusableRow.

    Takes a list of turns, of question-answer pairs, or of strings that take turns beginning with
    the user; or a transcript with a speaker's name before each turn.
    """
    turns = _listed(value)
    if turns is None:
        if isinstance(value, str) and (spoken := parse_transcript(value, whole=True)):
            return spoken
        raise UnusableRow("there is no list of turns")
    if turns and all(isinstance(turn, str) for turn in turns):
        roles: tuple[Role, Role] = ("user", "assistant")
        return [build_message(roles[index % 2], turn) for index, turn in enumerate(turns)]
    names: dict[str, str] = {}  # of tools, by the calls of them
    messages: list[Message] = []
    is_open = False  # whether the answer begun before may go on
    for turn in turns:
        kind = _item_of(turn)
        for item in _turn(turn, names):
            names |= {call.id: call.name for call in item.tool_calls if call.id}
            if is_open and item.role == "assistant" and (kind or not messages[-1].tool_calls):
                item = _one_answer(messages.pop(), item)
            messages.append(item)
        is_open = bool(messages) and bool(kind) and messages[-1].role == "assistant"
        is_open = is_open and not messages[-1].content
    return messages


def _item_of(turn: Any) -> bool:
    """Return whether a turn is a call or a thought alone, which may be one answer with what
    follows.
    """
    if not isinstance(turn, dict) or (turn.get("role") or turn.get("from")) in _PLAIN_ROLES:
        return False
    who = _who(turn)
    is_call = who is not None and parse_speaker(str(turn[who])) == "call"
    return is_call or turn.get("type") in (_CALL_ITEM, _THOUGHT_ITEM)


def _one_answer(one: Message, other: Message) -> Message:
    """Return two parts of an answer as one; the first has no text."""
    return other.model_copy(
        update={
            "thinking": one.thinking or other.thinking,
            "tool_calls": one.tool_calls + other.tool_calls,
            "trained": one.trained and other.trained,
        }
    )


def read_pairs(value: Any) -> list[Message]:
    """Return the earlier turns in a column of question-answer pairs, or of turns; raises
    UnusableRow.
    """
    if is_blank(value):
        return []
    turns = _listed(value)
    if turns is None:
        raise UnusableRow("the history is not a list of pairs")
    return read_conversation(turns)


def parse_transcript(text: str, *, whole: bool = False) -> list[Message] | None:
    """Return the turns of a text such as "\\n\\nHuman: Hi\\n\\nAssistant: Hello"; None when it
    is none.

    Between turns stands a blank line; with `whole`, where the text is known to be a conversation, a
    line break is enough. The texts of turns stay as they are, but for one blank before them.
    """
    marks = list((_LINES if whole else _PARAGRAPHS).finditer(text))
    speakers = [parse_speaker(mark[1] or mark[2]) for mark in marks]
    if not marks or marks[0].start() != 0 or not {"user", "assistant"} <= set(speakers):
        return None
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    messages: list[Message] = []
    for mark, speaker, end in zip(marks, speakers, ends, strict=True):
        said = text[mark.end() : end]
        said = _without_end(said) if whole else said
        if call := _INLINE_CALL.match(said):
            messages.append(
                build_message("assistant", "", calls=read_calls(unquote_arguments(call[1].strip())))
            )
        elif speaker is not None and speaker != "call":
            messages.append(build_message(speaker, said))
    return messages


def _without_end(said: str) -> str:
    """Return a turn without the end-of-text marker and the line breaks behind it."""
    end = said.rstrip()
    return (end[: -len(_END_OF_TEXT)].rstrip() if end.endswith(_END_OF_TEXT) else said).rstrip("\n")


def _turn(turn: Any, names: Mapping[str, str]) -> Iterator[Message]:
    if isinstance(turn, dict) and len(turn) == 2:
        for who, what in _PLAIN_KEYS:
            name, said = turn.get(who), turn.get(what)
            if isinstance(name, str) and isinstance(said, str) and name in _PLAIN_ROLES:
                yield build_message(_PLAIN_ROLES[name], said)
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
        given = turn.get("content") or turn.get("summary")
        if thought := read_parts(given).text if given else "":
            yield build_message("assistant", "", thinking=thought)
    elif (field := _who(turn)) is None:
        yield from _keyed(turn)
    else:
        yield from _spoken(str(turn[field]), turn, names)


def _keyed(turn: dict[str, Any]) -> Iterator[Message]:
    """Yield turns named by their keys: {"input": …, "output": …}, {"human": …, "assistant": …}."""
    said = {parse_speaker(str(key)): item for key, item in turn.items() if isinstance(item, str)}
    known: tuple[Role, ...] = ("system", "user", "assistant")
    if not any(role in said for role in known):
        raise UnusableRow("a turn has no role")
    for role in known:
        if role in said:
            yield build_message(role, said[role])


def _spoken(name: str, turn: dict[str, Any], names: Mapping[str, str]) -> Iterator[Message]:
    speaker = parse_speaker(name)
    if speaker is None:
        raise UnusableRow(
            "a turn has the unknown role “{role}”", role=require_valid_text(name[:40])
        )
    if is_cut_short(turn):
        raise UnusableRow(CUT_SHORT)
    what = _what(turn)
    value = turn[what] if what else None
    if speaker == "call":
        yield _call_turn(value)
        return
    calls = read_calls(turn.get("tool_calls")) + read_calls(turn.get("function_call"))
    if what is None and speaker == "tool" and not is_missing(turn.get("observation")):
        # What a tool gave back, in one turn with the call of it.
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
        name=_tool_of(turn, names) if speaker == "tool" else "",
        trains=not is_masked(turn),
        untrained=parts.untrained
        if details is None
        else read_train_details(details, len(parts.text)),
    )


def _tool_of(turn: dict[str, Any], names: Mapping[str, str]) -> str:
    """Return the tool whose result a turn is, by its name or by the call it belongs to."""
    called = turn.get("tool_call_id") or turn.get("call_id")
    return to_text(turn.get("name")) or names.get(str(called), "")


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
    """Return one turn; reasoning that an answer begins with is taken out of it. Raises UnusableRow.

    `untrained` are the ranges of characters of the value that do not train.
    """
    content = to_text(value)
    if role != "assistant":
        return Message(role=role, content=content, name=name)
    if not thinking and (thought := _THOUGHT.match(content)):
        untrained = shift_ranges(untrained, thought.end(), content)
        thinking, content = thought[1].strip("\n"), content[thought.end() :]
    kept = any(content[begin:end].strip() for begin, end in invert_ranges(untrained, len(content)))
    return Message(
        role=role,
        content=content,
        trained=trains and (kept or not untrained),
        thinking=thinking,
        tool_calls=calls,
        name=name,
        untrained=untrained if trains and kept else (),
    )


def _call_turn(value: Any) -> Message:
    """Return a turn that is a call and nothing else; where it cannot be read as one, its text."""
    try:
        calls = read_calls(value)
    except UnusableRow:
        calls = ()
    return (
        build_message("assistant", "", calls=calls) if calls else build_message("assistant", value)
    )
