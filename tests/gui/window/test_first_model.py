"""The clicks from an empty home to a GGUF file; a fake engine finds columns with unknown names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QFileDialog
from pytestqt.qtbot import QtBot

from lora_studio.core.protocol import events
from lora_studio.gui.frame import lazy_pages
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.commands import NewProjectDialog
from lora_studio.gui.window.main_window import Window
from lora_studio.gui.window.wiring import make_window
from tests.helpers.models import model_facts
from tests.helpers.window.fake_engine import Clicks
from tests.helpers.window.runs_pictures import emit

pytestmark = pytest.mark.slow

#: Most clicks, drops, and double-clicks.
MOST_CLICKS = 8


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a table in the documents of a new user."""
    documents = tmp_path / "home" / "Documents"
    documents.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(documents.parent))
    file = documents / "tickets.csv"
    file.write_text("Ticket;Customer wrote;Agent reply\n1;Hello;Thank you\n", "utf-8")
    return file


@pytest.fixture
def fresh(scenario: Callable[..., None], table: Path, tmp_path: Path) -> Iterator[Window]:
    """Yield the window as it first opens, with all its pages and an engine that finds an odd table."""
    found = model_facts.source(
        str(table), container="CSV with semicolons", format="question_answer", confidence=0.5,
        columns=("Ticket", "Customer wrote", "Agent reply"),
        mapping={"question": "Customer wrote", "answer": "Agent reply"},
    )  # fmt: skip
    scenario(
        inspect_devices=[emit(model_facts.devices())],
        inspect_model=[emit(model_facts.model())],
        inspect_dataset=[emit(model_facts.dataset(sources=(found,)))],
        train=[
            {"steps": 3, "seconds": 0.01},
            emit(events.AdapterSaved(step=3, folder=str(tmp_path), bytes=1000)),
            {"make": ["adapter/adapter_model.safetensors", "adapter/adapter_config.json"]},
        ],
        export=[
            emit(
                events.GgufWritten(
                    file=str(tmp_path / "it.gguf"), quantization="Q4_K_M", bytes=9, tool="llama.cpp"
                )
            )
        ],
    )
    window = make_window(Preferences(), lazy_pages.make_step_pages)
    window.show()
    window.resize(1280, 800)
    yield window
    window.state.undo.setClean()
    window.close()
    window.deleteLater()


def _open(window: Window, table: Path, clicks: Clicks) -> None:
    clicks.click(window.home.open)
    dialog = window.findChild(QFileDialog)
    assert dialog is not None
    assert dialog.directory().path() == str(table.parent), "it opens in the documents"
    dialog.fileSelected.emit(str(table))
    dialog.accept()
    clicks.add("double-click the table")


def test_first_model_from_an_odd_table_takes_eight_clicks(
    qtbot: QtBot, fresh: Window, table: Path
) -> None:
    window, clicks = fresh, Clicks()
    _open(window, table, clicks)
    dialog = next(x for x in window.findChildren(NewProjectDialog) if x.isVisible())
    clicks.click(dialog.create_button)
    qtbot.waitUntil(lambda: window.has_project)

    pages: dict[str, Any] = window.pages
    models = pages["model"].browser.list
    place = models.visualRect(models.lines.index(0)).center()
    QTest.mouseClick(models.viewport(), Qt.MouseButton.LeftButton, pos=place)
    QTest.mouseDClick(models.viewport(), Qt.MouseButton.LeftButton, pos=place)
    clicks.add("double-click a model")
    assert window.page_name == "dataset", "LoRA has defaults"

    qtbot.waitUntil(lambda: window.state.facts.dataset is not None)
    (card,) = pages["dataset"].sources.cards
    assert card.panel.isVisible(), "the guess is shown before it is used"
    clicks.click(pages["dataset"].header.primary)
    for step, is_reached in (
        ("training", pages["training"].is_done),
        ("export", pages["export"].is_done),
    ):
        assert window.page_name == step
        qtbot.waitUntil(pages[step].header.primary.isEnabled)
        clicks.click(pages[step].header.primary)
        qtbot.waitUntil(is_reached)
        qtbot.waitUntil(lambda: not window.jobs.running)
        if step == "training":
            clicks.click(pages[step].header.primary)
    assert len(clicks.done) <= MOST_CLICKS, clicks.done
