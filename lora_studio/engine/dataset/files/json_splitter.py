"""Cuts a stream of JSON into its items without parsing it, so that a file of any size streams.

Brackets outside strings are counted by numpy for a whole chunk at once; what stands between them is
judged by a real parser afterwards. A fault costs the item it is in: a string ends with its line at
the latest, since JSON has no line breaks in strings, and where brackets do not close, the next items
are found again by what the first one began with.
"""

from __future__ import annotations

import itertools
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Bytes of one row; a larger one is a fault. Bounds the memory that a missing bracket can cost.
MAX_ROW = 64 * 1024 * 1024

_QUOTE, _LINE, _BACKSLASH = 0x22, 0x0A, 0x5C
_OPENING, _CLOSING = [0x7B, 0x5B], [0x7D, 0x5D]
_BRACE = 0x7D
_STEP = np.zeros(256, dtype=np.int32)
_STEP[_OPENING], _STEP[_CLOSING] = 1, -1
_IS_STRUCTURE = _STEP != 0
_IS_STRUCTURE[[_QUOTE, _LINE]] = True

#: An object up to its first key.
_FIRST_KEY = re.compile(rb'\{\s*("(?:[^"\\\n]|\\.)*")\s*:')
#: What may stand around items without meaning anything.
_FILLING = b" \t\r\n,"
#: How much of an overlong item is looked back at for the beginning of the next.
_OVERLAP = 4096


class JsonItem(NamedTuple):
    """One piece of the stream, from `{` or `[` to its end.

    `is_loose`: what stood between such pieces; `is_overlong`: the beginning of a row over MAX_ROW.
    """

    text: bytes
    offset: int
    line: int
    is_loose: bool = False
    is_overlong: bool = False


class JsonSplitter:
    """Finds the objects and lists at one depth of a stream that is fed in chunks.

    `depth` brackets are open around the items: 0 for objects one after another, 1 for the items of
    a list. From 2 on, feeding begins right behind the list's bracket, and the list's end ends all.
    """

    def __init__(self, depth: int, *, offset: int = 0, line: int = 1) -> None:
        """The stream begins at this offset and line of the file."""
        self._base = depth
        self._depth = depth if depth > 1 else 0
        self._offset, self._line = offset, line
        self._in_string = False
        self._held = b""  # backslashes at a chunk's end: whether they escape is not known yet
        self._pending = bytearray()  # an item or a loose text that goes on
        self._pending_at = (offset, line)
        self._in_item = False
        self._is_skipping = False
        self._mark: re.Pattern[bytes] | None = None  # how items begin
        self._before = b""  # what stood before the first one
        #: Whether the list that holds the items has ended (with `depth` 2 and more).
        self.is_over = False

    def feed(self, chunk: bytes) -> list[JsonItem]:
        """The items that end in this chunk."""
        chunk = self._held + chunk
        kept = len(chunk.rstrip(b"\\"))
        chunk, self._held = chunk[:kept], chunk[kept:]
        found: list[JsonItem] = []
        if self._is_skipping:
            chunk = self._skip(chunk)
        self._take_all(chunk, found)
        while len(self._pending) > MAX_ROW:
            self._cut_overlong(found)
        return found

    def finish(self) -> list[JsonItem]:
        """What is left when the stream has ended: an item without its end, text after the list."""
        rest, at = bytes(self._pending) + self._held, self._pending_at
        self._pending, self._held = bytearray(), b""
        if self._is_skipping or self.is_over:
            return []
        if self._in_item:
            return self.salvage(JsonItem(rest, *at))
        return [] if _is_filling(rest) else [JsonItem(rest, *at, is_loose=True)]

    def salvage(self, item: JsonItem) -> list[JsonItem]:
        """Divides an item that does not parse wherever another one seems to begin in it."""
        starts = [match.start(1) for match in self._mark.finditer(item.text)] if self._mark else []
        edges = sorted({0, *starts, len(item.text)})
        pieces: list[JsonItem] = []
        line = item.line
        for start, end in itertools.pairwise(edges):
            text = item.text[start:end]
            pieces.append(JsonItem(text, item.offset + start, line))
            line += text.count(b"\n")
        return pieces

    # --- brackets ---------------------------------------------------------------------------------

    def _take_all(self, chunk: bytes, found: list[JsonItem]) -> None:
        while chunk and not self.is_over:
            chunk = self._take(chunk, found)

    def _take(self, chunk: bytes, found: list[JsonItem]) -> bytes:
        """Cuts a chunk up, as far as its brackets make sense, and returns the rest."""
        data = np.frombuffer(chunk, dtype=np.uint8)
        places, kinds, lines = self._structure(data)
        steps = _STEP[kinds]
        depths = self._depth + np.cumsum(steps)
        outside = self._base - 1
        # A list ends with its own bracket; any other that closes too much belongs to no item.
        stray = (depths < max(outside, 0)) | ((depths == outside) & (kinds == _BRACE))
        closing = (depths == outside) & (steps < 0) if self._base > 1 else np.zeros_like(stray)
        rest = b""
        if (ends := np.flatnonzero(stray | closing)).size:
            first = int(ends[0])
            self.is_over = not stray[first]
            depths[first] += int(stray[first])
            cut, cut_at = int(places[first]) + 1, first + 1
            chunk, rest = chunk[:cut], chunk[cut:]
            places, steps, depths = places[:cut_at], steps[:cut_at], depths[:cut_at]
            self._in_string = False
        is_start = (steps > 0) & (depths == self._base + 1)
        is_end = (steps < 0) & (depths == self._base)
        is_end[-1:] &= not stray[ends[0]] if ends.size else True
        events = np.flatnonzero(is_start | is_end)
        spots = places[events]
        numbers = self._line + np.searchsorted(lines, spots)
        self._collect(chunk, spots.tolist(), is_start[events].tolist(), numbers.tolist(), found)
        self._depth = int(depths[-1]) if depths.size else self._depth
        self._offset += len(chunk)
        self._line += chunk.count(b"\n")
        return rest

    def _structure(
        self, data: NDArray[np.uint8]
    ) -> tuple[NDArray[np.intp], NDArray[np.uint8], NDArray[np.intp]]:
        """Places and kinds of the brackets outside strings, and places of the line breaks."""
        places = np.flatnonzero(_IS_STRUCTURE[data])
        kinds = data[places]
        if (escaped := _escaped(data, places, kinds)).any():
            places, kinds = places[~escaped], kinds[~escaped]
        if not places.size:
            return places, kinds, places
        is_line = kinds == _LINE
        quotes = np.cumsum(kinds == _QUOTE) + int(self._in_string)
        # A line break ends every string: quotes count from the last one on.
        since = np.maximum.accumulate(np.where(is_line, quotes, 0))
        in_string = ((quotes - since) & 1).astype(bool)
        self._in_string = bool(in_string[-1])
        is_bracket = ~in_string & (_STEP[kinds] != 0)
        return places[is_bracket], kinds[is_bracket], places[is_line]

    def _collect(
        self,
        chunk: bytes,
        places: list[int],
        starts: list[bool],
        lines: list[int],
        found: list[JsonItem],
    ) -> None:
        """Adds the pieces between the places where items start and end."""
        position = 0
        for place, is_start, line in zip(places, starts, lines, strict=True):
            end = place if is_start else place + 1
            text = (
                bytes(self._pending) + chunk[position:end] if self._pending else chunk[position:end]
            )
            if is_start:
                if not _is_filling(text):
                    found.append(JsonItem(text, *self._pending_at, is_loose=True))
                if self._mark is None:
                    self._before = text
                    self._mark = _mark(text, chunk[place : place + _OVERLAP])
            else:
                self._mark = self._mark or _mark(self._before, text)
                found.append(JsonItem(text, *self._pending_at))
            self._pending.clear()
            self._in_item = is_start
            self._pending_at = (self._offset + end, line)
            position = end
        self._pending += chunk[position:]

    # --- overlong items ---------------------------------------------------------------------------

    def _cut_overlong(self, found: list[JsonItem]) -> None:
        """Finds items again in a pending text that grew too long, or gives its beginning up."""
        item = JsonItem(bytes(self._pending), *self._pending_at)
        self._pending.clear()
        if not self._in_item:
            found.append(JsonItem(item.text[:_OVERLAP], item.offset, item.line, is_loose=True))
            return
        self._mark = self._mark or _mark(self._before, item.text[:_OVERLAP])
        *pieces, last = self.salvage(item)
        found += pieces
        self._depth, self._in_string, self._in_item = self._base, False, False
        if len(last.text) > MAX_ROW:
            found.append(JsonItem(last.text[:_OVERLAP], last.offset, last.line, is_overlong=True))
            self._is_skipping = True
            return
        self._offset, self._line = self._pending_at = last.offset, last.line
        self._take_all(last.text, found)

    def _skip(self, chunk: bytes) -> bytes:
        """Passes over an overlong item; returns the text from the next beginning on."""
        found = self._mark.search(chunk) if self._mark else None
        start = found.start(1) if found else len(chunk)
        self._is_skipping = found is None
        self._line += chunk.count(b"\n", 0, start)
        self._offset += start
        self._pending_at = (self._offset, self._line)
        return chunk[start:]


def _is_filling(text: bytes) -> bool:
    return not text.strip(_FILLING + b"[]")


def _escaped(
    data: NDArray[np.uint8], places: NDArray[np.intp], kinds: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Which of the places are quotes behind an odd number of backslashes."""
    suspects = np.flatnonzero((kinds == _QUOTE) & (places > 0))
    suspects = suspects[data[places[suspects] - 1] == _BACKSLASH]
    result = np.zeros(len(places), dtype=bool)
    if not suspects.size:
        return result
    slashes = np.flatnonzero(data == _BACKSLASH)
    is_first = np.ones(len(slashes), dtype=bool)
    is_first[1:] = slashes[1:] != slashes[:-1] + 1
    run_starts = slashes[is_first]
    quotes = places[suspects]
    run = run_starts[np.searchsorted(run_starts, quotes) - 1]
    result[suspects] = (quotes - run) & 1 == 1
    return result


def _mark(before: bytes, beginning: bytes) -> re.Pattern[bytes] | None:
    """How items begin, as the first one does: at the same indentation where it has lines."""
    key = _FIRST_KEY.match(beginning)
    if key is None:
        return None
    start = rb"(\{\s*" + re.escape(key[1]) + rb"\s*:)"
    _, line, indentation = before.rpartition(b"\n")
    if line and not indentation.strip():
        return re.compile(rb"\n" + re.escape(indentation) + start)
    return re.compile(rb"[\s,\[\]{}]" + start)
