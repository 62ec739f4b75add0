"""Lint findings: exactly the planted rows, none in sound data, and fixed once the fix is enabled."""

from __future__ import annotations

import json
import random
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.events import DatasetLinted, Finding
from lora_studio.core.tasks.samples import UnusableRow
from lora_studio.engine.dataset.quality import dataset_comparison, row_facts
from lora_studio.engine.dataset.quality.lint import lint
from lora_studio.engine.dataset.quality.lint_rules import COMPARED, FAULTS, RULES
from lora_studio.engine.dataset.rows import mixture
from lora_studio.engine.dataset.splitting import split
from lora_studio.engine.runtime.failures import CancelledError
from tests.benchmarks import near_duplicates
from tests.benchmarks.near_duplicates import Writer
from tests.engine.conftest import TinyModel
from tests.helpers.command_line import run_studio
from tests.helpers.runs.jobs import handle, make_job, write_rows

#: Scans and splits of other tests must not be found in the cache.
pytestmark = pytest.mark.usefixtures("cache")

REAL = Path(__file__).parents[5] / "shared" / "data"

Row = dict[str, Any]


def chat(*turns: str, start: str = "user") -> Row:
    """Return a row of alternating user and assistant turns."""
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
    reported = {finding.code: finding for finding in linted.findings}
    assert len(reported) == len(linted.findings) or "lint.left_out" in reported
    return reported


def rows_of(finding: Finding) -> list[int]:
    assert finding.count == len(finding.rows)
    assert all(source == 0 for source, _ in finding.rows)
    return [row - 1 for _, row in finding.rows]


def left(folder: Path, **settings: Any) -> tuple[int, dict[str, int]]:
    """Return the number of used rows and of left-out rows by reason, for the file of `findings`."""
    spec = DatasetSpec.model_validate({"sources": [str(folder / "rows.jsonl")], **settings})
    rows = mixture.open_dataset(spec, make_job())
    skipped: dict[str, int] = {}
    for index in range(len(rows.stores[0])):
        try:
            rows.read_sample(0, index)
        except UnusableRow as verdict:
            skipped[str(verdict)] = skipped.get(str(verdict), 0) + 1
    division = split(rows, 42, make_job())
    for reason, ids in division.dropped.items():
        skipped[reason] = skipped.get(reason, 0) + len(ids)
    return len(division.training) + len(division.validation), skipped


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
    "lint.media": [chat("<image>\nWho is it?", "Nobody.")],
    "lint.personal_data": [chat("Who answers?", "Ana does: ana@example.com, +49 30 1234 5678.")],
    "lint.refusals": [chat("Who wins?", "As an AI language model, I cannot tell.")],
    "lint.outliers": [chat("Recite all of it.", " ".join(f"verse {i}" for i in range(4000)))],
}  # fmt: skip


def test_planted_fault_is_reported_for_exactly_its_row(tmp_path: Path) -> None:
    rows = sound(200)
    expected = {}
    rng = random.Random(3)
    for planted in PLANTED.values():
        for row in planted:
            rows.insert(rng.randrange(len(rows)), row)
    for code, planted in PLANTED.items():
        expected[code] = [rows.index(row) for row in planted]
    reported = findings(tmp_path, rows)
    assert {code: rows_of(finding) for code, finding in reported.items()} == expected


@pytest.mark.parametrize("code", [code for code in PLANTED if RULES[code].fix])
def test_fix_marks_finding_fixed_and_accounts_for_every_row(tmp_path: Path, code: str) -> None:
    rows = [*sound(60), *PLANTED[code]]
    fix = RULES[code].fix
    reported = findings(tmp_path, rows, fixes=[fix])
    assert reported[code].fixed
    assert rows_of(reported[code]) == [60]
    assert reported[code].fix == fix
    assert set(reported) == {code}
    used, skipped = left(tmp_path, fixes=[fix])
    assert used + sum(skipped.values()) == 61


def test_duplicates_are_distinguished_from_near_duplicates(tmp_path: Path) -> None:
    rows = sound(40)
    question, answered = (turn["content"] for turn in rows[3]["messages"])
    rows += [chat(f"{question} ", f" {answered}"), chat(LONG, LONG), chat(LONG.upper(), LONG[:-1])]
    rows += [chat(LONG, LONG.replace("morning", "noon"))]
    reported = findings(tmp_path, rows)
    assert rows_of(reported["lint.duplicates"]) == [40]
    assert rows_of(reported["lint.near_duplicates"]) == [42, 43]
    assert set(reported) <= {"lint.duplicates", "lint.near_duplicates", "lint.conflicting_answers"}
    assert left(tmp_path) == (44, {})
    assert left(tmp_path, fixes=["drop_duplicates"]) == (
        43,
        {"drop_duplicates": 1},
    )
    both = ["drop_duplicates", "drop_near_duplicates"]
    assert left(tmp_path, fixes=both)[0] == 41
    # Duplicates are near-duplicates, too.
    assert left(tmp_path, fixes=["drop_near_duplicates"])[0] == 41
    assert findings(tmp_path, rows, fixes=["drop_near_duplicates"])["lint.duplicates"].fixed


def test_drop_duplicates_keeps_a_row_that_other_fixes_keep(tmp_path: Path) -> None:
    broken, whole = chat("Which?", "Th\x00is one here."), chat("Which?", "This one here.")
    rows = [*sound(20), chat("Q\ufffd", "A"), broken, whole, whole]
    fixes = ["repair_encoding", "drop_duplicates", "drop_lost_characters"]
    reported = findings(tmp_path, rows, fixes=fixes)
    assert rows_of(reported["lint.duplicates"]) == [22, 23]  # the repaired row comes first
    assert all(finding.fixed for finding in reported.values())
    assert left(tmp_path, fixes=fixes)[0] == 21


def test_empty_turns_count_in_usable_and_unusable_rows(tmp_path: Path) -> None:
    rows = [*sound(30), chat("Hello?", "Yes?", " ", "Right."), chat("Hello?", "")]
    reported = findings(tmp_path, rows)
    assert rows_of(reported["lint.empty_turns"]) in ([30, 31], [31, 30])
    used, skipped = left(tmp_path, fixes=["drop_empty_turns"])
    assert (used, sum(skipped.values())) == (30, 2)


def test_skipped_empty_answers_have_nothing_to_fix(tmp_path: Path) -> None:
    reported = findings(tmp_path, [*sound(30), chat("Hello?", "")])
    assert "lint.empty_turns" not in reported
    assert rows_of(reported["lint.left_out"]) == [30]
    assert reported["lint.left_out"].fix is None


def test_unusable_rows_are_reported_by_reason(tmp_path: Path) -> None:
    rows = [*sound(30), {"messages": "nothing"}, {"messages": [{"role": "user", "content": "Q"}]}]
    file = write_rows(tmp_path / "rows.jsonl", rows)
    spec = DatasetSpec.model_validate({"sources": [str(file)]})
    reported = [f for f in lint(spec, make_job()).findings if f.code == "lint.left_out"]
    assert sorted(row for finding in reported for _, row in finding.rows) == [31, 32]
    assert len({str(finding.what) for finding in reported}) == 2


def test_question_with_several_answers_is_a_hint(tmp_path: Path) -> None:
    rows = [*sound(20), chat("Heads or tails?", "Heads."), chat("Heads or tails?", "Tails.")]
    reported = findings(tmp_path, rows)
    assert rows_of(reported["lint.conflicting_answers"]) == [20, 21]
    assert reported["lint.conflicting_answers"].severity == "hint"
    assert reported["lint.conflicting_answers"].fix is None


def test_findings_are_sorted_by_severity_with_fixed_last(tmp_path: Path) -> None:
    rows = [*sound(30), *PLANTED["lint.refusals"], *PLANTED["lint.markers"], *PLANTED["lint.lost_characters"]]  # fmt: skip
    file = write_rows(tmp_path / "rows.jsonl", rows)
    spec = DatasetSpec.model_validate({"sources": [str(file)], "fixes": ["remove_markers"]})
    codes = [finding.code for finding in lint(spec, make_job()).findings]
    assert codes == ["lint.lost_characters", "lint.refusals", "lint.markers"]


def test_every_rule_has_a_text_and_every_fix_has_a_rule() -> None:
    assert {*FAULTS, *COMPARED} <= RULES.keys()
    for code, rule in RULES.items():
        assert code.startswith("lint.")
        assert "{rows}" in str(rule.what)
    fixes = {rule.fix for rule in RULES.values()} - {None}
    declared = DatasetSpec.model_fields["fixes"].json_schema_extra
    assert isinstance(declared, dict)
    assert fixes == set(declared["choices"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sft/alpaca_en_demo.json", {"lint.duplicates": 14, "lint.refusals": 14, "lint.personal_data": 3}),
        ("sft/self_instruct_alpaca.json", {"lint.personal_data": 4}),
        ("sft/sharegpt_multi_turn.json", {"lint.near_duplicates": 63, "lint.conflicting_answers": 167}),
    ],
)  # fmt: skip
def test_real_data_has_expected_findings(name: str, expected: dict[str, int]) -> None:
    if not REAL.is_dir():
        pytest.skip(f"needs {REAL}")
    spec = DatasetSpec.model_validate({"sources": [str(REAL / name)]})
    reported = {finding.code: finding.count for finding in lint(spec, make_job()).findings}
    assert reported == expected


# --- pairs, labels, other shapes, validation files ------------------------------------------------


def preferred(question: str, chosen: str, rejected: str) -> Row:
    return {"prompt": question, "chosen": chosen, "rejected": rejected}


def labeled(question: str, answer: str, label: bool) -> Row:
    return {"prompt": question, "completion": answer, "label": label}


def pairs(count: int) -> list[Row]:
    writer = Writer(6)
    return [preferred(*(writer.text(10, 20) for _ in range(3))) for _ in range(count)]


def test_contradictory_pairs_are_dropped_together(
    tmp_path: Path,
) -> None:
    rows = [*pairs(30), preferred("Which is it?", "This one.", " This one.\n")]
    rows += [preferred("Tea or coffee?", "Tea.", "Coffee."), preferred("Tea or coffee?", "Coffee.", "Tea.")]  # fmt: skip
    reported = findings(tmp_path, rows)
    assert sorted(rows_of(reported["lint.contradictions"])) == [30, 31, 32]
    assert set(reported) == {"lint.contradictions"}
    fixes = ["drop_contradictions"]
    assert findings(tmp_path, rows, fixes=fixes)["lint.contradictions"].fixed
    used, skipped = left(tmp_path, fixes=fixes)
    assert (used, sum(skipped.values())) == (30, 3)


def test_answer_labeled_good_and_bad_is_a_contradiction(tmp_path: Path) -> None:
    writer = Writer(8)
    rows = [labeled(writer.text(8, 12), writer.text(9, 20), index % 2 == 0) for index in range(30)]
    rows += [labeled("Is it?", "It is.", True), labeled("Is it?", "It is.", False)]
    reported = findings(tmp_path, rows)
    assert rows_of(reported["lint.contradictions"]) == [30, 31]
    assert set(reported) == {"lint.contradictions"}


@pytest.mark.parametrize(
    ("good", "code", "severity"),
    [(0, "lint.one_label", "error"), (40, "lint.one_label", "error"), (3, "lint.rare_label", "warning")],
)  # fmt: skip
def test_missing_or_rare_label_is_reported(
    tmp_path: Path, good: int, code: str, severity: str
) -> None:
    writer = Writer(8)
    rows = [labeled(writer.text(8, 12), writer.text(9, 20), index < good) for index in range(40)]
    reported = findings(tmp_path, rows)
    assert set(reported) == {code}
    assert reported[code].severity == severity
    assert reported[code].count == (40 if code == "lint.one_label" else good)


def test_balanced_labels_give_no_finding(tmp_path: Path) -> None:
    writer = Writer(8)
    rows = [labeled(writer.text(8, 12), writer.text(9, 20), index % 4 == 0) for index in range(40)]
    assert findings(tmp_path, rows) == {}


def test_minority_schema_ignores_unused_columns(tmp_path: Path) -> None:
    rows: list[Row] = [{"id": index, **row} for index, row in enumerate(sound(40))]
    del rows[3]["id"]
    rows[5]["id"] = "five"  # it is not used, so it makes no difference
    rows[7]["messages"] = json.dumps(rows[7]["messages"])
    reported = findings(tmp_path, rows)
    assert rows_of(reported["lint.other_shape"]) == [7]
    assert set(reported) == {"lint.other_shape"}
    fixes = ["drop_minority_schema"]
    used, skipped = left(tmp_path, fixes=fixes)
    assert (used, sum(skipped.values())) == (39, 1)


def test_drop_outliers_removes_extremely_long_rows(tmp_path: Path) -> None:
    rows = [*sound(40), *PLANTED["lint.outliers"]]
    findings(tmp_path, rows)
    assert left(tmp_path) == (41, {})
    assert left(tmp_path, fixes=["drop_outliers"]) == (40, {"drop_outliers": 1})


def test_rows_leaked_from_validation_file_are_dropped(
    tmp_path: Path,
) -> None:
    writer = Writer(2)
    rows, others = sound(40), sound(12, seed=5)
    question, answered = (turn["content"] for turn in rows[11]["messages"])
    edited = chat(f"{question}!", writer.edited(answered + " " + LONG, 0.03))
    rows[11] = chat(question, f"{answered} {LONG}")
    file = write_rows(tmp_path / "validation.jsonl", [*others, rows[4], edited])
    reported = findings(tmp_path, rows, validation_file=str(file))
    assert rows_of(reported["lint.leaked"]) == [4, 11]
    assert reported["lint.leaked"].severity == "error"
    assert set(reported) == {"lint.leaked"}
    settings: dict[str, Any] = {"validation_file": str(file), "fixes": ["drop_leaked"]}
    assert findings(tmp_path, rows, **settings)["lint.leaked"].fixed
    assert left(tmp_path, **settings) == (38 + 14, {"drop_leaked": 2})


def test_faults_in_validation_file_are_not_reported(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "validation.jsonl", [*sound(20, seed=5), *PLANTED["lint.markers"]])
    assert findings(tmp_path, sound(40), validation_file=str(file)) == {}


def test_rows_are_reported_with_their_source(tmp_path: Path) -> None:
    one, two = sound(20), sound(20, seed=2)
    files = [write_rows(tmp_path / "one.jsonl", one), write_rows(tmp_path / "two.jsonl", [*two, one[6]])]  # fmt: skip
    spec = DatasetSpec.model_validate({"sources": [str(file) for file in files]})
    reported = lint(spec, make_job()).findings
    assert [(finding.code, finding.rows) for finding in reported] == [
        ("lint.duplicates", ((1, 21),))
    ]


def test_cancel_stops_linting(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", sound(20))
    job = make_job()
    job.flags.cancel.set()
    with pytest.raises(CancelledError):
        lint(DatasetSpec.model_validate({"sources": [str(file)]}), job)


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=25),
    st.sets(st.sampled_from(["drop_duplicates", "drop_near_duplicates"]), min_size=1),
)
@settings(max_examples=15, deadline=None)
def test_dropping_duplicates_keeps_one_of_each(contents: list[int], fixes: set[str]) -> None:
    known = sound(6)
    with tempfile.TemporaryDirectory() as folder:
        file = write_rows(Path(folder, "rows.jsonl"), [known[content] for content in contents])
        spec = DatasetSpec.model_validate({"sources": [str(file)], "fixes": sorted(fixes)})
        division = split(mixture.open_dataset(spec, make_job()), 1, make_job())
    remaining = sorted(
        index for _, index in [*division.training.tolist(), *division.validation.tolist()]
    )
    assert remaining == sorted({contents.index(content) for content in contents})
    assert len(remaining) + sum(map(len, division.dropped.values())) == len(contents)


@pytest.mark.slow
def test_command_line_prints_the_same_findings(tmp_path: Path) -> None:
    rows = [*sound(30), *PLANTED["lint.markers"], *PLANTED["lint.refusals"]]
    file = write_rows(tmp_path / "rows.jsonl", rows)

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return run_studio("data", "lint", file, *options)

    machine = run("--json", "--strict")
    reported = json.loads(machine.stdout)
    assert machine.returncode == 1
    assert reported["rows"] == 32
    assert [(f["code"], f["count"], f["rows"]) for f in reported["findings"]] == [
        ("lint.markers", 1, [[0, 31]]),
        ("lint.refusals", 1, [[0, 32]]),
    ]
    person = run("--fix", "remove_markers", "--strict")
    assert person.returncode == 0
    assert "fixed" in person.stdout
    assert "Checked 32 rows: 1 problem found." in person.stdout
    refused = run("--fix", "drop_everything")
    assert refused.returncode == 2
    assert "drop_duplicates" in refused.stderr


def test_answers_beyond_max_length_are_reported_with_model(tmp_path: Path, tiny: TinyModel) -> None:
    short = [chat(f"Is {index} a number?", f"It is number {index}.") for index in range(6)]
    cut, late = chat("Count.", "one, two, three. " * 30), chat("Count this: " * 40, "one")
    file = write_rows(tmp_path / "rows.jsonl", [*short, cut, late])
    model = ModelSpec(source=str(tiny("llama3")))

    def reported(**settings: Any) -> dict[str, Finding]:
        spec = DatasetSpec.model_validate({"sources": [str(file)], "max_length": 128, **settings})
        channel = handle(commands.LintDataset(dataset=spec, model=model))
        return {finding.code: finding for finding in channel.last(DatasetLinted).findings}

    first = reported()
    assert rows_of(first["lint.cut_answers"]) == [6]
    assert rows_of(first["lint.nothing_to_train"]) == [7]
    field, value = first["lint.cut_answers"].change or ("", 0)
    assert field == "max_length"
    assert not reported(max_length=value).keys() & {"lint.cut_answers", "lint.nothing_to_train"}
    assert first["lint.nothing_to_train"].change == ("max_length", value)
    assert "lint.cut_answers" not in reported(too_long="skip")


@pytest.mark.slow
def test_several_processes_give_the_same_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = sound(11_000)
    for planted in PLANTED.values():
        rows += planted
    rows += [rows[17], rows[9000], *({"messages": []} for _ in range(3))]
    file = write_rows(tmp_path / "rows.jsonl", rows)
    spec = DatasetSpec.model_validate({"sources": [str(file)]})
    together = lint(spec, make_job())
    monkeypatch.setattr(row_facts, "_MANY", len(rows) + 1)
    alone = lint(spec, make_job())
    assert together.findings == alone.findings
    assert {finding.code for finding in alone.findings} >= {*PLANTED, "lint.duplicates"}


def test_rows_that_a_fix_drops_are_neither_cut_nor_longest(
    tmp_path: Path, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = [chat(f"Is {index} a number?", f"It is number {index}.") for index in range(40)]
    outlier = chat("Count.", "one, two, three. " * 200)
    file = write_rows(tmp_path / "rows.jsonl", [*short, outlier, short[0]])
    model = ModelSpec(source=str(tiny("llama3")))
    passes: list[object] = []
    read = row_facts.measure
    monkeypatch.setattr(
        row_facts, "measure", lambda *given, **named: passes.append(1) or read(*given, **named)
    )

    def ask(fixes: tuple[str, ...]) -> tuple[set[str], events.LengthsMeasured, int]:
        spec = DatasetSpec.model_validate(
            {"sources": [str(file)], "max_length": 128, "fixes": fixes, "validation_share": 0.0}
        )
        lengths = handle(commands.MeasureDataset(dataset=spec, model=model))
        linted = handle(commands.LintDataset(dataset=spec, model=model)).last(DatasetLinted)
        planned = handle(commands.PlanDataset(dataset=spec, model=model)).last(
            events.DatasetPlanned
        )
        codes = {finding.code for finding in linted.findings}
        return codes, lengths.last(events.LengthsMeasured), planned.longest_row

    codes, lengths, longest = ask(())
    assert "lint.cut_answers" in codes
    assert (lengths.rows, longest) == (42, 128)
    passes.clear()
    codes, lengths, longest = ask(("drop_outliers", "drop_duplicates"))
    assert "lint.cut_answers" not in codes
    assert lengths.rows == 40
    assert lengths.percentiles[100] < 128
    assert longest <= lengths.percentiles[100]
    assert len(passes) == 1, "lengths, findings and plan share one pass over the rows"


def test_all_planted_faults_are_reported(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    planted = near_duplicates.write_rows(file, 1500)
    linted = lint(DatasetSpec(sources=(DataSource(path=str(file)),)), make_job())
    reported = Counter({finding.code: finding.count for finding in linted.findings})
    # An edit may exchange a word of the answer for itself or one of the question for a longer one.
    assert reported.pop("lint.near_duplicates") == pytest.approx(
        planted.pop("lint.near_duplicates"), abs=2
    )
    reported.pop("lint.conflicting_answers", None)
    assert reported == planted


def test_cancel_is_heeded_between_two_repairs(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    near_duplicates.write_rows(file, 50)
    rows = mixture.open_dataset(DatasetSpec(sources=(DataSource(path=str(file)),)), make_job())
    compared = dataset_comparison.compare_rows(rows, make_job())
    job = make_job()
    job.flags.cancel.set()
    with pytest.raises(CancelledError):
        dataset_comparison.apply_repairs(compared, (), np.ones(50, dtype=bool), job)
