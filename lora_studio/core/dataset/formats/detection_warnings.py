"""Warnings about a detected mapping: columns that were guessed, and data that is not trained on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lora_studio.core.dataset.formats.column_names import METADATA, NEGATIVE
from lora_studio.core.dataset.formats.columns import Columns, FormatCandidate, profile_columns
from lora_studio.core.dataset.formats.conversion import convert, find_own_reading
from lora_studio.core.dataset.formats.labels import (
    find_nested_votes,
    find_ratings,
    find_votes,
    write_limit,
)
from lora_studio.core.dataset.formats.mapping import (
    SPEAKER,
    fill_slots,
    find_column_names,
    get_column,
    list_columns,
)
from lora_studio.core.dataset.formats.media import find_media_references, is_media_name
from lora_studio.core.dataset.formats.ranking import is_pair, read_label
from lora_studio.core.dataset.formats.speakers import read_as_speaker, warn_about_speaker
from lora_studio.core.dataset.formats.turns import (
    parse_transcript,
    read_conversation,
    read_response,
)
from lora_studio.core.dataset.formats.values import normalize_name, parse_label
from lora_studio.core.dataset.samples import (
    UnusableKind,
    UnusableRow,
    dataset_warning,
    iter_texts,
    quote_names,
)
from lora_studio.core.dataset.spec import FORMATS, RowFormat
from lora_studio.core.messages import Text, counted, listed, text
from lora_studio.core.problems import Problem

Rows = Sequence[Mapping[str, Any]]

#: Rows in which texts are searched.
_LOOKED_AT = 50
#: Markers of the code before and after a gap, and of what fills it, in the spellings of several models.
_GAP = re.compile(
    r"<\|?fim[_-](?:prefix|suffix|middle)\|?>|<｜fim▁(?:begin|hole|end)｜>|<(?:PRE|SUF|MID)>|\[(?:PREFIX|SUFFIX|MIDDLE)\]"
)


def warn_about_mapping(
    candidate: FormatCandidate, sample: Rows, *, has_media: bool = False
) -> Iterator[Problem]:
    """Yield a warning for each part of the mapping that is guessed, and for data that it drops."""
    if candidate.describe and (problem := candidate.describe(candidate.mapping)):
        yield problem
    if candidate.rivals:
        yield dataset_warning(
            "ambiguous_columns",
            "The label is in “{column}”. It could also be in {others}."
            if candidate.rivalled == "label"
            else "The answer is in “{column}”. It could also be in {others}.",
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
    yield from _warn_about_labels(candidate, sample)
    yield from _warn_about_gaps(candidate, sample)
    columns = profile_columns(sample)
    yield from _warn_about_unused_texts(candidate, sample, columns)
    if SPEAKER in candidate.mapping:
        column = candidate.mapping.get("messages") or candidate.mapping.get("conversations", "")
        yield from warn_about_speaker(sample, column, candidate.mapping[SPEAKER])
    yield from _warn_about_shapes(candidate, sample)
    yield from _warn_about_rows(candidate, sample)
    yield from _warn_about_votes(candidate, sample, columns)
    if has_media:
        sample = [row for row in sample if not _has_media(row, candidate)]
    yield from _warn_about_media(sample)


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


def _warn_about_labels(candidate: FormatCandidate, sample: Rows) -> Iterator[Problem]:
    """Yield a warning about texts with several labels at once, which are one label each."""
    names = find_column_names(candidate.mapping.get("label", ""))
    if candidate.format != "labeled_text" or len(names) < 2:
        return
    slots = [fill_slots(row, {"label": candidate.mapping["label"]}) for row in sample]
    labels = Counter(str(item.get("label")) for item in slots)
    yield dataset_warning(
        "several_labels",
        "A text can have several of the labels {columns}. Each combination is a label of its own: {count} in "
        "{rows} rows checked.",
        "To train on one of them alone, map its column to “label”.",
        columns=quote_names(names),
        count=len(labels),
        rows=len(sample),
    )


def _warn_about_unused_texts(
    candidate: FormatCandidate, sample: Rows, columns: Columns
) -> Iterator[Problem]:
    """Yield a warning about texts that aren't used, although most rows have them and no other column does."""
    if FORMATS[candidate.format].task == "grpo":  # its rewards see all columns
        return
    sources = list_columns(candidate.mapping)
    used = {name.split(".")[0] for name in sources}
    has_title = candidate.format == "labeled_text" or candidate.guessed
    names = [
        item.name
        for item in columns
        if item.name not in used
        and item.name not in candidate.rivals
        and item.kind == "text"
        and 2 * item.phrased > len(sample)
        and (item.key not in METADATA or (has_title and item.key == "title"))
        and not is_media_name(item.key)
        and not any(word in item.key for word in NEGATIVE)
        and not any(_repeats(row, item.name, candidate) for row in sample[:_LOOKED_AT])
    ]
    if names:
        yield dataset_warning(
            "unused_texts",
            counted(
                len(names),
                "{columns} contains text that isn't used.",
                "{columns} contain text that isn't used.",
                columns=quote_names(names),
            ),
            "If it belongs to what the model should read or write, map a template with several columns, such as "
            "{example}.",
            example=f"{{{names[0]}}}\\n{{{sources[0]}}}",
        )


def _repeats(row: Mapping[str, Any], name: str, candidate: FormatCandidate) -> bool:
    """Return whether the row's sample contains a text, or the text is a rendering of the sample."""
    try:
        sample = convert(row, candidate.format, candidate.mapping)
    except (UnusableRow, RecursionError):
        return False
    text = str(row.get(name)).strip()
    parts = [part.strip() for part in iter_texts(sample) if part.strip()]
    return any(text in part for part in parts) or all(part in text for part in parts)


def _warn_about_gaps(candidate: FormatCandidate, sample: Rows) -> Iterator[Problem]:
    """Yield a warning about markers of gaps in code, which only some models have."""
    if candidate.describe is not None:
        return
    names = list_columns(candidate.mapping)
    texts = [[value for name in names if isinstance(value := row.get(name), str)] for row in sample]
    marks = [_GAP.search("".join(values)) for values in texts]
    found = [mark[0] for mark in marks if mark]
    if not found:
        return
    is_chat = FORMATS[candidate.format].task != "text"
    yield dataset_warning(
        "fim_tokens",
        counted(
            len(found),
            "{n} row of {rows} checked has markers of a gap to fill in code, such as {mark}. Only some models "
            "have them.",
            "{n} rows of {rows} checked have markers of a gap to fill in code, such as {mark}. Only some models "
            "have them.",
            rows=len(sample),
            mark=found[0],
        ),
        "The rows are trained as a chat. To train on them as they are, choose the format “Plain text”, and map "
        "“text” to {template}."
        if is_chat
        else "Check that your model has these markers, or replace them with its own.",
        template="".join(f"{{{name}}}" for name in names),
    )


def _warn_about_votes(
    candidate: FormatCandidate, sample: Rows, columns: Columns
) -> Iterator[Problem]:
    """Yield a warning about votes that are used, and about judgments of answers that are not."""
    if candidate.format == "kto":
        column = candidate.mapping["label"]
        slots = [fill_slots(row, {"label": column}) for row in sample]
        labels = Counter(read_label(item.get("label")) for item in slots)
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
    unused = [item for item in columns if item.name not in used]
    if votes := find_votes(unused):
        yield _unused_votes_warning(votes.name, sample)
        return
    ratings = find_ratings(unused)
    if ratings and ratings[0].high > ratings[0].low:
        yield dataset_warning(
            "rated_answers",
            counted(
                len(ratings),
                "{columns} may rate the answers. All of them are trained as good answers, whatever it says.",
                "{columns} may rate the answers. All of them are trained as good answers, whatever these say.",
                columns=quote_names(item.name for item in ratings),
            ),
            "To learn from good and bad answers (KTO), choose the format “{kto}”. Answers are then good where "
            "{label}. To imitate only good ones, remove the rows with bad ones.",
            kto=Text(template=FORMATS["kto"].title),
            label=write_limit(ratings[0]),
        )
        return
    name = ratings[0].name if ratings else find_nested_votes(sample)
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


def _warn_about_media(sample: Rows) -> Iterator[Problem]:
    """Yield a warning about images that the texts may be about, but that are not trained on."""
    shares = find_media_references(sample)
    if shares:
        yield dataset_warning(
            "media_ignored",
            counted(
                len(shares),
                "{columns} refers to images, audio, or video in {share:percent} of the rows checked. "
                "Training uses the text only.",
                "{columns} refer to images, audio, or video in {share:percent} of the rows checked. "
                "Training uses the text only.",
                columns=quote_names(shares),
                share=max(shares.values()),
            ),
            "Use these rows only if their texts make sense without what they refer to.",
        )


def _has_media(row: Mapping[str, Any], candidate: FormatCandidate) -> bool:
    """Return whether a row is skipped because it contains images, audio, or video."""
    try:
        convert(row, candidate.format, candidate.mapping)
    except UnusableRow as verdict:
        return verdict.kind is UnusableKind.MEDIA
    return False


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
    return sum(_has_several_texts(get_column(row, name)) for row in sample) if name else 0


def _has_several_texts(value: Any) -> bool:
    """Return whether a value is a list of different texts."""
    if not isinstance(value, list):
        return False
    if all(isinstance(text, str) for text in value):
        return len({text for text in value if text.strip()}) > 1
    return len(value) > 1 and read_response(value) is not value


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
