"""Convert HTML to plain text: blocks on lines of their own, lists with marks, code in backticks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxml.html import HtmlElement

#: Elements without text for readers.
HIDDEN = frozenset(("script", "style", "template", "noscript", "head", "svg", "iframe", "object"))
_BLOCKS = frozenset((
    "p", "div", "section", "article", "header", "footer", "main", "aside", "nav", "ul", "ol", "dl", "dt", "dd",
    "table", "tr", "blockquote", "pre", "h1", "h2", "h3", "h4", "h5", "h6", "figure", "form", "details",
    "summary", "li", "hr", "fieldset", "address", "body",
))  # fmt: skip
#: Blocks with an empty line around them.
_PARAGRAPHS = frozenset((
    "p", "pre", "blockquote", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "dl", "section", "article",
))  # fmt: skip
_TAG = re.compile(r"<[a-zA-Z/!][^>]*>|&(?:[a-zA-Z][a-zA-Z0-9]{1,31}|#\d{1,7}|#x[0-9a-fA-F]{1,6});")
_SPACES = re.compile(r"[^\S\n\u00a0]+|\u00a0")
_LINE_SPACES = re.compile(r" *\n *")
#: Ends of a line and of a paragraph, of which several after each other are one.
_LINE, PARAGRAPH = "\ue003", "\ue004"
_BREAKS = re.compile(rf"[ \n]*[{_LINE}{PARAGRAPH}][ \n{_LINE}{PARAGRAPH}]*")
#: The mark of a list's item whose text is in a block of its own.
_MARK = re.compile(r"^(-|\d+\.) ?\n+(?=\S)", re.MULTILINE)
_EMPTY_LINES = re.compile(r"\n{3,}")
#: Stands for white space in code, which stays.
_KEPT = {" ": "\ue000", "\n": "\ue001", "\t": "\ue002"}
_RESTORED = str.maketrans({mark: sign for sign, mark in _KEPT.items()})
_KEPT_SIGNS = str.maketrans(_KEPT)


def has_markup(text: str) -> bool:
    """Return whether a text contains tags or character references."""
    return bool(_TAG.search(text))


def parse_html(text: str) -> HtmlElement | None:
    """Return the root of a page, None for one without elements. It loads nothing, whatever it refers to."""
    from lxml import etree  # 0.2 s
    from lxml.html import HTMLParser, document_fromstring

    parser = HTMLParser(encoding="utf-8", no_network=True, huge_tree=False, remove_pis=True)
    try:
        return document_fromstring(text.encode("utf-8", "replace"), parser)
    except (etree.ParserError, ValueError):
        return None


def read_html(text: str) -> str:
    """Return the text of a fragment of HTML."""
    if not has_markup(text):
        return text.strip()
    root = parse_html(text)
    return "" if root is None else read_element(root)


def read_element(element: HtmlElement) -> str:
    """Return the text of an element and of all elements in it."""
    return clean("".join(iter_parts(element)))


def clean(text: str) -> str:
    """Return a text from parts of elements without the white space that only lays out its source."""
    text = _BREAKS.sub(lambda run: "\n\n" if PARAGRAPH in run[0] else "\n", _SPACES.sub(" ", text))
    text = _MARK.sub(r"\1 ", _LINE_SPACES.sub("\n", text))
    return _EMPTY_LINES.sub("\n\n", text).strip().translate(_RESTORED)


def iter_parts(element: HtmlElement) -> Iterator[str]:
    """Yield the pieces of text in an element, with line breaks around blocks; `clean` joins them.

    Without recursion: elements may be inside each other as deeply as the parser allows.
    """
    numbers: Counter[HtmlElement] = Counter()  # of the items so far in each ordered list
    stack: list[tuple[HtmlElement, bool, bool]] = [(element, True, False)]
    while stack:
        current, is_start, is_code = stack.pop()
        tag = current.tag if isinstance(current.tag, str) else ""
        if not is_start:
            yield _close(tag, is_code)
            if current is not element:
                yield _read_text(current.tail, is_code=is_code)
            continue
        if not tag or tag in HIDDEN:  # a comment
            if current is not element:
                yield _read_text(current.tail, is_code=is_code)
            continue
        if tag == "li" and (parent := current.getparent()) is not None and parent.tag == "ol":
            numbers[parent] += 1
            yield f"{_LINE}{numbers[parent]}. "
        else:
            yield _open(current, tag, is_code)
        stack.append((current, False, is_code))
        is_code = is_code or tag == "pre"
        yield _read_text(current.text, is_code=is_code)
        stack += [(child, True, is_code) for child in reversed(current)]


def _open(element: HtmlElement, tag: str, is_code: bool) -> str:
    if tag == "br":
        return _KEPT["\n"] if is_code else "\n"
    if tag == "pre":
        return f"{PARAGRAPH}```" + _KEPT["\n"]
    if tag == "code" and not is_code:
        return "`"
    if tag == "li":
        return f"{_LINE}- "
    if tag in ("td", "th") and element.getprevious() is not None:
        return " | "
    return PARAGRAPH if tag in _PARAGRAPHS else _LINE if tag in _BLOCKS else ""


def _close(tag: str, is_code: bool) -> str:
    if tag == "pre":
        return _KEPT["\n"] + f"```{PARAGRAPH}"
    if tag == "code" and not is_code:
        return "`"
    return PARAGRAPH if tag in _PARAGRAPHS else _LINE if tag in _BLOCKS else ""


def _read_text(text: str | None, *, is_code: bool) -> str:
    if not text:
        return ""
    return text.translate(_KEPT_SIGNS) if is_code else text.replace("\n", " ")
