"""Training on rewards through the window, with the real worker: tried first, killed in a step, and resumed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QPushButton
from pytestqt.qtbot import QtBot

from lora_studio.client.worker import Worker
from lora_studio.core.curves.metrics import read_metrics
from lora_studio.core.project import project
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder, list_runs
from lora_studio.core.system.locks import FileLock
from lora_studio.gui.window.main_window import Window
from tests.helpers.accepted_projects import accept_project
from tests.helpers.faults.killed_runs import find_differences
from tests.helpers.models.tiny_models import tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.end2end, pytest.mark.usefixtures("quick_workers")]

WAIT = 180_000
NAMES = ("Short", "Few words", "Letters")


@pytest.fixture
def window(qtbot: QtBot, window: Window, tmp_path: Path) -> Window:
    """The window with a project of prompts and three rewards, two of them of one kind."""
    rows = tmp_path / "prompts.jsonl"
    lines = [{"prompt": f"What is {n} and {n}?"} for n in range(12)]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    length = {"kind": "length", "length_margin": 40}
    rewards = [
        length | {"name": NAMES[0], "max_length": 5, "length_unit": "characters"},
        length | {"name": NAMES[1], "max_length": 1},
        {"kind": "regex", "name": NAMES[2], "pattern": "[a-z]{3}"},
    ]
    values = {
        "model": {"source": str(tiny_model("llama3", tmp_path / "base")), "precision": "fp32", "device": "cpu"},
        "dataset": {"sources": [{"path": str(rows), "format": "prompts"}], "validation_count": 2},
        "training": {
            "max_steps": 8, "epochs": 10, "micro_batch": 1, "gradient_accumulation": 2, "learning_rate": 2e-3,
            "group_size": 4, "rollout_tokens": 12, "rollout_passes": 2, "kl_beta": 0.1, "rewards": rewards,
            "save_every": 2, "eval_every": 4,
        },
        "lora": {"rank": 4, "dropout": 0.1},
    }  # fmt: skip
    draft = project.create(tmp_path / "sums", "Sums", values)
    draft.save()
    accept_project(draft)
    window.open_project(tmp_path / "sums")
    window.show_page("dataset")
    qtbot.waitUntil(lambda: window.state.facts.dataset is not None, timeout=WAIT)
    window.show_page("training")
    return window


def press(button: QPushButton, qtbot: QtBot, title: str) -> None:
    assert button.text() == title
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def wait_for_end(window: Window, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: not window.jobs.running, timeout=WAIT)


def test_tried_rewards_are_shown_by_their_names(window: Window, qtbot: QtBot) -> None:
    pages: dict[str, Any] = window.pages
    trial = pages["training"].recipe.trial
    qtbot.mouseClick(trial.start_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not trial.worker.busy and trial.table.rowCount() > 0, timeout=WAIT)
    columns = trial.table.columnCount()
    titles = [trial.table.horizontalHeaderItem(at).text() for at in range(columns)]
    assert titles == ["Prompt", "Answer", *NAMES, "Total"]
    assert trial.table.rowCount() == 8
    assert not window.jobs.running


@pytest.mark.parametrize("phase", ["generating completions", "updating weights"])
def test_killed_training_resumes_to_the_same_curves(
    window: Window, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    page, runs = dict[str, Any](window.pages)["training"], tmp_path / "sums" / "runs"
    press(page.header.primary, qtbot, "Start training")
    qtbot.waitUntil(page.is_done, timeout=WAIT)
    wait_for_end(window, qtbot)
    (whole,) = list_runs(runs)
    killed: list[RunFolder] = []

    def kill(event: object) -> None:
        """Kill the worker in step 6: after step 5, or after its answers were rated."""
        match event:
            case events.StepDone(step=5) if phase == "generating completions":
                pass
            case events.AnswersRated(step=6) if phase == "updating weights":
                pass
            case _:
                return
        killed.extend(run for run in list_runs(runs) if run.path != whole.path)
        os.kill(int(FileLock(killed[0].lock_file).read_holder()["pid"]), signal.SIGKILL)

    iter_events = Worker.iter_events

    def kill_between(worker: Worker) -> Iterator[events.Event]:
        """Kill the worker as soon as its event arrives: the training may end before the window shows it."""
        for event in iter_events(worker):
            kill(event)
            yield event

    with monkeypatch.context() as patch:
        patch.setattr(Worker, "iter_events", kill_between)
        press(page.edit_settings, qtbot, "Edit settings")
        press(page.header.primary, qtbot, "Start training")
        qtbot.waitUntil(lambda: bool(killed), timeout=WAIT)
    wait_for_end(window, qtbot)
    (run,) = killed
    assert run.read_state() == "interrupted"
    press(page.header.primary, qtbot, "Resume")
    qtbot.waitUntil(page.is_done, timeout=WAIT)
    wait_for_end(window, qtbot)
    assert find_differences(run, whole) == []
    assert {name for name, *_ in page.plot.list_entries()} >= {"mean reward", *NAMES}
    drawn, recorded = page.plot.run.steps, read_metrics(whole).steps
    assert list(drawn.steps) == list(range(1, 9))
    for name in NAMES:
        key = f"reward/{name}"
        assert list(drawn.values(key)) == list(recorded.columns[key])
