"""Join rows that name their parent row (`parent_id` refers to an `id`) into conversations.

The number of rows doesn't change. A question with its answer gets the rounds before it in a column
“history”; a single answer gets the turns up to it in a column “messages”. Only the row's own answer
is trained; earlier answers are trained in their own rows, each once.
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
from lora_studio.core.messages import Template, Text, counted, text
from lora_studio.core.problems import Problem, Where, warning
from lora_studio.engine.dataset.files.blocks import JudgedRow, RowBlock, parse_values, write_row
from lora_studio.engine.dataset.reasons import SkipReason, load_reason
from lora_studio.engine.dataset.rows.links import LinkColumns, RowLinks
from lora_studio.engine.dataset.rows.store import RowStore, RowWriter, ScanFacts, read_batch_at
from lora_studio.engine.runtime.channel import JobContext

_ROLES, _TEXTS = ("role", "from", "speaker", "author"), ("text", "content", "value", "message")
#: Other columns that belong to a turn.
_BESIDE = (
    "tool_calls", "function_call", "tool_call_id", "reasoning_content", "thinking", "reasoning",
)  # fmt: skip
#: Rows that a reading is detected from; how much larger all rows may become: factor and free bytes.
_TRIED, _MOST_GROWTH, _FREE = 500, 16, 64 * 1024 * 1024
#: Batches of rows in memory at a time, of 4 MB each.
_MAPPED = 12
#: Names of parent columns that tables of other things, such as categories, have too.
_PLAIN_NAMES = ("parentid", "parent", "parentuuid", "previousid")
#: Maximum average number of rows that continue the same row, and the number of rows to check it from.
_MOST_WAYS, _SOME = 8, 32
#: Rows compared with their parents; minimum words of a question; share of words that variants share.
_PAIRS, _LEAST_WORDS, _ALIKE = 200, 6, 0.8

NO_ANSWER = SkipReason(text("it is not an answer; it is read with the answers after it"))
_WORSE = SkipReason(text("another answer to the same turn has a better rank"))
_UNRANKED = SkipReason(text("it has no rank, unlike other answers to the same turn"))
#: Why a turn is skipped on purpose.
EXPECTED = frozenset({NO_ANSWER.text, _WORSE.text, _UNRANKED.text})
_DELETED = SkipReason(text("it was deleted"))
_FAILED = SkipReason(text("it did not pass its review"))
_LOST = SkipReason(text("an earlier row of its conversation can't be used"))
_GONE = SkipReason(text("the row that it answers is missing"))
_UNCLEAR = SkipReason(text("several rows have the ID of its parent row"))
_CIRCLE = SkipReason(text("its parent rows form a cycle"))
_TOO_LONG = SkipReason(text("too many rows precede it"))


def join_conversations(store: RowStore, job: JobContext) -> ScanFacts:
    """Add the conversation before each row to the store's file; return the new facts of the scan.

    Nothing changes if rows don't name others, or are of a kind that can't continue others.
    Raises CancelledError.
    """
    facts = store.facts
    names = LinkColumns.detect(facts.columns)
    if names is None:
        return facts
    links = RowLinks.read(store, names, job)
    if not links.count and not links.lost.any():
        return facts
    reading = _choose_reading(store)
    if not links.count:  # possibly a table of other things
        are_turns = reading is not None and reading.format is None
        missing = (
            [_missing_parents_problem(names.before, links, reading, facts)] if are_turns else []
        )
        return facts.model_copy(update={"problems": (*facts.problems, *missing)})
    why = _get_reason_against_joining(store, links, reading, names.before)
    if why not in (_CIRCLES, _MANY_WAYS, _ELSEWHERE):
        store.save_trees(links.trees)
    if reading is None or why:
        problem = _warning("parents_unused", why or _OTHER_KIND, _ONE_ROW, facts, names.before)
        return facts.model_copy(update={"problems": (*facts.problems, problem)})
    file = store.folder / "rows.chained"
    with RowWriter(file) as writer:
        for block in _Chains(store, links, reading).iter_blocks():
            writer.write(block)
            job.report_progress("joining conversations", writer.rows, len(store), "rows")
    file.replace(store.file)
    return facts.model_copy(
        update={
            "columns": (*facts.columns, reading.column),
            "faults": writer.faults,
            "batches": tuple(writer.batches),
            "bytes": store.file.stat().st_size,
            "problems": (*facts.problems, *_iter_problems(names.before, links, reading, facts)),
        }
    )


# --- turns in a row -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reading:
    """How rows are read: as rounds of a format with a mapping, or as turns of `role` and `text`.

    `beside` are columns that belong to a turn, `media` those that may hold images and the like.
    """

    column: Literal["history", "messages"]
    format: RowFormat | None = None
    mapping: Mapping[str, str] | None = None
    role: str = ""
    text: str = ""
    beside: tuple[str, ...] = ()
    media: tuple[str, ...] = ()

    def parse_history(self, values: dict[str, Any], *, is_first: bool) -> list[dict[str, Any]]:
        """Return the turns of a row that precedes another, not trained; raises UnusableRow."""
        if self.format is None:
            return [{**self.parse_turn(values), "weight": 0}]
        sample = convert(values, self.format, self.mapping)
        return [_to_plain(turn) for turn in sample.messages if is_first or turn.role != "system"]

    def parse_turn(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the turn that a row is; raises UnusableRow."""
        role, content = values.get(self.role), values.get(self.text)
        if not isinstance(role, str) or parse_speaker(role) is None:
            raise _LOST.to_error()
        if fault := _get_withdrawal_reason(values):
            raise fault.to_error()
        refuse_media({name: values.get(name) for name in self.media})
        extras = {name: values.get(name) for name in self.beside}
        extra_values = {
            name: value
            for name, value in extras.items()
            if isinstance(value, str | list | dict) and not is_blank(value)
        }
        if parse_speaker(role) == "tool" and not is_blank(values.get("name")):
            extra_values["name"] = values["name"]
        turn = {"role": role, "content": content, **extra_values}
        if extra_values or not isinstance(content, str):
            read_conversation([turn])
        return turn


def _choose_reading(store: RowStore) -> _Reading | None:
    """Return how the rows are read, None where they are of another kind."""
    step = max(1, len(store) // _TRIED)
    rows = [store.read_raw(position).values for position in range(0, len(store), step)]
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
    names = store.facts.columns
    beside = tuple(name for name in _BESIDE if name in names)
    media = tuple(name for name in names if normalize_name(name) in MEDIA_KEYS)
    return _Reading("messages", role=role.name, text=text.name, beside=beside, media=media)


def _get_reason_against_joining(
    store: RowStore, links: RowLinks, reading: _Reading | None, parent: str
) -> Template:
    """Return why rows that name others can't be turns of conversations, "" where they may be."""
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
    if reading is not None and is_plain and _has_variants(store, links, reading):
        return _VARIANTS
    return _TOO_MUCH if links.growth > _MOST_GROWTH * links.size + _FREE else ""


def _has_variants(store: RowStore, links: RowLinks, reading: _Reading) -> bool:
    """Return whether most rows are rephrased or longer versions of the question that they name."""
    if reading.format is None:
        return False
    rows = np.flatnonzero(links.before >= 0)
    rows = rows[:: len(rows) // _PAIRS + 1]
    are_similar = [
        len(words & _get_words(store, reading, row)) >= _ALIKE * len(words)
        for row, before in zip(rows.tolist(), links.before[rows].tolist(), strict=True)
        if len(words := _get_words(store, reading, before)) >= _LEAST_WORDS
    ]
    return 2 * sum(are_similar) > len(rows)


def _get_words(store: RowStore, reading: _Reading, row: int) -> set[str]:
    """Return the words of a row's question."""
    values = store.read_raw(row).values
    try:
        assert reading.format is not None
        sample = convert(values, reading.format, reading.mapping)
    except UnusableRow:
        return set()
    questions = (turn.content for turn in sample.messages if turn.role == "user")
    return set(" ".join(questions).casefold().split())


def _to_plain(turn: Message) -> dict[str, Any]:
    """Return a turn as files have it, marked as not trained."""
    plain: dict[str, Any] = {"role": turn.role, "content": turn.content}
    if turn.role == "assistant":
        plain["weight"] = 0
    if turn.thinking:
        plain["reasoning_content"] = turn.thinking
    if turn.tool_calls:
        plain["tool_calls"] = [call.model_dump() for call in turn.tool_calls]
    return plain


# --- rows with their conversations ----------------------------------------------------------------


class _Chains:
    """Rewrites the rows of a store, each with the rows before it."""

    def __init__(self, store: RowStore, links: RowLinks, reading: _Reading) -> None:
        self._store, self._links, self._reading = store, links, reading
        self._batches: dict[int, pa.RecordBatch] = {}  # views of the mapped file
        self._said = functools.lru_cache(maxsize=4096)(self._read_history)
        self._best = self._get_best_ranks() if reading.column == "messages" else {}

    def iter_blocks(self) -> Iterator[RowBlock]:
        """Yield all rows in order, block by block."""
        try:
            for index, (_, start) in enumerate(self._store.facts.batches):
                yield self._block(self._read_batch(index), start)
        finally:  # mapped batches would keep the file open
            self._said.cache_clear()
            self._batches.clear()
            self._file.close()

    def _block(self, batch: pa.RecordBatch, start: int) -> RowBlock:
        block = RowBlock()
        named = (batch.column(name).to_pylist() for name in ("line", "offset", "fault"))
        for position, (line, offset, fault) in enumerate(zip(*named, strict=True), start):
            raw, reason = (b"", load_reason(fault)) if fault else self._join_row(position)
            block.add(raw, line, offset, reason)
        return block

    def _read_batch(self, index: int) -> pa.RecordBatch:
        """Return a batch of the mapped file, whose pages count as memory while they are mapped."""
        if index not in self._batches:
            if len(self._batches) % _MAPPED == 0:
                self._batches.clear()
                self._file = pa.memory_map(str(self._store.file))
            self._batches[index] = read_batch_at(self._file, self._store.facts.batches[index][0])
        return self._batches[index]

    def _join_row(self, position: int) -> JudgedRow:
        """Return one row with the rows before it, or b"" and the fault."""
        links = self._links
        if links.unclear[position]:
            return b"", _UNCLEAR
        if links.circular[position]:
            return b"", _CIRCLE
        if links.too_long[position]:
            return b"", _TOO_LONG
        raw = self._read_raw(position)
        if links.before[position] < 0 and self._reading.format is not None:
            return raw, None
        values = parse_values(raw)
        if self._reading.format is None and (fault := self._get_skip_reason(position, values)):
            return b"", fault
        try:
            own_turns = [self._reading.parse_turn(values)] if self._reading.format is None else []
        except UnusableRow as error:
            return b"", SkipReason.from_error(error)
        try:
            history = [turn for row in self._get_lineage(position) for turn in self._said(row)]
        except UnusableRow:
            return b"", _LOST
        return write_row(values | {self._reading.column: history + own_turns})

    def _get_lineage(self, position: int) -> list[int]:
        """Return the rows before one, the first of the conversation first."""
        rows: list[int] = []
        while (position := int(self._links.before[position])) >= 0:
            rows.append(position)
        return rows[::-1]

    def _read_history(self, position: int) -> list[dict[str, Any]]:
        raw = self._read_raw(position)
        if not raw:
            raise _LOST.to_error()
        return self._reading.parse_history(
            parse_values(raw), is_first=self._links.before[position] < 0
        )

    def _read_raw(self, position: int) -> bytes:
        index = self._store.get_batch_index(position)
        start = self._store.facts.batches[index][1]
        return bytes(self._read_batch(index).column("raw")[position - start].as_buffer())

    def _get_skip_reason(self, position: int, values: dict[str, Any]) -> SkipReason | None:
        """Return why a turn is not trained, None for an answer that is."""
        if not self._is_answer(values):
            return NO_ANSWER
        if fault := _get_withdrawal_reason(values):
            return fault
        if self._links.lost[position]:
            return _GONE
        best = self._best.get(int(self._links.before[position]))
        if best is None:
            return None
        rank = read_rank(values)
        return _UNRANKED if rank is None else _WORSE if rank > best else None

    def _is_answer(self, values: Mapping[str, Any]) -> bool:
        role = values.get(self._reading.role)
        return isinstance(role, str) and parse_speaker(role) in ("assistant", "call")

    def _get_best_ranks(self) -> dict[int, float]:
        """Return the best rank of the answers to each row that has ranked ones."""
        if "rank" not in self._store.facts.columns:
            return {}
        best: dict[int, float] = {}
        for start, batch in self._store.iter_batches():
            for position, raw in enumerate(batch.column("raw"), start):
                before = int(self._links.before[position])
                data = raw.as_buffer()
                values = parse_values(bytes(data)) if before >= 0 and data.size else {}
                rank = read_rank(values)
                if (
                    rank is not None
                    and self._is_answer(values)
                    and not _get_withdrawal_reason(values)
                ):
                    best[before] = min(rank, best.get(before, rank))
        return best


def _get_withdrawal_reason(values: Mapping[str, Any]) -> SkipReason | None:
    """Return why a turn doesn't count although it was written, None where it does."""
    if parse_label(values.get("deleted")) is True:
        return _DELETED
    return _FAILED if parse_label(values.get("review_result")) is False else None


# --- problems -------------------------------------------------------------------------------------

#: Why rows that name others are read one by one; these are templates with the field `column`.
_OTHER_KIND = (
    "“{column}” refers to other rows, but rows of this format can't be joined into conversations. "
    "Each row is read by itself."
)
_CIRCLES = "“{column}” refers to other rows, but most of the references are circular. Each row is read by itself."
_MANY_WAYS = (
    "“{column}” refers to a few rows many times, unlike in conversations. Each row is read by "
    "itself."
)
_ELSEWHERE = "Most rows that “{column}” refers to are missing. Each row is read by itself."
_VARIANTS = (
    "“{column}” refers to rows that ask nearly the same question: variants, not turns of a "
    "conversation. Each row is read by itself."
)
_TOO_MUCH = (
    "“{column}” refers to other rows, but joining them into conversations would need too much "
    "disk space. Each row is read by itself."
)
_ONE_ROW = "If the rows are parts of conversations, write each conversation as one row of messages."


def _iter_problems(
    parent: str, links: RowLinks, reading: _Reading, facts: ScanFacts
) -> Iterator[Problem]:
    remedy = "To read each row by itself, clear the column for the history, or remove that column."
    if reading.format is None:
        remedy = "Check some rows. If they are not conversations, remove that column."
    what = counted(
        links.count,
        "{n} row of {total} continues from the row that “{column}” refers to. It is read with the "
        "conversation before it, and only its own answer is trained.",
        "{n} rows of {total} continue from the row that “{column}” refers to. Each is read with "
        "the conversation before it, and only its own answer is trained.",
        total=facts.rows,
        column=parent,
    )
    yield _warning("chained", what, remedy, facts)
    if links.lost.any():
        yield _missing_parents_problem(parent, links, reading, facts)


def _missing_parents_problem(
    parent: str, links: RowLinks, reading: _Reading | None, facts: ScanFacts
) -> Problem:
    lost = int(np.count_nonzero(links.lost))
    what = counted(
        lost,
        "In {n} row, “{column}” refers to a row that is missing. The row starts a conversation.",
        "In {n} rows, “{column}” refers to a row that is missing. These rows start conversations.",
        column=parent,
    )
    if reading is not None and reading.format is None:
        what = counted(
            lost,
            "In {n} row, “{column}” refers to a row that is missing. An answer to it is skipped, "
            "and a question starts a conversation.",
            "In {n} rows, “{column}” refers to a row that is missing. Answers to it are skipped, "
            "and questions start conversations.",
            column=parent,
        )
    return _warning(
        "parents_missing", what, "Add all files of these conversations as one source.", facts
    )


def _warning(
    code: str, what: Template | Text, remedy: Template, facts: ScanFacts, column: str = ""
) -> Problem:
    file = facts.files[0].path if facts.files else None
    where = Where(step="dataset", field="sources", file=file)
    return warning(f"dataset.{code}", what, remedy, where=where, column=column)
