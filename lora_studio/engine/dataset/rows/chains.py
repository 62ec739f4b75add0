"""Join turns into conversations: of rows that name their parent (`parent_id` refers to an `id`), or the
conversation that they are part of.

The number of rows doesn't change. An answer gets the turns up to it in a column “messages”. Only the
row's own answer is trained; earlier answers are trained in their own rows, each once.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from lora_studio.core.dataset.formats.columns import (
    DataColumn,
    find_column,
    find_columns,
    profile_columns,
)
from lora_studio.core.dataset.formats.conversion import refuse_media
from lora_studio.core.dataset.formats.detection import detect
from lora_studio.core.dataset.formats.media import MEDIA_KEYS
from lora_studio.core.dataset.formats.ranking import read_rank
from lora_studio.core.dataset.formats.roles import parse_speaker
from lora_studio.core.dataset.formats.turns import read_conversation
from lora_studio.core.dataset.formats.values import (
    is_blank,
    normalize_name,
    parse_label,
)
from lora_studio.core.dataset.samples import UnusableRow
from lora_studio.core.messages import Template, Text, counted, text
from lora_studio.core.problems import Problem, Where, warning
from lora_studio.engine.dataset.files.blocks import (
    JudgedRow,
    LocatedRow,
    RowBlock,
    group_rows,
    parse_values,
    write_row,
)
from lora_studio.engine.dataset.reasons import SkipReason, load_reason
from lora_studio.engine.dataset.rows.links import LinkColumns, RowLinks
from lora_studio.engine.dataset.rows.store import (
    RowStore,
    RowWriter,
    ScanFacts,
    read_batch_at,
    sample_rows,
)
from lora_studio.engine.runtime.channel import JobContext

_ROLES = (
    "role", "from", "speaker", "author", "sender", "authorrole", "authortype", "senderrole", "sendertype",
)  # fmt: skip
_TEXTS = ("text", "content", "value", "message", "body", "messagetext", "messagebody", "comment")
#: The column that joined rows get.
_MESSAGES = "messages"
#: Other columns that belong to a turn.
_BESIDE = (
    "tool_calls", "function_call", "tool_call_id", "reasoning_content", "thinking", "reasoning",
)  # fmt: skip
#: How much larger all rows may become: factor and free bytes.
_MOST_GROWTH, _FREE = 16, 64 * 1024 * 1024
#: Batches of rows in memory at a time, of 4 MB each.
_MAPPED = 12

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

    Nothing changes if rows don't name others, or are not turns with a role.
    Raises CancelledError.
    """
    facts = store.facts
    names = LinkColumns.detect(facts.columns)
    if names is None:
        return facts
    reading = _choose_reading(store)
    if reading is None and not names.own:  # ids of conversations are common beside whole ones
        return facts
    links = RowLinks.read(store, names, job)
    if not links.count and not links.lost.any():
        return facts
    if not links.count:  # possibly a table of other things
        missing = [] if reading is None else [_missing_parents_problem(names.before, links, facts)]
        return facts.model_copy(update={"problems": (*facts.problems, *missing)})
    if reading is None:
        why: Template = _OTHER_KIND
    elif 2 * np.count_nonzero(links.circular) > links.count:
        why = _CIRCLES
    else:
        store.save_trees(links.trees)
        why = _TOO_MUCH if links.growth > _MOST_GROWTH * links.size + _FREE else ""
    if reading is None or why:
        problem = _warning("parents_unused", why, _ONE_ROW, facts, names.before)
        return facts.model_copy(update={"problems": (*facts.problems, problem)})
    writer = _write_joined(store, links, reading, job)
    return facts.model_copy(
        update={
            "columns": (*facts.columns, _MESSAGES),
            "faults": writer.faults,
            "batches": tuple(writer.batches),
            "bytes": store.file.stat().st_size,
            "problems": (*facts.problems, *_iter_problems(names, links, facts)),
        }
    )


def _write_joined(
    store: RowStore, links: RowLinks, reading: _Reading, job: JobContext
) -> RowWriter:
    """Replace the store's file by one whose rows begin with their conversations."""
    file = store.folder / "rows.chained"
    with RowWriter(file) as writer:
        for block in _Chains(store, links, reading).iter_blocks(job):
            writer.write(block)
            job.report_progress("joining conversations", writer.rows, len(store), "rows")
    file.replace(store.file)
    return writer


# --- turns in a row -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reading:
    """The columns that a turn is read from: its role and its text.

    `beside` are columns that belong to a turn, `media` those that may hold images and the like.
    """

    role: str
    text: str
    beside: tuple[str, ...]
    media: tuple[str, ...]

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
    """Return how the rows are read, None where they are not turns."""
    usable = [row.values for row in sample_rows(store) if row.values is not None]
    verdict = detect(usable, store.facts.columns)
    columns = profile_columns(usable, store.facts.columns)
    role = next(filter(_names_speakers, find_columns(columns, _ROLES)), None)
    text = find_column(columns, _TEXTS, "text", "list", "turns", "turn", "object")
    if _MESSAGES in store.facts.columns:
        return None
    if verdict.format not in (None, "text") or role is None or text is None:
        return None
    names = store.facts.columns
    beside = tuple(name for name in _BESIDE if name in names)
    media = tuple(name for name in names if normalize_name(name) in MEDIA_KEYS)
    return _Reading(role=role.name, text=text.name, beside=beside, media=media)


def _names_speakers(column: DataColumn) -> bool:
    return bool(column.words) and all(map(parse_speaker, column.words))


# --- rows with their conversations ----------------------------------------------------------------


class _Chains:
    """Rewrites the rows of a store, each with the rows before it."""

    def __init__(self, store: RowStore, links: RowLinks, reading: _Reading) -> None:
        self._store, self._links, self._reading = store, links, reading
        self._batches: dict[int, pa.RecordBatch] = {}  # views of the mapped file
        self._said = functools.lru_cache(maxsize=4096)(self._read_earlier_turn)
        self._best = self._get_best_ranks()

    def iter_blocks(self, job: JobContext) -> Iterator[RowBlock]:
        """Yield all rows in order, block by block; raises CancelledError."""
        try:
            yield from group_rows(self._iter_rows(job))
        finally:  # mapped batches would keep the file open
            self._said.cache_clear()
            self._batches.clear()
            self._file.close()

    def _iter_rows(self, job: JobContext) -> Iterator[LocatedRow]:
        for index, (_, start) in enumerate(self._store.facts.batches):
            batch = self._read_batch(index)
            named = (batch.column(name).to_pylist() for name in ("line", "offset", "fault"))
            for position, (line, offset, fault) in enumerate(zip(*named, strict=True), start):
                job.check()
                raw, reason = (b"", load_reason(fault)) if fault else self._join_row(position)
                yield raw, line, offset, reason

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
        values = parse_values(self._read_raw(position))
        if fault := self._get_skip_reason(position, values):
            return b"", fault
        try:
            own_turn = self._reading.parse_turn(values)
        except UnusableRow as error:
            return b"", SkipReason.from_error(error)
        try:
            earlier_turns = [self._said(row) for row in self._get_lineage(position)]
        except UnusableRow:
            return b"", _LOST
        return write_row(values | {_MESSAGES: [*earlier_turns, own_turn]})

    def _get_lineage(self, position: int) -> list[int]:
        """Return the rows before one, the first of the conversation first."""
        rows: list[int] = []
        while (position := int(self._links.before[position])) >= 0:
            rows.append(position)
        return rows[::-1]

    def _read_earlier_turn(self, position: int) -> dict[str, Any]:
        """Return a turn that precedes another, not trained; raises UnusableRow."""
        raw = self._read_raw(position)
        if not raw:
            raise _LOST.to_error()
        return {**self._reading.parse_turn(parse_values(raw)), "weight": 0}

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
_TOO_MUCH = (
    "“{column}” refers to other rows, but joining them into conversations would need too much "
    "disk space. Each row is read by itself."
)
_ONE_ROW = "If the rows are parts of conversations, write each conversation as one row of messages."


def _iter_problems(names: LinkColumns, links: RowLinks, facts: ScanFacts) -> Iterator[Problem]:
    what = (
        counted(
            links.count,
            "{n} row of {total} continues a conversation that “{column}” names. It is read with the rows "
            "before it, and only its own answer is trained.",
            "{n} rows of {total} continue a conversation that “{column}” names. Each is read with the rows "
            "before it, and only its own answer is trained.",
            total=facts.rows,
            column=names.before,
        )
        if not names.own
        else counted(
            links.count,
            "{n} row of {total} continues from the row that “{column}” refers to. It is read with the "
            "conversation before it, and only its own answer is trained.",
            "{n} rows of {total} continue from the row that “{column}” refers to. Each is read with "
            "the conversation before it, and only its own answer is trained.",
            total=facts.rows,
            column=names.before,
        )
    )
    remedy = "Check some rows. If they are not conversations, remove that column."
    yield _warning("chained", what, remedy, facts)
    if links.lost.any():
        yield _missing_parents_problem(names.before, links, facts)


def _missing_parents_problem(parent: str, links: RowLinks, facts: ScanFacts) -> Problem:
    lost = int(np.count_nonzero(links.lost))
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
