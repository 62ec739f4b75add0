"""Evaluations of embedding models and classifiers in words, as the terminal and the window's log show them."""

from __future__ import annotations

import pytest
from pytestqt.qtbot import QtBot

from lora_studio.cli import event_text
from lora_studio.core.protocol import events
from lora_studio.core.protocol.evaluation_text import describe_predictions
from lora_studio.core.tasks.classification import ClassificationReport
from lora_studio.gui.pages.training.page import LogView

_METRICS = {"recall_at_1": 0.25, "recall_at_5": 0.5, "recall_at_10": 0.75, "mrr": 0.4}
_REPORT = ClassificationReport(labels=("a", "b"), confusion=((0, 0, 3), (1, 0, 1)))


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (events.Evaluated(step=0, loss=1.5, metrics=_METRICS), "Before training: recall@1 25 %"),
        (events.Evaluated(step=8, loss=1.5, metrics=_METRICS), "step 8: loss 1.50, recall@1 25 %"),
        (events.Evaluated(step=8, loss=0.5, classification=_REPORT), "accuracy 75 %, macro F1 42.9 %"),
    ],
)  # fmt: skip
def test_terminal_and_log_say_the_same_of_predictions(
    qtbot: QtBot, event: events.Evaluated, expected: str
) -> None:
    log = LogView()
    qtbot.addWidget(log)
    log.on_event(event)
    said = str(event_text.describe(event))
    assert expected in said
    assert said in log.toPlainText()


def test_log_says_that_training_started(qtbot: QtBot) -> None:
    log = LogView()
    qtbot.addWidget(log)
    log.on_event(events.Started(command="train"))
    assert log.toPlainText().endswith("  Training started")


def test_other_evaluations_have_only_a_loss() -> None:
    assert describe_predictions(events.Evaluated(step=8, loss=0.5)) is None
