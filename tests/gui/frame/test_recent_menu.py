"""The menu of recent projects names them as Home does."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtGui import QUndoStack
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from lora_studio.core.project import project
from lora_studio.gui.frame.actions import Actions


def test_menu_names_projects_and_the_folders_of_namesakes(qtbot: QtBot, tmp_path: Path) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    files = [
        project.create(tmp_path / folder, name).save()
        for folder, name in (("one", "Bot: v2"), ("two", "Pim & Ada"), ("three", "Bot: v2"))
    ]
    damaged = tmp_path / "four" / "old bot.lorastudio"
    damaged.parent.mkdir()
    damaged.write_text("name = [", "utf-8")
    actions, opened = Actions(window, QUndoStack(window)), list[Path]()
    actions.fill_recent([*files, damaged], opened.append)
    assert [action.text() for action in actions.recent.actions()] == [
        f"Bot: v2    {tmp_path / 'one'}",
        "Pim && Ada",
        f"Bot: v2    {tmp_path / 'three'}",
        "old bot",
    ]
    actions.recent.actions()[2].trigger()
    assert opened == [files[2]]


def test_name_of_several_lines_is_shown_on_one(tmp_path: Path) -> None:
    file = tmp_path / "p.lorastudio"
    file.write_text('name = "one\\ntwo\\tthree"', "utf-8")
    assert project.read_title(file) == "one two three"
