"""Placeholders for images, video, and audio in texts, such as `<image>`."""

from __future__ import annotations

import re

#: In HTML, SVG and RSS these are tags; a text about HTML quotes them or mentions a tag or element.
_TAG = re.compile(
    r"(?<![`'\"“‘])<(image|video|audio)>(?:(?P<empty>(?:\./)?</\1>)|(?![`'\"”’]| (?:tag|element)))"
)
_MARK = re.compile(
    r"<img>[^<>\n]{0,300}</img>"
    r"|<(?:image|video|audio)(?:[_ -]?\d{1,3}|_(?:placeholder|pad|token|here))>|<ImageHere>"
)
_MAY_BE = re.compile(r"<(?:im(?:age|g)|video|audio|ImageHere)")


def find_media_mark(text: str) -> str:
    """Return the first placeholder for an image, video, or audio in a text; "" if it has none."""
    if not _MAY_BE.search(text):  # a fast filter
        return ""
    if match := _MARK.search(text):
        return match[0]
    ends: dict[str, int] = {}  # position of the last end tag with this name
    for tag in _TAG.finditer(text):
        name = tag[1]
        if name not in ends:
            ends[name] = text.rfind(f"</{name}>")
        if tag["empty"] or ends[name] < tag.end():
            return tag[0]
    return ""
