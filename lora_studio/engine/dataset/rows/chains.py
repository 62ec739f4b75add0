"""Join turns into conversations: of rows that name their parent (`parent_id` refers to an `id`), or the
conversation that they are part of.

The number of rows doesn't change. An answer gets the turns up to it in a column “messages”. Only the
row's own answer is trained; earlier answers are trained in their own rows, each once.
"""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lora_studio.core.dataset.formats.columns import (
    DataColumn,
    find_column,
    find_columns,
    profile_columns,
)
from lora_studio.core.dataset.formats.conversion import refuse_media
from lora_studio.core.dataset.formats.detection import detect
from lora_studio.core.dataset.formats.turns import parse_speaker, read_conversation
from lora_studio.core.dataset.formats.values import (
    MEDIA_KEYS,
    is_blank,
    normalize_name,
    parse_label,
    read_rank,
)
from lora_studio.core.messages import Template, Text, counted, text
from lora_studio.core.problems import Problem, Where, warning
from lora_studio.core.tasks.samples import UnusableRow
from lora_studio.engine.dataset.files.blocks import (
    JudgedRow,
    LocatedRow,
    RowBlock,
    SkipReason,
    group_rows,
    load_reason,
    parse_values,
    write_row,
)
from lora_studio.engine.dataset.rows.store import (
    Hashes,
    Positions,
    RowStore,
    RowWriter,
    ScanFacts,
    hash_text,
    mix64,
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
_GONE = SkipReason(text("its parent row is missing"))
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


_IDS = ("id", "messageid", "msgid", "uuid", "rowid", "sampleid", "turnid", "nodeid")
_PARENTS = (
    "parentid", "parent", "parentmessageid", "parentuuid", "parentmsgid", "previousid", "replyto",
    "replytoid", "inreplyto",
)  # fmt: skip
#: Columns with the id of the conversation, which may number their rows from the start again.
_SCOPES = (
    "conversationid", "messagetreeid", "treeid", "threadid", "dialogid", "dialogueid", "chatid",
    "sessionid", "ticketid", "ticketnumber", "ticketno", "caseid", "casenumber",
)  # fmt: skip
#: Columns that tell the order of the rows of a conversation, by number or by time.
_ORDERS = (
    "turnindex", "turnnumber", "turnid", "turn", "messageindex", "messagenumber", "position", "sequence", "seq",
    "timestamp", "createdat", "created", "sentat", "datetime", "date", "time",
)  # fmt: skip
#: Ids that mean “no row”.
_NO_ROW = ("0", "-1", "None", "none", "null", "NULL", "nan", "NaN", "root", "ROOT")
#: Maximum number of rows before a row.
_MOST_ROUNDS = 256
_WHOLE = re.compile(r"-?\d+\.0")

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class LinkColumns:
    """Columns with ids of rows, with ids of the rows before them, and with ids of conversations.

    If `own` has several, the one whose ids `before` refers to counts. Without `own`, `before` is `scope`:
    each row continues the one before it in its conversation, by `order` if there is such a column.
    """

    own: tuple[str, ...]
    before: str
    scope: str | None
    order: str | None = None

    @classmethod
    def detect(cls, columns: tuple[str, ...]) -> LinkColumns | None:
        """Return the columns by their names, None without ids of conversations or of parents."""
        keys = {normalize_name(name): name for name in reversed(columns)}
        parent_key = next((key for key in _PARENTS if key in keys), None)
        id_keys = [key for key in _IDS if key in keys]
        scope = next((keys[key] for key in _SCOPES if key in keys), None)
        if parent_key is None or not id_keys:
            order = next((keys[key] for key in _ORDERS if key in keys), None)
            return None if scope is None else cls((), scope, scope, order)
        id_keys.sort(key=lambda key: f"parent{key}" != parent_key)
        return cls(tuple(keys[key] for key in id_keys), keys[parent_key], scope)


@dataclass(frozen=True)
class RowLinks:
    """The position of every row's parent (-1: none) and of the first row of its conversation.

    Rows that miss the same parent are in one conversation, too. `unclear` marks rows that name
    several others, `circular` those that lead back to themselves, `too_long` those with too many
    ancestors, `lost` those whose parent is missing. `growth` is the total size of all ancestors in bytes.
    """

    before: Positions
    trees: Positions
    unclear: Mask
    circular: Mask
    too_long: Mask
    lost: Mask
    growth: int
    size: int

    @property
    def count(self) -> int:
        """Return the number of rows that continue another one."""
        return int(np.count_nonzero(self.before >= 0))

    @classmethod
    def read(cls, store: RowStore, names: LinkColumns, job: JobContext) -> RowLinks:
        """Read all rows once; raises CancelledError."""
        columns = [*names.own, names.before, *([names.scope] if names.scope else [])]
        hashes, sizes = _hash_columns(store, columns, job)
        named = hashes[len(names.own)]
        salts = _get_salts(store, hashes[-1] if names.scope else None)
        if names.own:
            candidates = [_resolve(ids, named, salts) for ids in hashes[: len(names.own)]]
            before, unclear = max(candidates, key=lambda result: np.count_nonzero(result[0] >= 0))
            lost = (named != 0) & (before < 0) & ~unclear
            lost &= ~np.isin(named, np.array([_hash(word) for word in _NO_ROW], np.uint64))
            before[before == np.arange(len(before))] = -1
        else:
            before = _follow(named, salts[0], _read_order(store, names.order, job))
            unclear = lost = np.zeros(len(before), np.bool_)
        roots, circular = _find_roots(before)
        too_long, growth = _check_depths(before, circular, sizes)
        trees = _join_roots(roots, named, lost)
        return cls(before, trees, unclear, circular, too_long, lost, growth, int(sizes.sum()))


def _hash_columns(
    store: RowStore, columns: list[str], job: JobContext
) -> tuple[list[Hashes], Positions]:
    """Return hashes of the values of some columns, and the bytes of each row."""
    rows = len(store)
    columns_of_hashes = [np.zeros(rows, np.uint64) for _ in columns]
    sizes = np.zeros(rows, np.int64)
    for start, batch in store.iter_batches():
        job.report_progress("joining conversations", start, rows, "rows")
        for position, raw in enumerate(batch.column("raw"), start):
            text = raw.as_buffer()
            if not text.size:
                continue
            values = parse_values(bytes(text))
            sizes[position] = text.size
            for hashes, name in zip(columns_of_hashes, columns, strict=True):
                hashes[position] = _hash(values.get(name))
    return columns_of_hashes, sizes


def _hash(value: Any) -> int:
    """Return the hash of an id; 0 for none. Tables write integers with `.0` where some are missing."""
    if is_blank(value) or isinstance(value, dict | list):
        return 0
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    text = text[:-2] if _WHOLE.fullmatch(text) else text
    return hash_text(text) or 1


def _get_salts(store: RowStore, scope: Hashes | None) -> list[Hashes]:
    """Return the scopes to search parents in, one number per row: conversation, file, everything."""
    rows = len(store)
    firsts = [file.first for file in store.facts.files]
    file = mix64(np.searchsorted(firsts, np.arange(rows), "right").astype(np.uint64))
    scopes = [] if scope is None else [mix64(file ^ scope)]
    return [*scopes, *([file] if len(firsts) > 1 else []), np.zeros(rows, np.uint64)]


def _resolve(ids: Hashes, named: Hashes, salts: list[Hashes]) -> tuple[Positions, Mask]:
    """Return the row that each row names as its parent, -1 for none, and whether it names several."""
    before = np.full(len(ids), -1, np.int64)
    unclear = np.zeros(len(ids), np.bool_)
    with_id, unresolved = np.flatnonzero(ids), np.flatnonzero(named)
    for salt in salts:
        keys = mix64(ids[with_id] ^ salt[with_id])
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        parent_keys = mix64(named[unresolved] ^ salt[unresolved])
        begin = np.searchsorted(keys, parent_keys, "left")
        matches = np.searchsorted(keys, parent_keys, "right") - begin
        is_unique = matches == 1
        before[unresolved[is_unique]] = with_id[order[begin[is_unique]]]
        unclear[unresolved[matches > 1]] = True
        unresolved = unresolved[matches == 0]
    return before, unclear


def _follow(named: Hashes, scopes: Hashes, order: NDArray[np.float64]) -> Positions:
    """Return the row before each row in its conversation, -1 for its first and where `named` is 0."""
    before = np.full(len(named), -1, np.int64)
    rows = np.flatnonzero(named)
    rows = rows[np.lexsort((rows, order[rows], scopes[rows]))]
    continues = scopes[rows][1:] == scopes[rows][:-1]
    before[rows[1:][continues]] = rows[:-1][continues]
    return before


def _read_order(store: RowStore, column: str | None, job: JobContext) -> NDArray[np.float64]:
    """Return a number or a time in seconds for each row; zeros where a row has neither, so the file decides."""
    order = np.zeros(len(store), np.float64)
    if column is None:
        return order
    for start, batch in store.iter_batches():
        job.check()
        for position, raw in enumerate(batch.column("raw"), start):
            text = raw.as_buffer()
            number = _parse_order(parse_values(bytes(text)).get(column)) if text.size else 0.0
            if number is None:
                return np.zeros(len(store), np.float64)
            order[position] = number
    return order


def _parse_order(value: Any) -> float | None:
    """Return a number, or the seconds of an ISO 8601 time; None for anything else."""
    try:
        if isinstance(value, int | float):
            return float(value)
        if not isinstance(value, str):
            return None
        text = value.strip()
        is_number = text.replace(".", "", 1).isdigit()
        return float(text) if is_number else datetime.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _find_roots(before: Positions) -> tuple[Positions, Mask]:
    """Return the first row of each row's chain, and whether there is none because of a cycle."""
    ancestors = np.where(before >= 0, before, np.arange(len(before)))
    for _ in range(len(before).bit_length()):  # the distance doubles every time
        ancestors = ancestors[ancestors]
    return ancestors, before[ancestors] >= 0


def _check_depths(before: Positions, circular: Mask, sizes: Positions) -> tuple[Mask, int]:
    """Return which rows have too many ancestors, and the total bytes of the others' ancestors."""
    rows = np.flatnonzero((before >= 0) & ~circular)
    parents = before[rows]
    ancestor_bytes = np.zeros(len(before), np.int64)
    for _ in range(_MOST_ROUNDS):
        if not len(rows):
            break
        ancestor_bytes[rows] += sizes[parents]
        parents = before[parents]
        rows, parents = rows[parents >= 0], parents[parents >= 0]
    too_long = np.zeros(len(before), np.bool_)
    too_long[rows] = True
    return too_long, int(ancestor_bytes[~too_long].sum())


def _join_roots(roots: Positions, named: Hashes, lost: Mask) -> Positions:
    """Return the first row of each row's conversation; rows that miss the same parent share one."""
    leaders = np.arange(len(roots))
    missing = np.flatnonzero(lost)
    _, first, members = np.unique(named[missing], return_index=True, return_inverse=True)
    leaders[missing] = missing[first][members]
    return leaders[roots]
