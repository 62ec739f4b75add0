"""Find the row before each row: by columns such as `parent_id` that refer to an `id`, or by its conversation."""

from __future__ import annotations

import datetime
import hashlib
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_studio.core.dataset.formats.values import is_blank, normalize_name
from lora_studio.engine.dataset.files.blocks import parse_values
from lora_studio.engine.dataset.rows.hashing import Hashes, mix64
from lora_studio.engine.dataset.rows.store import Positions, RowStore
from lora_studio.engine.runtime.channel import JobContext

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
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


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
