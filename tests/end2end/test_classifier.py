"""A classifier from its rows to the Playground, through the window, with the real worker on a tiny model."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot
from transformers import AutoConfig, AutoModelForSequenceClassification

from lora_studio.core import formatting
from lora_studio.core.project import project
from lora_studio.core.runs.folder import RunFolder, list_runs
from lora_studio.engine.model.loading import load_tokenizer
from lora_studio.gui.pages.playground.page import PlaygroundPage
from lora_studio.gui.widgets.tables import BarTable
from lora_studio.gui.window.main_window import Window
from tests.helpers.accepted_projects import accept_project
from tests.helpers.command_line import run_studio
from tests.helpers.models.tiny_models import tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.end2end, pytest.mark.usefixtures("quick_workers")]

WAIT = 180_000
LABELS = ("bill", "ship")
WORDS = "my order from last week about the new blue lamp was not what you said it would be so please help"
TEXTS = ("Where is my parcel?", "I was charged twice, please help.", "ship")


@pytest.fixture
def window(window: Window, tmp_path: Path) -> Window:
    """The window with a project of texts and labels, none of it inspected yet."""
    rows = tmp_path / "rows.jsonl"
    lines = [
        {"text": " ".join(random.Random(n).sample(WORDS.split(), 6)) + f" {label}", "label": label}
        for n, label in enumerate(LABELS * 12)
    ]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    values = {
        "model": {"source": str(tiny_model("llama3", tmp_path / "base")), "precision": "fp32", "device": "cpu"},
        "dataset": {"sources": [{"path": str(rows)}], "validation_count": 4},
        "training": {"epochs": 3, "learning_rate": 1e-2, "micro_batch": 4, "gradient_accumulation": 1},
        "lora": {"rank": 4},
    }  # fmt: skip
    draft = project.create(tmp_path / "tickets", "Tickets", values)
    draft.save()
    accept_project(draft)
    window.open_project(tmp_path / "tickets")
    return window


def train_in_window(window: Window, qtbot: QtBot, runs: Path) -> RunFolder:
    """Press Start training, wait for its end, and return the run."""
    pages: dict[str, Any] = window.pages
    window.show_page("dataset")
    qtbot.waitUntil(lambda: window.state.facts.dataset is not None, timeout=WAIT)
    assert window.state.facts.dataset.task == "classification"
    window.show_page("training")
    qtbot.keyClick(window, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(pages["training"].is_done, timeout=WAIT)
    qtbot.waitUntil(lambda: not window.jobs.running, timeout=WAIT)
    (run,) = list_runs(runs)
    return run


def predict_with_peft(run: RunFolder, texts: tuple[str, ...]) -> list[dict[str, float]]:
    """Return the probability of each label as PEFT and transformers compute it."""
    config = AutoConfig.from_pretrained(run.adapter)
    base = AutoModelForSequenceClassification.from_pretrained(
        run.load_project().model.source, config=config, dtype=torch.float32
    )
    tuned = peft.PeftModel.from_pretrained(base, run.adapter).eval()
    batch = load_tokenizer(run.adapter)(list(texts), padding=True, return_tensors="pt")
    with torch.no_grad():
        rows = tuned(**batch).logits.softmax(1).tolist()
    return [dict(zip(config.id2label.values(), row, strict=True)) for row in rows]


def read(table: BarTable, row: int) -> list[str]:
    """Return the cells of a row without that of its bar."""
    items = (table.item(row, column) for column in (0, 2, table.columnCount() - 1))
    return [item.text() for item in items if item is not None]


def read_labels(table: BarTable) -> dict[str, str]:
    return {read(table, row)[0]: read(table, row)[-1] for row in range(table.rowCount())}


def format_all(probabilities: dict[str, float]) -> dict[str, str]:
    return {label: formatting.format_percent(value) for label, value in probabilities.items()}


def test_playground_predicts_what_peft_does(window: Window, qtbot: QtBot, tmp_path: Path) -> None:
    run = train_in_window(window, qtbot, tmp_path / "tickets" / "runs")
    expected = predict_with_peft(run, TEXTS)
    window.show_page("playground")
    page: PlaygroundPage = window.playground
    qtbot.waitUntil(lambda: page.classifies, timeout=WAIT)
    view = page.classifier
    assert view.runs.count() == 1
    assert view.runs.currentText().endswith("Tickets")

    def classify(content: str) -> None:
        view.box.clear()
        QApplication.clipboard().setText(content)
        view.box.paste()
        qtbot.keyClick(view.box, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
        qtbot.waitUntil(lambda: not view.controller.link.busy and view.answered.isVisible(), timeout=WAIT)  # fmt: skip

    classify(TEXTS[0])
    assert read_labels(view.labels) == format_all(expected[0])
    assert not view.texts.isVisible()
    assert view.status.text() == ""

    classify("\n".join(TEXTS))
    for row, (text, probabilities) in enumerate(zip(TEXTS, expected, strict=True)):
        best = max(probabilities, key=probabilities.__getitem__)
        assert read(view.texts, row) == [text, best, format_all(probabilities)[best]]
        view.texts.setCurrentCell(row, 0)
        assert read_labels(view.labels) == format_all(probabilities)

    expect_same_of_a_file(run, tmp_path, expected)
    qtbot.mouseClick(page.mode.button("chat"), Qt.MouseButton.LeftButton)
    assert not view.controller.link.held, "the memory of the classifier is free for the chat"


def expect_same_of_a_file(run: RunFolder, folder: Path, expected: list[dict[str, float]]) -> None:
    """Classify the same texts as rows of a file on the command line, as the page says."""
    file = folder / "texts.csv"
    file.write_text("number,text\n" + "".join(f'{n},"{text}"\n' for n, text in enumerate(TEXTS)))
    done = run_studio("classify", run.path, "--file", file, "--json")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["text"] for row in rows] == [*TEXTS]
    for row, probabilities in zip(rows, expected, strict=True):
        assert row["probabilities"] == pytest.approx(probabilities, abs=1e-5)
