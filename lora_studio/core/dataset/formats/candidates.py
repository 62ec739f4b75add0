"""Every way to read the columns of some rows, ranked by how specific the reading is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from lora_studio.core.dataset.formats import column_names
from lora_studio.core.dataset.formats import columns as formats_columns
from lora_studio.core.dataset.formats.columns import (
    Columns,
    DataColumn,
    FormatCandidate,
    find_column,
    find_columns,
    find_optional_column,
    find_replies,
)
from lora_studio.core.dataset.formats.labels import (
    find_classified_texts,
    find_ratings,
    find_votes,
    pick_text_and_class,
    write_limit,
)
from lora_studio.core.dataset.formats.mapping import prefix_names
from lora_studio.core.dataset.formats.multiple_choice import find_choices_template
from lora_studio.core.dataset.formats.paired_columns import (
    find_compared_answers,
    find_search_pairs,
)
from lora_studio.core.dataset.formats.row_shapes import find_shapes
from lora_studio.core.dataset.formats.values import normalize_name
from lora_studio.core.dataset.spec import RowFormat


def find_candidates(columns: Columns) -> list[FormatCandidate]:
    """Return all readings, the most specific first; [] if no columns fit any format."""
    finders = (
        _find_shapes, _find_preferences, find_search_pairs, _find_kto, _find_conversation, _find_question_and_answer, _find_prompted, find_classified_texts, _find_text,
    )  # fmt: skip
    # If names say what the columns contain, rows that lack it are faulty: nothing is guessed.
    named = [candidate for finder in finders for candidate in finder(columns)]
    return named or _find_inner(columns) or _guess_candidates(columns)


def _find_shapes(columns: Columns) -> list[FormatCandidate]:
    """Return the readings of rows of known shapes, with the system message and the tools that they have."""
    return [
        candidate
        if candidate.format in ("text", "labeled_text")
        else replace(
            candidate,
            mapping=_find_extras(columns)
            | (_find_thinking(columns, candidate.mapping) if "answer" in candidate.mapping else {})
            | candidate.mapping,
        )
        for candidate in find_shapes(columns)
    ]


def _find_inner(columns: Columns) -> list[FormatCandidate]:
    """Return the readings of rows that are inside an object, such as the body of a request."""
    return [
        replace(
            candidate,
            mapping={
                slot: prefix_names(source, column.name)
                for slot, source in candidate.mapping.items()
            },
            rivals=(),
        )
        for column in columns
        if column.fields and column.key not in column_names.METADATA
        for candidate in find_candidates(column.fields)
        if not candidate.guessed
    ]


# --- pairs and labels -------------------------------------------------------------------------


def _find_preferences(columns: Columns) -> list[FormatCandidate]:
    rejected = find_column(columns, column_names.REJECTED)
    chosen = find_column(columns, column_names.CHOSEN)
    talk = _get_first(formats_columns.find_conversations(columns))
    if rejected is None:
        return [
            *_find_ranked(columns),
            *_find_rated(columns),
            *_find_compared(columns),
            *_find_answer_lists(columns),
        ]
    if chosen is None:
        # A whole conversation and an alternative last answer.
        if talk is None or talk.kind != "turns":
            return []
        mapping = {"chosen": talk.name, "rejected": rejected.name} | _find_extras(columns)
        return [FormatCandidate("preference", mapping, 1.0, 0.9)]
    mapping = {}
    prompt = _find_prompt_slots(columns)
    is_whole = chosen.kind == "turns" and not chosen.openers
    if prompt and not (is_whole and normalize_name(prompt["prompt"]) not in column_names.ASKED):
        # Next to whole conversations, only a column named "prompt" is the prompt.
        mapping = prompt
    elif talk is not None and (chosen.kind != "turns" or chosen.openers):
        mapping = {"prompt": talk.name}
    mapping |= {"chosen": chosen.name, "rejected": rejected.name} | _find_extras(columns)
    sure = 0.99 if (chosen.key, rejected.key) == ("chosen", "rejected") else 0.93
    return [FormatCandidate("preference", mapping, 1.0, sure)]


def _find_ranked(columns: Columns) -> list[FormatCandidate]:
    """Return the reading of several answers to a prompt, each with a rank or a score."""
    column = next((item for item in columns if 2 * item.ranked > item.filled > 0), None)
    if column is None or not (prompt := _find_prompt_slots(columns, besides=(column,))):
        return []
    mapping = prompt | {"chosen": column.name, "rejected": column.name} | _find_extras(columns)
    return [FormatCandidate("preference", mapping, 0.95, 0.85)]


def _find_rated(columns: Columns) -> list[FormatCandidate]:
    """Return the reading of several answers to a prompt, with their ratings in another column."""
    answers = [
        item for item in columns if item.key in column_names.SEVERAL and item.kind == "texts"
    ]
    ratings = find_column(columns, column_names.RATINGS, "numbers")
    if (
        not answers
        or ratings is None
        or not (prompt := _find_prompt_slots(columns, besides=(answers[0],)))
    ):
        return []
    mapping = prompt | {"chosen": answers[0].name, "rejected": answers[0].name}
    mapping |= {"better": ratings.name} | _find_extras(columns)
    return [FormatCandidate("preference", mapping, 0.95, 0.8)]


def _find_answer_lists(columns: Columns) -> list[FormatCandidate]:
    """Return the reading of instructions with two answers in a list, the preferred one first."""
    column = find_column(columns, ("output", "response"), "texts")
    if column is None or column.paired < column.filled:
        return []
    prompt = _find_prompt_slots(columns, besides=(column,))
    if not prompt or normalize_name(prompt["prompt"]) not in (
        *column_names.INSTRUCTIONS,
        *column_names.PROMPTS,
    ):
        return []
    mapping = prompt | {"chosen": column.name, "rejected": column.name} | _find_extras(columns)
    return [FormatCandidate("preference", mapping, 0.95, 0.8)]


def _find_compared(columns: Columns) -> list[FormatCandidate]:
    """Return the readings of two answer columns and a third that names the preferred one."""
    compared = []
    for slots in find_compared_answers(columns):
        used = tuple(item for item in columns if item.name in slots.values())
        prompt = _find_prompt_slots(columns, used) or _find_conversation_slots(columns, used)
        mapping = prompt | slots | _find_extras(columns)
        sure = 0.85 if prompt or used[0].kind == "turns" else 0.6
        compared.append(FormatCandidate("preference", mapping, 1.0, sure))
    return compared


def _find_conversation_slots(columns: Columns, excluded: tuple[DataColumn, ...]) -> dict[str, str]:
    rest = [item for item in columns if item not in excluded]
    history = find_column(rest, column_names.HISTORIES, "text", "turns", "list")
    return {"prompt": history.name} if history is not None else {}


def _find_kto(columns: Columns) -> list[FormatCandidate]:
    votes = find_votes(columns)
    label = votes or next(
        (item for item in find_columns(columns, column_names.LABELS) if item.is_label), None
    )
    if label is None or find_column(columns, column_names.CHOICES, "texts", "object", "list"):
        return []
    answer = _get_first([item for item in formats_columns.find_answers(columns) if item != label])
    talk = _get_first(formats_columns.find_conversations(columns))
    explicit = label.key in ("label", "ktotag", "kto", "thumbs", "thumbsup", "desirable", "isgood")
    sure = 0.97 if explicit else 0.9 if votes else 0.75
    # Votes are more specific than the answers that they judge.
    weight = 0.99 if explicit or votes else 0.85
    if answer is not None and answer.kind in ("text", "turns", "texts", "turn"):
        prompt = _find_prompt_slots(columns, besides=(answer, label))
        before = find_column(columns, column_names.CHOSEN, "turns")
        if not prompt and before is not None and 2 * before.asking > before.filled:
            prompt = {"prompt": before.name}
        if not prompt and not explicit:
            # The answers alone would be trained, although another text is probably the question.
            texts = formats_columns.find_free_texts(columns)
            others = [item for item in texts if item not in (answer, label)]
            if len(others) > 1:
                return []
            prompt = {"prompt": others[0].name} if others else {}
        mapping = prompt | {"completion": answer.name, "label": label.name} | _find_extras(columns)
        return [FormatCandidate("kto", mapping, weight, sure if prompt else 0.7 * sure)]
    if talk is not None and talk.kind == "turns":
        mapping = {"completion": talk.name, "label": label.name} | _find_extras(columns)
        return [FormatCandidate("kto", mapping, weight, sure)]
    return []


def find_judged_answers(columns: Columns) -> list[FormatCandidate]:
    """Return the readings of answers with labels; without labels, those with ratings above a limit are good."""
    labeled = [item for item in find_candidates(columns) if item.format == "kto"]
    ratings = [item for item in find_ratings(columns) if item.high > item.low]
    if labeled or not ratings:
        return labeled
    answer = _get_first(formats_columns.find_answers(columns)) or _get_first(
        formats_columns.find_conversations(columns)
    )
    if answer is None or answer.kind not in ("text", "turns", "turn"):
        return []
    prompt = (
        _find_prompt_slots(columns, besides=(answer, *ratings)) if answer.kind == "text" else {}
    )
    mapping = prompt | {"completion": answer.name, "label": write_limit(ratings[0])}
    return [FormatCandidate("kto", mapping | _find_extras(columns), 0.2, 0.7)]


def _find_prompt_slots(columns: Columns, besides: tuple[DataColumn, ...] = ()) -> dict[str, str]:
    """Return the slots of the prompt of an answer, with the input that belongs to an instruction."""
    questions = [item for item in formats_columns.find_questions(columns) if item not in besides]
    # A prompt column is the whole question, even if its parts have columns too.
    questions.sort(key=lambda item: item.key not in column_names.PROMPTS)
    if not questions:
        return {}
    mapping = {"prompt": questions[0].name}
    added = find_optional_column(
        [item for item in columns if item not in besides], column_names.INPUTS, "text"
    )
    if questions[0].key in column_names.INSTRUCTIONS and added and added != questions[0]:
        mapping["input"] = added.name
    return mapping


# --- conversations ----------------------------------------------------------------------------


def _find_conversation(columns: Columns) -> list[FormatCandidate]:
    conversations = []
    rest = formats_columns.find_conversations(columns)
    for rank, column in enumerate(rest):
        openai = column.kind == "turns" and 2 * column.openai > column.kinds["turns"]
        row_format: RowFormat = "messages" if openai else "sharegpt"
        slot = "messages" if openai else "conversations"
        exact = column.key in column_names.CONVERSATIONS
        sure = 0.99 if exact and column.kind == "turns" else 0.9 if column.kind == "turns" else 0.8
        weight = (0.96 if column.kind == "turns" else 0.93) - 0.01 * rank
        mapping = _find_spoken_context(columns) | {slot: column.name} | _find_extras(columns)
        rivals = tuple(item.name for item in rest if item.kind == "turns" and item != column)
        certainty = sure * (0.85 if rivals else 1.0)
        conversations.append(FormatCandidate(row_format, mapping, weight, certainty, slot, rivals))
    return conversations[:3]


def _find_spoken_context(columns: Columns) -> dict[str, str]:
    """Return the slot of a text that a conversation begins with, as in chats for PaLM."""
    context = find_column(columns, ("context",), "text")
    return {"system": context.name} if context is not None else {}


# --- questions and answers --------------------------------------------------------------------


def _find_rivals(answers: Columns, mapping: dict[str, str]) -> tuple[str, ...]:
    """Return the names of unmapped columns that could hold the answer as well as the first one."""
    return tuple(
        item.name
        for item in answers[1:]
        if item.filled * 2 > answers[0].filled
        and item.kind != "numbers"  # token ids of an answer, not another answer
        and item.name not in mapping.values()
    )


def _find_question_and_answer(columns: Columns) -> list[FormatCandidate]:
    choices = find_column(columns, column_names.CHOICES, "texts", "object", "list", "text")
    answers = formats_columns.find_answers(columns)
    if choices is not None and (keyed := find_columns(columns, column_names.CHOICE_ANSWERS)):
        answers = [*keyed, *(item for item in answers if item not in keyed)]
    keyed = find_columns(columns, column_names.CHOICE_ANSWERS)
    template = find_choices_template(columns, keyed[0]) if choices is None and keyed else ""
    if template:
        answers = [keyed[0]]
    elif choices is None:
        answers = prefer_references(columns, answers)
    questions = [item for item in formats_columns.find_questions(columns) if item not in answers]
    if not answers:
        return []
    answer = answers[0]
    questions = [item for item in questions if item != choices]
    if template and not questions:
        questions = find_columns(columns, column_names.STEMS)[:1]
    questions = _find_empty_instructions(columns) + questions
    if not questions:
        return _find_continued(columns, answer)
    row_format, mapping = _choose_question_format(columns, questions[0], answer, choices)
    if template:
        row_format, mapping = _with_choices(mapping, questions[0], template)
    slot = {"alpaca": "output", "prompt_completion": "completion"}.get(row_format, "answer")
    mapping[slot] = answer.name
    mapping |= _find_extras(columns)
    mapping |= _find_thinking(columns, mapping)
    rivals = _find_rivals(answers, mapping)
    exact = answer.key in column_names.ANSWERS and questions[0].key in column_names.ASKED
    sure = (0.98 if exact else 0.75) * (0.85 if rivals else 1.0)
    weight = {"alpaca": 0.94, "prompt_completion": 0.92}.get(row_format, 0.9)
    return [FormatCandidate(row_format, mapping, weight, sure, slot, rivals)]


def _find_empty_instructions(columns: Columns) -> list[DataColumn]:
    """Return instruction columns without text: rows with the whole question in the input have this format, too."""
    return [item for item in columns if item.key in column_names.INSTRUCTIONS and not item.filled]


def _choose_question_format(
    columns: Columns, question: DataColumn, answer: DataColumn, choices: DataColumn | None
) -> tuple[RowFormat, dict[str, str]]:
    """Return the format that fits the question columns, and the slots of the question."""
    rest = [item for item in columns if item not in (question, answer)]
    is_instruction = question.key in column_names.INSTRUCTIONS
    find = find_optional_column if is_instruction else find_column
    history = find(rest, column_names.HISTORIES, "list", "turns", "texts", "text")
    if is_instruction or history is not None:
        mapping = {"instruction": question.name}
        added = find_optional_column(rest, column_names.INPUTS)
        if added is not None and is_instruction:
            mapping["input"] = added.name
        if history is not None:
            mapping["history"] = history.name
        return "alpaca", mapping
    is_prompt = question.key in (*column_names.PROMPTS, "input", "inputs") or question.kind in (
        "turns",
        "turn",
    )
    if is_prompt and choices is None:
        return "prompt_completion", {"prompt": question.name}
    mapping = {"question": question.name}
    context = _get_first(formats_columns.find_contexts(rest)) or find_optional_column(
        rest, column_names.CONTEXTS
    )
    if context is not None:
        mapping["context"] = context.name
    if choices is not None:
        mapping["choices"] = choices.name
    return "question_answer", mapping


def _find_thinking(columns: Columns, mapping: dict[str, str]) -> dict[str, str]:
    """Return the column of reasoning before an answer, unless it only flags that there was
    reasoning.
    """
    thinking = find_optional_column(columns, column_names.THINKING, "text")
    if thinking is None or thinking.name in mapping.values():
        return {}
    is_switch = bool(thinking.words) and thinking.words <= column_names.SWITCHES
    return {} if is_switch else {"thinking": thinking.name}


def _find_continued(columns: Columns, answer: DataColumn) -> list[FormatCandidate]:
    """Return the reading of conversations that end with the user, with a column for the answer."""
    talk = _get_first(
        [item for item in formats_columns.find_conversations(columns) if item != answer]
    )
    if talk is None or 2 * talk.asking <= talk.filled or answer.kind not in ("text", "turn"):
        return []
    mapping = {"prompt": talk.name, "completion": answer.name} | _find_extras(columns)
    return [
        FormatCandidate("prompt_completion", mapping | _find_thinking(columns, mapping), 0.97, 0.85)
    ]


def _with_choices(
    mapping: dict[str, str], question: DataColumn, template: str
) -> tuple[RowFormat, dict[str, str]]:
    context = {"context": mapping["context"]} if "context" in mapping else {}
    return "question_answer", {"question": question.name, **context, "choices": template}


def _find_prompted(columns: Columns) -> list[FormatCandidate]:
    """Return the reading of a text and the prompt it was written from, as in synthetic textbooks."""
    prompt_names = (*column_names.PROMPTS, *column_names.INSTRUCTIONS, "question", "query", "input")
    prompt = find_column(columns, prompt_names, "text")
    text = find_column(columns, ("text", "content"), "text")
    if prompt is None or text is None or formats_columns.has_other_purpose(columns):
        return []
    mapping = {"prompt": prompt.name, "completion": text.name} | _find_extras(columns)
    return [
        FormatCandidate("prompt_completion", mapping | _find_thinking(columns, mapping), 0.6, 0.7)
    ]


# --- texts ------------------------------------------------------------------------------------


def _find_text(columns: Columns) -> list[FormatCandidate]:
    pieces = find_column(columns, ("segments",), "list")
    if pieces is not None and 2 * pieces.segmented > pieces.filled:
        return [FormatCandidate("text", {"text": pieces.name}, 0.5, 0.95)]
    column = find_column(columns, column_names.TEXTS, "text")
    if column is None or formats_columns.has_other_purpose(columns):
        return []
    questions = [
        item
        for item in formats_columns.find_questions(columns)
        if item.kind == "text" and item != column
    ]
    if column.key in column_names.CONTEXTS and questions:
        return []  # a question about the text is a more specific format
    if replies := [item for item in find_replies(columns) if item != column]:
        mapping = {"question": column.name, "answer": replies[0].name}
        return [FormatCandidate("question_answer", mapping, 0.5, 0.4, guessed=True)]
    sure = 0.97 if column.key == "text" else 0.85
    return [FormatCandidate("text", {"text": column.name}, 0.5, sure)]


def _guess_candidates(columns: Columns) -> list[FormatCandidate]:
    """Return the reading of columns with unknown names: question and answer, or one text."""
    extra = column_names.TOOLS + column_names.SYSTEMS
    texts = [item for item in formats_columns.find_free_texts(columns) if item.key not in extra]
    if formats_columns.has_other_purpose(columns):
        return []
    texts = formats_columns.pick_message_and_reply(texts)
    questions = formats_columns.find_questions(columns)
    is_nested = any(
        item.kind in ("object", "list", "turn") and item.key not in column_names.METADATA
        for item in columns
    )
    if len(texts) == 2:
        if not is_nested and (classified := pick_text_and_class(texts)):
            mapping = {"text": classified[0].name, "label": classified[1].name}
            return [FormatCandidate("labeled_text", mapping, 0.3, 0.5, guessed=True)]
        if (
            is_nested
            or (questions and texts[0] not in questions)
            or texts[1].key in column_names.CONTEXTS
        ):
            return []
        mapping = {"question": texts[0].name, "answer": texts[1].name}
        return [FormatCandidate("question_answer", mapping, 0.3, 0.4, guessed=True)]
    if len(texts) == 1 and not questions and not is_nested:
        return [FormatCandidate("text", {"text": texts[0].name}, 0.25, 0.5, guessed=True)]
    return []


def _find_extras(columns: Columns) -> dict[str, str]:
    """Return the slots for system message and tools, which every conversation format has."""
    mapping = {}
    if system := find_optional_column(
        columns, column_names.SYSTEMS, "text", "list", "object", "turn"
    ):
        mapping["system"] = system.name
    if tools := find_optional_column(
        columns, column_names.TOOLS, "list", "text", "object", "turns", "texts", "turn"
    ):
        mapping["tools"] = tools.name
    return mapping


def _get_first(columns: Sequence[DataColumn]) -> DataColumn | None:
    return columns[0] if columns else None


#: Names that say that an answer is right, and those that only say that it is for comparison.
_CHECKED = re.compile(
    r"gold(en|label|answers?|responses?|outputs?|standard)?|(expected|correct|ideal|human|expert)(answers?|responses?|"
    r"outputs?|completions?)|expected|groundtruths?"
)
_COMPARED = re.compile(
    r"reference(s|answers?|responses?|outputs?)?|targets?|target(answers?|outputs?|responses?)|truth"
)
_GENERATED = re.compile(
    r"responses?|predictions?|predicted\w*|generat(ed|ion)\w*|model\w*|outputs?|completions?|llm\w*|candidates?|hypothes[ie]s|"
    r"(bot|gpt\w*|chatgpt|assistant|ai)(answers?|responses?|outputs?|reply)?"
)


def prefer_references(columns: Columns, answers: list[DataColumn]) -> list[DataColumn]:
    """Return the candidates for the answer with reference answers before generated ones.

    A reference of single words next to whole sentences, as a final result next to its derivation, stays
    a rival: which of the two is meant is the user's choice. So does `reference` next to `answer`.
    """
    texts = [item for item in columns if item.kind in ("text", "texts") and item.filled]
    checked = [item for item in texts if _CHECKED.fullmatch(item.key)]
    references = checked + [item for item in texts if _COMPARED.fullmatch(item.key)]
    generated = [
        item for item in texts if _GENERATED.fullmatch(item.key) and item not in references
    ]
    if not references:
        return answers
    if not answers:
        return references + generated if generated else answers
    first = answers[0]
    rest = [item for item in answers if item not in references]
    is_neutral = first.key in ("answer", "answers")
    better = references if first in generated else checked if is_neutral else []
    better = [item for item in better if not _is_result_of(item, first)]
    if "solution" in first.key or not better:
        return answers + [item for item in references if item not in answers]
    return [*better, *rest, *(item for item in references if item not in better)]


def _is_result_of(reference: DataColumn, answer: DataColumn) -> bool:
    """Return whether the references are single words, and the answers sentences."""
    is_short = reference.kind == "text" and 2 * reference.phrased <= reference.filled
    return is_short and answer.kind == "text" and 2 * answer.phrased > answer.filled
