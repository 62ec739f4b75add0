"""Detect the encoding of a text file: by its byte-order mark, as UTF-8, or as the likeliest code page.

charset-normalizer detects code pages.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

#: Python's codec -> its name in messages.
TITLES = {
    "utf-8": "UTF-8", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "utf-32-le": "UTF-32",
    "utf-32-be": "UTF-32", "cp1252": "Windows-1252", "cp1250": "Windows-1250",
    "cp1251": "Windows-1251", "cp1253": "Windows-1253", "cp1254": "Windows-1254",
    "cp1255": "Windows-1255", "cp1256": "Windows-1256", "cp1257": "Windows-1257",
    "cp1258": "Windows-1258", "cp874": "Windows-874", "cp932": "Shift-JIS", "euc_jis_2004": "EUC-JP",
    "gb18030": "GB 18030", "big5": "Big5", "cp949": "EUC-KR", "koi8_r": "KOI8-R",
    "iso8859_2": "ISO-8859-2", "iso8859_5": "ISO-8859-5",
    "koi8_u": "KOI8-U", "mac_roman": "Mac Roman", "mac_cyrillic": "Mac Cyrillic",
    "cp850": "DOS Western (850)", "cp852": "DOS Central European (852)",
    "cp866": "DOS Cyrillic (866)",
}  # fmt: skip
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: Code pages that charset-normalizer chooses from.
_CANDIDATES = [name for name in TITLES if not name.startswith("utf")]
#: With fewer bytes beyond ASCII, statistics are unreliable, and Windows-1252 is the most frequent.
_ENOUGH = 16
_HIGH_RUN = re.compile(rb"[\x80-\xff]+")


@dataclass(frozen=True)
class Encoding:
    """A Python codec; `is_guessed` if it was chosen only because it makes the text likely."""

    codec: str
    is_guessed: bool = False

    @property
    def title(self) -> str:
        """Return the common name of the encoding."""
        return TITLES[self.codec]


UTF8 = Encoding("utf-8")


def detect_encoding(sample: bytes, *, is_json: bool = False) -> Encoding:
    """Return the encoding of a file, given its beginning and, where that is ASCII, pieces of the rest.

    JSON is UTF-8 by its standard (RFC 8259): invalid bytes in a single line are a fault of that line.
    """
    for mark, codec in _MARKS:
        if sample.startswith(mark):
            return Encoding(codec)
    good, bad = _count_utf8_runs(sample)
    if bad == 0 or good >= bad or (is_json and _count_invalid_lines(sample) < 2):
        return UTF8
    return Encoding(_detect_code_page(sample), is_guessed=True)


def _count_utf8_runs(sample: bytes) -> tuple[int, int]:
    """Return how many runs of non-ASCII bytes are UTF-8, and how many are not.

    A character that the end of the sample cuts off counts as UTF-8.
    """
    good = bad = 0
    end = len(sample)
    for run in _HIGH_RUN.finditer(sample):
        try:
            codecs.utf_8_decode(run[0], "strict", run.end() < end)
            good += 1
        except UnicodeDecodeError:
            bad += 1
    return good, bad


def _count_invalid_lines(sample: bytes) -> int:
    """Return how many lines are not UTF-8, or how many objects if all are on one line."""
    lines = sample.split(b"\n")[:-1] if b"\n" in sample.strip() else sample.split(b"}")
    return sum(not line.isascii() and _count_utf8_runs(line + b"\n")[1] > 0 for line in lines)


def _detect_code_page(sample: bytes) -> str:
    """Return what charset-normalizer finds, Windows-1252 where that is as likely or gives the same text.

    German letters have the same bytes in Windows-1250, ISO-8859-2, and Windows-1252.
    """
    from charset_normalizer import from_bytes  # a tenth of a second

    if sum(map(len, _HIGH_RUN.findall(sample))) < _ENOUGH:
        return "cp1252"
    matches = from_bytes(sample, cp_isolation=_CANDIDATES)
    best = matches.best()
    if best is None:
        return "cp1252"
    likeliest = [
        m.encoding for m in matches if (m.chaos, m.coherence) == (best.chaos, best.coherence)
    ]
    is_same = sample.decode(best.encoding, "replace") == sample.decode("cp1252", "replace")
    return "cp1252" if "cp1252" in likeliest or is_same else best.encoding
