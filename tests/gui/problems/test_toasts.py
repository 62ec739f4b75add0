"""Toasts: they move nothing, don't call a refusal a success, and end with their project."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QEnterEvent
from PySide6.QtWidgets import QApplication, QPushButton, QToolButton, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from lora_studio.core.model import remote_code
from lora_studio.core.problems import Problem, Where
from lora_studio.core.system import consent
from lora_studio.gui.pages.settings.page import TrustedCodeCard
from lora_studio.gui.problems import toasts
from lora_studio.gui.problems.dialogs import ConsentDialog
from lora_studio.gui.problems.suggested_actions import Messages, Toast, suggest_action
from lora_studio.gui.problems.toasts import ToastStack
from lora_studio.gui.window.main_window import Window

_PROBLEM = Problem(code="x", what="It failed.", remedy="Do this.", where=Where(step="dataset"))


@pytest.fixture
def page(qtbot: QtBot) -> QWidget:
    page = QWidget()
    qtbot.addWidget(page)
    layout = QVBoxLayout(page)
    layout.addWidget(QPushButton("First"))
    layout.addStretch(1)
    layout.addWidget(QPushButton("Last"))
    page.resize(800, 600)
    page.show()
    return page


def test_message_moves_no_widget_of_the_page(page: QWidget) -> None:
    stack = ToastStack(page)
    buttons = page.findChildren(QPushButton)
    before = [button.geometry() for button in buttons]
    stack.show_message(Toast("error", "It failed.", _PROBLEM))
    QApplication.processEvents()
    assert [button.geometry() for button in buttons] == before
    assert stack.geometry().right() < page.width()
    assert stack.geometry().top() > page.height() / 2
    page.resize(500, 400)
    assert page.rect().contains(stack.geometry())
    stack.clear()


def test_click_beside_the_toasts_reaches_the_page(page: QWidget) -> None:
    stack = ToastStack(page)
    stack.show_message(Toast("error", "It failed.", _PROBLEM))
    assert page.childAt(QPoint(40, 20)) is page.findChildren(QPushButton)[0]
    stack.clear()
    assert page.childAt(page.rect().bottomRight() - QPoint(40, 20)) is not None


def test_equal_message_is_shown_once_and_old_ones_go(page: QWidget) -> None:
    stack = ToastStack(page)
    for text in ("a", "a", "b", "c", "d"):
        stack.show_message(Toast("info", text))
    assert [card.text for card in stack.cards] == ["b", "c", "d"]
    stack.show_message(Toast("error", "It failed.", _PROBLEM))
    stack.show_message(Toast("info", "e"))
    stack.show_message(Toast("info", "f"))
    assert [card.text for card in stack.cards] == ["It failed. Do this.", "e", "f"]
    stack.clear()


def test_only_messages_without_a_problem_disappear(
    qtbot: QtBot, page: QWidget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toasts, "_INFO_TIME", 20)
    stack = ToastStack(page)
    stack.show_message(Toast("error", "It failed.", _PROBLEM))
    stack.show_message(Toast("success", "It is done."))
    qtbot.waitUntil(lambda: len(stack.cards) == 1)
    assert stack.text == "It failed. Do this."
    dismiss = stack.cards[0].findChild(QToolButton)
    assert dismiss is not None
    dismiss.click()
    assert not stack.isVisible()


def test_message_stays_while_the_mouse_is_over_it(
    qtbot: QtBot, page: QWidget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toasts, "_INFO_TIME", 30)
    stack = ToastStack(page)
    stack.show_message(Toast("info", "Read this."))
    card = stack.cards[0]
    QApplication.sendEvent(card, _enter())
    qtbot.wait(60)
    assert stack.cards == [card]
    QApplication.sendEvent(card, QEvent(QEvent.Type.Leave))
    qtbot.waitUntil(lambda: not stack.cards)


def test_actions_of_a_toast_name_its_own_problem(qtbot: QtBot, page: QWidget) -> None:
    stack = ToastStack(page)
    other = _PROBLEM.model_copy(update={"code": "y", "what": "Another failed."})
    stack.show_message(Toast("error", "", _PROBLEM))
    stack.show_message(Toast("error", "", other))
    with qtbot.waitSignal(stack.explanation_requested) as emitted:
        stack.cards[0].more.click()
    assert emitted.args == [_PROBLEM]
    with qtbot.waitSignal(stack.action_requested) as emitted:
        stack.action.click()
    assert emitted.args == [other]
    stack.clear()


def test_refusal_and_success_have_different_levels(qtbot: QtBot) -> None:
    messages = Messages()
    posted: list[Toast] = []
    messages.posted.connect(posted.append)
    messages.info("Training is running.")
    messages.success("The adapter is trained.")
    messages.connect_view()
    assert [item.level for item in posted] == ["info", "success"]


def _enter() -> QEvent:
    return QEnterEvent(QPointF(1, 1), QPointF(1, 1), QPointF(1, 1))


SOURCE = "import os\nprint(os.environ)\n"


def untrusted(folder: Path) -> Problem:
    """Write a model with code of its own, and return the problem about it."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"auto_map": {"AutoConfig": "own.Config"}}))
    (folder / "own.py").write_text(SOURCE)
    code = remote_code.find_code(folder)
    assert code is not None
    return remote_code.untrusted_problem(code)


def open_dialog(window: Window, problem: Problem) -> ConsentDialog:
    window.help.run_action(problem)
    (dialog,) = window.findChildren(ConsentDialog)
    return dialog


def test_problem_of_untrusted_code_offers_a_review(tmp_path: Path) -> None:
    assert (action := suggest_action(untrusted(tmp_path / "model")))
    assert action.label == "Review code…"


def test_dialog_shows_every_file_before_it_is_allowed(
    qtbot: QtBot, window: Window, project_folder: Path, tmp_path: Path
) -> None:
    window.open_project(project_folder)
    problem = untrusted(tmp_path / "model")
    dialog = open_dialog(window, problem)
    assert [dialog.files.itemText(i) for i in range(dialog.files.count())] == ["own.py"]
    assert dialog.source.toPlainText() == SOURCE
    assert dialog.cancel.isDefault()
    assert consent.read_trusted() == {}
    with qtbot.waitSignal(dialog.allowed):
        qtbot.mouseClick(dialog.allow, Qt.MouseButton.LeftButton)
    (entry,) = consent.read_trusted().values()
    assert entry["folder"] == str(tmp_path / "model")


def test_file_that_changed_since_it_was_hashed_cannot_be_allowed(
    qtbot: QtBot, window: Window, tmp_path: Path
) -> None:
    untrusted(tmp_path / "model")
    code = remote_code.find_code(tmp_path / "model")
    assert code is not None
    (tmp_path / "model" / "own.py").write_text("# harmless\n")
    dialog = ConsentDialog(code, window)
    qtbot.addWidget(dialog)
    assert "harmless" not in dialog.source.toPlainText()
    assert not dialog.allow.isEnabled()


def test_long_file_is_shown_as_such(qtbot: QtBot, window: Window, tmp_path: Path) -> None:
    untrusted(tmp_path / "model")
    (tmp_path / "model" / "own.py").write_text("#\n" * 300_000)
    code = remote_code.find_code(tmp_path / "model")
    assert code is not None
    dialog = ConsentDialog(code, window)
    qtbot.addWidget(dialog)
    assert not dialog.source.toPlainText().startswith("#")
    assert dialog.allow.isEnabled()


def test_canceled_review_allows_nothing(
    qtbot: QtBot, window: Window, project_folder: Path, tmp_path: Path
) -> None:
    window.open_project(project_folder)
    dialog = open_dialog(window, untrusted(tmp_path / "model"))
    qtbot.mouseClick(dialog.cancel, Qt.MouseButton.LeftButton)
    assert consent.read_trusted() == {}


def test_consent_is_withdrawn_in_settings(qtbot: QtBot, tmp_path: Path) -> None:
    problem = untrusted(tmp_path / "model")
    code = remote_code.find_code(Path(problem.where.file or ""))
    assert code is not None
    consent.trust(code)
    card = TrustedCodeCard()
    qtbot.addWidget(card)
    card.show()
    card.refresh()
    QApplication.processEvents()
    assert [part for part in card.findChildren(QPushButton) if part.isVisible()] == card.buttons
    (withdraw,) = card.buttons
    assert str(tmp_path / "model") in withdraw.accessibleName()
    qtbot.mouseClick(withdraw, Qt.MouseButton.LeftButton)
    assert not consent.is_trusted(code)
    assert card.buttons == []
