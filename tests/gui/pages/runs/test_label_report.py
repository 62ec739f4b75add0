"""The Runs page shows how well a classifier predicts each label."""

from __future__ import annotations

import json
from pathlib import Path

from pytestqt.qtbot import QtBot

from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.tasks.classification import ClassificationReport
from tests.gui.conftest import WAIT
from tests.helpers.runs.many_runs import make_runs
from tests.helpers.runs.runs_page import Parts

_REPORT = ClassificationReport(
    labels=("<b>bug", "other"), confusion=((0, 0, 3), (0, 1, 1), (1, 1, 4))
)


def _train_classifier(run: RunFolder) -> None:
    run.adapter.mkdir(parents=True, exist_ok=True)
    (run.adapter / "adapter_config.json").write_text(json.dumps({"task_type": "SEQ_CLS"}))
    run.update_manifest(results={"evaluations": [{"step": 4, "report": _REPORT.model_dump()}]})


def test_labels_of_a_classifier_are_shown_on_runs(
    parts: Parts, project_folder: Path, qtbot: QtBot
) -> None:
    plain, classifier = make_runs(project_folder, 2)
    _train_classifier(classifier)
    page, side = parts.page, parts.page.side
    tab = side.indexOf(side.labels)
    page.on_shown()
    qtbot.waitUntil(lambda: len(page.library.runs) == 2 and not page.library.is_scanning, timeout=WAIT)  # fmt: skip
    page.table.choose([classifier.path.name])
    qtbot.waitUntil(lambda: side.isTabVisible(tab), timeout=WAIT)
    view = side.labels
    assert view.summary.text() == "8 validation rows: accuracy 87.5 %, macro F1 87.3 %"
    cells = [view.table.item(0, column) for column in range(5)]
    assert [cell.text() for cell in cells if cell] == ["<b>bug", "85.7 %", "100 %", "75 %", "4"]
    matrix = [[view.matrix.item(row, column) for column in range(2)] for row in range(2)]
    assert [[cell.text() for cell in row if cell] for row in matrix] == [["3", "1"], ["·", "4"]]
    assert not page.run_actions.actions["chat"].isEnabled()
    page.table.choose([plain.path.name])
    assert not side.isTabVisible(tab)
