"""Datasets of one or several sources: inspection, usable rows, pages, search, weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.core.tasks.samples import UnusableRow
from lora_studio.engine.dataset.rows import mixture
from lora_studio.engine.dataset.rows.mixture import MixedRows, repeat_by_weight
from lora_studio.engine.dataset.rows.store import RowStore
from tests.helpers.runs.jobs import handle, make_job, write_rows

pytestmark = pytest.mark.usefixtures("cache")

GOOD = {"instruction": "Ask", "input": "more", "output": "Answer"}
BAD = {"instruction": "Ask", "output": " "}
SHARED = Path(__file__).resolve().parents[5] / "shared" / "data"


def spec_of(*sources: Any, **settings: Any) -> DatasetSpec:
    listed = [str(source) if isinstance(source, Path) else source for source in sources]
    return DatasetSpec.model_validate({"sources": listed, **settings})


def opened(*sources: Any, **settings: Any) -> MixedRows:
    return mixture.open_dataset(spec_of(*sources, **settings), make_job())


def problem_of(*sources: Any, **settings: Any) -> Problem:
    with pytest.raises(ProblemError) as caught:
        opened(*sources, **settings)
    assert str(caught.value.problems[0].remedy)
    return caught.value.problems[0]


def inspected(*sources: Any, **settings: Any) -> list[events.DatasetInspected]:
    channel = handle(commands.InspectDataset(dataset=spec_of(*sources, **settings), preview=50))
    channel.last(events.Done)
    result = channel.of(events.DatasetInspected)
    for event in result:
        left_out = sum(entry.count for entry in event.skipped)
        assert event.rows_read == event.rows_used + left_out
        assert event.rows_read == sum(
            source.used + sum(entry.count for entry in source.skipped) for source in event.sources
        )
    return result


def page(*sources: Any, **question: Any) -> events.RowsRead:
    channel = handle(commands.ReadRows(dataset=spec_of(*sources), **question))
    return channel.last(events.RowsRead)


# --- samples --------------------------------------------------------------------------------------


def test_each_source_is_read_in_its_own_format(tmp_path: Path) -> None:
    chat = {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}
    rows = opened(
        write_rows(tmp_path / "a.jsonl", [GOOD, BAD]), write_rows(tmp_path / "b.jsonl", [chat])
    )
    assert rows.task == "sft"
    assert [source.format for source in rows.sources] == ["alpaca", "sharegpt"]
    assert [turn.content for turn in rows.read_sample(0, 0).messages] == ["Ask\nmore", "Answer"]
    assert [turn.content for turn in rows.read_sample(1, 0).messages] == ["Q", "A"]
    with pytest.raises(UnusableRow, match="empty"):
        rows.read_sample(0, 1)


def test_system_prompt_is_added_to_rows_without_one(tmp_path: Path) -> None:
    own = {"messages": [{"role": "system", "content": "own"}, {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}  # fmt: skip
    file = write_rows(tmp_path / "a.jsonl", [own, {"messages": own["messages"][1:]}])
    rows = opened(file, system_prompt="Be short.")
    assert [rows.read_sample(0, position).messages[0].content for position in (0, 1)] == [
        "own",
        "Be short.",
    ]


def test_fixes_of_single_rows_are_applied(tmp_path: Path) -> None:
    turns = [("user", "Q"), ("user", "more"), ("assistant", "A")]
    row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    rows = opened(write_rows(tmp_path / "a.jsonl", [row]), fixes=("merge_turns",))
    assert [turn.content for turn in rows.read_sample(0, 0).messages] == ["Q\n\nmore", "A"]


def test_chosen_format_and_mapping_are_used(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", [{"x": "Q", "y": "A {x}", "z": "B"}])
    source = {
        "path": str(file),
        "format": "question_answer",
        "mapping": {"question": "Say {x}", "answer": "y"},
    }
    rows = opened(source)
    assert [turn.content for turn in rows.read_sample(0, 0).messages] == ["Say Q", "A {x}"]


def test_mixed_tasks_and_unusable_sources_are_refused(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("Once upon a time.", "utf-8")
    assert problem_of(write_rows(tmp_path / "a.jsonl", [GOOD]), tmp_path / "b.txt").code == "dataset.mixed_tasks"  # fmt: skip
    assert problem_of(write_rows(tmp_path / "c.jsonl", [{"x": 1}])).where.file == str(tmp_path / "c.jsonl")  # fmt: skip
    assert problem_of().code == "dataset.no_sources"


def test_validation_file_rows_come_last(tmp_path: Path) -> None:
    held_out = write_rows(tmp_path / "valid.jsonl", [GOOD | {"output": "held out"}])
    rows = opened(write_rows(tmp_path / "a.jsonl", [GOOD]), validation_file=str(held_out))
    assert len(rows.stores) == len(rows.sources) == 2
    assert rows.read_sample(1, 0).messages[-1].content == "held out"


def test_validation_file_of_prompts_has_their_format_and_columns(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [{"task": "Add 1 and 2.", "sum": "3"}])
    held_out = write_rows(tmp_path / "b.jsonl", [{"task": "Add 2 and 2.", "sum": "4"}])
    mapping = {"prompt": "task", "reference": "sum"}
    prompts = {"path": str(source), "format": "prompts", "mapping": mapping}
    rows = opened(prompts, validation_file=str(held_out))
    assert [rows.read_sample(*each).reference for each in ((0, 0), (1, 0))] == ["3", "4"]


# --- inspection -----------------------------------------------------------------------------------


def test_small_dataset_is_inspected_in_one_complete_event(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [GOOD, BAD, GOOD, BAD])
    (answer,) = inspected(file)
    (result,) = answer.sources
    assert answer.complete
    assert (answer.task, answer.rows_read, answer.rows_used) == ("sft", 4, 2)
    assert (result.format, str(result.container), result.rows, result.used) == ("alpaca", "JSON lines, UTF-8", 4, 2)  # fmt: skip
    assert result.columns == ("instruction", "input", "output")
    assert [(entry.count, entry.rows) for entry in answer.skipped] == [(2, (2, 4))]
    assert [bool(row.fault) for row in answer.preview] == [False, True, False, True]
    assert answer.preview[0].messages[-1].content == "Answer"


def test_large_dataset_is_previewed_before_it_is_scanned(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [GOOD, BAD] * 5000)
    channel = handle(commands.InspectDataset(dataset=spec_of(file)))
    early, full = channel.of(events.DatasetInspected)
    stages = [
        str(e.stage) for e in channel.events[: channel.events.index(early)] if e.kind == "progress"
    ]
    assert "reading rows" not in stages
    assert (early.complete, early.rows_read, early.sources[0].rows) == (False, 200, None)
    assert (full.complete, full.rows_read, full.rows_used) == (True, 10_000, 5000)
    assert early.preview == full.preview
    assert [event.complete for event in inspected(file)] == [True]


def test_unreadable_source_does_not_hide_other_sources(tmp_path: Path) -> None:
    good = write_rows(tmp_path / "a.jsonl", [GOOD])
    answer = inspected(good, tmp_path / "none.jsonl")[-1]
    assert [source.rows for source in answer.sources] == [1, 0]
    assert answer.sources[1].problems[0].code == "dataset.unreadable"
    assert (answer.task, answer.rows_used) == ("sft", 1)
    channel = handle(commands.InspectDataset(dataset=spec_of(tmp_path / "none.jsonl")))
    assert channel.last(events.Failed).problem.code == "dataset.unreadable"


def test_folder_of_mostly_unusable_formats_gives_a_warning(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    write_rows(folder / "a.jsonl", [GOOD] * 3)
    (folder / "b.txt").write_text("Once upon a time.", "utf-8")
    assert not inspected(folder)[-1].problems
    write_rows(folder / "c.jsonl", [{"id": number} for number in range(9)])
    (problem,) = inspected(folder)[-1].problems
    assert problem.code == "dataset.mostly_left_out"
    assert "10 of 13 rows" in str(problem.what)
    assert "sources of their own" in str(problem.remedy)


def test_file_of_only_faults_reports_the_first_faulty_line(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('\n{"a": 1\n{"b": 2\n', "utf-8")
    answer = inspected(file)[-1]
    assert (answer.task, answer.rows_read, answer.rows_used) == (None, 2, 0)
    problem = answer.problems[0]
    assert problem.code == "dataset.no_usable_rows"
    assert "the row is not valid JSON" in str(problem.what)
    assert problem.where.line == 2


@pytest.mark.slow
def test_inspecting_and_tokenizing_import_no_torch(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [GOOD])
    code = (
        "import sys\nfrom lora_studio.core.protocol import commands\nfrom lora_studio.engine import jobs\n"
        "class Job:\n"
        "    reports_files = True\n"
        "    emit = staticmethod(lambda event: print(event.rows_used))\n"
        "    open_file = report_progress = check = staticmethod(lambda *about: None)\n"
        f"jobs.run_command(commands.InspectDataset(dataset={{'sources': [{str(file)!r}]}}), Job)\n"
        "print(sorted({'torch', 'datasets', 'transformers'} & {*sys.modules}))\n"
        # What processes that tokenize import.
        "import lora_studio.engine.dataset.rows.token_cache\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "[]", "False"]


# --- pages ----------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    rows = [GOOD | {"input": f"number {number}"} for number in range(30)]
    rows[4] = BAD
    rows[7] = GOOD | {"output": 'A "quoted" Zürich\nand a {brace}'}
    second = tmp_path / "b.jsonl"
    lines = [json.dumps(GOOD | {"output": f"Other {number}"}) for number in range(10)]
    lines[2] = "{broken"
    second.write_text("\n".join(lines), "utf-8")
    return write_rows(tmp_path / "a.jsonl", rows), second


def row_positions(answer: events.RowsRead) -> list[tuple[int, int]]:
    return [(row.source, row.row) for row in answer.rows]


def test_pages_span_all_sources(files: tuple[Path, Path]) -> None:
    answer = page(*files, first=28, count=4)
    assert (answer.first, answer.matching) == (28, 40)
    assert row_positions(answer) == [(0, 29), (0, 30), (1, 1), (1, 2)]
    assert answer.rows[1].messages[0].content == "Ask\nnumber 29"
    assert row_positions(page(*files, first=38)) == [(1, 9), (1, 10)]
    assert page(*files, first=100).rows == ()


def test_skipped_rows_are_shown_with_reason_and_raw_text(
    files: tuple[Path, Path],
) -> None:
    answer = page(*files, which="skipped")
    assert row_positions(answer) == [(0, 5), (1, 3)]
    assert answer.rows[0].fault
    assert json.loads(answer.rows[0].text) == BAD
    assert (str(answer.rows[1].fault), answer.rows[1].text) == (
        "the row is not valid JSON",
        "{broken",
    )
    assert row_positions(page(*files, reason="the row is not valid JSON")) == [(1, 3)]
    assert page(*files, which="used").matching == 38


def test_pages_skip_an_unreadable_source(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [GOOD, BAD])
    result = page(tmp_path / "missing.jsonl", file, first=0, count=10)
    assert [(row.source, row.row) for row in result.rows] == [(1, 1), (1, 2)]
    assert result.matching == 2
    with pytest.raises(AssertionError, match="no RowsRead"):
        page(tmp_path / "missing.jsonl", first=0, count=10)


def test_reading_pages_detects_the_format_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [GOOD, {**GOOD, "output": "Once"}])
    looked: list[RowStore] = []
    evidence = mixture.sample_rows

    def counted(store: RowStore) -> list[dict[str, Any]]:
        looked.append(store)
        return evidence(store)

    monkeypatch.setattr(mixture, "sample_rows", counted)
    for _ in range(3):
        assert page(file, first=0, count=10).matching == 2
    assert len(looked) == 1
    (row, _) = page({"path": str(file), "format": "text"}, first=0, count=10).rows
    assert len(looked) == 2
    assert not row.messages


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("NUMBER 2", [(0, 3), *((0, row) for row in range(21, 31))]),
        ("zürich", [(0, 8)]),
        ("ZÜRICH\nAND", [(0, 8)]),
        ('"quoted"', [(0, 8)]),
        ("{brace}", [(0, 8)]),
        ("other 9", [(1, 10)]),
        ("input", []),
        (".*", []),
    ],
)
@pytest.mark.parametrize("escaped", [True, False])
def test_search_ignores_case_and_escapes_and_column_names(
    files: tuple[Path, Path], words: str, expected: list[tuple[int, int]], escaped: bool
) -> None:
    if escaped:
        rows = [json.loads(line) for line in files[0].read_text("utf-8").splitlines()]
        files[0].write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    answer = page(*files, search=words)
    assert row_positions(answer) == expected
    assert answer.matching == len(expected)


def test_search_within_selected_rows_keeps_their_order(files: tuple[Path, Path]) -> None:
    only = ((1, 4), (0, 9), (0, 5), (0, 2), (5, 1), (0, 999))
    assert row_positions(page(*files, only=only)) == [(1, 4), (0, 9), (0, 5), (0, 2)]
    assert row_positions(page(*files, only=only, search="number")) == [(0, 9), (0, 2)]
    assert row_positions(page(*files, only=only, which="used", first=1, count=1)) == [(0, 9)]


def test_long_texts_are_truncated_in_pages(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", [GOOD | {"output": "x" * 1_000_000}])
    assert len(page(file).rows[0].messages[1].content) < 5000


# --- weights --------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=3),
    st.lists(st.sampled_from([0.25, 0.5, 1.0, 1.5, 2.0, 3.0]), min_size=3, max_size=3),
    st.integers(0, 2**32 - 1),
)
def test_weight_sets_how_often_each_row_repeats(
    sizes: list[int], weights: list[float], seed: int
) -> None:
    rows = np.array([(source, row) for source, size in enumerate(sizes) for row in range(size)])
    result = repeat_by_weight(rows, weights, seed)
    assert np.array_equal(result, repeat_by_weight(rows, weights, seed))
    for source, size in enumerate(sizes):
        times = np.bincount(result[result[:, 0] == source][:, 1], minlength=size)
        whole = int(weights[source])
        assert set(times) <= {whole, whole + 1}
        assert times.sum() == whole * size + round((weights[source] - whole) * size)


def test_sampled_half_depends_on_seed_and_survives_appending() -> None:
    def half(size: int, seed: int) -> set[int]:
        rows = np.column_stack([np.zeros(size, np.int64), np.arange(size)])
        return set(repeat_by_weight(rows, [0.5], seed)[:, 1].tolist())

    assert half(1000, 1) != half(1000, 2)
    common = half(1100, 1) & set(range(1000))
    assert len(common & half(1000, 1)) > 450


# --- other people's data --------------------------------------------------------------------------


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"there is no {SHARED}")
@pytest.mark.parametrize(
    ("name", "found_format", "rows"),
    [
        ("sft/alpaca_en_demo.json", "alpaca", 999),
        ("sft/self_instruct_alpaca.json", "alpaca", 427),
        ("sft/sharegpt_multi_turn.json", "sharegpt", 500),
        ("sft/gsm8k_test.jsonl", "question_answer", 1319),
        ("sft/TruthfulQA.csv", "question_answer", 817),
        ("parquet/gsm8k_test.parquet", "question_answer", 1319),
        ("preference/truthfulqa_dpo.jsonl", "preference", 817),
        ("preference/dpo_en_demo.json", "preference", 300),
        ("unicode/chatterbot_persian_sharegpt.jsonl", "sharegpt", 773),
    ],
)
def test_real_file_is_recognized_and_every_row_is_used(
    name: str, found_format: str, rows: int
) -> None:
    answer = inspected(SHARED / name)[-1]
    assert answer.sources[0].format == found_format
    assert (answer.rows_read, answer.rows_used) == (rows, rows)
