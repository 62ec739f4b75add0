"""What the window shows of texts with labels, and a classifier of them, for screenshots."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from PySide6.QtTest import QTest
from PySide6.QtWidgets import QWidget

from lora_studio.core.protocol import events
from lora_studio.gui.pages.playground.classifier import ClassifierRun
from tests.helpers.models import model_facts
from tests.helpers.runs.job_events import emit, wait_until

COUNTS = {"billing": 1240, "shipping": 610, "technical": 233, "returns": 96, "Billing": 12, "a label with a long name, as they come from a form": 3}  # fmt: skip


def linted() -> events.DatasetLinted:
    """Return the check of texts with labels."""
    labels = tuple(
        events.LabelCount(label=label, training=rows - rows // 20, validation=rows // 20)
        for label, rows in COUNTS.items()
    )
    findings = model_facts.findings().findings
    return events.DatasetLinted(rows=2194, findings=findings, labels=labels, label_count=len(labels))  # fmt: skip


def pairs_linted() -> events.DatasetLinted:
    """Return the check of pairs for search."""
    pairs = events.SearchPairCounts(pairs=1240, with_negative=310, queries=1198, passages=870)
    return model_facts.findings().model_copy(update={"pairs": pairs})


def dataset_shots(window: Any) -> Iterator[tuple[str, QWidget]]:
    """Yield the labels of a dataset, and the findings of pairs for search."""
    page, before = window.pages["dataset"], window.state.facts.findings
    window.state.set_answer(linted())
    page.tabs.setCurrentWidget(page.labels)
    QTest.qWait(200)
    yield "dataset-labels", window
    window.state.set_answer(pairs_linted())
    page.tabs.setCurrentIndex(2)
    QTest.qWait(200)
    yield "dataset-pairs", window
    window.state.set_answer(before)


TEXTS = (
    "Where is my parcel? It should have been here on Monday.",
    "I was charged twice for the same order.",
    "The lamp flickers whenever I dim it below half, and after a few minutes it turns itself off.",
)


def scenario() -> dict[str, list[dict[str, Any]]]:
    """Return the answers of a classifier's worker."""
    probabilities = ((0.04, 0.91, 0.02, 0.03), (0.97, 0.005, 0.005, 0.02), (0.02, 0.08, 0.72, 0.18))
    predicted = events.TextsClassified(
        labels=tuple(COUNTS)[:4], probabilities=probabilities, cut=1
    )  # fmt: skip
    return {"classify": [emit(predicted)]}


def playground_shots(window: Any) -> Iterator[tuple[str, QWidget]]:
    """Yield a classifier in the playground: without texts, and with several."""
    window.show_page("playground")
    page = window.playground
    view = page.classifier
    wait_until(lambda: not view.controller._tasks.busy)
    view.controller.runs = (ClassifierRun("/runs/a", "24 Nov, 14:05 · tickets", is_newest=True),)
    view.controller.found.emit()
    view.box.setPlainText("\n".join(TEXTS))
    page.press_primary()
    wait_until(lambda: view.texts.rowCount() == len(TEXTS))
    view.texts.setCurrentCell(2, 0)
    QTest.qWait(200)
    yield "playground-classifier", window
    one = events.TextsClassified(labels=("bill", "ship"), probabilities=((0.2, 0.8),))
    view.box.setPlainText(TEXTS[0])
    view.controller.classified.emit(TEXTS[:1], one)
    QTest.qWait(200)
    yield "playground-classified", window
    page.set_mode("chat")
