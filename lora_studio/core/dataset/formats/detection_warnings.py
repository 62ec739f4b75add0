"""Warnings about a detected mapping: columns that were guessed, and data that is not trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lora_studio.core.dataset.formats.columns import FormatCandidate, profile_columns
from lora_studio.core.dataset.formats.conversion import find_own_reading
from lora_studio.core.dataset.formats.labels import find_nested_votes, find_ratings, find_votes
from lora_studio.core.dataset.formats.mapping import SPEAKER, fill_slots
from lora_studio.core.dataset.formats.ranking import is_pair
from lora_studio.core.dataset.formats.speakers import read_as_speaker, warn_about_speaker
from lora_studio.core.dataset.formats.turns import parse_transcript, read_conversation
from lora_studio.core.dataset.formats.unsupported import find_media_references
from lora_studio.core.dataset.formats.values import normalize_name, parse_label
from lora_studio.core.dataset.samples import UnusableRow, dataset_warning, quote_names
from lora_studio.core.dataset.spec import FORMATS, RowFormat
from lora_studio.core.messages import Text, counted, listed, text
from lora_studio.core.problems import Problem

Rows = Sequence[Mapping[str, Any]]


def warn_about_mapping(candidate: FormatCandidate, sample: Rows) -> Iterator[Problem]:
    """Yield a warning for each part of the mapping that is guessed, and for data that it drops."""
    if candidate.rivals:
        yield dataset_warning(
            "ambiguous_columns",
            "The answer is in “{column}”. It could also be in {others}.",
            "If so, map that column to “{slot}”.",
            column=candidate.mapping[candidate.rivalled],
            others=quote_names(candidate.rivals, "or"),
            slot=candidate.rivalled,
        )
    if candidate.guessed:
        uses = [
            text("“{column}” is used as {slot}", column=name, slot=slot)
            for slot, name in candidate.mapping.items()
        ]
        yield dataset_warning(
            "guessed_columns",
            "The column names don't say what the columns contain: {uses}.",
            "Check the rows, and map other columns if this is wrong.",
            uses=listed(uses),
        )
    if _is_paired_by_order(candidate, sample):
        yield dataset_warning(
            "first_is_better",
            "“{column}” contains two answers to each prompt. The first one is used as the preferred answer.",
            "If they are not pairs, choose another format. Then only the first answer is used.",
            column=candidate.mapping["chosen"],
        )
    if SPEAKER in candidate.mapping:
        column = candidate.mapping.get("messages") or candidate.mapping.get("conversations", "")
        yield from warn_about_speaker(sample, column, candidate.mapping[SPEAKER])
    yield from _warn_about_shapes(candidate, sample)
    yield from _warn_about_votes(candidate, sample)
    yield from _warn_about_media(candidate, sample)
    yield from _warn_about_rows(candidate, sample)


def _warn_about_shapes(candidate: FormatCandidate, sample: Rows) -> Iterator[Problem]:
    """Yield a warning about rows whose columns differ from the mapped ones."""
    readings = [find_own_reading(row, candidate.format, candidate.mapping) for row in sample]
    others = [reading[0] for reading in readings if reading is not None]
    if others:
        yield dataset_warning(
            "mixed_shapes",
            counted(
                len(others),
                "{n} row of {rows} checked has other columns. It is read as {formats}.",
                "{n} rows of {rows} checked have other columns. They are read as {formats}.",
                rows=len(sample),
                formats=_list_formats(others),
            ),
            "Check some of them under Rows.",
        )


def _warn_about_votes(candidate: FormatCandidate, sample: Rows) -> Iterator[Problem]:
    """Yield a warning about votes that are used, and about judgments of answers that are not."""
    if candidate.format == "kto":
        column = candidate.mapping["label"]
        labels = Counter(parse_label(row.get(column)) for row in sample)
        if normalize_name(column) not in ("label", "ktotag", "kto"):
            yield dataset_warning(
                "votes",
                "“{column}” is used as votes on the answers: {good} good and {bad} bad in {rows} rows checked. "
                "Training makes good answers likelier and bad ones less likely (KTO).",
                "If it doesn't judge the answers, choose another format. Then all of them are imitated.",
                column=column,
                good=labels[True],
                bad=labels[False],
                rows=len(sample),
            )
        return
    if FORMATS[candidate.format].task != "sft":
        return
    used = set(candidate.mapping.values())
    unused = [item for item in profile_columns(sample) if item.name not in used]
    if votes := find_votes(unused):
        yield _unused_votes_warning(votes.name, sample)
        return
    ratings = find_ratings(unused)
    name = ratings.name if ratings is not None else find_nested_votes(sample)
    if name is not None:
        yield dataset_warning(
            "rated_answers",
            "“{column}” may rate the answers. All of them are trained as good answers, whatever it says.",
            "If it does, remove the rows with bad answers, or add a column “label” that is true for good "
            "answers and false for bad ones, to train with KTO.",
            column=name,
        )


def _unused_votes_warning(column: str, sample: Rows) -> Problem:
    labels = Counter(parse_label(row.get(column)) for row in sample)
    return dataset_warning(
        "unused_votes",
        "“{column}” judges {voted} of {rows} answers checked, {bad} of them as bad. All answers are "
        "trained as good ones, whatever it says.",
        "To learn from the judged answers only, good and bad, choose the format “{kto}”. To imitate only "
        "good ones, remove the rows with bad ones.",
        column=column,
        voted=labels[True] + labels[False],
        bad=labels[False],
        rows=len(sample),
        kto=Text(template=FORMATS["kto"].title),
    )


def _warn_about_media(candidate: FormatCandidate, sample: Rows) -> Iterator[Problem]:
    """Yield a warning about images that the texts may be about, but that are not trained on."""
    if names := find_media_references(sample):
        yield dataset_warning(
            "media_ignored",
            counted(
                len(names),
                "{columns} refers to images, audio, or video. LoRA Studio trains on text only.",
                "{columns} refer to images, audio, or video. LoRA Studio trains on text only.",
                columns=quote_names(names),
            ),
            "Use these rows only if their texts make sense without what they refer to.",
        )


def _warn_about_rows(candidate: FormatCandidate, sample: Rows) -> Iterator[Problem]:
    """Yield warnings about parts of rows that are not trained on or that are guessed."""
    if several := _count_answer_lists(candidate, sample):
        yield dataset_warning(
            "several_answers",
            counted(
                several,
                "{n} row of {rows} checked has several answers. Only the first one is used.",
                "{n} rows of {rows} checked have several answers. Only the first one is used.",
                rows=len(sample),
            ),
            "To train on all of them, write one row for each answer.",
        )
    if candidate.format == "preference" and _is_prompt_split_off(candidate.mapping, sample):
        yield dataset_warning(
            "implicit_prompt",
            "No column contains the prompt. The text that both answers start with is used as the prompt.",
            "If a column has the prompts, map it to “prompt”.",
        )
    if unanswered := sum(_is_unanswered(row, candidate) for row in sample):
        yield dataset_warning(
            "unanswered_turns",
            counted(
                unanswered,
                "{n} conversation of {rows} checked continues after the last answer.",
                "{n} conversations of {rows} checked continue after the last answer.",
                rows=len(sample),
            ),
            "Turns after the last answer are ignored: they have no answer to learn.",
        )


def _is_paired_by_order(candidate: FormatCandidate, sample: Rows) -> bool:
    """Return whether only the order of two answers says which one is preferred."""
    mapping = candidate.mapping
    name = mapping.get("chosen", "")
    is_one = candidate.format == "preference" and mapping.get("rejected") == name
    return is_one and "better" not in mapping and any(is_pair(row.get(name)) for row in sample)


def _count_answer_lists(candidate: FormatCandidate, sample: Rows) -> int:
    """Return how many rows contain a list of different answers."""
    slots = {"alpaca": "output", "prompt_completion": "completion", "question_answer": "answer"}
    name = candidate.mapping.get(slots.get(candidate.format, ""), "")
    return sum(_has_several_texts(row.get(name)) for row in sample) if name else 0


def _has_several_texts(value: Any) -> bool:
    """Return whether a value is a list of different texts."""
    is_list = isinstance(value, list) and all(isinstance(text, str) for text in value)
    return is_list and len({text for text in value if text.strip()}) > 1


def _is_unanswered(row: Mapping[str, Any], candidate: FormatCandidate) -> bool:
    """Return whether the conversation of a row continues after its last answer."""
    if candidate.format not in ("messages", "sharegpt"):
        return False
    try:
        slots = fill_slots(row, candidate.mapping)
        value = slots.get("messages", slots.get("conversations"))
        turns = read_conversation(
            read_as_speaker(value, slots[SPEAKER]) if SPEAKER in slots else value
        )
    except (UnusableRow, RecursionError):
        return False
    return any(turn.role == "assistant" for turn in turns) and turns[-1].role != "assistant"


def _is_prompt_split_off(mapping: Mapping[str, str], sample: Rows) -> bool:
    """Return whether most prompts are the shared beginning of two texts, which may be a
    coincidence.
    """
    if "prompt" in mapping:
        return False
    sides = [row.get(mapping["chosen"]) for row in sample]
    plain = [side for side in sides if isinstance(side, str) and parse_transcript(side) is None]
    return 2 * len(plain) > len(sides)


def _list_formats(formats: Sequence[RowFormat]) -> Text:
    titles = (FORMATS[item].title for item in dict.fromkeys(sorted(formats)))
    return listed([text("“{title}”", title=Text(template=title)) for title in titles])
