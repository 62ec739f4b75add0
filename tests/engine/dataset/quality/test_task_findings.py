"""Findings about labels of texts and about pairs for search: exactly the planted rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import commands
from lora_studio.core.protocol.dataset import DatasetLinted, LabelCount, SearchPairCounts
from lora_studio.engine.dataset import splitting
from lora_studio.engine.dataset.rows import mixture
from lora_studio.engine.dataset.rows.store import mix64
from lora_studio.engine.dataset.splitting import DatasetSplit, RowIds, choose_held_out, split
from tests.benchmarks.near_duplicates import Writer
from tests.engine.conftest import TinyModel
from tests.helpers.runs.jobs import handle, make_job, write_rows

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


def numbers_of(groups: np.ndarray) -> np.ndarray:
    """Return a number for each group, like the hash of its first row's content."""
    return mix64(groups.astype(np.uint64) + np.uint64(12345))


def chosen(groups: list[int], share: float, count: int = 0) -> list[bool]:
    column = np.array(groups, dtype=np.int64)
    return choose_held_out(column, numbers_of(column), share, count).tolist()


GROUPS = st.lists(st.integers(0, 12), min_size=1, max_size=60)


@given(GROUPS, st.floats(0.001, 0.5), st.integers(0, 40))
def test_groups_stay_whole_and_neither_side_is_empty(
    groups: list[int], share: float, count: int
) -> None:
    held_out = chosen(groups, share, count)
    sides: dict[int, set[bool]] = {}
    for group, side in zip(groups, held_out, strict=True):
        sides.setdefault(group, set()).add(side)
    assert all(len(both) == 1 for both in sides.values())
    assert False in held_out
    assert (True in held_out) == (len(sides) > 1)


@given(st.integers(2, 400), st.floats(0.01, 0.5), st.integers(0, 50))
def test_single_rows_meet_the_share_or_the_exact_count(rows: int, share: float, count: int) -> None:
    held_out = sum(chosen(list(range(rows)), share, count))
    expected = min(max(count or round(share * rows), 1), rows - 1)
    if count:
        assert held_out == expected
    else:
        assert abs(held_out - expected) <= 0.1 * expected


def test_zero_share_holds_out_no_rows() -> None:
    assert not any(chosen(list(range(100)), 0.0))
    assert sum(chosen(list(range(100)), 0.0, count=7)) == 7


def test_group_larger_than_the_share_stays_in_training() -> None:
    for first in range(20):  # whatever its hash, so first or not
        held_out = chosen([first] * 900 + [100 + row for row in range(100)], 0.05)
        assert not any(held_out[:900])
        assert sum(held_out) == pytest.approx(50, rel=0.1)


def test_appended_rows_move_none_of_many_rows() -> None:
    before = chosen(list(range(50_000)), 0.05)
    after = chosen(list(range(90_000)), 0.05)
    assert after[:50_000] == before
    assert sum(after) == pytest.approx(4500, rel=0.1)


@given(st.integers(20, 300), st.integers(1, 300), st.floats(0.02, 0.5))
def test_appended_rows_move_few_of_few_rows(rows: int, more: int, share: float) -> None:
    before = chosen(list(range(rows)), share)
    after = chosen(list(range(rows + more)), share)[:rows]
    moved = sum(one != other for one, other in zip(before, after, strict=True))
    # The threshold varies like a binomial count; 4 in 10^5 draws deviate by more.
    assert moved <= 1 + 4 * (share * (1 - share) * (rows + more)) ** 0.5


# --- real rows --------------------------------------------------------------------------------


def alpaca(question: str, answer: str, **more: Any) -> dict[str, Any]:
    return {"instruction": question, "output": answer, **more}


def rows_of_text(count: int, seed: int = 1) -> list[dict[str, Any]]:
    writer = Writer(seed)
    return [alpaca(writer.text(6, 20), writer.text(10, 60)) for _ in range(count)]


def split_of(folder: Path, rows: list[Any], seed: int = 42, **settings: Any) -> DatasetSplit:
    file = write_rows(folder / "rows.jsonl", rows)
    spec = DatasetSpec.model_validate({"sources": [str(file)], **settings})
    return split(mixture.open_dataset(spec, make_job()), seed, make_job())


def pairs_of(*parts: RowIds) -> list[tuple[int, int]]:
    return [(source, row) for part in parts for source, row in part.tolist()]


def held_out(result: DatasetSplit) -> set[int]:
    assert not {*pairs_of(result.training)} & {*pairs_of(result.validation)}
    return {index for _, index in pairs_of(result.validation)}


def test_every_row_is_on_one_side_in_file_order(tmp_path: Path) -> None:
    result = split_of(tmp_path, rows_of_text(60), validation_share=0.2)
    assert sorted(pairs_of(result.training, result.validation)) == [(0, row) for row in range(60)]
    assert pairs_of(result.training) == sorted(pairs_of(result.training))
    assert pairs_of(result.validation) == sorted(pairs_of(result.validation))
    assert abs(len(result.validation) - 12) <= 1


def test_split_depends_on_the_seed(tmp_path: Path) -> None:
    rows = rows_of_text(60)
    assert held_out(split_of(tmp_path, rows)) == held_out(split_of(tmp_path, rows))
    assert held_out(split_of(tmp_path, rows, 1)) != held_out(split_of(tmp_path, rows, 2))


def test_side_of_a_row_depends_on_content_not_position(tmp_path: Path) -> None:
    rows = rows_of_text(80)
    before = held_out(split_of(tmp_path, rows, validation_share=0.25))
    after = held_out(split_of(tmp_path, rows[::-1], validation_share=0.25))
    assert {79 - index for index in after} == before


def test_near_duplicates_never_cross_the_split(tmp_path: Path) -> None:
    writer = Writer(4)
    rows = rows_of_text(40, 4)
    copies = [alpaca(f" {row['instruction']}\n", row["output"].upper()) for row in rows]
    edited = [alpaca(row["instruction"], writer.edited(row["output"], 0.04)) for row in rows]
    result = held_out(split_of(tmp_path, [*rows, *copies, *edited], validation_share=0.3))
    assert result
    long = [i for i, row in enumerate(rows) if len(row["output"]) >= 150]
    for index in long:
        assert len({index in result, 40 + index in result, 80 + index in result}) == 1
    for index in range(40):
        assert (index in result) == (40 + index in result)


def test_rows_with_equal_group_value_stay_together(tmp_path: Path) -> None:
    rows = [row | {"patient": i % 12} for i, row in enumerate(rows_of_text(120))]
    rows[3].pop("patient")
    result = held_out(split_of(tmp_path, rows, group_column="patient", validation_share=0.25))
    patients = [{i in result for i in range(120) if rows[i].get("patient") == p} for p in range(12)]
    assert all(len(sides) == 1 for sides in patients)
    assert {True} in patients
    assert {False} in patients


def test_appending_to_a_file_keeps_the_sides_of_its_groups(tmp_path: Path) -> None:
    rows = [row | {"patient": i % 12} for i, row in enumerate(rows_of_text(120))]
    grown = [*rows, *(row | {"patient": 3} for row in rows_of_text(1, 9))]
    settings = {"group_column": "patient", "validation_share": 0.25}
    before = held_out(split_of(tmp_path, rows, **settings))
    assert {i for i in held_out(split_of(tmp_path, grown, **settings)) if i < 120} == before


def test_rows_dropped_by_fixes_are_on_neither_side(tmp_path: Path) -> None:
    rows = rows_of_text(30)
    result = split_of(tmp_path, [*rows, *rows[:5]], fixes=["drop_duplicates"])
    assert {fix: pairs_of(ids) for fix, ids in result.dropped.items()} == {
        "drop_duplicates": [(0, index) for index in range(30, 35)]
    }
    assert len(result.training) + len(result.validation) == 30


def test_only_usable_rows_are_split(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", rows_of_text(30))
    rows = mixture.open_dataset(DatasetSpec.model_validate({"sources": [str(file)]}), make_job())
    usable = np.array([(0, index) for index in range(0, 30, 3)])
    result = split(rows, 1, make_job(), usable)
    assert sorted(pairs_of(result.training, result.validation)) == [(0, i) for i in range(0, 30, 3)]
    assert len(result.validation) == 1


def test_shared_system_prompt_moves_no_rows(tmp_path: Path) -> None:
    rows = rows_of_text(60)
    before = held_out(split_of(tmp_path, rows, validation_share=0.2))
    assert (
        held_out(split_of(tmp_path, rows, validation_share=0.2, system_prompt="Be brief."))
        == before
    )


def test_validation_file_rows_are_the_validation_rows(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "validation.jsonl", rows_of_text(7, 9))
    result = split_of(tmp_path, rows_of_text(30), validation_file=str(file))
    assert pairs_of(result.training) == [(0, index) for index in range(30)]
    assert pairs_of(result.validation) == [(1, index) for index in range(7)]


def test_zero_share_trains_every_row(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", rows_of_text(9))
    spec = DatasetSpec.model_validate({"sources": [str(file)], "validation_share": 0.0})
    rows = mixture.open_dataset(spec, make_job())
    for usable in (None, np.array([(0, index) for index in range(9)])):
        result = split(rows, 1, make_job(), usable)
        assert pairs_of(result.training) == [(0, index) for index in range(9)]
        assert (pairs_of(result.validation), result.dropped) == ([], {})


def test_only_the_latest_splits_are_cached(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splitting, "_CACHED_FROM", 1)
    for limit in range(1, 8):
        split_of(tmp_path, rows_of_text(40), validation_share=limit / 20)
        assert len(list(cache.rglob("split-*"))) == min(limit, 4)


def test_split_is_cached_until_its_inputs_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splitting, "_CACHED_FROM", 1)
    rows = [*rows_of_text(40), *rows_of_text(5)]
    settings = {"fixes": ["drop_duplicates"], "validation_share": 0.2}
    first = split_of(tmp_path, rows, **settings)

    def measured(*_: Any, **__: Any) -> Any:
        raise InterruptedError

    monkeypatch.setattr(splitting.dataset_comparison, "compare_rows", measured)
    repeated = split_of(tmp_path, rows, **settings)
    assert pairs_of(repeated.training) == pairs_of(first.training)
    assert pairs_of(repeated.validation) == pairs_of(first.validation)
    assert {r: pairs_of(ids) for r, ids in repeated.dropped.items()} == {
        r: pairs_of(ids) for r, ids in first.dropped.items()
    }
    for change in ({"seed": 7}, {"fixes": []}, {"validation_share": 0.3}, {"group_column": "g"}):
        with pytest.raises(InterruptedError):
            split_of(tmp_path, rows, **{**settings, **change})
    with pytest.raises(InterruptedError):
        split_of(tmp_path, rows[:-1], **settings)
