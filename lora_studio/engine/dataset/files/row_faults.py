"""Faults that make a row of a file unusable, and oddities that are read anyway."""

from __future__ import annotations

from lora_studio.core import limits
from lora_studio.core.dataset.samples import UnusableKind
from lora_studio.core.messages import text
from lora_studio.engine.dataset.reasons import SkipReason

INVALID_JSON = SkipReason(text("the row is not valid JSON"))
NOT_AN_OBJECT = SkipReason(text("the row is not a JSON object"))
NUL_BYTE = SkipReason(text("the row contains a NUL byte"))
TOO_DEEP = SkipReason(text("the row is nested too deeply"))
TOO_LARGE = SkipReason(text("the row is larger than {limit:size}", limit=limits.ROW_BYTES))
TOO_MANY_VALUES = SkipReason(text("the row has more than {limit} values", limit=limits.ROW_VALUES))
UNWRITABLE = SkipReason(text("the row has a value that can't be written as JSON"))
UNREADABLE = SkipReason(text("the row has a value that can't be read"))
DAMAGED = SkipReason(text("this part of the file is damaged"))
FEWER_CELLS = SkipReason(text("the row has fewer cells than the header"))
MORE_CELLS = SkipReason(text("the row has more cells than the header"))
OPEN_QUOTES = SkipReason(text("a quotation mark is never closed"))
SHORT_COLUMN = SkipReason(text("one of the columns is shorter than the others"))
BETWEEN_ROWS = SkipReason(text("there is something other than JSON between the rows"))
REPEATS_TOO_MUCH = SkipReason(text("the rows of its article repeat too much text"))
NO_ANSWER = SkipReason(text("the card has no answer"), UnusableKind.NO_ANSWER)
NO_CARD = SkipReason(text("the card has no text"), UnusableKind.EMPTY)
NO_QUESTION = SkipReason(text("the paragraph has no question"))

#: Oddities complete the sentence "In 3 rows, starting with row 1: …".
NAN = text("NaN and Infinity, which JSON doesn't allow, are read as missing values")
CONTROL_CHARACTERS = text("a text contains unescaped control characters, which are kept")
LOOSE_SPELLING = text("the row is a Python literal or has extra commas; it is read anyway")
BARE_TURNS = text("the row is a bare list of turns, which is read as a conversation")
NESTED_QUESTIONS = text(
    "questions inside paragraphs become one row each, with their paragraph and its article"
)
NESTED_INSTANCES = text("instances inside instructions become one row each, with their instruction")

NAMED_ANSWERS = text("questions are the names of their answers; each becomes one row")


def invalid_encoding_reason(encoding: str) -> SkipReason:
    """Return the reason for bytes that the file's encoding doesn't have."""
    return SkipReason(text("the row is not valid {encoding}", encoding=encoding))


def too_many_digits_reason(limit: int) -> SkipReason:
    """Return the reason for a number that is too long to convert."""
    return SkipReason(text("the row has a number with more than {limit} digits", limit=limit))
