"""Output of a terminal; foreign text can't control it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from lora_studio import __main__
from lora_studio.cli import console, headless
from lora_studio.cli.console import Display, SafeConsole, make_printable
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.system import consent
from tests.helpers.runs.job_events import emit
from tests.helpers.window import fake_engine


def _job() -> Iterator[events.Event]:
    yield events.Started(id="a", command="train")
    yield events.Done(id="a")


@pytest.mark.parametrize(
    ("seconds", "terminal", "rings"), [(0.0, True, True), (60.0, True, False), (0.0, False, False)]
)
def test_bell_rings_after_a_long_job_in_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, seconds: float, terminal: bool, rings: bool
) -> None:
    monkeypatch.setattr(console, "LONG", seconds)
    out = io.StringIO()
    display = Display()
    display.notes = Console(file=out, force_terminal=terminal)
    assert isinstance(display.follow(_job()), events.Done)
    assert ("\a" in out.getvalue()) == rings


@pytest.mark.parametrize(
    ("metrics", "shown"), [({}, "loss 1.25"), ({"reward": 0.5}, "mean reward 0.5")]
)
def test_step_shows_its_loss_or_its_mean_reward(metrics: dict[str, float], shown: str) -> None:
    out = io.StringIO()
    display = Display()
    display.notes = Console(file=out, width=120)
    step = events.StepDone(
        id="a", step=1, steps=1, epoch=1.0, loss=1.25, learning_rate=1e-4, grad_norm=1.0, tokens=10,
        tokens_per_s=5.0, memory_bytes=1 << 30, metrics=metrics,
    )  # fmt: skip
    display.show(step)
    assert shown in out.getvalue()


def test_steps_are_shown_after_the_clock_is_set_back() -> None:
    out = io.StringIO()
    display = Display()
    display.notes = Console(file=out, width=120)
    for number, time in enumerate((1e9, 1e9 + 1, 1e8, 1e8 + 1)):
        display.show(events.StepDone(
            id="a", time=time, step=number, steps=9, epoch=1.0, loss=1.25, learning_rate=1e-4, grad_norm=1.0,
            tokens=10, tokens_per_s=5.0, memory_bytes=1 << 30,
        ))  # fmt: skip
    assert out.getvalue().count("loss") == 2


@pytest.mark.slow
def test_training_names_a_rate_that_is_high_for_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = tmp_path / "scenario.json"
    monkeypatch.setenv("LORA_STUDIO_ENGINE", fake_engine.command_line(scenario))
    ready = events.DatasetReady(
        task="kto", rows_read=9, rows_train=9, rows_validation=0, tokens=90, trained_tokens=9
    )
    scenario.write_text(json.dumps({"train": [emit(ready)]}))
    run = run_folder.create_run(tmp_path / "runs", Project(name="x"), tmp_path)
    display, out = Display(), io.StringIO()
    display.notes = Console(file=out, width=200)
    assert isinstance(headless.perform(commands.Train(run=str(run.path)), display), events.Done)
    assert "is high for KTO" in out.getvalue()


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
