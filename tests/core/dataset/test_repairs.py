"""Faults of single rows and their repairs."""

from __future__ import annotations

import time
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_studio.core.dataset.faults import Fault, find_faults
from lora_studio.core.dataset.repairs import REASONS, merge_turns, repair
from lora_studio.core.dataset.spec import DatasetSpec, Repair
from lora_studio.core.tasks.samples import Message, Sample, ToolCall, UnusableRow

ROLES = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}


def turns(*spoken: tuple[str, str]) -> tuple[Message, ...]:
    return tuple(Message(role=ROLES[who], content=what, trained=who == "a") for who, what in spoken)


def chat(*spoken: tuple[str, str]) -> Sample:
    return Sample("sft", messages=turns(*spoken))


def answer(text: str) -> Sample:
    return chat(("u", "Ask"), ("a", text))


def pair(chosen: str, rejected: str) -> Sample:
    return Sample(
        "preference",
        messages=turns(("u", "Ask")),
        chosen=turns(("a", chosen)),
        rejected=turns(("a", rejected)),
    )


CALL = Message(role="assistant", content="", trained=True, tool_calls=(ToolCall(name="look_up"),))
TOOL_TALK = Sample(
    "sft",
    messages=(
        *turns(("s", "Be brief."), ("u", "Weather in Oslo and Rome?")),
        CALL,
        *turns(("t", "4 °C"), ("t", "19 °C"), ("a", "4 °C in Oslo, 19 °C in Rome.")),
    ),
)


@pytest.mark.parametrize(
    "sample",
    [
        answer("Paris."),
        answer("def f(x):\n\treturn x[0] <= 3  # [INSTALL], <span>, a < b |> c, </s> inside"),
        answer("Déjà vu: “naïve” façade — São Paulo, Straße, €5, «ça», ½ × ² = ±3 °C, œuvre"),
        answer("سلام دنیا، چطوری؟ Привет, ёлка! 日本語のテキスト 👩‍👩‍👧 नमस्ते"),
        answer("Sorry to hear that! You can ask the shop to help you return it."),
        answer("Language models and AI systems are trained on text. An AI model predicts."),
        answer("I can't wait to help you move house."),
        chat(("s", ""), ("u", "Q"), ("a", "A"), ("u", "Q2"), ("a", "A2")),
        TOOL_TALK,
        Sample("text", text="A page of a book.\n\nAnd another."),
        pair("Better", "Worse"),
        Sample("kto", messages=turns(("u", "Q"), ("a", "As an AI language model, no.")), label=False),
    ],
    ids=[
        "short", "code", "accents", "other-scripts", "apology", "about-ai", "cant-wait",
        "empty-system", "tool-calls", "text", "pair", "kto-refusal",
    ],
)  # fmt: skip
def test_valid_row_has_no_fault_and_is_not_changed(sample: Sample) -> None:
    assert find_faults(sample) == frozenset()
    assert repair(sample, get_args(Repair)) == sample


@pytest.mark.parametrize(
    ("sample", "fault"),
    [
        (answer(" \n\t"), "empty_turn"),
        (chat(("u", ""), ("a", "A")), "empty_turn"),
        (pair("", "Worse"), "empty_turn"),
        (Sample("text", text=" \n"), "empty_turn"),
        (chat(("u", "Q"), ("u", "and?"), ("a", "A")), "role_twice"),
        (chat(("u", "Q"), ("a", "A"), ("a", "B")), "role_twice"),
        (chat(("a", "A"), ("u", "Q"), ("a", "B")), "role_order"),
        (chat(("u", "Q"), ("s", "S"), ("a", "B")), "role_order"),
        (chat(("u", "Q"), ("a", "B"), ("u", "Q")), "role_order"),
        (answer("cafÃ© crÃ¨me"), "mojibake"),
        (answer("itâ€™s"), "mojibake"),
        (answer("РџСЂРёРІРµС‚ means hello"), "mojibake"),
        (answer("a\x00b"), "control_characters"),
        (answer("\ufeffa"), "control_characters"),
        (answer("caf\ufffd"), "lost_characters"),
        (answer("Yes.<|im_end|>"), "markers"),
        (answer("[INST] Ask [/INST] Yes."), "markers"),
        (answer("Yes.</s>"), "markers"),
        (answer("<start_of_turn>user\nHi<end_of_turn>"), "markers"),
        (answer("As an AI language model, I have no opinion."), "refusal"),
        (answer("I'm sorry, but I can't assist with that request."), "refusal"),
        (answer("I cannot help with that."), "refusal"),
        (pair("Same", " Same\n"), "same_pair"),
    ],
    ids=[
        "blank-answer",
        "empty-question",
        "empty-chosen",
        "blank-text",
        "user-twice",
        "assistant-twice",
        "assistant-first",
        "late-system",
        "user-last",
        "latin-mojibake",
        "quote-mojibake",
        "cyrillic-mojibake",
        "nul",
        "bom",
        "replacement-character",
        "im-end",
        "inst",
        "eos",
        "gemma-markers",
        "ai-model-refusal",
        "sorry-refusal",
        "cannot-refusal",
        "equal-pair",
    ],
)
def test_only_the_actual_fault_is_found(sample: Sample, fault: Fault) -> None:
    assert find_faults(sample) == {fault}


@pytest.mark.parametrize(
    ("fix", "broken", "mended"),
    [
        ("repair_encoding", "cafÃ© Ã  la crÃ¨me", "café à la crème"),
        ("repair_encoding", "fine\nitâ€™s 日本 Ã©\n", "fine\nit’s 日本 é\n"),
        ("repair_encoding", "a\x00b\x07\x7f\ufeff\tc\r\n", "ab\tc\r\n"),
        ("repair_encoding", "lost \ufffd stays", "lost \ufffd stays"),
        ("remove_markers", "<s> [INST] Yes, [IN] here </s>\n", "Yes, [IN] here"),
        ("remove_markers", "Yes.<|im_end|>\n<|endoftext|>", "Yes."),
        ("remove_markers", "<|im_start|>Yes", "Yes"),
        ("remove_markers", "  kept as it is \n", "  kept as it is \n"),
        ("remove_markers", " <|im_end|> ", ""),
    ],
    ids=[
        "mojibake",
        "mixed-mojibake",
        "control-characters",
        "lost-character",
        "inst-markers",
        "chatml-end",
        "chatml-start",
        "no-markers",
        "only-a-marker",
    ],
)
def test_text_is_repaired_only_where_certain(fix: Repair, broken: str, mended: str) -> None:
    assert repair(answer(broken), [fix]).messages[-1].content == mended


def test_row_with_a_marker_inside_a_turn_is_unusable() -> None:
    with pytest.raises(UnusableRow, match="markers"):
        repair(answer("a<|im_end|>\n<|im_start|>user\nb"), ["remove_markers"])


def test_merged_turn_is_trained_only_if_all_parts_were() -> None:
    sample = chat(("s", "S"), ("u", "One"), ("u", "Two"), ("a", "A"), ("a", "B"))
    kept_out = sample.messages[-1].model_copy(update={"trained": False})
    merged = repair(sample, ["merge_turns"])
    assert merged == chat(("s", "S"), ("u", "One\n\nTwo"), ("a", "A\n\nB"))
    partly = Sample("sft", messages=(*sample.messages[:-1], kept_out))
    assert [turn.trained for turn in repair(partly, ["merge_turns"]).messages] == [False] * 3


def test_merged_turn_keeps_the_untrained_spans() -> None:
    first, second = (
        Message(role="assistant", content=text, trained=True, untrained=left_out)
        for text, left_out in (("Yes, no.", ((3, 8),)), ("So it is.", ((0, 2),)))
    )
    (joined,) = merge_turns((first, second))
    left_out = [joined.content[begin:end] for begin, end in joined.untrained]
    assert left_out == [", no.", "So"]


def test_repair_that_would_shift_untrained_spans_is_refused() -> None:
    turn = Message(role="assistant", content="caf\x07é, no", trained=True, untrained=((6, 9),))
    with pytest.raises(UnusableRow, match="would shift"):
        repair(Sample("sft", (Message(role="user", content="Q"), turn)), ["repair_encoding"])
    sound = turn.model_copy(update={"content": "café, no", "untrained": ((5, 8),)})
    sample = Sample("sft", (Message(role="user", content="Q"), sound))
    assert repair(sample, ["repair_encoding"]) == sample


@pytest.mark.parametrize(
    ("fix", "sample"),
    [
        ("drop_empty_turns", answer(" ")),
        ("drop_role_order", chat(("a", "A"), ("u", "Q"), ("a", "A"))),
        ("drop_lost_characters", answer("caf\ufffd")),
        ("drop_refusals", answer("As an AI model, I cannot say.")),
        ("drop_contradictions", pair("Same", " Same")),
    ],
    ids=["empty-turns", "role-order", "lost-characters", "refusal", "contradiction"],
)
def test_dropping_repair_gives_its_reason(fix: Repair, sample: Sample) -> None:
    with pytest.raises(UnusableRow) as verdict:
        repair(sample, [fix])
    assert verdict.value.reason == REASONS[fix]
    others = [other for other in get_args(Repair) if other != fix]
    assert repair(sample, others) == sample


def test_turn_that_is_empty_after_cleaning_is_dropped() -> None:
    with pytest.raises(UnusableRow, match="empty"):
        repair(answer("\x00\ufeff"), ["drop_empty_turns", "repair_encoding"])


def test_every_repair_has_a_choice_and_a_reason() -> None:
    declared = DatasetSpec.model_fields["fixes"].json_schema_extra
    assert isinstance(declared, dict)
    choices = declared["choices"]
    assert isinstance(choices, dict)
    assert set(choices) == set(get_args(Repair))
    assert set(REASONS) == set(get_args(Repair)) - {
        "merge_turns",
        "repair_encoding",
        "mask_personal_data",
        "merge_labels",
        "remove_media",
    }


PIECES = st.sampled_from(
    ["Ã©", "â€™", "é", "Â", " ", "\x00", "\ufeff", "\x85", "</s>", "<|im_end|>", "[INST]", "\n",
     "a", "Yes. ", "\ufffd", "РџСЂ", "日", "\x1c", "<|x", "|>", "Ð\x9f", "ƒÂ"]
)  # fmt: skip
TEXTS = st.one_of(st.lists(PIECES, max_size=8).map("".join), st.text(max_size=30))
TALKS = st.lists(st.tuples(st.sampled_from("suat"), TEXTS), max_size=6).map(lambda t: chat(*t))


@settings(max_examples=60)
@given(st.one_of(TALKS, st.builds(pair, TEXTS, TEXTS)), st.sets(st.sampled_from(get_args(Repair))))
def test_repair_is_idempotent(sample: Sample, fixes: set[Repair]) -> None:
    try:
        once = repair(sample, fixes)
    except UnusableRow:
        return
    assert repair(once, fixes) == once
    left = find_faults(once)
    if "repair_encoding" in fixes:
        assert not left & {"mojibake", "control_characters"}
    if "remove_markers" in fixes:
        assert "markers" not in left
    if "merge_turns" in fixes:
        assert "role_twice" not in left


@pytest.mark.parametrize(
    "text",
    ["</s>" + " " * 200_000 + "x", " " * 200_000 + "<|x1|>", "é " * 90_000, "<|x1|> " * 90_000],
    ids=["spaces-after-eos", "spaces-before-marker", "accents", "markers"],
)
def test_long_texts_take_linear_time(text: str) -> None:
    began = time.process_time()
    find_faults(answer(text))
    repair(answer(text), ["repair_encoding", "remove_markers"])
    assert time.process_time() - began < 2
