"""Each guard of the table in “What is trusted” is there for a reason: a test fails without it.

The list is `guards.toml`. `python -m tests.test_guards [NAME …]` removes guards in a copy and runs their tests.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: What a copy of the repository needs for its tests.
_COPIED = ("lora_studio", "tests", "resources", "packaging", "pyproject.toml", "CONTRIBUTING.md", "README.md", "CHANGELOG.md")  # fmt: skip

#: Exit status of pytest where tests ran and failed, unlike errors of collection or usage.
_FAILED = 1


@dataclass(frozen=True)
class Guard:
    """One guard, how it is removed, and the test that notices; see `guards.toml`."""

    name: str
    crossing: str
    file: str
    remove: str
    test: str
    by: str = ""

    def remove_from(self, root: Path) -> str:
        """Remove the guard from a copy of the repository; return the content of its file before."""
        file = root / self.file
        before = file.read_text("utf-8")
        file.write_text(before.replace(self.remove, self.by), "utf-8")
        return before


def read_guards() -> list[Guard]:
    """Return the guards of `guards.toml`."""
    content = tomllib.loads((ROOT / "tests" / "guards.toml").read_text("utf-8"))
    return [Guard(**entry) for entry in content["guard"]]


def read_crossings() -> list[str]:
    """Return the first cells of the table in “What is trusted”."""
    chapter = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("\n## What is trusted\n")[2]
    rows = re.findall(r"^\| ([^|]+?) \|", chapter.partition("\n## ")[0], re.MULTILINE)
    assert rows[0] == "crossing"
    return rows[1:]


def run_tests(root: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    """Run tests of a copy of the repository with the package of that copy."""
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests],
        cwd=root, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def copy_repository(target: Path) -> Path:
    """Copy what tests need; return the copy."""
    unwanted = shutil.ignore_patterns("__pycache__", ".*_cache")
    for name in _COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=unwanted)
        elif (ROOT / name).is_file():
            shutil.copy2(ROOT / name, target / name)
    return target


def iter_unnoticed(root: Path, guards: Sequence[Guard]) -> Iterator[str]:
    """Yield each guard whose removal no test notices; prints a line for each guard.

    Raises AssertionError if a test fails while all guards are there.
    """
    whole = run_tests(root, *{guard.test for guard in guards})
    assert whole.returncode == 0, whole.stdout + whole.stderr
    for guard in guards:
        before = guard.remove_from(root)
        try:
            ended = run_tests(root, guard.test)
        finally:
            (root / guard.file).write_text(before, "utf-8")
        if ended.returncode == _FAILED:
            print(f"{guard.name}: noticed", flush=True)
        else:
            print(f"{guard.name}: not noticed (status {ended.returncode})", flush=True)
            yield f"{guard.name}: {ended.stdout}{ended.stderr}"


GUARDS = read_guards()


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_guard_can_be_removed(guard: Guard) -> None:
    content = (ROOT / guard.file).read_text("utf-8")
    assert content.count(guard.remove) == 1
    ast.parse(content.replace(guard.remove, guard.by))
    module, _, names = guard.test.partition("::")
    tree = ast.parse((ROOT / module).read_text("utf-8"))
    tests = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert names.rpartition("::")[2].partition("[")[0] in tests


def test_each_crossing_has_a_guard() -> None:
    assert {guard.crossing for guard in GUARDS} == set(read_crossings())
    assert len({guard.name for guard in GUARDS}) == len(GUARDS)


@pytest.mark.thorough
def test_removed_guards_are_noticed(tmp_path: Path) -> None:
    assert list(iter_unnoticed(copy_repository(tmp_path), GUARDS)) == []


def _main() -> None:
    import tempfile

    chosen = [guard for guard in GUARDS if not sys.argv[1:] or guard.name in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(bool(list(iter_unnoticed(copy_repository(Path(folder)), chosen))))


if __name__ == "__main__":
    _main()
