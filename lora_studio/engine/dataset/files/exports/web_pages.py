"""Read web pages, and exports that consist of HTML: questions and answers where there are some, else text."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lora_studio.core.messages import Template, text
from lora_studio.core.tasks.samples import UnusableKind
from lora_studio.engine.dataset.files.blocks import SkipReason

if TYPE_CHECKING:
    from lxml.html import HtmlElement

OTHER_PARAGRAPHS: Template = "paragraphs that answer no question ({count})"
BOOSTS: Template = "posts of others that were shared ({count})"

_NO_ANSWER = SkipReason(text("the question has no answer"), UnusableKind.NO_ANSWER)
_OTHER_ACTIVITY = SkipReason(text("the activity is not a prompt with its answer"))
_NOT_ANSWERED = SkipReason(text("the prompt has no answer"), UnusableKind.NO_ANSWER)

#: A page of questions and answers, by its title in several languages.
_ABOUT_QUESTIONS = re.compile(
    r"\bF\.?A\.?Q\b|\bQ ?& ?A\b|questions|häufig|fragen|preguntas|domande|perguntas|vragen|vanliga frågor|spørgsmål|"
    r"spørsmål|kysymy|pytania|otázky|kérdés|întrebări|вопрос|питання|ερωτήσεις|sorular|أسئلة|الأسئلة|سوالات|प्रश्न|"
    r"よくある|質問|常见问题|常見問題|问答|자주|질문|câu hỏi|pertanyaan|คำถาม",
    re.IGNORECASE,
)
_QUESTION_MARK = re.compile(r"[?？؟;՞]\s*\Z")
_LEVELS = ("h1", "h2", "h3", "h4", "h5", "h6")
#: Parts of a page around its content.
_AROUND = ("nav", "footer", "aside", "form")
#: The most levels of JSON that are searched for questions.
_DEEPEST = 8
#: Bytes of the text of one row: a longer page is split at empty lines.
_LONGEST = 60_000

Row = dict[str, Any] | SkipReason


def read_page(page: str, left_out: Counter[Template]) -> Iterator[Row]:
    """Yield the questions and answers of a page, or its text."""
    root = parse_html(page)
    if root is None:
        return
    for find in (_find_structured, _find_details, _find_definitions, _find_headings):
        pairs = find(root)
        if len(pairs) < 2 and find is not _find_structured:
            continue
        if pairs:
            _count_others(root, pairs, left_out)
            for question, answer in pairs:
                is_whole = bool(question and answer)
                yield {"question": question, "answer": answer} if is_whole else _NO_ANSWER
            return
    for part in _split(read_element(root)):
        yield {"text": part}


def _split(whole: str, joint: str = "\n\n") -> Iterator[str]:
    """Yield a text in parts that end at empty lines, or at another joint."""
    part: list[str] = []
    size = 0
    for paragraph in whole.split(joint):
        if part and size + len(paragraph) > _LONGEST:
            yield joint.join(part)
            part, size = [], 0
        part.append(paragraph)
        size += len(paragraph) + len(joint)
    if any(paragraph.strip() for paragraph in part):
        yield joint.join(part)


def _count_others(
    root: HtmlElement, pairs: list[tuple[str, str]], left_out: Counter[Template]
) -> None:
    """Count the paragraphs of a page that are in no answer."""
    used = {line for pair in pairs for part in pair for line in _iter_plain_lines(part)}
    for element in root.iter("p"):
        lines = list(_iter_plain_lines(read_element(element)))
        left_out[OTHER_PARAGRAPHS] += bool(lines) and lines[0] not in used


def _iter_plain_lines(written: str) -> Iterator[str]:
    """Yield the lines of a text without the marks of lists."""
    for line in written.splitlines():
        if plain := re.sub(r"^(-|\d+\.) ", "", line.strip()):
            yield plain


# --- questions in a page --------------------------------------------------------------------------


def _find_structured(root: HtmlElement) -> list[tuple[str, str]]:
    """Return the questions that a page declares for search engines (schema.org's FAQPage, QAPage)."""
    pairs: list[tuple[str, str]] = []
    for script in root.iter("script"):
        if "ld+json" not in (script.get("type") or ""):
            continue
        try:
            pairs += _iter_declared(json.loads(script.text or "", strict=False))
        except (ValueError, RecursionError):
            continue
    for item in root.xpath("//*[contains(@itemtype, 'schema.org/Question')]"):
        name = item.xpath(".//*[@itemprop='name']")
        answer = item.xpath(".//*[@itemprop='acceptedAnswer']//*[@itemprop='text']")
        if name and answer:
            pairs.append((read_element(name[0]), read_element(answer[0])))
    return list(dict.fromkeys(pairs))


def _iter_declared(value: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    if depth > _DEEPEST:
        return
    if isinstance(value, list):
        for item in value:
            yield from _iter_declared(item, depth + 1)
    if not isinstance(value, dict):
        return
    kind = value.get("@type")
    if kind == "Question" or (isinstance(kind, list) and "Question" in kind):
        answer = value.get("acceptedAnswer") or value.get("suggestedAnswer")
        answer = answer[0] if isinstance(answer, list) and answer else answer
        answer = answer.get("text") if isinstance(answer, dict) else answer
        question = value.get("name") or value.get("text")
        if isinstance(question, str) and isinstance(answer, str):
            yield read_html(question), read_html(answer)
        return
    for name in ("mainEntity", "@graph", "hasPart", "itemListElement"):
        yield from _iter_declared(value.get(name), depth + 1)


def _find_details(root: HtmlElement) -> list[tuple[str, str]]:
    """Return the parts that a reader folds out: <details> with a <summary>."""
    pairs = []
    for details in root.iter("details"):
        summary = next((child for child in details if child.tag == "summary"), None)
        if summary is None:
            continue
        question = read_element(summary)
        details_text = [_to_line(summary.tail)]
        for sibling in summary.itersiblings():
            details_text += [*iter_parts(sibling), _to_line(sibling.tail)]
        pairs.append((question, clean("".join(details_text))))
    return pairs


def _find_definitions(root: HtmlElement) -> list[tuple[str, str]]:
    """Return the terms of lists of definitions that ask something, or that a page of questions has."""
    pairs: list[tuple[str, str]] = []
    for group in root.iter("dl"):
        question, answers = "", []
        for element in group.iter("dt", "dd"):
            if element.tag == "dd":
                answers.append(read_element(element))
                continue
            if answers or question:
                pairs.append((question, "\n\n".join(answers)))
            question, answers = read_element(element), []
        if question or answers:
            pairs.append((question, "\n\n".join(answers)))
    return pairs if _ask([question for question, _ in pairs], root) else []


def _find_headings(root: HtmlElement) -> list[tuple[str, str]]:
    """Return the headings that ask something, each with what follows it up to the next heading."""
    sections = [section for section in _iter_sections(root) if section[0]]
    for level in sorted({level for level, _, _ in sections}, key=_LEVELS.index):
        asked = [heading for one, heading, _ in sections if one == level]
        if len(asked) > 1 and _ask(asked, root):
            return _merge_sections(sections, level)
    return []


def _merge_sections(sections: list[tuple[str, str, str]], level: str) -> list[tuple[str, str]]:
    """Return the sections of a level; those of deeper levels belong to the one before them."""
    pairs: list[tuple[str, str]] = []
    is_inside = False
    is_marked = any(_QUESTION_MARK.search(heading) for one, heading, _ in sections if one == level)
    for one, heading, content in sections:
        if one == level and (_QUESTION_MARK.search(heading) or not is_marked):
            pairs.append((heading, content))
            is_inside = True
        elif _LEVELS.index(one) <= _LEVELS.index(level):
            is_inside = False
        elif is_inside:
            question, answer = pairs[-1]
            pairs[-1] = question, f"{answer}\n\n{heading}\n\n{content}".strip()
    return pairs


def _iter_sections(root: HtmlElement) -> Iterator[tuple[str, str, str]]:
    """Yield level, heading, and text of each section of a page; "" for what is before the first heading."""
    level, heading = "", ""
    parts: list[str] = []
    stack: list[tuple[HtmlElement, bool]] = [(root, True)]
    while stack:
        element, is_start = stack.pop()
        tag = element.tag if isinstance(element.tag, str) else ""
        if not is_start:
            parts += [PARAGRAPH, _to_line(element.tail)]
        elif tag in _LEVELS:
            yield level, heading, clean("".join(parts))
            level, heading, parts = tag, read_element(element), [_to_line(element.tail)]
        elif not tag or tag in HIDDEN or tag in _AROUND:
            parts.append(_to_line(element.tail))
        elif any(child.tag in _LEVELS for child in element.iterdescendants()):
            parts.append(_to_line(element.text))
            stack.append((element, False))
            stack += [(child, True) for child in reversed(element)]
        else:
            parts += [*iter_parts(element), _to_line(element.tail)]
    yield level, heading, clean("".join(parts))


def _to_line(value: str | None) -> str:
    return (value or "").replace("\n", " ")


def _ask(headings: list[str], root: HtmlElement) -> bool:
    """Return whether headings are questions, by their marks or by the title of the page."""
    asking = sum(bool(_QUESTION_MARK.search(heading)) for heading in headings)
    if len(headings) > 1 and 2 * asking >= len(headings):
        return True
    titles = [read_html(element.text_content()) for element in root.iter("title", "h1")]
    is_about = any(_ABOUT_QUESTIONS.search(title) for title in titles)
    return is_about and len(headings) > 1


# --- Gemini ---------------------------------------------------------------------------------------

#: What precedes a prompt in Google's record of activities; in other languages, it is what all titles begin with.
_PROMPTED = re.compile(
    r"(?:Prompted|Asked|Said|Eingegebener Prompt:|Prompt eingegeben:|Gefragt:|Requête envoyée\s?:|Has introducido|"
    r"Prompt inserito:)\s+"
)
_TIME_LINE = re.compile(r"(?=.*\b(?:19|20)\d{2}\b|.*\d{4}年).*\b\d{1,2}[:.]\d{2}")


def read_gemini(items: Any) -> Iterator[Row]:
    """Yield the prompts with their answers from the activities that Google Takeout exports as JSON."""
    activities = (
        [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    )
    answered = [one for one in activities if _read_answer(one)]
    opening = _find_common_opening([str(one.get("title", "")) for one in answered])
    for activity in activities:
        answer, title = _read_answer(activity), activity.get("title")
        if not isinstance(title, str):
            yield _OTHER_ACTIVITY
        elif not answer:
            yield _NOT_ANSWERED if _PROMPTED.match(title) else _OTHER_ACTIVITY
        else:
            yield {"prompt": _strip_opening(title, opening), "response": answer} | (
                {"time": activity["time"]} if isinstance(activity.get("time"), str) else {}
            )


def _read_answer(activity: dict[str, Any]) -> str:
    parts = activity.get("safeHtmlItem")
    htmls = (
        [part.get("html") for part in parts if isinstance(part, dict)]
        if isinstance(parts, list)
        else []
    )
    return "\n\n".join(read_html(html) for html in htmls if isinstance(html, str)).strip()


def _find_common_opening(titles: list[str]) -> str:
    """Return what all titles begin with, up to a blank: the word for “Prompted” in any language."""
    if len(titles) < 3 or any(_PROMPTED.match(title) for title in titles):
        return ""
    shortest, longest = min(titles), max(titles)
    common = next(
        (
            count
            for count, (one, other) in enumerate(zip(shortest, longest, strict=False))
            if one != other
        ),
        len(shortest),
    )
    return shortest[: max(shortest[:common].rfind(" "), shortest[:common].rfind("\u00a0")) + 1]


def _strip_opening(title: str, opening: str) -> str:
    match = _PROMPTED.match(title)
    return (title[match.end() :] if match else title.removeprefix(opening)).strip()


def read_gemini_page(page: str) -> Iterator[Row]:
    """Yield the prompts with their answers from the activities that Google Takeout exports as a page."""
    root = parse_html(page)
    cells = [] if root is None else root.xpath("//div[contains(@class, 'outer-cell')]")
    entries = [_read_entry(cell) for cell in cells]
    opening = _find_common_opening([title for title, answer in entries if answer])
    for title, answer in entries:
        if answer:
            yield {"prompt": _strip_opening(title, opening), "response": answer}
        else:
            yield _NOT_ANSWERED if _PROMPTED.match(title) else _OTHER_ACTIVITY


def _read_entry(cell: HtmlElement) -> tuple[str, str]:
    """Return what an activity says before its time, and after it."""
    contents = cell.xpath(".//div[contains(@class, 'content-cell') and contains(@class, 'body-1')]")
    if not contents:
        return "", ""
    title: list[str] = []
    answer: list[str] = []
    is_after = False
    content = contents[0]
    pieces: list[tuple[str, HtmlElement | None]] = [(_to_line(content.text), None)]
    for child in content:
        pieces += [("", child), (_to_line(child.tail), None)]
    for written, element in pieces:
        if not is_after and written.strip() and _TIME_LINE.match(written.strip()):
            is_after = True
            continue
        (answer if is_after else title).extend(
            [written] if element is None else iter_parts(element)
        )
    return clean("".join(title)), clean("".join(answer))


# --- posts ----------------------------------------------------------------------------------------


def read_mastodon(document: Any, left_out: Counter[Template]) -> Iterator[Row]:
    """Yield the posts of a Mastodon account."""
    items = document.get("orderedItems") if isinstance(document, dict) else None
    for item in items if isinstance(items, list) else []:
        post = item.get("object") if isinstance(item, dict) else None
        if not isinstance(post, dict) or not isinstance(post.get("content"), str):
            left_out[BOOSTS] += 1
            continue
        yield {"text": read_html(post["content"])}


def read_tweets(items: Any, left_out: Counter[Template]) -> Iterator[Row]:
    """Yield the posts of an account on X (Twitter)."""
    for item in items if isinstance(items, list) else []:
        tweet = item.get("tweet", item) if isinstance(item, dict) else {}
        content = tweet.get("full_text") or tweet.get("text")
        if not isinstance(content, str) or content.startswith("RT @"):
            left_out[BOOSTS] += 1
            continue
        yield {"text": read_html(content) if "&" in content else content}


# --- subtitles ------------------------------------------------------------------------------------

SUBTITLE_TIME = re.compile(
    r"^(?:\d{1,3}:)?\d{1,2}:\d{2}[.,]\d{1,3} *--> *(?:\d{1,3}:)?\d{1,2}:\d{2}[.,]\d{1,3}.*$",
    re.MULTILINE,
)
_CUE_MARK = re.compile(r"</?[a-zA-Z][^<>\n]{0,80}>|\{\\[^{}\n]{1,40}\}|<\d[\d:.]{4,12}>")
TIMES: Template = "times of subtitles ({count})"


def read_subtitles(content: str, left_out: Counter[Template]) -> Iterator[Row]:
    """Yield the text of subtitles (SRT, WebVTT) without numbers, times, and marks."""
    lines: list[str] = []
    for block in re.split(r"\n\s*\n", content.replace("\r\n", "\n")):
        time = SUBTITLE_TIME.search(block)
        if time is None:
            continue  # the head of WebVTT, its notes and styles
        left_out[TIMES] += 1
        for line in _CUE_MARK.sub("", block[time.end() :]).splitlines():
            if (line := line.strip()) and line not in lines[
                -2:
            ]:  # automatic ones repeat the last line
                lines.append(line)
    for part in _split("\n".join(lines), "\n"):
        yield {"text": part}


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
