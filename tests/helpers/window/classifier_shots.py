"""What the window shows of texts with labels, and a classifier of them, for screenshots."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from PySide6.QtTest import QTest
from PySide6.QtWidgets import QWidget

from lora_studio.core.protocol import events
from tests.helpers.models import model_facts

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
