"""The flow layout keeps its widgets as long as Qt does, even without Python references."""

from __future__ import annotations

import shiboken6
from PySide6.QtWidgets import QPushButton, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from lora_studio.gui.widgets.basics import Card, FlowLayout


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
