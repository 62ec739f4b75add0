"""Property tests: any row converts to a sample or a reason, and text is preserved."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_studio.core.dataset.formats.detection import FormatVerdict, convert, detect
from lora_studio.core.dataset.spec import FORMATS, RowFormat
from lora_studio.core.protocol.events import RowPreview, to_line
from lora_studio.core.tasks.samples import Sample, UnusableRow

SLOT_NAMES = sorted({slot.rstrip("*") for info in FORMATS.values() for slot in info.slots})
KEYS = st.sampled_from(
    [*SLOT_NAMES, "role", "content", "from", "value", "text", "tool_calls", "function", "name",
     "arguments", "type", "weight", "image", "question", "response", "labels", "thinking"]
) | st.text(max_size=4)  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=12)  # including lone surrogates
    | st.sampled_from(
        ["user", "assistant", "gpt", "human", "system", "tool", "function_call", "<think>a</think>b",
         "\n\nHuman: a\n\nAssistant: b", '[{"role": "user", "content": "x"}]', "{a}", "[1", "{'a': 1}",
         "User: a\nAssistant: b", "[[1]]", '{"name": "f", "arguments": "x"}', "image.png"]
    )
)  # fmt: skip
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
ROWS = st.dictionaries(KEYS, JSON, max_size=6)
MAPPINGS = st.dictionaries(
    st.sampled_from(SLOT_NAMES), KEYS | st.sampled_from(["{prompt}\n{content}", "{text}", ""])
)


def converted(values: Any, row_format: RowFormat, mapping: Any = None) -> Sample | str:
    """Return the sample, or the reason why there is none."""
    try:
        return convert(values, row_format, mapping)
    except UnusableRow as verdict:
        return str(verdict)


def preview(sample: Sample) -> RowPreview:
    return RowPreview(
        row=1, messages=sample.messages, chosen=sample.chosen, rejected=sample.rejected,
        label=sample.label, text=sample.text,
    )  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(values=ROWS | JSON, row_format=st.sampled_from(list(FORMATS)), mapping=MAPPINGS)
def test_any_row_converts_to_a_sample_or_a_reason(
    values: Any, row_format: RowFormat, mapping: dict[str, str]
) -> None:
    for given_mapping in (mapping, None):
        outcome = converted(values, row_format, given_mapping)
        if isinstance(outcome, str):
            assert outcome
            outcome.encode()
        else:
            to_line(preview(outcome)).encode()
            assert outcome.task == FORMATS[row_format].task


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(rows=st.lists(ROWS | JSON, max_size=6), mapping=MAPPINGS, data=st.data())
def test_any_rows_get_a_consistent_verdict(
    rows: list[Any], mapping: dict[str, str], data: st.DataObject
) -> None:
    chosen: Any = data.draw(st.sampled_from(["auto", *FORMATS]))
    for verdict in (detect(rows), detect(rows, (), chosen, mapping)):
        assert (verdict.format is None) == (verdict.task is None)
        assert (verdict.format is None) == any(
            problem.severity == "error" for problem in verdict.problems
        )
        assert 0.0 <= verdict.confidence <= 1.0
        assert verdict.evidence
        for problem in verdict.problems:
            problem.model_dump_json()


BASES: list[list[dict[str, Any]]] = [
    [{"instruction": f"Do {n}.", "input": "" if n % 2 else "x", "output": "Done."} for n in range(6)],
    [{"question": f"Is it {n}?", "answer": "Yes."} for n in range(6)],
    [{"messages": [{"role": "user", "content": f"{n}"}, {"role": "assistant", "content": "ok"}]} for n in range(6)]
    + [{"instruction": "Do.", "output": "Done."}],
    [{"prompt": "a", "chosen": f"b {n}", "rejected": "c"} for n in range(4)],
    [{"prompt": "a", "completion": f"b {n}", "label": bool(n % 2)} for n in range(4)],
    [{"text": f"some text {n}"} for n in range(4)],
]  # fmt: skip


def same(one: FormatVerdict, other: FormatVerdict) -> bool:
    return (one.format, one.mapping, one.confidence) == (
        other.format,
        other.mapping,
        other.confidence,
    )


@settings(max_examples=60, deadline=None)
@given(base=st.sampled_from(BASES), seed=st.integers(0, 999))
def test_row_order_does_not_change_the_verdict(base: list[dict[str, Any]], seed: int) -> None:
    mixed = random.Random(seed).sample(base, len(base))
    columns = list(dict.fromkeys(key for row in base for key in row))
    assert same(detect(base, columns), detect(mixed, columns))


@settings(max_examples=60, deadline=None)
@given(
    base=st.sampled_from(BASES),
    name=st.text(st.sampled_from("xyzw"), min_size=3, max_size=6),
    value=st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=3),
)
def test_unknown_column_does_not_change_the_verdict(
    base: list[dict[str, Any]], name: str, value: Any
) -> None:
    columns = list(dict.fromkeys(key for row in base for key in row))
    extended = [{**row, name: value} for row in base]
    assert same(detect(base, columns), detect(extended, [*columns, name]))


# Lone surrogates are refused, and reasoning is removed from an answer.
LITERAL = st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(
    lambda text: bool(text.strip()) and "<think>" not in text
) | st.sampled_from(
    ["{output}", "{{ x }}", "{% raw %}", "%s %d", "${a}", "<|im_start|>user", "[INST]", "\\n", "</s>",
     "שלום 👋🏽", "مرحبا", "  both sides \n"]
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(question=LITERAL, answer=LITERAL)
def test_text_is_preserved_exactly(question: str, answer: str) -> None:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    talk = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    rows: dict[RowFormat, dict[str, Any]] = {
        "alpaca": {"instruction": question, "output": answer},
        "question_answer": {"question": question, "answer": answer},
        "messages": {"messages": turns},
        "sharegpt": {"conversations": talk},
    }
    for row_format, row in rows.items():
        first, second = convert(row, row_format).messages
        assert (first.content, second.content) == (question, answer)
    assert convert({"text": answer}, "text").text == answer
    mapping = {"question": "Q: {a}\nB: {b}", "answer": "b"}
    sample = convert({"a": question, "b": answer}, "question_answer", mapping)
    assert sample.messages[0].content == f"Q: {question}\nB: {answer}"


@pytest.mark.parametrize("depth", [50, 500, 900])
def test_deeply_nested_row_converts_or_gives_a_reason(depth: int) -> None:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    row = {"instruction": value, "output": value, "messages": value, "text": value, "image": value}
    for row_format in FORMATS:
        assert converted(row, row_format)
    assert detect([row]).evidence


@pytest.mark.parametrize(
    "between", ["\n" * 100_000, " " * 100_000, " \n" * 50_000], ids=["newlines", "spaces", "mixed"]
)
def test_long_whitespace_in_a_transcript_takes_linear_time(between: str) -> None:
    talk = f"Human: a{between}b\nAssistant: c{between}d{between}<|endoftext|>{between}"
    began = time.process_time()
    question, answer = convert({"chat": talk}, "sharegpt", {"conversations": "chat"}).messages
    assert time.process_time() - began < 2
    assert (question.content, answer.content) == (f"a{between}b", f"c{between}d")
