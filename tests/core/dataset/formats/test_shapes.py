"""Rows as other tools and datasets write them: read with the right task, and nothing is dropped silently."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lora_studio.core.dataset.faults import find_faults
from lora_studio.core.dataset.formats.conversion import convert
from lora_studio.core.dataset.formats.detection import FormatVerdict, detect
from lora_studio.core.tasks.samples import Sample, UnusableRow

ASKED = [
    "Wie hoch ist der Brocken?", "¿Dónde nace el Ebro?", "Кто написал «Идиота»?", "富士山の高さは？",
    "Hva heter hovedstaden i Norge?", "Qual é a capital de Angola?", "What does a cooper make?", "Qui a peint Guernica ?",
]  # fmt: skip
ANSWERED = [
    "Der Brocken ist 1141 Meter hoch.", "Nace en Fontibre, en Cantabria.", "Роман написал Достоевский.", "3776メートルです。",
    "Hovedstaden heter Oslo.", "A capital de Angola é Luanda.", "A cooper makes barrels.", "Picasso l'a peint en 1937.",
]  # fmt: skip
WORSE = [f"{answer[:4]} …" for answer in ANSWERED]
NUMBERS = range(len(ASKED))


def user(number: int) -> dict[str, str]:
    return {"role": "user", "content": ASKED[number]}


def assistant(number: int) -> dict[str, str]:
    return {"role": "assistant", "content": ANSWERED[number]}


def see(rows: list[dict[str, Any]]) -> FormatVerdict:
    return detect(rows, list(dict.fromkeys(name for row in rows for name in row)))


def read(rows: list[dict[str, Any]], task: str) -> tuple[FormatVerdict, list[Sample]]:
    verdict = see(rows)
    assert verdict.task == task, (verdict.evidence, verdict.problems)
    assert verdict.format is not None
    return verdict, [convert(row, verdict.format, verdict.mapping) for row in rows]


def codes(verdict: FormatVerdict) -> set[str]:
    return {problem.code.removeprefix("dataset.") for problem in verdict.problems}


# --- rewards ----------------------------------------------------------------------------------

VERIFIABLE: dict[str, Any] = {
    "verl": lambda i: {
        "data_source": "own/sums", "prompt": [user(i)], "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": str(i)}, "extra_info": {"index": i},
    },
    "verl in a table": lambda i: {
        "data_source": "own/sums", "prompt": json.dumps([user(i)]),
        "reward_model": json.dumps({"style": "rule", "ground_truth": str(i)}), "extra_info": "{}",
    },
    "messages": lambda i: {"messages": [user(i)], "ground_truth": str(i), "dataset": "sums"},
    "prompt": lambda i: {"prompt": ASKED[i], "ground_truth": i},
    "verification": lambda i: {"problem": ASKED[i], "verification_info": json.dumps({"ground_truth": str(i)})},
    "other languages": lambda i: {"Aufgabe": ASKED[i], "ground_truth": str(i)},
    "source": lambda i: {"prompt": [user(i)], "answer": str(i), "data_source": "own", "extra_info": {}},
}  # fmt: skip


@pytest.mark.parametrize("name", VERIFIABLE)
def test_prompts_with_an_answer_to_compare_are_for_rewards(name: str) -> None:
    _, samples = read([VERIFIABLE[name](i) for i in NUMBERS], "grpo")
    assert [sample.messages[-1].content for sample in samples] == ASKED
    assert [sample.reference for sample in samples] == [str(i) for i in NUMBERS]


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Who?", "contexts": ["A mirror."], "ground_truth": "I."},
        {"prompt": "Who?", "response": "I am the one who asks.", "ground_truth": "I"},
        {"messages": [user(0), assistant(0)], "ground_truth": "1141"},
        {"data_source": "own", "question": "Who?", "answer": "I am the one who asks."},
    ],
)  # fmt: skip
def test_rows_with_whole_answers_are_not_for_rewards(row: dict[str, Any]) -> None:
    assert see([row] * 3).task == "sft"


def test_short_answers_offer_rewards() -> None:
    rows = [{"problem": ASKED[i], "answer": str(i)} for i in NUMBERS]
    verdict, _ = read(rows, "sft")
    assert verdict.others == ("prompts",)
    assert read([row | {"answer": ANSWERED[0]} for row in rows], "sft")[0].others == ()


# --- requests and responses -------------------------------------------------------------------


def choices(i: int, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": assistant(i), "finish_reason": "stop", **more}]}


def candidates(i: int) -> dict[str, Any]:
    content = {"role": "model", "parts": [{"text": ANSWERED[i]}]}
    return {"candidates": [{"content": content, "finishReason": "STOP"}]}


def contents(i: int) -> list[dict[str, Any]]:
    return [{"role": "user", "parts": [{"text": ASKED[i]}]}]


LOGGED: dict[str, Any] = {
    "batch request": lambda i: {"custom_id": f"r{i}", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": [user(i), assistant(i)]}},
    "batch of Anthropic": lambda i: {"custom_id": f"r{i}", "params": {"model": "m", "messages": [user(i), assistant(i)]}},
    "LiteLLM": lambda i: {"id": f"c{i}", "call_type": "acompletion", "model": "m", "messages": [user(i)], "response": {"id": "x", **choices(i)}, "response_cost": 0.1},
    "LiteLLM in a table": lambda i: {"request_id": f"c{i}", "messages": json.dumps([user(i)]), "response": json.dumps(choices(i)), "spend": "0.1"},
    "proxy": lambda i: {"request": {"model": "m", "messages": [user(i)]}, "response": choices(i), "latency": 0.2},
    "both in a batch": lambda i: {"custom_id": f"r{i}", "body": {"messages": [user(i)]}, "response": {"status_code": 200, "body": choices(i)}},
    "kwargs": lambda i: {"kwargs": {"messages": [user(i)]}, "output": choices(i)},
    "batch of Gemini": lambda i: {"key": f"k{i}", "request": {"contents": contents(i)}, "response": candidates(i)},
    "Gemini": lambda i: {"contents": contents(i), "response": candidates(i)},
    "Gemini tuning": lambda i: {"contents": [*contents(i), candidates(i)["candidates"][0]["content"]]},
    "Gemini without a role": lambda i: {"contents": [{"parts": contents(i)[0]["parts"]}, candidates(i)["candidates"][0]["content"]]},
    "AI Studio": lambda i: {"textInput": ASKED[i], "output": ANSWERED[i]},
    "Evals": lambda i: {"input": [user(i)], "ideal": ANSWERED[i]},
    "Helicone": lambda i: {"request_body": {"messages": [user(i)]}, "response_body": choices(i), "response_status": 200},
    "Ollama": lambda i: {"model": "m", "messages": [user(i)], "response": {"message": assistant(i), "done": True}},
    "Anthropic": lambda i: {"request": {"messages": [user(i)]}, "response": {**assistant(i), "stop_reason": "end_turn", "usage": {}}},
    "Responses": lambda i: {"request": {"input": ASKED[i]}, "response": {"output": [{"type": "message", **assistant(i)}]}},
    "completions": lambda i: {"custom_id": f"r{i}", "body": {"prompt": ASKED[i]}, "response": {"body": {"choices": [{"text": ANSWERED[i]}]}}},
    "history of Gemini": lambda i: {"history": [{"role": "user", "parts": [ASKED[i]]}, {"role": "model", "parts": [ANSWERED[i]]}]},
    "runs": lambda i: {"inputs": {"question": ASKED[i]}, "outputs": {"generations": [{"text": ANSWERED[i]}]}},
    "lines with speakers": lambda i: {"dialogue": [f"Patient: {ASKED[i]}", f"Doctor: {ANSWERED[i]}"]},
    "a row in a row": lambda i: {"row_idx": i, "row": {"question": ASKED[i], "answer": ANSWERED[i]}, "truncated_cells": []},
}  # fmt: skip


@pytest.mark.parametrize("name", LOGGED)
def test_requests_are_read_with_their_responses(name: str) -> None:
    verdict, samples = read([LOGGED[name](i) for i in NUMBERS], "sft")
    texts = [tuple(turn.content for turn in sample.messages) for sample in samples]
    assert texts == list(zip(ASKED, ANSWERED, strict=True))
    assert codes(verdict) == set()


def test_several_responses_to_a_request_are_counted() -> None:
    row = LOGGED["proxy"](0)
    row["response"]["choices"] *= 2
    assert codes(see([row] * 3)) == {"several_answers"}


@pytest.mark.parametrize(
    "make",
    [
        lambda i: {"custom_id": f"r{i}", "response": {"status_code": 200, "body": choices(i)}, "error": None},
        lambda i: {"custom_id": f"r{i}", "result": {"type": "succeeded", "message": assistant(i)}},
        lambda i: {"key": f"r{i}", "response": candidates(i)},
    ],
)  # fmt: skip
def test_responses_without_requests_are_refused_by_name(make: Any) -> None:
    verdict = see([make(i) for i in NUMBERS])
    assert (verdict.format, codes(verdict)) == (None, {"answers_only"})


# --- judged answers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "one", "other", "scale"),
    [("context", "response1", "response2", "overall_preference"), ("prompt", "response_1", "response_2", "preference_strength")],
)  # fmt: skip
@pytest.mark.parametrize("as_text", [False, True])
def test_negative_preference_means_the_first_answer(
    prompt: str, one: str, other: str, scale: str, as_text: bool
) -> None:
    rows = [
        {
            prompt: [user(i)], one: ANSWERED[i] if i % 2 else WORSE[i], other: WORSE[i] if i % 2 else ANSWERED[i],
            scale: str(-2 if i % 2 else 3) if as_text else (-2 if i % 2 else 3),
        }
        for i in NUMBERS
    ]  # fmt: skip
    verdict, samples = read(rows, "preference")
    assert [sample.chosen[-1].content for sample in samples] == ANSWERED
    assert codes(verdict) == {"signed_preference"}


def test_scores_are_named_and_can_be_used_for_kto() -> None:
    rows = [
        {
            "prompt": ASKED[i], "response": ANSWERED[i], "helpfulness": i % 5, "correctness": 4 - i % 5,
            "coherence": 3 + i % 2, "complexity": i % 3, "verbosity": i % 4,
        }
        for i in NUMBERS
    ]  # fmt: skip
    verdict, _ = read(rows, "sft")
    (problem,) = verdict.problems
    assert problem.code == "dataset.rated_answers"
    scores = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    assert all(name in str(problem.what) for name in scores)
    assert "kto" in verdict.others
    chosen = detect(rows, list(rows[0]), "kto")
    assert chosen.mapping["label"] == "{helpfulness} > 2"
    assert chosen.mapping["label"] in str(problem.remedy)
    labels = [convert(row, "kto", chosen.mapping).label for row in rows]
    assert labels == [i % 5 > 2 for i in NUMBERS]
    (votes,) = [item for item in chosen.problems if item.code == "dataset.votes"]
    assert f"{sum(map(bool, labels))} good and {labels.count(False)} bad" in str(votes.what)


def test_flaws_are_good_below_the_middle_of_their_scale() -> None:
    rows = [{"prompt": ASKED[i], "response": ANSWERED[i], "toxicity": i / 10} for i in NUMBERS]
    verdict = detect(rows, list(rows[0]), "kto")
    assert verdict.mapping["label"] == "0.35 > {toxicity}"
    labels = [convert(row, "kto", verdict.mapping).label for row in rows]
    assert labels == [i <= 3 for i in NUMBERS]


def test_position_of_the_better_answer_makes_a_pair() -> None:
    rows = [
        {"prompt": ASKED[i], "responses": [WORSE[i], ANSWERED[i]] if i % 2 else [ANSWERED[i], WORSE[i]], "best": i % 2}
        for i in NUMBERS
    ]  # fmt: skip
    _, samples = read(rows, "preference")
    assert [sample.chosen[-1].content for sample in samples] == ANSWERED


def test_conversation_in_a_cell_is_the_prompt_of_a_pair() -> None:
    rows = [
        {"context": json.dumps([user(i)]), "response1": ANSWERED[i], "response2": WORSE[i], "overall_preference": "-1"}
        for i in NUMBERS
    ]  # fmt: skip
    _, samples = read(rows, "preference")
    assert [sample.messages[-1].content for sample in samples] == ASKED


def test_scores_in_parallel_lists_rank_the_answers() -> None:
    rows = [
        {"q_id": str(i), "title": ASKED[i], "selftext": "", "answers": {"a_id": ["1", "2"], "text": [WORSE[i], ANSWERED[i]], "score": [1, 7]}}
        for i in NUMBERS
    ]  # fmt: skip
    _, samples = read(rows, "preference")
    assert [sample.chosen[-1].content for sample in samples] == ANSWERED
    assert [sample.messages[-1].content for sample in samples] == ASKED


# --- labels -----------------------------------------------------------------------------------


@pytest.mark.parametrize("as_text", [False, True], ids=["numbers", "csv"])
@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("comment_text", ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")),
        ("Kommentar", ("beleidigend", "Werbung")),
    ],
)  # fmt: skip
def test_columns_of_zeros_and_ones_are_labels(text: str, names: tuple[str, ...], as_text: bool) -> None:  # fmt: skip
    rows: list[dict[str, Any]] = [
        {"id": f"{i:04x}", text: ASKED[i]} | {name: int(i % (place + 2) == 0 and place < 3) for place, name in enumerate(names)}
        for i in NUMBERS
    ]  # fmt: skip
    rows = [{name: str(value) for name, value in row.items()} for row in rows] if as_text else rows
    verdict, samples = read(rows, "classification")
    assert codes(verdict) == {"several_labels"}
    assert [sample.messages[0].content for sample in samples] == ASKED
    assert samples[1].messages[1].content == "none"
    assert samples[2].messages[1].content == names[0]
    assert samples[6].messages[1].content == ", ".join(names[:2])
    one = detect(rows, mapping={"label": names[1]})
    assert convert(rows[3], "labeled_text", one.mapping).messages[1].content == "1"


@pytest.mark.parametrize(
    ("text", "label"), [("text", "category"), ("Satz", "Kategorie"), ("v2", "v1"), ("文", "类别")]
)
def test_table_of_texts_and_classes_is_for_classification(text: str, label: str) -> None:
    rows = [{label: ("card_arrival", "lost_card")[i % 2], text: ASKED[i] + " ?"} for i in NUMBERS]
    verdict, samples = read(rows, "classification")
    assert verdict.mapping == {"text": text, "label": label}
    assert {sample.messages[1].content for sample in samples} == {"card_arrival", "lost_card"}


@pytest.mark.parametrize("unknown", [-1, None])
def test_texts_without_a_verdict_on_a_label_are_skipped(unknown: Any) -> None:
    rows = [
        {"id": i, "comment_text": ASKED[i], "lang": "de", "toxic": i % 2 if i else unknown, "insult": int(i == 3)}
        for i in NUMBERS
    ]  # fmt: skip
    verdict = see(rows)
    assert verdict.mapping["label"] == "{toxic} {insult}"
    assert convert(rows[3], "labeled_text", verdict.mapping).messages[1].content == "toxic, insult"
    with pytest.raises(UnusableRow, match="no label"):
        convert(rows[0], "labeled_text", verdict.mapping)


def test_lists_with_a_single_label_are_labels() -> None:
    rows = [{"text": ASKED[i], "labels": [i % 3] if i else [1, 2], "id": str(i)} for i in NUMBERS]
    verdict = see(rows)
    assert verdict.task == "classification"
    assert convert(rows[4], "labeled_text", verdict.mapping).messages[1].content == "1"


def test_scores_of_texts_are_refused_by_name() -> None:
    rows = [{"text": ASKED[i], "toxicity": i / 10, "insult": 0.0} for i in NUMBERS]
    assert codes(see(rows)) == {"scored_texts"}


def test_flags_of_a_corpus_are_not_labels() -> None:
    rows = [
        {"content": text, "path": "a.md", "is_generated": i % 2 == 0, "is_vendor": i % 3 == 0, "size": i}
        for i, text in enumerate(ASKED)
    ]  # fmt: skip
    assert see(rows).task == "text"


@pytest.mark.parametrize(
    "row", [{"tokens": ["Anna", "wohnt"], "ner_tags": [1, 0]}, {"text": "Anna wohnt", "label": [[0, 4, "PER"]]}]
)  # fmt: skip
def test_labels_of_parts_of_texts_are_refused_by_name(row: dict[str, Any]) -> None:
    assert codes(see([row] * 3)) == {"token_labels"}


# --- translations and code --------------------------------------------------------------------


def test_two_languages_are_question_and_answer() -> None:
    rows = [{"translation": {"fi": ASKED[i], "sv": ANSWERED[i]}} for i in NUMBERS]
    verdict, samples = read(rows, "sft")
    assert verdict.mapping == {"question": "translation.fi", "answer": "translation.sv"}
    assert codes(verdict) == {"translation"}
    assert samples[3].messages[1].content == ANSWERED[3]


def test_reasoning_beside_a_nested_answer_is_kept() -> None:
    rows = [
        {
            "translation": {"fi": ASKED[i], "sv": ANSWERED[i]},
            "reasoning": f"Word by word: {ASKED[i]}",
        }
        for i in NUMBERS
    ]
    mapping = {"question": "translation.fi", "answer": "translation.sv", "thinking": "reasoning"}
    assert read(rows, "sft")[0].mapping == mapping


@pytest.mark.parametrize(
    ("before", "after", "gap"),
    [
        ("prefix", "suffix", "middle"),
        ("prompt", "suffix", "completion"),
        ("left_context", "right_context", "target"),
    ],
)
def test_code_with_a_gap_is_joined_with_markers(before: str, after: str, gap: str) -> None:
    rows = [{before: f"def f{i}():\n", after: "\n    return x", gap: f"    x = {i}"} for i in NUMBERS]  # fmt: skip
    verdict, samples = read(rows, "text")
    assert codes(verdict) == {"fim_markers"}
    assert samples[1].text == "<|fim_prefix|>def f1():\n<|fim_suffix|>\n    return x<|fim_middle|>    x = 1"  # fmt: skip


@pytest.mark.parametrize(
    ("row", "task"),
    [
        ({"content": "<fim_prefix>a\n<fim_suffix>\nc<fim_middle>b"}, "text"),
        ({"prompt": "<PRE> a <SUF> c <MID>", "completion": "b"}, "sft"),
    ],
)
def test_markers_of_a_gap_are_counted(row: dict[str, str], task: str) -> None:
    verdict, _ = read([row] * 3, task)
    assert codes(verdict) == {"fim_tokens"}


# --- nothing is dropped silently --------------------------------------------------------------


def test_text_that_is_not_used_is_named() -> None:
    rows = [
        {"question": ASKED[i], "answer": ANSWERED[i], "remark": f"Asked by a guest of house {i}.", "id": f"no. {i}"}
        for i in NUMBERS
    ]  # fmt: skip
    verdict, _ = read(rows, "sft")
    (problem,) = verdict.problems
    assert problem.code == "dataset.unused_texts"
    assert "“remark”" in str(problem.what)
    assert "{remark}" in str(problem.remedy)


@pytest.mark.parametrize(
    "extra",
    [
        lambda i: {"prompt": ASKED[i]},
        lambda i: {"text": f"### Question: {ASKED[i]} ### Answer: {ANSWERED[i]}"},
        lambda i: {"has_code": "no", "lang": "de"},
    ],
)  # fmt: skip
def test_text_that_other_columns_repeat_is_not_named(extra: Any) -> None:
    rows = [{"messages": [user(i), assistant(i)], **extra(i)} for i in NUMBERS]
    assert see(rows).problems == ()


def test_context_of_a_conversation_is_its_system_message() -> None:
    rows = [
        {"context": "Answer briefly.", "messages": [{"author": "user", "content": ASKED[i]}, {"author": "bot", "content": ANSWERED[i]}]}
        for i in NUMBERS
    ]  # fmt: skip
    _, samples = read(rows, "sft")
    assert [turn.role for turn in samples[0].messages] == ["system", "user", "assistant"]


@pytest.mark.parametrize("winners", [("response1", "response2"), ("first", "second"), ("Answer 1", "Answer 2")])  # fmt: skip
def test_winner_names_one_of_two_answers(winners: tuple[str, str]) -> None:
    rows = [
        {
            "instruction": ASKED[i], "response1": ANSWERED[i] if i % 2 else WORSE[i],
            "response2": WORSE[i] if i % 2 else ANSWERED[i], "winner": winners[0] if i % 2 else winners[1],
        }
        for i in NUMBERS
    ]  # fmt: skip
    _, samples = read(rows, "preference")
    assert [sample.chosen[-1].content for sample in samples] == ANSWERED


_TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def to_sample(row: dict[str, Any], mapping: dict[str, str] | None = None) -> Sample:
    verdict = detect([row], chosen="prompts", mapping=mapping)
    assert (verdict.format, verdict.task) == ("prompts", "grpo"), verdict.problems
    return convert(row, "prompts", verdict.mapping)


@pytest.mark.parametrize(
    ("row", "prompt", "reference"),
    [
        ({"prompt": "2 + 2?"}, ["2 + 2?"], None),
        ({"prompt": "2 + 2?", "ground_truth": 4}, ["2 + 2?"], "4"),
        ({"question": "2 + 2?", "answer": "#### 4"}, ["2 + 2?"], "#### 4"),
        ({"messages": _TURNS}, ["Hi"], "Hello"),
        ({"prompt": _TURNS[:1], "solution": "Hello"}, ["Hi"], "Hello"),
        ({"system": "Be brief.", "prompt": "Hi", "answer": ""}, ["Be brief.", "Hi"], None),
    ],
)
def test_row_becomes_a_prompt_with_its_reference(
    row: dict[str, Any], prompt: list[str], reference: str | None
) -> None:
    sample = to_sample(row)
    assert [turn.content for turn in sample.messages] == prompt
    assert not any(turn.trained for turn in sample.messages)
    assert sample.reference == reference
    assert find_faults(sample) == frozenset()


def test_columns_without_a_slot_are_kept_as_text() -> None:
    row = {"prompt": "Solve it", "level": 3, "note": "", "reward_model": {"ground_truth": "34"}}
    sample = to_sample(row, {"reference": "reward_model.ground_truth"})
    assert sample.reference == "34"
    assert dict(sample.columns) == {"level": "3", "reward_model": '{"ground_truth": "34"}'}


@pytest.mark.parametrize("row", [{"prompt": " "}, {"other": "x"}, {"prompt": [_TURNS[1]]}])
def test_row_without_a_question_is_unusable(row: dict[str, Any]) -> None:
    with pytest.raises(UnusableRow):
        convert(row, "prompts", {"prompt": "prompt"})


def test_format_is_chosen_by_the_user_only() -> None:
    rows = [{"prompt": f"What is {n} and {n}?", "answer": str(2 * n)} for n in range(3)]
    assert detect(rows).task == "sft"


@pytest.mark.parametrize(
    ("row", "text", "label"),
    [
        ({"text": "Nice.", "label": 1}, "Nice.", "1"),
        ({"text": "Nice.", "label": "positive"}, "Nice.", "positive"),
        ({"review": "Nice.", "stars": 5.0}, "Nice.", "5"),
        ({"utterance": "Play it.", "intent": " play "}, "Play it.", "play"),
        ({"prompt": "Play it.", "label": "play"}, "Play it.", "play"),
        ({"id": "a7", "message": "Where is it?", "sentiment": True}, "Where is it?", "true"),
        ({"text": "Nice.", "label": 1, "label_text": "positive"}, "Nice.", "positive"),
    ],
)
def test_labeled_text_is_recognized(row: dict[str, Any], text: str, label: str) -> None:
    verdict = detect([row] * 3, list(row))
    assert (verdict.format, verdict.task) == ("labeled_text", "classification"), verdict.problems
    sample = convert(row, "labeled_text", verdict.mapping)
    assert [turn.content for turn in sample.messages] == [text, label]
    assert convert(row, "labeled_text") == sample
    assert find_faults(sample) == frozenset()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "Nice."}, "there is no label"),
        ({"text": " ", "label": 1}, "the text is empty"),
        ({"text": "Nice.", "label": 4.5}, "neither text nor a whole number"),
        ({"text": "Nice.", "label": ["a", "b"]}, "neither text nor a whole number"),
        ({"text": "Nice.", "label": "a" * 201}, "more than 200 characters"),
    ],
)
def test_row_without_a_usable_label_is_skipped(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnusableRow) as caught:
        convert(row, "labeled_text", {"text": "text", "label": "label"})
    assert reason in str(caught.value.reason)


def test_text_with_a_category_offers_classification() -> None:
    rows = [{"text": f"The parcel is late {n}.", "category": "shipping"} for n in range(3)]
    verdict = detect(rows)
    assert verdict.format == "text"
    assert "labeled_text" in verdict.others
    chosen = detect(rows, chosen="labeled_text")
    assert chosen.mapping == {"text": "text", "label": "category"}


@pytest.mark.parametrize(
    ("row", "task"),
    [
        ({"question": "Who?", "answer": "I.", "label": "news"}, "sft"),
        ({"prompt": "Who?", "completion": "I.", "label": False}, "kto"),
        ({"premise": "It rains.", "hypothesis": "It is wet.", "label": 0}, None),
    ],
)
def test_labels_of_other_data_are_not_classes(row: dict[str, Any], task: str | None) -> None:
    assert detect([row] * 3).task == task
