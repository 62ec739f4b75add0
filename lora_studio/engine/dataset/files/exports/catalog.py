"""The files that other programs export: how each is recognized, and what reads it.

To add one, add a `ForeignExport` to the table. Files that can't be read have a remedy instead of a reader.
"""

from __future__ import annotations

import csv
import itertools
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from lora_studio.core import limits
from lora_studio.core.messages import Template, Text, text
from lora_studio.core.problems import InvalidContentError
from lora_studio.engine.dataset.files import blocks
from lora_studio.engine.dataset.files.blocks import SkipReason
from lora_studio.engine.dataset.files.exports import chats, web_pages
from lora_studio.engine.dataset.files.exports.chats import Chat
from lora_studio.engine.dataset.files.exports.web_pages import has_markup, read_html
from lora_studio.engine.dataset.files.json_kinds import iter_outline

# Read what people annotated with Label Studio and Prodigy: labels and written answers of texts.
#
# A reader returns the row that one annotated text becomes, or why it has none.

REJECTED = SkipReason(text("it was rejected by the annotator"))
IGNORED = SkipReason(text("it was skipped by the annotator"))
_UNANNOTATED = SkipReason(text("it isn't annotated"))
_SEVERAL = SkipReason(text("it has several labels"))
_DISAGREED = SkipReason(text("its annotators disagree"))
_OTHER_KIND = SkipReason(text("its annotation is neither one label nor a written answer"))

#: Columns of Label Studio that are not about the text.
_ABOUT = (
    "id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement", "annotators",
)  # fmt: skip
#: Characters of the longest label; anything longer was written.
_LONGEST_LABEL = 60

Result = dict[str, Any] | SkipReason


def read_label_studio(task: dict[str, Any]) -> Result:
    """Return the row of a task with its annotations: of several labels, the most frequent."""
    data = task.get("data")
    annotations = task.get("annotations", task.get("completions"))
    if not isinstance(data, dict) or not isinstance(annotations, list):
        return _UNANNOTATED
    valid = chats.list_objects(annotations)
    used = [one for one in valid if one.get("was_cancelled") is not True]
    if valid and not used:
        return IGNORED
    labels: list[list[str]] = []
    has_others = False
    for annotation in used:
        labels.append([])
        for result in chats.list_objects(annotation.get("result")):
            value = result.get("value")
            value = value if isinstance(value, dict) else {}
            choices, texts = value.get("choices"), value.get("text")
            if isinstance(choices, list) and not {"start", "end"} & value.keys():
                labels[-1] += [choice for choice in choices if isinstance(choice, str)]
            elif result.get("type") == "textarea" and isinstance(texts, list | str):
                texts = [texts] if isinstance(texts, str) else texts
                if written := [one for one in texts if isinstance(one, str) and one.strip()]:
                    return _build_row(data, "answer", written[0])
            else:
                has_others = True
    if not any(labels):
        return _OTHER_KIND if has_others else _UNANNOTATED
    if any(len(label) > 1 for label in labels):
        return _SEVERAL
    (most, count), *rest = Counter(label[0] for label in labels if label).most_common()
    if rest and rest[0][1] == count:
        return _DISAGREED
    return _build_row(data, "label", most)


def read_label_studio_min(task: dict[str, Any]) -> Result:
    """Return the row of a task in the layout JSON-MIN: its results are between ID and annotator."""
    names = list(task)
    start = names.index("id") + 1 if "id" in names else 0
    end = names.index("annotator") if "annotator" in names else len(names)
    results = {name: task[name] for name in names[start:end] if name not in _ABOUT}
    data = {name: task[name] for name in names if name not in _ABOUT and name not in results}
    values = [value for value in results.values() if value not in (None, "", [], {})]
    if not data:
        return {name: value for name, value in task.items() if name not in _ABOUT}
    if not values:
        return _UNANNOTATED
    found: list[str] = []
    for value in values:
        value = value.get("choices", value) if isinstance(value, dict) else value
        found += value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in found):
        return _OTHER_KIND
    if len(found) > 1:
        return _SEVERAL
    is_label = len(found[0]) <= _LONGEST_LABEL and "\n" not in found[0]
    return _build_row(data, "label" if is_label else "answer", found[0])


def _build_row(data: dict[str, Any], name: str, value: str) -> Result:
    """Return a row: a lone text is called what it is, several columns keep their names."""
    texts = [key for key, item in data.items() if isinstance(item, str) and item.strip()]
    if len(texts) != 1:
        return {**data, name: value}
    rest = {
        key: item for key, item in data.items() if key not in (*texts, "text", "question", name)
    }
    return {"text" if name == "label" else "question": data[texts[0]], name: value} | rest


def read_doccano(task: dict[str, Any]) -> Result:
    """Return a row whose list of labels has one item with that label; any other is unchanged."""
    labels = task.get("label")
    if isinstance(labels, list) and len(labels) == 1 and isinstance(labels[0], str):
        return {**task, "label": labels[0]}
    return task


def read_prodigy(task: dict[str, Any]) -> Result:
    """Return the row of a task of Prodigy: its label, its chosen option, or what was written."""
    verdict = task.get("answer")
    if verdict == "reject":
        return REJECTED
    if verdict == "ignore":
        return IGNORED
    content = task.get("text", task.get("html"))
    if not isinstance(content, str):
        return _OTHER_KIND
    options = task.get("options")
    if isinstance(options, list):
        accepted = task.get("accept")
        chosen = accepted if isinstance(accepted, list) else []
        if len(chosen) != 1:
            return _SEVERAL if chosen else _UNANNOTATED
        shown = next(
            (one.get("text") for one in chats.list_objects(options) if one.get("id") == chosen[0]),
            None,
        )
        is_number = not isinstance(chosen[0], str)
        return {
            "text": content,
            "label": shown if is_number and isinstance(shown, str) else str(chosen[0]),
        }
    written = task.get("user_input", task.get(str(task.get("field_id", ""))))
    if isinstance(written, str) and written.strip():
        return {"question": content, "answer": written}
    label = task.get("label")
    if isinstance(label, str) and label:
        return {"text": content, "label": label}
    return _OTHER_KIND


MARKUP: Template = "formatting in fields ({count})"
MEDIA: Template = "images and sounds ({count})"

_SEPARATORS = {"tab": "\t", "comma": ",", "semicolon": ";", "space": " ", "pipe": "|", "colon": ":"}
_HEADER = re.compile(r"#([a-z ]+):(.*)")
_SOUND = re.compile(r"\[(?:sound|anki):[^\]\n]{1,500}\]")
_IMAGE = re.compile(r"<(?:img|audio|video|object|embed)\b", re.IGNORECASE)
_CLOZE = re.compile(r"\{\{c(\d{1,3})::(.*?)(?:::((?:(?!\}\}).)*))?\}\}", re.DOTALL)
_FIELD_END = "\x1f"

Row = dict[str, Any] | SkipReason


def read_notes(text: str, left_out: Counter[Template]) -> Iterator[Row]:
    """Yield the notes of a text file that begins with lines such as `#separator:tab`."""
    facts: dict[str, str] = {}
    lines = text.split("\n")
    count = 0
    while count < len(lines) and (match := _HEADER.fullmatch(lines[count].rstrip("\r"))):
        facts[match[1]] = match[2].strip("\r")
        count += 1
    spelled = facts.get("separator", "tab").strip()
    separator = _SEPARATORS.get(spelled.casefold(), spelled[:1] or "\t")
    names = facts.get("columns", "").split(separator) if facts.get("columns") else []
    about = {
        int(value): key.removesuffix(" column")
        for key, value in facts.items()
        if key.endswith(" column") and value.strip().isdigit()
    }
    is_html = facts.get("html", "").strip() == "true"
    content = (line + "\n" for line in lines[count:])
    for cells in csv.reader(content, delimiter=separator):
        if not any(cell.strip() for cell in cells):
            continue
        fields = {
            names[index].strip()
            if index < len(names) and names[index].strip()
            else f"field {index + 1}": cell
            for index, cell in enumerate(cells)
            if index + 1 not in about
        }
        kept = {
            about[index + 1]: cell
            for index, cell in enumerate(cells)
            if about.get(index + 1) in ("deck", "tags")
        }
        yield from build_cards(list(fields.items()), kept, left_out, is_html=is_html)


def build_cards(
    fields: list[tuple[str, str]],
    about: dict[str, str],
    left_out: Counter[Template],
    *,
    is_html: bool,
) -> Iterator[Row]:
    """Yield a row for a note: its first field is the question, its second the answer.

    A text with gaps is a row for each gap.
    """
    cleaned = [(name, _clean(value, left_out, is_html=is_html)) for name, value in fields]
    more = {name: value for name, value in about.items() if value.strip()}
    gapped = next(((name, value) for name, value in cleaned if _CLOZE.search(value)), None)
    if gapped is not None:
        more |= {name: value for name, value in cleaned if name != gapped[0] and value}
        for number in sorted({int(match[1]) for match in _CLOZE.finditer(gapped[1])}):
            yield {**more, **_fill_gaps(gapped[1], number)}
        return
    filled = [(name, value) for name, value in cleaned if value]
    if len(filled) < 2 or not cleaned[0][1]:
        yield blocks.NO_ANSWER if filled else blocks.NO_CARD
        return
    (_, question), (_, answer), *rest = filled
    others = {name: value for name, value in rest if name not in ("question", "answer")}
    yield {"question": question, "answer": answer, **more, **others}


def _fill_gaps(text: str, number: int) -> dict[str, str]:
    """Return the card that asks for the gaps with a number; the other gaps are filled."""
    answers: list[str] = []

    def replace(match: re.Match[str]) -> str:
        if int(match[1]) != number:
            return match[2]
        answers.append(match[2])
        return f"[{match[3] or '…'}]"

    question = _CLOZE.sub(replace, text)
    return {"question": question, "answer": ", ".join(dict.fromkeys(answers))}


def _clean(value: str, left_out: Counter[Template], *, is_html: bool) -> str:
    """Return the text of a field without media and formatting, which are counted."""
    value, sounds = _SOUND.subn("", value)
    left_out[MEDIA] += sounds
    if not is_html or not has_markup(value):
        return value.strip()
    images = len(_IMAGE.findall(value))
    left_out[MEDIA] += images
    left_out[MARKUP] += 1
    return read_html(value)


# --- packages -------------------------------------------------------------------------------------


def read_collection(data: bytes, left_out: Counter[Template]) -> Iterator[Row]:
    """Yield the notes of an SQLite database in memory; raises InvalidContentError.

    Only a plain table is read: a view or a virtual table could run anything as long as it likes.
    """
    connection = sqlite3.connect(":memory:")
    end = time.monotonic() + limits.COLLECTION_SECONDS

    try:
        connection.deserialize(data)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 4 * limits.ROW_BYTES)
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA query_only=ON")
        connection.set_progress_handler(lambda: int(time.monotonic() > end), 10_000)
        sql = connection.execute(
            "SELECT sql FROM sqlite_master WHERE name = 'notes' AND type = 'table'"
        ).fetchone()
        if sql is None or not re.match(r"\s*CREATE\s+TABLE\b", str(sql[0]), re.IGNORECASE):
            raise InvalidContentError("it has no table of notes")
        for tags, fields in connection.execute(
            "SELECT tags, flds FROM notes NOT INDEXED ORDER BY rowid"
        ):
            if not isinstance(fields, str):
                yield blocks.UNREADABLE
                continue
            about = {"tags": " ".join(tags.split())} if isinstance(tags, str) else {}
            values = [
                (f"field {number}", value)
                for number, value in enumerate(fields.split(_FIELD_END), 1)
            ]
            yield from build_cards(values, about, left_out, is_html=True)
    except sqlite3.Error as error:
        raise InvalidContentError(str(error)) from error
    finally:
        connection.close()


#: A row, or why there is none.
ExportRow = dict[str, Any] | SkipReason
#: What the reader of an export gets: parsed JSON, one item of it, rows of a table, or a text.
Content = Literal["document", "item", "table", "text", "parts", "database"]
LeftOut = Counter[Template]
Reader = Callable[[Any, str, LeftOut], Iterator[ExportRow]]

#: Names and brackets of JSON from the beginning of a file that show which keys it has.
_STEPS = 5_000


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
        return chats.build_rows(chats_read, left_out, get_owner(content))

    return read_rows


def _read_slack_day(content: Any, name: str, left_out: LeftOut) -> Iterator[ExportRow]:
    channel = name.rpartition("/")[0].rpartition("/")[2] or name
    return chats.build_rows(chats.read_slack(content, channel, (), left_out), left_out)


def _read_slack(content: Any, name: str, left_out: LeftOut) -> Iterator[ExportRow]:
    """Yield the conversations of a channel; the first part of the content names the people."""
    users, *days = content
    messages = [item for day in days if isinstance(day, list) for item in day]
    return chats.build_rows(chats.read_slack(messages, name, users, left_out), left_out)


def _read_tweets(content: str, name: str, left_out: LeftOut) -> Iterator[ExportRow]:
    return web_pages.read_tweets(_parse_assigned(content), left_out)


def _read_direct_messages(content: str, name: str, left_out: LeftOut) -> Iterator[Chat]:
    return chats.read_direct_messages(_parse_assigned(content), name, left_out)


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
        read=_read_chat(chats.DISCORD.read), is_chat=True,
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
        read=_read_chat(chats.TELEGRAM.read, chats.get_telegram_owner), is_chat=True,
    ),
    "messenger": ForeignExport(
        text("Messenger or Instagram chat"), "document",
        (("participants[].name", "messages[].sender_name"), ("participants[]", "messages[].senderName")),
        read=_read_chat(chats.MESSENGER.read), is_chat=True,
    ),
    "skype": ForeignExport(
        text("Skype or Teams chats"), "document", (("conversations[].MessageList[]",),),
        read=_read_chat(chats.SKYPE.read, chats.SKYPE.get_owner), is_chat=True,
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
        convert=read_label_studio,
    ),
    "label studio min spans": ForeignExport(
        text("Label Studio annotations of parts of texts"), "item",
        (("annotation_id", "lead_time", "label[].start"),), remedy=_NO_PARTS_OF_TEXTS,
    ),
    "label studio min": ForeignExport(
        text("Label Studio annotations"), "item", (("annotation_id", "lead_time", "annotator"),),
        convert=read_label_studio_min,
    ),
    "prodigy": ForeignExport(
        text("Prodigy annotations"), "item",
        tuple(("_task_hash", "text", "answer", name) for name in ("label", "options[]", "field_id", "user_input")),
        lacks=("spans[].label", "relations[]"), convert=read_prodigy,
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
        text("Labeled texts"), "item", (("id", "text", "label[]"),), convert=read_doccano,
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
        read=lambda content, name, left_out: read_notes(content, left_out),
    ),
    "anki package": ForeignExport(
        text("Anki package"), "database",
        read=lambda content, name, left_out: read_collection(content, left_out),
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

    Lists end with `[]`, also where they are empty.
    """
    steps = itertools.islice(iter_outline(head), _STEPS)
    return {step.path for step in steps if step.sign != b"{"}
