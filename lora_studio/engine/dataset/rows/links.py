"""Which row goes on from which: rows that name the row before them, as `parent_id` does its `id`."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_studio.core.dataset.formats.values import is_blank, normalize_name
from lora_studio.engine.dataset.files.blocks import values_of
from lora_studio.engine.dataset.rows.hashing import Hashes, mix64
from lora_studio.engine.dataset.rows.store import Positions, RowStore
from lora_studio.engine.runtime.channel import JobContext

_IDS = ("id", "messageid", "msgid", "uuid", "rowid", "sampleid", "turnid", "nodeid")
_PARENTS = (
    "parentid", "parent", "parentmessageid", "parentuuid", "parentmsgid", "previousid", "replyto",
    "replytoid", "inreplyto",
)  # fmt: skip
#: What names the conversation that a row is in; ids may begin anew in each.
_SCOPES = (
    "conversationid", "messagetreeid", "treeid", "threadid", "dialogid", "dialogueid", "chatid",
    "sessionid",
)  # fmt: skip
#: What stands for no row where there is none of that id.
_NOBODY = ("0", "-1", "None", "none", "null", "NULL", "nan", "NaN", "root", "ROOT")
#: Rows before a row at most.
_MOST_ROUNDS = 256
_WHOLE = re.compile(r"-?\d+\.0")

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class LinkColumns:
    """Columns: of ids, of which the one counts whose ids are named, of the rows before, of whole
    conversations."""

    own: tuple[str, ...]
    before: str
    scope: str | None

    @classmethod
    def of(cls, columns: tuple[str, ...]) -> LinkColumns | None:
        """The columns by their names, None without ids or rows before."""
        keys = {normalize_name(name): name for name in reversed(columns)}
        before = next((key for key in _PARENTS if key in keys), None)
        own = [key for key in _IDS if key in keys]
        if before is None or not own:
            return None
        own.sort(key=lambda key: f"parent{key}" != before)
        scope = next((keys[key] for key in _SCOPES if key in keys), None)
        return cls(tuple(keys[key] for key in own), keys[before], scope)


@dataclass(frozen=True)
class RowLinks:
    """Of every row the position of the one before it (-1: none) and of the first of its conversation.

    Rows whose row before is missing alike are in one conversation, too. `unclear` marks rows that name
    several others, `circular` those that lead back to themselves, `too_long` those behind too many,
    `lost` those whose row before is not there; `growth` are the bytes that stand before all rows.
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
        """How many rows go on with another one."""
        return int(np.count_nonzero(self.before >= 0))

    @property
    def named(self) -> int:
        """How many rows others go on from."""
        return len(np.unique(self.before[self.before >= 0]))

    @classmethod
    def of(cls, store: RowStore, names: LinkColumns, job: JobContext) -> RowLinks:
        """Reads all rows once; raises CancelledError."""
        columns = [*names.own, names.before, *([names.scope] if names.scope else [])]
        hashes, sizes = _hashed(store, columns, job)
        named = hashes[len(names.own)]
        salts = _salts(store, hashes[-1] if names.scope else None)
        tried = [_resolved(ids, named, salts) for ids in hashes[: len(names.own)]]
        before, unclear = max(tried, key=lambda found: np.count_nonzero(found[0] >= 0))
        lost = (named != 0) & (before < 0) & ~unclear
        lost &= ~np.isin(named, np.array([_hash(word) for word in _NOBODY], np.uint64))
        before[before == np.arange(len(before))] = -1
        roots, circular = _roots(before)
        too_long, growth = _followed(before, circular, sizes)
        trees = _joined(roots, named, lost)
        return cls(before, trees, unclear, circular, too_long, lost, growth, int(sizes.sum()))


def _hashed(store: RowStore, columns: list[str], job: JobContext) -> tuple[list[Hashes], Positions]:
    """What stands for the values of some columns, and the bytes of each row."""
    rows = len(store)
    found = [np.zeros(rows, np.uint64) for _ in columns]
    sizes = np.zeros(rows, np.int64)
    for start, batch in store.batches():
        job.progress("joining conversations", start, rows, "rows")
        for place, raw in enumerate(batch.column("raw"), start):
            text = raw.as_buffer()
            if not text.size:
                continue
            values = values_of(bytes(text))
            sizes[place] = text.size
            for hashes, name in zip(found, columns, strict=True):
                hashes[place] = _hash(values.get(name))
    return found, sizes


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


def _salts(store: RowStore, scope: Hashes | None) -> list[Hashes]:
    """Within what the row before is looked for, one number a row: its conversation, its file, all."""
    rows = len(store)
    firsts = [file.first for file in store.facts.files]
    file = mix64(np.searchsorted(firsts, np.arange(rows), "right").astype(np.uint64))
    found = [] if scope is None else [mix64(file ^ scope)]
    return [*found, *([file] if len(firsts) > 1 else []), np.zeros(rows, np.uint64)]


def _resolved(ids: Hashes, named: Hashes, salts: list[Hashes]) -> tuple[Positions, Mask]:
    """The row that each names, -1 for none, and whether it names several."""
    before = np.full(len(ids), -1, np.int64)
    unclear = np.zeros(len(ids), np.bool_)
    there, open_rows = np.flatnonzero(ids), np.flatnonzero(named)
    for salt in salts:
        keys = mix64(ids[there] ^ salt[there])
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        wanted = mix64(named[open_rows] ^ salt[open_rows])
        begin = np.searchsorted(keys, wanted, "left")
        held = np.searchsorted(keys, wanted, "right") - begin
        one = held == 1
        before[open_rows[one]] = there[order[begin[one]]]
        unclear[open_rows[held > 1]] = True
        open_rows = open_rows[held == 0]
    return before, unclear


def _roots(before: Positions) -> tuple[Positions, Mask]:
    """The first row before each, and whether there is none since they lead in a circle."""
    up = np.where(before >= 0, before, np.arange(len(before)))
    for _ in range(len(before).bit_length()):  # twice as far every time
        up = up[up]
    return up, before[up] >= 0


def _followed(before: Positions, circular: Mask, sizes: Positions) -> tuple[Mask, int]:
    """Which rows have too many before them, and the bytes that stand before all others."""
    rows = np.flatnonzero((before >= 0) & ~circular)
    places = before[rows]
    above = np.zeros(len(before), np.int64)
    for _ in range(_MOST_ROUNDS):
        if not len(rows):
            break
        above[rows] += sizes[places]
        places = before[places]
        rows, places = rows[places >= 0], places[places >= 0]
    too_long = np.zeros(len(before), np.bool_)
    too_long[rows] = True
    return too_long, int(above[~too_long].sum())


def _joined(roots: Positions, named: Hashes, lost: Mask) -> Positions:
    """The conversation of each row: its first row, or of those that miss the same one the first."""
    leaders = np.arange(len(roots))
    missing = np.flatnonzero(lost)
    _, first, members = np.unique(named[missing], return_index=True, return_inverse=True)
    leaders[missing] = missing[first][members]
    return leaders[roots]
