"""Rows that name the row before them: each is read with its conversation, and its answer trains once."""

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
from tests.helpers.jobs import handle, make_job

pytestmark = pytest.mark.usefixtures("cache")

Turns = list[tuple[str, str, bool]]


def inspected(path: Path, **how: Any) -> events.SourceFound:
    channel = handle(
        commands.InspectDataset(dataset=DatasetSpec(sources=(DataSource(path=str(path), **how),)))
    )
    channel.last(events.Done)
    (found,) = channel.last(events.DatasetInspected).sources
    assert found.rows == found.used + sum(entry.count for entry in found.skipped)
    return found


def conversations(path: Path) -> tuple[events.SourceFound, dict[int, Turns]]:
    """What is found, and by row (from 1) the turns of each usable one, with whether they train."""
    found = inspected(path)
    store = open_store(DataSource(path=str(path)), make_job())
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
    assert {str(entry.reason): entry.rows for entry in found.skipped} == {
        "it is not an answer; it is read with the answers after it": (1, 4),
        "another answer to the same turn has a better rank": (3,),
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
        row("h", "gone"), row("i", "c"), row("j", "i"),
    ]  # fmt: skip
    found, turns = conversations(lines(tmp_path / "rounds.jsonl", rows))
    assert {str(entry.reason): entry.rows for entry in found.skipped} == {
        "its parent rows lead back to itself": (1, 2),
        "several rows have the id of its parent row": (6,),
        "the answer is empty": (7,),
        "an earlier row of its conversation can't be used": (8,),
    }
    assert [len(turns[row]) for row in (3, 9, 10, 11)] == [2, 2, 4, 6]
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
        {"id": row, "parent_id": row - 1 or None, "instruction": "Q" * 99, "output": "A"}
        for row in range(1, 5000)
    ]
    found = inspected(lines(tmp_path / "rounds.jsonl", rows))
    assert found.used == 257
    assert str(found.skipped[0].reason) == "too many rows precede it"


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


def turn(own: Any, before: Any, role: str, text: Any, **more: Any) -> dict[str, Any]:
    return {"message_id": own, "parent_id": before, "role": role, "text": text, **more}


def test_a_table_says_in_words_which_turns_are_deleted_and_how_answers_are_ranked(
    tmp_path: Path,
) -> None:
    file = tmp_path / "turns.csv"
    file.write_text(
        "message_id,parent_id,text,role,rank,deleted\n"
        "a,,Who?,prompter,,False\nb,a,I.,assistant,0,False\nc,a,Me.,assistant,1,False\n"
        "d,b,Why?,prompter,,False\ne,d,So.,assistant,0,True\nf,d,No.,assistant,1,False\n"
    )
    found, turns = conversations(file)
    assert sorted(turns) == [2, 6]
    assert {str(entry.reason): entry.rows for entry in found.skipped} == {
        "it is not an answer; it is read with the answers after it": (1, 4),
        "another answer to the same turn has a better rank": (3,),
        "it was deleted": (5,),
    }


def test_nothing_trains_that_was_taken_back_stands_behind_such_or_was_left_unranked(
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
    found, turns = conversations(lines(tmp_path / "turns.jsonl", rows))
    assert turns == {
        3: [("user", "Who?", False), ("assistant", "I.", True)],
        8: [("assistant", "Welcome.", True)],
    }
    assert {str(entry.reason): entry.rows for entry in found.skipped} == {
        "it is not an answer; it is read with the answers after it": (1, 5),
        "it did not pass its review": (2,),
        "it has no rank, unlike other answers to the same turn": (4,),
        "an earlier row of its conversation can't be used": (6,),
        "the row that it answers is missing": (7,),
    }


def test_turns_of_calls_and_of_parts_are_joined_as_those_of_text_are(tmp_path: Path) -> None:
    call = {"id": "x", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    rows = [
        turn("a", None, "user", [{"type": "text", "text": "Rain?"}]),
        turn("b", "a", "assistant", None, tool_calls=[call]),
        turn("c", "b", "tool", "dry", tool_call_id="x"),
        turn("d", "c", "assistant", "No."),
    ]
    path = lines(tmp_path / "turns.jsonl", rows)
    found, turns = conversations(path)
    assert turns == {
        2: [("user", "Rain?", False), ("assistant", "", True)],
        4: [
            ("user", "Rain?", False), ("assistant", "", False), ("tool", "dry", False),
            ("assistant", "No.", True),
        ],
    }  # fmt: skip
    values = open_store(DataSource(path=str(path)), make_job()).raw(3).values
    messages = convert(values, "messages", found.mapping).messages
    assert [call.name for call in messages[1].tool_calls] == ["weather"]
    assert messages[2].name == "weather"


def test_an_answer_behind_a_picture_is_left_out(tmp_path: Path) -> None:
    rows = [
        turn("a", None, "user", "What is it?", image="cat.jpg"),
        turn("b", "a", "assistant", "A cat.", image=None),
        turn("c", None, "user", "Who?", image=None),
        turn("d", "c", "assistant", "I.", image=None),
    ]
    _, turns = conversations(lines(tmp_path / "turns.jsonl", rows))
    assert sorted(turns) == [4]


def test_ids_count_that_are_named_and_within_their_conversation_or_file(tmp_path: Path) -> None:
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
        rows = [
            {"id": 1, "parent_id": 0, "instruction": f"{name}1", "output": "A"},
            {"id": 2, "parent_id": "1", "instruction": f"{name}2", "output": "A"},
        ]
        lines(folder / f"{name}.jsonl", rows)
    lines(folder / "z.jsonl", [{"id": 5, "parent_id": 4, "instruction": "five", "output": "A"}])
    lines(folder / "zz.jsonl", [{"id": 4, "parent_id": -1, "instruction": "four", "output": "A"}])
    found, turns = conversations(folder)
    assert [[text for role, text, _ in said if role == "user"] for said in turns.values()] == [
        ["x1"], ["x1", "x2"], ["y1"], ["y1", "y2"], ["four", "five"], ["four"],
    ]  # fmt: skip
    assert codes(found) == {"dataset.chained"}


def rounds(parents: dict[int, Any], ask: str = "Question {}?") -> list[dict[str, Any]]:
    return [
        {"id": own, "parent_id": before, "instruction": ask.format(own), "output": f"A{own}"}
        for own, before in parents.items()
    ]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (rounds({own: own % 5 + 1 for own in range(1, 60)}), "lead back to themselves"),
        (rounds({own: 3 * own + 7 for own in range(1, 40)}), "are missing"),
        (rounds({1: None, 2: None, **{own: own % 2 + 1 for own in range(3, 60)}}), "many times"),
        (
            rounds({1: None, 2: 1, 3: 1}, "Write me a function that adds two numbers, part {}"),
            "variants",
        ),
    ],
)
def test_rows_that_name_kinds_or_what_they_were_made_of_are_no_conversations(
    tmp_path: Path, rows: list[dict[str, Any]], why: str
) -> None:
    found, turns = conversations(lines(tmp_path / "rows.jsonl", rows))
    assert [len(said) for said in turns.values()] == [2] * len(rows)
    (problem,) = found.problems
    assert problem.code == "dataset.parents_unused"
    assert why in str(problem.what)


def test_turns_whose_rows_before_are_all_elsewhere_are_refused_with_that_reason(
    tmp_path: Path,
) -> None:
    rows = [turn("b", "a", "assistant", "I."), turn("d", "c", "user", "Who?")]
    found = inspected(lines(tmp_path / "turns.jsonl", rows))
    assert found.format is None
    assert codes(found) == {"dataset.single_turns", "dataset.parents_missing"}


def trees(path: Path) -> list[int]:
    """40 conversations of 12 rounds each, some with branches; to each row its conversation."""
    random.seed(3)
    words = ["".join(random.choices("abcdefghijklmno", k=random.randint(2, 9))) for _ in range(999)]
    rows: list[dict[str, Any]] = []
    for row in range(480):
        before = None if row % 12 == 0 else row - random.randint(1, min(2, row % 12))
        asked, said = (" ".join(random.choices(words, k=30)) for _ in range(2))
        rows.append({"id": row, "parent_id": before, "instruction": asked, "output": said})
    lines(path, rows)
    return [row // 12 for row in range(480)]


def test_no_conversation_is_on_both_sides_of_the_split_and_its_rounds_are_no_near_duplicates(
    tmp_path: Path,
) -> None:
    of_row = trees(tmp_path / "rounds.jsonl")
    spec = DatasetSpec.model_validate(
        {"sources": [str(tmp_path / "rounds.jsonl")], "validation_share": 0.1}
    )
    divided = splitting.split(mixture.open_dataset(spec, make_job()), 1, make_job())
    training, validation = (
        {of_row[index] for _, index in side} for side in (divided.training, divided.validation)
    )
    assert len(training) + len(validation) == 40
    assert 3 <= len(validation) <= 5
    assert lint(spec, make_job()).findings == ()


def test_answers_to_one_missing_row_are_on_one_side_of_the_split(tmp_path: Path) -> None:
    random.seed(5)
    rows = rounds({own: f"gone {own // 4}" if own % 2 else own + 1 for own in range(80)})
    random.shuffle(rows)
    for row in rows:
        row["output"] = " ".join(random.choices("abcdefghij", k=40))
    spec = DatasetSpec.model_validate(
        {"sources": [str(lines(tmp_path / "rounds.jsonl", rows))], "validation_share": 0.2}
    )
    divided = splitting.split(mixture.open_dataset(spec, make_job()), 1, make_job())
    training, validation = (
        {rows[index]["id"] // 4 for _, index in side}
        for side in (divided.training, divided.validation)
    )
    assert validation
    assert not training & validation
