"""Images, audio, and video in rows: where they are, and the rows without them.

LoRA Studio trains on text. A row contains media if a column that is named after them holds some, if a turn
has a part that is one, or if a text has a placeholder for one, such as `<image>`. Such a row is skipped
unless the user chooses to train on its text alone (`remove_media`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lora_studio.core.dataset.formats.values import is_blank, normalize_name, parse_literal

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
