"""Detect the format of rows: which column fills which slot, with a confidence and the evidence.

Every candidate reading of the columns is tried on the rows. The share of rows that it converts
decides, together with how specific it is (a pair of answers is more specific than its parts). The
result does not depend on the order of rows or on unknown columns.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from lora_studio.core.dataset.formats.candidates import (
    find_candidates,
    find_column_pairs,
    find_judged_answers,
    find_labeled_candidates,
    find_nested_votes,
    find_ratings,
    find_votes,
    has_short_references,
    refuse_shape,
    write_limit,
)
from lora_studio.core.dataset.formats.columns import (
    CLASSES,
    METADATA,
    NEGATIVE,
    SPEAKER,
    Columns,
    DataColumn,
    FormatCandidate,
    check_mapping,
    fill_slots,
    find_column,
    find_column_names,
    find_columns,
    find_conversations,
    find_free_texts,
    find_questions,
    get_column,
    is_compared,
    is_single_turn,
    list_columns,
    list_required_slots,
    profile_columns,
)
from lora_studio.core.dataset.formats.conversion import (
    FINDERS,
    convert,
    find_own_reading,
    without_media,
)
from lora_studio.core.dataset.formats.speakers import (
    check_speaker,
    choose_speaker,
    list_people,
    read_as_speaker,
    warn_about_speaker,
)
from lora_studio.core.dataset.formats.turns import (
    detect_style,
    parse_transcript,
    read_conversation,
    read_response,
)
from lora_studio.core.dataset.formats.values import (
    find_media_references,
    is_media_name,
    is_pair,
    normalize_name,
    parse_label,
    read_label,
)
from lora_studio.core.dataset.spec import FORMATS, Repair, RowFormat
from lora_studio.core.messages import Template, Text, counted, listed, text
from lora_studio.core.problems import Fix, Problem
from lora_studio.core.tasks.samples import (
    TaskName,
    UnusableKind,
    UnusableRow,
    dataset_error,
    dataset_warning,
    iter_texts,
    quote_names,
)
from lora_studio.core.tasks.table import TASKS

__all__ = ["FormatVerdict", "convert", "detect"]

#: Rows to try a candidate on: 500 rows estimate a share to within four percent, in 0.1 s.
_TRIED_ROWS = 500
#: The most column sets to profile separately.
_MOST_COLUMN_SETS = 5
#: Answers are read as labeled if at least this share has a label: most people don't vote.
_MIN_LABELED = 0.5
#: Candidates that convert a smaller share of rows are dropped.
_MIN_SHARE = 0.02

Rows = Sequence[Mapping[str, Any]]
Explanation = Callable[[Rows, Columns], Problem | None]


@dataclass(frozen=True)
class FormatVerdict:
    """The detected format of rows; `format` and `task` are None for data that can't be trained on.

    `mapping` maps slots to columns or templates. `confidence` is 0 to 1. `evidence` is one
    sentence. `others` are other formats that fit, the likeliest first. A problem of severity
    `error` says why the data is refused. `people` are those who write in exported chats.
    """

    format: RowFormat | None
    task: TaskName | None
    mapping: dict[str, str]
    confidence: float
    evidence: Text
    others: tuple[RowFormat, ...] = ()
    problems: tuple[Problem, ...] = ()
    people: tuple[str, ...] = ()


def detect(
    rows: Iterable[Any],
    columns: Iterable[str] = (),
    chosen: Literal["auto"] | RowFormat = "auto",
    mapping: Mapping[str, str] | None = None,
    fixes: Sequence[Repair] = (),
) -> FormatVerdict:
    """Return the format of sample rows of one source. Never raises.

    `rows` should be spread over the whole source; items that are not objects are ignored. `columns`
    names all columns in the source's order. `chosen` and `mapping` are the user's choices: the
    format and the mapped slots are used as given, and the other slots are detected. `fixes`
    are the repairs of the dataset.
    """
    sample = _pick_spread_rows([row for row in rows if isinstance(row, dict)])
    if "remove_media" in fixes:
        sample = [without_media(row) for row in sample]
    people = list_people(sample)
    verdict = _detect(sample, columns, chosen, dict(mapping or {}), people, fixes)
    return replace(verdict, people=people) if people else verdict


def _detect(
    sample: Rows,
    columns: Iterable[str],
    chosen: Literal["auto"] | RowFormat,
    user_mapping: dict[str, str],
    people: tuple[str, ...],
    fixes: Sequence[Repair],
) -> FormatVerdict:
    profiles = profile_columns(sample, columns)
    if not sample:
        return _refuse(
            dataset_error("no_rows", "The dataset has no rows.", "Choose data with rows.")
        )
    candidates = _collect_candidates(sample, profiles, columns)
    if people:
        speaker = choose_speaker(sample, people)
        candidates = [_with_speaker(candidate, speaker) for candidate in candidates]
    trials = [_Trial.run(sample, candidate) for candidate in candidates]
    if chosen != "auto" and chosen in FINDERS:
        trials = [_Trial.run(sample, item) for item in FINDERS[chosen](profiles)]
    if chosen != "auto" or user_mapping:
        return _apply_choice(sample, profiles, trials, chosen, user_mapping, people, fixes)
    if problem := refuse_shape(profiles) or _STEPWISE(sample, profiles):
        return _refuse(problem)
    fitting = sorted((item for item in trials if item.share >= _MIN_SHARE), key=_Trial.rank)
    if not fitting:
        return _read_labeled_text(sample, profiles, fixes) or _refuse(
            _explain_no_fit(sample, profiles, trials, fixes)
        )
    return _build_verdict(fitting[0], sample, fixes, _list_others(fitting, profiles))


@dataclass(frozen=True)
class _Trial:
    """A candidate and its outcome: the rows converted, and the reasons why others weren't."""

    candidate: FormatCandidate
    rows: int
    used: int
    reasons: Counter[tuple[UnusableKind, Text]]

    @classmethod
    def run(cls, rows: Rows, candidate: FormatCandidate, *, is_strict: bool = True) -> _Trial:
        """Convert the rows; if not `is_strict`, those of other shapes are read by their own columns."""
        reasons: Counter[tuple[UnusableKind, Text]] = Counter()
        for row in rows:
            try:
                convert(row, candidate.format, candidate.mapping, is_strict=is_strict)
            except UnusableRow as verdict:
                reasons[verdict.kind, verdict.reason] += 1
        return cls(candidate, len(rows), len(rows) - reasons.total(), reasons)

    @property
    def share(self) -> float:
        return self.used / self.rows

    @property
    def with_media(self) -> int:
        """Return the number of rows that contain media."""
        kind = UnusableKind.MEDIA
        return sum(count for (reason, _), count in self.reasons.items() if reason is kind)

    @property
    def main_reason(self) -> tuple[UnusableKind, Text]:
        """Return the most frequent reason; ties are broken alphabetically."""
        return min(self.reasons, key=lambda entry: (-self.reasons[entry], str(entry[1])))

    def rank(self) -> tuple[float, float, int, str, str]:
        """Return a sort key, the best first, independent of the order of rows and columns.

        Among candidates that convert equally many rows, the one that maps the most columns wins:
        the others drop data that some rows have.
        """
        candidate = self.candidate
        score = candidate.weight * (self.used + self._count_unjudged()) / self.rows
        slots = str(sorted(candidate.mapping.items()))
        return -round(score, 6), -candidate.sure, -len(candidate.mapping), candidate.format, slots

    def _count_unjudged(self) -> int:
        """Return the number of rows that fit, but whose two answers are equally good, or without a label."""
        if self.candidate.format == "kto" and self.share < _MIN_LABELED:
            return 0
        kind = UnusableKind.NO_PREFERENCE
        return sum(count for (reason, _), count in self.reasons.items() if reason is kind)


def _collect_candidates(
    sample: Rows, columns: Sequence[DataColumn], order: Iterable[str]
) -> list[FormatCandidate]:
    """Return the candidates of all columns and of the most common column sets, without duplicates."""
    order = list(order)
    collected = find_candidates(columns)
    column_sets = Counter(frozenset(row) for row in sample)
    if len(column_sets) > 1:
        commonest = sorted(column_sets, key=lambda names: (-column_sets[names], sorted(names)))
        for names in commonest[:_MOST_COLUMN_SETS]:
            alike = [row for row in sample if frozenset(row) == names]
            collected += find_candidates(
                profile_columns(alike, [name for name in order if name in names])
            )
    unique: dict[tuple[str, str], FormatCandidate] = {}
    for candidate in collected:
        unique.setdefault((candidate.format, str(sorted(candidate.mapping.items()))), candidate)
    return list(unique.values())


def _with_speaker(candidate: FormatCandidate, speaker: str) -> FormatCandidate:
    """Return a reading of exported chats as conversations with the messages of one person as the answers."""
    if candidate.format not in ("messages", "sharegpt"):
        return candidate
    return replace(candidate, mapping={**candidate.mapping, SPEAKER: speaker})


def _read_labeled_text(
    sample: Rows, columns: Sequence[DataColumn], fixes: Sequence[Repair]
) -> FormatVerdict | None:
    """Return the verdict for rows that no other format fits and that only assign classes to texts."""
    if any(explain(sample, columns) for explain in _OTHER_PURPOSES):
        return None
    for candidate in find_labeled_candidates(columns):
        trial = _Trial.run(sample, candidate)
        return _build_verdict(trial, sample, fixes) if trial.share >= _MIN_SHARE else None
    return None


def _list_others(fitting: Sequence[_Trial], columns: Sequence[DataColumn]) -> tuple[RowFormat, ...]:
    best = fitting[0].candidate.format
    others = [
        item.candidate.format
        for item in fitting[1:]
        if item.share >= 0.5 and not item.candidate.guessed
    ]
    is_imitated = TASKS[FORMATS[best].task].imitates_answers
    if is_imitated and find_judged_answers(columns):
        others.append("kto")
    loses_text = {"choices", "context"} & fitting[0].candidate.mapping.keys()
    if is_imitated and not loses_text and has_short_references(columns):
        others.append("prompts")
    if best == "text" and find_labeled_candidates(columns):
        others.append("labeled_text")
    return tuple(dict.fromkeys(item for item in others if item != best))


def _build_verdict(
    best: _Trial, sample: Rows, fixes: Sequence[Repair], others: tuple[RowFormat, ...] = ()
) -> FormatVerdict:
    candidate = best.candidate
    trial = best
    if best.used < best.rows:
        trial = _Trial.run(sample, candidate, is_strict=False)
    problems = list(warn_about_mapping(candidate, sample, has_media=bool(trial.with_media)))
    if trial.with_media:
        problems.append(describe_media(trial.with_media, sample, fixes, is_all=False))
    return FormatVerdict(
        format=candidate.format,
        task=FORMATS[candidate.format].task,
        mapping=dict(candidate.mapping),
        confidence=round(candidate.sure * trial.share, 2),
        evidence=_describe_evidence(best),
        others=others,
        problems=tuple(problems),
    )


def _describe_evidence(best: _Trial) -> Text:
    candidate, rows = best.candidate, best.rows
    read = list_columns(candidate.mapping)
    share = (
        text("the only row checked")
        if rows == best.used == 1
        else text("all {rows} rows checked", rows=rows)
        if rows == best.used
        else text(
            "{used} of {rows} rows checked ({share:percent})",
            used=best.used,
            rows=rows,
            share=best.share,
        )
    )
    return counted(
        len(read),
        "Column {columns} fits “{format}” in {share}.",
        "Columns {columns} fit “{format}” in {share}.",
        columns=quote_names(read),
        format=Text(template=FORMATS[candidate.format].title),
        share=share,
    )


# --- chosen by the user -----------------------------------------------------------------------


def _apply_choice(
    sample: Rows,
    columns: Sequence[DataColumn],
    trials: Sequence[_Trial],
    chosen: Literal["auto"] | RowFormat,
    user_mapping: dict[str, str],
    people: Sequence[str],
    fixes: Sequence[Repair],
) -> FormatVerdict:
    """Return the verdict for a format or mapping that the user chose."""
    names = [column.name for column in columns]
    row_format = _choose_format(chosen, user_mapping, trials)
    if row_format is None:
        return _refuse(_describe_unknown_slots(user_mapping))
    detected = next(
        (
            item.candidate
            for item in sorted(trials, key=_Trial.rank)
            if item.candidate.format == row_format
        ),
        None,
    )
    mapping = {**(detected.mapping if detected else {}), **user_mapping}
    mapping = {slot: source for slot, source in mapping.items() if source}
    problems = check_mapping(row_format, user_mapping, names)
    missing = [slot for slot in list_required_slots(row_format) if slot not in mapping]
    if missing:
        problems.append(_describe_missing_slots(row_format, missing, names))
    if problems:
        return _refuse(*problems, mapping=mapping)
    sure = 1.0 if user_mapping or detected is None else detected.sure
    trial = _Trial.run(sample, FormatCandidate(row_format, mapping, 1.0, sure))
    if not trial.used:
        problem = check_speaker(mapping.get(SPEAKER, ""), people)
        if problem is None and trial.with_media:
            problem = describe_media(trial.with_media, sample, fixes, is_all=True)
        problem = problem or _describe_unusable(row_format, trial.main_reason[1])
        return _refuse(problem, mapping=mapping)
    return _build_verdict(trial, sample, fixes)


def _choose_format(
    chosen: Literal["auto"] | RowFormat, user_mapping: Mapping[str, str], trials: Sequence[_Trial]
) -> RowFormat | None:
    """Return the chosen format, or the likeliest one that has the mapped slots."""
    if chosen != "auto":
        return chosen
    ranked = [
        item.candidate.format
        for item in sorted(trials, key=_Trial.rank)
        if item.share >= _MIN_SHARE
    ]
    for row_format in [*ranked, *FORMATS]:
        if not check_mapping(row_format, dict.fromkeys(user_mapping, ""), ()):
            return row_format
    return None


def _describe_missing_slots(
    row_format: RowFormat, missing: Sequence[str], names: Sequence[str]
) -> Problem:
    return dataset_error(
        "missing_slot",
        "No column is mapped to {slots} of “{format}”.",
        "Choose a column for each. The columns are: {columns}.",
        slots=quote_names(missing),
        format=Text(template=FORMATS[row_format].title),
        columns=tuple(text("{name}", name=name) for name in names),
    )


def _describe_unknown_slots(user_mapping: Mapping[str, str]) -> Problem:
    return dataset_error(
        "unknown_slot",
        "No format has all of {slots}.",
        "Choose the format first to see its slots.",
        slots=quote_names(user_mapping),
    )


def _describe_unusable(row_format: RowFormat, reason: Text) -> Problem:
    return dataset_error(
        "no_usable_rows",
        "None of the rows checked can be used as “{format}”: {reason}.",
        "Choose another format or map other columns.",
        format=Text(template=FORMATS[row_format].title),
        reason=reason,
    )


# --- refused ----------------------------------------------------------------------------------


def _explain_no_fit(
    sample: Rows,
    columns: Sequence[DataColumn],
    trials: Sequence[_Trial],
    fixes: Sequence[Repair],
) -> Problem:
    """Return why no candidate converts any row."""
    if with_media := max((trial.with_media for trial in trials), default=0):
        return describe_media(with_media, sample, fixes, is_all=True)
    best = min(trials, key=_Trial.rank, default=None)
    if best is None or not best.reasons:
        return _explain_mismatch(sample, columns)
    kind, reason = best.main_reason
    if kind is UnusableKind.NO_ANSWER:
        return find_unclear_pairs(sample, columns) or dataset_error(
            "prompts_only",
            "There are prompts but no answers, so there is nothing to learn.",
            "Choose data in which the assistant answers, or the format “Prompts for rewards” to let the "
            "model answer and learn from rewards.",
        )
    return _describe_unusable(best.candidate.format, reason)


def _refuse(*problems: Problem, mapping: Mapping[str, str] | None = None) -> FormatVerdict:
    return FormatVerdict(None, None, dict(mapping or {}), 0.0, problems[0].what, problems=problems)


def _pick_spread_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return at most the number of rows to try, evenly spaced."""
    if len(rows) <= _TRIED_ROWS:
        return rows
    return [rows[index * len(rows) // _TRIED_ROWS] for index in range(_TRIED_ROWS)]


# --- data that can't be trained on ------------------------------------------------------------


_STEPS = ("completions", "steps", "stepwise", "solutions", "trajectory")
_STEP_LABELS = ("labels", "stepwiselabels", "ratings", "steplabels", "rewards")
_TOKENS = ("inputids", "tokenids", "tokens", "attentionmask", "inputidschosen", "promptinputids")
_COLUMNS_SHOWN = 12


@dataclass(frozen=True)
class Refusal:
    """A kind of data that is refused; `find` returns the columns that show it, [] for other data."""

    code: str
    what: Template
    remedy: Template
    find: Callable[[Rows, Columns], Sequence[DataColumn]]

    def __call__(self, rows: Rows, columns: Columns) -> Problem | None:
        """Return the problem of these rows, None if they are something else."""
        named = self.find(rows, columns)
        if not named:
            return None
        return dataset_error(self.code, self.what, self.remedy, columns=_format_names(named))


def _find_asked(rows: Rows, columns: Columns) -> Sequence[DataColumn]:
    questions = find_questions(columns)
    return (questions or find_conversations(columns))[:1]


def _find_scores(rows: Rows, columns: Columns) -> Sequence[DataColumn]:
    has_texts = find_free_texts(columns)
    if not has_texts or find_questions(columns):
        return []
    return [item for item in find_columns(columns, CLASSES) if item.fractions]


def _find_tokens(rows: Rows, columns: Columns) -> Sequence[DataColumn]:
    tokens = [item for item in find_columns(columns, _TOKENS) if item.kind in ("numbers", "number")]
    return [] if len(tokens) == 1 and tokens[0].kind == "number" else tokens


def _find_steps(rows: Rows, columns: Columns) -> Sequence[DataColumn]:
    steps = find_column(columns, _STEPS, "texts", "list", "turns")
    labels = find_column(columns, _STEP_LABELS, "flags", "numbers")
    if steps is None:
        return []
    labeled = sum(_is_labeled(row.get(steps.name)) for row in rows)
    if labels is not None:
        pairs = [(row.get(steps.name), row.get(labels.name)) for row in rows]
        labeled = max(labeled, sum(map(_are_parallel, pairs)))
    return [steps] if 2 * labeled > len(rows) else []


_PROMPTS_ONLY: Template = (
    "There are prompts ({columns}) but no answers, so there is nothing to learn."
)
_ADD_ANSWERS: Template = (
    "Add a column with the answers. If they are in a column with another name, choose a format and "
    "map that column to the answer. To let the model answer and learn from rewards, choose the format "
    "“Prompts for rewards”."
)
_STEPWISE = Refusal(
    code="stepwise",
    what="Each step of an answer has its own label (stepwise supervision, {columns}). This trains a "
    "reward model, which LoRA Studio doesn't support.",
    remedy="Choose data with one answer per prompt, or with a chosen and a rejected answer.",
    find=_find_steps,
)


def describe_media(count: int, rows: Rows, fixes: Sequence[Repair], *, is_all: bool) -> Problem:
    """Return the problem of rows with media: a warning, or an error if no other rows can be used."""
    columns = [item for item in profile_columns(rows) if item.kinds["media"]]
    named = (
        counted(
            count,
            "{n} row of {rows} checked contains images, audio, or video ({columns}). LoRA Studio can't "
            "train on them yet.",
            "{n} rows of {rows} checked contain images, audio, or video ({columns}). LoRA Studio can't "
            "train on them yet.",
            rows=len(rows),
            columns=_format_names(columns),
        )
        if columns
        else counted(
            count,
            "{n} row of {rows} checked contains images, audio, or video, or refers to one with a "
            "placeholder such as <image>. LoRA Studio can't train on them yet.",
            "{n} rows of {rows} checked contain images, audio, or video, or refer to them with "
            "placeholders such as <image>. LoRA Studio can't train on them yet.",
            rows=len(rows),
        )
    )
    remedy = text(
        "Choose a text dataset. If the texts make sense without what they refer to, turn on the repair "
        "“Use rows with images, audio, or video as text only” (remove_media)."
        if is_all
        else "These rows are skipped. If their texts make sense without what they refer to, turn on the "
        "repair “Use rows with images, audio, or video as text only” (remove_media)."
    )
    build = dataset_error if is_all else dataset_warning
    problem = build("media" if is_all else "media_rows", named, remedy)
    fix = Fix(
        label=text("Use as text only"),
        step="dataset",
        field="fixes",
        value=[*fixes, "remove_media"],
    )
    return problem.model_copy(update={"fix": fix})


def _find_languages(rows: Rows, columns: Columns) -> Problem | None:
    """Return the problem of one text in several languages when no column is marked as the answer."""
    column = find_column(columns, ("translation", "translations"), "object")
    one = next((row[column.name] for row in rows if column and row.get(column.name)), None)
    if column is None or not isinstance(one, dict) or len(one) < 2:
        return None
    question, answer = [f"{column.name}.{name}" for name in list(one)[:2]]
    return dataset_error(
        "languages",
        "Each row is one text in several languages ({columns}). We couldn't tell which is the answer.",
        "Choose the format “Question and answer”. Map question to {question} and answer to {answer}, or "
        "the other way round.",
        columns=_format_names([column]),
        question=question,
        answer=answer,
    )


def find_unclear_pairs(rows: Rows, columns: Columns) -> Problem | None:
    """Return the problem of two answers without a column that names the better one."""
    questions = find_questions(columns) or find_conversations(columns)
    if not questions or not (couple := next(find_column_pairs(columns), None)):
        return None
    (_, one), (_, other) = couple
    return dataset_error(
        "unclear_pair",
        "Each prompt has two answers ({columns}). We couldn't tell which one is preferred.",
        "Choose the format “Preference”. Map chosen to {first} and rejected to {second}. Map better to "
        "a column that is 1 or true where {first} is preferred, or to two score columns in braces with "
        "> between them.",
        columns=_format_names([one, other]),
        first=one.name,
        second=other.name,
    )


def _is_labeled(value: Any) -> bool:
    """Return whether a value is a list of steps, each an object with its own rating."""
    return (
        isinstance(value, list)
        and bool(value)
        and detect_style(value) is None
        and all(
            isinstance(item, dict) and {"label", "rating", "correct"} & set(item) for item in value
        )
    )


def _are_parallel(values: tuple[Any, Any]) -> bool:
    """Return whether two values are lists of the same length."""
    one, other = values
    return isinstance(one, list) and isinstance(other, list) and len(one) == len(other) > 0


def _format_names(columns: Sequence[DataColumn]) -> Text:
    names = quote_names([column.name for column in columns])
    return counted(len(columns), "column {names}", "columns {names}", names=names)


#: What rows are that no format fits, the likeliest first. Labels beside their texts aren't classes.
_OTHER_PURPOSES: tuple[Explanation, ...] = (
    Refusal(
        code="media",
        what="The rows consist of images, audio, or video ({columns}). LoRA Studio can't train on them yet.",
        remedy="Choose a text dataset.",
        find=lambda rows, columns: [
            item for item in columns if 2 * item.kinds["media"] > len(rows)
        ],
    ),
    Refusal(
        code="prompts_only",
        what=_PROMPTS_ONLY,
        remedy=_ADD_ANSWERS,
        find=lambda rows, columns: [
            item for item in find_columns(columns, ("turns",)) if item.kind == "texts"
        ],
    ),
    Refusal(
        code="single_turns",
        what="Each row is a single turn with its role. No row has both a question and its answer.",
        remedy='Put all turns of a conversation in one row: {"messages": [{"role": …, "content": …}, …]}.',
        find=lambda rows, columns: columns if is_single_turn(columns) else [],
    ),
    _find_languages,
    find_unclear_pairs,
    Refusal(
        code="embeddings",
        what="The rows contain text pairs with a score or a label, or vectors, which LoRA Studio doesn't train on.",
        remedy="If both texts of each row belong together, choose the format “Pairs for search” to train embeddings. "
        "To learn the label of a pair, choose the format “Texts with labels”, and map “text” to a template with "
        "both columns.",
        find=lambda rows, columns: columns if is_compared(columns) else [],
    ),
    Refusal(
        code="scored_texts",
        what="The texts have scores ({columns}), not labels. LoRA Studio doesn't train on scores.",
        remedy="Write a label for each text, such as one for scores above a limit. To train on the texts alone, choose the "
        "format “Plain text”.",
        find=_find_scores,
    ),
)
_OTHER_REASONS: tuple[Explanation, ...] = (
    Refusal(
        code="tokenized",
        what="The rows are already tokenized ({columns}), possibly with a different tokenizer than your "
        "model's.",
        remedy="Choose the original data as text.",
        find=_find_tokens,
    ),
    Refusal(code="prompts_only", what=_PROMPTS_ONLY, remedy=_ADD_ANSWERS, find=_find_asked),
)


def _explain_mismatch(rows: Rows, columns: Columns) -> Problem:
    """Return why rows that no format fits cannot be trained on."""
    for explain in (*_OTHER_PURPOSES, *_OTHER_REASONS):
        if problem := explain(rows, columns):
            return problem
    filled = tuple(text("{name}", name=item.name) for item in columns if item.filled)
    return dataset_error(
        "unknown_format",
        "We couldn't tell which columns hold the prompt and the answer. The columns are: {columns}."
        if filled
        else "We couldn't tell which columns hold the prompt and the answer. All columns are empty.",
        "Choose a format and map the columns, or rename them: instruction and output, messages, "
        "prompt and completion, question and answer, text, text and label, or prompt, chosen, and rejected.",
        columns=filled[:_COLUMNS_SHOWN],
    )


# --- warnings about a mapping -----------------------------------------------------------------

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
    if TASKS[FORMATS[candidate.format].task].keeps_columns:  # its rewards see all columns
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
        and 2 * item.traits["phrased"] > len(sample)
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
    is_chat = not TASKS[FORMATS[candidate.format].task].is_document
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
    if not TASKS[FORMATS[candidate.format].task].imitates_answers:
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
            "{columns} may contain ratings. They are ignored: every answer counts as good.",
            "To learn from good and bad answers (KTO), choose the format “{kto}”. Answers are then good where "
            "{label}. To imitate only good ones, remove the rows with bad ones.",
            kto=Text(template=FORMATS["kto"].title),
            label=write_limit(ratings[0]),
            columns=quote_names(item.name for item in ratings),
        )
        return
    name = ratings[0].name if ratings else find_nested_votes(columns)
    if name is not None:
        yield dataset_warning(
            "rated_answers",
            "{columns} may contain ratings. They are ignored: every answer counts as good.",
            "If so, remove the rows with bad answers, or add a column “label” that is true for good "
            "answers and false for bad ones, to train with KTO.",
            columns=quote_names([name]),
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
    name = candidate.mapping.get(FORMATS[candidate.format].answer, "")
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
