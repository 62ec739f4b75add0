"""Toasts: they move nothing, don't call a refusal a success, and end with their project."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF
from PySide6.QtGui import QEnterEvent
from PySide6.QtWidgets import QApplication, QPushButton, QToolButton, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from lora_studio.core.problems import Problem, Where
from lora_studio.gui.problems import toasts
from lora_studio.gui.problems.suggested_actions import Messages, Toast
from lora_studio.gui.problems.toasts import ToastStack

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
