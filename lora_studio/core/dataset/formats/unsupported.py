"""What cannot be trained on, recognised by its columns and refused with the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lora_studio.core.dataset.formats import columns as formats_columns
from lora_studio.core.dataset.formats.columns import Columns, DataColumn, first, named
from lora_studio.core.dataset.formats.paired_columns import couples
from lora_studio.core.dataset.formats.turns import style_of
from lora_studio.core.dataset.formats.values import MEDIA_KEYS
from lora_studio.core.dataset.samples import refused
from lora_studio.core.formatting import listed
from lora_studio.core.problems import Problem

Rows = Sequence[Mapping[str, Any]]

_STEPS = ("completions", "steps", "stepwise", "solutions", "trajectory")
_STEP_LABELS = ("labels", "stepwiselabels", "ratings", "steplabels", "rewards")
_TOKENS = ("inputids", "tokenids", "tokens", "attentionmask", "inputidschosen", "promptinputids")
_COLUMNS_SHOWN = 12


def of_shape(rows: Rows, columns: Columns) -> Problem | None:
    """Why these rows are refused although some column could be read as an answer."""
    for kind in (_media, _stepwise):
        if problem := kind(rows, columns):
            return problem
    return None


def of_rest(rows: Rows, columns: Columns) -> Problem:
    """Why rows that no format fits cannot be trained on."""
    for kind in (
        _asked_turns, _single_turns, _languages, unclear_pairs, _embeddings, _classes,
        _tokens, _questions_alone,
    ):  # fmt: skip
        if problem := kind(rows, columns):
            return problem
    shown = [column.name for column in columns if column.filled][:_COLUMNS_SHOWN]
    return refused(
        "unknown_format",
        f"The rows have none of the known shapes. Their columns are: {', '.join(shown) or 'none'}.",
        "Choose a format and say which column holds what, or rename the columns: instruction and "
        "output, messages, prompt and completion, question and answer, text, or prompt, chosen and "
        "rejected.",
    )


def empty() -> Problem:
    """The problem of a source without a row that can be read."""
    return refused("no_rows", "There is no row in it.", "Choose data with rows.")


def _media(rows: Rows, columns: Columns) -> Problem | None:
    held = [item for item in columns if item.key in MEDIA_KEYS and item.kinds["media"]]
    if not any(2 * item.kinds["media"] > len(rows) for item in held):
        return None
    return refused(
        "media",
        f"The rows come with images, sound or film ({_named(held)}), which language models trained "
        "here do not see.",
        "Choose data of text alone, or remove these columns if the text is enough.",
    )


def _stepwise(rows: Rows, columns: Columns) -> Problem | None:
    steps = first(columns, _STEPS, "texts", "list", "turns")
    labels = first(columns, _STEP_LABELS, "flags", "numbers")
    if steps is None:
        return None
    inner = _share(rows, steps.name, _is_labelled)
    if inner <= 0.5 and (labels is None or _parallel(rows, steps.name, labels.name) <= 0.5):
        return None
    return refused(
        "stepwise",
        f"Every step of an answer has a label of its own (stepwise supervision, {_named([steps])}). "
        "That trains a reward model, which is not done here.",
        "Choose data with one answer to a prompt, or with a better and a worse one.",
    )


def _single_turns(rows: Rows, columns: Columns) -> Problem | None:
    if not formats_columns.is_single_turn(columns):
        return None
    return refused(
        "single_turns",
        "Each row is a single turn with its role, so no row holds a question with its answer.",
        'Put the turns of a conversation into one row: {"messages": [{"role": …, "content": …}, …]}.',
    )


def _languages(rows: Rows, columns: Columns) -> Problem | None:
    """The same text in two languages, and no word on which is the answer."""
    held = first(columns, ("translation", "translations"), "object")
    one = next((row[held.name] for row in rows if held and row.get(held.name)), None)
    if held is None or not isinstance(one, dict) or len(one) < 2:
        return None
    asked, answer = [f"{held.name}.{name}" for name in list(one)[:2]]
    return refused(
        "languages",
        f"Each row is one text in several languages ({_named([held])}), and which of them is the "
        "answer is not said.",
        f"Choose the format “Question and answer” and map question to {asked} and answer to {answer}, "
        "or the other way round.",
    )


def unclear_pairs(rows: Rows, columns: Columns) -> Problem | None:
    """Two answers side by side, and no column of which the better one could be told surely."""
    asked = formats_columns.questions(columns) or formats_columns.conversations(columns)
    if not asked or not (found := next(couples(columns), None)):
        return None
    (_, first_one), (_, other) = found
    return refused(
        "unclear_pair",
        f"There are two answers to a prompt ({_named([first_one, other])}), and which of them is the "
        "better one is not said in a way that has one meaning.",
        f"Choose the format “Preference”, map chosen to {first_one.name}, rejected to {other.name}, and "
        f"better to a column that is 1 or true where {first_one.name} is the better one, or to two "
        "columns of scores in braces with > between them.",
    )


def _embeddings(rows: Rows, columns: Columns) -> Problem | None:
    if not formats_columns.is_compared(columns):
        return None
    return refused(
        "embeddings",
        "The rows compare texts with one another or hold their vectors. That trains an embedding "
        "model, which is not done here.",
        "Choose data with questions and answers, conversations or plain text.",
    )


def _classes(rows: Rows, columns: Columns) -> Problem | None:
    held = named(columns, formats_columns.CLASSES)
    if not held or not any(item.kind == "text" for item in columns):
        return None
    return refused(
        "classification",
        f"The rows give texts a class ({_named(held[:1])}). That trains a classifier; a language "
        "model needs answers in words.",
        "To train on it all the same, choose the format “Question and answer” and say which columns "
        "are the question and the answer.",
    )


def _tokens(rows: Rows, columns: Columns) -> Problem | None:
    held = [item for item in named(columns, _TOKENS) if item.kind in ("numbers", "number")]
    if not held or (len(held) == 1 and held[0].kind == "number"):
        return None
    return refused(
        "tokenised",
        f"The rows are tokens already ({_named(held)}), made with a tokenizer that may be another "
        "than your model’s.",
        "Choose the data as text, from before it was tokenised.",
    )


def _asked_turns(rows: Rows, columns: Columns) -> Problem | None:
    held = first(columns, ("turns",), "texts")
    return None if held is None else _prompts_only([held])


def _questions_alone(rows: Rows, columns: Columns) -> Problem | None:
    held = formats_columns.questions(columns) or formats_columns.conversations(columns)
    return _prompts_only(held) if held else None


def _prompts_only(held: Sequence[DataColumn]) -> Problem:
    return refused(
        "prompts_only",
        f"There are prompts ({_named(held[:1])}) but no answers to them, so there is nothing to learn.",
        "Add a column with the answers. If one has them under another name, choose a format and map "
        "that column to its answer.",
    )


def _share(rows: Rows, name: str, holds: Callable[[Any], bool]) -> float:
    return sum(holds(row.get(name)) for row in rows) / max(1, len(rows))


def _is_labelled(value: Any) -> bool:
    """Whether a value is a list of steps, each an object with a rating of its own."""
    return (
        isinstance(value, list)
        and bool(value)
        and style_of(value) is None
        and all(
            isinstance(item, dict) and {"label", "rating", "correct"} & set(item) for item in value
        )
    )


def _parallel(rows: Rows, steps: str, labels: str) -> float:
    def alike(row: Mapping[str, Any]) -> bool:
        one, other = row.get(steps), row.get(labels)
        return isinstance(one, list) and isinstance(other, list) and len(one) == len(other) > 0

    return sum(map(alike, rows)) / max(1, len(rows))


def _named(columns: Sequence[DataColumn]) -> str:
    noun = "column" if len(columns) == 1 else "columns"
    return f"{noun} {listed([f'“{column.name}”' for column in columns])}"
