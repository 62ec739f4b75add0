"""Rows that name the row before them, as `parent_id` does its `id`, with the conversation they go on.

Each row stays a row. One with a question and its answer gets the rounds before it in a column
“history”; one that is a single answer gets the turns up to it in a column “messages”. Of a
conversation only the row's own answer trains: those before it train in rows of their own, each once.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lora_studio.core.dataset import Message, RowFormat
from lora_studio.core.problems import Problem, Where
from lora_studio.core.row_columns import first, profile
from lora_studio.core.row_formats import convert, detect
from lora_studio.core.row_roles import speaker_of
from lora_studio.core.row_values import is_blank, is_missing, key_of
from lora_studio.core.samples import UnusableRow
from lora_studio.core.words import number, plural
from lora_studio.engine.channel import Job
from lora_studio.engine.row_blocks import Block, values_of, written
from lora_studio.engine.row_store import RowStore, RowWriter, ScanFacts, batch_at

_IDS = ("id", "messageid", "msgid", "uuid", "rowid", "sampleid", "turnid", "nodeid")
_PARENTS = (
    "parentid", "parent", "parentmessageid", "parentuuid", "parentmsgid", "previousid", "replyto",
    "replytoid", "inreplyto",
)  # fmt: skip
_ROLES, _TEXTS = ("role", "from", "speaker", "author"), ("text", "content", "value", "message")
#: Rows that a reading is told from; rounds of a conversation at most; how much larger all may become.
_TRIED, _MOST_ROUNDS, _MOST_GROWTH, _FREE = 500, 256, 16, 64 * 1024 * 1024
#: Batches of rows in memory at a time, of 4 MB each.
_MAPPED = 12

_NO_ANSWER = "it is no answer; it is read with the answers that follow it"
_WORSE = "another answer to the same turn is ranked better"
_DELETED = "it was deleted"
_LOST = "a row before it in its conversation cannot be used"
_UNCLEAR = "several rows have the id of the row before it"
_TOO_LONG = "the rows before it lead back to it, or are too many"
_WHOLE = re.compile(r"-?\d+\.0")

Positions = NDArray[np.int64]


def with_conversations(store: RowStore, job: Job) -> ScanFacts:
    """The facts of a scan whose rows have got the conversations before them; its file is replaced.

    Where rows do not name others, or are of no kind that goes on with others, all stays as it is.
    Raises CancelledError.
    """
    facts = store.facts
    names = _names(facts.columns)
    if names is None:
        return facts
    links = _Links.of(store, *names, job)
    if not links.count:
        return facts
    reading = _reading(store)
    if reading is None or reading.column in facts.columns or links.is_too_much:
        return facts.model_copy(update={"problems": (*facts.problems, _unused(names[1], facts))})
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
            "problems": (*facts.problems, *_told(names[1], links, facts)),
        }
    )


def _names(columns: tuple[str, ...]) -> tuple[str, str] | None:
    """The columns of ids and of those of the rows before."""
    keys = {key_of(name): name for name in reversed(columns)}
    own = next((keys[name] for name in _IDS if name in keys), None)
    before = next((keys[name] for name in _PARENTS if name in keys), None)
    return (own, before) if own is not None and before is not None else None


# --- which row is before which --------------------------------------------------------------------


@dataclass(frozen=True)
class _Links:
    """Of every row the position of the one before it, -1 for none, and what is wrong with that.

    `lost` counts rows whose row before is not there.
    """

    before: Positions
    unclear: NDArray[np.bool_]
    too_long: NDArray[np.bool_]
    lost: int
    is_too_much: bool

    @property
    def count(self) -> int:
        """How many rows go on with another one."""
        return int(np.count_nonzero(self.before >= 0))

    @classmethod
    def of(cls, store: RowStore, own: str, parent: str, job: Job) -> _Links:
        rows = len(store)
        ids, named = np.zeros(rows, np.uint64), np.zeros(rows, np.uint64)
        sizes = np.zeros(rows, np.int64)
        for start, batch in store.batches():
            job.progress("joining conversations", start, rows, "rows")
            for place, raw in enumerate(batch.column("raw")):
                text = raw.as_buffer()
                if not text.size:
                    continue
                values = values_of(bytes(text))
                sizes[start + place] = text.size
                ids[start + place] = _hash(values.get(own))
                named[start + place] = _hash(values.get(parent))
        order = np.argsort(ids, kind="stable")
        in_order = ids[order]
        begin = np.searchsorted(in_order, named, "left")
        held = np.searchsorted(in_order, named, "right") - begin
        held[named == 0] = 0
        before = np.where(held > 0, order[np.minimum(begin, rows - 1)], -1)
        before[before == np.arange(rows)] = -1
        before[held > 1] = -1
        too_long, growth = _followed(before, sizes)
        lost = int(np.count_nonzero((named != 0) & (held == 0)))
        limit = _MOST_GROWTH * int(sizes.sum()) + _FREE
        return cls(before, held > 1, too_long, lost, growth > limit)


def _followed(before: Positions, sizes: Positions) -> tuple[NDArray[np.bool_], int]:
    """Which rows have too many before them, and the bytes of all that stand before rows."""
    places, growth = before[before >= 0], 0
    rows = np.flatnonzero(before >= 0)
    for _ in range(_MOST_ROUNDS):
        if not len(rows):
            break
        growth += int(sizes[places].sum())
        places = before[places]
        rows, places = rows[places >= 0], places[places >= 0]
    too_long = np.zeros(len(before), np.bool_)
    too_long[rows] = True
    return too_long, growth


def _hash(value: Any) -> int:
    """Stands for an id; 0 for none. Tables write a whole number with `.0` where others are missing."""
    if is_blank(value) or isinstance(value, dict | list):
        return 0
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    text = text[:-2] if _WHOLE.fullmatch(text) else text
    found = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(found, "little") or 1


# --- what a row says ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reading:
    """How rows are read: as rounds of a format with a mapping, or as turns of `role` and `text`."""

    column: Literal["history", "messages"]
    format: RowFormat | None = None
    mapping: Mapping[str, str] | None = None
    role: str = ""
    text: str = ""

    def said(self, values: dict[str, Any], *, is_first: bool) -> list[dict[str, Any]]:
        """The turns of a row that stands before another one, untrained; raises UnusableRow."""
        if self.format is None:
            return [{**self.turn(values), "weight": 0}]
        sample = convert(values, self.format, self.mapping)
        return [_plain(turn) for turn in sample.messages if is_first or turn.role != "system"]

    def turn(self, values: dict[str, Any]) -> dict[str, Any]:
        """The turn that a row is; raises UnusableRow."""
        role, text = values.get(self.role), values.get(self.text)
        if not isinstance(role, str) or not isinstance(text, str) or speaker_of(role) is None:
            raise UnusableRow(_LOST)
        return {"role": role, "content": text}


def _reading(store: RowStore) -> _Reading | None:
    """How the rows are read, None where they are of another kind."""
    step = max(1, len(store) // _TRIED)
    rows = [store.raw(position).values for position in range(0, len(store), step)]
    usable = [values for values in rows if values is not None]
    verdict = detect(usable, store.facts.columns)
    columns = profile(usable, store.facts.columns)
    role, text = first(columns, _ROLES, "text"), first(columns, _TEXTS, "text")
    if verdict.format in ("alpaca", "prompt_completion", "question_answer"):
        is_whole = not {"history", "context", "choices"} & set(verdict.mapping)
        return _Reading("history", verdict.format, verdict.mapping) if is_whole else None
    if verdict.format not in (None, "text") or role is None or text is None:
        return None
    is_known = bool(role.words) and all(map(speaker_of, role.words))
    return _Reading("messages", role=role.name, text=text.name) if is_known else None


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

    def __init__(self, store: RowStore, links: _Links, reading: _Reading) -> None:
        self._store, self._links, self._reading = store, links, reading
        self._batches: dict[int, pa.RecordBatch] = {}  # places in the mapped file
        self._said = functools.lru_cache(maxsize=4096)(self._said_in)
        self._best = self._ranked() if reading.column == "messages" else {}

    def blocks(self) -> Iterator[Block]:
        """All rows in order, block by block."""
        try:
            for index, (_, start) in enumerate(self._store.facts.batches):
                yield self._block(self._batch(index), start)
        finally:  # what is mapped would keep the file
            self._said.cache_clear()
            self._batches.clear()
            self._file.close()

    def _block(self, batch: pa.RecordBatch, start: int) -> Block:
        block = Block()
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
        if links.too_long[position]:
            return b"", _TOO_LONG
        raw = self._raw(position)
        if links.before[position] < 0 and self._reading.format is not None:
            return raw, ""
        values = values_of(raw)
        if self._reading.format is None and (fault := self._no_answer(position, values)):
            return b"", fault
        try:
            said = [turn for place in self._lineage(position) for turn in self._said(place)]
            own = [self._reading.turn(values)] if self._reading.format is None else []
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
        role = values.get(self._reading.role)
        if not isinstance(role, str) or speaker_of(role) != "assistant":
            return _NO_ANSWER
        if values.get("deleted") is True:
            return _DELETED
        best = self._best.get(int(self._links.before[position]))
        rank = _rank(values)
        return _WORSE if best is not None and rank is not None and rank > best else ""

    def _ranked(self) -> dict[int, float]:
        """The best rank of the answers to each row that has several."""
        if "rank" not in self._store.facts.columns:
            return {}
        best: dict[int, float] = {}
        for start, batch in self._store.batches():
            for place, raw in enumerate(batch.column("raw")):
                before = int(self._links.before[start + place])
                values = (
                    values_of(bytes(raw.as_buffer()))
                    if before >= 0 and len(raw.as_buffer())
                    else {}
                )
                if (rank := _rank(values)) is not None and values.get("deleted") is not True:
                    best[before] = min(rank, best.get(before, rank))
        return best


def _rank(values: Mapping[str, Any]) -> float | None:
    rank = values.get("rank")
    return float(rank) if isinstance(rank, int | float) and not is_missing(rank) else None


# --- what is told ---------------------------------------------------------------------------------


def _told(parent: str, links: _Links, facts: ScanFacts) -> Iterator[Problem]:
    yield _warning(
        "chained",
        f"{plural(links.count, 'row')} of {number(facts.rows)} {'goes' if links.count == 1 else 'go'} on "
        f"from the row that “{parent}” names. Each is read with the conversation before it, of which its own answer alone trains.",
        "To read every row by itself, map no column to history, or remove that column.",
        facts,
    )
    if links.lost:
        yield _warning(
            "parents_missing",
            f"In {plural(links.lost, 'row')} “{parent}” names a row that is not there. It begins a "
            "conversation.",
            "Choose all files of these conversations together.",
            facts,
        )


def _unused(parent: str, facts: ScanFacts) -> Problem:
    return _warning(
        "parents_unused",
        f"“{parent}” names other rows, but rows of this kind are not joined to conversations. Each is "
        "read by itself.",
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
