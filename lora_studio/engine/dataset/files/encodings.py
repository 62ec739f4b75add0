"""Detect the encoding of a text file: by its byte-order mark, as UTF-8, or as the likeliest code page.

charset-normalizer detects code pages. For Latin ones, a table of each language's non-ASCII letters
supplements it, since rows often have too few of them for statistics.
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
    "iso2022_jp": "ISO-2022-JP", "iso8859_2": "ISO-8859-2", "iso8859_5": "ISO-8859-5",
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
#: Code pages with the non-ASCII letters of the languages that are written in them.
_ALPHABETS = (
    ("cp1252", "àâæçéèêëîïôœùûüÿ"), ("cp1252", "äöüßé"), ("cp1252", "áéíñóúü"),
    ("cp1252", "áâãàçéêíóôõúü"), ("cp1252", "àèéìòùî"), ("cp1252", "åäöæøéü"),
    ("cp1252", "áðéíóúýþæö"), ("cp1252", "äöõüšž"), ("cp1252", "éëïóèöü"), ("cp1252", "àçéèíïòóúü"),
    ("cp1250", "ąćęłńóśźż"), ("cp1250", "áčďéěíňóřšťúůýž"), ("cp1250", "áäčďéíĺľňóôŕšťúýž"),
    ("cp1250", "áéíóöőúüű"), ("cp1250", "ăâîşţ"), ("cp1250", "čšžćđ"), ("iso8859_2", "ąćęłńóśźż"),
    ("iso8859_2", "áčďéěíňóřšťúůýž"), ("iso8859_2", "áäčďéíĺľňóôŕšťúýž"),
    ("cp1254", "çğıöşüâîû"),
    ("cp1257", "ąčęėįšųūž"), ("cp1257", "āčēģīķļņšūž"),
)  # fmt: skip
_LATIN = {"iso8859_2", "cp1250", "cp1252", "cp1254", "cp1257", "cp1258"}
#: Share of the letters that have to be those of one language.
_OF_ALPHABET = 0.95
#: Letters of Western languages and the signs that word processors insert.
_WESTERN = re.compile("[À-ÖØ-öø-ÿŒœŸ‘’“”–—…€£§°«»©®™•´¡¿\xa0]*")
#: Escape sequences that switch a seven-bit text to Japanese letters.
_JAPANESE = (b"\x1b$B", b"\x1b$@")
#: With fewer bytes beyond ASCII, statistics are unreliable.
_ENOUGH = 16
#: Share of zero bytes from which a text may have 16 bits per character.
_FEWEST_ZEROS = 0.02
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f]")
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
    if codec := _detect_wide_codec(sample[:4096]):
        return Encoding(codec)
    if sample.isascii() and any(mark in sample for mark in _JAPANESE):
        return Encoding("iso2022_jp")
    good, bad = _count_utf8_runs(sample)
    if bad == 0 or good >= bad or (is_json and _count_invalid_lines(sample) < 2):
        return UTF8
    return Encoding(_detect_code_page(sample), is_guessed=True)


def _detect_wide_codec(head: bytes) -> str:
    """Return the codec of UTF-16 or UTF-32 without a mark: ASCII characters leave zeros in a pattern."""
    head = head[: len(head) // 4 * 4]
    zeros = [head[start::4].count(0) * 4 / max(1, len(head)) for start in range(4)]
    if sum(zeros) < 4 * _FEWEST_ZEROS:
        return ""
    if sum(zeros) < 1 and _is_utf8_text(head.replace(b"\0", b"")):
        return ""  # the zeros are faults
    if head.count(b"\n") > 1 and b"\n\0" not in head and b"\0\n" not in head:
        return ""  # lines end as in eight-bit text: the zeros are faults
    is_little_endian = zeros[1] + zeros[3] > zeros[0] + zeros[2]
    for codec in ("utf-32-le", "utf-16-le") if is_little_endian else ("utf-32-be", "utf-16-be"):
        try:
            text = codecs.getincrementaldecoder(codec)().decode(head)
        except UnicodeDecodeError:
            continue
        if not _CONTROLS.search(text):
            return codec
    return ""


def _is_utf8_text(data: bytes) -> bool:
    """Return whether bytes are UTF-8 with few control characters."""
    controls = len(_CONTROLS.findall(data.decode("utf-8", "replace")))
    return not _count_utf8_runs(data)[1] and controls * 10 < len(data)


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
    from charset_normalizer import from_bytes  # a tenth of a second

    runs = _HIGH_RUN.findall(sample)
    if sum(map(len, runs)) < _ENOUGH and _is_western(runs):
        return _detect_by_alphabet(sample) or "cp1252"
    matches = [match.encoding for match in from_bytes(sample, cp_isolation=_CANDIDATES)]
    if not matches:
        return "cp1252"
    if matches[0] in _LATIN:
        return _detect_by_alphabet(sample) or ("cp1252" if "cp1252" in matches else matches[0])
    return matches[0]


def _detect_by_alphabet(sample: bytes) -> str:
    """Return the first code page in which most letters are those of one language, "" for none."""
    shares: dict[str, float] = {}
    for codec, alphabet in _ALPHABETS:
        text = sample.decode(codec, "ignore").lower()
        letters = [sign for sign in text if sign > "\x7f" and sign.isalpha()]
        known = sum(map(letters.count, alphabet))
        shares[codec] = max(shares.get(codec, 0.0), known / max(1, len(letters)))
    best = max(shares, key=lambda codec: shares[codec])
    return best if shares[best] > _OF_ALPHABET else ""


def _is_western(runs: list[bytes]) -> bool:
    text = "".join(run.decode("cp1252", "replace") for run in runs)
    return all(len(run) < 3 for run in runs) and bool(_WESTERN.fullmatch(text))
