"""Read the chats that messengers export: Discord, Slack, Telegram, WhatsApp, and others.

Each reader gets a parsed file and yields chats; what it leaves out, it counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import unescape
from pathlib import PurePosixPath
from typing import Any

from lora_studio.core.dataset.formats.speakers import EXPORTED_BY, PEOPLE
from lora_studio.core.messages import Template
from lora_studio.engine.dataset.files.exports.web_pages import read_html

# Group the messages of a chat between people into conversations, one row each.
#
# A message belongs to the conversation of the message that it replies to, or of its thread. Any other
# continues the last conversation, unless there was a pause, or that conversation is as long as models
# read at once.

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


LeftOut = Counter[Template]

#: Formats of times other than ISO 8601.
_TIMES = (
    "%A, %d %B %Y at %H:%M:%S %Z", "%A, %B %d, %Y at %I:%M:%S %p %Z", "%d-%b-%y %I:%M %p", "%d.%m.%Y %H:%M",
    "%d/%m/%Y %H:%M", "%m/%d/%Y %I:%M %p",
)  # fmt: skip


def parse_time(value: Any) -> float | None:
    """Return a time in seconds: ISO 8601, another usual spelling, or seconds; None if unreadable."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, str) or not (text := " ".join(value.split())):
        return None
    if re.fullmatch(r"\d{9,}(\.\d+)?", text):
        return float(text)
    for parse in (datetime.fromisoformat, *(_make_parser(style) for style in _TIMES)):
        try:
            moment = parse(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            continue
    return None


def _make_parser(style: str) -> Any:
    return lambda text: datetime.strptime(text, style)


def _list_objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects in a list, none for anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _get(value: Any, *path: str) -> Any:
    """Return a value inside of objects, None where one is missing."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _to_text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _get_title(name: str) -> str:
    """Return the title of a chat whose file alone names it."""
    return PurePosixPath(name).stem


def _take(chat: Chat, message: ChatMessage, left_out: LeftOut) -> None:
    """Add a message with a text; count one without."""
    message.text = message.text.strip()
    if message.text:
        chat.messages.append(message)
    else:
        left_out[EMPTY] += 1


# --- Discord --------------------------------------------------------------------------------------

#: Types of messages that somebody wrote; all others are notices.
_WRITTEN = ("Default", "Reply", "ChatInputCommand", "ContextMenuCommand", "0", "19", "20", "23")


def read_discord(document: Any, name: str, left_out: LeftOut) -> Iterator[Chat]:
    """Yield the channel that DiscordChatExporter wrote as JSON."""
    guild, channel = _get(document, "guild", "name"), _get(document, "channel", "name")
    chat = Chat(" / ".join(filter(None, map(_to_text, (guild, channel)))) or _get_title(name))
    for item in _list_objects(_get(document, "messages")):
        author = item.get("author") or {}
        if _to_text(item.get("type", "Default")) not in _WRITTEN:
            left_out[SERVICE] += 1
            continue
        person = _to_text(_get(author, "id") or _get(author, "name"))
        if not person:
            left_out[NAMELESS] += 1
            continue
        has_more = _count_attachments(item.get("attachments"), "fileName", left_out)
        has_more += _count_list(item.get("stickers"), STICKERS, left_out)
        if not (text := _to_text(item.get("content"))).strip():
            has_more += _count_list(item.get("embeds"), EMBEDS, left_out)
            if has_more:
                continue
        message = ChatMessage(
            person,
            _to_text(_get(author, "nickname") or _get(author, "name")),
            text,
            parse_time(item.get("timestamp")),
            id=_to_text(item.get("id")),
            reply_to=_to_text(_get(item, "reference", "messageId")),
            is_bot=_get(author, "isBot") is True,
        )
        _take(chat, message, left_out)
    yield chat


def read_discord_table(rows: Any, name: str, left_out: LeftOut) -> Iterator[Chat]:
    """Yield the channel that DiscordChatExporter wrote as CSV."""
    chat = Chat(_get_title(name))
    for row in rows:
        author = _to_text(row.get("Author"))
        files = [part for part in _to_text(row.get("Attachments")).split(",") if part.strip()]
        has_more = _count_attachments([{"fileName": file} for file in files], "fileName", left_out)
        text = _to_text(row.get("Content"))
        if not text.strip() and has_more:
            continue
        person = _to_text(row.get("AuthorID")) or author
        time = parse_time(row.get("Date"))
        _take(chat, ChatMessage(person, re.sub(r"#\d{1,4}\Z", "", author), text, time), left_out)
    yield chat


_FILE_KINDS: tuple[tuple[re.Pattern[str], Template], ...] = (
    (re.compile(r"\.(jpe?g|png|gif|webp|heic|avif|bmp)\b", re.IGNORECASE), PHOTOS),
    (re.compile(r"\.(mp4|mov|webm|mkv|avi|3gp)\b", re.IGNORECASE), VIDEOS),
    (re.compile(r"\.(ogg|opus|mp3|m4a|wav|aac|amr|oga)\b", re.IGNORECASE), VOICE),
)


def _count_file(name: str, left_out: LeftOut) -> None:
    kind = next((kind for pattern, kind in _FILE_KINDS if pattern.search(name)), FILES)
    left_out[kind] += 1


def _count_attachments(items: Any, field: str, left_out: LeftOut) -> int:
    objects = _list_objects(items)
    for item in objects:
        _count_file(_to_text(item.get(field)), left_out)
    return len(objects)


def _count_list(items: Any, kind: Template, left_out: LeftOut) -> int:
    count = len(items) if isinstance(items, list) else int(isinstance(items, dict))
    left_out[kind] += count
    return count


# --- Slack ----------------------------------------------------------------------------------------

_SLACK_WRITTEN = ("", "bot_message", "me_message", "thread_broadcast", "file_share", "file_comment")
_SLACK_MARK = re.compile(r"<([@#!]?)([^<>|\n]{1,2000})(?:\|([^<>\n]{0,2000}))?>")


def read_slack(
    days: Any, title: str, users: Mapping[str, str], left_out: LeftOut
) -> Iterator[Chat]:
    """Yield one channel: the messages of all of its days. `users` are names by ID."""
    chat = Chat(title)
    for item in _list_objects(days):
        subtype = _to_text(item.get("subtype"))
        if subtype == "tombstone":
            left_out[DELETED] += 1
            continue
        if item.get("type", "message") != "message" or subtype not in _SLACK_WRITTEN:
            left_out[SERVICE] += 1
            continue
        person = _to_text(item.get("user") or item.get("bot_id") or item.get("username"))
        if not person:
            left_out[NAMELESS] += 1
            continue
        files = _count_attachments(item.get("files"), "name", left_out)
        text = _read_slack_text(_to_text(item.get("text")), users)
        if not text.strip():
            text = _read_slack_text(
                "\n".join(
                    _to_text(part.get("text")) for part in _list_objects(item.get("attachments"))
                ),
                users,
            )
            if files and not text.strip():
                continue
        profile = item.get("user_profile")
        name = users.get(person) or _get_slack_name(profile if isinstance(profile, dict) else item)
        message = ChatMessage(
            person,
            name or person,
            text,
            parse_time(item.get("ts")),
            id=_to_text(item.get("ts")),
            thread=_to_text(item.get("thread_ts")),
            is_bot=subtype == "bot_message" or ("bot_id" in item and "user" not in item),
        )
        _take(chat, message, left_out)
    yield chat


def read_slack_users(document: Any) -> dict[str, str]:
    """Return the names of a Slack workspace's people by ID."""
    return {
        _to_text(user.get("id")): name
        for user in _list_objects(document)
        if (name := _get_slack_name(user.get("profile"), user))
    }


def _get_slack_name(*objects: Any) -> str:
    keys = ("display_name", "real_name", "name", "username")
    names = (_to_text(_get(one, key)) for one in objects for key in keys)
    return next((name for name in names if name.strip()), "")


def _read_slack_text(text: str, users: Mapping[str, str]) -> str:
    """Return a text without Slack's marks: mentions by name, links by their title."""

    def replace(mark: re.Match[str]) -> str:
        sign, target, title = mark.groups()
        if sign == "@":
            return f"@{title or users.get(target, target)}"
        if sign == "!":
            title = title or target.partition("^")[0]
            return title if title.startswith("@") else f"@{title}"
        return f"#{title or target}" if sign == "#" else title or target

    return unescape(_SLACK_MARK.sub(replace, text))


# --- Telegram -------------------------------------------------------------------------------------

_TELEGRAM_MEDIA: dict[str, Template] = {
    "voice_message": VOICE, "audio_file": VOICE, "video_message": VIDEOS,
    "video_file": VIDEOS, "sticker": STICKERS, "animation": STICKERS,
}  # fmt: skip
_TELEGRAM_OTHER = (
    "poll",
    "location_information",
    "contact_information",
    "place_name",
    "game_title",
)


def read_telegram(document: Any, name: str, left_out: LeftOut) -> Iterator[Chat]:
    """Yield the chat of a file `result.json`, or all chats of a complete export."""
    every = [document] if isinstance(_get(document, "messages"), list) else []
    for group in ("chats", "left_chats"):
        every += _list_objects(_get(document, group, "list"))
    for one in every:
        chat = Chat(_to_text(one.get("name")) or _to_text(one.get("type")) or _get_title(name))
        for item in _list_objects(one.get("messages")):
            _read_telegram_message(item, chat, left_out)
        if chat.messages:
            yield chat


def get_telegram_owner(document: Any) -> str:
    """Return the ID of the person who made a complete export, "" if unknown."""
    user = _get(document, "personal_information", "user_id")
    return f"user{user}" if user else ""


def _read_telegram_message(item: dict[str, Any], chat: Chat, left_out: LeftOut) -> None:
    if item.get("type", "message") != "message":
        left_out[SERVICE] += 1
        return
    if item.get("forwarded_from") or item.get("saved_from"):
        left_out[FORWARDED] += 1
        return
    has_more = True
    if (kind := _TELEGRAM_MEDIA.get(_to_text(item.get("media_type")))) is not None:
        left_out[kind] += 1
    elif item.get("photo"):
        left_out[PHOTOS] += 1
    elif item.get("file"):
        _count_file(_to_text(item.get("file_name") or item.get("file")), left_out)
    elif any(item.get(name) for name in _TELEGRAM_OTHER):
        left_out[POLLS] += 1
    else:
        has_more = False
    text = _read_telegram_text(item.get("text") or item.get("text_entities"))
    if has_more and not text.strip():
        return
    name = _to_text(item.get("from") or item.get("author"))
    person = _to_text(item.get("from_id")) or name
    if not person:
        left_out[NAMELESS] += 1
        return
    message = ChatMessage(
        person,
        name,
        text,
        parse_time(item.get("date_unixtime")) or parse_time(item.get("date")),
        id=_to_text(item.get("id")),
        reply_to=_to_text(item.get("reply_to_message_id")),
    )
    _take(chat, message, left_out)


def _read_telegram_text(value: Any) -> str:
    """Return a text, which may be a list of texts and of objects with a part each."""
    parts = value if isinstance(value, list) else [value]
    return "".join(_to_text(part.get("text") if isinstance(part, dict) else part) for part in parts)


# --- Facebook, Instagram --------------------------------------------------------------------------

_MESSENGER_MEDIA: dict[str, Template] = {
    "photos": PHOTOS, "videos": VIDEOS, "audio_files": VOICE, "gifs": STICKERS,
    "sticker": STICKERS, "files": FILES, "media": FILES,
}  # fmt: skip


def read_messenger(document: Any, name: str, left_out: LeftOut) -> Iterator[Chat]:
    """Yield a chat of Messenger or Instagram, whose texts are UTF-8 that was read as Latin-1."""
    title = _get(document, "title") or _get(document, "threadName")
    chat = Chat(_repair(_to_text(title)) or _get_title(name))
    for item in _list_objects(_get(document, "messages")):
        if item.get("is_unsent") is True or item.get("isUnsent") is True:
            left_out[DELETED] += 1
            continue
        if "call_duration" in item or item.get("type") in (
            "Subscribe",
            "Unsubscribe",
            "Call",
            "call",
        ):
            left_out[SERVICE] += 1
            continue
        has_more = sum(
            _count_list(item.get(key), kind, left_out) for key, kind in _MESSENGER_MEDIA.items()
        )
        text = _repair(_to_text(item.get("content") or item.get("text")))
        if not text.strip() and not has_more and item.get("share"):
            has_more = _count_list(item.get("share"), EMBEDS, left_out)
        if has_more and not text.strip():
            continue
        person = _repair(_to_text(item.get("sender_name") or item.get("senderName")))
        if not person:
            left_out[NAMELESS] += 1
            continue
        time = item.get("timestamp_ms") or item.get("timestamp")
        seconds = time / 1000 if isinstance(time, int | float) else parse_time(time)
        _take(chat, ChatMessage(person, person, text, seconds), left_out)
    yield chat


def _repair(text: str) -> str:
    """Return a text with its UTF-8 read as such; any other text is unchanged."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


# --- Skype and Teams, Google Chat -----------------------------------------------------------------


def read_skype(document: Any, name: str, left_out: LeftOut) -> Iterator[Chat]:
    """Yield the conversations of Skype and of Teams for private use, whose texts are HTML."""
    for one in _list_objects(_get(document, "conversations")):
        chat = Chat(_to_text(one.get("displayName") or one.get("id")) or _get_title(name))
        for item in _list_objects(one.get("MessageList")):
            kind = _to_text(item.get("messagetype"))
            if kind not in ("", "Text", "RichText", "RichText/Html"):
                is_notice = not kind.startswith("RichText/")
                left_out[SERVICE if is_notice else FILES] += 1
                continue
            person = _to_text(item.get("from"))
            if not person:
                left_out[NAMELESS] += 1
                continue
            shown = _to_text(item.get("displayName")) or person.rpartition(":")[2]
            text = _to_text(item.get("content"))
            message = ChatMessage(
                person,
                shown,
                text if kind == "Text" else read_html(text),
                parse_time(item.get("originalarrivaltime")),
            )
            _take(chat, message, left_out)
        if chat.messages:
            yield chat


def get_skype_owner(document: Any) -> str:
    """Return the ID of the person who made the export."""
    return _to_text(_get(document, "userId"))


def read_google_chat(document: Any, name: str, left_out: LeftOut) -> Iterator[Chat]:
    """Yield the chat of a file `messages.json` of Google Takeout."""
    chat = Chat(_get_title(name))
    has_threads = _has_threads(document)
    for item in _list_objects(_get(document, "messages")):
        files = _count_attachments(item.get("attached_files"), "original_name", left_out)
        text = _to_text(item.get("text"))
        if files and not text.strip():
            continue
        creator = item.get("creator")
        person = _to_text(_get(creator, "email") or _get(creator, "name"))
        if not person:
            left_out[DELETED if item.get("message_state") == "DELETED" else NAMELESS] += 1
            continue
        message = ChatMessage(
            person,
            _to_text(_get(creator, "name")) or person,
            text,
            parse_time(item.get("created_date")),
            thread=_to_text(item.get("topic_id")) if has_threads else "",
            is_bot=_get(creator, "user_type") == "Bot",
        )
        _take(chat, message, left_out)
    yield chat


def _has_threads(document: Any) -> bool:
    """Return whether several messages share a topic: elsewhere, each has its own."""
    topics = [_to_text(item.get("topic_id")) for item in _list_objects(_get(document, "messages"))]
    return 2 * len(set(topics)) < len(topics)


# --- WhatsApp -------------------------------------------------------------------------------------

#: The time before a message: `[15.03.24, 14:23:11] ` or `3/15/24, 2:23 PM - `.
_WHATSAPP_TIME = (
    r"\u200e?\[?(\d{1,4})([./-])(\d{1,2})[./-](\d{1,4}),?\s(\d{1,2})[:.](\d{2})(?:[:.](\d{2}))?"
    r"(?:\s?([APap])\.?\s?[Mm]\.?)?\]?(?:\s-)?\s"
)
WHATSAPP_MESSAGE = re.compile(_WHATSAPP_TIME + r"[^:\n]{1,60}: ")
_WHATSAPP_START = re.compile(_WHATSAPP_TIME + r"(?:([^:\n]{1,60}): ?)?(.*)", re.DOTALL)
_WHATSAPP_FILE = re.compile(
    r"\u200e?<[^<>\n]{3,80}>|\u200e[^\n]{1,80}|\u200e?[^\n]{1,120}\.\w{2,5} \([^()\n]{4,30}\)"
)
_WHATSAPP_DELETED = re.compile(
    r"\u200e?(This message was deleted|You deleted this message|Diese Nachricht wurde gelöscht|"
    r"Du hast diese Nachricht gelöscht|Se eliminó este mensaje|Ce message a été supprimé|"
    r"Questo messaggio è stato eliminato|Mensagem apagada)\.?"
)
_EDITED = re.compile(
    r"\s*\u200e?<This message was edited>\Z|\s*\u200e?<Diese Nachricht wurde bearbeitet.?>\Z"
)


def read_whatsapp(text: str, name: str, left_out: LeftOut) -> Iterator[Chat]:
    """Yield the chat of a text file; a line without a time continues the message before it."""
    chat = Chat(_get_title(name))
    pending: tuple[tuple[str | None, ...], list[str]] | None = None
    is_month_first = _is_month_first(text)
    for line in text.splitlines():
        match = _WHATSAPP_START.match(line)
        if match is None:
            if pending is None:
                left_out[SERVICE] += bool(line.strip())
            else:
                pending[1].append(line)
            continue
        _take_whatsapp(pending, chat, left_out, is_month_first=is_month_first)
        pending = match.groups()[:9], [match[10]]
    _take_whatsapp(pending, chat, left_out, is_month_first=is_month_first)
    yield chat


def _take_whatsapp(
    pending: tuple[tuple[str | None, ...], list[str]] | None,
    chat: Chat,
    left_out: LeftOut,
    *,
    is_month_first: bool,
) -> None:
    if pending is None:
        return
    *time, writer = pending[0]
    content = _EDITED.sub("", "\n".join(pending[1]).strip(" \n"))
    if not writer:
        left_out[SERVICE] += 1
    elif _WHATSAPP_DELETED.fullmatch(content):
        left_out[DELETED] += 1
    elif (first := _WHATSAPP_FILE.match(content)) and first.end() == len(
        content.partition("\n")[0]
    ):
        _count_whatsapp_file(first[0], left_out)
        if caption := content[first.end() :].strip():
            person = writer.strip("\u200e~\u202f ")
            _take(
                chat,
                ChatMessage(person, person, caption, _read_whatsapp_time(time, is_month_first)),
                left_out,
            )
    else:
        person = writer.strip("\u200e~\u202f ")
        _take(
            chat,
            ChatMessage(person, person, content, _read_whatsapp_time(time, is_month_first)),
            left_out,
        )


#: Words of messages that stand for media, in several languages.
_WHATSAPP_KINDS: tuple[tuple[re.Pattern[str], Template], ...] = (
    (re.compile(r"audio|voice|sprach|voz|vocal|opus", re.IGNORECASE), VOICE),
    (re.compile(r"video|vídeo|vidéo", re.IGNORECASE), VIDEOS),
    (re.compile(r"sticker|gif", re.IGNORECASE), STICKERS),
    (re.compile(r"image|imagen|imagem|immagine|bild|foto|photo", re.IGNORECASE), PHOTOS),
)


def _count_whatsapp_file(text: str, left_out: LeftOut) -> None:
    kind = next((kind for pattern, kind in _WHATSAPP_KINDS if pattern.search(text)), None)
    if kind is not None:
        left_out[kind] += 1
    elif text.startswith("\u200e") and not re.search(r"[<(]|\.\w{2,5}\b", text):
        left_out[SERVICE] += 1
    else:
        _count_file(text, left_out)


def _is_month_first(text: str) -> bool:
    """Return whether dates begin with the month: some day is beyond 12, or the clock has AM and PM."""
    dates = [match.groups() for match in re.finditer(_WHATSAPP_TIME, text[:2_000_000])][:5000]
    plain = [date for date in dates if len(date[0]) < 3]
    if any(int(date[0]) > 12 for date in plain):
        return False
    if any(int(date[2]) > 12 for date in plain):
        return True
    return any(date[1] == "/" and date[7] for date in plain)


def _read_whatsapp_time(parts: list[str | None], is_month_first: bool) -> float | None:
    first, _, second, third, hour, minute, seconds, half = (part or "" for part in parts)
    if len(first) == 4:
        year, month, day = first, second, third
    elif is_month_first:
        year, month, day = third, first, second
    else:
        year, month, day = third, second, first
    hours = int(hour) % 12 + 12 * (half in ("P", "p")) if half else int(hour)
    try:
        full_year = int(year) + (2000 if len(year) < 3 else 0)
        moment = datetime(
            full_year, int(month), int(day), hours, int(minute), int(seconds or 0), tzinfo=UTC
        )
        return moment.timestamp()
    except (ValueError, OverflowError):
        return None


# --- X --------------------------------------------------------------------------------------------


def read_direct_messages(items: Any, left_out: LeftOut) -> Iterator[Chat]:
    """Yield the conversations of an archive of X (Twitter), in which people have numbers for names."""
    for item in _list_objects(items):
        one = item.get("dmConversation")
        chat = Chat(_to_text(_get(one, "conversationId")))
        for entry in _list_objects(_get(one, "messages")):
            message = entry.get("messageCreate")
            if not isinstance(message, dict) or not (sender := _to_text(message.get("senderId"))):
                left_out[SERVICE] += 1
                continue
            left_out[PHOTOS] += len(message.get("mediaUrls") or ())
            written, time = _to_text(message.get("text")), parse_time(message.get("createdAt"))
            _take(
                chat,
                ChatMessage(sender, sender, written, time, id=_to_text(message.get("id"))),
                left_out,
            )
        if chat.messages:
            yield chat
