"""Rows that name the row before them, as `parent_id` does its `id`, with the conversation they go on.

Each row stays a row. One with a question and its answer gets the rounds before it in a column
“history”; one that is a single answer gets the turns up to it in a column “messages”. Of a
conversation only the row's own answer trains: those before it train in rows of their own, each once.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from lora_studio.core.dataset.formats.columns import find_column, profile_columns
from lora_studio.core.dataset.formats.conversion import refuse_media
from lora_studio.core.dataset.formats.detection import convert, detect
from lora_studio.core.dataset.formats.ranking import read_rank
from lora_studio.core.dataset.formats.roles import parse_speaker
from lora_studio.core.dataset.formats.turns import read_conversation
from lora_studio.core.dataset.formats.values import (
    MEDIA_KEYS,
    is_blank,
    normalize_name,
    parse_label,
)
from lora_studio.core.dataset.samples import UnusableRow
from lora_studio.core.dataset.spec import Message, RowFormat
from lora_studio.core.formatting import number, plural
from lora_studio.core.problems import Problem, Where
from lora_studio.engine.dataset.files.blocks import RowBlock, values_of, written
from lora_studio.engine.dataset.rows.links import LinkColumns, RowLinks
from lora_studio.engine.dataset.rows.store import RowStore, RowWriter, ScanFacts, batch_at
from lora_studio.engine.runtime.channel import JobContext

_ROLES, _TEXTS = ("role", "from", "speaker", "author"), ("text", "content", "value", "message")
#: What else of a turn goes with its text.
_BESIDE = (
    "tool_calls", "function_call", "tool_call_id", "reasoning_content", "thinking", "reasoning",
)  # fmt: skip
#: Rows that a reading is told from; how much larger all may become.
_TRIED, _MOST_GROWTH, _FREE = 500, 16, 64 * 1024 * 1024
#: Batches of rows in memory at a time, of 4 MB each.
_MAPPED = 12
#: Names that say no more than that there is a row above, as a table of kinds has them too.
_PLAIN_NAMES = ("parentid", "parent", "parentuuid", "previousid")
#: Rounds go on from a row in so many ways at most, on average, where there are some.
_MOST_WAYS, _SOME = 8, 32
#: Rows that are compared with those they name; words of a question at least, and which share of
#: them another one has that is made of it.
_PAIRS, _LEAST_WORDS, _ALIKE = 200, 6, 0.8

NO_ANSWER = "it is no answer; it is read with the answers that follow it"
_WORSE = "another answer to the same turn is ranked better"
_UNRANKED = "other answers to the same turn are ranked, and it is not"
#: Why a turn is left out on purpose.
MEANT = (NO_ANSWER, _WORSE, _UNRANKED)
_DELETED = "it was deleted"
_FAILED = "it did not pass its review"
_LOST = "a row before it in its conversation cannot be used"
_GONE = "the row that it answers is not there"
_UNCLEAR = "several rows have the id of the row before it"
_CIRCLE = "the rows before it lead back to it"
_TOO_LONG = "too many rows are before it"


def with_conversations(store: RowStore, job: JobContext) -> ScanFacts:
    """The facts of a scan whose rows have got the conversations before them; its file is replaced.

    Where rows do not name others, or are of no kind that goes on with others, all stays as it is.
    Raises CancelledError.
    """
    facts = store.facts
    names = LinkColumns.of(facts.columns)
    if names is None:
        return facts
    links = RowLinks.of(store, names, job)
    if not links.count and not links.lost.any():
        return facts
    reading = _reading(store)
    if not links.count:  # a table of other things may be meant
        is_said = reading is not None and reading.format is None
        told = [_parents_missing(names.before, links, reading, facts)] if is_said else []
        return facts.model_copy(update={"problems": (*facts.problems, *told)})
    why = _no_conversations(store, links, reading, names.before)
    if why not in (_CIRCLES, _MANY_WAYS, _ELSEWHERE):
        store.keep_trees(links.trees)
    if reading is None or why:
        problem = _unused(names.before, why or _OTHER_KIND, facts)
        return facts.model_copy(update={"problems": (*facts.problems, problem)})
    file = store.folder / "rows.chained"
    with RowWriter(file) as writer:
        for block in _Chains(store, links, reading).blocks():
            writer.write(block)
            job.progress("joining conversations", writer.rows, len(store), "rows")
    file.replace(store.file)
    return facts.model_copy(
        update={
            "columns": (*facts.columns, reading.column),
            "faults": writer.faults,
            "batches": tuple(writer.batches),
            "bytes": store.file.stat().st_size,
            "problems": (*facts.problems, *_told(names.before, links, reading, facts)),
        }
    )


# --- what a row says ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reading:
    """How rows are read: as rounds of a format with a mapping, or as turns of `role` and `text` with
    what stands `beside` it; `media` are the columns that may hold some."""

    column: Literal["history", "messages"]
    format: RowFormat | None = None
    mapping: Mapping[str, str] | None = None
    role: str = ""
    text: str = ""
    beside: tuple[str, ...] = ()
    media: tuple[str, ...] = ()

    def said(self, values: dict[str, Any], *, is_first: bool) -> list[dict[str, Any]]:
        """The turns of a row that stands before another one, untrained; raises UnusableRow."""
        if self.format is None:
            return [{**self.turn(values), "weight": 0}]
        sample = convert(values, self.format, self.mapping)
        return [_plain(turn) for turn in sample.messages if is_first or turn.role != "system"]

    def turn(self, values: dict[str, Any]) -> dict[str, Any]:
        """The turn that a row is; raises UnusableRow."""
        role, said = values.get(self.role), values.get(self.text)
        if not isinstance(role, str) or parse_speaker(role) is None:
            raise UnusableRow(_LOST)
        if fault := _taken_back(values):
            raise UnusableRow(fault)
        refuse_media({name: values.get(name) for name in self.media})
        given = {name: values.get(name) for name in self.beside}
        beside = {
            name: value
            for name, value in given.items()
            if isinstance(value, str | list | dict) and not is_blank(value)
        }
        if parse_speaker(role) == "tool" and not is_blank(values.get("name")):
            beside["name"] = values["name"]
        turn = {"role": role, "content": said, **beside}
        if beside or not isinstance(said, str):
            read_conversation([turn])
        return turn


def _reading(store: RowStore) -> _Reading | None:
    """How the rows are read, None where they are of another kind."""
    step = max(1, len(store) // _TRIED)
    rows = [store.raw(position).values for position in range(0, len(store), step)]
    usable = [values for values in rows if values is not None]
    verdict = detect(usable, store.facts.columns)
    columns = profile_columns(usable, store.facts.columns)
    role = find_column(columns, _ROLES, "text")
    text = find_column(columns, _TEXTS, "text", "list", "turns", "turn", "object")
    if verdict.format in ("alpaca", "prompt_completion", "question_answer"):
        is_whole = not {"history", "context", "choices"} & set(verdict.mapping)
        return _Reading("history", verdict.format, verdict.mapping) if is_whole else None
    if verdict.format not in (None, "text") or role is None or text is None:
        return None
    is_known = bool(role.words) and all(map(parse_speaker, role.words))
    if not is_known:
        return None
    held = store.facts.columns
    beside = tuple(name for name in _BESIDE if name in held)
    media = tuple(name for name in held if normalize_name(name) in MEDIA_KEYS)
    return _Reading("messages", role=role.name, text=text.name, beside=beside, media=media)


def _no_conversations(
    store: RowStore, links: RowLinks, reading: _Reading | None, parent: str
) -> str:
    """Why rows are no turns of conversations although they name others, "" where they may be."""
    if reading is not None and reading.column in store.facts.columns:
        return _OTHER_KIND
    is_plain = normalize_name(parent) in _PLAIN_NAMES
    are_turns = reading is not None and reading.format is None
    if 2 * np.count_nonzero(links.circular) > links.count:
        return _CIRCLES
    if is_plain and not are_turns and links.count > max(_SOME, _MOST_WAYS * links.named):
        return _MANY_WAYS
    if is_plain and not are_turns and np.count_nonzero(links.lost) > 2 * links.count:
        return _ELSEWHERE
    if reading is not None and is_plain and _are_variants(store, links, reading):
        return _VARIANTS
    return _TOO_MUCH if links.growth > _MOST_GROWTH * links.size + _FREE else ""


def _are_variants(store: RowStore, links: RowLinks, reading: _Reading) -> bool:
    """Whether most rows ask what the row that they name asks, with more to it or in other words."""
    if reading.format is None:
        return False
    rows = np.flatnonzero(links.before >= 0)
    rows = rows[:: len(rows) // _PAIRS + 1]
    found = [
        len(words & _words(store, reading, row)) >= _ALIKE * len(words)
        for row, before in zip(rows.tolist(), links.before[rows].tolist(), strict=True)
        if len(words := _words(store, reading, before)) >= _LEAST_WORDS
    ]
    return 2 * sum(found) > len(rows)


def _words(store: RowStore, reading: _Reading, row: int) -> set[str]:
    """The words that a row asks in."""
    values = store.raw(row).values
    try:
        assert reading.format is not None
        sample = convert(values, reading.format, reading.mapping)
    except UnusableRow:
        return set()
    asked = (turn.content for turn in sample.messages if turn.role == "user")
    return set(" ".join(asked).casefold().split())


def _plain(turn: Message) -> dict[str, Any]:
    """A turn as files have it, not meant to train."""
    found: dict[str, Any] = {"role": turn.role, "content": turn.content}
    if turn.role == "assistant":
        found["weight"] = 0
    if turn.thinking:
        found["reasoning_content"] = turn.thinking
    if turn.tool_calls:
        found["tool_calls"] = [call.model_dump() for call in turn.tool_calls]
    return found


# --- rows with their conversations ----------------------------------------------------------------


class _Chains:
    """The rows of a store anew, each with what stands before it."""

    def __init__(self, store: RowStore, links: RowLinks, reading: _Reading) -> None:
        self._store, self._links, self._reading = store, links, reading
        self._batches: dict[int, pa.RecordBatch] = {}  # places in the mapped file
        self._said = functools.lru_cache(maxsize=4096)(self._said_in)
        self._best = self._ranked() if reading.column == "messages" else {}

    def blocks(self) -> Iterator[RowBlock]:
        """All rows in order, block by block."""
        try:
            for index, (_, start) in enumerate(self._store.facts.batches):
                yield self._block(self._batch(index), start)
        finally:  # what is mapped would keep the file
            self._said.cache_clear()
            self._batches.clear()
            self._file.close()

    def _block(self, batch: pa.RecordBatch, start: int) -> RowBlock:
        block = RowBlock()
        named = (batch.column(name).to_pylist() for name in ("line", "offset", "fault"))
        for place, (line, offset, fault) in enumerate(zip(*named, strict=True)):
            raw, why = (b"", fault) if fault else self._row(start + place)
            block.add(raw, line, offset, why)
        return block

    def _batch(self, index: int) -> pa.RecordBatch:
        """A batch of the mapped file, whose pages count as memory for as long as they are mapped."""
        if index not in self._batches:
            if len(self._batches) % _MAPPED == 0:
                self._batches.clear()
                self._file = pa.memory_map(str(self._store.file))
            self._batches[index] = batch_at(self._file, self._store.facts.batches[index][0])
        return self._batches[index]

    def _row(self, position: int) -> tuple[bytes, str]:
        """One row with what stands before it, or b"" and the fault."""
        links = self._links
        if links.unclear[position]:
            return b"", _UNCLEAR
        if links.circular[position]:
            return b"", _CIRCLE
        if links.too_long[position]:
            return b"", _TOO_LONG
        raw = self._raw(position)
        if links.before[position] < 0 and self._reading.format is not None:
            return raw, ""
        values = values_of(raw)
        if self._reading.format is None and (fault := self._no_answer(position, values)):
            return b"", fault
        try:
            own = [self._reading.turn(values)] if self._reading.format is None else []
        except UnusableRow as verdict:
            return b"", str(verdict)
        try:
            said = [turn for place in self._lineage(position) for turn in self._said(place)]
        except UnusableRow:
            return b"", _LOST
        return written(values | {self._reading.column: said + own})

    def _lineage(self, position: int) -> list[int]:
        """The rows before one, the first of the conversation first."""
        found: list[int] = []
        while (position := int(self._links.before[position])) >= 0:
            found.append(position)
        return found[::-1]

    def _said_in(self, position: int) -> list[dict[str, Any]]:
        raw = self._raw(position)
        if not raw:
            raise UnusableRow(_LOST)
        return self._reading.said(values_of(raw), is_first=self._links.before[position] < 0)

    def _raw(self, position: int) -> bytes:
        index = self._store.batch_of(position)
        start = self._store.facts.batches[index][1]
        return bytes(self._batch(index).column("raw")[position - start].as_buffer())

    def _no_answer(self, position: int, values: dict[str, Any]) -> str:
        """Why a turn is none that trains, "" for an answer."""
        if not self._is_answer(values):
            return NO_ANSWER
        if fault := _taken_back(values):
            return fault
        if self._links.lost[position]:
            return _GONE
        best = self._best.get(int(self._links.before[position]))
        if best is None:
            return ""
        rank = read_rank(values)
        return _UNRANKED if rank is None else _WORSE if rank > best else ""

    def _is_answer(self, values: Mapping[str, Any]) -> bool:
        role = values.get(self._reading.role)
        return isinstance(role, str) and parse_speaker(role) in ("assistant", "call")

    def _ranked(self) -> dict[int, float]:
        """The best rank of the answers to each row that has ranked ones."""
        if "rank" not in self._store.facts.columns:
            return {}
        best: dict[int, float] = {}
        for start, batch in self._store.batches():
            for place, raw in enumerate(batch.column("raw"), start):
                before = int(self._links.before[place])
                text = raw.as_buffer()
                values = values_of(bytes(text)) if before >= 0 and text.size else {}
                rank = read_rank(values)
                if rank is not None and self._is_answer(values) and not _taken_back(values):
                    best[before] = min(rank, best.get(before, rank))
        return best


def _taken_back(values: Mapping[str, Any]) -> str:
    """Why a turn does not count, though it was written; "" where it does."""
    if parse_label(values.get("deleted")) is True:
        return _DELETED
    return _FAILED if parse_label(values.get("review_result")) is False else ""


# --- what is told ---------------------------------------------------------------------------------

_OTHER_KIND = "names other rows, but rows of this kind are not joined to conversations"
_CIRCLES = "names other rows, but most lead back to themselves, which rows of conversations do not"
_MANY_WAYS = "names few of the rows, each many times, which rows of conversations do not"
_ELSEWHERE = "names rows that are not there, but for a few that may be meant otherwise"
_VARIANTS = "names rows that ask nearly the same, so that they are variants and not rounds"
_TOO_MUCH = "names other rows, but with all that was said before them they would take too much room"


def _told(parent: str, links: RowLinks, reading: _Reading, facts: ScanFacts) -> Iterator[Problem]:
    remedy = "To read every row by itself, map no column to history, or remove that column."
    if reading.format is None:
        remedy = "Look at some rows. If they are no conversations, remove that column."
    yield _warning(
        "chained",
        f"{plural(links.count, 'row')} of {number(facts.rows)} {'goes' if links.count == 1 else 'go'} on "
        f"from the row that “{parent}” names. Each is read with the conversation before it, of which its own answer alone trains.",
        remedy,
        facts,
    )
    if links.lost.any():
        yield _parents_missing(parent, links, reading, facts)


def _parents_missing(
    parent: str, links: RowLinks, reading: _Reading | None, facts: ScanFacts
) -> Problem:
    lost = plural(int(np.count_nonzero(links.lost)), "row")
    begins = "It begins a conversation."
    if reading is not None and reading.format is None:
        begins = "An answer to it is left out, and a question begins a conversation."
    return _warning(
        "parents_missing",
        f"In {lost} “{parent}” names a row that is not there. {begins}",
        "Choose all files of these conversations together.",
        facts,
    )


def _unused(parent: str, why: str, facts: ScanFacts) -> Problem:
    return _warning(
        "parents_unused",
        f"“{parent}” {why}. Each is read by itself.",
        "If rows are rounds of conversations, write each conversation as one row of messages.",
        facts,
    )


def _warning(code: str, what: str, remedy: str, facts: ScanFacts) -> Problem:
    where = Where(
        step="dataset", field="sources", file=facts.files[0].path if facts.files else None
    )
    return Problem(
        code=f"dataset.{code}", what=what, remedy=remedy, where=where, severity="warning"
    )
