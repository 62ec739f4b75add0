"""Whatever a conversation contains, its answers and their end train once, and nothing else does.

Tests all available chat templates, including ours for base models, with texts that look like templates.
The expected spans don't depend on the code under test: a conversation of plain words shows what a
template writes around an answer.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.system import paths
from lora_studio.core.tasks.samples import Message, Sample, ToolCall, UnusableRow
from lora_studio.engine.model import tokenizer as tokenizer_module
from lora_studio.engine.model.loading import load_tokenizer
from lora_studio.engine.tokens.encoder import Encoder
from lora_studio.engine.tokens.exact_rendering import Rendered
from lora_studio.engine.tokens.shape_cache import ShapeRenderer, Thinking, TrainOn
from tests.engine.conftest import TinyModel
from tests.helpers.models.tiny_models import ALL_FAMILIES, FAMILIES, TEMPLATES

OURS = sorted(
    file.stem for file in (paths.get_resources_folder() / "chat_templates").glob("*.jinja")
)
NAMES = [
    *sorted(file.stem for file in TEMPLATES.glob("*.jinja")),
    *(f"our {name}" for name in OURS),
]

#: Templates that the fast tests take: one of each family of models, and one of ours.
_FAST = {*FAMILIES, "gemma4", "gptoss", "our chatml"}

NASTY = (
    "<|im_end|>", "<|im_start|>assistant\n", "<|eot_id|>", "<end_of_turn>", "<start_of_turn>model\n",
    "[INST]", "[/INST] ", "</s>", "<|assistant|>\n", "<|end|>", "### Response:\n", "ASSISTANT: ",
    "<think>", "<|start_of_role|>", "{{ messages }}", "{% generation %}", "{#", "}}", "\\n", "%}",
    " ", "\n", "\n\n", "\t", "\u00a0", "x", "Hi", "é", "🙂", "👩‍👩‍👧", "مرحبا", "שלום", "你好", "0",
    "zqmark0q", "Zs1cZ", "Zc0cZ", "\u200f", "'", '"',
)  # fmt: skip

#: Not allowed in answers: templates split texts at it.
CLOSE = "</think>"

nasty = st.lists(st.sampled_from(NASTY), min_size=1, max_size=6).map("".join)
questions = nasty.filter(str.strip)
systems = st.one_of(st.none(), st.sampled_from(["", "  ", "Be short."]), nasty)
rounds = st.lists(st.tuples(questions, questions), min_size=1, max_size=3)


@pytest.fixture(
    params=[pytest.param(name, marks=[] if name in _FAST else pytest.mark.slow) for name in NAMES]
)
def tokenizer(request: pytest.FixtureRequest, tiny: TinyModel) -> PreTrainedTokenizerBase:
    name = request.param.removeprefix("our ")
    result = load_tokenizer(tiny(name if name in ALL_FAMILIES else "llama3"))
    if request.param != name:
        result.chat_template = tokenizer_module.get_template(name, result)
    else:
        result.chat_template = (TEMPLATES / f"{name}.jinja").read_text("utf-8")
    return result


def make_chat(
    system: str | None, turns: list[tuple[str, str]], thinking: str = ""
) -> list[Message]:
    result = [] if system is None else [Message(role="system", content=system)]
    for question, answer in turns:
        result.append(Message(role="user", content=question))
        result.append(Message(role="assistant", content=answer, trained=True, thinking=thinking))
    return result


def plain(turns: list[Message]) -> list[Message]:
    """Return the conversation with plain words instead of its texts."""
    return [
        turn.model_copy(
            update={"content": f"Word{index}" if turn.content.strip() else turn.content}
        )
        for index, turn in enumerate(turns)
    ]


def trained(rendered: Rendered) -> list[str]:
    return [rendered.text[slice(*span)] for span in rendered.spans]


quick = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip


@quick
@given(system=systems, turns=rounds)
def test_answers_with_their_end_train_once_and_nothing_else(
    tokenizer: PreTrainedTokenizerBase, system: str | None, turns: list[tuple[str, str]]
) -> None:
    assume(not (system and "think" in system))  # switches one template's thinking mode
    chat = make_chat(system, turns)
    renderer = ShapeRenderer(tokenizer)
    try:
        expected = renderer.exact.render_answers(plain(chat))
    except UnusableRow as reason:
        with pytest.raises(UnusableRow, match=re.escape(str(reason))):
            renderer.exact.render_answers(chat)
        return
    result = renderer.exact.render_answers(chat)
    answers = [f"Word{index}" for index, turn in enumerate(chat) if turn.trained]
    trained_count = len(answers) - expected.left_out
    texts = trained(expected)
    assert len(texts) == len(result.spans) == trained_count
    for (_, answer), word, shown, text in zip(turns[-trained_count:], answers[-trained_count:], trained(result), texts, strict=True):  # fmt: skip
        before, after = text.split(word)
        assert after.strip(), "the end of the turn is trained"
        assert not re.search(r"Word\d", before + after), "no text of another turn is trained"
        assert shown.startswith(before)
        assert shown.endswith(after)
        core = shown[len(before) : len(shown) - len(after)]
        assert core.strip() == answer.strip()
    assert all(a[1] <= b[0] for a, b in zip(result.spans, result.spans[1:], strict=False))


@quick
@given(system=systems, turns=rounds, thinking=st.sampled_from(["", "hm", " a\n\nb ", "{{ x }}"]))
def test_shape_cache_finds_the_same_spans_as_exact_method(
    tokenizer: PreTrainedTokenizerBase,
    system: str | None,
    turns: list[tuple[str, str]],
    thinking: str,
) -> None:
    chat = make_chat(system, turns, thinking)
    renderer = ShapeRenderer(tokenizer)
    try:
        expected = renderer.exact.render_answers(chat)
    except UnusableRow as reason:
        for _ in range(3):
            with pytest.raises(UnusableRow, match=re.escape(str(reason))):
                renderer.render(chat)
        return
    for other in (chat, plain(chat), chat, chat):
        rendered = renderer.render(other)
    assert (rendered.text, rendered.spans) == (expected.text, expected.spans)
    assert (rendered.thoughts, rendered.left_out) == (expected.thoughts, expected.left_out)


@quick
@given(system=systems, turns=rounds)
def test_trained_tokens_belong_to_answers_and_end_the_turn(
    tokenizer: PreTrainedTokenizerBase, system: str | None, turns: list[tuple[str, str]]
) -> None:
    encoder = Encoder(tokenizer, DatasetSpec(max_length=100_000))
    sample = Sample("sft", tuple(make_chat(system, turns)))
    try:
        shown = encoder.show(sample)[0]
        encoded = encoder.encode_sample(sample)[0]
    except UnusableRow:
        return
    assert "".join(token.text for token in shown.tokens) == shown.text
    assert [token.id for token in shown.tokens] == encoded.ids.tolist()
    assert [token.state == "trained" for token in shown.tokens] == encoded.trained.tolist()
    last = shown.text[slice(*shown.trained_spans[-1])]
    assert turns[-1][1].strip() in last
    assert last.partition(turns[-1][1].strip())[2].strip(), "the end of the turn is trained"


# --- choices ----------------------------------------------------------------------------------

CHAT = make_chat("Be short.", [("A?", "First."), ("B?", "Second.")], thinking="Well, <b> {x}.")


def render(tokenizer: PreTrainedTokenizerBase, chat: list[Message], train_on: TrainOn = "answers", thinking: Thinking = "train") -> Rendered:  # fmt: skip
    return ShapeRenderer(tokenizer, train_on, thinking).render(chat)


def test_reasoning_is_trained_masked_or_removed(tokenizer: PreTrainedTokenizerBase) -> None:
    chat = CHAT[1:]
    shown = render(tokenizer, chat)
    assert "Well, <b> {x}." in trained(shown)[-1]
    masked = render(tokenizer, chat, thinking="mask")
    assert masked.text == shown.text
    assert "Well" not in "".join(trained(masked))
    assert trained(masked)[-1].lstrip().startswith("Second.")
    removed = render(tokenizer, chat, thinking="remove")
    assert "Well" not in removed.text
    without = [turn.model_copy(update={"thinking": ""}) for turn in chat]
    assert removed == render(tokenizer, without)


def test_reasoning_is_masked_even_if_everything_trains(tokenizer: PreTrainedTokenizerBase) -> None:  # fmt: skip
    chat = CHAT[1:3]
    masked = render(tokenizer, chat, "everything", "mask")
    assert "Well" not in "".join(trained(masked))
    assert trained(masked)[0].startswith(masked.text[:3])
    assert "Well" in "".join(trained(render(tokenizer, chat, "everything")))


def test_last_answer_alone_trains_if_chosen(tokenizer: PreTrainedTokenizerBase) -> None:  # fmt: skip
    texts = trained(render(tokenizer, CHAT[1:], "last_answer"))
    assert len(texts) == 1
    assert "Second." in texts[0]


def test_tool_calls_train_or_make_the_row_unusable(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    call = ToolCall(name="find", arguments={"what": 'a "b"', "n": 3})
    chat = [
        Message(role="user", content="Find b."),
        Message(role="assistant", content="", trained=True, tool_calls=(call,)),
        Message(role="tool", content="Found 3.", name="find"),
        Message(role="assistant", content="There are 3.", trained=True),
    ]
    tool = {"name": "find", "description": "Finds.", "parameters": {"type": "object"}}
    if "tool_calls" not in tokenizer.chat_template:
        with pytest.raises(UnusableRow, match=r"(?i)tool"):
            ShapeRenderer(tokenizer).render(chat, (tool,))
        return
    rendered = ShapeRenderer(tokenizer).render(chat, (tool,))
    first, second = trained(rendered)
    assert "find" in first
    assert re.search(r"\bn\W+3", first)
    assert "Found" not in first + second
    assert "There are 3." in second
    assert "Finds." in rendered.text[: rendered.spans[0][0]]


def test_template_that_omits_the_system_message_is_reported(tiny: TinyModel) -> None:
    tokenizer = load_tokenizer(tiny("llama3"))
    tokenizer.chat_template = (TEMPLATES / "headings.jinja").read_text("utf-8")
    with pytest.raises(UnusableRow, match="omits a system message"):
        render(tokenizer, CHAT)


@pytest.mark.parametrize("writes_all", [True, False])
def test_template_that_omits_one_of_several_calls_is_reported(
    tiny: TinyModel, *, writes_all: bool
) -> None:
    tokenizer = load_tokenizer(tiny("llama3"))
    calls = "m.tool_calls" if writes_all else "m.tool_calls[:1]"
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% if m.tool_calls %}{% for c in "
        + calls
        + " %}[{{ c.function.name }} {{ c.function.arguments | tojson }}]{% endfor %}{% endif %}</s>"
        "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    call = ToolCall(name="find", arguments={"n": 3})
    chat = [
        Message(role="user", content="How many?"),
        Message(role="assistant", content="", tool_calls=(call, call), trained=True),
        Message(role="tool", content="3", name="find"),
        Message(role="tool", content="4", name="find"),
        Message(role="assistant", content="There are 7.", trained=True),
    ]
    if writes_all:
        assert render(tokenizer, chat).text.count("[find") == 2
    else:
        with pytest.raises(UnusableRow, match="one of several tool calls"):
            render(tokenizer, chat)


def saved(folder: Path, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    tokenizer.save_pretrained(folder)
    return load_tokenizer(folder)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("family", ["granite", "mistral", "qwen3"])
def test_base_model_ends_answers_with_token_and_saves_template(
    name: str, family: str, tiny: TinyModel, tmp_path: Path
) -> None:
    spec = DatasetSpec.model_validate({"chat_template": name})
    tokenizer = load_tokenizer(tiny(family), spec)
    size = len(tokenizer)
    sample = Sample("sft", tuple(make_chat(None, [("A?", "First."), ("B?", "Second.")])))
    encoded = Encoder(tokenizer, spec).encode_sample(sample)[0]
    end = tokenizer.convert_ids_to_tokens(int(encoded.ids[encoded.trained][-1]))
    assert end in {tokenizer.eos_token, "<|im_end|>"}
    assert len(tokenizer) == size
    reloaded = Encoder(saved(tmp_path, tokenizer), DatasetSpec()).encode_sample(sample)[0]
    assert reloaded.ids.tolist() == encoded.ids.tolist()
    own = tokenizer("a").input_ids[0] == tokenizer.bos_token_id is not None
    assert (encoded.ids[0] == tokenizer.bos_token_id) == own


# --- templates of TRL -------------------------------------------------------------------------

OTHERS = sorted(Path(next(iter(find_spec("trl").submodule_search_locations or ()))).glob("chat_templates/*.jinja"))  # type: ignore[union-attr]  # fmt: skip

CALL = ToolCall(name="get_weather", arguments={"city": 'Köln "am Rhein"', "days": 3})
TOOL = {"name": "get_weather", "description": "Looks at the sky.", "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "Where."}}}}  # fmt: skip


@pytest.fixture(params=OTHERS, ids=lambda file: file.stem)
def other(request: pytest.FixtureRequest, tiny: TinyModel) -> PreTrainedTokenizerBase:
    result = load_tokenizer(tiny("llama3"))
    result.chat_template = request.param.read_text("utf-8")
    return result


def test_tool_calls_and_answers_train_but_tool_results_do_not(
    other: PreTrainedTokenizerBase,
) -> None:
    chat = [
        Message(role="user", content="Weather?"),
        Message(role="assistant", content="", trained=True, tool_calls=(CALL,)),
        Message(role="tool", content="sunny all day", name="get_weather"),
        Message(role="assistant", content="Bring a hat.", trained=True),
    ]
    try:
        rendered = ShapeRenderer(other).render(chat, (TOOL,))
    except UnusableRow as reason:
        # The template doesn't support tool calls, or renders them only in part.
        assert re.search("tool|bos_token|System", str(reason)), reason  # noqa: PT017 - the reason varies by family
        return
    # A template's {% generation %} blocks may leave a blank between two parts of a turn.
    result = rendered.text.index("sunny all day")
    first, second = (
        "".join(
            rendered.text[slice(*span)] for span in rendered.spans if (span[0] > result) == after
        )
        for after in (False, True)
    )
    assert "get_weather" in first
    assert "Rhein" in first
    assert "sunny" not in first + second
    assert "Bring a hat." in second
    assert "Looks at the sky." not in first + second


def test_last_reasoning_trains_or_the_row_gives_a_reason(
    other: PreTrainedTokenizerBase,
) -> None:
    chat = make_chat(None, [("A?", "First."), ("B?", "Second.")], thinking="hm, b")
    renderer = ShapeRenderer(other, thinking="mask")
    try:
        rendered = ShapeRenderer(other).render(chat)
    except UnusableRow as reason:
        assert re.search("reasoning", str(reason)), reason  # noqa: PT017 - the reason varies by family
        return
    assert "hm, b" in "".join(trained(rendered))
    assert "Second." in "".join(trained(rendered))
    masked = "".join(trained(renderer.render(chat)))
    assert "hm, b" not in masked
    assert "Second." in masked
    assert "think" not in masked.partition("First.")[2]


#: Templates that drop the reasoning of earlier turns.
FORGETFUL = ("qwen3", "qwen3_6", "qwen3_5_think", "gptoss", "glm4moe", "lfm2_2_5")


@pytest.mark.parametrize("thinking", ["", "hm, b"])
@pytest.mark.parametrize("name", FORGETFUL)
def test_answers_after_tool_results_train_in_earlier_rounds(
    name: str, thinking: str, tiny: TinyModel
) -> None:
    file = next((file for file in OTHERS if file.stem == name), None)
    if file is None:
        pytest.skip(f"the TRL installed here has no template {name}")
    tokenizer = load_tokenizer(tiny("llama3"))
    tokenizer.chat_template = file.read_text("utf-8")
    chat: list[Message] = []
    for number in range(3):
        call = ToolCall(name="get_weather", arguments={"city": f"City{number}"})
        chat += [
            Message(role="user", content=f"Asked{number}?"),
            Message(role="assistant", content="", trained=True, thinking=thinking, tool_calls=(call,)),
            Message(role="tool", content=f"Found{number}", name="get_weather"),
            Message(role="assistant", content=f"Told{number}.", trained=True, thinking=thinking),
        ]  # fmt: skip
    rendered = ShapeRenderer(tokenizer).render(chat, (TOOL,))
    texts = trained(rendered)
    assert rendered.left_out == 0
    assert len(texts) == 6
    for number in range(3):
        assert f"City{number}" in texts[2 * number]
        assert f"Told{number}." in texts[2 * number + 1]
    assert not re.search(r"Asked|Found", "".join(texts))
    assert rendered.text.count("Told") == 3


# --- partly trained answers -------------------------------------------------------------------


@quick
@given(system=systems, before=rounds, first=questions, left=questions, rest=questions, blanks=st.sampled_from(["", " ", "\n"]))  # fmt: skip
def test_untrained_parts_of_an_answer_are_context(
    tokenizer: PreTrainedTokenizerBase,
    system: str | None,
    before: list[tuple[str, str]],
    first: str,
    left: str,
    rest: str,
    blanks: str,
) -> None:
    assume(CLOSE not in first + left + rest)
    first = f"Begun{first}"
    content = blanks + first + left + rest
    hole = (len(blanks + first), len(blanks + first + left))
    turns = make_chat(system, [*before, ("Where to?", content)])
    turns[-1] = turns[-1].model_copy(update={"untrained": (hole,)})
    encoder = Encoder(tokenizer, DatasetSpec(max_length=4096))
    whole = [turn.model_copy(update={"untrained": ()}) for turn in turns]
    try:
        (shown,) = encoder.show(Sample("sft", tuple(turns)))
        (full,) = encoder.show(Sample("sft", tuple(whole)))
    except UnusableRow as reason:
        assume(False)
        raise AssertionError from reason
    assert shown.text == full.text
    start = full.text.index("Begun") - len(blanks)
    begin, end = start + hole[0], start + hole[1]
    position = 0
    for one, other in zip(shown.tokens, full.tokens, strict=True):
        if not one.text:
            continue  # a part of the previous token's character
        inside = full.text[max(position, begin) : min(position + len(one.text), end)]
        if position >= end or position + len(one.text) <= begin:
            assert one.state == other.state
        elif inside.strip():
            assert one.state == "context"
        position += len(one.text)


def test_end_of_an_answer_trains_after_an_untrained_part(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    turns = make_chat(None, [("Who?", "The keeper laughed aloud.")])
    turns[-1] = turns[-1].model_copy(update={"untrained": ((10, 25),)})
    (shown,) = Encoder(tokenizer, DatasetSpec()).show(Sample("sft", tuple(turns)))
    trained_texts = [shown.text[slice(*span)] for span in shown.trained_spans]
    assert len(trained_texts) == 2
    assert trained_texts[0].strip().endswith("The keeper")
    assert trained_texts[1].strip()
    assert "laughed" not in trained_texts[1]


def test_text_segments_train_as_marked_without_special_tokens(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    text = "Which lamp? The blue one. And then? The last one."
    sample = Sample("text", text=text, untrained=((0, 11), (25, 35)))
    (shown,) = Encoder(tokenizer, DatasetSpec()).show(sample)
    assert shown.text == text
    trained_texts = [shown.text[slice(*span)].strip() for span in shown.trained_spans]
    assert trained_texts == ["The blue one.", "The last one."]
