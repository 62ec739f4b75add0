"""Comments in JSON (`// …`, `/* … */`) become blanks of the same length, so that places stay true."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

#: Bytes of a comment that may go on in the next piece; a longer one is none.
_LONGEST = 1024 * 1024

# A string ends with its line at the latest, as JSON has it: a quote too many costs a line.
_STRING = rb'"(?:[^"\\\n]|\\[^\n])*"?'
_PART = re.compile(rb"(" + _STRING + rb")|//[^\n]*|/\*.*?\*/", re.DOTALL)
_OPEN = re.compile(_STRING + rb"|//[^\n]*|/\*(?:.*?\*/)?|/\Z", re.DOTALL)
_INK = re.compile(rb"[^\r\n]")


def are_in(head: bytes) -> bool:
    """Whether JSON that begins like this has comments.

    Where a text goes on over lines, what looks like a comment may well be a part of it.
    """
    seen = False
    for part in _PART.finditer(head, 0, head.rfind(b"\n") + 1 or len(head)):
        if part[1] is None:
            seen = True
        elif len(part[1]) < 2 or not part[1].endswith(b'"'):
            return False
    return seen


def blanked(text: bytes) -> bytes:
    """The same text, character for character, with blanks in place of its comments."""
    if b"//" not in text and b"/*" not in text:
        return text
    return _PART.sub(lambda part: part[1] or _INK.sub(b" ", part[0]), text)


def blanked_pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same of a text that comes in pieces; what goes on behind a piece waits for the next."""
    held = b""
    for piece in pieces:
        text = held + piece
        end = _end_of_whole(text)
        held = text[end:]
        if end:
            yield blanked(text[:end])
    if held:
        yield blanked(held)


def _end_of_whole(text: bytes) -> int:
    """How far a text may be looked at without the next: to its last line, not within a comment."""
    end = text.rfind(b"\n") + 1 or (len(text) if len(text) > _LONGEST else 0)
    for part in _OPEN.finditer(text, 0, end):
        is_open = part[0] == b"/*"
        if is_open and end - part.start() <= _LONGEST:
            return part.start()
    return end
