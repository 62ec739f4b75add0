"""Steps that are missing from the events of a run are found and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lora_studio.client.watched_run import WatchedRun
from lora_studio.core.protocol import events
from lora_studio.core.runs.facts import lost_steps_warning
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.manifest import EVENTS_START
from lora_studio.core.runs.state import LostSteps


def follow(*stream: Any) -> LostSteps:
    lost = LostSteps()
    for event in stream:
        lost.on_event(event)
    return lost


def steps(first: int, last: int) -> list[events.StepDone]:
    return [
        events.StepDone(
            step=step, steps=9, epoch=0.1, loss=1.0, learning_rate=1e-3, grad_norm=1.0, tokens=8,
            tokens_per_s=1.0, memory_bytes=0, eta_s=0.0,
        )
        for step in range(first, last + 1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        pytest.param(steps(1, 5), [], id="complete"),
        pytest.param([*steps(1, 5), *steps(4, 6)], [], id="steps again after a kill"),
        pytest.param([*steps(1, 2), *steps(5, 6)], [(3, 4)], id="gap"),
        pytest.param([*steps(3, 4), *steps(6, 6)], [(1, 2), (5, 5)], id="start and gap"),
        pytest.param([*steps(1, 2), *steps(5, 6), *steps(3, 6)], [], id="gap trained again"),
    ],
)
def test_gaps_between_steps_are_found(stream: list[Any], expected: list[tuple[int, int]]) -> None:
    assert follow(*stream).ranges == expected


def test_steps_up_to_the_last_checkpoint_are_expected(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.checkpoint(8).mkdir(parents=True)
    warning = lost_steps_warning(run, follow(*steps(1, 5)), up_to_checkpoint=True)
    assert warning is not None
    assert "3 steps are missing: 6 to 8" in str(warning.what)


@pytest.mark.parametrize("start", [3, None, "x", [3]], ids=str)
def test_steps_before_an_exported_run_are_not_missing(tmp_path: Path, start: object) -> None:
    run = RunFolder(tmp_path)
    run.update_manifest(**{EVENTS_START: start})
    warning = lost_steps_warning(run, follow(*steps(4, 5)))
    assert (warning is None) == (start == 3)


def test_watched_run_ends_with_a_warning_about_lost_steps(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    lines = [events.to_line(event) for event in (*steps(1, 2), *steps(4, 4))]
    run.events_file.write_text("".join(f"{line}\n" for line in lines))
    (warned,) = [e for e in WatchedRun(run).iter_events() if isinstance(e, events.Warned)]
    assert warned.problem.code == "run.lost_metrics"
