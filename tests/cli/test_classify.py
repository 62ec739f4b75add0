"""`lora-studio classify` and `serve`: what is printed and written, and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from lora_studio.cli.app import app
from lora_studio.cli.classify import PredictionWriter
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.tasks.classification import ClassificationReport
from tests.helpers.runs.jobs import new_run
from tests.helpers.window import fake_engine

REPORT = ClassificationReport(labels=("bill", "ship"), confusion=((0, 0, 8), (0, 1, 2), (1, 1, 5)))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """Return a run with an evaluation, whose worker gives every two texts the same probabilities."""
    predicted = {
        "kind": "texts_classified",
        "labels": ["bill", "ship"],
        "probabilities": [[0.25, 0.75], []],
        "cut": 1,
    }
    scenario = tmp_path / "scenario.json"
    rows = ['{"id": "=1+1", "ticket": "Where; is\\nit?"}', '{"id": 2, "ticket": null}']
    kinds = {
        "classify": [{"emit": predicted}],
        "classify_file": [{"emit": predicted | {"rows": rows}}] * 2,
    }
    scenario.write_text(json.dumps(kinds), "utf-8")
    monkeypatch.setenv("LORA_STUDIO_ENGINE", fake_engine.command_line(scenario))
    run = new_run(tmp_path, dataset={"sources": [{"path": "a.csv", "mapping": {"text": "ticket"}}]})
    evaluations = [{"step": 4, "loss": 0.5, "report": REPORT.model_dump(mode="json")}]
    run.update_manifest(results={"evaluations": evaluations})
    return run


def classify(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["classify", *arguments], env={"COLUMNS": "100"})


def test_each_text_has_its_labels_with_the_likeliest_first(run: RunFolder) -> None:
    done = classify(str(run.path), "Where is it?", "  ")
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[:4] == [
        ["Text", "Label", "Probability"],
        ["Where", "is", "it?", "ship", "75", "%"],
        ["bill", "25", "%"],
        ["(no", "text)", "–"],
    ]
    assert "classified by their beginning: 1 text" in done.stderr


def test_rows_of_a_file_keep_their_columns_and_get_labels(run: RunFolder, tmp_path: Path) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.jsonl"
    done = classify(str(run.path), "--file", str(source), "--out", str(out))
    assert done.exit_code == 0, done.output
    assert "by their beginning: 2 texts" in done.stderr
    first, second, *later = map(json.loads, out.read_text("utf-8").splitlines())
    assert later == [first, second], "rows come in several parts"
    assert first == {
        "id": "=1+1", "ticket": "Where; is\nit?", "predicted_label": "ship", "probability": 0.75,
        "probabilities": {"bill": 0.25, "ship": 0.75},
    }  # fmt: skip
    assert (second["predicted_label"], second["probabilities"]) == (None, {})


def test_csv_has_a_header_and_no_formulas() -> None:
    written: list[str] = []
    writer = PredictionWriter("csv", written.append)
    predicted = events.TextsClassified(labels=("bill", "ship"), probabilities=((0.25, 0.75),))
    for row in ({"id": "=1+1", "tags": ["a"]}, {"id": "2", "other": "x"}):
        writer.add([row], predicted)
    assert "".join(written).splitlines() == [
        "id,tags,predicted_label,probability", "'=1+1,\"[\"\"a\"\"]\",ship,0.75", "2,,ship,0.75",
    ]  # fmt: skip


def test_report_shows_each_label_and_the_confusion(run: RunFolder) -> None:
    lines = [line.split() for line in classify(str(run.path)).stdout.splitlines()]
    assert ["bill", "100", "%", "80", "%", "88.9", "%", "10"] in lines
    assert lines[-2:] == [["bill", "8", "2"], ["ship", "·", "5"]]
    printed = json.loads(classify(str(run.path), "--json").stdout)
    assert ClassificationReport.model_validate(printed) == REPORT


def test_output_of_an_unknown_kind_is_refused(run: RunFolder, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    done = classify(str(run.path), "--file", str(tmp_path / "in.csv"), "--out", str(out))
    assert done.exit_code == 2
    assert "written as .parquet" in done.output
