"""Rows of any structure are used or skipped with a reason; nothing but problems comes out."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.core.protocol import commands, events
from tests.helpers.runs.jobs import RecordingChannel, handle

pytestmark = pytest.mark.usefixtures("cache")

#: Names that datasets use, so that most rows get far.
NAMES = (
    "messages", "conversations", "role", "from", "content", "value", "text", "instruction", "input", "output",
    "question", "answer", "answers", "context", "choices", "prompt", "completion", "chosen", "rejected", "label",
    "tools", "tool_calls", "function", "name", "arguments", "id", "parent", "parent_id", "children", "message",
    "author", "replies", "rank", "weight", "train", "type", "system", "history", "thinking", "mapping", "parts",
    "metadata", "title", "segments", "better", "function_call", "tool_call_id",
)  # fmt: skip
TEXTS = (
    "user", "assistant", "system", "tool", "human", "gpt", "function_call", "Hi", "", " ", "0", "true", "A", "\ud800",
    "[1]", "{'role': 'user'}", '[{"role": "user", "content": "a"}]', "Human: a\n\nAssistant: b", "<think>a</think>b",
)  # fmt: skip
SCALARS = st.one_of(
    st.sampled_from(TEXTS), st.none(), st.booleans(), st.integers(-2, 2), st.floats(), st.just(10**400), st.text(max_size=4),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
TURNS = st.dictionaries(
    st.sampled_from(("role", "from", "content", "value", "type", "tool_calls", "weight", "parent")), VALUES, max_size=4
)  # fmt: skip
ROWS = st.dictionaries(
    st.sampled_from(NAMES), VALUES | st.lists(TURNS, max_size=4), min_size=1, max_size=5
)
GOOD = {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}


def read(rows: list[dict[str, Any]], row_format: str = "auto") -> list[RecordingChannel]:
    """Return the events of inspecting, checking, and showing a usual row and these rows."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rows.jsonl")
        # With a usual row, the file is JSON lines, not one document.
        file.write_text("".join(json.dumps(row) + "\n" for row in [GOOD, *rows]), "utf-8")
        spec = DatasetSpec(sources=(DataSource(path=str(file), format=row_format),))
        return [
            handle(commands.InspectDataset(dataset=spec)),
            handle(commands.LintDataset(dataset=spec)),
            handle(commands.ReadRows(dataset=spec)),
            handle(commands.ShowRow(dataset=spec, row=2)),
        ]


def check(rows: list[dict[str, Any]], row_format: str = "auto") -> None:
    channels = read(rows, row_format)
    for channel in channels:
        failures = [event.problem for event in channel.of(events.Failed)]
        assert all(problem.code.startswith("dataset.") for problem in failures), failures
    for event in channels[0].of(events.DatasetInspected)[-1:]:
        assert event.rows_read == len(rows) + 1


@pytest.mark.slow
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(ROWS, min_size=1, max_size=3))
@example(
    [{"messages": [{"role": ["user"], "content": "a"}, {"role": "assistant", "content": "b"}]}]
)
@example([{"conversations": [{"from": {"a": 1}, "value": "a"}, {"from": "gpt", "value": "b"}]}])
@example([{"mapping": {"a": {"message": None, "children": [], "parent": ["a"]}}}])
@example([{"messages": {"a": {"message": None, "children": [[]], "parent": {}}}}])
def test_any_rows_end_in_verdicts_or_problems(rows: list[dict[str, Any]]) -> None:
    check(rows)


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("row_format", ["messages", "sharegpt", "alpaca", "question_answer", "prompt_completion", "text", "preference", "kto"])  # fmt: skip
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=st.lists(ROWS, min_size=1, max_size=3))
def test_any_rows_in_a_chosen_format_end_in_verdicts_or_problems(
    row_format: str, rows: list[dict[str, Any]]
) -> None:
    check(rows, row_format)


@pytest.mark.parametrize(
    "turn",
    [
        {"role": ["user"], "content": "a"},
        {"role": {"name": "user"}, "content": "a"},
        {"role": 7, "content": "a"},
        {"role": None, "content": "a"},
        {"from": ["human"], "value": "a"},
        {"role": "user", "content": {"a": [1]}},
        {"role": "user", "content": 7},
        {"role": "assistant", "content": "a", "tool_calls": 3},
        {"role": "assistant", "content": "a", "tool_calls": [[["x"]]]},
        {"role": "tool", "content": "a", "tool_call_id": ["x"]},
        ["user", ["a"]],
        [["user"], "a"],
        7,
        None,
    ],
    ids=str,
)
def test_turn_of_a_wrong_type_costs_its_row_only(turn: Any) -> None:
    odd = {"messages": [turn, *GOOD["messages"]]}
    (inspected, *others) = read([odd, GOOD])
    (event,) = inspected.of(events.DatasetInspected)[-1:]
    assert event.rows_read == 3
    assert event.rows_used >= 2
    assert all(row == 2 for entry in event.skipped for row in entry.rows)
    assert not any(channel.of(events.Failed) for channel in [inspected, *others])
