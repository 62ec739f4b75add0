"""Names: each public class exists once, and public names are the field's words."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parent
PACKAGE = TESTS.parent / "lora_studio"


def definitions(kinds: tuple[type[ast.AST], ...]) -> Iterator[tuple[str, str]]:
    """Yield (module, name) of every public definition at the top level of a module."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, kinds) and not node.name.startswith("_"):
                yield file.relative_to(PACKAGE).as_posix(), node.name


def test_public_class_names_are_unique() -> None:
    modules = defaultdict(list)
    for module, name in definitions((ast.ClassDef,)):
        modules[name].append(module)
    assert {name: defining for name, defining in modules.items() if len(defining) > 1} == {}


#: Words that say nothing to a reader who hasn't seen the code.
VAGUE = {"told", "found", "made", "kept", "place", "take", "begin", "settle", "use", "tell", "news",
         "manners", "furniture", "figures", "rung", "again", "lingering", "moments", "words", "shapes",
         "of"}  # fmt: skip


def test_public_names_are_not_vague_words() -> None:
    vague = []
    for file in sorted(PACKAGE.rglob("*.py")):
        module = file.relative_to(PACKAGE).as_posix()
        if file.stem in VAGUE:
            vague.append(module)
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name.lower() in VAGUE:
                vague.append(f"{module}: {node.name}")
    assert vague == []


#: A longer name is a paragraph; name the subject, the condition and the outcome.
MAX_TEST_NAME = 60


def test_test_names_are_short() -> None:
    long = [
        f"{file.relative_to(TESTS).as_posix()}: {node.name}"
        for file in sorted(TESTS.rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if node.name.startswith("test_") and len(node.name) > MAX_TEST_NAME
    ]
    assert long == []
