"""Read the chats that messengers export: Discord, Slack, Telegram, WhatsApp, and others.

Each reader gets a parsed file and yields chats; what it leaves out, it counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
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


def list_objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects in a list, none for anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _get(value: Any, path: str) -> Any:
    """Return a value inside of objects by its path, None where one is missing."""
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _to_text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


# --- messages as objects --------------------------------------------------------------------------

Item = dict[str, Any]


@dataclass(frozen=True)
class ChatLayout:
    """Where a parsed file has its chats, and where a message has what counts.

    Fields are paths such as `author.id`; of several, separated by blanks, the first with a value counts.
    Without `chats`, the file is one chat. `find_notice` returns what an item is that isn't a written message,
    `list_media` the kinds of what is attached to it.
    """

    person: str
    name: str | Callable[[Item], str]
    time: str
    text: str | Callable[[Item], str] = "text"
    id: str = ""
    reply_to: str = ""
    thread: str = ""
    chats: str = ""
    messages: str = "messages"
    title: str | Callable[[Item], str] = ""
    owner: str = ""
    find_notice: Callable[[Item], Template | None] = lambda item: None
    list_media: Callable[[Item], Iterable[Template]] = lambda item: ()
    is_bot: Callable[[Item], bool] = lambda item: False
    repair: Callable[[str], str] = lambda text: text
    ticks: int = 1  # of a number as the time, in one second

    def read(self, document: Any, name: str, left_out: LeftOut) -> Iterator[Chat]:
        """Yield the chats of a file; `name` is the title of one that has no other."""
        if self.chats:
            groups = [_get(document, path) for path in self.chats.split()]
            every = [one for group in groups for one in list_objects(group)]
        else:
            every = []
        if isinstance(_get(document, self.messages), list):
            every.insert(0, document)
        for one in every:
            chat = Chat(self._pick(one, self.title) or PurePosixPath(name).stem)
            for item in list_objects(_get(one, self.messages)):
                self._add(chat, item, left_out)
            yield chat

    def get_owner(self, document: Any) -> str:
        """Return the ID of the person who made the export, "" if unknown."""
        return self._pick(document, self.owner)

    def _add(self, chat: Chat, item: Item, left_out: LeftOut) -> None:
        """Add a message with a text; count anything else."""
        if kind := self.find_notice(item):
            left_out[kind] += 1
            return
        if not (person := self._pick(item, self.person)):
            left_out[NAMELESS] += 1
            return
        media = list(self.list_media(item))
        left_out.update(media)
        text = self._pick(item, self.text).strip()
        if not text:
            left_out[EMPTY] += not media
            return
        times = (self._parse_time(_get(item, path)) for path in self.time.split())
        chat.messages.append(
            ChatMessage(
                person,
                self._pick(item, self.name) or person,
                text,
                next((time for time in times if time is not None), None),
                id=self._pick(item, self.id),
                reply_to=self._pick(item, self.reply_to),
                thread=self._pick(item, self.thread),
                is_bot=self.is_bot(item),
            )
        )

    def _pick(self, item: Item, field: str | Callable[[Item], str]) -> str:
        if callable(field):
            return self.repair(field(item))
        texts = (_to_text(value) for path in field.split() if (value := _get(item, path)))
        return self.repair(next(filter(None, texts), ""))

    def _parse_time(self, value: Any) -> float | None:
        seconds = parse_time(value)
        return seconds / self.ticks if seconds and isinstance(value, int | float) else seconds


_FILE_KINDS: tuple[tuple[re.Pattern[str], Template], ...] = (
    (re.compile(r"\.(jpe?g|png|gif|webp|heic|avif|bmp)\b", re.IGNORECASE), PHOTOS),
    (re.compile(r"\.(mp4|mov|webm|mkv|avi|3gp)\b", re.IGNORECASE), VIDEOS),
    (re.compile(r"\.(ogg|opus|mp3|m4a|wav|aac|amr|oga)\b", re.IGNORECASE), VOICE),
)


def _find_file_kind(name: Any) -> Template:
    """Return what a file is, by its name."""
    text = _to_text(name)
    return next((kind for pattern, kind in _FILE_KINDS if pattern.search(text)), FILES)


def _list_files(items: Any, field: str) -> list[Template]:
    return [_find_file_kind(item.get(field)) for item in list_objects(items)]


def _repeat(kind: Template, items: Any) -> list[Template]:
    """Return the kind as often as there are items; a lone object is one."""
    return [kind] * (len(items) if isinstance(items, list) else isinstance(items, dict))


#: Types of Discord's messages that somebody wrote; all others are notices.
_DISCORD_WRITTEN = ("Default", "Reply", "ChatInputCommand", "ContextMenuCommand", "0", "19", "20", "23")  # fmt: skip


def _list_discord_media(item: Item) -> list[Template]:
    attached = _list_files(item.get("attachments"), "fileName")
    attached += _repeat(STICKERS, item.get("stickers"))
    if not _to_text(item.get("content")).strip():
        attached += _repeat(EMBEDS, item.get("embeds"))
    return attached


#: What DiscordChatExporter writes as JSON.
DISCORD = ChatLayout(
    person="author.id author.name", name="author.nickname author.name", text="content", time="timestamp", id="id",
    reply_to="reference.messageId",
    title=lambda one: " / ".join(filter(None, (_to_text(_get(one, f"{of}.name")) for of in ("guild", "channel")))),
    find_notice=lambda item: None if _to_text(item.get("type", "Default")) in _DISCORD_WRITTEN else SERVICE,
    list_media=_list_discord_media, is_bot=lambda item: _get(item, "author.isBot") is True,
)  # fmt: skip

_DISCORD_TABLE = ChatLayout(
    person="AuthorID Author", name="name", text="Content", time="Date",
    list_media=lambda row: [_find_file_kind(file) for file in _to_text(row.get("Attachments")).split(",") if file.strip()],
)  # fmt: skip


def read_discord_table(rows: Iterable[Item], name: str, left_out: LeftOut) -> Iterator[Chat]:
    """Yield the channel that DiscordChatExporter wrote as CSV."""
    named = [
        {**row, "name": re.sub(r"#\d{1,4}\Z", "", _to_text(row.get("Author")))} for row in rows
    ]
    return _DISCORD_TABLE.read({"messages": named}, name, left_out)


_SLACK_WRITTEN = ("", "bot_message", "me_message", "thread_broadcast", "file_share", "file_comment")
_SLACK_MARK = re.compile(r"<([@#!]?)([^<>|\n]{1,2000})(?:\|([^<>\n]{0,2000}))?>")
_SLACK_NAMES = ("display_name", "real_name", "name", "username")


def _find_slack_notice(item: Item) -> Template | None:
    subtype = _to_text(item.get("subtype"))
    if subtype == "tombstone":
        return DELETED
    is_written = item.get("type", "message") == "message" and subtype in _SLACK_WRITTEN
    return None if is_written else SERVICE


_SLACK = ChatLayout(
    person="user bot_id username", name="name", time="ts", id="ts", thread="thread_ts", find_notice=_find_slack_notice,
    list_media=lambda item: _list_files(item.get("files"), "name"),
    is_bot=lambda item: item.get("subtype") == "bot_message" or ("bot_id" in item and "user" not in item),
)  # fmt: skip


def read_slack(days: Any, title: str, users: Any, left_out: LeftOut) -> Iterator[Chat]:
    """Yield one channel: the messages of all of its days. `users` describe the people."""
    names = {
        _to_text(user.get("id")): name
        for user in list_objects(users)
        if (name := _get_slack_name(user.get("profile"), user))
    }

    def read_text(item: Item) -> str:
        attached = [_to_text(part.get("text")) for part in list_objects(item.get("attachments"))]
        own = _read_slack_text(_to_text(item.get("text")), names)
        return own if own.strip() else _read_slack_text("\n".join(attached), names)

    def find_name(item: Item) -> str:
        profile = item.get("user_profile")
        known = names.get(_to_text(item.get("user")))
        return known or _get_slack_name(profile if isinstance(profile, dict) else item)

    items = [{**item, "name": find_name(item)} for item in list_objects(days)]
    for chat in replace(_SLACK, text=read_text).read({"messages": items}, "", left_out):
        yield Chat(title, chat.messages)


def _get_slack_name(*objects: Any) -> str:
    names = (_to_text(_get(one, key)) for one in objects for key in _SLACK_NAMES)
    return next((name for name in names if name.strip()), "")


def _read_slack_text(text: str, users: Mapping[str, str]) -> str:
    """Return a text without Slack's marks: mentions by name, links by their title."""

    def replace_mark(mark: re.Match[str]) -> str:
        sign, target, title = mark.groups()
        if sign == "@":
            return f"@{title or users.get(target, target)}"
        if sign == "!":
            title = title or target.partition("^")[0]
            return title if title.startswith("@") else f"@{title}"
        return f"#{title or target}" if sign == "#" else title or target

    return unescape(_SLACK_MARK.sub(replace_mark, text))


_TELEGRAM_MEDIA: dict[str, Template] = {
    "voice_message": VOICE, "audio_file": VOICE, "video_message": VIDEOS,
    "video_file": VIDEOS, "sticker": STICKERS, "animation": STICKERS,
}  # fmt: skip
_TELEGRAM_OTHER = ("poll", "location_information", "contact_information", "place_name", "game_title")  # fmt: skip


def _find_telegram_notice(item: Item) -> Template | None:
    if item.get("type", "message") != "message":
        return SERVICE
    return FORWARDED if item.get("forwarded_from") or item.get("saved_from") else None


def _list_telegram_media(item: Item) -> list[Template]:
    if kind := _TELEGRAM_MEDIA.get(_to_text(item.get("media_type"))):
        return [kind]
    if item.get("photo"):
        return [PHOTOS]
    if item.get("file"):
        return [_find_file_kind(item.get("file_name") or item.get("file"))]
    return [POLLS] if any(item.get(name) for name in _TELEGRAM_OTHER) else []


def _read_telegram_text(item: Item) -> str:
    """Return a text, which may be a list of texts and of objects with a part each."""
    value = item.get("text") or item.get("text_entities")
    parts = value if isinstance(value, list) else [value]
    return "".join(_to_text(part.get("text") if isinstance(part, dict) else part) for part in parts)


TELEGRAM = ChatLayout(
    person="from_id from author", name="from author", text=_read_telegram_text, time="date_unixtime date", id="id",
    reply_to="reply_to_message_id", chats="chats.list left_chats.list", title="name type",
    find_notice=_find_telegram_notice, list_media=_list_telegram_media,
)  # fmt: skip


def get_telegram_owner(document: Any) -> str:
    """Return the ID of the person who made a complete export, "" if unknown."""
    user = _get(document, "personal_information.user_id")
    return f"user{user}" if user else ""


_MESSENGER_MEDIA: dict[str, Template] = {
    "photos": PHOTOS, "videos": VIDEOS, "audio_files": VOICE, "gifs": STICKERS,
    "sticker": STICKERS, "files": FILES, "media": FILES,
}  # fmt: skip


def _find_messenger_notice(item: Item) -> Template | None:
    if item.get("is_unsent") is True or item.get("isUnsent") is True:
        return DELETED
    is_call = "call_duration" in item
    return SERVICE if is_call or item.get("type") in ("Subscribe", "Unsubscribe", "Call", "call") else None  # fmt: skip


def _list_messenger_media(item: Item) -> list[Template]:
    media = [kind for key, kind in _MESSENGER_MEDIA.items() for kind in _repeat(kind, item.get(key))]  # fmt: skip
    is_text = bool(_to_text(item.get("content") or item.get("text")).strip())
    return media or ([] if is_text else _repeat(EMBEDS, item.get("share")))


def _repair(text: str) -> str:
    """Return a text with its UTF-8, which was read as Latin-1, read as such; any other text is unchanged."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


#: Facebook Messenger and Instagram.
MESSENGER = ChatLayout(
    person="sender_name senderName", name="", text="content text", time="timestamp_ms timestamp", ticks=1000,
    title="title threadName", find_notice=_find_messenger_notice, list_media=_list_messenger_media, repair=_repair,
)  # fmt: skip


def _find_skype_notice(item: Item) -> Template | None:
    kind = _to_text(item.get("messagetype"))
    if kind in ("", "Text", "RichText", "RichText/Html"):
        return None
    return FILES if kind.startswith("RichText/") else SERVICE


def _get_skype_name(item: Item) -> str:
    return _to_text(item.get("displayName")) or _to_text(item.get("from")).rpartition(":")[2]


def _read_skype_text(item: Item) -> str:
    content = _to_text(item.get("content"))
    return content if item.get("messagetype") == "Text" else read_html(content)


#: Skype, and Teams for private use.
SKYPE = ChatLayout(
    person="from", name=_get_skype_name, text=_read_skype_text, time="originalarrivaltime", chats="conversations",
    messages="MessageList", title="displayName id", owner="userId", find_notice=_find_skype_notice,
)  # fmt: skip

_GOOGLE_CHAT = ChatLayout(
    person="creator.email creator.name", name="creator.name", time="created_date",
    find_notice=lambda item: DELETED if item.get("message_state") == "DELETED" and not item.get("creator") else None,
    list_media=lambda item: _list_files(item.get("attached_files"), "original_name"),
    is_bot=lambda item: _get(item, "creator.user_type") == "Bot",
)  # fmt: skip


def read_google_chat(document: Any, name: str, left_out: LeftOut) -> Iterator[Chat]:
    """Yield the chat of a file `messages.json` of Google Takeout."""
    topics = [_to_text(item.get("topic_id")) for item in list_objects(_get(document, "messages"))]
    has_threads = 2 * len(set(topics)) < len(topics)  # elsewhere, each message has its own
    layout = replace(_GOOGLE_CHAT, thread="topic_id") if has_threads else _GOOGLE_CHAT
    return layout.read(document, name, left_out)


#: An archive of X (Twitter), in which people have numbers for names.
_DIRECT_MESSAGES = ChatLayout(
    person="messageCreate.senderId", name="", text="messageCreate.text", time="messageCreate.createdAt",
    id="messageCreate.id", chats="chats", messages="dmConversation.messages", title="dmConversation.conversationId",
    find_notice=lambda item: None if _get(item, "messageCreate.senderId") else SERVICE,
    list_media=lambda item: _repeat(PHOTOS, _get(item, "messageCreate.mediaUrls")),
)  # fmt: skip


def read_direct_messages(items: Any, name: str, left_out: LeftOut) -> Iterator[Chat]:
    """Yield the conversations of an archive of X."""
    return _DIRECT_MESSAGES.read({"chats": items}, name, left_out)


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
    chat = Chat(PurePosixPath(name).stem)
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
        return
    if _WHATSAPP_DELETED.fullmatch(content):
        left_out[DELETED] += 1
        return
    file = _WHATSAPP_FILE.match(content)
    if file and file.end() == len(content.partition("\n")[0]):
        left_out[_find_whatsapp_kind(file[0])] += 1
        content = content[file.end() :]
        if not content.strip():
            return
    if not (content := content.strip()):
        left_out[EMPTY] += 1
        return
    person = writer.strip("\u200e~\u202f ")
    when = _read_whatsapp_time(time, is_month_first)
    chat.messages.append(ChatMessage(person, person, content, when))


#: Words of messages that stand for media, in several languages.
_WHATSAPP_KINDS: tuple[tuple[re.Pattern[str], Template], ...] = (
    (re.compile(r"audio|voice|sprach|voz|vocal|opus", re.IGNORECASE), VOICE),
    (re.compile(r"video|vídeo|vidéo", re.IGNORECASE), VIDEOS),
    (re.compile(r"sticker|gif", re.IGNORECASE), STICKERS),
    (re.compile(r"image|imagen|imagem|immagine|bild|foto|photo", re.IGNORECASE), PHOTOS),
)


def _find_whatsapp_kind(text: str) -> Template:
    if kind := next((kind for pattern, kind in _WHATSAPP_KINDS if pattern.search(text)), None):
        return kind
    is_notice = text.startswith("\u200e") and not re.search(r"[<(]|\.\w{2,5}\b", text)
    return SERVICE if is_notice else _find_file_kind(text)


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
