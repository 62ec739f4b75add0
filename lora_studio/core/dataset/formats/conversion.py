"""Convert a row of a known format to a Sample, or raise the reason why it can't be used.

Conventions, where datasets and trainers differ:

- Instruction and input are joined by a line break, as in LLaMA-Factory and ms-swift; context and
  question by a blank line; choices follow on separate lines, "A. …".
- Turns after the last answer of a conversation are dropped: they have no answer to train.
- A system message in the conversation takes precedence over one in a column.
- Pairs without a prompt share the beginning of both sides as their prompt: whole turns, or whole
  words of plain texts.
- Answers in a prompt do not train; answers in the history of an instruction do.
- A label belongs to the last answer of its row.
- Of several answers with ranks or scores, the best and the worst form a pair; of two in a list
  without ranks, the first is preferred. If a column names the preferred one and rates both as
  equal, the row is not a pair.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from string import ascii_uppercase
from typing import Any

from lora_studio.core.dataset.formats.candidates import (
    find_candidates,
    find_chosen_search_pairs,
    find_judged_answers,
    find_labeled_candidates,
    find_prompts,
)
from lora_studio.core.dataset.formats.columns import (
    SPEAKER,
    Columns,
    FormatCandidate,
    fill_slots,
    get_column,
    list_columns,
    profile_columns,
)
from lora_studio.core.dataset.formats.speakers import read_as_speaker
from lora_studio.core.dataset.formats.turns import (
    build_message,
    detect_style,
    find_calls,
    has_turns,
    invert_ranges,
    parse_transcript,
    read_conversation,
    read_pairs,
    read_response,
    read_segments,
    read_system,
    read_tools,
    split_off_tools,
)
from lora_studio.core.dataset.formats.values import (
    find_media_mark,
    has_text,
    is_blank,
    is_first_better,
    is_media_column,
    is_pair,
    is_ranked_list,
    join_passages,
    list_answers,
    normalize_name,
    parse_literal,
    pick_best_and_worst,
    pick_by_ratings,
    read_label,
    require_valid_text,
    strip_media,
    to_answer,
    to_text,
)
from lora_studio.core.dataset.spec import FORMATS, RowFormat
from lora_studio.core.tasks.samples import Message, Sample, UnusableKind, UnusableRow, iter_texts
from lora_studio.core.tasks.table import TASKS

Slots = Mapping[str, Any]

_PLACEHOLDER = "a text refers to an image, audio, or video by a placeholder such as <image>"


def convert(
    values: Any,
    row_format: RowFormat,
    mapping: Mapping[str, str] | None = None,
    *,
    is_strict: bool = False,
) -> Sample:
    """Return the sample of a row; raises UnusableRow, and nothing else, with the reason.

    Without a mapping, the columns of this row alone decide which column fills which slot. So do they for a
    row that has none of the mapped columns, as files with rows of several shapes contain, unless
    `is_strict`. Its format may then be another one for the same task.
    """
    if not isinstance(values, dict):
        raise UnusableRow("the row is not an object")
    try:
        if not mapping:
            mapping = _build_own_mapping(values, row_format)
        elif not is_strict and (own := find_own_reading(values, row_format, mapping)):
            row_format, mapping = own
        refuse_media(values, set(mapping.values()))
        sample = _CONVERTERS[row_format](fill_slots(values, mapping))
        if any(map(find_media_mark, iter_texts(sample))):
            raise UnusableRow(_PLACEHOLDER, UnusableKind.MEDIA)
        return _add_columns(sample, values, mapping) if TASKS[sample.task].keeps_columns else sample
    except RecursionError:
        raise UnusableRow("the row is nested too deeply") from None


def find_own_reading(
    values: Mapping[str, Any], row_format: RowFormat, mapping: Mapping[str, str]
) -> tuple[RowFormat, Mapping[str, str]] | None:
    """Return format and mapping of a row that has none of the mapped columns, None if it has some."""
    mapped = list_columns(mapping)
    if not mapped or any(not is_blank(get_column(values, name)) for name in mapped):
        return None
    filled = {name: value for name, value in values.items() if not is_blank(value)}
    task = FORMATS[row_format].task
    readings = [
        item
        for item in find_candidates(profile_columns([filled], list(filled)))
        if FORMATS[item.format].task == task and not item.guessed
    ]
    best = max(readings, key=lambda item: item.weight, default=None)
    return (best.format, best.mapping) if best is not None else None


def refuse_media(values: Mapping[str, Any], used: Collection[str] = ()) -> None:
    """Raise UnusableRow if a column that fills no slot contains media."""
    for name, value in values.items():
        if name not in used and is_media_column(normalize_name(name), value):
            raise UnusableRow("the row contains an image, audio, or video", UnusableKind.MEDIA)


def without_media(values: dict[str, Any]) -> dict[str, Any]:
    """Return a row without images, audio, and video; unchanged if it is nested too deeply to look."""
    try:
        stripped: dict[str, Any] = strip_media(values)
    except RecursionError:
        return values
    return stripped


def _build_own_mapping(values: dict[str, Any], row_format: RowFormat) -> Mapping[str, str]:
    readings = FINDERS.get(row_format, find_candidates)(profile_columns([values], list(values)))
    mapping = next((item.mapping for item in readings if item.format == row_format), None)
    if mapping is None:
        raise UnusableRow("the row lacks the columns that this format needs")
    return mapping


# --- conversations ----------------------------------------------------------------------------


def _convert_chat(slots: Slots, slot: str) -> Sample:
    if slot not in slots:
        raise UnusableRow("“{slot}” is missing", slot=slot)
    value = slots[slot]
    if SPEAKER in slots:
        value = read_as_speaker(value, slots[SPEAKER])
    return _create_sft(slots, read_conversation(value))


def _create_sft(slots: Slots, turns: list[Message]) -> Sample:
    turns = _to_last_answer(turns)
    answers = [turn for turn in turns if turn.role == "assistant"]
    if not any(_has_content(turn) for turn in answers):
        raise UnusableRow("the answer is empty", UnusableKind.EMPTY)
    if not any(turn.trained for turn in answers):
        raise UnusableRow("the row excludes all of its answers from training")
    return _with_extras(Sample("sft", tuple(turns)), slots)


def _to_last_answer(turns: list[Message]) -> list[Message]:
    """Return the turns through the last answer; raises UnusableRow if there is none."""
    end = next((i for i in range(len(turns), 0, -1) if turns[i - 1].role == "assistant"), 0)
    if not end:
        raise UnusableRow("the row contains no answer", UnusableKind.NO_ANSWER)
    return turns[:end]


def _has_content(turn: Message) -> bool:
    return bool(turn.content.strip() or turn.tool_calls)


def _with_extras(sample: Sample, slots: Slots) -> Sample:
    """Return the sample with the system message and the tools of its row."""
    turns, tools = sample.messages, read_tools(slots.get("tools"))
    system = read_system(slots.get("system"))
    if system.strip() and not any(turn.role == "system" for turn in turns):
        system = system.removeprefix("SYSTEM: ")
        if not tools:
            system, tools = split_off_tools(system)
        turns = (build_message("system", system), *turns) if system else turns
    return replace(sample, messages=turns, tools=tools)


# --- questions and answers --------------------------------------------------------------------


def _convert_alpaca(slots: Slots) -> Sample:
    question = _join_texts([slots.get("instruction"), slots.get("input")], "\n")
    turns = read_pairs(slots.get("history"))
    return _create_sft(slots, [*turns, *_read_questions(question), _read_answer(slots, "output")])


def _convert_question_answer(slots: Slots) -> Sample:
    question_text = _join_texts(
        [join_passages(slots.get("context")), slots.get("question")], "\n\n"
    )
    question = _create_question(question_text if "question" in slots else None)
    answer = slots.get("answer")
    if choices := _read_choices(slots.get("choices")):
        lines = "\n".join(f"{label}. {text}" for label, text in choices)
        question = question.model_copy(update={"content": f"{question.content}\n{lines}"})
        answer = _resolve_choice(choices, answer)
    return _create_sft(slots, [question, _read_answer({**slots, "answer": answer}, "answer")])


def _convert_prompt_completion(slots: Slots) -> Sample:
    prompt, completion = slots.get("prompt"), slots.get("completion")
    if (response := read_response(completion)) is not completion:
        completion = response
    if _has_spelled_turns(prompt, completion):
        prompt, completion = parse_literal(prompt), parse_literal(completion)
    if "prompt" not in slots:
        raise UnusableRow("there is no prompt")
    before = _read_prompt(prompt)
    if isinstance(completion, dict) and completion.get("role") in ("assistant", "model"):
        completion = [completion]  # as returned by a server
    if detect_style(completion) and not isinstance(completion, str):
        return _create_sft(
            slots, [*before, *_without_prompt(before, read_conversation(completion))]
        )
    return _create_sft(slots, [*before, _read_answer(slots, "completion")])


def _read_questions(text: str | None) -> Sequence[Message]:
    """Return the question as turns, including earlier rounds if it is a "Human: … Assistant: …"
    transcript.
    """
    is_spoken = (text or "").startswith("Human:") and (text or "").rstrip().endswith("Assistant:")
    if text and is_spoken and (spoken := parse_transcript(text, whole=True)):
        return _without_training(spoken[:-1])
    return [_create_question(text)]


def _create_question(text: str | None) -> Message:
    if text is None:
        raise UnusableRow("there is no question")
    if not text.strip():
        raise UnusableRow("the question is empty", UnusableKind.EMPTY)
    return build_message("user", text)


def _read_answer(slots: Slots, slot: str) -> Message:
    """Return the assistant's turn in a slot, with its reasoning and tool calls; raises
    UnusableRow.
    """
    value = slots.get(slot)
    if value is None:
        raise UnusableRow("the row contains no answer", UnusableKind.NO_ANSWER)
    if "tools" in slots and (calls := find_calls(value)):
        return build_message("assistant", "", calls=calls)
    text = to_answer(value)
    if not text.strip():
        raise UnusableRow("the answer is empty", UnusableKind.EMPTY)
    return build_message("assistant", text, thinking=to_text(slots.get("thinking")))


def _join_texts(values: Sequence[Any], joint: str) -> str | None:
    """Return the texts of the non-blank values, joined; None if all are missing."""
    present = [value for value in values if value is not None]
    if not present:
        return None
    return joint.join(text for value in present if (text := _read_question_text(value)).strip())


def _read_question_text(value: Any) -> str:
    """Return the text of a question, which may be an object with the text under a usual name."""
    if isinstance(value, list) and any(map(has_turns, value)):
        raise UnusableRow("the question is a list of conversations")
    if (
        isinstance(value, dict)
        and len(value) == 1
        and isinstance(only := next(iter(value.values())), str)
    ):
        return only
    return to_answer(value) if has_text(value) else to_text(value)


# --- texts, pairs, labels ---------------------------------------------------------------------


def _convert_text(slots: Slots) -> Sample:
    if "text" not in slots:
        raise UnusableRow("there is no text")
    if segments := read_segments(slots["text"]):
        text, untrained = segments
        if not any(text[begin:end].strip() for begin, end in invert_ranges(untrained, len(text))):
            raise UnusableRow("the row excludes all of its text from training")
        return Sample("text", text=require_valid_text(text), untrained=untrained)
    text = to_text(slots["text"])
    if not text.strip():
        raise UnusableRow("the text is empty", UnusableKind.EMPTY)
    return Sample("text", text=text)


def _convert_preference(slots: Slots) -> Sample:
    chosen, rejected = slots.get("chosen"), slots.get("rejected")
    if _has_spelled_turns(chosen, rejected):
        chosen, rejected = parse_literal(chosen), parse_literal(rejected)
    prompt_value = _get_prompt(slots)
    chosen, rejected = list_answers(chosen), list_answers(rejected)
    if isinstance(chosen, list) and chosen and chosen == rejected and detect_style(chosen) is None:
        chosen, rejected = _pick_of_several(chosen, slots.get("better"))
    elif "better" in slots and not is_first_better(slots["better"]):
        chosen, rejected = rejected, chosen
    if rounds := join_rounds(prompt_value, chosen, rejected):
        prompt_value, chosen, rejected = None, *rounds
    if isinstance(prompt_value, dict) and "tools" not in slots:
        slots = {**slots, "tools": prompt_value.get("tools")}
    prompt = _read_prompt(prompt_value)
    if isinstance(prompt_value, str) and prompt_value.endswith("Assistant:"):
        # The blank after the marker belongs to neither turn.
        chosen, rejected = _without_blank(chosen), _without_blank(rejected)
    better, worse = _read_side(chosen, "chosen", prompt), _read_side(rejected, "rejected", prompt)
    if not prompt and isinstance(chosen, str) and isinstance(rejected, str) and len(better) == 1:
        prompt, better, worse = split_words(better[0], worse[0])
    elif better[0].role != "assistant":
        prompt, better, worse = split_turns(prompt, better, worse)
    for turns, side in ((better, "chosen"), (worse, "rejected")):
        if not any(turn.role == "assistant" for turn in turns):
            raise UnusableRow("“{slot}” contains no answer", UnusableKind.NO_ANSWER, slot=side)
        if not any(_has_content(turn) for turn in turns if turn.role == "assistant"):
            raise UnusableRow("the answer in “{slot}” is empty", UnusableKind.EMPTY, slot=side)
    sample = Sample(
        "preference", _without_training(prompt), chosen=tuple(better), rejected=tuple(worse)
    )
    return _with_extras(sample, slots)


def _pick_of_several(answers: list[Any], ratings: Any) -> tuple[Any, Any]:
    """Return the best and the worst of the answers in one column; raises UnusableRow."""
    if is_ranked_list(answers):
        return pick_best_and_worst(answers)
    if not _is_text_list(answers):
        raise UnusableRow("the answers aren't text")
    if ratings is not None:
        return pick_by_ratings(answers, ratings)
    if not is_pair(answers):
        raise UnusableRow("there are not two different answers")
    return answers[0], answers[1]


def _convert_kto(slots: Slots) -> Sample:
    label = read_label(slots.get("label"))
    if is_blank(slots.get("label")):
        raise UnusableRow("there is no label", UnusableKind.NO_PREFERENCE)
    if label is None:
        raise UnusableRow("the label is neither good nor bad", UnusableKind.NO_PREFERENCE)
    if "completion" not in slots:
        raise UnusableRow("the row contains no answer", UnusableKind.NO_ANSWER)
    prompt, completion = _get_prompt(slots), slots["completion"]
    if _has_spelled_turns(prompt, completion):
        prompt, completion = parse_literal(prompt), parse_literal(completion)
    before = _read_prompt(prompt)
    turns = _to_last_answer(
        [*before, *_without_prompt(before, _read_side(completion, "completion", before))]
    )
    if not _has_content(turns[-1]):
        raise UnusableRow("the answer is empty", UnusableKind.EMPTY)
    last = turns[-1].model_copy(update={"trained": True})
    sample = Sample("kto", (*_without_training(turns[:-1]), last), label=label)
    return _with_extras(sample, slots)


def _convert_prompts(slots: Slots) -> Sample:
    if "prompt" not in slots:
        raise UnusableRow("there is no prompt", UnusableKind.EMPTY)
    return _with_extras(_split_prompt(_read_prompt(slots["prompt"]), slots.get("reference")), slots)


def _get_prompt(slots: Slots) -> Any:
    """Return the prompt of pairs and labels: a conversation, or an instruction with its input."""
    if "input" in slots and not detect_style(slots.get("prompt")):
        return _join_texts([slots.get("prompt"), slots["input"]], "\n")
    return slots.get("prompt")


def _read_prompt(value: Any) -> list[Message]:
    """Return the turns before an answer: a conversation, a transcript, or a user message."""
    if is_blank(value):
        return []
    if _has_spelled_turns(value):
        value = parse_literal(value)
    if not isinstance(value, str) and (
        detect_style(value) or _is_text_list(value) or has_turns(value)
    ):
        return list(_without_training(read_conversation(value)))
    text = _read_question_text(value)
    if text.rstrip().endswith("Assistant:") and (spoken := parse_transcript(text)):
        return list(_without_training(spoken[:-1]))
    return [build_message("user", text)]


def _read_side(value: Any, side: str, prompt: list[Message]) -> list[Message]:
    """Return one side of a pair: turns, one turn, a transcript, or the text of an answer."""
    if is_blank(value):
        if value is None:
            raise UnusableRow("“{slot}” is missing", slot=side)
        raise UnusableRow("the answer in “{slot}” is empty", UnusableKind.EMPTY, slot=side)
    if not isinstance(value, str) and detect_style(value):
        return read_conversation(value)
    if isinstance(value, dict) and not is_blank(value.get("role") or value.get("from")):
        return read_conversation([value])
    if isinstance(value, str) and not prompt and (spoken := parse_transcript(value)):
        return spoken
    return [build_message("assistant", to_answer(value))]


def _without_blank(value: Any) -> Any:
    return value.removeprefix(" ") if isinstance(value, str) else value


def _is_text_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)


def _has_spelled_turns(*values: Any) -> bool:
    """Return whether all texts spell out turns, as in CSV files; a single one is a text."""
    return all(
        isinstance(value, str) and value.lstrip()[:1] == "[" and detect_style(value) is not None
        for value in values
    )


def _without_training(turns: Sequence[Message]) -> tuple[Message, ...]:
    return tuple(
        turn.model_copy(update={"trained": False}) if turn.trained else turn for turn in turns
    )


def _without_prompt(prompt: list[Message], turns: list[Message]) -> list[Message]:
    """Return the turns without a repeated prompt."""
    prompt_texts = [(turn.role, turn.content) for turn in prompt]
    if (
        prompt_texts
        and [(turn.role, turn.content) for turn in turns[: len(prompt_texts)]] == prompt_texts
    ):
        return turns[len(prompt_texts) :]
    return turns


def split_turns(
    prompt: list[Message], better: list[Message], worse: list[Message]
) -> tuple[list[Message], list[Message], list[Message]]:
    """Return the turns that both sides share at the start, and the rest of each side.

    Each side keeps at least its last turn. If one side is the whole conversation and the other only
    an answer, all but the last turn of the conversation is the prompt.
    """
    if worse[0].role == "assistant":
        return _join_prompt(prompt, better[:-1]), better[-1:], worse
    shared = 0
    for one, other in zip(better[:-1], worse[:-1], strict=False):
        if one != other:
            break
        shared += 1
    return _join_prompt(prompt, better[:shared]), better[shared:], worse[shared:]


def _join_prompt(prompt: list[Message], common: list[Message]) -> list[Message]:
    """Return a prompt and its continuation, without the part of one that repeats the other."""
    prompt_texts, common_texts = (
        [_get_role_and_content(turn) for turn in prompt],
        [_get_role_and_content(turn) for turn in common],
    )
    for one, other, whole in (
        (prompt_texts, common_texts, common),
        (common_texts, prompt_texts, prompt),
    ):
        if other[: len(one)] == one or other[len(other) - len(one) :] == one:
            return whole
    return [*prompt, *common]


def _get_role_and_content(turn: Message) -> tuple[str, str]:
    return turn.role, turn.content


def split_words(
    better: Message, worse: Message
) -> tuple[list[Message], list[Message], list[Message]]:
    """Return the words that two texts share at the start, and the rest of each."""
    one, other = better.content, worse.content
    differing = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    limit = min(len(one.rstrip()), len(other.rstrip()))
    # Cut at the last blank in the shared part, or at a blank at the first difference.
    common_end = min(next(differing, limit) + 1, limit)
    shared = max((i for i in range(common_end) if one[i].isspace()), default=0)
    if not one[:shared].strip():
        return [], [better], [worse]
    return (
        [build_message("user", one[:shared])],
        [better.model_copy(update={"content": one[shared:]})],
        [worse.model_copy(update={"content": other[shared:]})],
    )


def join_rounds(prompt: Any, chosen: Any, rejected: Any) -> tuple[list[Any], list[Any]] | None:
    """Return both sides as conversations if prompt and answers are lists of equal length."""
    lists = [parse_literal(value) for value in (prompt, chosen, rejected)]
    if not all(isinstance(one, list) and one for one in lists) or len(set(map(len, lists))) > 1:
        return None
    if not all(text is None or isinstance(text, str) for one in lists for text in one):
        return None
    rounds = list(zip(*lists, strict=True))
    one = [turn for ask, answer, _ in rounds for turn in _build_round(ask, answer)]
    return one, [turn for ask, _, answer in rounds for turn in _build_round(ask, answer)]


def _build_round(question: str | None, answer: str | None) -> list[dict[str, str]]:
    turns = {"user": question or "", "assistant": answer or ""}
    return [{"role": role, "content": text} for role, text in turns.items()]


def _convert_search_pair(slots: Mapping[str, Any]) -> Sample:
    """Return a query with its positive and, if there is one, its negative; of lists the first item.

    Raises UnusableRow.
    """
    query, positive, negative = (
        to_answer(slots.get(slot)) for slot in ("query", "positive", "negative")
    )
    for slot, value in (("query", query), ("positive", positive)):
        if not value.strip():
            raise UnusableRow("“{slot}” is empty", UnusableKind.EMPTY, slot=slot)
    return Sample(
        "embedding",
        (build_message("user", query),),
        chosen=(build_message("assistant", positive).model_copy(update={"trained": False}),),
        rejected=(build_message("assistant", negative).model_copy(update={"trained": False}),)
        if negative.strip()
        else (),
    )


def _convert_labeled_text(slots: Mapping[str, Any]) -> Sample:
    """Return a text and its class, as a question with its answer; raises UnusableRow."""
    label = slots.get("label")
    if isinstance(label, list) and len(label) == 1:
        label = label[0]
    if is_blank(label):
        raise UnusableRow("there is no label", UnusableKind.EMPTY)
    if isinstance(label, list):
        raise UnusableRow(
            "the row has several labels, so its label is neither text nor a whole number"
        )
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if not isinstance(label, str | int):
        raise UnusableRow("the label is neither text nor a whole number")
    content = to_text(slots.get("text"))
    if not content.strip():
        raise UnusableRow("the text is empty", UnusableKind.EMPTY)
    name = str(label).lower() if isinstance(label, bool) else require_valid_text(str(label).strip())
    if len(name) > _LONGEST_LABEL:
        raise UnusableRow("the label has more than {limit} characters", limit=_LONGEST_LABEL)
    turns = (Message(role="user", content=content), Message(role="assistant", content=name))
    return Sample("classification", turns)


#: Characters of a class; a longer text is not a name.
_LONGEST_LABEL = 200


_Choices = list[tuple[str, str]]


def _read_choices(value: Any) -> _Choices:
    """Return choices with their labels: a list, {"text": […], "label": […]} or {"A": …}; raises
    UnusableRow.
    """
    value = parse_literal(value)
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        labels, texts = value.get("label"), value["text"]
        if not isinstance(labels, list) or len(labels) != len(texts):
            labels = _list_letters(len(texts))
        return [(to_text(a), to_text(b)) for a, b in zip(labels, texts, strict=True)]
    if isinstance(value, dict):
        return [(to_text(label), to_text(text)) for label, text in value.items()]
    if not isinstance(value, list | tuple):
        return []
    if value and all(isinstance(item, dict) and {"label", "text"} <= set(item) for item in value):
        return [(to_text(item["label"]), to_text(item["text"])) for item in value]
    labels, texts = _list_letters(len(value)), [to_answer(item) for item in value]
    prefixes = [
        re.match(rf"\(?{label}\s*[).:]\s*", text) for label, text in zip(labels, texts, strict=True)
    ]
    if all(prefixes):  # "A) …", "(B) …"
        texts = [text[mark.end() :] for text, mark in zip(texts, prefixes, strict=True) if mark]
    return list(zip(labels, texts, strict=True))


def _list_letters(count: int) -> Sequence[str]:
    """Return A, B, C …; raises UnusableRow if there are more choices than letters.

    Numbers would be ambiguous: an answer 3 could be a label or a position.
    """
    if count > len(ascii_uppercase):
        raise UnusableRow(
            "there are more than {most} choices without labels", most=len(ascii_uppercase)
        )
    return ascii_uppercase[:count]


def _resolve_choice(choices: _Choices, answer: Any) -> Any:
    """Return the choice that a label, a 0-based position, or a text means; the answer itself if
    none.
    """
    text = to_text(answer).strip()
    chosen = next((item for item in choices if text in (item[0], item[1].strip())), None)
    if chosen is None:
        chosen = next((item for item in choices if text.casefold() == item[0].casefold()), None)
    if chosen is None and text.isascii() and text.isdigit() and int(text[:9]) < len(choices):
        chosen = choices[int(text[:9])]
    return f"{chosen[0]}. {chosen[1]}" if chosen and text else answer


def _split_prompt(turns: Sequence[Message], reference: Any) -> Sample:
    """Return a conversation up to its last answer as a prompt; that answer is the reference without another."""
    prompt = list(turns)
    if prompt and prompt[-1].role == "assistant":
        last = prompt.pop()
        reference = last.content if is_blank(reference) else reference
    if not any(turn.role in ("user", "tool") and turn.content.strip() for turn in prompt):
        raise UnusableRow("the prompt is empty", UnusableKind.EMPTY)
    expected = None if is_blank(reference) else str(to_answer(reference))
    return Sample("grpo", tuple(prompt), reference=expected)


def _add_columns(sample: Sample, values: Mapping[str, Any], mapping: Mapping[str, str]) -> Sample:
    """Return the sample with the columns of its row that fill no slot, as text."""
    used = list_columns(mapping, values)
    kept = ((name, value) for name, value in values.items() if name not in used)
    columns = tuple((str(name), str(to_text(value))) for name, value in kept if not is_blank(value))
    return replace(sample, columns=columns)


_CONVERTERS: dict[RowFormat, Callable[[Slots], Sample]] = {
    "alpaca": _convert_alpaca,
    "sharegpt": lambda slots: _convert_chat(slots, "conversations"),
    "messages": lambda slots: _convert_chat(slots, "messages"),
    "prompt_completion": _convert_prompt_completion,
    "question_answer": _convert_question_answer,
    "text": _convert_text,
    "preference": _convert_preference,
    "kto": _convert_kto,
    "prompts": _convert_prompts,
    "search_pairs": _convert_search_pair,
    "labeled_text": _convert_labeled_text,
}
assert set(_CONVERTERS) == set(FORMATS)

#: How columns are read as a format that the user has to choose.
FINDERS: dict[RowFormat, Callable[[Columns], list[FormatCandidate]]] = {
    "kto": find_judged_answers, "prompts": find_prompts, "search_pairs": find_chosen_search_pairs, "labeled_text": find_labeled_candidates,
}  # fmt: skip
