"""Columns that judge, reference, or illustrate answers, and files with rows of several shapes."""

from __future__ import annotations

from typing import Any

import pytest

from lora_studio.core.dataset.formats.conversion import convert
from lora_studio.core.dataset.formats.detection import FormatVerdict, detect
from lora_studio.core.dataset.spec import RowFormat
from lora_studio.core.tasks.samples import UnusableRow

ROWS = range(24)


def _ask(number: int) -> str:
    return f"What is the capital of country {number}?"


def _answer(number: int) -> str:
    return f"The capital is City{number}, on river {number}."


def _detect(rows: list[Any]) -> FormatVerdict:
    return detect(rows, list(dict.fromkeys(name for row in rows for name in row)))


def _codes(verdict: FormatVerdict) -> set[str]:
    return {problem.code for problem in verdict.problems}


# --- votes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("feedback", "thumbs_up", "thumbs_down"), ("feedback", "👍", "👎"), ("reaction", "like", "dislike"),
        ("score", 1, -1), ("is_correct", True, False), ("status", "accepted", "rejected"), ("vote", 1, 0),
        ("helpful", "yes", "no"), ("quality", "good", "bad"), ("verdict", "pass", "fail"),
        ("human_grade", "correct", "incorrect"), ("Bewertung", "gut", "schlecht"), ("valid", "true", "false"),
        ("CSAT", "satisfied", "unsatisfied"), ("user_rating", "upvote", "downvote"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("columns", [("prompt", "completion"), ("problem", "solution")])
def test_votes_in_any_column_make_kto_data(
    name: str, good: Any, bad: Any, columns: tuple[str, str]
) -> None:
    prompt, answer = columns
    rows = [
        {prompt: _ask(i), answer: _answer(i), name: bad if i % 3 else good, "id": i} for i in ROWS
    ]
    verdict = _detect(rows)
    assert verdict.format == "kto"
    assert verdict.mapping == {"prompt": prompt, "completion": answer, "label": name}
    assert "dataset.votes" in _codes(verdict), "the user sees which column decides"
    labels = [convert(row, "kto", verdict.mapping).label for row in rows]
    assert labels == [not i % 3 for i in ROWS]


@pytest.mark.parametrize("nothing", ["", None, "neutral"])
@pytest.mark.parametrize(
    ("unjudged", "row_format", "counts"),
    [
        (1, "kto", "6 good and 6 bad in 24 rows"),
        (5, "prompt_completion", "4 of 24 answers checked, 2"),
    ],
)
def test_answers_without_a_vote_dont_hide_the_others(
    nothing: str | None, unjudged: int, row_format: str, counts: str
) -> None:
    votes = ["👍", *[nothing] * unjudged, "👎", *[nothing] * unjudged]
    verdict = _detect(
        [{"prompt": _ask(i), "reply": _answer(i), "feedback": votes[i % len(votes)]} for i in ROWS]
    )
    assert verdict.format == row_format
    (problem,) = verdict.problems
    assert counts in str(problem.what), "bad answers are never imitated without a word"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        pytest.param("user_feedback", ["5", "1", ""], id="feedback-in-stars"),
        pytest.param("rating", [5, 1, 3], id="numbers"),
        pytest.param("upvotes", [12, 0, 3], id="counts-of-votes"),
        pytest.param("stars", ["5", "2"], id="digits"),
        pytest.param("reward", [0.93, -0.4], id="rewards"),
        pytest.param("is_wrong", [True, False], id="flaws"),
        pytest.param("meta", [{"feedback": "positive"}, {"feedback": "negative"}], id="nested"),
    ],
)
def test_ratings_that_are_no_votes_are_named(name: str, values: list[Any]) -> None:
    rows = [
        {"prompt": _ask(i), "completion": _answer(i), name: values[i % len(values)]} for i in ROWS
    ]
    verdict = _detect(rows)
    assert verdict.format == "prompt_completion"
    (problem,) = [item for item in verdict.problems if item.code == "dataset.rated_answers"]
    assert name in str(problem.what)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("difficulty", ["easy", "hard"]), ("has_code", [True, False]), ("split", ["train", "test"]),
        ("liked", [True, True]), ("lang", ["en", "no"]),
    ],
)  # fmt: skip
def test_other_columns_are_not_read_as_votes(name: str, values: list[Any]) -> None:
    rows = [{"instruction": _ask(i), "output": _answer(i), name: values[i % 2]} for i in ROWS]
    verdict = _detect(rows)
    assert (verdict.format, verdict.problems) == ("alpaca", ())


def test_votes_never_drop_the_question() -> None:
    rows = [
        {"Customer wrote": _ask(i), "Agent reply": _answer(i), "vote": i % 2, "note": f"Call {i} back"}
        for i in ROWS
    ]  # fmt: skip
    verdict = _detect(rows)
    assert verdict.format is None or "prompt" in verdict.mapping or "question" in verdict.mapping


@pytest.mark.parametrize(
    ("values", "row_format"),
    [((1, 2), "preference"), (("1", "2"), "preference"), ((0.2, 0.7), None)],
)
def test_label_beside_two_answers_is_never_a_class(values: Any, row_format: str | None) -> None:
    """It prefers one of them, or what it means is asked: the prompts aren't texts to classify."""
    rows = [
        {"prompt_text": _ask(i), "output_a": _answer(i), "output_b": f"No idea, {i}.", "label": values[i % 2]}
        for i in ROWS
    ]  # fmt: skip
    assert _detect(rows).format == row_format


# --- references -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "generated", "reference"),
    [
        ("user_input", "response", "reference"), ("question", "generated_answer", "gold"),
        ("input", "prediction", "expected"), ("prompt", "model_output", "human_answer"),
        ("question", "llm_response", "ground_truth"), ("question", "answer", "correct_answer"),
        ("query", "output", "target"), ("question", "response", "gold_answer"),
        ("prompt", "completion", "ideal_answer"), ("instruction", "output", "expected_output"),
    ],
)  # fmt: skip
def test_reference_answer_wins_over_a_generated_one(
    question: str, generated: str, reference: str
) -> None:
    rows = [{question: _ask(i), generated: "I think so " + _answer(i), reference: _answer(i)} for i in ROWS]  # fmt: skip
    verdict = _detect(rows)
    assert reference in verdict.mapping.values()
    assert generated not in verdict.mapping.values()
    (problem,) = [item for item in verdict.problems if item.code == "dataset.ambiguous_columns"]
    assert generated in str(problem.what)


@pytest.mark.parametrize(
    ("answer", "other"), [("generated_solution", "expected_answer"), ("answer", "reference")]
)
def test_unclear_reference_is_named_as_a_rival(answer: str, other: str) -> None:
    rows = [{"problem": _ask(i), answer: "Step by step: " + _answer(i), other: str(i)} for i in ROWS]  # fmt: skip
    verdict = _detect(rows)
    assert verdict.mapping["answer"] == answer
    assert "dataset.ambiguous_columns" in _codes(verdict)


# --- media ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extra", "code", "name"),
    [
        ({"images": ["https://example.org/200/300"]}, "dataset.media", "images"),
        ({"picture": "iVBORw0KGgoAAAANSUhEUgAA" + "A" * 400}, "dataset.media", "picture"),
        ({"image_id": 1000}, "dataset.media_ignored", "image_id"),
        ({"image_path": "scans/00012"}, "dataset.media_ignored", "image_path"),
        ({"screenshot_url": "https://x.org/1"}, "dataset.media_ignored", "screenshot_url"),
        ({"meta": {"media": {"url": "https://x.org/1.jpeg"}}}, "dataset.media_ignored", "meta.media.url"),
        ({"files": ["a.txt", "b.png"]}, "dataset.media_ignored", "files"),
        ({"prompt": "![chart](https://x.org/1.png) What is shown?"}, "dataset.media_ignored", "prompt"),
    ],
)  # fmt: skip
def test_images_are_named_wherever_they_are(extra: dict[str, Any], code: str, name: str) -> None:
    verdict = _detect([{"prompt": _ask(i), "completion": _answer(i)} | extra for i in ROWS])
    (problem,) = [item for item in verdict.problems if item.code == code]
    assert name in str(problem.what)


@pytest.mark.parametrize(
    "extra",
    [{"image": ""}, {"has_image": False}, {"figure": "see the text below"}, {"url": "https://x.org/page"}],
)  # fmt: skip
def test_rows_without_images_are_not_warned_about(extra: dict[str, Any]) -> None:
    verdict = _detect([{"prompt": _ask(i), "completion": _answer(i)} | extra for i in ROWS])
    assert verdict.problems == ()


# --- multiple choice and mixed shapes -------------------------------------------------------------


@pytest.mark.parametrize("labels", ["ABCD", "1234"])
def test_raw_arc_questions_are_read_with_their_choices(labels: str) -> None:
    rows = [
        {
            "id": f"M{i}",
            "question": {
                "stem": _ask(i),
                "choices": [
                    {"text": f"City{i + j}", "label": label} for j, label in enumerate(labels)
                ],
            },
            "answerKey": labels[i % 4],
        }
        for i in ROWS
    ]
    verdict = _detect(rows)
    assert verdict.format == "question_answer"
    sample = convert(rows[1], "question_answer", verdict.mapping)
    assert sample.messages[0].content.startswith(_ask(1) + "\n" + labels[0] + ". City1\n")
    assert sample.messages[1].content == f"{labels[1]}. City2"


def test_each_row_of_a_mixed_file_is_read_by_its_own_columns() -> None:
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    rows: list[dict[str, Any]] = [
        *({"instruction": _ask(i), "input": "", "output": _answer(i)} for i in range(60)),
        *({"messages": talk, "instruction": None} for _ in range(40)),
        *({"question": _ask(i), "answer": _answer(i)} for i in range(10)),
    ]
    verdict = _detect(rows)
    assert verdict.format is not None
    assert "dataset.mixed_shapes" in _codes(verdict)
    samples = [convert(row, verdict.format, verdict.mapping) for row in rows]
    assert [turn.content for turn in samples[70].messages] == ["Hi", "Hello"]
    assert samples[-1].messages[-1].content == _answer(9)
    assert len({sample.task for sample in samples}) == 1


@pytest.mark.parametrize(
    ("row_format", "mapping", "row"),
    [
        pytest.param(
            "preference",
            {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
            {"question": "Who?", "answer": "I."},
            id="another-task",
        ),
        pytest.param(
            "alpaca",
            {"instruction": "instruction", "output": "output"},
            {"instruction": "Who?", "response": "I."},
            id="some-columns",
        ),
    ],
)
def test_rows_that_lack_a_part_are_still_left_out(
    row_format: RowFormat, mapping: dict[str, str], row: dict[str, Any]
) -> None:
    with pytest.raises(UnusableRow):
        convert(row, row_format, mapping)


@pytest.mark.parametrize("scores", [("votes_a", "votes_b"), ("score_a", "score_b")])
@pytest.mark.parametrize("as_text", [False, True], ids=["numbers", "csv"])
def test_scores_of_two_answers_choose_the_better(scores: tuple[str, str], as_text: bool) -> None:
    rows: list[Any] = [
        {
            "prompt": _ask(i), "response_a": _answer(i), "response_b": f"I don't know, {i}.",
            **dict(zip(scores, map(str, (9, 1)) if as_text else (9, 1), strict=True)),
        }
        for i in ROWS
    ]  # fmt: skip
    for row in rows[::2]:
        for one, other in (("response_a", "response_b"), scores):
            row[one], row[other] = row[other], row[one]
    verdict = _detect(rows)
    assert verdict.format == "preference"
    chosen = [convert(row, "preference", verdict.mapping).chosen[-1].content for row in rows]
    assert chosen == [_answer(i) for i in ROWS]


def test_reply_next_to_a_body_is_not_left_out() -> None:
    rows = [{"Subject": f"Ticket {i}", "Body": _ask(i), "Reply": _answer(i)} for i in ROWS]
    verdict = _detect(rows)
    assert verdict.mapping == {"question": "Body", "answer": "Reply"}
    assert "dataset.guessed_columns" in _codes(verdict)


@pytest.mark.parametrize("name", ["turns", "messages", "dialogue"])
def test_turns_inside_a_conversation_object_are_read(name: str) -> None:
    def make_turns(i: int) -> list[dict[str, str]]:
        return [{"role": "user", "content": _ask(i)}, {"role": "assistant", "content": _answer(i)}]

    rows = [{"conversation": {"id": i, name: make_turns(i)}} for i in ROWS]
    verdict = _detect(rows)
    assert verdict.format == "messages"
    assert [turn.content for turn in convert(rows[3], "messages", verdict.mapping).messages] == [
        _ask(3), _answer(3),
    ]  # fmt: skip
