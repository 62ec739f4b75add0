"""The command palette, help topics, and the tour."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtGui import QAction, QDragEnterEvent, QGuiApplication
from PySide6.QtWidgets import QApplication, QLabel, QPushButton, QTextEdit, QWidget
from pytestqt.qtbot import QtBot

from lora_studio import __version__
from lora_studio.core.help import diagnostics
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.problems import STEPS, Fix, Problem, Where
from lora_studio.core.project.project import SPECS
from lora_studio.core.project.search_terms import SYNONYMS
from lora_studio.core.spec import list_facts
from lora_studio.gui import theme
from lora_studio.gui.help import palette
from lora_studio.gui.help.dialogs import (
    AboutDialog,
    DiagnosticsDialog,
    ShortcutSheet,
    list_shortcuts,
)
from lora_studio.gui.help.palette import CommandPalette, SearchEntry, find
from lora_studio.gui.help.tour import STOPS, CoachMarks
from lora_studio.gui.pages.lora.page import LoraPage
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.problems.dialogs import ProblemDialog, explain_kind
from lora_studio.gui.problems.suggested_actions import suggest_action
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.widgets.dialog import Dialog
from lora_studio.gui.widgets.docs_viewer import DocsViewer
from lora_studio.gui.window.main_window import Window
from tests.helpers.models import model_facts
from tests.helpers.window.fake_engine import make_mime_data

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
    qtbot.waitUntil(lambda: window.page_name == "lora")
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
    qtbot.waitUntil(lambda: window.state.name == "support bot")
    palette = _palette(qtbot, window)
    qtbot.keyClicks(palette.line, "theme")  # a setting of the program, not of the project
    qtbot.keyClick(palette.line, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: window.page_name == "settings")
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
    qtbot.waitUntil(lambda: dialog.table.rowCount() > 1)
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
    qtbot.waitUntil(lambda: dialog.save.isEnabled())
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


def _titles(query: str, *titles: tuple[str, str]) -> list[str]:
    entries = [SearchEntry("setting", title, print, detail) for title, detail in titles]
    return [entry.title for entry in find(entries, query)]


def _settings() -> list[SearchEntry]:
    """Return all settings of a project, titled by their field, and those with synonyms alone."""
    fields = {
        f"{step}.{facts.name}": facts for step, spec in SPECS.items() for facts in list_facts(spec)
    }
    names = {*fields, *SYNONYMS}
    return [
        SearchEntry(
            "setting",
            name,
            print,
            fields[name].description if name in fields else "",
            terms=SYNONYMS.get(name, ""),
        )
        for name in sorted(names)
    ]


def test_start_of_title_ranks_before_word_in_description() -> None:
    matches = _titles(
        "rate",
        ("Dropout", "The rate at which outputs are dropped."),
        ("Learning rate", ""),
        ("Rate limit", ""),
        ("Rank", ""),
    )
    assert matches == ["Rate limit", "Learning rate", "Dropout"]


def test_exact_title_ranks_first_then_page_order() -> None:
    assert _titles("rate", ("Learning rate", ""), ("Low rate", ""), ("Rate", ""))[0] == "Rate"
    assert _titles("rate", ("Learning rate", ""), ("Low rate", "")) == ["Learning rate", "Low rate"]


def test_every_word_must_match_without_case_and_accents() -> None:
    assert _titles("GROSSE los", ("Losgröße", ""), ("Größe der Lose", ""))[0] == "Größe der Lose"
    assert _titles("learning dataset", ("Learning rate", "")) == []


def test_letters_in_order_match_as_last_resort() -> None:
    assert _titles("lrt", ("Learning rate", ""), ("Rank", "")) == ["Learning rate"]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        pytest.param("batch size", "training.micro_batch", id="batch-size"),
        pytest.param("seq length", "dataset.max_length", id="seq-length"),
        pytest.param("max tokens", "dataset.max_length", id="max-tokens"),
        pytest.param("quantize", "export.quantizations", id="quantize-american"),
        pytest.param("quantise", "export.quantizations", id="quantise-british"),
        pytest.param("quantisation", "model.precision", id="quantisation-british"),
        pytest.param("upload", "go_export", id="upload"),
        pytest.param("dark mode", "settings.theme", id="dark-mode"),
        pytest.param("colour scheme", "settings.theme", id="colour-british"),
        pytest.param("DPO", "training.preference", id="dpo"),
        pytest.param("beta", "training.beta", id="beta"),
        pytest.param("seed", "training.seed", id="seed"),
        pytest.param("lr", "training.learning_rate", id="lr"),
        pytest.param("optimiser", "training.optimizer", id="optimiser-british"),
        pytest.param("wandb", "training.trackers", id="wandb"),
    ],
)
def test_synonyms_find_the_setting(query: str, name: str) -> None:
    assert name in [entry.title for entry in find(_settings(), query)][:4]


def test_synonyms_belong_to_existing_fields() -> None:
    fields = {(step, facts.name) for step, spec in SPECS.items() for facts in list_facts(spec)}
    named = {tuple(name.split(".")) for name in SYNONYMS if name.split(".")[0] in SPECS}
    assert named <= fields


def read_sections() -> dict[str, str]:
    """Return the text of each topic without its heading."""
    _, *sections = diagnostics.read_text().split("\n## ")
    return {
        diagnostics.slugify(text.partition("\n")[0]): text.partition("\n")[2] for text in sections
    }


@pytest.mark.parametrize("step", SPECS)
def test_every_field_has_a_help_section(step: str) -> None:
    known = diagnostics.list_topics()
    unexplained = [x.name for x in list_facts(SPECS[step]) if x.help_topic not in known]
    assert unexplained == []


def test_help_sections_are_filled_and_have_unique_topics() -> None:
    headings = [line for line in diagnostics.read_text().splitlines() if line.startswith("## ")]
    assert len(headings) == len(diagnostics.list_topics())
    assert all(len(text) > 80 for text in read_sections().values())


def test_adapter_formulas_are_in_the_topics_of_their_fields() -> None:
    for field, formula in (
        ("rank", "W' = W + s · B A"),
        ("use_rslora", "s = alpha / √r"),
        ("use_dora", "‖W + s B A‖"),
        ("init", "W = U S Vᵀ"),
    ):
        topic = next(x.help_topic for x in list_facts(LoraSpec) if x.name == field)
        assert formula in read_sections()[topic]


@pytest.fixture
def page(qtbot: QtBot, state: ProjectState) -> LoraPage:
    lora_page = LoraPage(state)
    qtbot.addWidget(lora_page)
    lora_page.resize(1100, 740)
    lora_page.show()
    qtbot.waitExposed(lora_page)
    return lora_page


def viewer_of(page: LoraPage) -> DocsViewer:
    viewers = page.window().findChildren(DocsViewer)
    assert len(viewers) == 1, "each page opens in the same viewer"
    return viewers[0]


def first_words(viewer: DocsViewer) -> str:
    """Return the text of the block at the top of the viewport."""
    return viewer.page.cursorForPosition(viewer.page.viewport().rect().topLeft()).block().text()


def test_f1_in_a_field_scrolls_to_its_section(qtbot: QtBot, page: LoraPage) -> None:
    page.rank.line.line.setFocus()
    qtbot.keyClick(page.rank.line.line, Qt.Key.Key_F1)
    viewer = viewer_of(page)
    assert viewer.isVisible()
    assert viewer.topic == "lora-update"
    assert first_words(viewer) in ("LoRA update", "")
    qtbot.keyClick(page.dropout.line.line, Qt.Key.Key_F1)
    assert viewer_of(page).topic == "dropout"
    viewer.close()


def test_click_on_the_help_mark_opens_the_section(qtbot: QtBot, page: LoraPage) -> None:
    mark = page.editors["alpha"].mark
    assert mark.isVisible()
    assert "F1" in mark.toolTip()
    qtbot.mouseClick(mark, Qt.MouseButton.LeftButton)
    viewer = viewer_of(page)
    assert viewer.topic == "lora-update"
    viewer.topics.setFocus()
    qtbot.keyClick(viewer.topics, Qt.Key.Key_Down)
    assert viewer.topic == "dropout"
    viewer.close()


def test_field_without_a_label_has_the_mark_after_its_help(page: LoraPage) -> None:
    flag = page.editors["use_dora"]
    assert flag.mark.isHidden()
    assert not flag.other_mark.isHidden()


def _marks(window: Window) -> CoachMarks:
    return window.findChildren(CoachMarks)[-1]


@pytest.mark.slow
def test_tour_visits_every_stop_by_keyboard(qtbot: QtBot, window: Window) -> None:
    window.actions_.commands["tour"].trigger()
    qtbot.waitUntil(lambda: _marks(window).isVisible())
    assert not window.has_project, "no project is opened before the user continues"
    pages = []
    marks = _marks(window)
    for at, stop in enumerate(STOPS):
        qtbot.waitUntil(lambda stop=stop: marks.title.text() == stop.title)
        pages.append(window.page_name)
        target = stop.target(window)
        assert target.isVisible(), f"stop {at} highlights a hidden widget"
        assert marks.highlight().isValid()
        assert window.rect().contains(marks.bubble.geometry())
        assert marks.focusWidget() is marks.next
        assert stop.text in marks.next.accessibleDescription()
        qtbot.keyClick(marks.next, Qt.Key.Key_Right if at % 2 else Qt.Key.Key_Space)
    assert pages == [stop.page for stop in STOPS]
    assert window.state.draft.folder is not None
    assert not window.tour.is_running


@pytest.mark.slow
def test_escape_ends_the_tour_and_marks_it_as_seen(qtbot: QtBot, window: Window) -> None:
    assert not window.preferences.tour_seen
    window.tour.start()
    qtbot.waitUntil(lambda: _marks(window).isVisible())
    qtbot.keyClick(_marks(window).next, Qt.Key.Key_Escape)
    assert not window.tour.is_running
    assert not window.has_project
    assert Preferences.load().tour_seen
    window.tour.start()
    assert window.tour.is_running, "Help starts it again"
    window.tour.end()


def test_file_dragged_over_the_tour_ends_it(qtbot: QtBot, window: Window, tmp_path: Path) -> None:
    window.tour.start()
    qtbot.waitUntil(lambda: _marks(window).isVisible())
    data = make_mime_data(tmp_path / "rows.csv")
    copy, left, none = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier  # fmt: skip
    drag = QDragEnterEvent(QPoint(5, 5), copy, data, left, none)
    QApplication.sendEvent(_marks(window), drag)
    assert not window.tour.is_running
    assert not drag.isAccepted(), "what is below accepts it"


def test_click_elsewhere_ends_the_tour_and_counts(qtbot: QtBot, window: Window) -> None:
    window.tour.start()
    qtbot.waitUntil(lambda: _marks(window).isVisible())
    marks, new = _marks(window), window.home.new
    qtbot.mouseClick(marks, Qt.MouseButton.LeftButton, pos=marks.bubble.geometry().center())
    assert window.tour.is_running
    with qtbot.waitSignal(window.home.new_clicked):
        place = new.mapTo(window, new.rect().center())
        qtbot.mouseClick(marks, Qt.MouseButton.LeftButton, pos=place)
    assert not window.tour.is_running


@pytest.mark.slow
def test_tab_stays_within_the_tour_and_left_goes_back(qtbot: QtBot, window: Window) -> None:
    window.tour.start()
    qtbot.waitUntil(lambda: _marks(window).isVisible())
    marks = _marks(window)
    focused: set[QWidget | None] = set()
    for _ in range(4):
        marks.focusNextPrevChild(True)
        focused.add(marks.focusWidget())
    assert focused == {marks.skip, marks.next}
    qtbot.keyClick(marks.next, Qt.Key.Key_Right)
    qtbot.waitUntil(lambda: not marks.back.isHidden())
    qtbot.keyClick(marks.next, Qt.Key.Key_Left)
    qtbot.waitUntil(lambda: marks.back.isHidden())
    assert window.page_name == "home"
    window.tour.end()


def test_bubble_stays_inside_the_window_for_any_target(qtbot: QtBot, qapp: QApplication) -> None:
    over = QWidget()
    qtbot.addWidget(over)
    over.resize(960, 640)
    target = QWidget(over)
    marks = CoachMarks(over)
    over.show()
    for rectangle in (
        QRect(0, 0, 184, 640), QRect(900, 0, 60, 40), QRect(0, 600, 960, 40),
        QRect(184, 40, 776, 600), QRect(400, 300, 100, 40),
    ):  # fmt: skip
        target.setGeometry(rectangle)
        marks.show_mark(target, "A title", "Some words that take a line or two. " * 4, 1, 3)
        assert over.rect().contains(marks.bubble.geometry()), rectangle
        # A line that is one pixel too short loses its descenders.
        assert marks.text.height() >= marks.text.heightForWidth(marks.text.width())
    over.resize(1280, 800)
    assert marks.size() == over.size()
