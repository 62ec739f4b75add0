"""Damage valid content: its bytes, its text, and the values of its structure."""

from __future__ import annotations

import json
import math
import random
import struct
from collections.abc import Callable, Sequence
from typing import Any

#: Pieces of text that readers stumble over.
PIECES: tuple[bytes, ...] = (
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"'", b"{", b"}", b"[", b"]", b"<", b">", b",", b":", b"=",
    b"\r", b"\n", b"\t", b"\\", b"//", b"/*", b"#", b"NaN", b"Infinity", b"-", b"1e999", b"9" * 400,
    b"\\ud800", b"\\u0000", b"\xc3\x28", b"\xe2\x80\x8b", b"\xe2\x80\xa8", b"\x1b[31m", b"\x1b]52;c;YQ==\x07",
    b"../", b"~unknown-user/", b"/dev/zero", b"null", b"true", b"{{", b"}}", b"{%", b"%}", b'"""', b"---\n",
    b"&a [*a]", b"!!python/name:os.system", b"[" * 500, b"{\"a\":" * 500, b"(" * 300,
    "\u202e🙂é\u0301".encode(), b"<img src='file:///dev/zero'>", b"${HOME}", b"$(id)", b"%s%n", b"{0.__class__}",
)  # fmt: skip

#: Texts in the place of a value.
TEXTS: tuple[str, ...] = (
    "", " ", "a", "\0", "a\0b", "~unknown-user/x", "~", "../../canary/notes.txt", "/dev/zero", "/dev/stdin",
    "x" * 300, "x/" * 3000, "x" * 70_000, "\ud800", "é", "e\u0301", "\u200b", "\u202e", "\x1b[2J", "\n", "\r\n",
    "null", "NaN", "-1", "1e999", "{}", "[]", "{0}", "{n", "{n:>9999999999}", "{a.__class__}", "{n[0]}", "%n",
    "(a+)+$", "(", "[", "*", ".*", "(.*)*x", "<b>b</b>", "{{ x }}", "a\\b", "C:\\x", "con", "file:///etc/passwd",
    "http://127.0.0.1:9/x", "a b", "__proto__", "__class__", "constructor", "self", "id", "9" * 5000,
)  # fmt: skip

#: Numbers in the place of a value.
NUMBERS: tuple[Any, ...] = (
    0, -1, 1, 2, 7, 255, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), 10**40, 10**400,
    0.5, -0.0, 1e-300, 1e300, math.nan, math.inf, -math.inf, True, False,
)  # fmt: skip


def draw_value(rng: random.Random, depth: int = 0) -> Any:
    """Return any JSON value."""
    kind = rng.randrange(7 if depth < 3 else 4)
    match kind:
        case 0:
            return rng.choice(TEXTS)
        case 1 | 2:
            return rng.choice((None, *NUMBERS))
        case 3:
            return draw_text(rng)
        case 4:
            return [draw_value(rng, depth + 1) for _ in range(rng.randrange(4))]
        case 5:
            return {
                rng.choice(TEXTS)[:50]: draw_value(rng, depth + 1) for _ in range(rng.randrange(4))
            }
        case _:
            return nest(rng)


def nest(rng: random.Random) -> Any:
    """Return lists or objects inside each other."""
    value: Any = 1
    is_list = rng.random() < 0.5
    for _ in range(rng.choice((5, 60, 300))):
        value = [value] if is_list else {"a": value}
    return value


def draw_text(rng: random.Random, most: int = 30) -> str:
    """Return a short text of any characters."""
    ranges = (
        (32, 127),
        (0, 32),
        (0x7F, 0x250),
        (0x2000, 0x2070),
        (0x1F300, 0x1F600),
        (0x4E00, 0x4F00),
    )
    weights = (12, 1, 2, 2, 1, 1)
    return "".join(
        chr(rng.randrange(*rng.choices(ranges, weights)[0])) for _ in range(rng.randrange(most))
    )


def change_value(
    rng: random.Random, value: Any, draw: Callable[[random.Random], Any] = draw_value
) -> Any:
    """Return a JSON value with one part replaced, removed, added, doubled, or moved."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        match rng.randrange(8):
            case 0:
                return {other: part for other, part in value.items() if other != key}
            case 1:
                return {**value, rng.choice(TEXTS)[:50]: draw(rng)}
            case 2:
                return {**value, key: draw(rng)}
            case 3:
                return {**value, key: value[rng.choice(list(value))]}
            case _:
                return {**value, key: change_value(rng, value[key], draw)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        match rng.randrange(6):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return [*value, draw(rng)]
            case 2:
                return value + value if len(value) < 50 else value
            case _:
                return [*value[:at], change_value(rng, value[at], draw), *value[at + 1 :]]
    return draw(rng)


def dump(value: Any) -> bytes:
    """Return JSON, also with what JSON has no numbers and characters for."""
    return json.dumps(value).encode("utf-8", "surrogatepass")


def damage_bytes(rng: random.Random, content: bytes, pieces: Sequence[bytes] = PIECES) -> bytes:
    """Return content with one to four damages."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(content) + 1)
        end = min(len(content), at + rng.choice((1, 4, 30, 400)))
        match rng.randrange(9):
            case 0:
                content = content[:at]
            case 1:
                content = content[:at] + content[end:]
            case 2:
                content = content[:end] + content[at:]
            case 3:
                content = content[:at] + bytes(end - at) + content[end:]
            case 4 | 5:
                content = content[:at] + rng.choice(pieces) + content[at:]
            case 6:
                content = content[:at] + rng.randbytes(end - at) + content[end:]
            case 7 if at < len(content):
                content = (
                    content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
                )
            case _:
                content = content[:at] + rng.choice(_INTEGERS) + content[at + 8 :]
    return content


_INTEGERS = tuple(
    struct.pack("<Q", number & (1 << 64) - 1)
    for number in (0, 1, -1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63, 255, 65536)
)


def damage_json(rng: random.Random, seeds: Sequence[Any]) -> bytes:
    """Return one of the values with changed parts, sometimes with damaged bytes, or noise."""
    kind = rng.random()
    if kind < 0.03:
        return rng.randbytes(rng.randrange(200))
    if kind < 0.06:
        return dump(draw_value(rng))
    value = rng.choice(seeds)
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = change_value(rng, value)
    content = dump(value)
    return damage_bytes(rng, content) if kind < 0.2 else content
