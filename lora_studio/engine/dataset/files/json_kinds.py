"""Detect from the beginning of a file how its rows are written as JSON."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import orjson

from lora_studio.core import limits
from lora_studio.core.dataset.formats.columns import CONVERSATIONS, count_known_names
from lora_studio.engine.dataset.files.blocks import without_extra_commas

JsonKind = Literal["json lines", "json list", "json objects", "json columns", "json texts"]

_START = re.compile(rb'\s*(?:\{\s*["}]|\[\s*[\[{"\]\dtfn-])')
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]:]', re.DOTALL)
_JSON_NAME = re.compile(r"\.(jsonl?|ndjson|jl|jsonc|json5)\b", re.IGNORECASE)
_LINES_NAME = re.compile(r"\.(jsonl|ndjson|jl)\b", re.IGNORECASE)
#: Bytes that are split at once: their brackets and quotes need ten times as many.
_PIECE = 1024 * 1024
_INSTANCES = "Instances"
#: Names of lists of turns, which are one conversation and not rows.
_TURNS = frozenset(CONVERSATIONS) - {"data"}
#: Lines that are inspected.
_LINES = 20


@dataclass(frozen=True)
class JsonShape:
    """How rows are written as JSON. Rows of a list in an object begin at `offset`, after its bracket.

    `lists` are the object's other lists of rows, or all of them where it isn't known which is meant.
    `is_nested`: the rows are questions, inside of paragraphs and articles, or instances of
    instructions, or the names of their answers. `about` are names and texts that belong to every row. `is_readable` is False for
    layouts that are recognized only to refuse them.
    """

    kind: JsonKind
    offset: int = 0
    lists: tuple[str, ...] = ()
    is_nested: bool = False
    about: tuple[tuple[str, str], ...] = ()
    is_readable: bool = True


def is_named_json(name: str) -> bool:
    """Return whether a file's name says that it is some kind of JSON."""
    return bool(_JSON_NAME.search(name))


def can_be_json(start: bytes) -> bool:
    """Return whether a text may be JSON, by its first characters."""
    return bool(_START.match(start))


def is_unended_object(head: bytes) -> bool:
    """Return whether a text begins with an object that does not end in it."""
    start = head.lstrip(b" \t\r\n")
    return start[:1] == b"{" and _find_first_value(start, 0) is None


def detect_shape(head: bytes, name: str, *, is_whole: bool, split: str) -> JsonShape | None:
    """Return the shape of a file that begins with `head`, or None if it is not JSON.

    Where the file's name says JSON, faults are tolerated. `split` names the list that is meant in an
    object with several.
    """
    shape = _detect_shape(head, name, is_whole=is_whole, split=split)
    if shape is None or shape.kind in ("json columns", "json texts"):
        return shape
    is_nested = has_nested_rows(head) or (not shape.offset and has_answer_maps(head))
    return replace(shape, is_nested=is_nested)


def _detect_shape(head: bytes, name: str, *, is_whole: bool, split: str) -> JsonShape | None:
    named = is_named_json(name)
    start = head.lstrip(b" \t\r\n")
    if not named and not can_be_json(start) and not _get_share_of_lines(head, is_whole=is_whole):
        return None
    first = _find_first_value(start, 0)
    if _is_lines(start, first, name, is_whole=is_whole):
        return JsonShape("json lines")
    if start[:1] == b"[":
        if first is not None and _is_list_of(try_parse(first), str):
            return JsonShape("json texts")
        return JsonShape("json list") if named or _is_list(start, first) else None
    if start[:1] != b"{":
        return None
    if first is None or not start[len(first) :].strip(b" \t\r\n\0"):
        return (
            _detect_object_shape(head, first, split)
            if named or first is None or is_json(first)
            else None
        )
    return JsonShape("json objects") if named or is_json(first) else None


def _is_list(start: bytes, first: bytes | None) -> bool:
    """Return whether a text that begins with a bracket is a list of rows, of which some may have faults.

    A chat log begins with a time in brackets, notes with a number.
    """
    if (item := _find_first_value(start, 1)) is not None:
        return is_json(item)
    return first is None or (is_json(first) and not start[len(first) :].strip(b" \t\r\n\0"))


def is_json(text: bytes) -> bool:
    """Return whether a text is JSON, also with NaN as Python writes it, or with extra commas."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            json.loads(without_extra_commas(text.decode("utf-8", "replace")), strict=False)
        except (ValueError, RecursionError):
            return False
    return True


def _is_lines(start: bytes, first: bytes | None, name: str, *, is_whole: bool) -> bool:
    """Return whether every line is a row of its own."""
    share = _get_share_of_lines(start, is_whole=is_whole)
    if start[:1] == b"[":
        # The items of a list may be on a line each; then the last line parses on its own.
        return share > 0.5 and is_json(start.split(b"\n", 1)[0])
    if share >= 0.5:
        return True
    if start[:1] != b"{":
        return is_named_json(name) and share > 0
    is_meant = share > 0 or bool(_LINES_NAME.search(name))
    return is_meant and (first is None or not is_json(first))


def _get_share_of_lines(head: bytes, *, is_whole: bool) -> float:
    """Return the share of the first lines that are whole objects or lists; 0 for a single line."""
    lines = [line for line in head.split(b"\n", 5 * _LINES) if line.strip()]
    if not is_whole or len(lines) > _LINES:
        lines = lines[:-1][:_LINES]
    if len(lines) < 2:
        return 0.0
    good = sum(line.lstrip()[:1] in (b"{", b"[") and is_json(line) for line in lines)
    return good / len(lines)


def _find_first_value(start: bytes, depth: int) -> bytes | None:
    """Return the first object or list at a depth, None when it does not end here."""
    splitter, begin, size = JsonSplitter(depth), 0, 4096
    while begin < len(start):
        items = splitter.feed(start[begin : begin + size])
        if item := next((item for item in items if not item.is_loose), None):
            return None if item.is_overlong else item.text
        begin, size = begin + size, min(size * 16, _PIECE)
    return None


# --- one object -----------------------------------------------------------------------------------


def _detect_object_shape(head: bytes, whole: bytes | None, split: str) -> JsonShape:
    """Return what a lone object is: a list of rows in it, its columns, or a row itself."""
    document = _try_parse_object(whole)
    if document is not None and _is_columns(document):
        return JsonShape("json columns")
    if document is not None and _is_pandas_table(document):
        return JsonShape("json columns", is_readable=False)
    lists = list(_iter_lists(head))
    rows = {
        name: offset
        for name, offset in lists
        if _is_list_of_rows(name, head[offset : offset + 65536])
    }
    if not rows and (offset := _find_inner_list(head, document)):
        return JsonShape("json list", offset)
    if not rows:
        # An object too large to parse here has columns if it has any list.
        is_columns = document is None and whole is None and bool(lists)
        return JsonShape("json columns" if is_columns else "json objects")
    if document is not None:
        rows = {name: offset for name, offset in rows.items() if name in document}
    if _INSTANCES in rows and (about := _get_definition(document)):
        return JsonShape("json list", rows[_INSTANCES], about=about)
    if split in rows or len(rows) == 1:
        name = split if split in rows else next(iter(rows))
        others = tuple(other for other in rows if other != name)
        return JsonShape("json list", rows[name], others)
    return JsonShape("json objects", lists=tuple(rows))


def _find_inner_list(head: bytes, document: dict[str, Any] | None) -> int | None:
    """Return the offset of the only list of rows in an object inside the outer one, as servers answer.

    An example is `{"data": {"items": [{…}, …]}}`. Returns None for several such lists or objects.
    """
    objects = [value for value in (document or {}).values() if isinstance(value, dict)]
    if len(objects) > 1:
        return None
    rows = [
        offset
        for name, offset in _iter_lists(head, 2)
        if name not in _TURNS and _is_list_of_rows(name, head[offset : offset + 65536])
    ]
    return rows[0] if len(rows) == 1 else None


def _get_definition(document: dict[str, Any] | None) -> tuple[tuple[str, str], ...]:
    """Return the instruction that all instances of a Natural Instructions file share."""
    definition = (document or {}).get("Definition")
    definition = definition[0] if isinstance(definition, list) and definition else definition
    return (("Definition", definition),) if isinstance(definition, str) else ()


def try_parse(text: bytes | None) -> Any:
    """Return the value of JSON, None for anything else."""
    try:
        return orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return None


def _try_parse_object(text: bytes | None) -> dict[str, Any] | None:
    value = try_parse(text)
    return value if isinstance(value, dict) else None


class JsonStep(NamedTuple):
    """A colon after a name, or a bracket that opens: where it ends, and where in the document it is.

    `path` is such as `messages[].author`, `name` its last name ("" for an item of a list), `depth` the
    number of brackets around it.
    """

    sign: bytes
    path: str
    name: str
    depth: int
    end: int


def iter_outline(head: bytes) -> Iterator[JsonStep]:
    """Yield the names and the opening brackets of JSON, which may end anywhere.

    Objects one after another have the paths of one object.
    """
    stack: list[tuple[bool, str]] = []  # of each open bracket: whether it is an object's, its path
    is_object, prefix, path, name, last = False, "", "", "", b""
    for token in _TOKEN.finditer(head):
        sign = token[0]
        if sign == b":":
            if is_object:
                name = _parse_text(last)
                path = f"{prefix}.{name}" if prefix else name
                yield JsonStep(sign, path, name, len(stack), token.end())
        elif sign == b"{" or sign == b"[":
            is_value = is_object and last == b":"
            is_object, prefix = sign == b"{", path if is_value else prefix
            prefix = prefix if is_object else f"{prefix}[]"
            yield JsonStep(sign, prefix, name if is_value else "", len(stack), token.end())
            stack.append((is_object, prefix))
        elif sign == b"}" or sign == b"]":
            del stack[-1:]
            is_object, prefix = stack[-1] if stack else (False, "")
        last = sign


def _iter_lists(head: bytes, level: int = 1) -> Iterator[tuple[str, int]]:
    """Yield the lists directly in an object, or at another level, with the offset after their bracket."""
    lists = (step for step in iter_outline(head) if step.sign == b"[" and step.depth == level)
    return itertools.islice(((one.name, one.end) for one in lists if one.name), limits.COLUMNS)


def _parse_text(spelt: bytes) -> str:
    """Return the text of a JSON string, "" for anything else."""
    if b"\\" not in spelt:
        return spelt[1:-1].decode("utf-8", "replace")
    try:
        return str(json.loads(spelt, strict=False))
    except ValueError:
        return ""


def _is_list_of_rows(name: str, start: bytes) -> bool:
    """Return whether a list holds rows, not the turns of one conversation or pieces of one text."""
    if start.lstrip()[:1] != b"{":
        return False
    turn = _try_parse_object(_find_first_value(start, 0))
    if turn is None:
        return True
    is_piece = name == "segments" and {"text", "label"} <= turn.keys()
    is_turn = {"role", "content"} <= turn.keys() or {"from", "value"} <= turn.keys()
    return not (is_piece or is_turn)


def _is_columns(document: dict[str, Any]) -> bool:
    """Return whether an object has a column per key: lists, or pandas' objects with a key per row.

    Lists have to be of one length or under usual names, at least one of them without objects.
    """
    values = list(document.values())
    if values and all(isinstance(value, list) for value in values):
        is_plain = any(not isinstance(item, dict) for value in values for item in value[:5])
        is_even = len({len(value) for value in values}) == 1 or count_known_names(document) > 1
        return is_plain and is_even and all(values)
    if values and all(isinstance(value, dict) for value in values):
        keys = list(values[0])
        return (
            bool(keys)
            and all(key.isdigit() for key in keys)
            and all(list(value) == keys for value in values)
        )
    return False


def _is_pandas_table(document: dict[str, Any]) -> bool:
    """Return whether an object is what pandas writes as `split`, or as `index`: a key for each row."""
    if _is_list_of(document.get("columns"), str) and _is_list_of(document.get("data"), list):
        return True
    rows = list(document.values())
    if not _is_list_of(rows, dict) or len(rows) < 2 or count_known_names(document):
        return False
    return count_known_names(set(rows[0]).intersection(*rows)) > 0


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, kind) for item in value)


# Split a stream of JSON into its items, so that files of any size stream.
#
# Python's decoder finds where an item ends, in text with a character for each byte. A fault costs only the item
# that contains it: there, brackets are counted, and a string ends with its line at the latest, since JSON has
# no line breaks in strings; if brackets don't close, the next item is recognized by the first key of the first one.

_decode = json.JSONDecoder().raw_decode
#: A string, which may continue after this text, or a bracket.
_STEP = re.compile(rb'"(?:[^"\\\n]|\\.)*(?:["\n]|(\\?\Z))?|[{}\[\]]')
#: Characters between items that are ignored.
_FILLING = re.compile(rb"[ \t\r\n,]*")
_NEXT = re.compile(rb"[ \t\r\n,]*[{\[]")
#: An object up to its first key.
_FIRST_KEY = re.compile(rb'\{\s*("(?:[^"\\\n]|\\.)*")\s*:')
#: Bytes of an overlong item in which the first key of the items is searched.
_OVERLAP = 4096


class JsonItem(NamedTuple):
    """One piece of the stream, from `{` or `[` to its end.

    `is_loose`: the text between such pieces; `is_overlong`: the beginning of a row that is too large.
    """

    text: bytes
    offset: int
    line: int
    is_loose: bool = False
    is_overlong: bool = False


class JsonSplitter:
    """Find the objects and lists at one depth of a stream that is fed in chunks.

    `depth` brackets are open around the items: 0 for objects one after another, 1 for the items of
    a list. From 2 on, the first chunk starts right after the list's bracket, and splitting ends with the list.
    """

    def __init__(self, depth: int, *, offset: int = 0, line: int = 1) -> None:
        """Start at this offset and line of the file."""
        self._base = depth
        self._depth = depth if depth > 1 else 0
        self._pending = (
            b""  # the text since the last item, or an item that continues in the next chunk
        )
        self._offset, self._line = offset, line  # of its beginning
        self._at = 0  # where to continue in it
        self._in_item = False
        self._enough = 0  # its size from which the end of an item is searched again
        self._is_skipping = False
        self._mark: re.Pattern[bytes] | None = None  # how items begin
        self._before = b""  # the text before the first one
        #: Whether the list that holds the items has ended (with `depth` 2 and more).
        self.is_over = False

    def feed(self, chunk: bytes) -> list[JsonItem]:
        """Return the items that end in this chunk."""
        items: list[JsonItem] = []
        self._pending += self._skip(chunk) if self._is_skipping else chunk
        if len(self._pending) >= self._enough:
            self._split(items)
        while len(self._pending) > limits.ROW_BYTES:
            self._cut_overlong(items)
        return items

    def finish(self) -> list[JsonItem]:
        """Return the rest at the end of the stream: items, one without its end, or text after the list."""
        items: list[JsonItem] = []
        self._split(items)
        rest = JsonItem(self._pending, self._offset, self._line)
        self._pending = b""
        if self._in_item:
            return items + self.salvage(rest)
        if self._is_skipping or self.is_over or _is_filling(rest.text):
            return items
        return [*items, rest._replace(is_loose=True)]

    def salvage(self, item: JsonItem) -> list[JsonItem]:
        """Split an item that doesn't parse wherever another one seems to start in it."""
        starts = [match.start(1) for match in self._mark.finditer(item.text)] if self._mark else []
        edges = sorted({0, *starts, len(item.text)})
        pieces: list[JsonItem] = []
        line = item.line
        for start, end in itertools.pairwise(edges):
            text = item.text[start:end]
            pieces.append(JsonItem(text, item.offset + start, line))
            line += text.count(b"\n")
        return pieces

    def _split(self, items: list[JsonItem]) -> None:
        """Append the items that end in the pending text, and what is between them."""
        data = self._pending
        text = data.decode("latin-1")
        begin, at = 0, self._at
        while not self.is_over:
            if self._in_item:
                if (end := _find_end(text, data, begin)) is None:
                    self._enough = 2 * (len(data) - begin)
                    at = begin
                    break
                items.append(item := JsonItem(data[begin:end], self._offset, self._line))
                self._mark = self._mark or _mark(self._before, item.text)
                self._in_item, self._enough = False, 0
                self._move(data, begin, end)
                begin = at = self._split_plain(text, data, end, items) if self._mark else end
                continue
            at = _FILLING.match(data, at).end()  # type: ignore[union-attr]
            step = _STEP.search(data, at)
            if step is None or step[1] is not None:  # no bracket, or a string that continues
                at = len(data) if step is None else step.start()
                break
            at = step.end()
            if step[0] in b"{[" and self._depth == self._base:
                at -= 1
                loose = data[begin:at]
                if not _is_filling(loose):
                    items.append(JsonItem(loose, self._offset, self._line, is_loose=True))
                if self._mark is None:
                    self._before, self._mark = loose, _mark(loose, data[at : at + _OVERLAP])
                self._move(data, begin, at)
                self._in_item, begin = True, at
            elif step[0] in b"{[":
                self._depth += 1
            elif step[0] == b"]":
                self.is_over = self._base > 1
                self._depth = 0 if self._base == 1 else self._depth
        self._pending, self._at = data[begin:], at - begin

    def _split_plain(self, text: str, data: bytes, begin: int, items: list[JsonItem]) -> int:
        """Append the items from here on that only filling separates; return where the last one ends."""
        offset, line, counted = self._offset - begin, self._line, begin
        with contextlib.suppress(ValueError, RecursionError):
            while start := _NEXT.match(data, begin):
                at = start.end() - 1
                _, end = _decode(text, at)
                line += data.count(b"\n", counted, at)
                items.append(JsonItem(data[at:end], offset + at, line))
                begin, counted = end, at
        self._offset, self._line = offset + begin, line + data.count(b"\n", counted, begin)
        return begin

    def _move(self, data: bytes, begin: int, end: int) -> None:
        """Continue after this part of a text."""
        self._offset += end - begin
        self._line += data.count(b"\n", begin, end)

    def _cut_overlong(self, items: list[JsonItem]) -> None:
        """Split a pending text over the limit where items seem to start, or give up its beginning."""
        item = JsonItem(self._pending, self._offset, self._line)
        self._pending, self._at, self._enough = b"", 0, 0
        if not self._in_item:
            items.append(item._replace(text=item.text[:_OVERLAP], is_loose=True))
            self._move(item.text, 0, len(item.text))
            return
        self._mark = self._mark or _mark(self._before, item.text[:_OVERLAP])
        *pieces, last = self.salvage(item)
        items += pieces
        self._depth, self._in_item = self._base, False
        self._offset, self._line = last.offset, last.line
        if len(last.text) > limits.ROW_BYTES:
            items.append(last._replace(text=last.text[:_OVERLAP], is_overlong=True))
            self._is_skipping = True
            self._move(last.text, 0, len(last.text))
        else:
            self._pending = last.text
            self._split(items)

    def _skip(self, chunk: bytes) -> bytes:
        """Skip an overlong item; return the text from the next item on."""
        match = self._mark.search(chunk) if self._mark else None
        start = match.start(1) if match else len(chunk)
        self._is_skipping = match is None
        self._move(chunk, 0, start)
        return chunk[start:]


def _find_end(text: str, data: bytes, begin: int) -> int | None:
    """Return where the item that begins here ends, None if that is beyond the text; `data` are its bytes."""
    try:
        return int(_decode(text, begin)[1])
    except json.JSONDecodeError as error:
        if error.msg.startswith("Unterminated string"):
            return None
    except (ValueError, RecursionError):
        pass  # a number with too many digits, or too many brackets
    depth = 0
    for step in _STEP.finditer(data, begin):
        if step[1] is not None:
            return None
        depth += 1 if step[0] in b"{[" else -1 if step[0] in b"}]" else 0
        if not depth:
            return step.end()
    return None


def _is_filling(text: bytes) -> bool:
    return not text.strip(b" \t\r\n,[]")


def _mark(before: bytes, beginning: bytes) -> re.Pattern[bytes] | None:
    """Return a pattern for the start of an item: the first one's key, at its indentation if any."""
    key = _FIRST_KEY.match(beginning)
    if key is None:
        return None
    start = rb"(\{\s*" + re.escape(key[1]) + rb"\s*:)"
    _, line, indentation = before.rpartition(b"\n")
    if line and not indentation.strip():
        return re.compile(rb"\n" + re.escape(indentation) + start)
    return re.compile(rb"[\s,\[\]{}]" + start)


# Unnest rows: the questions in SQuAD's articles, the instances of Self-Instruct's tasks, questions that are
# the names of their answers.

#: What the beginning of such files contains.
_MARKS = (
    (re.compile(rb'"qas"\s*:\s*\['), re.compile(rb'"context"\s*:')),
    (re.compile(rb'"instances"\s*:\s*\[\s*\{'), re.compile(rb'"instruction"\s*:\s*"')),
)
#: Ends of questions in several scripts; a name with more words than this is a sentence.
_QUESTION_MARKS, _NAME_WORDS = ("?", "？", "؟", "՞", ";"), 3
#: Names that are looked at.
_NAMES = 40
_LISTS = ("qas[]", "instances[]")


def has_nested_rows(head: bytes) -> bool:
    """Return whether the beginning of a file shows questions in paragraphs, or instances."""
    return any(all(mark.search(head) for mark in marks) for marks in _MARKS)


def has_answer_maps(head: bytes) -> bool:
    """Return whether the beginning of a file shows objects whose names are questions, each a different one."""
    names: list[str] = []
    for step in iter_outline(head):
        if step.sign == b":":
            names.append(step.name)
            if not is_question(names[0]) or len(names) == _NAMES:
                break
        elif step.sign == b"{" and step.path not in ("", "[]"):
            return False  # an answer that is an object
    is_asked = bool(names) and is_question(names[0])
    return is_asked and 1 < len(names) == len(set(names)) and _has_questions(names)


def is_question(name: Any) -> bool:
    """Return whether the name of a value is a question or a sentence, not the name of a column."""
    return isinstance(name, str) and (
        name.rstrip()[-1:] in _QUESTION_MARKS or len(name.split()) > _NAME_WORDS
    )


def _has_questions(names: Collection[str]) -> bool:
    """Return whether nearly all names are questions; a few may be topics."""
    return bool(names) and sum(map(is_question, names)) >= 0.8 * len(names)


def _is_answer(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, str) for item in value)
    return isinstance(value, str | int | float)


def unnest_rows(article: dict[str, Any]) -> list[dict[str, Any] | None] | None:
    """Return a row for each question, with its paragraph and article; None for an empty paragraph.

    Returns None if the object is neither an article nor a paragraph nor a map of answers. Fields of a question take
    precedence over those of its paragraph, and these over those of the article.
    """
    if "instruction" in article and isinstance(instances := article.get("instances"), list):
        about = _without(article, "instances")
        return [about | one if isinstance(one, dict) else None for one in instances or [None]]
    if _has_questions(article) and all(map(_is_answer, article.values())):
        return [{"question": name, "answer": answer} for name, answer in article.items()]
    paragraphs = article.get("paragraphs", [article] if "qas" in article else None)
    if not isinstance(paragraphs, list):
        return None
    above = {} if "qas" in article else _without(article, "paragraphs")
    rows: list[dict[str, Any] | None] = []
    for paragraph in paragraphs or [None]:
        questions = paragraph.get("qas") if isinstance(paragraph, dict) else None
        if not isinstance(questions, list) or not questions:
            rows.append(None)
            continue
        about = above | _without(paragraph, "qas")
        rows += [about | one if isinstance(one, dict) else None for one in questions]
    return rows


def find_row_offsets(text: bytes) -> Iterator[int]:
    """Yield where the objects in lists of questions or of instances begin."""
    for step in iter_outline(text):
        if step.sign == b"{" and not step.name and step.path.rpartition(".")[2] in _LISTS:
            yield step.end - 1


def _without(values: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}
