"""Findings: exactly the planted rows, none in sound data, and fixed once the repair is recorded."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lora_studio.core.dataset import DatasetSpec
from lora_studio.core.events import Finding
from lora_studio.engine import dataset
from lora_studio.engine.lint import lint
from lora_studio.engine.lint_kinds import COMPARED, FAULTS, KINDS
from lora_studio.engine.splitting import split
from tests.benchmarks.near_duplicates import Writer
from tests.helpers.jobs import make_job, write_rows

REAL = Path(__file__).parents[3] / "shared" / "data"

Row = dict[str, Any]


def chat(*turns: str, start: str = "user") -> Row:
    """Turns by user and assistant in turn."""
    roles = ["user", "assistant"] if start == "user" else ["assistant", "user"]
    return {"messages": [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)]}


def spoken(*turns: tuple[str, str]) -> Row:
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


def sound(count: int, seed: int = 1) -> list[Row]:
    writer = Writer(seed)
    return [chat(writer.text(8, 20), writer.text(15, 60)) for _ in range(count)]


def findings(folder: Path, rows: Sequence[Row], **settings: Any) -> dict[str, Finding]:
    file = write_rows(folder / "rows.jsonl", [*rows])
    spec = DatasetSpec.model_validate({"sources": [str(file)], **settings})
    before = file.read_bytes()
    linted = lint(spec, make_job())
    assert linted.rows == len(rows)
    assert file.read_bytes() == before
    found = {finding.code: finding for finding in linted.findings}
    assert len(found) == len(linted.findings) or "lint.left_out" in found
    return found


def rows_of(finding: Finding) -> list[int]:
    assert finding.count == len(finding.rows)
    assert all(source == 0 for source, _ in finding.rows)
    return [row - 1 for _, row in finding.rows]


def left(folder: Path, **settings: Any) -> tuple[int, dict[str, int]]:
    """(rows that are used, rows left out by reason) with the rows of `findings`."""
    spec = DatasetSpec.model_validate({"sources": [str(folder / "rows.jsonl")], **settings})
    rows = dataset.open(spec, make_job())
    skipped: dict[str, int] = {}
    for index in range(len(rows.stores[0])):
        try:
            rows.sample(0, index)
        except dataset.UnusableRow as verdict:
            skipped[str(verdict)] = skipped.get(str(verdict), 0) + 1
    found = split(rows, 42, make_job())
    skipped |= {reason: len(ids) for reason, ids in found.dropped.items()}
    return len(found.training) + len(found.validation), skipped


def test_sound_data_has_no_findings(tmp_path: Path) -> None:
    assert findings(tmp_path, sound(150)) == {}


LONG = "The night train leaves the old harbour at nine and reaches the northern border by morning."

PLANTED: dict[str, list[Row]] = {
    "lint.role_order": [chat("Good day.", "Where is it?", "There.", start="assistant")],
    "lint.repeated_roles": [spoken(("user", "One."), ("user", "Two?"), ("assistant", "Three."))],
    "lint.encoding": [chat("Traduisez : summer", "Câ€™est lâ€™Ã©tÃ©.")],
    "lint.control_characters": [chat("Which one?", "That\x00 one.")],
    "lint.lost_characters": [chat("And how?", "Like th\ufffds.")],
    "lint.markers": [chat("Say it.", "I say it.<|im_end|>")],
    "lint.refusals": [chat("Who wins?", "As an AI language model, I cannot tell.")],
    "lint.outliers": [chat("Recite all of it.", " ".join(f"verse {i}" for i in range(4000)))],
}  # fmt: skip


def test_each_planted_fault_is_found_in_exactly_its_row(tmp_path: Path) -> None:
    rows = sound(200)
    places = {}
    rng = random.Random(3)
    for code, planted in PLANTED.items():
        for row in planted:
            rows.insert(rng.randrange(len(rows)), row)
    for code, planted in PLANTED.items():
        places[code] = [rows.index(row) for row in planted]
    found = findings(tmp_path, rows)
    assert {code: rows_of(finding) for code, finding in found.items()} == places


@pytest.mark.parametrize("code", [code for code in PLANTED if KINDS[code].fix])
def test_the_repair_of_a_finding_mends_it_and_no_row_is_lost_unaccounted(
    tmp_path: Path, code: str
) -> None:
    rows = [*sound(60), *PLANTED[code]]
    fix = KINDS[code].fix
    found = findings(tmp_path, rows, fixes=[fix])
    assert found[code].fixed
    assert rows_of(found[code]) == [60]
    assert found[code].fix == fix
    assert set(found) == {code}
    used, skipped = left(tmp_path, fixes=[fix])
    assert used + sum(skipped.values()) == 61


def test_equal_rows_are_told_from_nearly_equal_ones(tmp_path: Path) -> None:
    rows = sound(40)
    asked, answered = (turn["content"] for turn in rows[3]["messages"])
    rows += [chat(f"{asked} ", f" {answered}"), chat(LONG, LONG), chat(LONG.upper(), LONG[:-1])]
    rows += [chat(LONG, LONG.replace("morning", "noon"))]
    found = findings(tmp_path, rows)
    assert rows_of(found["lint.duplicates"]) == [40]
    assert rows_of(found["lint.near_duplicates"]) == [42, 43]
    assert set(found) <= {"lint.duplicates", "lint.near_duplicates", "lint.conflicting_answers"}
    assert left(tmp_path) == (44, {})
    assert left(tmp_path, fixes=["drop_duplicates"]) == (43, {"it equals an earlier row": 1})
    both = ["drop_duplicates", "drop_near_duplicates"]
    assert left(tmp_path, fixes=both)[0] == 41
    # Equal rows are nearly equal too.
    assert left(tmp_path, fixes=["drop_near_duplicates"])[0] == 41
    assert findings(tmp_path, rows, fixes=["drop_near_duplicates"])["lint.duplicates"].fixed


def test_the_row_kept_of_equal_ones_is_none_that_another_repair_leaves_out(tmp_path: Path) -> None:
    broken, whole = chat("Which?", "Th\x00is one here."), chat("Which?", "This one here.")
    rows = [*sound(20), chat("Q\ufffd", "A"), broken, whole, whole]
    fixes = ["repair_encoding", "drop_duplicates", "drop_lost_characters"]
    found = findings(tmp_path, rows, fixes=fixes)
    assert rows_of(found["lint.duplicates"]) == [22, 23]  # the broken row, once mended, is first
    assert all(finding.fixed for finding in found.values())
    assert left(tmp_path, fixes=fixes)[0] == 21


def test_empty_turns_count_whether_or_not_a_sample_can_be_made_of_the_row(tmp_path: Path) -> None:
    rows = [*sound(30), chat("Hello?", "Yes?", " ", "Right."), chat("Hello?", "")]
    found = findings(tmp_path, rows)
    assert rows_of(found["lint.empty_turns"]) in ([30, 31], [31, 30])
    used, skipped = left(tmp_path, fixes=["drop_empty_turns"])
    assert (used, sum(skipped.values())) == (30, 2)


def test_rows_of_no_use_are_reported_by_reason(tmp_path: Path) -> None:
    rows = [*sound(30), {"messages": "nothing"}, {"messages": [{"role": "user", "content": "Q"}]}]
    file = write_rows(tmp_path / "rows.jsonl", rows)
    spec = DatasetSpec.model_validate({"sources": [str(file)]})
    found = [f for f in lint(spec, make_job()).findings if f.code == "lint.left_out"]
    assert sorted(row for finding in found for _, row in finding.rows) == [31, 32]
    assert len({finding.what for finding in found}) == 2


def test_a_question_with_several_answers_is_a_hint(tmp_path: Path) -> None:
    rows = [*sound(20), chat("Heads or tails?", "Heads."), chat("Heads or tails?", "Tails.")]
    found = findings(tmp_path, rows)
    assert rows_of(found["lint.conflicting_answers"]) == [20, 21]
    assert found["lint.conflicting_answers"].severity == "hint"
    assert found["lint.conflicting_answers"].fix is None


def test_the_gravest_finding_comes_first_and_what_is_fixed_last(tmp_path: Path) -> None:
    rows = [*sound(30), *PLANTED["lint.refusals"], *PLANTED["lint.markers"], *PLANTED["lint.lost_characters"]]  # fmt: skip
    file = write_rows(tmp_path / "rows.jsonl", rows)
    spec = DatasetSpec.model_validate({"sources": [str(file)], "fixes": ["remove_markers"]})
    codes = [finding.code for finding in lint(spec, make_job()).findings]
    assert codes == ["lint.lost_characters", "lint.refusals", "lint.markers"]


def test_every_code_has_words_and_every_repair_belongs_to_a_finding() -> None:
    assert {*FAULTS, *COMPARED} <= KINDS.keys()
    for code, kind in KINDS.items():
        assert code.startswith("lint.")
        assert "{rows}" in kind.what
    fixes = {kind.fix for kind in KINDS.values()} - {None}
    declared = DatasetSpec.model_fields["fixes"].json_schema_extra
    assert isinstance(declared, dict)
    assert fixes == set(declared["choices"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sft/alpaca_en_demo.json", {"lint.duplicates": 14, "lint.refusals": 14}),
        ("sft/self_instruct_alpaca.json", {}),
        ("sft/sharegpt_multi_turn.json", {"lint.near_duplicates": 63, "lint.conflicting_answers": 167}),
    ],
)  # fmt: skip
def test_real_data_has_the_findings_that_it_should(name: str, expected: dict[str, int]) -> None:
    if not REAL.is_dir():
        pytest.skip(f"needs {REAL}")
    spec = DatasetSpec.model_validate({"sources": [str(REAL / name)]})
    found = {finding.code: finding.count for finding in lint(spec, make_job()).findings}
    assert found == expected
