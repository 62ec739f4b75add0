"""Sizes: a module can be read at once, and a folder has few enough of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "lora_studio"

#: Lines of a module, and modules of a folder besides `__init__.py`, at most.
_LINES, _MODULES = 450, 22


def test_no_module_is_too_long() -> None:
    lengths = {
        module.relative_to(PACKAGE).as_posix(): len(module.read_text("utf-8").splitlines())
        for module in PACKAGE.rglob("*.py")
    }
    assert lengths
    assert {module: lines for module, lines in lengths.items() if lines > _LINES} == {}


def test_no_folder_has_too_many_modules() -> None:
    counts = Counter(
        module.parent.relative_to(PACKAGE).as_posix()
        for module in PACKAGE.rglob("*.py")
        if module.name != "__init__.py"
    )
    assert counts
    assert {folder: count for folder, count in counts.items() if count > _MODULES} == {}
