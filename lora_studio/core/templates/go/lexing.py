"""Split the source of a Go template into tokens."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from lora_studio.core.templates.go.tree import GoTemplateError

SPACES = " \t\r\n"


_TOKENS = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<declare>:=) | (?P<assign>=) | (?P<pipe>\|) | (?P<comma>,) | (?P<open>\() | (?P<close>\))
      | (?P<string>"(?:\\[^\n]|[^"\\\n])*")
      | (?P<raw>`[^`]*`)
      | (?P<char>'(?:\\[^\n]|[^'\\\n])*')
      | (?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[bBoO][0-9_]+|(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9_]+)?)(?![^\W]))
      | (?P<variable>\$\w*)
      | (?P<field>\.[^\W\d]\w*)
      | (?P<dot>\.)
      | (?P<word>\w+)""",
    re.VERBOSE,
)
_TERMINATED = frozenset(["field", "variable", "word", "dot"])


@dataclass(frozen=True, slots=True)
class GoToken:
    """One lexical item; kinds are the group names above plus text, end_action and end_of_file."""

    kind: str
    text: str
    position: int


def lex(source: str) -> Iterator[GoToken]:
    """Yield the tokens of `source`, without comments and trimmed white space."""
    at = 0
    trim_next = False
    while True:
        start = source.find("{{", at)
        text = source[at:] if start < 0 else source[at:start]
        text_at = at
        if trim_next:
            text = text.lstrip(SPACES)
        if start < 0:
            if text:
                yield GoToken("text", text, text_at)
            yield GoToken("end_of_file", "", len(source))
            return
        at = start + 2
        if source[at : at + 1] == "-" and source[at + 1 : at + 2] in tuple(SPACES):
            text = text.rstrip(SPACES)
            at += 2
        if text:
            yield GoToken("text", text, text_at)
        if source.startswith("/*", at):
            at, trim_next = _skip_comment(source, at)
            continue
        at, trim_next = yield from _lex_action(source, at)


def _skip_comment(source: str, at: int) -> tuple[int, bool]:
    end = source.find("*/", at + 2)
    if end < 0:
        raise GoTemplateError("unclosed comment", source, at)
    closing = _at_right_delimiter(source, end + 2)
    if closing is None:
        raise GoTemplateError("comment ends before the closing }}", source, at)
    return closing


def _at_right_delimiter(source: str, at: int) -> tuple[int, bool] | None:
    if source.startswith("}}", at):
        return at + 2, False
    if source[at : at + 1] in tuple(SPACES) and source.startswith("-}}", at + 1):
        return at + 4, True
    return None


def _lex_action(source: str, at: int) -> Generator[GoToken, None, tuple[int, bool]]:
    opened, depth = at, 0
    while (closing := _at_right_delimiter(source, at)) is None:
        if at >= len(source):
            raise GoTemplateError("unclosed action", source, opened)
        match = _TOKENS.match(source, at)
        if match is None or match.lastgroup is None:
            raise GoTemplateError(f"unexpected {source[at]!r} in action", source, at)
        kind, text = match.lastgroup, match.group()
        if kind == "space" and source.startswith("-}}", match.end()):
            text = text[:-1]  # the last space is part of the trim marker
        at += len(text)
        depth += (kind == "open") - (kind == "close")
        if depth < 0:
            raise GoTemplateError("unexpected right paren", source, match.start())
        if kind in _TERMINATED and not _terminated(source, at):
            raise GoTemplateError(f"bad character {source[at]!r}", source, at)
        yield GoToken(kind, text, match.start())
    if depth:
        raise GoTemplateError("unclosed left paren", source, at)
    yield GoToken("end_action", "}}", at)
    return closing


def _terminated(source: str, at: int) -> bool:
    return at >= len(source) or source[at] in SPACES + ".,|:()" or source.startswith("}}", at)
