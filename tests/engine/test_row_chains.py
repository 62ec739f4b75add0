"""Rows that name the row before them: each is read with its conversation, and its answer trains once."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lora_studio.core import commands, events
from lora_studio.core.dataset import DatasetSpec, Source
from lora_studio.core.row_formats import convert
from lora_studio.engine.row_scan import open_store
from tests.helpers.jobs import handle, make_job

pytestmark = pytest.mark.usefixtures("cache")

Turns = list[tuple[str, str, bool]]


def inspected(path: Path, **how: Any) -> events.SourceFound:
    channel = handle(
        commands.InspectDataset(dataset=DatasetSpec(sources=(Source(path=str(path), **how),)))
    )
    channel.last(events.Done)
    (found,) = channel.last(events.DatasetInspected).sources
    assert found.rows == found.used + sum(entry.count for entry in found.skipped)
    return found


def conversations(path: Path) -> tuple[events.SourceFound, dict[int, Turns]]:
    """What is found, and by row (from 1) the turns of each usable one, with whether they train."""
    found = inspected(path)
    store = open_store(Source(path=str(path)), make_job())
    skipped = {row for entry in found.skipped for row in entry.rows}
    assert found.format is not None, found.problems
    turns = {}
    for position in range(len(store)):
        if position + 1 not in skipped:
            sample = convert(store.raw(position).values, found.format, found.mapping)
            turns[position + 1] = [(one.role, one.content, one.trained) for one in sample.messages]
    return found, turns


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def codes(found: events.SourceFound) -> set[str]:
    return {problem.code for problem in found.problems}


def test_a_round_is_read_with_the_rounds_before_it_of_which_none_trains_again(
    tmp_path: Path,
) -> None:
    file = tmp_path / "rounds.csv"
    file.write_text(
        "id,parent_id,instruction,output\nc,b,When?,Now.\na,,Who?,I.\nb,a,Why?,So.\nd,a,Where?,Here.\n"
    )
    found, turns = conversations(file)
    who = [("user", "Who?", False), ("assistant", "I.", False)]
    why = [("user", "Why?", False), ("assistant", "So.", False)]
    assert turns == {
        1: [*who, *why, ("user", "When?", False), ("assistant", "Now.", True)],
        2: [who[0], ("assistant", "I.", True)],
        3: [*who, why[0], ("assistant", "So.", True)],
        4: [*who, ("user", "Where?", False), ("assistant", "Here.", True)],
    }
    assert found.mapping["history"] == "history"
    assert codes(found) == {"dataset.chained"}


def test_ids_that_a_table_has_made_fractions_of_are_still_found_with_the_system_text_of_the_first(
    tmp_path: Path,
) -> None:
    table = pa.table(
        {
            "id": [1, 2], "parent_id": pa.array([None, 1.0], pa.float64()), "prompt": ["Who?", "Why?"],
            "answer": ["I.", "So."], "system": ["S", None],
        }
    )  # fmt: skip
    pq.write_table(table, tmp_path / "rounds.parquet")
    _, turns = conversations(tmp_path / "rounds.parquet")
    assert turns[2] == [
        ("system", "S", False), ("user", "Who?", False), ("assistant", "I.", False),
        ("user", "Why?", False), ("assistant", "So.", True),
    ]  # fmt: skip


def test_single_turns_become_the_conversations_of_their_answers(tmp_path: Path) -> None:
    rows = [
        {"message_id": "a", "parent_id": None, "text": "Who?", "role": "prompter", "rank": None},
        {"message_id": "b", "parent_id": "a", "text": "I.", "role": "assistant", "rank": 0},
        {"message_id": "c", "parent_id": "a", "text": "Me.", "role": "assistant", "rank": 1},
        {"message_id": "d", "parent_id": "b", "text": "Why?", "role": "prompter", "rank": None},
        {"message_id": "e", "parent_id": "d", "text": "So.", "role": "assistant", "rank": None},
        {"message_id": "f", "parent_id": "d", "text": "No.", "role": "assistant", "deleted": True},
    ]
    found, turns = conversations(lines(tmp_path / "turns.jsonl", rows))
    who = ("user", "Who?", False)
    assert turns == {
        2: [who, ("assistant", "I.", True)],
        5: [who, ("assistant", "I.", False), ("user", "Why?", False), ("assistant", "So.", True)],
    }
    assert {entry.reason: entry.rows for entry in found.skipped} == {
        "it is no answer; it is read with the answers that follow it": (1, 4),
        "another answer to the same turn is ranked better": (3,),
        "it was deleted": (6,),
    }


def test_rows_whose_row_before_is_not_to_be_had_say_why(tmp_path: Path) -> None:
    def row(own: str, before: Any, output: str = "I.") -> dict[str, Any]:
        return {"id": own, "parent_id": before, "instruction": "Who?", "output": output}

    rows = [
        row("a", "b"), row("b", "a"),  # a circle
        row("c", "c"),  # names itself, and so begins
        row("d", None), row("d", None), row("e", "d"),  # two of one id
        row("f", None, ""), row("g", "f"),  # behind a round without an answer
        row("h", "gone"), row("i", "c"),
    ]  # fmt: skip
    found, turns = conversations(lines(tmp_path / "rounds.jsonl", rows))
    assert {entry.reason: entry.rows for entry in found.skipped} == {
        "the rows before it lead back to it, or are too many": (1, 2),
        "several rows have the id of the row before it": (6,),
        "its answer is empty": (7,),
        "a row before it in its conversation cannot be used": (8,),
    }
    assert [len(turns[row]) for row in (3, 9, 10)] == [2, 2, 4]
    assert codes(found) == {"dataset.chained", "dataset.parents_missing"}


def test_every_answer_of_any_trees_trains_once_behind_all_that_was_said_before_it(
    tmp_path: Path,
) -> None:
    random.seed(7)
    parents: list[int | None] = [None]
    for row in range(1, 400):
        parents.append(random.choice([None, *range(max(0, row - 8), row)]))
    order = list(range(400))
    random.shuffle(order)
    rows = [
        {"id": f"r{row}", "parent_id": None if parents[row] is None else f"r{parents[row]}",
         "instruction": f"Q{row}", "output": f"A{row}"}
        for row in order
    ]  # fmt: skip
    found, turns = conversations(lines(tmp_path / "rounds.jsonl", rows))
    assert found.used == len(rows)
    for number, row in enumerate(order, start=1):
        path: list[int] = []
        place: int | None = row
        while place is not None:
            path.insert(0, place)
            place = parents[place]
        expected = [
            turn
            for one in path
            for turn in (("user", f"Q{one}", False), ("assistant", f"A{one}", one == row))
        ]
        assert turns[number] == expected


def test_a_conversation_of_endless_rounds_is_refused_row_by_row(tmp_path: Path) -> None:
    rows = [
        {"id": row, "parent_id": row - 1 or None, "instruction": "Q", "output": "A"}
        for row in range(1, 400)
    ]
    found = inspected(lines(tmp_path / "rounds.jsonl", rows))
    assert found.used == 257
    assert found.skipped[0].reason == "the rows before it lead back to it, or are too many"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Who?", "chosen": "I.", "rejected": "You."},
        {"context": "A mirror.", "question": "Who?", "answer": "I."},
        {"body": "Only a text."},
    ],
)
def test_that_rows_of_another_kind_are_not_joined_is_said(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    rows = [{"id": 1, "parent_id": None, **row}, {"id": 2, "parent_id": 1, **row}]
    found = inspected(lines(tmp_path / "rows.jsonl", rows))
    assert found.used == 2
    assert "dataset.parents_unused" in codes(found)


def test_rows_of_which_none_names_another_one_stay_as_they_are(tmp_path: Path) -> None:
    rows = [{"id": n, "parent_id": None, "instruction": "Who?", "output": "I."} for n in range(3)]
    found = inspected(lines(tmp_path / "rows.jsonl", rows))
    assert (found.used, found.problems, found.mapping) == (
        3,
        (),
        {"instruction": "instruction", "output": "output"},
    )


def test_the_rounds_before_a_row_can_be_left_out_by_the_mapping(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "parent_id": None, "instruction": "Who?", "output": "I."},
        {"id": 2, "parent_id": 1, "instruction": "Why?", "output": "So."},
    ]
    path = lines(tmp_path / "rows.jsonl", rows)
    found = inspected(path, mapping={"history": ""})
    assert "history" not in found.mapping
    assert found.used == 2
