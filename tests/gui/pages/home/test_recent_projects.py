"""Recent projects on Home: their names, how old they are, and what their runs do."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from lora_studio.core.project import project
from lora_studio.core.project.project import Project
from lora_studio.core.project.samples import copy_sample
from lora_studio.core.protocol import events
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.system.locks import FileLock
from lora_studio.gui.pages.home import page as home_page
from lora_studio.gui.pages.home.page import HomePage, summarize_project


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
    home.leave()


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
    home.leave()


def _get_texts(home: HomePage) -> list[str]:
    """Return the visible states of the projects, without their age."""
    return [each.text().partition(" · ")[0] for each in home.findChildren(QLabel)]


def _get_states(home: HomePage) -> list[str]:
    return [each.status_text for each in home.summaries]
