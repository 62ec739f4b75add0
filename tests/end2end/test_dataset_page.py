"""The dataset page with real workers: drop a file, map, preview, search, repair, continue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QPushButton
from pytestqt.qtbot import QtBot

from lora_studio.core.project import project
from lora_studio.gui import theme
from lora_studio.gui.frame import lazy_pages
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.window.main_window import Window
from lora_studio.gui.window.wiring import make_window
from tests.helpers.accepted_projects import accept_project
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.window.fake_engine import FileDrop

pytestmark = [pytest.mark.slow, pytest.mark.end2end, pytest.mark.usefixtures("quick_workers")]

#: Longest wait for a worker on a busy machine, in milliseconds.

#: A table as a spreadsheet program in Europe writes it: semicolons, Windows-1252. The last two rows are
#: duplicates; one reply is missing.
_TABLE = (
    "topic;question;reply\r\n"
    "Shipping;How long does a parcel take?;Two days within the country.\r\n"
    "Shipping;Do you ship to Norway?;Yes, for nine euros.\r\n"
    "Café;When does the café open?;At eight.\r\n"
    "Returns;May I return a jacket?;\r\n"
    + "".join(f"Sizes;Is there a size {n}?;Size {n} is in stock.\r\n" for n in range(34, 60))
    + "Payment;Do you take cards?;We take every card.\r\n" * 2
).encode("cp1252")


@pytest.fixture
def window(qtbot: QtBot, qapp: QApplication, tmp_path: Path) -> Iterator[Window]:
    """The window over a project with a tiny model and no data yet, on the dataset page."""
    theme.apply(qapp, "light")
    base = tiny_model("llama3", tmp_path / "base")
    folder = tmp_path / "shop"
    accept_project(project.create(folder, "Shop", {"model": {"source": str(base)}}))
    new_window = make_window(Preferences(), lazy_pages.make_step_pages)
    new_window.resize(1280, 800)
    new_window.show()
    new_window.open_project(folder)
    qtbot.waitUntil(lambda: new_window.page_name == "dataset")
    new_window.pages["model"].on_shown()
    yield new_window
    new_window.state.undo.setClean()
    new_window.close()
    new_window.deleteLater()


def test_dropped_table_is_mapped_repaired_and_ready_to_train(
    qtbot: QtBot, window: Window, tmp_path: Path
) -> None:
    state, page = window.state, _page(window)

    def wait(holds: Any) -> None:
        qtbot.waitUntil(holds)

    table = tmp_path / "shop" / "faq.csv"
    table.write_bytes(_TABLE)
    page.dropEvent(FileDrop(table))
    assert state.get("dataset", "sources") == [{"path": "faq.csv"}]
    wait(lambda: state.facts.dataset is not None and state.facts.dataset.complete)
    card = page.sources.cards[0]
    assert card.verdict.text().startswith("Question and answer (")
    assert "32 rows  ·  1 skipped" in card.holds.text()
    assert page.footer.totals.text().startswith("32 rows read: 31 used, 1 skipped")

    slot = card.panel.slots["question"]
    assert slot.preview.text() == "How long does a parcel take?"
    slot.combo.edited.emit("\0template")
    slot.line.setText("{topic}: {question}")
    slot.line.entered.emit()
    chat = page.rows.detail.chat
    wait(lambda: "Shipping: How long does a parcel take?" in chat.text())
    assert "Two days within the country." in chat.text()

    wait(lambda: state.facts.model is not None)
    tokens = page.rows.detail.tokens
    wait(lambda: bool(tokens.text()))
    assert "Shipping: How long does a parcel take?" in tokens.text()
    assert tokens.count_tokens()["trained"] > 2
    assert tokens.count_tokens()["context"] > tokens.count_tokens()["special"] > 0
    assert '"reply"' in page.rows.detail.raw.toPlainText()

    page.rows.search.setText("NORWAY")
    page.rows.search.entered.emit()
    wait(lambda: page.rows.count.text() == "1 row")
    wait(lambda: "nine euros" in chat.text())
    page.rows.clear.click()
    wait(lambda: page.rows.count.text() == "32 rows")

    page.footer.reasons.findChildren(QPushButton)[0].click()
    wait(lambda: page.rows.count.text() == "1 row")
    wait(lambda: chat.fault.isVisibleTo(chat))
    page.rows.show_all()

    wait(lambda: state.facts.lengths is not None)
    assert state.facts.lengths is not None
    assert state.facts.lengths.rows == 31
    assert page.lengths.tiles.text("rows") == "31"

    wait(lambda: state.facts.findings is not None)
    assert state.facts.findings is not None
    equal = next(item for item in state.facts.findings.findings if item.fix == "drop_duplicates")
    page.findings.rows_requested.emit(equal)
    wait(lambda: page.rows.count.text() in ("1 row", "2 rows"))
    wait(lambda: "We take every card." in chat.text())
    _press(page, f"Fix: {equal.title}")
    assert state.get("dataset", "fixes") == ["drop_duplicates"]
    _press(page, f"Undo fix: {equal.title}")
    state.undo.undo()
    assert state.get("dataset", "fixes") == ["drop_duplicates"]

    assert window.save()
    wait(lambda: page.find_blocker() is None)
    qtbot.keyClick(window, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert window.page_name == "training"
    reopened = project.load(tmp_path / "shop")
    assert reopened.list_problems() == []
    assert reopened.get("dataset", "sources") == state.get("dataset", "sources")
    assert table.read_bytes() == _TABLE, "the user's file stays unchanged"


def _page(window: Window) -> Any:
    return window.pages["dataset"]


def _press(page: Any, name: str) -> None:
    buttons = page.findings.findChildren(QPushButton)
    [part for part in buttons if part.accessibleName() == name and not part.isHidden()][-1].click()
