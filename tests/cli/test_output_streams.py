"""Results on stdout, progress and problems on stderr: what a program reads has nothing else in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperArgument, TyperGroup
from typer.testing import CliRunner

from lora_studio.cli.app import app
from lora_studio.cli.console import Display, SafeConsole
from lora_studio.core.messages import text
from lora_studio.core.problems import error
from lora_studio.core.protocol import events

_STEP = events.StepDone(
    step=2, steps=2, epoch=1.0, loss=1.5, learning_rate=1e-4, grad_norm=1.0, tokens=8, tokens_per_s=4.0,
    memory_bytes=1 << 30,
)  # fmt: skip
_PROBLEM = error("x.y", "It failed.", "Try again.")
_EVENTS = (
    events.Progress(stage=text("reading"), done=1, total=2, unit="rows"),
    _STEP,
    events.Warned(problem=_PROBLEM.model_copy(update={"severity": "warning"})),
    events.AdapterSaved(step=2, folder="adapter", bytes=10),
    events.Failed(problem=_PROBLEM),
)


def test_stdout_has_results_only(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display()
    display.follow(iter(_EVENTS))
    display.print_problems([_PROBLEM])
    display.print_findings([_PROBLEM])
    out, err = capsys.readouterr()
    assert "dapter" in out
    assert (out.count("It failed."), err.count("It failed.")) == (1, 3)
    assert ("2/2" in err, "2/2" in out) == (True, False)


def test_bar_on_a_terminal_is_gone_before_a_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    display = Display()
    display.notes = SafeConsole(stderr=True, force_terminal=True)
    running = []
    monkeypatch.setattr(
        display.console, "print", lambda *_, **__: running.append(display._bar is not None)
    )
    display.follow(iter(_EVENTS[:2] + _EVENTS[3:4] + _EVENTS[:1]))
    assert running == [False]
    assert display._bar is None
    assert "reading" in capsys.readouterr().err


def test_json_lines_are_all_that_stdout_has(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(as_json=True)
    display.follow(iter(_EVENTS))
    display.print_line("a line")
    display.print_title("a title")
    display.print_note("a note")
    display.print_problem(_PROBLEM)
    display.print_problems([_PROBLEM])
    kinds = [json.loads(line).get("kind") for line in capsys.readouterr().out.splitlines()]
    assert kinds == [*(event.kind for event in _EVENTS), None]


def _list_commands(group: Any, *path: str) -> list[tuple[tuple[str, ...], Any]]:
    """Return all commands below a group with their words."""
    commands = []
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            commands += _list_commands(command, *path, name)
        else:
            commands.append(((*path, name), command))
    return commands


@pytest.mark.slow
def test_refusals_of_all_commands_are_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_workers: None
) -> None:
    """What is missing is named in JSON on stdout, by each command that needs something and has `--json`."""
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tried = []
    for words, command in _list_commands(typer.main.get_command(app)):
        needed = [each for each in command.params if isinstance(each, TyperArgument) and each.required]  # fmt: skip
        has_json = any("--json" in each.opts for each in command.params)
        if not needed or not has_json or command.hidden or words == ("engine", "move"):
            continue  # the target of a move has to be missing
        missing = [str(tmp_path / f"missing{number}") for number in range(len(needed))]
        result = CliRunner().invoke(app, [*words, *missing, "--json"], input="")
        tried.append(words)
        assert result.exit_code not in (0, 130), (words, result.output)
        for line in _split_json(result.stdout):
            assert isinstance(json.loads(line), (dict, list)), (words, result.stdout)
        assert "Traceback" not in result.stderr, words
    assert len(tried) >= 20, tried


def _split_json(output: str) -> list[str]:
    """Return the documents of an output: one over several lines, or one on each line."""
    try:
        json.loads(output)
    except ValueError:
        return output.splitlines()
    return [output]
