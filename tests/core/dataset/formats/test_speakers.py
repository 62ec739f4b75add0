"""Conversations between people: one of them is the speaker that the model becomes."""

from __future__ import annotations

from typing import Any

import pytest

from lora_studio.core.dataset.formats.detection import convert, detect
from lora_studio.core.dataset.formats.speakers import list_people
from lora_studio.core.tasks.samples import UnusableKind, UnusableRow

Turns = list[tuple[str, str]]


def row(*turns: tuple[str, str], **more: Any) -> dict[str, Any]:
    return {
        "messages": [{"role": name, "content": content} for name, content in turns],
        "people": list(dict.fromkeys(name for name, _ in turns)),
        **more,
    }


PAIR = row(("Ayşe", "Geliyor musun?"), ("Can", "Evet."), ("Ayşe", "Güzel."), ("Can", "Sağ ol."))
GROUP = row(("Ayşe", "Kim?"), ("Deniz", "Ben."), ("Can", "Ben de."), ("Deniz", "Peki."))


def read(values: dict[str, Any], speaker: str) -> Turns:
    mapping = {"messages": "messages", "speaker": speaker}
    sample = convert(values, "messages", mapping)
    assert all(turn.trained == (turn.role == "assistant") for turn in sample.messages)
    return [(turn.role, turn.content) for turn in sample.messages]


def test_messages_of_the_speaker_are_the_answers() -> None:
    assert read(PAIR, "Can") == [
        ("user", "Geliyor musun?"),
        ("assistant", "Evet."),
        ("user", "Güzel."),
        ("assistant", "Sağ ol."),
    ]


def test_messages_before_anybody_else_writes_are_not_answers() -> None:
    assert read(PAIR, "Ayşe") == [("user", "Evet."), ("assistant", "Güzel.")]


def test_neighboring_messages_of_others_are_one_named_turn() -> None:
    assert read(GROUP, "Can") == [("user", "Ayşe: Kim?\nDeniz: Ben."), ("assistant", "Ben de.")]


def test_conversation_without_the_speakers_answer_is_unusable() -> None:
    for values in (row(("Can", "Hey"), ("Ayşe", "Evet?")), row(("Ayşe", "a"), ("Deniz", "b"))):
        with pytest.raises(UnusableRow) as caught:
            read(values, "Can")
        assert caught.value.kind is UnusableKind.NO_ANSWER


def test_speaker_of_plain_dialogues_is_chosen_by_name() -> None:
    values = {
        "dialog": [
            {"speaker": "Mónica", "utterance": "¿Y?"},
            {"speaker": "Luis", "utterance": "Nada."},
        ]
    }
    sample = convert(values, "sharegpt", {"conversations": "dialog", "speaker": "Luis"})
    assert [(turn.role, turn.content) for turn in sample.messages] == [
        ("user", "¿Y?"),
        ("assistant", "Nada."),
    ]


def test_conversation_between_roles_ignores_the_speaker() -> None:
    assert read(row(("user", "Q"), ("assistant", "A")), "Can") == [
        ("user", "Q"),
        ("assistant", "A"),
    ]


def test_system_message_stays_one() -> None:
    turns = read(row(("system", "Kısa yaz."), ("Ayşe", "Kim?"), ("Can", "Ben.")), "Can")
    assert turns[0] == ("system", "Kısa yaz.")
    assert len(turns) == 3


def test_person_with_most_answers_is_the_speaker() -> None:
    verdict = detect([PAIR, GROUP, PAIR])
    assert (verdict.format, verdict.mapping) == (
        "messages",
        {"messages": "messages", "speaker": "Can"},
    )
    assert verdict.people == ("Can", "Ayşe", "Deniz")
    problem = next(one for one in verdict.problems if one.code == "dataset.speaker")
    assert problem.what.values["speaker"] == "Can"
    assert "Deniz" in str(problem.what)


def test_person_who_exported_the_chats_is_the_speaker() -> None:
    rows = [{**values, "exported by": "Deniz"} for values in (PAIR, GROUP, GROUP)]
    assert detect(rows).mapping["speaker"] == "Deniz"


def test_choice_of_speaker_ignores_the_order_of_rows() -> None:
    rows = [PAIR, GROUP, row(("Can", "?"), ("Ayşe", "!")), row(("Can", "?"), ("Ayşe", "!"))]
    assert list_people(rows) == list_people(rows[::-1])


def test_chosen_speaker_is_used_and_openers_are_counted() -> None:
    verdict = detect([PAIR, GROUP], mapping={"speaker": "Ayşe"})
    assert verdict.mapping["speaker"] == "Ayşe"
    problem = next(one for one in verdict.problems if one.code == "dataset.openers")
    assert problem.what.values["n"] == 2


def test_unknown_speaker_is_refused_with_the_names() -> None:
    verdict = detect([PAIR], mapping={"speaker": "Cem"})
    (problem,) = verdict.problems
    assert (verdict.format, problem.code) == (None, "dataset.unknown_speaker")
    assert "Ayşe" in str(problem.remedy)


def test_rows_of_roles_have_no_people() -> None:
    rows = [{"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}]
    verdict = detect(rows)
    assert (verdict.people, verdict.mapping) == ((), {"messages": "messages"})


def test_name_of_a_chat_is_not_a_text_that_could_be_trained() -> None:
    rows = [
        PAIR | {"chat name": "Gemi yolculuğu: hangi gün?", "note": "Hava güzeldi, deniz sakindi."}
    ] * 4
    verdict = detect(rows)
    (unused,) = [p for p in verdict.problems if p.code == "dataset.unused_texts"]
    assert "chat name" not in str(unused.what)
    assert "note" in str(unused.what)
