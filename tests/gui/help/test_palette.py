"""The command palette, the shortcut sheet, the About dialog, problem actions and diagnostics."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QGuiApplication
from PySide6.QtWidgets import QApplication, QLabel, QPushButton, QTextEdit
from pytestqt.qtbot import QtBot

from lora_studio import __version__
from lora_studio.core.help import diagnostics
from lora_studio.core.problems import STEPS, Fix, Problem, Where
from lora_studio.gui import theme
from lora_studio.gui.help import palette
from lora_studio.gui.help.dialogs import (
    AboutDialog,
    DiagnosticsDialog,
    ShortcutSheet,
    list_shortcuts,
)
from lora_studio.gui.help.palette import CommandPalette, find
from lora_studio.gui.problems.dialogs import ProblemDialog, explain_kind
from lora_studio.gui.problems.suggested_actions import suggest_action
from lora_studio.gui.widgets.dialog import Dialog
from lora_studio.gui.widgets.docs_viewer import DocsViewer
from lora_studio.gui.window.main_window import Window
from tests.gui.conftest import WAIT
from tests.helpers.models import model_facts

CTRL = Qt.KeyboardModifier.ControlModifier


def _palette(qtbot: QtBot, window: Window) -> CommandPalette:
    # Keys reach only an active window, and the offscreen platform activates each window only once.
    if window.isActiveWindow():
        qtbot.keyClick(window, Qt.Key.Key_K, CTRL)
    else:
        window.actions_.commands["find"].trigger()
    (palette,) = [
        candidate for candidate in window.findChildren(CommandPalette) if candidate.isVisible()
    ]
    return palette


@pytest.mark.slow
def test_setting_is_found_and_focused_by_keyboard(
    qtbot: QtBot, window: Window, project_folder: Path
) -> None:
    window.open_project(project_folder)
    window.show_page("home")
    palette = _palette(qtbot, window)
    qtbot.keyClicks(palette.line, "dropout")
    assert palette.matches[0].title == window.state.get_facts("lora", "dropout").title
    qtbot.keyClick(palette.line, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: window.page_name == "lora", timeout=WAIT)
    editor = window.pages["lora"].editors["dropout"]
    assert editor.control.focusProxy() is window.focusWidget()
    palette = _palette(qtbot, window)
    settings = {(entry.title, entry.page) for entry in palette.matches if entry.kind == "setting"}
    for page in window.pages.values():
        for field_editor in page.editors.values():
            assert (field_editor.facts.title, page.title) in settings
    palette.reject()


@pytest.mark.slow
def test_palette_finds_commands_pages_and_projects(
    qtbot: QtBot, window: Window, project_folder: Path, tmp_path: Path
) -> None:
    window.open_project(project_folder)
    window.state.create(tmp_path / "other", "other")
    palette = _palette(qtbot, window)
    for typed, kind in (("save as", "command"), ("go to runs", "page"), ("support", "project")):
        palette.line.setText(typed)
        assert palette.matches[0].kind == kind
    qtbot.keyClicks(palette.line, "xyzzy")
    assert "xyzzy" in palette.nothing.text()
    qtbot.keyClick(palette.line, Qt.Key.Key_Return)
    assert palette.isVisible()
    palette.line.setText("")
    qtbot.keyClick(palette.line, Qt.Key.Key_Up)
    assert palette.list.currentIndex().row() == len(palette.matches) - 1
    palette.line.setText("support")
    qtbot.keyClick(palette.line, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: window.state.name == "support bot", timeout=WAIT)
    palette = _palette(qtbot, window)
    qtbot.keyClicks(palette.line, "theme")  # a setting of the program, not of the project
    qtbot.keyClick(palette.line, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: window.page_name == "settings", timeout=WAIT)
    focused = window.focusWidget()
    assert focused is not None
    assert window.settings.look.isAncestorOf(focused) or focused is window.settings.look
    palette = _palette(qtbot, window)
    qtbot.keyClick(palette.line, Qt.Key.Key_Escape)
    assert not palette.isVisible()


@pytest.mark.slow
def test_common_words_find_their_settings_and_commands(
    window: Window, project_folder: Path
) -> None:
    window.open_project(project_folder)
    entries = palette.list_entries(window)
    for query, title in (
        ("quantize", "Quantizations"), ("learning rate", "Learning rate"), ("dark mode", "Theme"),
        ("hugging face token", "Sign in to Hugging Face"), ("pytorch", "Engine"),
        ("cheat sheet", "Keyboard shortcuts"), ("privacy", "Network"), ("batch size", "Micro-batch size"),
    ):  # fmt: skip
        assert title in [entry.title for entry in find(entries, query)[:4]], query


@pytest.mark.slow
def test_f1_explains_the_focused_field_or_the_page(
    qtbot: QtBot, window: Window, project_folder: Path
) -> None:
    window.open_project(project_folder)
    for step, field in (("lora", "rank"), ("training", "epochs")):
        window.show_field(step, field)
        window.actions_.commands["help"].trigger()
        topic = window.pages[step].editors[field].facts.help_topic
        (viewer,) = window.findChildren(DocsViewer)
        assert viewer.topic == topic
    viewer.close()
    window.show_page("settings")
    window.help.explain_focus()
    assert viewer.isVisible()
    viewer.close()


@pytest.mark.slow
def test_shortcuts_are_unique_and_listed_on_the_sheet(qtbot: QtBot, window: Window) -> None:
    qtbot.keyClick(window, Qt.Key.Key_Slash, CTRL)
    (sheet,) = window.findChildren(ShortcutSheet)
    assert sheet.isVisible()
    descriptions = {item.description for item in list_shortcuts(window)}
    for action in window.findChildren(QAction):
        if action.shortcuts():
            assert action.text().removesuffix("…") in descriptions
    assert all(item.keys and item.description for item in list_shortcuts(window))
    sheet.reject()
    keys = [
        key for item in list_shortcuts(window) if not item.page for key in item.keys.split(", ")
    ]
    assert len(keys) == len(set(keys)), sorted(key for key in keys if keys.count(key) > 1)
    for name in (*STEPS, *window.app_pages):
        assert "(Ctrl+" in window.rail.button(name).toolTip()
    assert window.home.new.toolTip() == "New project (Ctrl+N)"


@pytest.mark.slow
def test_f8_moves_to_the_next_problem(qtbot: QtBot, window: Window, project_folder: Path) -> None:
    window.open_project(project_folder)
    window.state.set("training", "seed", -1)
    window.state.set("lora", "rank", 0)
    window.show_page("model")
    pages = []
    for _ in range(2):
        qtbot.keyClick(window, Qt.Key.Key_F8)
        pages.append(window.page_name)
    assert set(pages) == {"lora", "training"}


@pytest.mark.slow
def test_about_dialog_shows_versions_and_licenses(qtbot: QtBot, window: Window) -> None:
    window.actions_.commands["about"].trigger()
    (dialog,) = window.findChildren(AboutDialog)
    assert dialog.facts.get_facts()["LoRA Studio"] == __version__
    devices = model_facts.devices().model_copy(update={"packages": {"torch": "9.8.7"}})
    window.state.set_answer(devices)
    assert dialog.facts.get_facts()["torch"] == "9.8.7"
    qtbot.waitUntil(lambda: dialog.table.rowCount() > 1, timeout=WAIT)
    licence = {
        dialog.table.item(row, 0).text(): dialog.table.item(row, 2).text()
        for row in range(dialog.table.rowCount())
    }
    assert licence["pydantic"] == "MIT"
    assert "LGPL" in licence["PySide6_Essentials"]
    dialog.reject()


def test_licenses_cover_runtime_dependencies_only() -> None:
    names = {package.name.lower() for package in diagnostics.list_packages()}
    assert {"lora-studio", "pydantic", "typer"} <= names
    assert "pytest-qt" not in names
    assert diagnostics.list_packages("no-such-package") == []


# --- problems -------------------------------------------------------------------------------------


def _problem(**changes: Any) -> Problem:
    return Problem(code="model.odd", what="It is odd.", remedy="Mend it.", **changes)


def test_every_problem_has_a_suggested_action(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.touch()
    fix = Fix(label="Use 16", step="lora", field="rank", value=16)
    cases = {
        "Use 16": _problem(fix=fix, where=Where(step="lora")),
        "Go to Dataset": _problem(where=Where(step="dataset", file=str(log))),
        "Open log": _problem(where=Where(file=str(log))),
        None: _problem(where=Where(file=str(tmp_path / "gone"))).model_copy(
            update={"code": "files.odd"}
        ),
    }
    actions = {label: suggest_action(problem) for label, problem in cases.items()}
    assert {label: action and action.label for label, action in actions.items()} == {
        label: label for label in cases
    }


def _codes() -> list[str]:
    """Return every problem code that the documentation lists."""
    listed = (Path(__file__).resolve().parents[3] / "packaging" / "docs" / "errors.md").read_text(
        "utf-8"
    )
    return re.findall(r"^\| `([a-z_]+\.[a-z0-9_]+)` \|", listed, re.MULTILINE)


def test_every_problem_code_has_an_action_or_an_explanation(window: Window) -> None:
    """Problems are built without a step, field or file, as commands and jobs report them."""
    codes = _codes()
    assert len(codes) > 250
    unexplained = explain_kind(_problem().model_copy(update={"code": "nothing.known"}))
    only_in_terminal = {"classify", "command", "demo"}
    shown_where_they_arise = {"chat", "device", "disk", "files", "gpu", "hub"} | only_in_terminal
    shown_where_they_arise |= {"playground", "project", "settings", "system", "window", "worker"}
    for code in codes:
        family = code.partition(".")[0]
        problem = Problem(code=code, what="It is odd.", remedy="Mend it.")
        now = suggest_action(problem)
        if now is None:
            assert family in shown_where_they_arise, code
        elif now.page:
            assert window.get_title(now.page) in now.label, code
        if family not in only_in_terminal:
            assert explain_kind(problem) != unexplained, code


def test_without_a_project_a_problem_action_leads_home(window: Window) -> None:
    window.show_page("settings")
    window.help.run_action(Problem(code="export.unquotable", what="It is odd.", remedy="Mend it."))
    assert window.page_name == "home"


@pytest.mark.slow
def test_problem_message_offers_fix_page_or_explanation(
    window: Window, project_folder: Path
) -> None:
    window.open_project(project_folder)
    window.show_page("home")
    fix = Fix(label="Use 64", step="lora", field="rank", value=64)
    window.messages.problem(_problem(fix=fix))
    window.toasts.action.click()
    assert window.state.get("lora", "rank") == 64
    window.messages.problem(_problem(where=Where(step="dataset")))
    assert window.toasts.action.text() == "Go to Dataset"
    window.toasts.action.click()
    assert window.page_name == "dataset"
    window.messages.problem(_problem(where=Where(step="model", field="source")))
    window.toasts.more.click()
    (dialog,) = window.findChildren(ProblemDialog)
    texts = [widget.text() for widget in dialog.findChildren(QLabel)]
    assert any("model.odd" in text for text in texts)
    assert explain_kind(_problem()) in texts
    dialog.copy.click()
    assert "model.odd" in QGuiApplication.clipboard().text()
    dialog.docs.click()
    (docs,) = window.findChildren(DocsViewer)
    assert docs.topic == window.state.get_facts("model", "source").help_topic
    docs.close()
    window.toasts.more.click()
    dialog = window.findChildren(ProblemDialog)[-1]
    dialog.action.click()
    assert window.page_name == "model"
    window.state.report("x", [_problem()])
    links = [widget for widget in window.strip.findChildren(QPushButton) if "odd" in widget.text()]
    links[-1].click()
    dialog = window.findChildren(ProblemDialog)[-1]
    assert dialog.isVisible(), "a problem without a step opens its explanation"
    dialog.reject()


@pytest.mark.slow
def test_diagnostics_are_previewed_and_selected_before_saving(
    qtbot: QtBot, window: Window, project_folder: Path, tmp_path: Path
) -> None:
    window.open_project(project_folder)
    window.actions_.commands["diagnostics"].trigger()
    (dialog,) = window.findChildren(DiagnosticsDialog)
    qtbot.waitUntil(lambda: dialog.save.isEnabled(), timeout=WAIT)
    names = [entry.name for entry in dialog.list_checked()]
    assert "project.json" in names
    dialog.list.setCurrentRow(names.index("project.json"))
    assert '"settings"' in dialog.preview.toPlainText()
    dialog.list.item(0).setCheckState(Qt.CheckState.Unchecked)
    dialog.write(tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.namelist() == names[1:]
    assert "out.zip" in window.toasts.text


def test_dialog_height_fits_its_text_at_large_text_size(qtbot: QtBot, qapp: QApplication) -> None:
    theme.get_theme().set_text_size(150)
    try:
        dialog = Dialog("A title", "Words that fill several lines. " * 12)
        qtbot.addWidget(dialog)
        below = QTextEdit()
        below.setMinimumHeight(120)
        dialog.body.addWidget(below)
        last = dialog.add_button(QPushButton("Close"))
        dialog.show()
        qtbot.waitExposed(dialog)
        needed = dialog.text.heightForWidth(dialog.text.width())
        assert dialog.text.height() >= needed
        assert below.geometry().bottom() < last.geometry().top()
    finally:
        theme.get_theme().set_text_size(100)
