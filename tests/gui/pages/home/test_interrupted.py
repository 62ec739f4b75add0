"""Runs that were interrupted while no window was open are reported at the next start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.pages.home.page import InterruptedRuns, summarize_project
from lora_studio.gui.problems.suggested_actions import Messages, Toast
from lora_studio.gui.window.main_window import Window
from tests.gui.conftest import WAIT


def _interrupted_run(folder: Path, *, at: float, checkpoint: bool = True) -> RunFolder:
    """Return a run whose worker vanished at step 7 of 20."""
    run = run_folder.create_run(folder / "runs", Project(name="support bot"), folder)
    recorded: list[events.Event] = [
        events.Started(id="t", time=at, command="train"),
        events.TrainingStarted(
            id="t", time=at, steps=20, steps_per_epoch=10, effective_batch=8
        ),
        events.StepDone(
            id="t", time=at, step=7, steps=20, epoch=0.7, loss=1.0, learning_rate=1e-4,
            grad_norm=1.0, tokens=1, tokens_per_s=1.0, memory_bytes=1,
        ),
    ]  # fmt: skip
    run.events_file.write_text("".join(events.to_line(event) + "\n" for event in recorded))
    if checkpoint:
        run.checkpoint(5).mkdir(parents=True)
    return run


def _messages(*files: Path) -> list[Toast]:
    posted: list[Toast] = []
    messages = Messages()
    messages.posted.connect(posted.append)
    messages.connect_view()
    interrupted = InterruptedRuns(messages)
    for _ in range(2):  # checked each time that Home is shown
        interrupted.report([summarize_project(file) for file in files])
    return posted


def test_interrupted_training_is_reported_once_with_its_reason(project_folder: Path) -> None:
    _interrupted_run(project_folder, at=4e9)
    (message,) = _messages(project_folder / "support bot.lorastudio")
    assert message.problem is not None
    assert str(message.text) == "Training of support bot was interrupted at step 7 of 20."
    assert str(message.problem.remedy).startswith("Its process was killed")
    assert str(message.problem.remedy).endswith("from the checkpoint at step 5.")


def test_run_that_cannot_be_resumed_is_not_reported(project_folder: Path) -> None:
    _interrupted_run(project_folder, at=5.0, checkpoint=False)
    assert _messages(project_folder / "support bot.lorastudio") == []


@pytest.mark.slow
def test_resume_in_the_message_opens_the_project_and_continues(
    window: Window, project_folder: Path, scenario: Callable[..., None], qtbot: QtBot
) -> None:
    scenario(train=[{"steps": 3, "seconds": 0.01}])
    run = _interrupted_run(project_folder, at=5.0)
    window.preferences.add_recent_project(project_folder / "support bot.lorastudio", "support bot")
    window.show_page("home")
    qtbot.waitUntil(lambda: "was interrupted at step 7 of 20" in window.toasts.text)
    assert "shut down or restarted" in window.toasts.text
    assert window.toasts.action.text() == "Resume"
    qtbot.mouseClick(window.toasts.action, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: window.jobs.running, timeout=WAIT)
    assert window.jobs.run == run
    qtbot.waitUntil(lambda: not window.jobs.running and not window.jobs.is_following, timeout=WAIT)
    assert run.read_state() == "trained"
