"""Home: recent projects, and runs that were interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from lora_studio.core.project import project
from lora_studio.core.project.project import Project
from lora_studio.core.project.samples import copy_sample
from lora_studio.core.protocol import events
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.locks import FileLock
from lora_studio.gui.pages.home import page as home_page
from lora_studio.gui.pages.home.page import HomePage, InterruptedRuns, summarize_project
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.problems.suggested_actions import Messages, Toast
from lora_studio.gui.project.lock import ProjectLock
from lora_studio.gui.window.main_window import Window


def test_home_names_a_project_as_its_file_does(tmp_path: Path) -> None:
    draft = project.create(tmp_path / "p", "Pim’s bot: v2")
    file = draft.save()
    assert file.stem != draft.name
    assert summarize_project(file).name == draft.name
    file.write_text("name = [", "utf-8")
    assert summarize_project(file).name == file.stem


def test_copied_sample_project_is_new(tmp_path: Path) -> None:
    folder = copy_sample("assistant", tmp_path / "copy")
    (file,) = folder.glob("*.lorastudio")
    assert time.time() - summarize_project(file).changed < 30


@pytest.mark.parametrize("is_shown", [True, False], ids=["while shown", "while hidden"])
def test_run_that_ends_changes_its_state_on_home(
    qtbot: QtBot, project_folder: Path, monkeypatch: pytest.MonkeyPatch, is_shown: bool
) -> None:
    monkeypatch.setattr(home_page, "_RESCAN_EVERY", 20)
    run = run_folder.create_run(project_folder / "runs", Project(name="bot"), project_folder)
    run.events_file.write_text(events.to_line(events.Started(id="a", command="train")) + "\n")
    lock = FileLock(run.lock_file)
    assert lock.acquire({"pid": 1})
    home = HomePage()
    qtbot.addWidget(home)
    home.show()
    files = [project_folder / "support bot.lorastudio"]
    home.show_recent(files)
    qtbot.waitUntil(lambda: _get_states(home) == ["Running"])
    home.setVisible(is_shown)
    with run.events_file.open("a") as file:
        file.write(events.to_line(events.Done(id="a")) + "\n")
    lock.release()
    if not is_shown:
        home.show()
        home.show_recent(files)
        assert _get_states(home) == ["Loading runs…"], "it may have ended"
    qtbot.waitUntil(lambda: _get_states(home) == ["Trained"])
    home.stop_background_work()


def test_home_counts_the_steps_of_a_running_training(
    qtbot: QtBot, project_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home_page, "_RESCAN_EVERY", 20)
    run = run_folder.create_run(project_folder / "runs", Project(name="bot"), project_folder)
    begun = [
        events.Started(id="a", command="train"),
        events.TrainingStarted(id="a", steps=9, step=0, steps_per_epoch=9, effective_batch=4),
    ]
    run.events_file.write_text("".join(events.to_line(event) + "\n" for event in begun))
    lock = FileLock(run.lock_file)
    assert lock.acquire({"pid": 1})
    home = HomePage()
    qtbot.addWidget(home)
    home.show()
    home.show_recent([project_folder / "support bot.lorastudio"])
    qtbot.waitUntil(lambda: "Running, step 0 of 9" in _get_texts(home))
    step = events.StepDone(
        id="a", step=7, steps=9, epoch=0.8, loss=1.0, learning_rate=1e-4, grad_norm=1.0, tokens=40,
        tokens_per_s=10.0, memory_bytes=1,
    )  # fmt: skip
    with run.events_file.open("a") as file:
        file.write(events.to_line(step) + "\n")
    qtbot.waitUntil(lambda: "Running, step 7 of 9" in _get_texts(home))
    lock.release()
    home.stop_background_work()


def _get_texts(home: HomePage) -> list[str]:
    """Return the visible states of the projects, without their age."""
    return [each.text().partition(" · ")[0] for each in home.findChildren(QLabel)]


def _get_states(home: HomePage) -> list[str]:
    return [each.status_text for each in home.summaries]


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
    qtbot.waitUntil(lambda: window.jobs.running)
    assert window.jobs.run == run
    qtbot.waitUntil(lambda: not window.jobs.running and not window.jobs.is_following)
    assert run.read_state() == "trained"


@pytest.mark.slow
def test_session_restores_project_page_and_geometry(window: Window, project_folder: Path) -> None:
    window.open_project(project_folder)
    window.show_page("dataset")
    window.resize(1111, 777)
    window.shut_down()
    stored = Preferences.load()
    assert stored.open_project == str(window.state.draft.path)
    assert (stored.open_page, bool(stored.geometry)) == ("dataset", True)
    window.state.new()
    window.show_page("home")
    window.preferences.open_project = stored.open_project
    window.preferences.open_page = "dataset"
    last = window.find_last_project()
    assert last is not None
    window.restore_session(last)
    assert window.state.name == "support bot"
    assert window.page_name == "dataset"


@pytest.mark.slow
def test_project_that_is_gone_is_not_restored(window: Window, tmp_path: Path) -> None:
    for name in ("", str(tmp_path / "gone" / "x.lorastudio"), "a" * 5000):
        window.preferences.open_project = name
        assert window.find_last_project() is None


@pytest.mark.slow
def test_project_open_in_another_window_is_not_restored(
    window: Window, project_folder: Path
) -> None:
    file = project_folder / "support bot.lorastudio"
    lock = ProjectLock()
    assert lock.acquire(file) is None
    window.preferences.open_project, window.preferences.open_page = str(file), "nonsense"
    assert window.find_last_project() is None
    lock.release()
    assert window.find_last_project() == file
    window.restore_session(file)
    assert window.page_name in window.pages
