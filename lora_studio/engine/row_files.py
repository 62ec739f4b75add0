"""Reads the rows of a JSON or JSONL file, whatever shape they have, and says where each stands."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.engine.channel import Job

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class RawRow:
    """One row as the file has it. `number` and `line` count from 1; `fault` is why it is unusable.

    `line` is None in a file that is one JSON document.
    """

    number: int
    values: dict[str, Any] | None
    line: int | None = None
    fault: str | None = None


def read_rows(file: Path, job: Job) -> list[RawRow]:
    """Every row of a file; raises ProblemError when the file as a whole cannot be read."""
    text = _text(file)
    start = text.lstrip()
    if not start:
        raise _fail(file, "dataset.empty", f"{file.name} is empty.", "Choose a file with rows.")
    if start[0] == "{" and _is_lines(start):
        return list(_from_lines(text, job))
    if start[0] not in "[{":
        raise _fail(
            file,
            "dataset.not_json",
            f"{file.name} is neither JSON nor JSON lines: it begins with “{start[:20].strip()}”.",
            "Choose a .json or .jsonl file.",
        )
    return _from_document(file, text)


def _text(file: Path) -> str:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise _fail(
            file,
            "dataset.unreadable",
            f"{file.name} could not be read: {error.strerror or error}.",
            "Check that the file exists and that you may read it.",
        ) from error
    encoding = next((name for mark, name in _MARKS if raw.startswith(mark)), "utf-8")
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise fail(
            "dataset.encoding",
            f"{file.name} is not valid {encoding.upper()}: byte {error.start + 1}, in line {line}.",
            "Save the file as UTF-8 in a text editor.",
            where=Where(step="dataset", field="sources", file=str(file), line=line),
        ) from error


def _is_lines(text: str) -> bool:
    """Whether the first line is a whole object, so that every line is a row."""
    first, _, rest = text.partition("\n")
    try:
        value = json.loads(first)
    except ValueError:
        # A broken first row among good ones, or the first line of a document over many lines.
        following = next((line for line in rest.split("\n") if line.strip()), "")
        return following.lstrip().startswith("{") and _parses(following)
    return isinstance(value, dict) and (bool(rest.strip()) or not _only_list(value))


def _parses(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _from_lines(text: str, job: Job) -> Iterator[RawRow]:
    number = 0
    for index, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        number += 1
        if number % 1000 == 0:
            job.progress("reading rows", number, None, "rows")
        try:
            yield _row(number, json.loads(line), index)
        except ValueError:
            yield RawRow(number, None, index, "the line is not valid JSON")
        except RecursionError:
            yield RawRow(number, None, index, "the line is nested too deeply")


def _from_document(file: Path, text: str) -> list[RawRow]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise fail(
            "dataset.not_json",
            f"{file.name} is not valid JSON: {error.msg}.",
            "Correct that place, or write one JSON object per line and call the file .jsonl.",
            where=Where(
                step="dataset",
                field="sources",
                file=str(file),
                line=error.lineno,
                column=error.colno,
            ),
        ) from error
    except RecursionError as error:
        raise _fail(
            file, "dataset.not_json", f"{file.name} is nested too deeply.", "Simplify its rows."
        ) from error
    rows = document
    if isinstance(document, dict):
        rows = _only_list(document)
        if rows is None:
            lists = [key for key, value in document.items() if isinstance(value, list)]
            raise _fail(
                file,
                "dataset.no_rows",
                f"{file.name} is one object with {len(lists) or 'no'} lists"
                f"{': ' + ', '.join(lists) if lists else ''}, so its rows cannot be told.",
                "Put all rows into one list, or one JSON object per line.",
            )
    if not rows:
        raise _fail(file, "dataset.empty", f"{file.name} has no rows.", "Choose a file with rows.")
    return [_row(number, value, None) for number, value in enumerate(rows, start=1)]


def _only_list(document: dict[str, Any]) -> list[Any] | None:
    """The list of objects in an object that has exactly one such; a lone chat row is none."""
    lists = [
        value
        for value in document.values()
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
    ]
    if len(lists) != 1:
        return None
    is_turn = {"role", "content"} <= set(lists[0][0]) or {"from", "value"} <= set(lists[0][0])
    return None if is_turn else lists[0]


def _row(number: int, value: Any, line: int | None) -> RawRow:
    if not isinstance(value, dict):
        return RawRow(number, None, line, "the row is not an object")
    return RawRow(number, value, line)


def _fail(file: Path, code: str, what: str, remedy: str) -> ProblemError:
    return fail(code, what, remedy, where=Where(step="dataset", field="sources", file=str(file)))
