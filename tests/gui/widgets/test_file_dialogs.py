"""Dialogs, links, layouts and tooltips of the window."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import shiboken6
from PySide6.QtCore import QUrl
from PySide6.QtGui import QColor, QDesktopServices, QImage, Qt, QTextDocumentFragment
from PySide6.QtWidgets import QFileDialog, QPushButton, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from lora_studio.core.messages import text
from lora_studio.core.problems import Problem, Where
from lora_studio.core.system import paths
from lora_studio.gui.pages.playground.chat_column import AnswerText
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.problems.suggested_actions import suggest_action
from lora_studio.gui.widgets import file_dialogs
from lora_studio.gui.widgets.basics import Card, FlowLayout
from lora_studio.gui.widgets.external_open import open_path
from lora_studio.gui.widgets.file_dialogs import DIALOG_FOLDER, choose_folder
from lora_studio.gui.widgets.tooltips import plain_tip
from lora_studio.gui.widgets.work_cover import WorkCover, cover_window, run_covered


@pytest.fixture(autouse=True)
def last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(DIALOG_FOLDER, "folder", "")
    monkeypatch.setattr(paths, "get_documents_folder", lambda: tmp_path / "Documents")


def open_dialog(window: QWidget) -> QFileDialog:
    choose_folder(window, "Folder", lambda _: None)
    return window.findChildren(QFileDialog)[-1]


def test_dialogs_begin_where_something_was_chosen_last(
    qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preferences = Preferences()
    monkeypatch.setattr(DIALOG_FOLDER, "save", preferences.remember_dialog_folder)
    window = QWidget()
    qtbot.addWidget(window)
    (tmp_path / "Documents").mkdir()
    assert open_dialog(window).directory().path() == str(tmp_path / "Documents")
    (tmp_path / "data" / "rows").mkdir(parents=True)
    open_dialog(window).fileSelected.emit(str(tmp_path / "data" / "rows"))
    assert open_dialog(window).directory().path() == str(tmp_path / "data")
    assert Preferences.load().dialog_folder == str(tmp_path / "data")


def test_missing_folders_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DIALOG_FOLDER, "folder", str(tmp_path / "gone"))
    assert file_dialogs.DIALOG_FOLDER.get_folder() == str(tmp_path)


def test_new_projects_go_to_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LORA_STUDIO_DATA")
    assert Preferences().get_new_project_parent() == tmp_path / "Documents" / "LoRA Studio"


WINDOW = Path(__file__).resolve().parents[3] / "lora_studio" / "gui"


@pytest.mark.parametrize(
    "text",
    [
        "<img src='file:///dev/zero'>",
        "a <b>b</b>",
        "x &lt; y",
        "plain",
        "1 < 2 > 0",
        "C:\\<i>\nnext",
    ],
)
def test_tooltip_shows_every_character(text: str) -> None:
    tip = plain_tip(text)
    shown = QTextDocumentFragment.fromHtml(tip).toPlainText() if Qt.mightBeRichText(tip) else tip
    assert shown == text


def is_our_own(argument: ast.expr) -> bool:
    """Return whether a tooltip is a literal, translated or not, or made plain."""
    is_call = isinstance(argument, ast.Call) and isinstance(argument.func, ast.Name)
    return isinstance(argument, ast.Constant) or (
        is_call and argument.func.id in ("tr", "plain_tip")
    )


def test_every_tooltip_is_a_literal_or_made_plain() -> None:
    foreign = []
    for file in sorted(WINDOW.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            position = {"setToolTip": 0, "showText": 1}.get(node.func.attr)
            if position is not None and not is_our_own(node.args[position]):
                foreign.append(f"{file.relative_to(WINDOW)}:{node.lineno}")
    assert foreign == []


def test_labels_are_created_by_one_function_as_plain_text() -> None:
    """Only these build labels themselves, and escape names or show no text of others."""
    rich = {"plots/step_plot.py", "widgets/token_view.py"}
    files = {
        file.relative_to(WINDOW).as_posix()
        for file in WINDOW.rglob("*.py")
        if "RichText" in file.read_text("utf-8").replace("import RichText", "")
        and "TextFormat.RichText" in file.read_text("utf-8")
    }
    assert files == rich


@pytest.mark.parametrize("address", ["{file}", "file://{file}", "file:{file}"])
def test_image_of_an_answer_is_not_read(qtbot: QtBot, tmp_path: Path, address: str) -> None:
    file = tmp_path / "large.png"
    image = QImage(400, 900, QImage.Format.Format_RGB32)
    image.fill(QColor("red"))
    assert image.save(str(file))
    view = AnswerText("answer")
    qtbot.addWidget(view)
    view.resize(600, 400)
    view.show()
    view.show_answer(f"**Look** ![picture]({address.format(file=file)})")
    qtbot.waitExposed(view)
    assert view.document().size().height() < 100
    shown = view.grab().toImage()
    pixels = {shown.pixel(x, y) for x in range(shown.width()) for y in range(shown.height())}
    assert QColor("red").rgb() not in pixels


def _card(qtbot: QtBot) -> tuple[Card, FlowLayout, list[QPushButton]]:
    card, flow = Card("Result"), FlowLayout()
    qtbot.addWidget(card)
    parts = [QPushButton(f"Way {number}") for number in range(4)]
    for part in parts:
        flow.addWidget(part)
    card.add(flow)
    card.show()
    return card, flow, parts


def test_flow_survives_the_invalidation_of_its_parent_wrapper(qtbot: QtBot) -> None:
    card, flow, parts = _card(qtbot)
    shiboken6.invalidate(card.body)  # type: ignore[attr-defined]  # as happens where wrappers are collected
    assert flow.heightForWidth(2000) == parts[0].sizeHint().height()
    assert flow.heightForWidth(10) > 4 * parts[0].sizeHint().height()
    assert flow.sizeHint().width() > parts[0].sizeHint().width()


def test_deleted_and_reparented_widgets_leave_the_flow(qtbot: QtBot) -> None:
    holder = QWidget()
    qtbot.addWidget(holder)
    card, flow, parts = _card(qtbot)
    QVBoxLayout(holder).addWidget(card)
    shiboken6.delete(parts[1])
    parts[2].setParent(None)
    assert flow.count() == 2
    taken = flow.takeAt(0)
    assert taken is not None
    assert taken.widget() is parts[0]
    assert flow.count() == 1
    parts[2].deleteLater()


def find_cover(window: QWidget) -> WorkCover | None:
    return next((cover for cover in window.findChildren(WorkCover) if cover.isVisible()), None)


def test_window_says_what_it_does_before_it_freezes(qtbot: QtBot) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    window.resize(300, 200)
    window.show()
    seen: list[str] = []

    def work() -> None:
        cover = find_cover(window)
        assert cover is not None
        seen.append(cover.accessibleName())

    before = window.grab().toImage()
    run_covered(window, "Changing the theme…", work)
    assert seen == [], "the cover is painted first"
    assert window.grab().toImage() != before
    qtbot.waitUntil(lambda: seen == ["Changing the theme…"])
    assert find_cover(window) is None


def test_hidden_window_is_changed_at_once(qtbot: QtBot) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    done: list[int] = []
    run_covered(window, "Changing the theme…", lambda: done.append(1))
    assert done == [1]


def test_work_that_cannot_be_delayed_is_covered(qtbot: QtBot) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    with cover_window(window, "Preparing the pages…"):
        assert find_cover(window) is None, "the window isn't visible"
    window.show()
    with cover_window(window, "Preparing the pages…"):
        assert find_cover(window) is not None
    assert find_cover(window) is None


def test_failed_work_uncovers_the_window(qtbot: QtBot) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    window.show()
    with qtbot.captureExceptions() as exceptions:
        run_covered(window, "Opening…", lambda: 1 / 0)
        qtbot.waitUntil(lambda: bool(exceptions))
    assert find_cover(window) is None


def test_work_may_be_the_last_owner_of_the_window(qtbot: QtBot) -> None:
    seen: list[str] = []

    class Covered(QWidget):
        def __init__(self) -> None:
            super().__init__()
            self.destroyed.connect(lambda: seen.append("deleted"))

        def work(self) -> None:
            seen.append("worked")

    window = Covered()
    window.show()
    run_covered(window, "Opening…", lambda window=window: window.work())
    del window
    # A cover that is deleted twice ends the process.
    qtbot.waitUntil(lambda: seen == ["worked", "deleted"])


@pytest.mark.parametrize("size", [(1280, 800), (640, 480)])
def test_cover_fills_the_window(qtbot: QtBot, size: tuple[int, int]) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    window.resize(*size)
    window.show()
    run_covered(window, "Opening…", lambda: None)
    cover = find_cover(window)
    assert cover is not None
    assert cover.geometry() == window.rect()
    qtbot.waitUntil(lambda: find_cover(window) is None)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the paths that the system was asked to open."""
    paths: list[Path] = []

    def open_url(url: QUrl) -> bool:
        paths.append(Path(url.toLocalFile()))
        return True

    monkeypatch.setattr(QDesktopServices, "openUrl", open_url)
    return paths


def make_problem(file: Path) -> Problem:
    return Problem(code="x.y", what=text("A."), remedy=text("B."), where=Where(file=str(file)))


@pytest.mark.parametrize("name", ["log.txt", "rows.jsonl", "p.TOML"])
def test_text_is_opened(name: str, tmp_path: Path, opened: list[Path]) -> None:
    file = tmp_path / name
    file.touch()
    open_path(file)
    assert opened == [file]


@pytest.mark.parametrize(
    "name",
    ["a.desktop", "a.sh", "a.html", "a.exe", "a.docm", "a.py", "a", "a.txt.desktop", "a.lnk"],
)
def test_folder_of_any_other_file_is_opened(name: str, tmp_path: Path, opened: list[Path]) -> None:
    file = tmp_path / name
    file.touch(0o755)
    open_path(file)
    assert opened == [tmp_path]
    assert (action := suggest_action(make_problem(file)))
    assert action.label == "Open folder"


def test_link_is_opened_as_what_it_leads_to(tmp_path: Path, opened: list[Path]) -> None:
    (tmp_path / "programs").mkdir()
    program = tmp_path / "programs" / "a.desktop"
    program.touch(0o755)
    (tmp_path / "log.txt").symlink_to(program)
    open_path(tmp_path / "log.txt")
    assert opened == [tmp_path / "programs"]


def test_folder_that_macos_runs_is_not_opened(tmp_path: Path, opened: list[Path]) -> None:
    (tmp_path / "a.app").mkdir()
    open_path(tmp_path / "a.app")
    open_path(tmp_path)
    assert opened == [tmp_path, tmp_path]
