"""Reading datasets: every shape, every fault by reason and row, a split that stays."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_studio.core import commands, events
from lora_studio.core.dataset import DatasetSpec, Message
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.engine.dataset import Conversations, Row, read, split
from tests.engine.conftest import TinyModel
from tests.helpers.jobs import handle, make_job, write_rows

GOOD = {"instruction": "Ask", "input": "more", "output": "Answer"}


def read_file(file: Path, **settings: Any) -> Conversations:
    return read(DatasetSpec.model_validate({"sources": [str(file)], **settings}), make_job())


def read_row(tmp_path: Path, *rows: Any, **settings: Any) -> Conversations:
    return read_file(write_rows(tmp_path / "rows.jsonl", list(rows)), **settings)


def pairs(messages: tuple[Message, ...]) -> list[tuple[str, str, bool]]:
    return [(turn.role, turn.content, turn.trained) for turn in messages]


def problem_of(file: Path, **settings: Any) -> Problem:
    with pytest.raises(ProblemError) as caught:
        read_file(file, **settings)
    return caught.value.problems[0]


@pytest.mark.parametrize(
    ("row", "shape", "expected"),
    [
        (GOOD, "alpaca", [("user", "Ask\n\nmore"), ("assistant", "Answer")]),
        ({"instruction": "Ask", "input": "", "output": "A"}, "alpaca", [("user", "Ask"), ("assistant", "A")]),
        (
            {"system": "S", "history": [["Q1", "A1"]], "prompt": "Q2", "response": "A2"},
            "alpaca",
            [("system", "S"), ("user", "Q1"), ("assistant", "A1"), ("user", "Q2"), ("assistant", "A2")],
        ),
        (
            {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
            "sharegpt",
            [("user", "Q"), ("assistant", "A")],
        ),
        (
            {"messages": [{"role": "developer", "content": "S"}, {"role": "user", "content": [{"type": "text", "text": "Q"}]}, {"role": "Assistant", "content": "A"}]},
            "messages",
            [("system", "S"), ("user", "Q"), ("assistant", "A")],
        ),
        (
            {"conversations": [{"role": "user", "content": "Q"}, {"role": "bot", "content": "A"}, {"role": "user", "content": "left over"}]},
            "messages",
            [("user", "Q"), ("assistant", "A")],
        ),
    ],
)  # fmt: skip
def test_each_shape_becomes_the_same_conversation(
    tmp_path: Path, row: Any, shape: str, expected: list[tuple[str, str]]
) -> None:
    found = read_row(tmp_path, row)
    assert found.format == shape
    assert [(r, c) for r, c, _ in pairs(found.rows[0].messages)] == expected
    assert [t for r, _, t in pairs(found.rows[0].messages)] == [r == "assistant" for r, _ in expected]  # fmt: skip


def test_a_turn_of_weight_zero_does_not_train(tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "Q"},
        {"role": "assistant", "content": "bad", "weight": 0},
        {"role": "user", "content": "Q2"},
        {"role": "assistant", "content": "good", "weight": 1},
    ]
    found = read_row(tmp_path, {"messages": turns})
    assert [turn.trained for turn in found.rows[0].messages] == [False, False, False, True]


def test_the_system_prompt_goes_before_rows_that_have_none(tmp_path: Path) -> None:
    own = {"messages": [{"role": "system", "content": "own"}, {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}  # fmt: skip
    bare = {"messages": own["messages"][1:]}
    found = read_row(tmp_path, own, bare, system_prompt="Be short.")
    assert [row.messages[0].content for row in found.rows] == ["own", "Be short."]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"instruction": "Q", "output": "  "}, "an answer is empty"),
        ({"instruction": " ", "output": "A"}, "a question is empty"),
        ({"instruction": "Q"}, "it has no output"),
        ({"instruction": "Q", "output": 7}, "a turn is not text"),
        ({"instruction": "Q", "output": "\ud800"}, "half of a character"),
        ({"instruction": "Q", "output": "A", "history": ["x"]}, "history"),
        (["a", "list"], "not an object"),
    ],
)
def test_an_unusable_row_is_counted_by_reason_and_number(
    tmp_path: Path, row: Any, reason: str
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(item) + "\n" for item in (GOOD, row, GOOD, row)), "utf-8")
    found = read_file(file)
    (entry,) = found.skipped.summary()
    assert reason in entry.reason
    assert (entry.count, entry.rows) == (2, (2, 4))
    assert found.rows_read == len(found.rows) + len(found.skipped) == 4


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([{"from": "human", "value": "Q"}], "no answer"),
        ([{"from": "function_call", "value": "{}"}, {"from": "gpt", "value": "A"}], "'function_call'"),
        ([{"from": "human"}, {"from": "gpt", "value": "A"}], "no from or no value"),
    ],
)  # fmt: skip
def test_an_unusable_conversation_says_why(tmp_path: Path, turns: Any, reason: str) -> None:
    good = [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]
    found = read_row(tmp_path, {"conversations": good}, {"conversations": turns})
    assert reason in found.skipped.summary()[0].reason


def test_a_broken_line_is_one_row_lost(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(f"{json.dumps(GOOD)}\n\n{{broken\n{json.dumps(GOOD)}\n", "utf-8")
    found = read_file(file)
    assert [(row.number, row.line) for row in found.rows] == [(1, 1), (3, 4)]
    assert found.skipped.summary()[0].reason == "the line is not valid JSON"


def test_a_broken_first_line_does_not_lose_the_others(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(f"{{broken\n{json.dumps(GOOD)}\n", "utf-8")
    assert [row.number for row in read_file(file).rows] == [2]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([GOOD, GOOD], indent=2),
        json.dumps({"about": "x", "data": [GOOD, GOOD]}, indent=2),
        json.dumps({"data": [GOOD, GOOD]}),
        json.dumps(GOOD) + "\r\n" + json.dumps(GOOD),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_documents_and_lines_are_read_in_the_usual_encodings(
    tmp_path: Path, text: str, encoding: str
) -> None:
    file = tmp_path / "rows.json"
    file.write_text(text, encoding)
    assert len(read_file(file).rows) == 2


def test_a_single_chat_row_is_a_row_and_not_a_list_of_rows(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}
    file = tmp_path / "row.jsonl"
    file.write_text(json.dumps(row), "utf-8")
    assert len(read_file(file).rows) == 1


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (b"", "dataset.empty", "is empty"),
        (b"hello", "dataset.not_json", "“hello”"),
        (b'[{"a": 1},\n{"b" 2}]', "dataset.not_json", "line 2"),
        (b'{"a": [1], "b": [2]}', "dataset.unknown_format", "a, b"),
        (b'[\n{"a":\n"\xff"}]', "dataset.encoding", "line 3"),
        (b'{"x": 1}\n{"y": 2}\n', "dataset.unknown_format", "x, y"),
        (b'{"instruction": "Q", "output": ""}\n', "dataset.no_usable_rows", "an answer is empty"),
        (b"[]", "dataset.empty", "no rows"),
    ],
)
def test_a_file_that_cannot_serve_says_what_and_where(
    tmp_path: Path, content: bytes, code: str, said: str
) -> None:
    file = tmp_path / "rows.json"
    file.write_bytes(content)
    problem = problem_of(file)
    assert problem.code == code
    assert said in str(problem)
    assert problem.remedy


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    assert problem_of(tmp_path / "none.json").code == "dataset.unreadable"


def test_a_chosen_format_is_kept_to(tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match="no list of messages"):
        read_row(tmp_path, GOOD, format="messages")


# --- the split --------------------------------------------------------------------------------


def rows_of(*texts: str) -> list[Row]:
    return [
        Row(number, (Message(role="user", content=text), Message(role="assistant", content="A")))
        for number, text in enumerate(texts, start=1)
    ]


def numbers(rows: list[Row]) -> list[int]:
    return [row.number for row in rows]


@given(st.integers(2, 60), st.floats(0.01, 0.5), st.integers(0, 2**32 - 1))
def test_a_split_loses_nothing_and_leaves_both_sides_rows(
    count: int, share: float, seed: int
) -> None:
    rows = rows_of(*(f"row {number}" for number in range(count)))
    training, validation = split(rows, share, seed)
    assert sorted(numbers(training) + numbers(validation)) == numbers(rows)
    assert len(validation) == min(max(round(share * count), 1), count - 1)
    assert numbers(training) == sorted(numbers(training))


def test_a_share_of_nothing_keeps_every_row_for_training() -> None:
    training, validation = split(rows_of("a", "b"), 0.0, 1)
    assert (len(training), len(validation)) == (2, 0)


def test_the_split_follows_from_content_and_seed_and_not_from_order() -> None:
    rows = rows_of(*(f"row {number}" for number in range(40)))
    moved = [Row(number, row.messages) for number, row in enumerate(reversed(rows), start=1)]
    _, first = split(rows, 0.2, 5)
    _, second = split(moved, 0.2, 5)
    _, other = split(rows, 0.2, 6)
    contents = lambda side: {row.messages[0].content for row in side}  # noqa: E731
    assert contents(first) == contents(second)
    assert contents(first) != contents(other)


# --- as a question to the worker --------------------------------------------------------------


def test_inspecting_shows_rows_tokens_and_what_trains(tmp_path: Path, tiny: TinyModel) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [GOOD, {"instruction": "x"}, GOOD])
    channel = handle(
        commands.InspectDataset(dataset=DatasetSpec.model_validate({"sources": [str(file)]}))
    )
    found = channel.last(events.DatasetInspected)
    assert (found.format, found.rows_read, found.rows_used) == ("alpaca", 3, 2)
    assert found.skipped[0].rows == (2,)
    assert len(found.lengths) == len(found.trained_lengths) == 2
    assert all(0 < part < whole for part, whole in zip(found.trained_lengths, found.lengths, strict=True))  # fmt: skip
    first = found.preview[0]
    assert [span.text for span in first.spans if span.state == "trained"] == ["Answer<|eot_id|>"]
    assert sum(span.tokens for span in first.spans) == found.lengths[0]


def test_inspecting_without_a_model_imports_no_torch(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [GOOD])
    code = (
        "import sys\nfrom lora_studio.core import commands\nfrom lora_studio.engine import jobs\n"
        "class Job:\n"
        "    emit = staticmethod(lambda event: print(event.rows_used, 'torch' in sys.modules))\n"
        "    progress = check = staticmethod(lambda *about: None)\n"
        f"jobs.inspect_dataset(commands.InspectDataset(dataset={{'sources': [{str(file)!r}]}}), Job)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]
