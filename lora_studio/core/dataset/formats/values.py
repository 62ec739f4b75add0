"""Values of a row: which ones count as missing, how others become text, and which answer they prefer.

- `null`, NaN, and absent columns are missing.
- Text is unchanged, character for character. Numbers and booleans are written as in JSON (`3`,
`0.5`, `true`), lists and objects as JSON text.
- Of several answers, the first counts. The text of an object such as SQuAD's `{"text": ["Paris"],
"answer_start": [7]}` is its `text`.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lora_studio.core import limits
from lora_studio.core.tasks.samples import UnusableKind, UnusableRow

_TEXT_FIELDS = ("text", "answer", "content", "value", "response", "output", "full_text", "spans")
_PASSAGES = ("contexts", "sentences", "passages", "paragraphs", "passage_text", "text", "full_text")
_NUMPY_ITEMS = re.compile(r"\}\s*\n\s*\{")


@functools.lru_cache(maxsize=4096)
def normalize_name(name: str) -> str:
    """Return a column name for comparisons: letters and digits only, lower case."""
    return re.sub(r"[\W_]+", "", name).casefold()


def is_missing(value: Any) -> bool:
    """Return whether a value is null or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_blank(value: Any) -> bool:
    """Return whether a value is empty: missing, only blanks, an empty list, or an empty object."""
    if isinstance(value, str):
        return not value.strip()
    return is_missing(value) or (isinstance(value, list | tuple | dict) and not value)


def to_text(value: Any) -> str:
    """Return a value as text, empty for a missing one; raises UnusableRow.

    A lone surrogate (half a character, from a broken escape) is refused: tokenizers can't encode
    it.
    """
    if isinstance(value, str):
        return require_valid_text(value)
    return "" if is_missing(value) else require_valid_text(to_json(value))


def to_answer(value: Any) -> str:
    """Return the text of an answer, the first of several, "" if there is none; raises UnusableRow."""
    if isinstance(value, list | tuple):
        if not value:
            return ""
        answers = [item for item in value if not is_blank(item)]
        if answers and all(isinstance(item, str) for item in answers):
            return to_text(answers[0])
        if answers and all(_find_text_field(item) for item in answers):
            return to_answer(answers[0])
    if field := _find_text_field(value):
        return to_answer(value[field])
    return to_text(value)


def join_passages(value: Any) -> Any:
    """Return the text of passages; raises UnusableRow.

    Accepts a list of texts or of titles with sentences, or an object that has these under a usual
    name; returns anything else unchanged.
    """
    if isinstance(value, dict):
        titles = value.get("title")
        passages = next((value[name] for name in _PASSAGES if not is_blank(value.get(name))), None)
        if isinstance(titles, list) and isinstance(passages, list) and len(titles) == len(passages):
            passages = [list(item) for item in zip(titles, passages, strict=True)]
        return value if passages is None else join_passages(passages)
    if not isinstance(value, list | tuple) or not value:
        return value
    texts = [_read_passage(item) for item in value]
    return value if None in texts else "\n\n".join(text for text in texts if text and text.strip())


def _read_passage(item: Any) -> str | None:
    """Return one passage: a text, its sentences, or its title with these; None for anything else."""
    if isinstance(item, str):
        return require_valid_text(item)
    if has_text(item):
        return to_answer(item)
    if not isinstance(item, list | tuple) or not item:
        return None
    if all(isinstance(part, str) for part in item):
        return require_valid_text("".join(item))
    title, *rest = item
    text = _read_passage(rest[0]) if isinstance(title, str) and len(rest) == 1 else None
    return None if text is None else f"{require_valid_text(title)}\n{text}"


def require_valid_text(text: str) -> str:
    """Return the text unchanged; raises UnusableRow for a lone surrogate."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UnusableRow("the text contains an incomplete character (a lone surrogate)") from None
    return text


def is_writable(name: str) -> bool:
    """Return whether a name is valid text without lone surrogates."""
    return name.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in name)


def to_json(value: Any) -> str:
    """Return a value as single-line JSON with non-ASCII characters unescaped; raises UnusableRow."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        raise UnusableRow("a value can't be written as text") from None


def parse_literal(value: Any) -> Any:
    """Return the list or object that a text spells out as JSON or Python, else the value itself.

    CSV files have no other way to store a list.
    """
    if not isinstance(value, str):
        return value
    start = value.lstrip()[:1]
    if start not in ("[", "{") or len(value) > limits.LITERAL:
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass
    # NumPy prints lists without commas, and writes line ends in texts as \n.
    spelt = _NUMPY_ITEMS.sub("}, {", value.strip())
    try:
        return ast.literal_eval(spelt)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return value


def drop_nulls(value: Any) -> Any:
    """Return the value without null fields: columnar files give every object every field."""
    if isinstance(value, dict):
        return {str(key): drop_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [drop_nulls(item) for item in value]
    return value


def parse_label(value: Any) -> bool | None:
    """Return whether a label means good (True) or bad (False); None if it is neither."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return True if value == 1 else False if value in (0, -1) else None
    if isinstance(value, str) and len(value) < _LONGEST_LABEL:
        word = re.sub(r"[\s_]+|(?<=\w)-(?=\w)", " ", value.strip().casefold().rstrip("\ufe0f"))
        return True if word in _GOOD else False if word in _BAD else None
    return None


#: The length from which a text is not a label.
_LONGEST_LABEL = 40
_GOOD = frozenset(
    (
        "true", "1", "1.0", "yes", "y", "good", "up", "thumbs up", "thumbsup", "+1", "positive",
        "desirable", "chosen", "like", "liked", "accept", "accepted", "correct", "👍", "+", "right",
        "upvote", "upvoted", "helpful", "useful", "approve", "approved", "pass", "passed", "success", "satisfied",
        "valid", "ok", "acceptable", "preferred", "great", "excellent", "gut", "richtig", "ja", "hilfreich",
    )
)  # fmt: skip
_BAD = frozenset(
    (
        "false", "0", "0.0", "no", "n", "bad", "down", "thumbs down", "thumbsdown", "-1",
        "negative", "undesirable", "rejected", "dislike", "disliked", "reject", "incorrect", "wrong",
        "👎", "-", "downvote", "downvoted", "unhelpful", "not helpful", "useless", "disapprove", "disapproved",
        "fail", "failed", "failure", "unsatisfied", "dissatisfied", "invalid", "unacceptable", "poor",
        "terrible", "schlecht", "falsch", "nein", "nicht hilfreich",
    )
)  # fmt: skip


def has_text(value: Any) -> bool:
    """Return whether a value is an object with a text under a usual name."""
    return _find_text_field(value) is not None


def _find_text_field(value: Any) -> str | None:
    """Return the name under which an object has its text; None for anything else."""
    if not isinstance(value, dict):
        return None
    return next((name for name in _TEXT_FIELDS if value.get(name) is not None), None)


# --- which of several answers is better: by a column that says so, by ranks, or by scores ---------

_TIES = frozenset(
    ("tie", "ties", "tied", "tiebothbad", "bothbad", "both", "neither", "equal", "same", "none")
)
_NUMBER = r"([-+]?[\d.]+(?:e[-+]?\d+)?|true|false)"
_COMPARISON = re.compile(rf"\s*{_NUMBER}\s*>\s*{_NUMBER}\s*")
_SIDES = {"left": "a", "right": "b", "first": "a", "second": "b"}
_SIDE_NAME = r"(?:model|response|answer|output|completion|assistant|candidate)[\s_-]?"
_LETTER = re.compile(rf"(?:{_SIDE_NAME})?([ab])|{_SIDE_NAME}([12])")

#: Fields that rank an answer in a list: 1 is the best, or the highest value is.
_RANKS = ("rank", "ranking")
_RATED = ("overall_score", "pm_score", "score", "rating", "reward")

#: Why two answers do not form a pair.
_NO_PREFERENCE = "no preferred response"


def is_tie(word: str) -> bool:
    """Return whether a word says that both answers are equally good."""
    return normalize_name(word) in _TIES


def parse_side(word: str) -> str:
    """Return the side that a word names, a or b; "" for neither. Left is a."""
    word = word.strip().casefold()
    match = _LETTER.fullmatch(word)
    if match:
        return match[1] or {"1": "a", "2": "b"}[match[2]]
    return _SIDES.get(word, "")


def read_label(value: Any) -> bool | None:
    """Return whether a label means good (True) or bad (False); None if it is neither.

    It may compare a score with a limit: `4 > 2.5`.
    """
    compared = _COMPARISON.fullmatch(value) if isinstance(value, str) else None
    if compared is None:
        return parse_label(value)
    try:
        one, other = (_read_operand(side) for side in compared.groups())
    except UnusableRow:
        return None
    return one > other


def is_first_better(value: Any) -> bool:
    """Return whether a preference names the first answer; raises UnusableRow.

    True, 1 and a mean the first; false, 0, 2 and b the second. `3 > 2` compares scores.
    """
    text = to_text(value).strip().casefold()
    if compared := _COMPARISON.fullmatch(text):
        one, other = (_read_operand(side) for side in compared.groups())
        if one == other:
            raise UnusableRow(_NO_PREFERENCE, UnusableKind.NO_PREFERENCE)
        return one > other
    if not text or is_tie(text):
        raise UnusableRow(_NO_PREFERENCE, UnusableKind.NO_PREFERENCE)
    if text in ("1", "1.0", "2", "2.0"):
        return text.startswith("1")
    if letter := parse_side(text):
        return letter == "a"
    if (truth := parse_label(value)) is None:
        raise UnusableRow("the row doesn't say which response is preferred")
    return truth


def _read_operand(text: str) -> float:
    """Return the number on one side of a comparison; raises UnusableRow for anything else, such as
    "1.2.3".
    """
    try:
        return float({"true": "1", "false": "0"}.get(text, text))
    except ValueError:
        raise UnusableRow(_NO_PREFERENCE, UnusableKind.NO_PREFERENCE) from None


def is_ranked_list(value: Any) -> bool:
    """Return whether a value is a list of answers with a rank or a score each."""
    value = list_answers(value)
    return (
        isinstance(value, list)
        and len(value) > 1
        and all(isinstance(item, dict) and _read_score(item) is not None for item in value)
        and all(map(has_text, value))
    )


def list_answers(value: Any) -> Any:
    """Return answers in parallel lists, {"text": […], "score": […]}, as a list; others unchanged."""
    if not isinstance(value, dict) or not value:
        return value
    lists = list(value.values())
    if not all(isinstance(item, list) for item in lists) or len(set(map(len, lists))) != 1:
        return value
    return [dict(zip(value, items, strict=True)) for items in zip(*lists, strict=True)]


def is_pair(value: Any) -> bool:
    """Return whether a value is two different answers."""
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(isinstance(text, str) and text.strip() for text in value)
        and value[0] != value[1]
    )


def pick_best_and_worst(answers: list[Any]) -> tuple[str, str]:
    """Return the best and the worst answer by ranks or scores; raises UnusableRow."""
    rated = [(score, item) for item in answers if (score := _read_score(item)) is not None]
    best = max(rated, key=lambda entry: entry[0], default=None)
    worst = min(rated, key=lambda entry: entry[0], default=None)
    if best is None or worst is None or best[0] == worst[0]:
        raise UnusableRow(_NO_PREFERENCE, UnusableKind.NO_PREFERENCE)
    return to_answer(best[1]), to_answer(worst[1])


def pick_by_ratings(answers: Sequence[str], ratings: Any) -> tuple[str, str]:
    """Return the best and the worst answer by the ratings in another column; raises UnusableRow.

    Of two answers, the ratings may also be the position of the better one, from 0.
    """
    if len(answers) == 2 and (position := parse_number(ratings)) in (0, 1):
        return answers[int(position or 0)], answers[1 - int(position or 0)]
    if not isinstance(ratings, list | tuple) or len(ratings) != len(answers):
        raise UnusableRow("the number of ratings differs from the number of answers")
    rated = zip(answers, ratings, strict=True)
    return pick_best_and_worst([{"text": text, "score": rating} for text, rating in rated])


def read_rank(item: Mapping[str, Any]) -> float | None:
    """Return the rank of an answer among the replies to a turn, the best lowest; None without a
    rank.
    """
    return parse_number(item.get("rank"))


def _read_score(item: dict[str, Any]) -> float | None:
    """Return the score of an answer, higher is better; None if it has no score."""
    for names, sign in ((_RANKS, -1.0), (_RATED, 1.0)):
        for name in names:
            if (value := parse_number(item.get(name))) is not None:
                return sign * value
    about = item.get("annotations")
    rated = (
        [one.get("Rating") for one in about.values() if isinstance(one, dict)]
        if isinstance(about, dict)
        else []
    )
    ratings = [value for one in rated if (value := parse_number(one)) is not None]
    return sum(ratings) / len(ratings) if ratings else None


def parse_number(value: Any) -> float | None:
    """Return a number, which may be written as text; None for anything else."""
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,3}(\.\d{1,9})?", value):
        return float(value)
    if not isinstance(value, int | float) or isinstance(value, bool) or is_missing(value):
        return None
    with contextlib.suppress(OverflowError):  # JSON has integers of any length
        return float(value)
    return None


# Images, audio, and video in rows: where they are, and the rows without them.
#
# LoRA Studio trains on text. A row contains media if a column that is named after them holds some, if a turn
# has a part that is one, or if a text has a placeholder for one, such as `<image>`. Such a row is skipped
# unless the user chooses to train on its text alone (`remove_media`).

#: Columns that hold media if their values look like media.
MEDIA_KEYS = frozenset(
    ("image", "images", "img", "picture", "pixelvalues", "audio", "audios", "video", "videos")
)
#: Words in the type of a part that say that it is not text: `image_url`, `input_audio`, `file`.
_PART_TYPE = re.compile(r"(?:^|_)(?:image|audio|video|file)")
#: Fields of a part without a type that hold media in other APIs.
_PART_FIELDS = (
    "image", "image_url", "audio", "video", "inlineData", "inline_data", "fileData", "file_data",
)  # fmt: skip

#: The beginnings of PNG, JPEG, GIF, and WebP or WAV files in Base64.
_BASE64 = ("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR")
#: Names of columns that refer to media by an ID, a path, or an address.
_MEDIA_NAME = re.compile(
    r"(image|img|picture|photo|figure|screenshot|video|audio|media|bild|bilder|foto|imagen|imagene|imágene|immagine"
    r"|immagini|imagem|kuva|изображени[ея]|картинка|图片|图像|画像|이미지)s?"
    r"(ids?|paths?|urls?|uris?|files?|filenames?|names?|links?|src|b64|base64|bytes|data)?"
)
_MEDIA_FILE = re.compile(
    r"(?i)\.(jpe?g|png|gif|webp|bmp|tiff?|svg|wav|mp3|flac|ogg|m4a|mp4|mov|avi|mkv|webm)([?#]|\Z)"
)

#: In HTML, SVG and RSS these are tags; a text about HTML quotes them or mentions a tag or element.
_TAG = re.compile(
    r"(?<![`'\"“‘])<(image|video|audio)>(?:(?P<empty>(?:\./)?</\1>)|(?![`'\"”’]| (?:tag|element)))"
)
_MARK = re.compile(
    r"<img>[^<>\n]{0,300}</img>"
    r"|<start_of_image>|<(?:image|video|audio)(?:[_ -]?\d{1,3}|_(?:placeholder|pad|token|here))>|<ImageHere>"
    r"|<\|(?:vision_start|image_pad|video_pad|audio_bos|image(?:_\d{1,2})?|vision_end|audio_eos|AUDIO)\|>"
)
_MAY_BE = re.compile(
    r"<(?:start_of_im|im(?:age|g)|video|audio|ImageHere|\|(?:vision|image|video|audio|AUDIO))"
)


# --- placeholders in texts --------------------------------------------------------------------


def find_media_mark(text: str) -> str:
    """Return the first placeholder for an image, video, or audio in a text; "" if it has none."""
    return next((text[begin:end] for begin, end in _iter_marks(text)), "")


def _iter_marks(text: str) -> Iterator[tuple[int, int]]:
    if not _MAY_BE.search(text):  # a fast filter
        return
    yield from (match.span() for match in _MARK.finditer(text))
    ends: dict[str, int] = {}  # position of the last end tag with this name
    for tag in _TAG.finditer(text):
        name = tag[1]
        if name not in ends:
            ends[name] = text.rfind(f"</{name}>")
        if tag["empty"] or ends[name] < tag.end():
            yield tag.span()


def _remove_marks(text: str) -> str:
    """Return a text without its placeholders and the blanks after them."""
    for begin, end in sorted(_iter_marks(text), reverse=True):
        text = text[:begin] + (text[end:] if text[:begin].strip() else text[end:].lstrip())
    return text


# --- values -----------------------------------------------------------------------------------


def is_media_name(key: str) -> bool:
    """Return whether a column with this normalized name refers to images, audio, or video."""
    return bool(_MEDIA_NAME.fullmatch(key))


def names_media_file(value: Any) -> bool:
    """Return whether a text is the path or address of an image, a recording, or a video, or one in Base64."""
    if not isinstance(value, str) or not value or any(sign.isspace() for sign in value[:300]):
        return False
    encoded = len(value) > 200 and value.startswith(_BASE64)
    return encoded or value.startswith("data:image/") or bool(_MEDIA_FILE.search(value[-300:]))


def is_media(value: Any) -> bool:
    """Return whether a value is an image, audio, or video: its bytes, its path, or a list of these."""
    pending = [value]
    while pending:  # iterative: a row may be nested more deeply than Python's recursion limit
        item = pending.pop()
        if isinstance(item, list | tuple):
            pending += item
        elif _is_medium(item):
            return True
    return False


def _is_medium(value: Any) -> bool:
    if isinstance(value, str):
        starts = ("data:", "http://", "https://", *_BASE64)
        return value.startswith(starts) or bool(_MEDIA_FILE.search(value[-300:]))
    if isinstance(value, dict):
        return any(value.get(field) is not None for field in ("bytes", "path", "url", "array"))
    return isinstance(value, bytes)


def is_media_column(key: str, value: Any) -> bool:
    """Return whether a column with this normalized name holds media, or names the file that does."""
    if key in MEDIA_KEYS:
        return is_media(value)
    if isinstance(value, str):
        return names_media_file(value) and (key == "filename" or is_media_name(key))
    return is_media_name(key) and is_media(value)


def is_media_part(part: Any) -> bool:
    """Return whether a part of a turn is an image, audio, video, or file."""
    if not isinstance(part, dict):
        return False
    kind = part.get("type")
    if isinstance(kind, str):
        return bool(_PART_TYPE.search(kind))
    return len(part) <= 2 and any(part.get(field) is not None for field in _PART_FIELDS)


# --- rows -------------------------------------------------------------------------------------


def strip_media(value: Any, *, is_row: bool = True) -> Any:
    """Return a row without its media: their columns, parts, and placeholders. Raises RecursionError."""
    if isinstance(value, str):
        spelled = parse_literal(value)  # turns in a cell of a table
        stripped = value if spelled is value else strip_media(spelled, is_row=False)
        return stripped if stripped not in (value, spelled) else _remove_marks(value)
    if isinstance(value, list | tuple):
        return [strip_media(item, is_row=False) for item in value if not is_media_part(item)]
    if not isinstance(value, dict):
        return value
    return {
        name: strip_media(item, is_row=False)
        for name, item in value.items()
        if not (is_row and is_media_column(normalize_name(str(name)), item))
    }


# --- references -------------------------------------------------------------------------------

#: Images inside a text, as Markdown, HTML, or data.
_EMBEDDED = re.compile(r"!\[[^\]\n]{0,200}\]\([^)\s]|<img\s|data:image/")
#: The most rows to look at, characters of a text, and values of a row.
_LOOKED_AT, _CHARACTERS, _VALUES = 100, 20_000, 200
#: The share of rows with a reference from which a warning is shown; a few rows can be exceptions.
_SHARE = 0.1


def find_media_references(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the paths of values that refer to media, such as `meta.media.url`, with their shares of rows.

    Values that fewer than a tenth of the rows have are not returned.
    """
    sample = rows[:: max(1, len(rows) // _LOOKED_AT)]
    counts: dict[str, int] = {}
    for row in sample:
        for path in {path for path, name, value in _iter_values(row) if _is_reference(name, value)}:
            counts[path] = counts.get(path, 0) + 1
    shares = {path: count / len(sample) for path, count in sorted(counts.items())}
    return {path: share for path, share in shares.items() if share >= _SHARE}


def _is_reference(name: str, value: Any) -> bool:
    if isinstance(value, bool) or is_blank(value):
        return False
    is_named = is_media_name(normalize_name(name))
    if isinstance(value, str):
        is_named = is_named and not any(sign.isspace() for sign in value.strip())
        return is_named or names_media_file(value) or bool(_EMBEDDED.search(value[:_CHARACTERS]))
    return isinstance(value, int | bytes) and is_named


def _iter_values(row: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield path, name, and value of the simple values of a row; list items have the path of their list."""
    pending: list[tuple[str, str, Any]] = [(str(name), str(name), row[name]) for name in row]
    for _ in range(_VALUES):
        if not pending:
            return
        path, name, value = pending.pop()
        if isinstance(value, dict):
            pending += [(f"{path}.{key}", str(key), inner) for key, inner in value.items()]
        elif isinstance(value, list | tuple):
            pending += [(path, name, inner) for inner in value[:_VALUES]]
        else:
            yield path, name, value
