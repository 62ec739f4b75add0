"""Every way to read the columns of some rows: a table of shapes that a column gives away, then finders.

To add a shape, add an entry to `SHAPES`. Its `slots` name the column of each slot, with a dot for a field
of an object: `reward_model.ground_truth`. Names are compared without case, blanks, and punctuation; of
several, separated by blanks, the first one that the rows have is used. A slot that ends in "?" may be
missing, "@question" is any column with a question, "@any" any column at all, and "@prompt" the prompt with
the input that belongs to it. What a column must hold follows its name after a colon, or stands before all of them (see `_HOLDS`).
In a template, the names are in braces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase

from lora_studio.core.dataset.formats import columns as formats_columns
from lora_studio.core.dataset.formats.columns import (
    ANSWERS,
    CHOICE_ANSWERS,
    CLASSES,
    INSTRUCTIONS,
    LABELS,
    METADATA,
    PROMPTS,
    RATINGS,
    REJECTED,
    SEARCH_NEGATIVES,
    SEARCH_POSITIVES,
    SEARCH_QUERIES,
    SEVERAL,
    TEXTS,
    Columns,
    DataColumn,
    FormatCandidate,
    find_answers,
    find_column,
    find_columns,
    find_contexts,
    find_conversations,
    find_free_texts,
    find_optional_column,
    find_prompt_slots,
    find_questions,
    find_replies,
    has_other_purpose,
    list_slots,
    pick_message_and_reply,
    prefix_names,
)
from lora_studio.core.dataset.formats.values import is_tie, normalize_name, parse_label, parse_side
from lora_studio.core.dataset.spec import FORMATS, RowFormat
from lora_studio.core.messages import Template
from lora_studio.core.problems import Problem
from lora_studio.core.tasks.samples import dataset_error, dataset_warning, quote_names


@dataclass(frozen=True)
class RowShape:
    """A shape of rows: how it is recognized, and the format that it is read as; None to refuse it.

    `beside` are further columns of which the rows must have one, `without` those that they must not have. With `is_only_answer`,
    the rows must have no other column with answers; with `is_for_training`, nothing that shows another purpose, such
    as classes. The problem is a warning, or the error of a shape that
    is refused; its texts may contain the slots, as column names, and `columns`, all of them.
    """

    format: RowFormat | None
    slots: Mapping[str, str]
    beside: str = ""
    without: str = ""
    is_only_answer: bool = False
    is_for_training: bool = False
    weight: float = 1.0
    sure: float = 0.95
    code: str = ""
    what: Template = ""
    remedy: Template = ""

    def describe(self, mapping: Mapping[str, str]) -> Problem | None:
        """Return the problem of rows of this shape, None if there is none."""
        if not self.code:
            return None
        build = dataset_warning if self.format else dataset_error
        names = dict.fromkeys(name for path in mapping.values() for name in _list_names(path))
        return build(self.code, self.what, self.remedy, columns=quote_names(names), **mapping)


#: Questions, as a text or as a conversation that ends with it.
_ASKED = "prompt problem question messages:question conversation:question input:question @question"
_REQUESTS = (
    "request.messages body.messages params.messages kwargs.messages input.messages request.contents "
    "request.body.messages request.body.contents request_body.messages request.input body.prompt request.prompt"
)
_LONG = ":text article document dialogue dialog passage"
_REJECTED, _SEVERAL = " ".join(REJECTED), ":texts " + " ".join(SEVERAL)
_QUERIES, _FOUND, _NOT_FOUND = map(" ".join, (SEARCH_QUERIES, SEARCH_POSITIVES, SEARCH_NEGATIVES))
_PASSAGES = "passage passages document documents doc"
#: How similar both texts of a pair are: some of those pairs don't belong together.
_SIMILARITIES = "score label labels similarity similarityscore isduplicate"
_FIM = "<|fim_prefix|>{%s}<|fim_suffix|>{%s}<|fim_middle|>{%s}"

SHAPES = (
    # Prompts with an answer to compare, for reinforcement learning with verifiable rewards.
    RowShape("prompts", {"prompt": _ASKED, "reference?": "reward_model.ground_truth"}, beside="reward_model"),
    RowShape(
        "prompts",
        {"prompt": _ASKED, "reference?": "gold_standard_solution verification_info.ground_truth answer"},
        beside="verification_info", is_only_answer=True,
    ),
    RowShape(
        "prompts", {"prompt": _ASKED, "reference": "ground_truth:short"},
        without="context contexts retrieved_contexts passage", is_only_answer=True,
    ),
    RowShape(
        "prompts", {"prompt": "messages:question prompt:question", "reference": "ground_truth answer:short solution:short"},
        beside="ground_truth data_source verifier ability", is_only_answer=True,
    ),
    RowShape(
        "prompts", {"prompt": _ASKED, "reference?": "ground_truth answer:short solution:short"},
        beside="data_source verifier test_cases unit_tests reward_function", is_only_answer=True,
    ),
    # Requests to a model's server and its answers, as batches and logs have them.
    RowShape(
        "prompt_completion",
        {
            "prompt": f"{_REQUESTS} messages:question contents:question input:turns prompt",
            "completion": "response.choices response.candidates response.body.choices response_body.choices "
            "output.choices completion.choices output.candidates response.message:turn response:turn "
            "response.output:turns result.message:turn",
            "system?": "params.system request.system request.systemInstruction request.instructions",
            "tools?": "request.tools body.tools params.tools kwargs.tools",
        },
    ),
    RowShape(
        "prompt_completion",
        {"prompt": "input", "completion": "output:turns", "system": "instructions"},
    ),
    RowShape("messages", {"messages": "history:turns"}, weight=0.5),
    RowShape(
        None, {"completion": "response.body.choices result.message response.candidates response.body.candidates"},
        beside="custom_id key", code="answers_only",
        what="Each row is an answer of a batch job ({columns}). The prompts are in the file of requests.",
        remedy="Write each prompt and its answer as one row: match both files by the ID of the requests.",
    ),
    # Two answers, compared on a scale from negative to positive.
    RowShape(
        "preference",
        {
            "prompt": "context:turns context prompt question instruction messages:question",
            "chosen": "response1 response_1 response_a answer_a answer1", "rejected": "response2 response_2 response_b answer_b answer2",
            "better": "0 > {overall_preference:signed preference_strength:signed preference_score:signed}",
        },
        code="signed_preference",
        what="“{chosen}” is used as the preferred answer where the preference is negative, and “{rejected}” where it is "
        "positive.",
        remedy="If it is the other way round, swap the columns of “chosen” and “rejected”.",
    ),
    # A text and what it became: a summary, a translation, a program, its meaning.
    RowShape(
        "question_answer",
        {"question": f"{_LONG} text content context", "answer": ":text summary highlights tldr abstract"},
        weight=0.7, sure=0.8,
    ),
    RowShape(
        "question_answer",
        {"question": f"{_LONG} source src text content context", "answer": ":text target tgt translation"},
        weight=0.7, sure=0.8,
    ),
    RowShape(
        "question_answer",
        {
            "question": ":text text description docstring nl comment func_documentation_string",
            "answer": ":text code func_code_string",
        },
        weight=0.69, sure=0.8,
    ),
    RowShape(
        "question_answer",
        {
            "question": ":text term word acronym abbreviation begriff",
            "answer": ":text definition meaning explanation bedeutung erklärung",
        },
        weight=0.9, sure=0.75, is_only_answer=True,
    ),
    RowShape(
        "question_answer", {"question": ":text question", "answer": ":text query", "context?": "context schema"},
        weight=0.9, sure=0.75, is_only_answer=True,
    ),
    RowShape(
        "prompt_completion", {"prompt": ":text prompt prompt_text user_prompt", "completion": ":sentences label labels"},
        weight=0.92, sure=0.75, is_only_answer=True,
    ),
    # A question inside an object with its choices, as in ARC's own files.
    RowShape(
        "question_answer", {"question": "question.stem", "choices": "question.choices", "answer": "answer_key"},
        weight=0.9,
    ),
    # A text in two languages.
    RowShape(
        "question_answer", {"question": "translation.#1 translations.#1", "answer": "translation.#2 translations.#2"},
        weight=0.9, sure=0.8, code="translation",
        what="Each row is one text in two languages. “{question}” is used as the question, and “{answer}” as the "
        "answer.",
        remedy="To translate into the other language, swap them. To say what to do, map “question” to a template "
        "that begins with an instruction.",
    ),
    # Code with a gap.
    *(
        RowShape(
            "text", {"text": _FIM % names}, code="fim_markers", weight=0.97,
            what="The rows are parts of code with a gap to fill ({columns}). They are joined with the markers of "
            "Qwen Coder and CodeGemma: {text}",
            remedy="If your model has other markers, map “text” to a template with these, for example with "
            "<fim_prefix>, <fim_suffix>, and <fim_middle> for StarCoder.",
        )
        for names in (
            ("prefix fim_prefix", "suffix fim_suffix", "middle fim_middle infill completion"),
            ("prompt", "suffix", "completion middle canonical_solution"),
            (
                "before left_context left code_before prompt.prefix input.prefix",
                "after right_context right code_after prompt.suffix input.suffix",
                "middle infill gap target completion code_middle output",
            ),
        )
    ),
    # Two answers in a list, and the position of the better one.
    RowShape(
        "preference",
        {
            "prompt": _ASKED, "chosen": ":pairs responses answers completions outputs candidates",
            "rejected": ":pairs responses answers completions outputs candidates",
            "better": ":position best best_index chosen_index preferred_index best_response better preferred winner",
        },
    ),
    # Answers with a score each, in parallel lists.
    RowShape(
        "preference",
        {"prompt": "{title}\\n{selftext?}", "chosen": "answers:ranked", "rejected": "answers:ranked"},
    ),
    # Exams with an instruction, a text, a question, an answer, and its explanation.
    RowShape(
        "alpaca",
        {
            "instruction": "textbox_q_instruction", "input": "{textbox_q_context?}\\n{textbox_question}",
            "output": "{textbox_answer}\\n{textbox_answer_analysis?}",
        },
    ),
    # Several answers in one column: with ranks or scores, with ratings in another column, or two to an
    # instruction, the preferred one first.
    RowShape(
        "preference", {"prompt": "@prompt", "chosen": "@any:ranked", "rejected": "@any:ranked"},
        without=_REJECTED, weight=0.95, sure=0.85,
    ),
    RowShape(
        "preference",
        {"prompt": "@prompt", "chosen": _SEVERAL, "rejected": _SEVERAL, "better": ":numbers " + " ".join(RATINGS)},
        without=_REJECTED, weight=0.95, sure=0.8,
    ),
    RowShape(
        "preference",
        {"prompt": "@prompt:asked", "chosen": ":only_pairs output response", "rejected": ":only_pairs output response"},
        without=_REJECTED, weight=0.95, sure=0.8,
    ),
    # Labels of parts of a text.
    RowShape(
        None, {"text": "text tokens sentence words", "label": "ner_tags pos_tags entities:list spans:list label:list"},
        code="token_labels",
        what="The rows label parts of texts, such as names ({columns}). LoRA Studio trains one label for each text.",
        remedy="Choose data with one label for each text, or write the labels as the answer to a question about "
        "the text.",
    ),
    # A text and the prompt that it was written from, as in synthetic textbooks.
    RowShape(
        "prompt_completion",
        {
            "prompt": f":text {' '.join((*PROMPTS, *INSTRUCTIONS))} question query input",
            "completion": ":text text content",
        },
        is_for_training=True, weight=0.6, sure=0.7,
    ),
    # A text in segments, some of which don't train.
    RowShape("text", {"text": "segments:segmented"}, weight=0.5),
    # A query with the text to find. Questions often stand beside one that only helps to answer them.
    RowShape(
        "search_pairs", {"query": "anchor query", "positive": _FOUND, "negative?": _NOT_FOUND}, without=_SIMILARITIES, sure=0.98,
    ),
    RowShape(
        "search_pairs", {"query": _QUERIES, "positive": _FOUND, "negative?": _NOT_FOUND}, without=_SIMILARITIES, sure=0.9,
    ),
    RowShape(
        "search_pairs", {"query": "query", "positive": _PASSAGES, "negative?": _NOT_FOUND},
        without=f"anchor {_FOUND} {_SIMILARITIES}", is_only_answer=True, sure=0.98,
    ),
    RowShape(
        "search_pairs", {"query": "queries", "positive": _PASSAGES, "negative?": _NOT_FOUND},
        without=f"anchor {_FOUND} {_SIMILARITIES}", is_only_answer=True, sure=0.9,
    ),
    RowShape(
        "search_pairs", {"query": "anchor", "positive": _PASSAGES, "negative": _NOT_FOUND},
        without=f"{_FOUND} {_SIMILARITIES}", is_only_answer=True, sure=0.98,
    ),
    RowShape(
        "search_pairs", {"query": _QUERIES, "positive": _PASSAGES, "negative": _NOT_FOUND},
        without=f"{_FOUND} {_SIMILARITIES}", is_only_answer=True, sure=0.9,
    ),
)  # fmt: skip

#: What a column may have to hold, by the word after its name.
_HOLDS: dict[str, Callable[[DataColumn], bool]] = {
    "text": lambda column: column.kind == "text",
    "sentences": lambda column: not column.words and column.is_mostly("phrased"),
    "turns": lambda column: column.kind == "turns",
    "turn": lambda column: column.kind == "turn",
    "list": lambda column: column.kind == "list",
    "texts": lambda column: column.kind == "texts",
    "numbers": lambda column: column.kind == "numbers",
    "asked": lambda column: column.key in (*INSTRUCTIONS, *PROMPTS),
    "question": lambda column: column.kind == "turns" and column.is_mostly("asking"),
    "short": lambda column: not column.is_mostly("phrased") and column.kind in ("text", "number"),
    "signed": lambda column: any(word.startswith("-") for word in column.words),
    "pairs": lambda column: column.is_mostly("paired"),
    "only_pairs": lambda column: column.kind == "texts" and column.traits["paired"] == column.filled,
    "position": lambda column: bool(column.words) and column.words <= {"0", "1"},
    "segmented": lambda column: column.is_mostly("segmented"),
    "ranked": lambda column: column.is_mostly("ranked"),
}  # fmt: skip
_BRACES = re.compile(r"\{([^{}]+)\}")


def find_shapes(columns: Columns) -> list[FormatCandidate]:
    """Return the readings of columns that have one of the shapes."""
    return [
        FormatCandidate(
            shape.format,
            mapping,
            shape.weight,
            shape.sure,
            describe=shape.describe if shape.code else None,
        )
        for shape, mapping in _iter_matches(columns)
        if shape.format is not None
    ]


def refuse_shape(columns: Columns) -> Problem | None:
    """Return why rows of a known shape are refused, None for others."""
    shape, mapping = next(_iter_matches(columns), (None, {}))
    return shape.describe(mapping) if shape is not None and shape.format is None else None


def _iter_matches(columns: Columns) -> Iterator[tuple[RowShape, dict[str, str]]]:
    for shape in SHAPES:
        mapping = _match(shape, columns)
        if mapping is not None:
            yield shape, mapping


def _match(shape: RowShape, columns: Columns) -> dict[str, str] | None:
    """Return the mapping of rows of this shape, None for other rows."""
    mapping: dict[str, str] = {}
    for slot, source in shape.slots.items():
        if source.startswith("@prompt"):
            continue
        if filled := _fill(source, columns):
            mapping[slot.rstrip("?")] = filled
        elif not slot.endswith("?"):
            return None
    if (wanted := shape.slots.get("prompt", "")).startswith("@prompt"):
        others = [item for item in columns if item.name in mapping.values()]
        prompt = find_prompt_slots(columns, besides=tuple(others))
        holds = _HOLDS.get(wanted.partition(":")[2])
        if not any(
            holds is None or holds(item) for item in columns if item.name == prompt.get("prompt")
        ):
            return None
        mapping = prompt | mapping
    if shape.beside and not _find(shape.beside, columns):
        return None
    if _find(shape.without, columns) or (shape.is_for_training and has_other_purpose(columns)):
        return None
    if shape.is_only_answer:
        used = {name.split(".")[0] for path in mapping.values() for name in _list_names(path)}
        if any(column.name not in used for column in find_answers(columns)):
            return None
    return mapping


def _fill(source: str, columns: Columns) -> str:
    """Return the column or the template of a slot, "" if the rows lack a column that it needs."""
    if "{" not in source:
        return _find(source, columns)
    names = {paths: _find(paths.rstrip("?"), columns) for paths in _BRACES.findall(source)}
    if not all(name or paths.endswith("?") for paths, name in names.items()):
        return ""
    filled = _BRACES.sub(lambda place: f"{{{name}}}" if (name := names[place[1]]) else "", source)
    filled = filled.removeprefix(r"\n").removesuffix(r"\n")
    only = [name for name in names.values() if filled == f"{{{name}}}"]
    return only[0] if only else filled


def _find(paths: str, columns: Columns) -> str:
    """Return the first of some paths that the columns have, as they spell it; "" for none."""
    kind, _, rest = paths[1:].partition(" ") if paths.startswith(":") else ("", "", paths)
    for path in rest.split():
        name, _, holds = path.partition(":")
        holds = holds or kind
        if name == "@any":
            found = [item for item in columns if _HOLDS[holds](item)][:1]
        elif name == "@question":
            found = find_questions(columns)[:1]
        else:
            found = _follow(name.split("."), columns)
        if found and (not holds or _HOLDS[holds](found[-1])):
            return ".".join(column.name for column in found)
    return ""


def _follow(names: Sequence[str], columns: Columns) -> list[DataColumn]:
    """Return the column with the first name, its field with the second, and so on; [] without one."""
    if names[0].startswith("#"):  # the first or the second of two texts
        texts = [item for item in columns if item.kind == "text"]
        return [texts[int(names[0][1:]) - 1]] if len(texts) == len(columns) == 2 else []
    key = normalize_name(names[0])
    column = next((item for item in columns if item.key == key and item.filled), None)
    if column is None or len(names) == 1:
        return [column] if column else []
    inner = _follow(names[1:], column.fields)
    return [column, *inner] if inner else []


def _list_names(path: str) -> list[str]:
    """Return the columns in a mapping's value."""
    return _BRACES.findall(path) or [path]


# --- finders ----------------------------------------------------------------------------------


def find_candidates(columns: Columns) -> list[FormatCandidate]:
    """Return all readings, the most specific first; [] if no columns fit any format."""
    finders = (
        _find_shapes, _find_preferences, _find_kto, _find_conversation, _find_question_and_answer, find_classified_texts, _find_text,
    )  # fmt: skip
    # If names say what the columns contain, rows that lack it are faulty: nothing is guessed.
    named = [candidate for finder in finders for candidate in finder(columns)]
    return named or _find_inner(columns) or _guess_candidates(columns)


def _find_shapes(columns: Columns) -> list[FormatCandidate]:
    """Return the readings of rows of known shapes, with the system message and the tools that they have."""
    shapes = []
    kinds = {column.name: column.kind for column in columns}
    for candidate in find_shapes(columns):
        mapping = _find_extras(columns) | candidate.mapping
        answer = FORMATS[candidate.format].answer
        if "answer" in mapping or kinds.get(mapping.get(answer, "")) == "text":
            mapping |= _find_thinking(columns, mapping)
        slots = list_slots(candidate.format)
        mapping = {slot: source for slot, source in mapping.items() if slot in slots}
        shapes.append(replace(candidate, mapping=mapping))
    return shapes


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
        if column.fields and column.key not in formats_columns.METADATA
        for candidate in find_candidates(column.fields)
        if not candidate.guessed
    ]


# --- pairs and labels -------------------------------------------------------------------------


def _find_preferences(columns: Columns) -> list[FormatCandidate]:
    rejected = find_column(columns, formats_columns.REJECTED)
    chosen = find_column(columns, formats_columns.CHOSEN)
    talk = _get_first(find_conversations(columns))
    if rejected is None:
        return _find_compared(columns)
    if chosen is None:
        # A whole conversation and an alternative last answer.
        if talk is None or talk.kind != "turns":
            return []
        mapping = {"chosen": talk.name, "rejected": rejected.name} | _find_extras(columns)
        return [FormatCandidate("preference", mapping, 1.0, 0.9)]
    mapping = {}
    prompt = find_prompt_slots(columns)
    is_whole = chosen.kind == "turns" and not chosen.traits["opened"]
    if prompt and not (is_whole and normalize_name(prompt["prompt"]) not in formats_columns.ASKED):
        # Next to whole conversations, only a column named "prompt" is the prompt.
        mapping = prompt
    elif talk is not None and (chosen.kind != "turns" or chosen.traits["opened"]):
        mapping = {"prompt": talk.name}
    mapping |= {"chosen": chosen.name, "rejected": rejected.name} | _find_extras(columns)
    sure = 0.99 if (chosen.key, rejected.key) == ("chosen", "rejected") else 0.93
    return [FormatCandidate("preference", mapping, 1.0, sure)]


def _find_compared(columns: Columns) -> list[FormatCandidate]:
    """Return the readings of two answer columns and a third that names the preferred one."""
    compared = []
    for slots in find_compared_answers(columns):
        used = tuple(item for item in columns if item.name in slots.values())
        prompt = find_prompt_slots(columns, used) or _find_conversation_slots(columns, used)
        mapping = prompt | slots | _find_extras(columns)
        sure = 0.85 if prompt or used[0].kind == "turns" else 0.6
        compared.append(FormatCandidate("preference", mapping, 1.0, sure))
    return compared


def _find_conversation_slots(columns: Columns, excluded: tuple[DataColumn, ...]) -> dict[str, str]:
    rest = [item for item in columns if item not in excluded]
    history = find_column(rest, formats_columns.HISTORIES, "text", "turns", "list")
    return {"prompt": history.name} if history is not None else {}


def _find_kto(columns: Columns) -> list[FormatCandidate]:
    votes = find_votes(columns)
    label = votes or next(
        (item for item in find_columns(columns, formats_columns.LABELS) if item.is_label), None
    )
    if label is None or find_column(columns, formats_columns.CHOICES, "texts", "object", "list"):
        return []
    answer = _get_first([item for item in find_answers(columns) if item != label])
    talk = _get_first(find_conversations(columns))
    explicit = label.key in ("label", "ktotag", "kto", "thumbs", "thumbsup", "desirable", "isgood")
    sure = 0.97 if explicit else 0.9 if votes else 0.75
    # Votes are more specific than the answers that they judge.
    weight = 0.99 if explicit or votes else 0.85
    if answer is not None and answer.kind in ("text", "turns", "texts", "turn"):
        prompt = find_prompt_slots(columns, besides=(answer, label))
        before = find_column(columns, formats_columns.CHOSEN, "turns")
        if not prompt and before is not None and before.is_mostly("asking"):
            prompt = {"prompt": before.name}
        if not prompt and not explicit:
            # The answers alone would be trained, although another text is probably the question.
            texts = find_free_texts(columns)
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
    answer = _get_first(find_answers(columns)) or _get_first(find_conversations(columns))
    if answer is None or answer.kind not in ("text", "turns", "turn"):
        return []
    prompt = find_prompt_slots(columns, besides=(answer, *ratings)) if answer.kind == "text" else {}
    mapping = prompt | {"completion": answer.name, "label": write_limit(ratings[0])}
    return [FormatCandidate("kto", mapping | _find_extras(columns), 0.2, 0.7)]


# --- conversations ----------------------------------------------------------------------------


def _find_conversation(columns: Columns) -> list[FormatCandidate]:
    conversations = []
    rest = find_conversations(columns)
    for rank, column in enumerate(rest):
        openai = column.kind == "turns" and 2 * column.traits["openai"] > column.kinds["turns"]
        row_format: RowFormat = "messages" if openai else "sharegpt"
        slot = "messages" if openai else "conversations"
        exact = column.key in formats_columns.CONVERSATIONS
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
    choices = find_column(columns, formats_columns.CHOICES, "texts", "object", "list", "text")
    answers = find_answers(columns)
    if choices is not None and (keyed := find_columns(columns, formats_columns.CHOICE_ANSWERS)):
        answers = [*keyed, *(item for item in answers if item not in keyed)]
    keyed = find_columns(columns, formats_columns.CHOICE_ANSWERS)
    template = find_choices_template(columns, keyed[0]) if choices is None and keyed else ""
    if template:
        answers = [keyed[0]]
    elif choices is None:
        answers = prefer_references(columns, answers)
    questions = [item for item in find_questions(columns) if item not in answers]
    if not answers:
        return []
    answer = answers[0]
    questions = [item for item in questions if item != choices]
    if template and not questions:
        questions = find_columns(columns, formats_columns.STEMS)[:1]
    questions = _find_empty_instructions(columns) + questions
    if not questions:
        return _find_continued(columns, answer)
    row_format, mapping = _choose_question_format(columns, questions[0], answer, choices)
    if template:
        row_format, mapping = _with_choices(mapping, questions[0], template)
    slot = FORMATS[row_format].answer
    mapping[slot] = answer.name
    mapping |= _find_extras(columns)
    mapping |= _find_thinking(columns, mapping)
    rivals = _find_rivals(answers, mapping)
    exact = answer.key in formats_columns.ANSWERS and questions[0].key in formats_columns.ASKED
    sure = (0.98 if exact else 0.75) * (0.85 if rivals else 1.0)
    weight = {"alpaca": 0.94, "prompt_completion": 0.92}.get(row_format, 0.9)
    return [FormatCandidate(row_format, mapping, weight, sure, slot, rivals)]


def _find_empty_instructions(columns: Columns) -> list[DataColumn]:
    """Return instruction columns without text: rows with the whole question in the input have this format, too."""
    return [
        item for item in columns if item.key in formats_columns.INSTRUCTIONS and not item.filled
    ]


def _choose_question_format(
    columns: Columns, question: DataColumn, answer: DataColumn, choices: DataColumn | None
) -> tuple[RowFormat, dict[str, str]]:
    """Return the format that fits the question columns, and the slots of the question."""
    rest = [item for item in columns if item not in (question, answer)]
    is_instruction = question.key in formats_columns.INSTRUCTIONS
    find = find_optional_column if is_instruction else find_column
    history = find(rest, formats_columns.HISTORIES, "list", "turns", "texts", "text")
    if is_instruction or history is not None:
        mapping = {"instruction": question.name}
        added = find_optional_column(rest, formats_columns.INPUTS)
        if added is not None and is_instruction:
            mapping["input"] = added.name
        if history is not None:
            mapping["history"] = history.name
        return "alpaca", mapping
    is_prompt = question.key in (*formats_columns.PROMPTS, "input", "inputs") or question.kind in (
        "turns",
        "turn",
    )
    if is_prompt and choices is None:
        return "prompt_completion", {"prompt": question.name}
    mapping = {"question": question.name}
    context = _get_first(find_contexts(rest)) or find_optional_column(
        rest, formats_columns.CONTEXTS
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
    thinking = find_optional_column(columns, formats_columns.THINKING, "text")
    if thinking is None or thinking.name in mapping.values():
        return {}
    is_switch = bool(thinking.words) and thinking.words <= formats_columns.SWITCHES
    return {} if is_switch else {"thinking": thinking.name}


def _find_continued(columns: Columns, answer: DataColumn) -> list[FormatCandidate]:
    """Return the reading of conversations that end with the user, with a column for the answer."""
    talk = _get_first([item for item in find_conversations(columns) if item != answer])
    if talk is None or not talk.is_mostly("asking") or answer.kind not in ("text", "turn"):
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


# --- texts ------------------------------------------------------------------------------------


def _find_text(columns: Columns) -> list[FormatCandidate]:
    column = find_column(columns, formats_columns.TEXTS, "text")
    if column is None or has_other_purpose(columns):
        return []
    questions = [item for item in find_questions(columns) if item.kind == "text" and item != column]
    if column.key in formats_columns.CONTEXTS and questions:
        return []  # a question about the text is a more specific format
    if replies := [item for item in find_replies(columns) if item != column]:
        mapping = {"question": column.name, "answer": replies[0].name}
        return [FormatCandidate("question_answer", mapping, 0.5, 0.4, guessed=True)]
    sure = 0.97 if column.key == "text" else 0.85
    return [FormatCandidate("text", {"text": column.name}, 0.5, sure)]


def _guess_candidates(columns: Columns) -> list[FormatCandidate]:
    """Return the reading of columns with unknown names: question and answer, or one text."""
    extra = formats_columns.TOOLS + formats_columns.SYSTEMS
    texts = [item for item in find_free_texts(columns) if item.key not in extra]
    if has_other_purpose(columns):
        return []
    texts = pick_message_and_reply(texts)
    questions = find_questions(columns)
    is_nested = any(
        item.kind in ("object", "list", "turn") and item.key not in formats_columns.METADATA
        for item in columns
    )
    if len(texts) == 2:
        if not is_nested and (classified := pick_text_and_class(texts)):
            mapping = {"text": classified[0].name, "label": classified[1].name}
            return [FormatCandidate("labeled_text", mapping, 0.3, 0.5, guessed=True)]
        if (
            is_nested
            or (questions and texts[0] not in questions)
            or texts[1].key in formats_columns.CONTEXTS
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
        columns, formats_columns.SYSTEMS, "text", "list", "object", "turn"
    ):
        mapping["system"] = system.name
    if tools := find_optional_column(
        columns, formats_columns.TOOLS, "list", "text", "object", "turns", "texts", "turn"
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
    is_short = reference.kind == "text" and not reference.is_mostly("phrased")
    return is_short and answer.kind == "text" and answer.is_mostly("phrased")


# Columns that belong together: two answers of which a third column prefers one, and a query with the text to
# find.

#: Names of paired columns: response_0 and response_1, answer_a and answer_b.
_SIDE = re.compile(
    r"(response|answer|output|completion|humanref|conversation|summary|generation|candidate|reply|"
    r"chat|messages)(a|b|0|1|2)"
)
#: Columns that name the preferred answer, the most explicit first.
_POINTERS = (
    "betterresponseid", "betterid", "better", "preferred", "preferredresponse", "preference", "winner",
    "comparison", "pairwise", "choice", "chosen", "chosenid", "chosenindex", "selected", "overallpreference", "label", "labels",
)  # fmt: skip
_SCORES = (
    "score", "rating", "reward", "overallscore", "winnermodel", "votes", "upvotes", "likes", "points", "stars",
)  # fmt: skip


def find_chosen_search_pairs(columns: Columns) -> list[FormatCandidate]:
    """Return the reading of columns as pairs for search where the user chose that format.

    It isn't one of `find_candidates`: a question with its answer or its context usually trains answers.
    """
    if named := [item for item in find_shapes(columns) if item.format == "search_pairs"]:
        return named
    by_key = {column.key: column for column in columns}
    for one, other in formats_columns.COMPARED:
        if one in by_key and other in by_key:
            mapping = _map_pair(columns, by_key[one], by_key[other])
            return [FormatCandidate("search_pairs", mapping, 0.2, 0.7)]
    query = find_column(columns, SEARCH_QUERIES) or next(iter(find_questions(columns)), None)
    others = [column for column in columns if column != query]
    named_positive = find_column(others, SEARCH_POSITIVES)
    answers = (
        [named_positive] if named_positive else [*find_answers(others), *find_contexts(others)]
    )
    if query is None or not answers:
        return []
    return [FormatCandidate("search_pairs", _map_pair(columns, query, answers[0]), 0.2, 0.7)]


def _map_pair(columns: Columns, query: DataColumn, positive: DataColumn) -> dict[str, str]:
    mapping = {"query": query.name, "positive": positive.name}
    if (negative := find_column(columns, SEARCH_NEGATIVES)) is not None:
        mapping["negative"] = negative.name
    return mapping


def find_compared_answers(columns: Columns) -> Iterator[dict[str, str]]:
    """Yield the slots `chosen`, `rejected` and `better` for two columns that a third compares."""
    for (one, first), (other, second) in find_column_pairs(columns):
        if scores := _find_scores(columns, one, other):
            yield {"chosen": first.name, "rejected": second.name, "better": scores}
        elif pointer := _find_pointer(columns, one + other):
            if one == "0":  # 1 is the second one
                first, second = second, first
            yield {"chosen": first.name, "rejected": second.name, "better": pointer.name}


def find_column_pairs(
    columns: Columns,
) -> Iterator[tuple[tuple[str, DataColumn], tuple[str, DataColumn]]]:
    """Yield pairs of columns whose names differ only in a final letter or number, with these
    endings.
    """
    stems: dict[str, dict[str, DataColumn]] = {}
    for column in columns:
        match = _SIDE.fullmatch(column.key)
        if match and column.kind in ("text", "turns", "turn", "texts"):
            stems.setdefault(match[1], {})[match[2]] = column
    for _, by_suffix in sorted(stems.items()):
        if "".join(sorted(by_suffix)) in ("ab", "01", "12"):
            one, other = sorted(by_suffix.items())
            yield one, other


def _find_scores(columns: Columns, one: str, other: str) -> str:
    """Return a comparison of two score columns with these endings, "" if there are none."""
    numbers = {column.key: column for column in columns if _is_numeric(column)}
    for name in _SCORES:
        if name + one in numbers and name + other in numbers:
            return f"{{{numbers[name + one].name}}} > {{{numbers[name + other].name}}}"
    return ""


def _is_numeric(column: DataColumn) -> bool:
    """Return whether a column has numbers; those of a CSV file are texts without letters."""
    return column.kind in ("number", "flag") or (
        column.kind == "text" and not column.traits["worded"]
    )


def _find_pointer(columns: Columns, suffixes: str) -> DataColumn | None:
    """Return the column that names the better side, if its values are unambiguous."""
    for name in _POINTERS:
        column = next((item for item in columns if item.key == name and item.words), None)
        if column is None:
            continue
        sides = {word for word in column.words if not is_tie(word)}
        if _is_side_column(column) if suffixes == "ab" else sides <= set(suffixes):
            return column
        if suffixes == "ab" and sides == {"1", "2"}:
            return column
        if suffixes == "12" and _is_side_column(column):
            return column
    return None


def _is_side_column(column: DataColumn) -> bool:
    """Return whether a column's values mean a or b, in any spelling."""
    sides = [word for word in column.words if not is_tie(word)]
    return bool(sides) and all(map(parse_side, sides))


# Columns with labels: classes of texts, votes on answers, which make KTO data, and ratings, which only warn.
#
# Bad answers must never be trained as if they were good, so a column is a vote if its name or its
# values say so, whatever else the row contains.

#: Parts of names of columns with votes, such as `is_correct` or `user_feedback`.
_VOTES = re.compile(
    r"vote|thumb|feedback|liked|^likes?$|correct|^(is)?valid$|^(is)?good|helpful|useful|accept|approv"
    r"|desirable|quality|verdict|^(is|has|tests?)?pass(ed|es)?$|success|satisf|csat|grade|judg|rating|score"
    r"|reward|reaction|evaluation|outcome|bewertung|^(is)?ok$|^(is)?right$"
)
#: Parts of names whose true values say that an answer is bad.
_FLAWS = re.compile(
    r"wrong|incorrect|^(is)?bad|reject|hallucinat|harmful|toxic|unsafe|flagged|refus|dislike|downvot"
)
#: Parts of names of columns with ratings on a scale.
_RATINGS = re.compile(
    r"rating|score|stars|reward|quality|csat|grade|bewertung|helpful|votes?$|likes$|karma|^rank(ing)?$"
)
#: Words for ratings of the whole answer, the likeliest first; others rate one side of it.
_OVERALL = (
    "overall",
    "score",
    "rating",
    "quality",
    "reward",
    "bewertung",
    "grade",
    "helpful",
    "correct",
)
_HIGHEST = 10
#: Values that are votes under any name.
_UNMISTAKABLE = frozenset(
    (
        "thumbs down", "thumbsdown", "👎", "dislike", "disliked", "downvote", "downvoted", "rejected", "incorrect",
        "undesirable", "unhelpful", "not helpful", "unsatisfied", "dissatisfied", "unacceptable",
    )
)  # fmt: skip
#: Values of a column that says whether a text has a label; -1 is for texts without a verdict.
_FLAGS = frozenset(("0", "1", "true", "false", "-1"))
_NEUTRAL = frozenset(("neutral", "none", "mixed", "unknown", "unrated", "skip", "skipped", "n/a"))


def find_votes(columns: Columns) -> DataColumn | None:
    """Return the column whose values say which answers are bad, None if there is none."""
    votes = [column for column in columns if _is_vote(column)]
    return min(votes, key=lambda column: (column.key not in LABELS, column.name), default=None)


def _is_vote(column: DataColumn) -> bool:
    if column.key in ANSWERS or (column.key in CHOICE_ANSWERS and column.key not in LABELS):
        return False
    if column.kind not in ("text", "number", "flag") or not column.words - _NEUTRAL:
        return False
    verdicts = {parse_label(word) for word in column.words - _NEUTRAL}
    if None in verdicts or False not in verdicts:
        return False
    is_named = bool(_VOTES.search(column.key)) and not _FLAWS.search(column.key)
    plain = {re.sub(r"[\s_-]+", " ", word).rstrip("\ufe0f") for word in column.words}
    return is_named or bool(plain & _UNMISTAKABLE)


def find_ratings(columns: Columns) -> list[DataColumn]:
    """Return the columns that rate answers, or flag bad ones, in a way that can't be read as votes.

    Next to a rating, other numbers on a small scale are ratings too. The one that is likeliest to rate the
    whole answer is the first.
    """
    ratings = [column for column in columns if _is_rating(column)]
    if any(column.high > column.low for column in ratings):
        ratings += [
            column
            for column in columns
            if column not in ratings and column.key not in METADATA and _is_on_scale(column)
        ]
    return sorted(ratings, key=_rank_rating)


def _rank_rating(column: DataColumn) -> int:
    ranks = [rank for rank, word in enumerate(_OVERALL) if word in column.key]
    return min(ranks, default=len(_OVERALL))


def _is_on_scale(column: DataColumn) -> bool:
    """Return whether a column has a few whole numbers from 0 to 10."""
    is_whole = bool(column.words) and all(word.isdecimal() for word in column.words)
    return is_whole and column.high <= _HIGHEST and len(column.words) > 1


def _is_rating(column: DataColumn) -> bool:
    is_rating = bool(_RATINGS.search(column.key) or _VOTES.search(column.key))
    is_scale = is_rating and column.kind == "number"
    is_digits = (
        is_rating
        and bool(column.words)
        and all(word.replace(".", "", 1).isdigit() for word in column.words)
    )
    is_flaw = bool(_FLAWS.search(column.key)) and (column.is_label or column.kind == "number")
    return (is_scale or is_digits or is_flaw) and len(column.words) != 1


def write_limit(rating: DataColumn) -> str:
    """Return a label that is good for ratings above the middle of the scale, or flaws below it, as a template."""
    middle = (rating.low + rating.high) / 2
    is_flaw = bool(_FLAWS.search(rating.key))
    return f"{middle:.4g} > {{{rating.name}}}" if is_flaw else f"{{{rating.name}}} > {middle:.4g}"


def find_nested_votes(columns: Columns) -> str | None:
    """Return the path of votes inside an object, such as `metadata.feedback`, None for none."""
    paths = {f"{column.name}.{item.name}": item for column in columns for item in column.fields}
    for path, item in sorted(paths.items()):
        verdicts = {parse_label(word) for word in item.words}
        if False in verdicts and None not in verdicts and _VOTES.search(item.key):
            return path
    return None


# --- classes of texts -------------------------------------------------------------------------


def find_labeled_candidates(columns: Columns) -> list[FormatCandidate]:
    """Return the reading of a text and its class; [] without a column for each.

    It isn't one of `find_candidates`: a column of that name may describe texts of another purpose.
    """
    classes = [
        item
        for item in find_columns(columns, CLASSES)
        if (item.kind in ("text", "number", "flag") and not item.fractions)
        or (item.key in LABELS and item.kind in ("numbers", "texts"))
    ]
    # Names of classes say more than their numbers.
    classes.sort(key=lambda item: item.kind != "text")
    if not classes:
        return _find_flagged_texts(columns)
    if classes[0] in _find_flags(columns) and (flagged := _find_flagged_texts(columns)):
        return flagged
    text = _find_classified_text([item for item in columns if item != classes[0]])
    if text is None:
        return []
    mapping = {"text": text.name, "label": classes[0].name}
    rivals = tuple(item.name for item in classes[1:] if item.kind == classes[0].kind)
    return [FormatCandidate("labeled_text", mapping, 0.2, 0.9, "label", rivals)]


def find_classified_texts(columns: Columns) -> list[FormatCandidate]:
    """Return the reading of a table of texts and their classes, which has no other columns but IDs."""
    if flagged := _find_flagged_texts(columns):
        return flagged
    rest = [item for item in columns if item.filled and not _is_id(item)]
    classes = [item for item in find_columns(rest, CLASSES) if _is_repeated(item)]
    if len(rest) != 2 or len(classes) != 1:
        return []
    text = _find_classified_text([item for item in rest if item not in classes])
    if text is None or _is_repeated(text):
        return []
    mapping = {"text": text.name, "label": classes[0].name}
    return [FormatCandidate("labeled_text", mapping, 0.55, 0.9)]


def pick_text_and_class(texts: Sequence[DataColumn]) -> tuple[DataColumn, DataColumn] | None:
    """Return the text and the class of two columns with unknown names, None if they are something else."""
    for text, label in (texts, texts[::-1]):
        is_class = _is_repeated(label) and not label.is_mostly("phrased")
        if is_class and text.is_mostly("phrased") and not _is_repeated(text):
            return text, label
    return None


def _find_flagged_texts(columns: Columns) -> list[FormatCandidate]:
    """Return the reading of a text with a column of zeros and ones for each label."""
    flags = _find_flags(columns)
    texts = [item for item in find_free_texts(columns) if item not in flags]
    others = [item for item in columns if item.filled and item not in (*flags, *texts)]
    # The flags of a corpus, such as `is_generated`, describe texts that have a path or an address, too.
    is_corpus = all(item.key.startswith(("is", "has")) for item in flags)
    known = [item for item in others if _is_id(item) or (item.key in METADATA and not is_corpus)]
    if not flags or len(texts) != 1 or known != others:
        return []
    if not any(len(item.words) > 1 for item in flags):
        return []
    label = " ".join(f"{{{item.name}}}" for item in flags) if len(flags) > 1 else flags[0].name
    mapping = {"text": texts[0].name, "label": label}
    return [FormatCandidate("labeled_text", mapping, 0.55, 0.9)]


def _find_flags(columns: Columns) -> list[DataColumn]:
    """Return columns that are 0 or 1 in every row."""
    return [
        item
        for item in columns
        if item.words
        and item.words <= _FLAGS
        and item.kind in ("text", "number", "flag")
        and item.key not in METADATA
    ]


def _find_classified_text(columns: Sequence[DataColumn]) -> DataColumn | None:
    phrased = sorted(find_free_texts(columns), key=lambda item: -item.traits["phrased"])
    text = find_column(columns, TEXTS, "text") or next(iter(phrased), None)
    return text or next((item for item in columns if item.kind == "text"), None)


def _is_id(column: DataColumn) -> bool:
    return column.key.endswith("id") or column.key in ("idx", "index", "unnamed0", "split", "uuid")


def _is_repeated(column: DataColumn) -> bool:
    """Return whether a column has at least two values, each of them about three times, as classes do."""
    return column.distinct > 1 and 3 * column.distinct <= column.filled


# Multiple-choice questions: choices in one column or one column each, and the choice an answer
# means.


#: Names of columns that hold one choice each: A, optionB, op3, ending0.
_CHOICE = re.compile(r"(|option|choice|answer|op|sol|ending|alternative|opción)([a-j]|\d)")
#: The fewest choice columns: two columns named like answers may be a preference pair.
_FEWEST = {"answer": 3}


def find_choices_template(columns: Columns, answer: DataColumn) -> str:
    """Return a template of the columns that hold one choice each, labeled the way the answers refer
    to them.

    Returns "" without such columns, or if the answers do not identify a choice.
    """
    stems: dict[str, dict[str, DataColumn]] = {}
    for column in columns:
        match = _CHOICE.fullmatch(column.key)
        if match and column is not answer and column.kind in ("text", "number"):
            stems.setdefault(match[1], {})[match[2]] = column
    for stem, by_suffix in sorted(stems.items()):
        suffixes = sorted(by_suffix)
        has_enough = len(suffixes) >= _FEWEST.get(stem, 2)
        if not (
            has_enough and _is_consecutive(suffixes) and _is_referred_to(answer, stem, suffixes)
        ):
            continue
        labels = _list_labels(answer, suffixes)
        return r"\n".join(
            f"{label}. {{{by_suffix[suffix].name}}}"
            for label, suffix in zip(labels, suffixes, strict=True)
        )
    return ""


def _is_consecutive(suffixes: Sequence[str]) -> bool:
    """Return whether the labels are a, b, c … or consecutive numbers."""
    first = suffixes[0]
    row = range(int(first), 10) if first.isdigit() else "abcdefghij"
    return list(suffixes) == [str(one) for one in row][: len(suffixes)]


def _is_referred_to(answer: DataColumn, stem: str, suffixes: Sequence[str]) -> bool:
    """Return whether answers refer to these columns by letter or number.

    Columns whose names contain "choice" are accepted regardless of the answers.
    """
    numbers = {str(number) for number in range(len(suffixes) + 1)}
    letters = set("abcdefghij"[: len(suffixes)])
    is_label = bool(answer.words) and all(
        word in numbers or set(re.sub(r"[\W_]", "", word)) <= letters for word in answer.words
    )
    return is_label or bool(stem)


def _list_labels(answer: DataColumn, suffixes: Sequence[str]) -> list[str]:
    """Return the labels of choices: letters, or numbers if the answers count from 0 or 1."""
    count = len(suffixes)
    numbers = {int(word) for word in answer.words if word.isdecimal()}
    if numbers and len(numbers) == len(answer.words):
        first = 0 if 0 in numbers else 1 if count in numbers or suffixes[0] == "1" else 0
        if suffixes[0].isdigit() or first:
            return [str(first + offset) for offset in range(count)]
    return list(ascii_uppercase[:count])


#: Columns with the answer to compare with.
_REFERENCES = (
    "reference", "referenceanswer", "references", "groundtruth", "expectedanswer", "finalanswer",
    "answer", "solution", "answers", "target", "output", "response", "completion",
)  # fmt: skip


def find_prompts(columns: Columns) -> list[FormatCandidate]:
    """Return the reading of columns as prompts with an optional reference.

    Of these, only prompts with an answer to compare are in `find_candidates`: where rows have other answers,
    training on them is the usual choice.
    """
    if verifiable := [item for item in find_shapes(columns) if item.format == "prompts"]:
        return verifiable
    questions = find_questions(columns)
    questions.sort(key=lambda item: item.key not in formats_columns.PROMPTS)
    talks = find_conversations(columns)
    prompt = next(iter((*questions, *talks)), None)
    if prompt is None:
        return []
    mapping = {"prompt": prompt.name}
    others = [item for item in columns if item != prompt]
    if (reference := find_column(others, _REFERENCES)) is not None:
        mapping["reference"] = reference.name
    if (system := find_optional_column(others, formats_columns.SYSTEMS, "text")) is not None:
        mapping["system"] = system.name
    sure = 0.9 if prompt.key in (*formats_columns.PROMPTS, *formats_columns.QUESTIONS) else 0.6
    return [FormatCandidate("prompts", mapping, 0.2, sure)]


def has_short_references(columns: Columns) -> bool:
    """Return whether prompts have answers of single words or numbers, which rewards can compare with."""
    names = {item.mapping.get("reference") for item in find_prompts(columns)}
    return any(
        item.name in names
        and item.kind in ("text", "number")
        and 10 * item.traits["phrased"] <= item.filled
        for item in columns
    )
