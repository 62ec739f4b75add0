"""The files that other programs export: how each is recognized, and what reads it.

To add one, add a `ForeignExport` to the table. Files that can't be read have a remedy instead of a reader.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from lora_studio.core.messages import Template, Text, text
from lora_studio.engine.dataset.files.exports import (
    chats,
    conversations,
    flash_cards,
    labeling,
    web_pages,
)
from lora_studio.engine.dataset.files.exports.conversations import Chat
from lora_studio.engine.dataset.reasons import SkipReason

#: A row, or why there is none.
ExportRow = dict[str, Any] | SkipReason
#: What the reader of an export gets: parsed JSON, one item of it, rows of a table, or a text.
Content = Literal["document", "item", "table", "text", "parts", "database"]
LeftOut = Counter[Template]
Reader = Callable[[Any, str, LeftOut], Iterator[ExportRow]]

#: Tokens of JSON from the beginning of a file that show which keys it has.
_TOKENS = 10_000
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]:]', re.DOTALL)


@dataclass(frozen=True)
class ForeignExport:
    """One kind of exported file.

    It is recognized by its `keys`, of which one group has to be there in full: paths of JSON such as
    `messages[].author` (of an item in a list, those inside the item), or names of columns. `lacks` are paths
    that it must not have. A text is recognized by `pattern` at its beginning. `read` gets the content, the file's name, and the count of what is left out;
    `convert` gets one item. Without either, the file is refused with the `remedy`.
    """

    title: Text
    content: Content
    keys: tuple[tuple[str, ...], ...] = ()
    lacks: tuple[str, ...] = ()
    pattern: re.Pattern[str] | None = None
    read: Reader | None = None
    convert: Callable[[dict[str, Any]], ExportRow] | None = None
    remedy: Template = ""
    is_chat: bool = False


def _read_chat(
    read: Callable[[Any, str, LeftOut], Iterator[Chat]],
    get_owner: Callable[[Any], str] = lambda _: "",
) -> Reader:
    """Return a reader that groups the messages of chats into conversations."""

    def read_rows(content: Any, name: str, left_out: LeftOut) -> Iterator[ExportRow]:
        chats_read = list(read(content, name, left_out))
        return conversations.build_rows(chats_read, left_out, get_owner(content))

    return read_rows


def _read_slack_day(content: Any, name: str, left_out: LeftOut) -> Iterator[ExportRow]:
    found = chats.read_slack(
        content, name.rpartition("/")[0].rpartition("/")[2] or name, {}, left_out
    )
    return conversations.build_rows(found, left_out)


def _read_slack(content: Any, name: str, left_out: LeftOut) -> Iterator[ExportRow]:
    """Yield the conversations of a channel; the first part of the content names the people."""
    users, *days = content
    messages = [item for day in days if isinstance(day, list) for item in day]
    found = chats.read_slack(messages, name, chats.read_slack_users(users), left_out)
    return conversations.build_rows(found, left_out)


def _read_tweets(content: str, name: str, left_out: LeftOut) -> Iterator[ExportRow]:
    return web_pages.read_tweets(_parse_assigned(content), left_out)


def _read_direct_messages(content: str, name: str, left_out: LeftOut) -> Iterator[Chat]:
    return chats.read_direct_messages(_parse_assigned(content), left_out)


def _parse_assigned(content: str) -> Any:
    """Return the JSON that a file of JavaScript assigns; raises orjson.JSONDecodeError."""
    return orjson.loads(content.partition("=")[2].strip().rstrip(";"))


_NO_PARTS_OF_TEXTS: Template = "LoRA Studio trains on one label or one written answer for each text. Export annotations of that kind."
_AS_TABLE_OF_ANSWERS: Template = "Make a table with a column for what was asked and one for what was answered, and choose that file."
_EXPORT_CHANNEL: Template = (
    "Export whole channels, for example with DiscordChatExporter as JSON, and choose those files."
)
_LABEL_STUDIO_RESULT = "annotations[].result[].value"

#: Every export by its name; the first that fits counts.
EXPORTS: dict[str, ForeignExport] = {
    "discord": ForeignExport(
        text("Discord chat"), "document", (("guild", "channel", "messages[].author"),),
        read=_read_chat(chats.read_discord), is_chat=True,
    ),
    "discord table": ForeignExport(
        text("Discord chat"), "table",
        (("AuthorID", "Author", "Date", "Content"), ("Author", "Date", "Content", "Attachments", "Reactions")),
        read=_read_chat(chats.read_discord_table), is_chat=True,
    ),
    "telegram": ForeignExport(
        text("Telegram chats"), "document",
        (
            ("messages[].from_id",), ("messages[].actor_id",), ("chats.list[].messages[]",),
            ("left_chats.list[].messages[]",), ("personal_information.user_id", "contacts.list[]"),
        ),
        read=_read_chat(chats.read_telegram, chats.get_telegram_owner), is_chat=True,
    ),
    "messenger": ForeignExport(
        text("Messenger or Instagram chat"), "document",
        (("participants[].name", "messages[].sender_name"), ("participants[]", "messages[].senderName")),
        read=_read_chat(chats.read_messenger), is_chat=True,
    ),
    "skype": ForeignExport(
        text("Skype or Teams chats"), "document", (("conversations[].MessageList[]",),),
        read=_read_chat(chats.read_skype, chats.get_skype_owner), is_chat=True,
    ),
    "google chat": ForeignExport(
        text("Google Chat"), "document", (("messages[].creator", "messages[].created_date"),),
        read=_read_chat(chats.read_google_chat), is_chat=True,
    ),
    "slack": ForeignExport(text("Slack channel"), "parts", read=_read_slack, is_chat=True),
    "slack day": ForeignExport(
        text("Slack channel"), "document", (("[].type", "[].ts", "[].user", "[].text"),),
        read=_read_slack_day, is_chat=True,
    ),
    "whatsapp": ForeignExport(
        text("WhatsApp chat"), "text", read=_read_chat(chats.read_whatsapp), is_chat=True,
    ),
    "direct messages": ForeignExport(
        text("Direct messages on X"), "text",
        pattern=re.compile(r"\s*window\.YTD\.direct_messages?(_group)?\.part\d+ *= *\["),
        read=_read_chat(_read_direct_messages), is_chat=True,
    ),
    "gemini": ForeignExport(
        text("Gemini activities"), "document", (("[].header", "[].title", "[].time", "[].products[]"),),
        read=lambda content, name, left_out: web_pages.read_gemini(content),
    ),
    "gemini page": ForeignExport(
        text("Gemini activities"), "text",
        pattern=re.compile(r"(?=.{0,400}<html)(?=.*outer-cell mdl-cell)(?=.*Gemini)", re.DOTALL | re.IGNORECASE),
        read=lambda content, name, left_out: web_pages.read_gemini_page(content),
    ),
    "label studio other": ForeignExport(
        text("Label Studio annotations of parts, ratings, or media"), "item", (("data", _LABEL_STUDIO_RESULT),),
        lacks=(f"{_LABEL_STUDIO_RESULT}.choices[]", f"{_LABEL_STUDIO_RESULT}.text[]"), remedy=_NO_PARTS_OF_TEXTS,
    ),
    "label studio": ForeignExport(
        text("Label Studio annotations"), "item",
        (("data", "annotations[].result[]"), ("data", "completions[].result[]")),
        convert=labeling.read_label_studio,
    ),
    "label studio min spans": ForeignExport(
        text("Label Studio annotations of parts of texts"), "item",
        (("annotation_id", "lead_time", "label[].start"),), remedy=_NO_PARTS_OF_TEXTS,
    ),
    "label studio min": ForeignExport(
        text("Label Studio annotations"), "item", (("annotation_id", "lead_time", "annotator"),),
        convert=labeling.read_label_studio_min,
    ),
    "prodigy": ForeignExport(
        text("Prodigy annotations"), "item",
        tuple(("_task_hash", "text", "answer", name) for name in ("label", "options[]", "field_id", "user_input")),
        lacks=("spans[].label", "relations[]"), convert=labeling.read_prodigy,
    ),
    "prodigy other": ForeignExport(
        text("Prodigy annotations of parts of texts or of media"), "item",
        (("_task_hash", "_input_hash", "answer"),), remedy=_NO_PARTS_OF_TEXTS,
    ),
    "spans": ForeignExport(
        text("annotations of parts of texts"), "item",
        (("text", "label[][]"), ("text", "labels[][]"), ("text", "entities[].start_offset"), ("data", "label[][]")),
        remedy=_NO_PARTS_OF_TEXTS,
    ),
    "doccano": ForeignExport(
        text("Labeled texts"), "item", (("id", "text", "label[]"),), convert=labeling.read_doccano,
    ),
    "discord own": ForeignExport(
        text("your own Discord messages without those that they answer"), "item",
        (("ID", "Timestamp", "Contents", "Attachments"),), remedy=_EXPORT_CHANNEL,
    ),
    "discord own table": ForeignExport(
        text("your own Discord messages without those that they answer"), "table",
        (("ID", "Timestamp", "Contents", "Attachments"),), remedy=_EXPORT_CHANNEL,
    ),
    "mastodon": ForeignExport(
        text("Mastodon posts"), "document", (("orderedItems[].object", "orderedItems[].actor"),),
        read=lambda content, name, left_out: web_pages.read_mastodon(content, left_out),
    ),
    "tweets": ForeignExport(
        text("Posts on X"), "text",
        pattern=re.compile(r"\s*window\.YTD\.tweets?\.part\d+ *= *\["), read=_read_tweets,
    ),
    "x other": ForeignExport(
        text("a file of an archive of X without posts or messages"), "text",
        pattern=re.compile(r"\s*window\.YTD\.\w+\.part\d+ *="),
        remedy="Choose the file tweets.js or direct-messages.js of the archive.",
    ),
    "anki": ForeignExport(
        text("Anki notes"), "text",
        pattern=re.compile(r"(#(separator|html|tags|columns|notetype|deck|guid|tags column|notetype column|"
                           r"deck column|guid column):[^\n]*\n)+"),
        read=lambda content, name, left_out: flash_cards.read_notes(content, left_out),
    ),
    "anki package": ForeignExport(
        text("Anki package"), "database",
        read=lambda content, name, left_out: flash_cards.read_collection(content, left_out),
    ),
    "subtitles": ForeignExport(
        text("Subtitles"), "text",
        pattern=re.compile(r"(WEBVTT\b[^\n]*\n(?:.*?\n)??|\d+\s*\n)" + web_pages.SUBTITLE_TIME.pattern.lstrip("^"),
                           re.MULTILINE | re.DOTALL),
        read=lambda content, name, left_out: web_pages.read_subtitles(content, left_out),
    ),
    "mailbox": ForeignExport(
        text("a mailbox or an e-mail"), "text",
        pattern=re.compile(
            r"(From \S+ .{0,40}\d\d:\d\d:\d\d .{0,20}\d{4}\n|(?=(?:[A-Za-z-]+:.*\n(?:[ \t].*\n)*){3})"
            r"(?=(?:.*\n){0,60}?From:)(?=(?:.*\n){0,60}?(?:Subject|Message-ID|Date):)(?:Received|Return-Path|"
            r"Delivered-To|MIME-Version|Message-ID|X-[A-Za-z-]+|From|To|Date|Subject):)", re.IGNORECASE),
        remedy=_AS_TABLE_OF_ANSWERS,
    ),
    "contacts": ForeignExport(
        text("a list of contacts or appointments"), "text",
        pattern=re.compile(r"\s*BEGIN:V(CARD|CALENDAR)\b"), remedy="Choose a file with texts.",
    ),
    "page": ForeignExport(
        text("Web page"), "text",
        pattern=re.compile(r"\s*(<\?xml[^>]*>\s*)?(<!--.{0,2000}?-->\s*)*<(!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL),
        read=lambda content, name, left_out: web_pages.read_page(content, left_out),
    ),
}  # fmt: skip


def find_json_export(head: bytes) -> str:
    """Return the name of the export that JSON with this beginning is, "" for other data."""
    paths = read_outline(head)
    return _find(paths, "document") or _find({path.removeprefix("[].") for path in paths}, "item")


def find_table_export(columns: tuple[str, ...]) -> str:
    """Return the name of the export that a table with these columns is, "" for other data."""
    return _find(set(columns), "table")


def _find(keys: set[str], content: Content) -> str:
    for name, export in EXPORTS.items():
        if export.content != content or any(key in keys for key in export.lacks):
            continue
        if any(keys.issuperset(group) for group in export.keys):
            return name
    return ""


def find_text_export(beginning: str, name: str) -> str:
    """Return the name of the export that a text with this beginning is, "" for other texts."""
    plain = beginning.replace("\r\n", "\n")
    for title, export in EXPORTS.items():
        if export.pattern is not None and export.pattern.match(plain):
            return title
    is_page = re.search(r"\.x?html?\Z", name, re.IGNORECASE) and re.match(r"\s*<[a-zA-Z!]", plain)
    return "page" if is_page else "whatsapp" if _is_whatsapp(plain) else ""


#: Lines from the beginning that decide whether a text is an exported chat.
_CHAT_LINES = 60


def _is_whatsapp(beginning: str) -> bool:
    """Return whether half of the first lines are messages as WhatsApp exports them."""
    lines = [line for line in beginning.splitlines()[:_CHAT_LINES] if line.strip()]
    messages = sum(chats.WHATSAPP_MESSAGE.match(line) is not None for line in lines)
    return messages >= 3 and messages * 2 >= len(lines)


def read_outline(head: bytes) -> set[str]:
    """Return the paths of the keys in the beginning of JSON, such as `messages[].author.name`.

    Lists end with `[]`, also where they are empty. Objects one after another have the paths of one object.
    """
    paths: set[str] = set()
    stack: list[
        tuple[bool, str]
    ] = []  # for each open bracket whether it is an object's, and its path
    path, last = "", b""
    for count, token in enumerate(_TOKEN.finditer(head)):
        if count > _TOKENS:
            break
        sign = token[0]
        is_object, prefix = stack[-1] if stack else (False, "")
        if sign == b":":
            if is_object:
                name = last[1:-1].decode("utf-8", "replace")
                path = f"{prefix}.{name}" if prefix else name
                paths.add(path)
        elif sign == b"{":
            stack.append((True, path if is_object else prefix))
        elif sign == b"[":
            inner = f"{path if is_object else prefix}[]"
            paths.add(inner)
            stack.append((False, inner))
        elif sign in b"}]":
            del stack[-1:]
        last = sign
    return paths
