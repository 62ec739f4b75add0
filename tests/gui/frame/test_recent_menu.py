"""The menu of recent projects names them as Home does."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtGui import QUndoStack
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from lora_studio.core.project import project
from lora_studio.gui.frame.shell import Actions
from lora_studio.gui.help import palette
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.window.main_window import Window
from tests.gui.conftest import WAIT


def test_menu_names_projects_and_the_folders_of_namesakes(qtbot: QtBot, tmp_path: Path) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    files = [tmp_path / folder / "bot.lorastudio" for folder in ("one", "two", "three")]
    actions, opened = Actions(window, QUndoStack(window)), list[Path]()
    titles = dict(zip(files, ("Bot: v2", "Pim & Ada", "Bot: v2"), strict=True))
    actions.fill_recent(titles, opened.append)
    assert [action.text() for action in actions.recent.actions()] == [
        f"Bot: v2    {tmp_path / 'one'}",
        "Pim && Ada",
        f"Bot: v2    {tmp_path / 'three'}",
    ]
    actions.recent.actions()[2].trigger()
    assert opened == [files[2]]


def test_titles_are_stored_with_recent_projects(tmp_path: Path) -> None:
    first, second, missing = (tmp_path / f"{name}.lorastudio" for name in ("a", "b", "c"))
    Preferences(recent=[str(second)], recent_titles={str(missing): "Gone"}).save()
    preferences = Preferences.load()
    assert preferences.get_recent_title(second) == "b", "of an older version, without titles"
    preferences.add_recent_project(first, "Bot: v2")
    preferences.set_recent_titles({first: "", second: "Pim", missing: "Gone"})
    loaded = Preferences.load()
    assert loaded.recent_titles == {str(first): "Bot: v2", str(second): "Pim"}
    assert loaded.get_recent_title(first) == "Bot: v2"


def test_menu_shows_titles_without_reading_projects(
    window: Window, tmp_path: Path, qtbot: QtBot
) -> None:
    for name in ("Bot: v2", "Pim: v1"):
        window.state.create(tmp_path / name.replace(":", ""), name)

    def list_menu() -> list[str]:
        return [action.text() for action in window.actions_.recent.actions()]

    def list_palette() -> list[str]:
        entries = palette.list_entries(window)
        return [entry.title for entry in entries if entry.kind == "project"]

    assert list_menu() == ["Pim: v1", "Bot: v2"]
    assert list_palette() == ["Bot: v2"]
    for file in window.preferences.list_recent_projects():
        file.write_text(f'name = "{file.stem}, edited"', "utf-8")
    window.show_project()
    assert list_menu() == ["Pim: v1", "Bot: v2"], "read by a thread only"
    window.show_page("home")
    qtbot.waitUntil(lambda: list_menu() == ["Pim- v1, edited", "Bot- v2, edited"], timeout=WAIT)
    assert list_palette() == ["Bot- v2, edited"]


def test_name_of_several_lines_is_shown_on_one(tmp_path: Path) -> None:
    file = tmp_path / "p.lorastudio"
    file.write_text('name = "one\\ntwo\\tthree"', "utf-8")
    assert project.read_title(file) == "one two three"
