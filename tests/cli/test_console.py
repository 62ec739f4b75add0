"""Output of a terminal."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from lora_studio.cli import console, headless
from lora_studio.cli.console import Display
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import folder as run_folder
from tests.helpers.runs.scenarios import emit
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
