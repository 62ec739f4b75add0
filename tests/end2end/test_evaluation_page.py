"""The Evaluate page with the real worker: choose, evaluate, read the verdict and the rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from lora_studio.core.dataset.spec import DataSource
from lora_studio.core.evaluation.test_sets import FileRows
from lora_studio.core.project import project
from lora_studio.core.runs import folder
from lora_studio.gui.frame import lazy_pages
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.window.main_window import Window
from lora_studio.gui.window.wiring import make_window
from tests.helpers.accepted_projects import accept_project
from tests.helpers.models.tiny_models import random_adapter, tiny_model
from tests.helpers.runs.jobs import write_rows
from tests.helpers.runs.tiny_run import heldout_rows

pytestmark = [pytest.mark.slow, pytest.mark.end2end, pytest.mark.usefixtures("quick_workers")]

WAIT = 180_000


@pytest.fixture
def window(qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Window]:
    """A window with a run of a tiny model, and a file of rows that it wasn't trained on."""
    for name in ("DATA", "CACHE", "CONFIG", "LOGS"):
        monkeypatch.setenv(f"LORA_STUDIO_{name}", str(tmp_path / name.lower()))
    base = tiny_model("llama3", tmp_path / "base")
    write_rows(tmp_path / "rows.jsonl", heldout_rows(20))
    write_rows(tmp_path / "test.jsonl", heldout_rows(36)[20:])
    values = {
        "model": {"source": str(base), "device": "cpu"},
        "dataset": {"sources": [{"path": str(tmp_path / "rows.jsonl")}]},
    }
    draft = project.create(tmp_path / "project", "Harbour", values)
    draft.save()
    accept_project(draft)
    run = folder.create_run(tmp_path / "project" / "runs", draft.freeze(), tmp_path / "project")
    random_adapter(base, run.adapter)
    main_window = make_window(Preferences(tour_seen=True), lazy_pages.make_step_pages)
    main_window.show()
    main_window.open_project(tmp_path / "project")
    yield main_window
    main_window.shut_down()
    main_window.close()
    main_window.deleteLater()


def test_evaluation_ends_with_a_verdict_and_answers(
    window: Window, qtbot: QtBot, tmp_path: Path
) -> None:
    window.show_page("evaluation")
    page = window.evaluation
    qtbot.waitUntil(lambda: bool(page.choices), timeout=WAIT)
    for _, box in page.setup_form._sets.values():
        box.setChecked(False)
    page.setup_form.add_test_set(FileRows(source=DataSource(path=str(tmp_path / "test.jsonl"))))
    qtbot.waitUntil(
        lambda: "14 items  ·  2 rows were trained on" in page.setup_form.facts.text(), timeout=WAIT
    )
    page.setup_form.max_tokens.setValue(6)
    page.press_primary()
    qtbot.waitUntil(lambda: page.shown is not None and page.shown.results.is_complete, timeout=WAIT)
    assert len(page.verdict.sentences) == 1
    assert page.verdict.sentences[0].startswith("Adapter: ")
    assert len(page.rows.rows.items) == 14
    assert "Reference" in page.rows.answers.text.toPlainText()
    assert not page.header.primary.isVisible()
