"""Names: each public class exists once, and public names are the field's words."""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from pathlib import Path

TESTS = Path(__file__).resolve().parent
PACKAGE = TESTS.parent / "lora_studio"

#: A class or function as its line begins; parsing the whole tree would take seconds.
DEFINITION = re.compile(r"^( *)(class|(?:async )?def) (\w+)", re.MULTILINE)


@functools.cache
def list_definitions(folder: Path) -> list[tuple[str, str, str, str]]:
    """Return module, indentation, keyword, and name of every class and function."""
    return [
        (file.relative_to(folder).as_posix(), match[1], match[2], match[3])
        for file in sorted(folder.rglob("*.py"))
        for match in DEFINITION.finditer(file.read_text("utf-8"))
    ]


def test_public_class_names_are_unique() -> None:
    modules = defaultdict(list)
    for module, indentation, keyword, name in list_definitions(PACKAGE):
        if keyword == "class" and not indentation and not name.startswith("_"):
            modules[name].append(module)
    assert {name: defining for name, defining in modules.items() if len(defining) > 1} == {}


#: Words that say nothing to a reader who hasn't seen the code.
VAGUE = {"told", "found", "made", "kept", "place", "take", "begin", "settle", "use", "tell", "news",
         "manners", "furniture", "figures", "rung", "again", "lingering", "moments", "words", "shapes",
         "of"}  # fmt: skip


def test_public_names_are_not_vague_words() -> None:
    modules = [file for file in sorted(PACKAGE.rglob("*.py")) if file.stem in VAGUE]
    assert modules == []
    definitions = list_definitions(PACKAGE)
    assert [f"{module}: {name}" for module, *_, name in definitions if name.lower() in VAGUE] == []


#: A longer name is a paragraph; name the subject, the condition and the outcome.
MAX_TEST_NAME = 60


def test_test_names_are_short() -> None:
    long = [
        f"{module}: {name}"
        for module, *_, name in list_definitions(TESTS)
        if name.startswith("test_") and len(name) > MAX_TEST_NAME
    ]
    assert long == []
