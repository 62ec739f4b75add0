"""Comparable forms of answers: without differences in case, spaces, quotes, and final punctuation."""

from __future__ import annotations

import re
import unicodedata

#: Punctuation and quotes that may surround an answer without changing it.
_AROUND = " \t\n\r.,;:!?¡¿…\"'`*_“”„‘’‚«»‹›()[]"

#: Letters of scripts without spaces between words: each counts as a word.
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")

_FENCE = re.compile(r"\A\s*```[\w+-]*[ \t]*\n(.*?)\n?```\s*\Z", re.DOTALL)


def normalize(answer: str) -> str:
    """Return an answer in lower case and Unicode's NFKC form, with single spaces, and without quotes or
    punctuation around it. Punctuation inside stays, so that 3.5 differs from 35.
    """
    folded = unicodedata.normalize("NFKC", answer).casefold()
    return " ".join(folded.split()).strip(_AROUND)


def list_words(answer: str) -> list[str]:
    """Return the words of an answer in lower case, without punctuation.

    For ASCII, these are the tokens of the rouge-score library. Each letter of a script without spaces
    is a word.
    """
    return _WORD.findall(unicodedata.normalize("NFKC", answer).lower())


def remove_fence(answer: str) -> str:
    """Return the content of an answer that consists of one Markdown code block, or the answer itself."""
    match = _FENCE.match(answer)
    return match.group(1) if match else answer.strip()
