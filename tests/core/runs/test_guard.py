"""Starting the guard that a window passes to its worker."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from lora_studio.core.project.project import Project
from lora_studio.core.runs import folder
from lora_studio.core.runs import guard as run_guard

TELLS = (
    "import json, os, sys; names = ('A', 'B', 'C');"
    "print(json.dumps([sys.argv[1], *map(os.environ.get, names)]), flush=True)"
)


def test_guard_starts_with_run_and_window_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = folder.create_run(tmp_path, Project(name="x"), tmp_path)
    for name, value in (("A", "the worker's"), ("B", "the worker's"), ("C", "both")):
        monkeypatch.setenv(name, value)
    variable = run_guard.Guard(
        (sys.executable, "-c", TELLS), {"A": "the window's", "B": None}
    ).to_text()
    monkeypatch.setenv(run_guard.VARIABLE, variable)
    guard = run_guard.from_environment()
    assert guard is not None
    guard.start(run)
    until = time.monotonic() + 120
    while not (log_text := run.log_file.read_text()).endswith("\n"):
        assert time.monotonic() < until
        time.sleep(0.02)
    assert json.loads(log_text) == [str(run.path), "the window's", None, "both"]


@pytest.mark.parametrize(
    "variable",
    ["", "{", "[]", '{"command": 1}', '"x"'],
    ids=["empty", "truncated", "list", "command-not-a-list", "string"],
)
def test_invalid_guard_variable_starts_no_guard(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(run_guard.VARIABLE, variable)
    assert run_guard.from_environment() is None
