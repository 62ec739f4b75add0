"""Rows that name their parent row: each is read with its conversation, and its answer trains once."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lora_studio.core.dataset.formats.detection import convert
from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.core.protocol import commands, events
from lora_studio.engine.dataset import splitting
from lora_studio.engine.dataset.quality.lint import lint
from lora_studio.engine.dataset.rows import mixture
from lora_studio.engine.dataset.rows.scan import open_store
from tests.helpers.runs.jobs import handle, make_job

pytestmark = pytest.mark.usefixtures("cache")

Turns = list[tuple[str, str, bool]]


def inspected(path: Path, **how: Any) -> events.SourceFound:
    channel = handle(
        commands.InspectDataset(dataset=DatasetSpec(sources=(DataSource(path=str(path), **how),)))
    )
    channel.last(events.Done)
    (source,) = channel.last(events.DatasetInspected).sources
    assert source.rows == source.used + sum(entry.count for entry in source.skipped)
    return source


def conversations(path: Path) -> tuple[events.SourceFound, dict[int, Turns]]:
    """Return the inspected source and, by row number, the turns of each usable row."""
    source = inspected(path)
    store = open_store(DataSource(path=str(path)), make_job())
    skipped = {row for entry in source.skipped for row in entry.rows}
    assert source.format is not None, source.problems
    turns = {}
    for position in range(len(store)):
        values = store.read_raw(position).values
        if values is not None and position + 1 not in skipped:
            sample = convert(values, source.format, source.mapping)
            turns[position + 1] = [(one.role, one.content, one.trained) for one in sample.messages]
    return source, turns


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def codes(source: events.SourceFound) -> set[str]:
    return {problem.code for problem in source.problems}


def turn(own: Any, before: Any, role: str, text: Any, **more: Any) -> dict[str, Any]:
    return {"message_id": own, "parent_id": before, "role": role, "text": text, **more}


def speak(row: int) -> str:
    return "assistant" if row % 2 else "user"


def test_float_ids_are_matched(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": [1, 2], "parent_id": pa.array([None, 1.0], pa.float64()),
            "role": ["user", "assistant"], "text": ["Who?", "I."],
        }
    )  # fmt: skip
    pq.write_table(table, tmp_path / "turns.parquet")
    _, turns = conversations(tmp_path / "turns.parquet")
    assert turns == {2: [("user", "Who?", False), ("assistant", "I.", True)]}


def test_single_turns_become_conversations_of_their_answers(tmp_path: Path) -> None:
    rows = [
        {"message_id": "a", "parent_id": None, "text": "Who?", "role": "prompter", "rank": None},
        {"message_id": "b", "parent_id": "a", "text": "I.", "role": "assistant", "rank": 0},
        {"message_id": "c", "parent_id": "a", "text": "Me.", "role": "assistant", "rank": 1},
        {"message_id": "d", "parent_id": "b", "text": "Why?", "role": "prompter", "rank": None},
        {"message_id": "e", "parent_id": "d", "text": "So.", "role": "assistant", "rank": None},
        {"message_id": "f", "parent_id": "d", "text": "No.", "role": "assistant", "deleted": True},
    ]
    source, turns = conversations(lines(tmp_path / "turns.jsonl", rows))
    who = ("user", "Who?", False)
    assert turns == {
        2: [who, ("assistant", "I.", True)],
        5: [who, ("assistant", "I.", False), ("user", "Why?", False), ("assistant", "So.", True)],
    }
    assert {str(entry.reason): entry.rows for entry in source.skipped} == {
        "it is not an answer; it is read with the answers after it": (1, 4),
        "another answer to the same turn has a better rank": (3,),
        "it was deleted": (6,),
    }


@pytest.mark.parametrize("newest_first", [False, True])
def test_messages_of_a_ticket_are_joined_in_order_of_time(
    tmp_path: Path, newest_first: bool
) -> None:
    """A help desk exports one row for each message, often the newest first."""
    spoken = [("end-user", "Who?"), ("agent", "I."), ("end-user", "Why?"), ("agent", "So.")]
    rows = [
        f"{ticket};2026-05-01T10:0{at}:00;Kim;{role};{text}\n"
        for at, (role, text) in enumerate(spoken)
        for ticket in (7, 8)
    ]
    file = tmp_path / "tickets.csv"
    file.write_text(
        "Ticket ID;Date;Author;Role;Body\n" + "".join(rows[:: -1 if newest_first else 1])
    )
    source, turns = conversations(file)
    who, ours = ("user", "Who?", False), ("assistant", "I.", False)
    short = [who, ("assistant", "I.", True)]
    long = [who, ours, ("user", "Why?", False), ("assistant", "So.", True)]
    assert turns == ({1: long, 2: long, 5: short, 6: short} if newest_first else {3: short, 4: short, 7: long, 8: long})  # fmt: skip
    assert "dataset.chained" in codes(source)


def test_whole_conversations_with_an_id_stay_as_they_are(tmp_path: Path) -> None:
    rows = [
        {"session_id": 1, "role": "user", "prompt": f"Who is {i}?", "completion": f"I, {i}."} for i in range(4)
    ]  # fmt: skip
    source, turns = conversations(lines(tmp_path / "rows.jsonl", rows))
    assert len(turns) == 4
    assert source.problems == ()


def test_rows_with_unusable_parents_give_a_reason(tmp_path: Path) -> None:
    rows = [
        turn("a", "b", "user", "Who?"), turn("b", "a", "assistant", "I."),  # a cycle
        turn("c", "c", "user", "Who?"),  # its own parent: starts a conversation
        turn("d", None, "user", "Who?"), turn("d", None, "user", "Who?"),  # duplicate id
        turn("e", "d", "assistant", "I."), turn("f", "gone", "assistant", "I."),
        turn("g", "c", "assistant", "I."), turn("h", "g", "user", "Why?"), turn("i", "h", "assistant", "So."),
    ]  # fmt: skip
    source, turns = conversations(lines(tmp_path / "turns.jsonl", rows))
    assert {str(entry.reason): entry.rows for entry in source.skipped} == {
        "its parent rows form a cycle": (1, 2),
        "it is not an answer; it is read with the answers after it": (3, 4, 5, 9),
        "several rows have the ID of its parent row": (6,),
        "its parent row is missing": (7,),
    }
    assert {row: len(chat) for row, chat in turns.items()} == {8: 2, 10: 4}
    assert {"dataset.chained", "dataset.parents_missing"} <= codes(source)


def test_each_answer_trains_once_after_its_whole_history(tmp_path: Path) -> None:
    random.seed(7)
    parents: list[int | None] = []
    for row in range(400):
        earlier = [one for one in range(max(0, row - 8), row) if one % 2 != row % 2]
        parents.append(random.choice([*earlier, *([] if row % 2 else [None])]))
    order = list(range(400))
    random.shuffle(order)
    rows = [turn(row, parents[row], speak(row), f"T{row}") for row in order]
    source, turns = conversations(lines(tmp_path / "turns.jsonl", rows))
    assert source.used == 200
    for number, row in enumerate(order, start=1):
        path: list[int] = []
        current: int | None = row
        while current is not None:
            path.insert(0, current)
            current = parents[current]
        if row % 2:
            assert turns[number] == [(speak(one), f"T{one}", one == row) for one in path]


@pytest.mark.slow
def test_overlong_conversation_is_skipped_row_by_row(tmp_path: Path) -> None:
    rows = [turn(row, row - 1 or None, speak(row - 1), "Q" * 99) for row in range(1, 5000)]
    source = inspected(lines(tmp_path / "turns.jsonl", rows))
    assert source.used == 128
    assert str(source.skipped[0].reason) == "too many rows precede it"


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "Who?", "output": "I."},
        {"prompt": "Who?", "chosen": "I.", "rejected": "You."},
        {"context": "A mirror.", "question": "Who?", "answer": "I."},
        {"body": "Only a text."},
    ],
    ids=["alpaca", "preference", "context", "text"],
)
def test_unchainable_formats_warn_that_parents_are_unused(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    rows = [{"id": 1, "parent_id": None, **row}, {"id": 2, "parent_id": 1, **row}]
    source = inspected(lines(tmp_path / "rows.jsonl", rows))
    assert source.used == 2
    assert "dataset.parents_unused" in codes(source)


def test_rows_without_parents_are_unchanged(tmp_path: Path) -> None:
    rows = [{"id": n, "parent_id": None, "instruction": "Who?", "output": "I."} for n in range(3)]
    source = inspected(lines(tmp_path / "rows.jsonl", rows))
    assert (source.used, source.problems, source.mapping) == (
        3,
        (),
        {"instruction": "instruction", "output": "output"},
    )


def test_deleted_and_ranked_turns_are_read_from_csv_text(
    tmp_path: Path,
) -> None:
    file = tmp_path / "turns.csv"
    file.write_text(
        "message_id,parent_id,text,role,rank,deleted\n"
        "a,,Who?,prompter,,False\nb,a,I.,assistant,0,False\nc,a,Me.,assistant,1,False\n"
        "d,b,Why?,prompter,,False\ne,d,So.,assistant,0,True\nf,d,No.,assistant,1,False\n"
    )
    source, turns = conversations(file)
    assert sorted(turns) == [2, 6]
    assert {str(entry.reason): entry.rows for entry in source.skipped} == {
        "it is not an answer; it is read with the answers after it": (1, 4),
        "another answer to the same turn has a better rank": (3,),
        "it was deleted": (5,),
    }


def test_deleted_failed_and_unranked_answers_do_not_train(
    tmp_path: Path,
) -> None:
    rows = [
        turn("a", None, "prompter", "Who?"),
        turn("b", "a", "assistant", "Spam.", review_result=False),
        turn("c", "a", "assistant", "I.", review_result=True, rank=0),
        turn("d", "a", "assistant", "You.", rank=None),
        turn("e", "c", "prompter", "Why?", deleted=True),
        turn("f", "e", "assistant", "So."),
        turn("g", "gone", "assistant", "An answer to nothing."),
        turn("h", None, "assistant", "Welcome."),
    ]
    source, turns = conversations(lines(tmp_path / "turns.jsonl", rows))
    assert turns == {
        3: [("user", "Who?", False), ("assistant", "I.", True)],
        8: [("assistant", "Welcome.", True)],
    }
    assert {str(entry.reason): entry.rows for entry in source.skipped} == {
        "it is not an answer; it is read with the answers after it": (1, 5),
        "it did not pass its review": (2,),
        "it has no rank, unlike other answers to the same turn": (4,),
        "an earlier row of its conversation can't be used": (6,),
        "its parent row is missing": (7,),
    }


def test_turns_with_tool_calls_and_parts_are_joined(tmp_path: Path) -> None:
    call = {"id": "x", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    rows = [
        turn("a", None, "user", [{"type": "text", "text": "Rain?"}]),
        turn("b", "a", "assistant", None, tool_calls=[call]),
        turn("c", "b", "tool", "dry", tool_call_id="x"),
        turn("d", "c", "assistant", "No."),
    ]
    path = lines(tmp_path / "turns.jsonl", rows)
    source, turns = conversations(path)
    assert turns == {
        2: [("user", "Rain?", False), ("assistant", "", True)],
        4: [
            ("user", "Rain?", False), ("assistant", "", False), ("tool", "dry", False),
            ("assistant", "No.", True),
        ],
    }  # fmt: skip
    values = open_store(DataSource(path=str(path)), make_job()).read_raw(3).values
    messages = convert(values, "messages", source.mapping).messages
    assert [call.name for call in messages[1].tool_calls] == ["weather"]
    assert messages[2].name == "weather"


def test_answer_to_an_image_is_left_out(tmp_path: Path) -> None:
    rows = [
        turn("a", None, "user", "What is it?", image="cat.jpg"),
        turn("b", "a", "assistant", "A cat.", image=None),
        turn("c", None, "user", "Who?", image=None),
        turn("d", "c", "assistant", "I.", image=None),
    ]
    _, turns = conversations(lines(tmp_path / "turns.jsonl", rows))
    assert sorted(turns) == [4]


def test_ids_are_scoped_to_their_conversation_or_file(tmp_path: Path) -> None:
    rows = [
        {"id": f"row {chat}{number}", "conversation_id": chat, "message_id": number,
         "parent_message_id": number - 1 if number else None,
         "role": "assistant" if number % 2 else "user", "content": f"{chat}{number}"}
        for chat in "xy" for number in range(4)
    ]  # fmt: skip
    _, turns = conversations(lines(tmp_path / "turns.jsonl", rows))
    assert [text for _, text, _ in turns[8]] == ["y0", "y1", "y2", "y3"]

    folder = tmp_path / "folder"
    folder.mkdir()
    for name in "xy":
        rows = [turn(1, 0, "user", f"{name}1"), turn(2, "1", "assistant", f"{name}2")]
        lines(folder / f"{name}.jsonl", rows)
    lines(folder / "z.jsonl", [turn(5, 4, "assistant", "five")])
    lines(folder / "zz.jsonl", [turn(4, -1, "user", "four")])
    source, turns = conversations(folder)
    assert [[text for _, text, _ in chat] for chat in turns.values()] == [
        ["x1", "x2"], ["y1", "y2"], ["four", "five"],
    ]  # fmt: skip
    assert codes(source) == {"dataset.chained"}


def test_turns_whose_parents_form_a_circle_are_not_joined(tmp_path: Path) -> None:
    rows = [turn(own, own % 6 + 1, speak(own), "Hello") for own in range(1, 60)]
    source = inspected(lines(tmp_path / "turns.jsonl", rows))
    assert "dataset.parents_unused" in codes(source)


def test_turns_with_only_missing_parents_are_refused(
    tmp_path: Path,
) -> None:
    rows = [turn("b", "a", "assistant", "I."), turn("d", "c", "user", "Who?")]
    source = inspected(lines(tmp_path / "turns.jsonl", rows))
    assert source.format is None
    assert codes(source) == {"dataset.single_turns", "dataset.parents_missing"}


def trees(path: Path) -> list[int]:
    """Write 40 conversations of 12 turns, some with branches; return each row's conversation."""
    random.seed(3)
    words = ["".join(random.choices("abcdefghijklmno", k=random.randint(2, 9))) for _ in range(999)]
    rows: list[dict[str, Any]] = []
    for row in range(480):
        before = (
            None
            if row % 12 == 0
            else row - random.choice([1, min(3, row % 12)] if row % 2 else [1])
        )
        rows.append(turn(row, before, speak(row), " ".join(random.choices(words, k=30))))
    lines(path, rows)
    return [row // 12 for row in range(480)]


@pytest.mark.slow
def test_split_keeps_conversations_whole_without_duplicates(
    tmp_path: Path,
) -> None:
    of_row = trees(tmp_path / "turns.jsonl")
    spec = DatasetSpec.model_validate(
        {"sources": [str(tmp_path / "turns.jsonl")], "validation_share": 0.1}
    )
    divided = splitting.split(mixture.open_dataset(spec, make_job()), 1, make_job())
    training, validation = (
        {of_row[index] for _, index in side} for side in (divided.training, divided.validation)
    )
    assert len(training) + len(validation) == 40
    assert 3 <= len(validation) <= 5
    # Some turns have two answers, but no row is a duplicate or in both sides.
    assert {one.code for one in lint(spec, make_job()).findings} == {"lint.conflicting_answers"}


def test_answers_to_one_missing_row_share_a_split_side(tmp_path: Path) -> None:
    random.seed(5)
    answer = " ".join
    rows = [
        turn(own, own - 1 if own % 2 else f"gone {own // 4}", speak(own), answer(random.choices("abcdefghij", k=40)))
        for own in range(80)
    ]  # fmt: skip
    random.shuffle(rows)
    spec = DatasetSpec.model_validate(
        {"sources": [str(lines(tmp_path / "turns.jsonl", rows))], "validation_share": 0.2}
    )
    divided = splitting.split(mixture.open_dataset(spec, make_job()), 1, make_job())
    training, validation = (
        {rows[index]["message_id"] // 4 for _, index in side}
        for side in (divided.training, divided.validation)
    )
    assert validation
    assert not training & validation
