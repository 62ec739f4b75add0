"""Read the notes that Anki exports, as text or as a package, as questions with answers."""

from __future__ import annotations

import csv
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from lora_studio.core import limits
from lora_studio.core.messages import Template
from lora_studio.core.problems import InvalidContentError
from lora_studio.engine.dataset.files import row_faults
from lora_studio.engine.dataset.files.exports.html_text import has_markup, read_html
from lora_studio.engine.dataset.reasons import SkipReason

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
        yield row_faults.NO_ANSWER if filled else row_faults.NO_CARD
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
                yield row_faults.UNREADABLE
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
