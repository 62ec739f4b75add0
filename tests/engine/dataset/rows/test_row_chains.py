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
from tests.helpers.jobs import handle, make_job

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
        if position + 1 not in skipped:
            sample = convert(store.read_raw(position).values, source.format, source.mapping)
            turns[position + 1] = [(one.role, one.content, one.trained) for one in sample.messages]
    return source, turns


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def codes(source: events.SourceFound) -> set[str]:
    return {problem.code for problem in source.problems}


def test_round_includes_earlier_rounds_without_training_them(
    tmp_path: Path,
) -> None:
    file = tmp_path / "rounds.csv"
    file.write_text(
        "id,parent_id,instruction,output\nc,b,When?,Now.\na,,Who?,I.\nb,a,Why?,So.\nd,a,Where?,Here.\n"
    )
    source, turns = conversations(file)
    who = [("user", "Who?", False), ("assistant", "I.", False)]
    why = [("user", "Why?", False), ("assistant", "So.", False)]
    assert turns == {
        1: [*who, *why, ("user", "When?", False), ("assistant", "Now.", True)],
        2: [who[0], ("assistant", "I.", True)],
        3: [*who, why[0], ("assistant", "So.", True)],
        4: [*who, ("user", "Where?", False), ("assistant", "Here.", True)],
    }
    assert source.mapping["history"] == "history"
    assert codes(source) == {"dataset.chained"}


def test_float_ids_are_matched_and_first_system_text_is_kept(
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


def test_rows_with_unusable_parents_give_a_reason(tmp_path: Path) -> None:
    def row(own: str, before: Any, output: str = "I.") -> dict[str, Any]:
        return {"id": own, "parent_id": before, "instruction": "Who?", "output": output}

    rows = [
        row("a", "b"), row("b", "a"),  # a cycle
        row("c", "c"),  # its own parent: starts a conversation
        row("d", None), row("d", None), row("e", "d"),  # duplicate id
        row("f", None, ""), row("g", "f"),  # after a round without an answer
        row("h", "gone"), row("i", "c"), row("j", "i"),
    ]  # fmt: skip
    source, turns = conversations(lines(tmp_path / "rounds.jsonl", rows))
    assert {str(entry.reason): entry.rows for entry in source.skipped} == {
        "its parent rows form a cycle": (1, 2),
        "several rows have the ID of its parent row": (6,),
        "the answer is empty": (7,),
        "an earlier row of its conversation can't be used": (8,),
    }
    assert [len(turns[row]) for row in (3, 9, 10, 11)] == [2, 2, 4, 6]
    assert codes(source) == {"dataset.chained", "dataset.parents_missing"}


def test_each_answer_trains_once_after_its_whole_history(
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
    source, turns = conversations(lines(tmp_path / "rounds.jsonl", rows))
    assert source.used == len(rows)
    for number, row in enumerate(order, start=1):
        path: list[int] = []
        current: int | None = row
        while current is not None:
            path.insert(0, current)
            current = parents[current]
        expected = [
            turn
            for one in path
            for turn in (("user", f"Q{one}", False), ("assistant", f"A{one}", one == row))
        ]
        assert turns[number] == expected


@pytest.mark.slow
def test_overlong_conversation_is_skipped_row_by_row(tmp_path: Path) -> None:
    rows = [
        {"id": row, "parent_id": row - 1 or None, "instruction": "Q" * 99, "output": "A"}
        for row in range(1, 5000)
    ]
    source = inspected(lines(tmp_path / "rounds.jsonl", rows))
    assert source.used == 257
    assert str(source.skipped[0].reason) == "too many rows precede it"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Who?", "chosen": "I.", "rejected": "You."},
        {"context": "A mirror.", "question": "Who?", "answer": "I."},
        {"body": "Only a text."},
    ],
    ids=["preference", "context", "text"],
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


def test_mapping_can_leave_out_the_history(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "parent_id": None, "instruction": "Who?", "output": "I."},
        {"id": 2, "parent_id": 1, "instruction": "Why?", "output": "So."},
    ]
    path = lines(tmp_path / "rows.jsonl", rows)
    source = inspected(path, mapping={"history": ""})
    assert "history" not in source.mapping
    assert source.used == 2


def turn(own: Any, before: Any, role: str, text: Any, **more: Any) -> dict[str, Any]:
    return {"message_id": own, "parent_id": before, "role": role, "text": text, **more}


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
        "the row that it answers is missing": (7,),
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
        rows = [
            {"id": 1, "parent_id": 0, "instruction": f"{name}1", "output": "A"},
            {"id": 2, "parent_id": "1", "instruction": f"{name}2", "output": "A"},
        ]
        lines(folder / f"{name}.jsonl", rows)
    lines(folder / "z.jsonl", [{"id": 5, "parent_id": 4, "instruction": "five", "output": "A"}])
    lines(folder / "zz.jsonl", [{"id": 4, "parent_id": -1, "instruction": "four", "output": "A"}])
    source, turns = conversations(folder)
    assert [[text for role, text, _ in chat if role == "user"] for chat in turns.values()] == [
        ["x1"], ["x1", "x2"], ["y1"], ["y1", "y2"], ["four", "five"], ["four"],
    ]  # fmt: skip
    assert codes(source) == {"dataset.chained"}


def rounds(parents: dict[int, Any], ask: str = "Question {}?") -> list[dict[str, Any]]:
    return [
        {"id": own, "parent_id": before, "instruction": ask.format(own), "output": f"A{own}"}
        for own, before in parents.items()
    ]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (rounds({own: own % 5 + 1 for own in range(1, 60)}), "references are circular"),
        (rounds({own: 3 * own + 7 for own in range(1, 40)}), "are missing"),
        (rounds({1: None, 2: None, **{own: own % 2 + 1 for own in range(3, 60)}}), "many times"),
        (
            rounds({1: None, 2: 1, 3: 1}, "Write me a function that adds two numbers, part {}"),
            "variants",
        ),
    ],
    ids=["cycles", "missing parents", "few parents", "variants"],
)
def test_implausible_parent_columns_do_not_form_conversations(
    tmp_path: Path, rows: list[dict[str, Any]], why: str
) -> None:
    source, turns = conversations(lines(tmp_path / "rows.jsonl", rows))
    assert [len(chat) for chat in turns.values()] == [2] * len(rows)
    (problem,) = source.problems
    assert problem.code == "dataset.parents_unused"
    assert why in str(problem.what)


def test_turns_with_only_missing_parents_are_refused(
    tmp_path: Path,
) -> None:
    rows = [turn("b", "a", "assistant", "I."), turn("d", "c", "user", "Who?")]
    source = inspected(lines(tmp_path / "turns.jsonl", rows))
    assert source.format is None
    assert codes(source) == {"dataset.single_turns", "dataset.parents_missing"}


def trees(path: Path) -> list[int]:
    """Write 40 conversations of 12 rounds, some with branches; return each row's conversation."""
    random.seed(3)
    words = ["".join(random.choices("abcdefghijklmno", k=random.randint(2, 9))) for _ in range(999)]
    rows: list[dict[str, Any]] = []
    for row in range(480):
        before = None if row % 12 == 0 else row - random.randint(1, min(2, row % 12))
        question, answer = (" ".join(random.choices(words, k=30)) for _ in range(2))
        rows.append({"id": row, "parent_id": before, "instruction": question, "output": answer})
    lines(path, rows)
    return [row // 12 for row in range(480)]


@pytest.mark.slow
def test_split_keeps_conversations_whole_without_duplicates(
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


def test_answers_to_one_missing_row_share_a_split_side(tmp_path: Path) -> None:
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
