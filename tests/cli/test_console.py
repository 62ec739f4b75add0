"""Output of a terminal."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from lora_studio.cli import console
from lora_studio.cli.console import Display
from lora_studio.core.protocol import events


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
    display.console = Console(file=out, force_terminal=terminal)
    assert isinstance(display.follow(_job()), events.Done)
    assert ("\a" in out.getvalue()) == rings


@pytest.mark.parametrize(
    ("figures", "shown"), [({}, "loss 1.25"), ({"reward": 0.5}, "mean reward 0.5")]
)
def test_step_shows_its_loss_or_its_mean_reward(figures: dict[str, float], shown: str) -> None:
    out = io.StringIO()
    display = Display()
    display.console = Console(file=out, width=120)
    step = events.StepDone(
        id="a", step=1, steps=1, epoch=1.0, loss=1.25, learning_rate=1e-4, grad_norm=1.0, tokens=10,
        tokens_per_s=5.0, memory_bytes=1 << 30, figures=figures,
    )  # fmt: skip
    display.show(step)
    assert shown in out.getvalue()
