"""Findings about labels of texts and about pairs for search: exactly the planted rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import commands
from lora_studio.core.protocol.dataset import DatasetLinted, LabelCount, SearchPairCounts
from tests.benchmarks.near_duplicates import Writer
from tests.engine.conftest import TinyModel
from tests.helpers.runs.jobs import handle, write_rows

#: Scans and splits of other tests must not be found in the cache.
pytestmark = pytest.mark.usefixtures("cache")

Row = dict[str, Any]


def label_rows(**counts: int) -> list[Row]:
    """Return rows whose texts don't resemble each other, with so many of each label."""
    writer = Writer(5)
    return [{"text": writer.text(9, 20), "label": name} for name, n in counts.items() for _ in range(n)]  # fmt: skip


def check(
    folder: Path, rows: Sequence[Row], model: ModelSpec | None = None, **settings: Any
) -> DatasetLinted:
    file = write_rows(folder / "rows.jsonl", [*rows])
    spec = DatasetSpec.model_validate({"sources": [str(file)], **settings})
    return handle(commands.LintDataset(dataset=spec, model=model)).last(DatasetLinted)


def rows_by_code(linted: DatasetLinted) -> dict[str, list[int]]:
    """Return the rows of each finding, from 0."""
    assert all(finding.count == len(finding.rows) for finding in linted.findings)
    return {each.code: [row - 1 for _, row in each.rows] for each in linted.findings}


def what(linted: DatasetLinted, code: str) -> str:
    return next(str(each.what) for each in linted.findings if each.code == code)


def test_balanced_labels_are_counted_without_findings(tmp_path: Path) -> None:
    linted = check(tmp_path, label_rows(bill=30, ship=24), validation_share=0.0)
    assert linted.findings == ()
    assert linted.labels == (
        LabelCount(label="bill", training=30),
        LabelCount(label="ship", training=24),
    )
    assert linted.label_count == 2


def test_rare_labels_are_named_with_their_rows(tmp_path: Path) -> None:
    rows = label_rows(ham=60, spam=6, scam=2)
    linted = check(tmp_path, rows, validation_share=0.0)
    assert rows_by_code(linted) == {
        "lint.few_rows": [66, 67], "lint.unbalanced_classes": list(range(60, 68)),
    }  # fmt: skip
    assert "fewer than 5 rows each: “scam” (2 rows)" in what(linted, "lint.few_rows")
    unbalanced = what(linted, "lint.unbalanced_classes")
    assert "“ham” is the label of 60 of 68 rows. Rare labels: “spam” and “scam” (8 rows)" in unbalanced  # fmt: skip


def test_spellings_of_a_label_are_merged_by_their_fix(tmp_path: Path) -> None:
    rows = label_rows(Spam=12, spam=8, **{"spam ": 5, "no  spam": 3, "No spam": 9})
    linted = check(tmp_path, rows, validation_share=0.0)
    assert rows_by_code(linted)["lint.class_spellings"] == [*range(12), *range(25, 28)]
    assert "“Spam” for “spam”" in what(linted, "lint.class_spellings")
    assert [(each.label, each.rows) for each in linted.labels] == [("spam", 13), ("Spam", 12), ("No spam", 9), ("no  spam", 3)]  # fmt: skip

    fixed = check(tmp_path, rows, validation_share=0.0, fixes=["merge_labels"])
    assert [(each.label, each.rows) for each in fixed.labels] == [("spam", 25), ("no spam", 12)]
    assert [(each.code, each.fixed, each.count) for each in fixed.findings] == [("lint.class_spellings", True, 15)]  # fmt: skip


def test_labels_that_only_one_side_has_are_reported(tmp_path: Path) -> None:
    rows = label_rows(bill=20, ship=20, lost=9)
    held_out = write_rows(tmp_path / "validation.jsonl", label_rows(bill=6, new=5)[::-1])
    linted = check(tmp_path, rows, validation_file=str(held_out), fixes=["drop_leaked"])
    sides = {each.label: (each.training, each.validation) for each in linted.labels}
    assert sides["new"] == (0, 5)
    by_code = {each.code: each for each in linted.findings}
    assert (by_code["lint.class_not_trained"].count, by_code["lint.class_not_trained"].rows[0][0]) == (5, 1)  # fmt: skip
    assert "“ship” and “lost” (29 rows for training)" in what(linted, "lint.class_not_validated")


def test_split_of_the_seed_decides_which_labels_are_held_out(tmp_path: Path) -> None:
    linted = check(tmp_path, label_rows(bill=40, ship=20, lost=5), validation_count=3)
    assert sum(each.validation for each in linted.labels) == 3
    missing = {each.label for each in linted.labels if not each.validation}
    reported = what(linted, "lint.class_not_validated") if missing else ""
    assert missing == {name for name in ("bill", "ship", "lost") if f"“{name}”" in reported}


def test_label_whose_rows_are_too_long_is_not_trained(tmp_path: Path, tiny: TinyModel) -> None:
    rows = label_rows(bill=12, ship=12, lost=6)
    for row in rows[-6:]:
        row["text"] *= 40
    model = ModelSpec(source=str(tiny("llama3")))
    linted = check(tmp_path, rows, model, too_long="skip", max_length=256, validation_share=0.0)
    assert linted.labels == (
        LabelCount(label="bill", training=12),
        LabelCount(label="ship", training=12),
        LabelCount(label="lost", training=0),
    )
    assert rows_by_code(linted) == {"lint.class_not_trained": [*range(24, 30)]}
    assert "“lost” (6 rows for" in what(linted, "lint.class_not_trained")


def test_same_text_with_two_labels_is_reported(tmp_path: Path) -> None:
    rows = label_rows(bill=20, ship=20)
    rows.append(rows[3] | {"label": "ship"})
    linted = check(tmp_path, rows, validation_share=0.0)
    assert rows_by_code(linted) == {"lint.class_conflicts": [3, 40]}


def test_column_with_too_many_labels_is_only_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lora_studio.core.limits.LABELS", 10)
    linted = check(tmp_path, label_rows(**{f"Name {n}": 1 for n in range(30)}))
    assert (linted.labels, linted.label_count, linted.findings) == ((), 30, ())


def test_single_label_is_an_error(tmp_path: Path) -> None:
    linted = check(tmp_path, label_rows(bill=20), validation_share=0.0)
    assert [(each.code, each.severity) for each in linted.findings] == [("lint.single_class", "error")]  # fmt: skip


def test_pairs_are_counted_and_their_faults_named(tmp_path: Path) -> None:
    writer = Writer(6)
    rows = [{"query": writer.text(5, 9), "positive": writer.text(9, 20)} for _ in range(30)]
    rows[4]["negative"] = writer.text(9, 20)
    rows[7]["positive"] = rows[8]["positive"]
    rows[9]["positive"] = f" {rows[9]['query']}"
    linted = check(tmp_path, rows, validation_share=0.0)
    assert linted.pairs == SearchPairCounts(pairs=30, with_negative=1, queries=30, passages=29)
    assert rows_by_code(linted) == {"lint.identical_pairs": [9], "lint.shared_passages": [7, 8]}

    fixed = check(tmp_path, rows, validation_share=0.0, fixes=["drop_identical_pairs"])
    assert fixed.pairs is not None
    assert fixed.pairs.pairs == 29
    assert [each.code for each in fixed.findings if each.fixed] == ["lint.identical_pairs"]
