"""Split a stream of JSON into its items without parsing it, so that files of any size stream.

NumPy counts the brackets outside strings for a whole chunk at once; a real parser reads the text
between them afterwards. A fault costs only the item that contains it: a string ends with its line at
the latest, since JSON has no line breaks in strings, and if brackets don't close, the next item is
recognized by the first key of the first one.
"""

from __future__ import annotations

import itertools
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lora_studio.core import limits

_QUOTE, _LINE, _BACKSLASH = 0x22, 0x0A, 0x5C
_OPENING, _CLOSING = [0x7B, 0x5B], [0x7D, 0x5D]
_BRACE = 0x7D
_STEP = np.zeros(256, dtype=np.int32)
_STEP[_OPENING], _STEP[_CLOSING] = 1, -1
_IS_STRUCTURE = _STEP != 0
_IS_STRUCTURE[[_QUOTE, _LINE]] = True

#: An object up to its first key.
_FIRST_KEY = re.compile(rb'\{\s*("(?:[^"\\\n]|\\.)*")\s*:')
#: Characters between items that are ignored.
_FILLING = b" \t\r\n,"
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
        self._offset, self._line = offset, line
        self._in_string = False
        self._held = (
            b""  # backslashes at a chunk's end, which may escape the next chunk's first character
        )
        self._pending = bytearray()  # an item or loose text that continues in the next chunk
        self._pending_at = (offset, line)
        self._in_item = False
        self._is_skipping = False
        self._mark: re.Pattern[bytes] | None = None  # how items begin
        self._before = b""  # the text before the first one
        #: Whether the list that holds the items has ended (with `depth` 2 and more).
        self.is_over = False

    def feed(self, chunk: bytes) -> list[JsonItem]:
        """Return the items that end in this chunk."""
        chunk = self._held + chunk
        end = len(chunk.rstrip(b"\\"))
        chunk, self._held = chunk[:end], chunk[end:]
        items: list[JsonItem] = []
        if self._is_skipping:
            chunk = self._skip(chunk)
        self._split_all(chunk, items)
        while len(self._pending) > limits.ROW_BYTES:
            self._cut_overlong(items)
        return items

    def finish(self) -> list[JsonItem]:
        """Return the rest at the end of the stream: an item without its end, or text after the list."""
        rest, at = bytes(self._pending) + self._held, self._pending_at
        self._pending, self._held = bytearray(), b""
        if self._is_skipping or self.is_over:
            return []
        if self._in_item:
            return self.salvage(JsonItem(rest, *at))
        return [] if _is_filling(rest) else [JsonItem(rest, *at, is_loose=True)]

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

    # --- brackets ---------------------------------------------------------------------------------

    def _split_all(self, chunk: bytes, items: list[JsonItem]) -> None:
        while chunk and not self.is_over:
            chunk = self._split(chunk, items)

    def _split(self, chunk: bytes, items: list[JsonItem]) -> bytes:
        """Split a chunk as far as its brackets match; return the rest."""
        data = np.frombuffer(chunk, dtype=np.uint8)
        positions, kinds, lines = self._find_structure(data)
        steps = _STEP[kinds]
        depths = self._depth + np.cumsum(steps)
        outside = self._base - 1
        # A list ends with its own bracket; any other extra closing bracket belongs to no item.
        stray = (depths < max(outside, 0)) | ((depths == outside) & (kinds == _BRACE))
        closing = (depths == outside) & (steps < 0) if self._base > 1 else np.zeros_like(stray)
        rest = b""
        if (ends := np.flatnonzero(stray | closing)).size:
            first = int(ends[0])
            self.is_over = not stray[first]
            depths[first] += int(stray[first])
            cut, cut_at = int(positions[first]) + 1, first + 1
            chunk, rest = chunk[:cut], chunk[cut:]
            positions, steps, depths = positions[:cut_at], steps[:cut_at], depths[:cut_at]
            self._in_string = False
        is_start = (steps > 0) & (depths == self._base + 1)
        is_end = (steps < 0) & (depths == self._base)
        is_end[-1:] &= not stray[ends[0]] if ends.size else True
        events = np.flatnonzero(is_start | is_end)
        bracket_positions = positions[events]
        numbers = self._line + np.searchsorted(lines, bracket_positions)
        self._collect(
            chunk, bracket_positions.tolist(), is_start[events].tolist(), numbers.tolist(), items
        )
        self._depth = int(depths[-1]) if depths.size else self._depth
        self._offset += len(chunk)
        self._line += chunk.count(b"\n")
        return rest

    def _find_structure(
        self, data: NDArray[np.uint8]
    ) -> tuple[NDArray[np.intp], NDArray[np.uint8], NDArray[np.intp]]:
        """Return positions and kinds of the brackets outside strings, and positions of line breaks."""
        positions = np.flatnonzero(_IS_STRUCTURE[data])
        kinds = data[positions]
        if (escaped := _is_escaped(data, positions, kinds)).any():
            positions, kinds = positions[~escaped], kinds[~escaped]
        if not positions.size:
            return positions, kinds, positions
        is_line = kinds == _LINE
        quotes = np.cumsum(kinds == _QUOTE) + int(self._in_string)
        # A line break ends every string: quotes count from the last one on.
        since = np.maximum.accumulate(np.where(is_line, quotes, 0))
        in_string = ((quotes - since) & 1).astype(bool)
        self._in_string = bool(in_string[-1])
        is_bracket = ~in_string & (_STEP[kinds] != 0)
        return positions[is_bracket], kinds[is_bracket], positions[is_line]

    def _collect(
        self,
        chunk: bytes,
        positions: list[int],
        starts: list[bool],
        lines: list[int],
        items: list[JsonItem],
    ) -> None:
        """Append the pieces between the brackets that start and end items."""
        begin = 0
        for position, is_start, line in zip(positions, starts, lines, strict=True):
            end = position if is_start else position + 1
            text = bytes(self._pending) + chunk[begin:end] if self._pending else chunk[begin:end]
            if is_start:
                if not _is_filling(text):
                    items.append(JsonItem(text, *self._pending_at, is_loose=True))
                if self._mark is None:
                    self._before = text
                    self._mark = _mark(text, chunk[position : position + _OVERLAP])
            else:
                self._mark = self._mark or _mark(self._before, text)
                items.append(JsonItem(text, *self._pending_at))
            self._pending.clear()
            self._in_item = is_start
            self._pending_at = (self._offset + end, line)
            begin = end
        self._pending += chunk[begin:]

    # --- overlong items ---------------------------------------------------------------------------

    def _cut_overlong(self, items: list[JsonItem]) -> None:
        """Split a pending text over the limit where items seem to start, or give up its beginning."""
        item = JsonItem(bytes(self._pending), *self._pending_at)
        self._pending.clear()
        if not self._in_item:
            items.append(JsonItem(item.text[:_OVERLAP], item.offset, item.line, is_loose=True))
            return
        self._mark = self._mark or _mark(self._before, item.text[:_OVERLAP])
        *pieces, last = self.salvage(item)
        items += pieces
        self._depth, self._in_string, self._in_item = self._base, False, False
        if len(last.text) > limits.ROW_BYTES:
            items.append(JsonItem(last.text[:_OVERLAP], last.offset, last.line, is_overlong=True))
            self._is_skipping = True
            return
        self._offset, self._line = self._pending_at = last.offset, last.line
        self._split_all(last.text, items)

    def _skip(self, chunk: bytes) -> bytes:
        """Skip an overlong item; return the text from the next item on."""
        match = self._mark.search(chunk) if self._mark else None
        start = match.start(1) if match else len(chunk)
        self._is_skipping = match is None
        self._line += chunk.count(b"\n", 0, start)
        self._offset += start
        self._pending_at = (self._offset, self._line)
        return chunk[start:]


def _is_filling(text: bytes) -> bool:
    return not text.strip(_FILLING + b"[]")


def _is_escaped(
    data: NDArray[np.uint8], positions: NDArray[np.intp], kinds: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Return which of the positions are quotes after an odd number of backslashes."""
    suspects = np.flatnonzero((kinds == _QUOTE) & (positions > 0))
    suspects = suspects[data[positions[suspects] - 1] == _BACKSLASH]
    result = np.zeros(len(positions), dtype=bool)
    if not suspects.size:
        return result
    slashes = np.flatnonzero(data == _BACKSLASH)
    is_first = np.ones(len(slashes), dtype=bool)
    is_first[1:] = slashes[1:] != slashes[:-1] + 1
    run_starts = slashes[is_first]
    quotes = positions[suspects]
    run = run_starts[np.searchsorted(run_starts, quotes) - 1]
    result[suspects] = (quotes - run) & 1 == 1
    return result


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
