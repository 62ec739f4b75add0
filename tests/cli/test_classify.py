"""`lora-studio classify`: texts and files, what is printed and written, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from lora_studio.cli.app import app
from lora_studio.cli.classification.text_files import PredictionWriter, TextFile
from lora_studio.core import limits
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.training.classification import ClassificationReport
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
    scenario.write_text(json.dumps({"classify": [{"emit": predicted}]}), "utf-8")
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


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl", "in.txt"])
def test_line_without_an_end_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ROW_BYTES", 1000)
    (tmp_path / name).write_text("x" * 5000)
    with pytest.raises(ProblemError, match="longer than 1 kB"):
        TextFile.find_column(tmp_path / name, "text")


def test_rows_of_a_file_keep_their_columns_and_get_labels(run: RunFolder, tmp_path: Path) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.jsonl"
    source.write_text('id;ticket\n=1+1;"Where; is\nit?"\n2;\n', "utf-8-sig")
    assert classify(str(run.path), "--file", str(source), "--out", str(out)).exit_code == 0
    first, second = map(json.loads, out.read_text("utf-8").splitlines())
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


@pytest.mark.parametrize(
    ("name", "content", "column", "words"),
    [
        ("a.csv", b"id,body\n1,x\n", "", "couldn't tell which column"),
        ("a.csv", b"id,body\n1,x\n", "text", "has no column text"),
        ("a.csv", b"", "", "has no rows"),
        ("a.csv", b"text\n\xff\n", "", "isn't UTF-8"),
        ("a.jsonl", b'{"text": "x"}\n[1]\n', "", "line 2 isn't a JSON object"),
        ("a.pdf", b"x", "", "neither a CSV"),
        ("missing.csv", None, "", "missing.csv can't be read"),
    ],
)
def test_unusable_files_are_refused_with_a_reason(
    tmp_path: Path, name: str, content: bytes | None, column: str, words: str
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ProblemError, match=words):
        list(TextFile.find_column(file, column, ["text"]).iter_rows())
