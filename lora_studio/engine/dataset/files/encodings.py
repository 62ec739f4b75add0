"""Which encoding the bytes of a text file are in: told by its marks, its bytes, and at last its words."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

#: What an encoding is called in messages.
TITLES = {
    "utf-8": "UTF-8", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "utf-32-le": "UTF-32",
    "utf-32-be": "UTF-32", "cp1252": "Windows-1252", "cp1250": "Windows-1250",
    "cp1251": "Windows-1251", "cp1253": "Windows-1253", "cp1254": "Windows-1254",
    "cp1255": "Windows-1255", "cp1256": "Windows-1256", "cp1257": "Windows-1257",
    "cp1258": "Windows-1258", "cp874": "Windows-874", "cp932": "Shift-JIS", "euc_jis_2004": "EUC-JP",
    "gb18030": "GB 18030", "big5": "Big5", "cp949": "EUC-KR", "koi8_r": "KOI8-R",
    "mac_roman": "Mac Roman", "mac_cyrillic": "Mac Cyrillic", "iso2022_jp": "ISO-2022-JP",
}  # fmt: skip
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: Encodings that files of text are met in today; UTF-8 and its kin are told without guessing.
_CANDIDATES = [name for name in TITLES if not name.startswith("utf")]
#: Encodings with the letters that languages written in them have beside ASCII.
_ALPHABETS = (
    ("cp1252", "àâæçéèêëîïôœùûüÿ"), ("cp1252", "äöüßé"), ("cp1252", "áéíñóúü"),
    ("cp1252", "áâãàçéêíóôõúü"), ("cp1252", "àèéìòùî"), ("cp1252", "åäöæøéü"),
    ("cp1252", "áðéíóúýþæö"), ("cp1252", "äöõüšž"), ("cp1252", "éëïóèöü"), ("cp1252", "àçéèíïòóúü"),
    ("cp1250", "ąćęłńóśźż"), ("cp1250", "áčďéěíňóřšťúůýž"), ("cp1250", "áäčďéíĺľňóôŕšťúýž"),
    ("cp1250", "áéíóöőúüű"), ("cp1250", "ăâîşţ"), ("cp1250", "čšžćđ"),
    ("cp1254", "çğıöşüâîû"),
    ("cp1257", "ąčęėįšųūž"), ("cp1257", "āčēģīķļņšūž"),
    ("mac_roman", "àâæçéèêëîïôœùûüÿ"), ("mac_roman", "äöüßé"), ("mac_roman", "áéíñóúü"),
)  # fmt: skip
#: Encodings of DOS, of other systems and of the time before, tried where the usual ones give no words.
_OLDER = {
    "cp850": "DOS Western (850)", "cp437": "DOS (437)", "cp866": "DOS Cyrillic (866)",
    "cp852": "DOS Central European (852)", "iso8859_2": "ISO-8859-2", "iso8859_5": "ISO-8859-5",
    "iso8859_15": "ISO-8859-15", "koi8_u": "KOI8-U", "cp737": "DOS Greek (737)",
    "cp857": "DOS Turkish (857)", "cp775": "DOS Baltic (775)", "cp860": "DOS Portuguese (860)",
    "cp861": "DOS Icelandic (861)", "cp863": "DOS Canadian French (863)", "cp865": "DOS Nordic (865)",
    "cp855": "DOS Cyrillic (855)", "iso8859_6": "ISO-8859-6", "cp862": "DOS Hebrew (862)",
    "mac_latin2": "Mac Latin 2", "mac_turkish": "Mac Turkish", "mac_greek": "Mac Greek",
}  # fmt: skip
TITLES |= _OLDER
#: Letters that stand in texts of any language.
_SIGNS_OF_UNITS = set("µªº")
#: The commonest letters of languages that are not written in Latin ones: two fifths of a text and more.
_COMMON = ("оеаинтсрвл", "оаінтиврес", "αοιετσνηυρά", "יוהלאמרתבשנ", "اليمونترهةب")
#: Share of signs that are none of a word from which a text is read wrongly, and how well it has to
#: be in another encoding.
_ODD, _GOOD = 0.03, 0.9
#: Signs that stand between letters, and such that never stand behind one.
_INNER, _OPENING = "’‘ʼ·\xad", "„‚‹"
_TYPOGRAPHIC = "‘’‚‹›“”„«»–—…\xa0·"
_LATIN = {"cp1250", "cp1252", "cp1254", "cp1257", "cp1258", "mac_roman"}
#: Letters of Western languages and the signs that word processors put in.
_WESTERN = re.compile("[À-ÖØ-öø-ÿŒœŸ‘’“”–—…€£§°«»©®™•´¡¿\xa0]*")
#: What switches a text of seven bits to Japanese letters.
_JAPANESE = (b"\x1b$B", b"\x1b$@")
#: With fewer bytes than this to go by, statistics tell nothing.
_ENOUGH = 16
#: Share of zeros from which a text may be of 16 bits a character.
_FEWEST_ZEROS = 0.02
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f]")
_HIGH_RUN = re.compile(rb"[\x80-\xff]+")


@dataclass(frozen=True)
class Encoding:
    """A codec of Python; `is_guessed` where nothing but the likelihood of the text speaks for it."""

    codec: str
    is_guessed: bool = False

    @property
    def title(self) -> str:
        """The name people know it by."""
        return TITLES[self.codec]


UTF8 = Encoding("utf-8")


def encoding_of(sample: bytes, *, is_json: bool = False) -> Encoding:
    """The encoding of a file from its beginning and, where that is ASCII, pieces of the rest.

    JSON is UTF-8 by its standard: bytes that are not, in a single line, are a fault of that line.
    """
    for mark, codec in _MARKS:
        if sample.startswith(mark):
            return Encoding(codec)
    if wide := _wide(sample[:4096]):
        return Encoding(wide)
    if any(mark in sample for mark in _JAPANESE) and sample.isascii():
        return Encoding("iso2022_jp")
    good, bad = _utf8_letters(sample)
    if bad == 0 or good >= bad or (is_json and _lines_in_error(sample) < 2):
        return UTF8
    found = _likeliest(sample)
    read = _Signs.of(_lines_beyond_ascii(sample, found))
    older = _older(sample, read) if read.oddity > _ODD else ""
    if not older and not read.letters.keys() - _SIGNS_OF_UNITS:
        older = "cp1252"  # what has no letters is of no alphabet
    found = older or found
    return Encoding(found, is_guessed=True)


def _wide(head: bytes) -> str:
    """UTF-16 or UTF-32 without a mark: ASCII characters leave zeros in a pattern."""
    head = head[: len(head) // 4 * 4]
    zeros = [head[place::4].count(0) * 4 / max(1, len(head)) for place in range(4)]
    if sum(zeros) < 4 * _FEWEST_ZEROS or (sum(zeros) < 1 and _is_clean(head.replace(b"\0", b""))):
        return ""
    if head.count(b"\n") > 1 and b"\n\0" not in head and b"\0\n" not in head:
        return ""  # lines that end as in bytes: the zeros are faults
    even, odd = zeros[0] + zeros[2], zeros[1] + zeros[3]
    order = ["utf-32-le", "utf-16-le"] if odd > even else ["utf-32-be", "utf-16-be"]
    for codec in order:
        try:
            text = codecs.getincrementaldecoder(codec)().decode(head)
        except UnicodeDecodeError:
            continue
        if not _CONTROLS.search(text):
            return codec
    return ""


def _is_clean(data: bytes) -> bool:
    """Whether bytes are UTF-8 with few control characters, so that zeros among them are a fault."""
    controls = len(_CONTROLS.findall(data.decode("utf-8", "replace")))
    return not _utf8_letters(data)[1] and controls * 10 < len(data)


def _utf8_letters(sample: bytes) -> tuple[int, int]:
    """How many runs of other bytes than ASCII are UTF-8, and how many are not.

    A character that the sample's end cuts off is neither.
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


def _lines_in_error(sample: bytes) -> int:
    count = 0
    # Where all rows stand on one line, each object is looked at.
    lines = sample.split(b"\n")[:-1] if b"\n" in sample.strip() else sample.split(b"}")
    for line in lines:
        if not line.isascii() and _utf8_letters(line + b"\n")[1]:
            count += 1
    return count


def _likeliest(sample: bytes) -> str:
    from charset_normalizer import from_bytes

    runs = _HIGH_RUN.findall(sample)
    if sum(map(len, runs)) < _ENOUGH and _is_western(runs):
        return _by_alphabet(sample) or "cp1252"
    found = [match.encoding for match in from_bytes(sample, cp_isolation=_CANDIDATES)]
    if not found:
        return "cp1252"
    if found[0] in _LATIN:
        return _by_alphabet(sample) or ("cp1252" if "cp1252" in found else found[0])
    return found[0]


def _lines_beyond_ascii(sample: bytes, codec: str) -> str:
    """The text of the lines that are not ASCII alone, a hundred thousand characters at most."""
    lines = (line for line in sample.splitlines() if not line.isascii())
    return b"\n".join(lines)[:100_000].decode(codec, "replace")


@dataclass(frozen=True)
class _Signs:
    """The signs beyond ASCII of a text: letters, all but quotes and dashes in their places, and those
    that stand where such signs do not."""

    letters: Counter[str]
    telling: int
    odd: int

    @classmethod
    def of(cls, text: str) -> _Signs:
        letters: Counter[str] = Counter()
        telling = odd = 0
        for before, sign, behind in zip(" " + text, text, text[1:] + " ", strict=False):
            if sign < "\x80":
                continue
            is_odd = _is_odd(before, sign, behind)
            odd += is_odd
            telling += is_odd or sign not in _TYPOGRAPHIC
            if sign.isalpha():
                letters[sign.lower()] += 1
        return cls(letters, telling, odd)

    @property
    def oddity(self) -> float:
        """The share of signs that are out of place."""
        return self.odd / max(1, self.telling)

    @property
    def likeness(self) -> float:
        """How well the signs fit one language, 0 to 1."""
        known = max(sum(map(self.letters.__getitem__, letters)) for _, letters in _ALPHABETS)
        common = max(sum(map(self.letters.__getitem__, letters)) for letters in _COMMON)
        return min(1.0, max(known, 2.5 * common) / max(1, self.telling))


def _is_odd(before: str, sign: str, behind: str) -> bool:
    """Whether a sign is out of place: none of a word inside of one, a capital behind a small letter,
    an accent without a letter."""
    if sign.isalpha():
        return before.islower() and sign.isupper()
    if unicodedata.category(sign) == "Mn":
        return not (before.isalpha() or unicodedata.category(before)[0] == "M")
    if sign in _OPENING:
        return before.isalpha()
    if "\x80" <= sign <= "\x9f" or sign == "\ufffd":
        return True
    # Scripts without blanks between words have their own signs between letters.
    is_inside = all(one.isalpha() and one < "\u2000" for one in (before, behind))
    return is_inside and sign not in _INNER


def _older(sample: bytes, read: _Signs) -> str:
    """The older encoding that gives words of one language, "" where none does better than `read`."""
    scores: dict[str, float] = {}
    for codec in _OLDER:
        text = _lines_beyond_ascii(sample, codec)
        signs = _Signs.of(text)
        if "\ufffd" not in text and signs.oddity <= _ODD / 2:
            scores[codec] = signs.likeness
    best = max(scores, key=lambda codec: scores[codec], default="")
    return best if best and scores[best] > max(_GOOD, read.likeness) else ""


def _by_alphabet(sample: bytes) -> str:
    """The encoding in which most letters are those of one language, "" for none; of several the first."""
    shares: dict[str, float] = {}
    for codec, alphabet in _ALPHABETS:
        letters = [
            sign
            for sign in sample.decode(codec, "ignore").lower()
            if sign > "\x7f" and sign.isalpha()
        ]
        known = sum(map(letters.count, alphabet))
        shares[codec] = max(shares.get(codec, 0.0), known / max(1, len(letters)))
    best = max(shares, key=lambda codec: shares[codec])
    return best if shares[best] > 0.95 else ""


def _is_western(runs: list[bytes]) -> bool:
    text = "".join(run.decode("cp1252", "replace") for run in runs)
    return all(len(run) < 3 for run in runs) and bool(_WESTERN.fullmatch(text))
