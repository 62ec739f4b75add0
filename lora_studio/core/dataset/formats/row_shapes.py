"""Row shapes that one of their columns gives away: a table of where each slot of a format is.

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
from dataclasses import dataclass

from lora_studio.core.dataset.formats.columns import (
    INSTRUCTIONS,
    PROMPTS,
    RATINGS,
    REJECTED,
    SEARCH_NEGATIVES,
    SEARCH_POSITIVES,
    SEARCH_QUERIES,
    SEVERAL,
    Columns,
    DataColumn,
    FormatCandidate,
    find_answers,
    find_prompt_slots,
    find_questions,
    has_other_purpose,
)
from lora_studio.core.dataset.formats.values import normalize_name
from lora_studio.core.dataset.spec import RowFormat
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
