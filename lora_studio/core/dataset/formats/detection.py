"""Detect the format of rows: which column fills which slot, with a confidence and the evidence.

Every candidate reading of the columns is tried on the rows. The share of rows that it converts
decides, together with how specific it is (a pair of answers is more specific than its parts). The
result does not depend on the order of rows or on unknown columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from lora_studio.core.dataset.formats import columns as formats_columns
from lora_studio.core.dataset.formats.candidates import find_candidates, find_judged_answers
from lora_studio.core.dataset.formats.column_names import CLASSES
from lora_studio.core.dataset.formats.columns import (
    Columns,
    DataColumn,
    FormatCandidate,
    find_column,
    find_columns,
    profile_columns,
)
from lora_studio.core.dataset.formats.conversion import FINDERS, convert, without_media
from lora_studio.core.dataset.formats.detection_warnings import warn_about_mapping
from lora_studio.core.dataset.formats.labels import find_labeled_candidates
from lora_studio.core.dataset.formats.mapping import (
    SPEAKER,
    check_mapping,
    list_columns,
    list_required_slots,
)
from lora_studio.core.dataset.formats.paired_columns import find_column_pairs
from lora_studio.core.dataset.formats.prompts import has_short_references
from lora_studio.core.dataset.formats.row_shapes import refuse_shape
from lora_studio.core.dataset.formats.speakers import check_speaker, choose_speaker, list_people
from lora_studio.core.dataset.formats.turns import detect_style
from lora_studio.core.dataset.samples import (
    UnusableKind,
    UnusableRow,
    dataset_error,
    dataset_warning,
    quote_names,
)
from lora_studio.core.dataset.spec import FORMATS, Repair, RowFormat, Task
from lora_studio.core.messages import Text, counted, text
from lora_studio.core.problems import Fix, Problem

_STEPS = ("completions", "steps", "stepwise", "solutions", "trajectory")
_STEP_LABELS = ("labels", "stepwiselabels", "ratings", "steplabels", "rewards")
_TOKENS = ("inputids", "tokenids", "tokens", "attentionmask", "inputidschosen", "promptinputids")
_COLUMNS_SHOWN = 12


def find_unsupported(rows: Rows, columns: Columns) -> Problem | None:
    """Return why these rows are refused, even though a column could be read as an answer."""
    return refuse_shape(columns) or _find_stepwise(rows, columns)


def explain_mismatch(rows: Rows, columns: Columns) -> Problem:
    """Return why rows that no format fits cannot be trained on."""
    for explain in (*_BEFORE_CLASSES, _find_tokens, _find_questions_alone):
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


def has_other_purpose(rows: Rows, columns: Columns) -> bool:
    """Return whether texts with labels are data of another kind, such as pairs to compare."""
    return any(explain(rows, columns) for explain in _BEFORE_CLASSES)


def describe_empty() -> Problem:
    """Return the problem of a source without readable rows."""
    return dataset_error("no_rows", "The dataset has no rows.", "Choose data with rows.")


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


def _find_media(rows: Rows, columns: Columns) -> Problem | None:
    media = [item for item in columns if 2 * item.kinds["media"] > len(rows)]
    if not media:
        return None
    return dataset_error(
        "media",
        "The rows consist of images, audio, or video ({columns}). LoRA Studio can't train on them yet.",
        "Choose a text dataset.",
        columns=_format_names(media),
    )


def _find_stepwise(rows: Rows, columns: Columns) -> Problem | None:
    steps = find_column(columns, _STEPS, "texts", "list", "turns")
    labels = find_column(columns, _STEP_LABELS, "flags", "numbers")
    if steps is None:
        return None
    inner = _compute_share(rows, steps.name, _is_labeled)
    if inner <= 0.5 and (
        labels is None or _compute_parallel_share(rows, steps.name, labels.name) <= 0.5
    ):
        return None
    return dataset_error(
        "stepwise",
        "Each step of an answer has its own label (stepwise supervision, {columns}). This trains a "
        "reward model, which LoRA Studio doesn't support.",
        "Choose data with one answer per prompt, or with a chosen and a rejected answer.",
        columns=_format_names([steps]),
    )


def _find_single_turns(rows: Rows, columns: Columns) -> Problem | None:
    if not formats_columns.is_single_turn(columns):
        return None
    return dataset_error(
        "single_turns",
        "Each row is a single turn with its role. No row has both a question and its answer.",
        'Put all turns of a conversation in one row: {"messages": [{"role": …, "content": …}, …]}.',
    )


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
    questions = formats_columns.find_questions(columns) or formats_columns.find_conversations(
        columns
    )
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


def _find_embeddings(rows: Rows, columns: Columns) -> Problem | None:
    if not formats_columns.is_compared(columns):
        return None
    return dataset_error(
        "embeddings",
        "The rows contain text pairs with a score or a label, or vectors, which LoRA Studio doesn't train on.",
        "If both texts of each row belong together, choose the format “Pairs for search” to train embeddings. "
        "To learn the label of a pair, choose the format “Texts with labels”, and map “text” to a template with "
        "both columns.",
    )


def _find_scored_texts(rows: Rows, columns: Columns) -> Problem | None:
    scores = [item for item in find_columns(columns, CLASSES) if item.fractions]
    texts = formats_columns.find_free_texts(columns)
    if not scores or not texts or formats_columns.find_questions(columns):
        return None
    return dataset_error(
        "scored_texts",
        "The texts have scores ({columns}), not labels. LoRA Studio doesn't train on scores.",
        "Write a label for each text, such as one for scores above a limit. To train on the texts alone, choose the "
        "format “Plain text”.",
        columns=_format_names(scores),
    )


def _find_tokens(rows: Rows, columns: Columns) -> Problem | None:
    tokens = [item for item in find_columns(columns, _TOKENS) if item.kind in ("numbers", "number")]
    if not tokens or (len(tokens) == 1 and tokens[0].kind == "number"):
        return None
    return dataset_error(
        "tokenized",
        "The rows are already tokenized ({columns}), possibly with a different tokenizer than your "
        "model's.",
        "Choose the original data as text.",
        columns=_format_names(tokens),
    )


def _find_questions_in_turns(rows: Rows, columns: Columns) -> Problem | None:
    turns = find_column(columns, ("turns",), "texts")
    return None if turns is None else _describe_prompts_only([turns])


def _find_questions_alone(rows: Rows, columns: Columns) -> Problem | None:
    questions = formats_columns.find_questions(columns) or formats_columns.find_conversations(
        columns
    )
    return _describe_prompts_only(questions) if questions else None


def _describe_prompts_only(questions: Sequence[DataColumn]) -> Problem:
    return dataset_error(
        "prompts_only",
        "There are prompts ({columns}) but no answers, so there is nothing to learn.",
        "Add a column with the answers. If they are in a column with another name, choose a format and "
        "map that column to the answer. To let the model answer and learn from rewards, choose the format "
        "“Prompts for rewards”.",
        columns=_format_names(questions[:1]),
    )


_BEFORE_CLASSES = (
    _find_media, _find_questions_in_turns, _find_single_turns, _find_languages, find_unclear_pairs, _find_embeddings, _find_scored_texts,
)  # fmt: skip


def _compute_share(rows: Rows, name: str, holds: Callable[[Any], bool]) -> float:
    return sum(holds(row.get(name)) for row in rows) / max(1, len(rows))


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


def _compute_parallel_share(rows: Rows, steps: str, labels: str) -> float:
    def alike(row: Mapping[str, Any]) -> bool:
        one, other = row.get(steps), row.get(labels)
        return isinstance(one, list) and isinstance(other, list) and len(one) == len(other) > 0

    return sum(map(alike, rows)) / max(1, len(rows))


def _format_names(columns: Sequence[DataColumn]) -> Text:
    names = quote_names([column.name for column in columns])
    return counted(len(columns), "column {names}", "columns {names}", names=names)


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


@dataclass(frozen=True)
class FormatVerdict:
    """The detected format of rows; `format` and `task` are None for data that can't be trained on.

    `mapping` maps slots to columns or templates. `confidence` is 0 to 1. `evidence` is one
    sentence. `others` are other formats that fit, the likeliest first. A problem of severity
    `error` says why the data is refused. `people` are those who write in exported chats.
    """

    format: RowFormat | None
    task: Task | None
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
        return _refuse(describe_empty())
    candidates = _collect_candidates(sample, profiles, columns)
    if people:
        speaker = choose_speaker(sample, people)
        candidates = [_with_speaker(candidate, speaker) for candidate in candidates]
    trials = [_Trial.run(sample, candidate) for candidate in candidates]
    if chosen != "auto" and chosen in FINDERS:
        trials = [_Trial.run(sample, item) for item in FINDERS[chosen](profiles)]
    if chosen != "auto" or user_mapping:
        return _apply_choice(sample, profiles, trials, chosen, user_mapping, people, fixes)
    if problem := find_unsupported(sample, profiles):
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
    if has_other_purpose(sample, columns):
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
    if FORMATS[best].task == "sft" and find_judged_answers(columns):
        others.append("kto")
    loses_text = {"choices", "context"} & fitting[0].candidate.mapping.keys()
    if FORMATS[best].task == "sft" and not loses_text and has_short_references(columns):
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
        return explain_mismatch(sample, columns)
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
