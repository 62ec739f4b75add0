"""Group the messages of a chat between people into conversations, one row each.

A message belongs to the conversation of the message that it replies to, or of its thread. Any other
continues the last conversation, unless there was a pause, or that conversation is as long as models
read at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from lora_studio.core.dataset.formats.speakers import EXPORTED_BY, PEOPLE
from lora_studio.core.messages import Template

#: Seconds without a message after which a conversation is over, and within which a first answer still
#: belongs to what it answers.
_PAUSE, _WAIT = 3 * 3600, 24 * 3600
#: Characters after which a conversation is continued in another row: about 2,000 tokens.
_LONGEST = 6000

# What no row contains; these are templates with the field `count`.
SERVICE: Template = "notices such as joins and calls ({count})"
BOTS: Template = "messages of bots ({count})"
DELETED: Template = "deleted messages ({count})"
FORWARDED: Template = "forwarded messages ({count})"
PHOTOS: Template = "photos ({count})"
VIDEOS: Template = "videos ({count})"
VOICE: Template = "voice messages ({count})"
STICKERS: Template = "stickers and GIFs ({count})"
FILES: Template = "other files ({count})"
EMBEDS: Template = "link previews ({count})"
POLLS: Template = "polls, places, and contacts ({count})"
EMPTY: Template = "empty messages ({count})"
NAMELESS: Template = "messages without a sender ({count})"


@dataclass(slots=True)
class ChatMessage:
    """One message: who wrote it (an ID and a name), when (seconds, None if unknown), and what it answers.

    `reply_to` is the ID of a message, `thread` that of a thread, "" for none.
    """

    person: str
    name: str
    text: str
    time: float | None = None
    id: str = ""
    reply_to: str = ""
    thread: str = ""
    is_bot: bool = False


@dataclass(slots=True)
class Chat:
    """The messages of one chat, channel, or group in any order, with its title."""

    title: str
    messages: list[ChatMessage] = field(default_factory=list)


@dataclass(slots=True)
class _Conversation:
    chat: str
    messages: list[ChatMessage] = field(default_factory=list)
    people: set[str] = field(default_factory=set)
    size: int = 0

    def add(self, message: ChatMessage) -> None:
        self.messages.append(message)
        self.people.add(message.person)
        self.size += len(message.text)


def build_rows(
    chats: Iterable[Chat], left_out: Counter[Template], owner: str = ""
) -> Iterator[dict[str, Any]]:
    """Yield a row for each conversation; `owner` is the ID of the person who has exported the chats.

    Bots are left out where at least two people write. Where each chat has only one writer, rows are also
    plain texts.
    """
    every = list(chats)
    humans = {message.person for chat in every for message in chat.messages if not message.is_bot}
    if len(humans) > 1:
        for chat in every:
            count = len(chat.messages)
            chat.messages = [message for message in chat.messages if not message.is_bot]
            left_out[BOTS] += count - len(chat.messages)
    names = _name_people(every)
    is_alone = all(len({one.person for one in chat.messages}) < 2 for chat in every)
    for chat in every:
        _sort(chat.messages)
        for conversation in _iter_conversations(chat):
            row = _build_row(conversation, names)
            if is_alone:
                row = {"text": row["messages"][0]["content"], **row}
            yield row | ({EXPORTED_BY: names[owner]} if owner in names else {})


def _name_people(chats: list[Chat]) -> dict[str, str]:
    """Return distinct names by the IDs of people: of each, the last name; a repeated one gets a number."""
    latest = {message.person: message.name for chat in chats for message in chat.messages}
    names: dict[str, str] = {}
    taken: set[str] = set()
    for person, name in latest.items():
        base = unique = " ".join(name.split()) or person
        number = 1
        while unique in taken:
            number += 1
            unique = f"{base} ({number})"
        taken.add(unique)
        names[person] = unique
    return names


def _sort(messages: list[ChatMessage]) -> None:
    """Sort messages by their time if all have one; messages of the same time stay in the file's order."""
    times = [message.time for message in messages if message.time is not None]
    if len(times) < len(messages):
        return
    if len(times) > 1 and times[0] > times[-1]:  # the newest is first
        messages.reverse()
    messages.sort(key=lambda message: message.time or 0.0)


def _iter_conversations(chat: Chat) -> Iterator[_Conversation]:
    threads: dict[str, _Conversation] = {}
    by_message: dict[str, _Conversation] = {}
    conversations: list[_Conversation] = []
    last: _Conversation | None = None

    def start() -> _Conversation:
        conversations.append(_Conversation(chat.title))
        return conversations[-1]

    for message in chat.messages:
        if message.thread:
            target = threads.get(message.thread)
        elif message.reply_to:
            target = by_message.get(message.reply_to) or _find_continued(last, message)
        else:
            target = _find_continued(last, message)
        if target is None:
            target = start()
        elif target.size > _LONGEST and target.messages[-1].person != message.person:
            target = _continue_in_another(target, start())
        target.add(message)
        if message.id:
            by_message[message.id] = target
        if message.thread:
            threads[message.thread] = target
        else:
            last = target
    yield from conversations


def _find_continued(last: _Conversation | None, message: ChatMessage) -> _Conversation | None:
    """Return the last conversation if a message continues it."""
    if last is None or last.messages[-1].time is None or message.time is None:
        return last
    gap = message.time - last.messages[-1].time
    is_first_answer = last.people != {message.person} and len(last.people) == 1
    return last if gap <= (_WAIT if is_first_answer else _PAUSE) else None


def _continue_in_another(full: _Conversation, new: _Conversation) -> _Conversation:
    """Begin the next part of a long conversation with its last turn, which the next message answers."""
    person = full.messages[-1].person
    turn: list[ChatMessage] = []
    for message in reversed(full.messages):
        if message.person != person or sum(len(one.text) for one in turn) > _LONGEST // 4:
            break
        turn.append(message)
    for message in reversed(turn):
        new.add(message)
    new.size = 0
    return new


def _build_row(conversation: _Conversation, names: dict[str, str]) -> dict[str, Any]:
    turns: list[dict[str, str]] = []
    for message in conversation.messages:
        name = names[message.person]
        if turns and turns[-1]["role"] == name:
            turns[-1]["content"] += f"\n{message.text}"
        else:
            turns.append({"role": name, "content": message.text})
    row: dict[str, Any] = {
        "messages": turns,
        PEOPLE: list(dict.fromkeys(turn["role"] for turn in turns)),
        "chat name": conversation.chat,
    }
    first = conversation.messages[0].time
    return row | ({"started": _format_time(first)} if first is not None else {})


def _format_time(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="minutes")
    except (ValueError, OverflowError, OSError):
        return ""
