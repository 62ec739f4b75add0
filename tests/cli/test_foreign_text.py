"""Text of models and projects on a terminal: it can't control the terminal."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from lora_studio import __main__
from lora_studio.cli.console import Display, SafeConsole, make_printable
from lora_studio.core.system import consent

#: Sets the clipboard, sets the title, clears the screen, deletes a line, and in 8-bit form.
ATTACKS = [
    "\x1b]52;c;ZXZpbA==\x07",
    "\x1b]0;title\x07",
    "\x1b[2J",
    "safe\r\x1b[Kevil",
    "\x9d0;t\x9c",
]


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_terminal_sequence_is_spelled_out(attack: str) -> None:
    screen = io.StringIO()
    console = SafeConsole(file=screen, force_terminal=True, width=200, color_system=None)
    console.print(attack, markup=False)
    table = Table("column")
    table.add_row(attack)
    console.print(table)
    console.print(f"[bold]{attack}")
    printed = screen.getvalue()
    assert not {"\x1b", "\x07", "\r", "\x9d", "\x9c"} & set(printed)
    assert printed.count("\\x") >= 3  # rich itself drops some of them


def test_lines_tabs_and_letters_stay() -> None:
    assert make_printable("a\tb\nçé 漢字 🙂") == "a\tb\nçé 漢字 🙂"


def test_every_line_of_a_display_is_printable(capsys: pytest.CaptureFixture[str]) -> None:
    Display().print_line("\x1b]0;title\x07")
    assert capsys.readouterr().out == "  \\x1b]0;title\n"


@pytest.mark.parametrize(
    ("arguments", "rest", "trusted"),
    [
        pytest.param(["train", "p", "--trust", "AB"], ["train", "p"], {"ab"}, id="behind"),
        pytest.param(["--trust=a", "train", "--trust", "b"], ["train"], {"a", "b"}, id="twice"),
        pytest.param(["train", "--trust"], ["train", "--trust"], set(), id="without a hash"),
    ],
)
def test_trust_option_is_read_anywhere(
    arguments: list[str], rest: list[str], trusted: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(consent.TRUST_VARIABLE, "")
    assert __main__.apply_trust_option(arguments) == rest
    assert set(os.environ[consent.TRUST_VARIABLE].split(",")) - {""} == trusted


def test_ascii_terminal_gets_no_traceback(tmp_path: Path) -> None:
    folder = tmp_path / "プロジェクト"
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LORA_STUDIO_CONFIG": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-m", "lora_studio", "runs", str(folder)],
        capture_output=True,
        env=environment,
    )
    assert b"Traceback" not in ended.stderr
    assert b"\\u30d7" in ended.stdout + ended.stderr
