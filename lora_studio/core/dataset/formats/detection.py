"""What rows are: which format, which column fills which slot, how sure that is and why.

Every reading of the columns is tried on the rows themselves; the share of rows that it can convert
decides, together with how much a reading says (a pair of answers says more than its parts). The
result does not depend on the order of rows, and unknown columns do not change it. `convert` then
makes a Sample of each row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lora_studio.core.dataset.formats import unsupported
from lora_studio.core.dataset.formats.candidates import FormatCandidate, candidates
from lora_studio.core.dataset.formats.columns import DataColumn, profile
from lora_studio.core.dataset.formats.conversion import convert
from lora_studio.core.dataset.formats.mapping import check, filled, names_in, needed
from lora_studio.core.dataset.formats.ranking import NEITHER, is_pair
from lora_studio.core.dataset.formats.turns import conversation, transcript
from lora_studio.core.dataset.samples import UnusableRow, refused
from lora_studio.core.dataset.spec import FORMAT_TITLES, TASKS, RowFormat, Task
from lora_studio.core.formatting import listed, number, percent, plural
from lora_studio.core.problems import Problem

__all__ = ["FormatVerdict", "convert", "detect"]

#: Rows that a reading is tried on: 500 tell a share to about four hundredths, within 0.1 s.
_TRIED = 500
#: Shapes of rows that are looked at apart from one another.
_SHAPES = 5
#: A reading that converts fewer rows than this is none.
_LEAST = 0.02

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class FormatVerdict:
    """What rows are; `format` and `task` are None where nothing can be trained on them.

    `mapping` says which column or template fills each slot. `confidence` is 0 to 1, `evidence` a
    sentence, `others` are formats that would fit too, the likeliest first. A problem of severity
    `error` says why the data is refused.
    """

    format: RowFormat | None
    task: Task | None
    mapping: dict[str, str]
    confidence: float
    evidence: str
    others: tuple[RowFormat, ...] = ()
    problems: tuple[Problem, ...] = ()


def detect(
    rows: Iterable[Any],
    columns: Iterable[str] = (),
    chosen: Literal["auto"] | RowFormat = "auto",
    mapping: Mapping[str, str] | None = None,
) -> FormatVerdict:
    """What some rows of a source are; it never raises.

    `rows` should be from all over the source; what is not an object among them is passed over.
    `columns` names all columns in the source's order. `chosen` and `mapping` are the user's word:
    the format is taken as given, the slots of the mapping too, and the others are found.
    """
    sample = _spread([row for row in rows if isinstance(row, dict)])
    given = dict(mapping or {})
    found = profile(sample, columns)
    if not sample:
        return _refusal(unsupported.empty())
    tried = [_Tried.on(sample, candidate) for candidate in _readings(sample, found, columns)]
    if chosen != "auto" or given:
        return _as_told(sample, found, tried, chosen, given)
    if problem := unsupported.of_shape(sample, found):
        return _refusal(problem)
    fitting = sorted((item for item in tried if item.share >= _LEAST), key=_Tried.rank)
    if not fitting:
        return _refusal(_nothing_fits(sample, found, tried))
    return _verdict(fitting[0], sample, _others(fitting))


@dataclass(frozen=True)
class _Tried:
    """A reading with what came of it: rows converted, reasons of the others."""

    candidate: FormatCandidate
    rows: int
    used: int
    reasons: Counter[str]

    @classmethod
    def on(cls, rows: Rows, candidate: FormatCandidate) -> _Tried:
        reasons: Counter[str] = Counter()
        for row in rows:
            try:
                convert(row, candidate.format, candidate.mapping)
            except UnusableRow as verdict:
                reasons[str(verdict)] += 1
        return cls(candidate, len(rows), len(rows) - reasons.total(), reasons)

    @property
    def share(self) -> float:
        return self.used / self.rows

    def rank(self) -> tuple[float, float, int, str, str]:
        """Sorts the best first, without regard to the order of rows or columns.

        Of readings that do equally well the one that leaves the fewest columns out is better: the
        others drop what some rows have.
        """
        candidate = self.candidate
        # Where no answer is the better one, the row is still one of pairs, and no other.
        score = candidate.weight * (self.used + self.reasons[NEITHER]) / self.rows
        slots = str(sorted(candidate.mapping.items()))
        return -round(score, 6), -candidate.sure, -len(candidate.mapping), candidate.format, slots


def _readings(
    sample: Rows, columns: Sequence[DataColumn], order: Iterable[str]
) -> list[FormatCandidate]:
    """The readings of all columns together and of the commonest shapes of rows, each once."""
    order = list(order)
    found = candidates(columns)
    shapes = Counter(frozenset(row) for row in sample)
    if len(shapes) > 1:
        commonest = sorted(shapes, key=lambda shape: (-shapes[shape], sorted(shape)))[:_SHAPES]
        for shape in commonest:
            alike = [row for row in sample if frozenset(row) == shape]
            found += candidates(profile(alike, [name for name in order if name in shape]))
    unique: dict[tuple[str, str], FormatCandidate] = {}
    for candidate in found:
        unique.setdefault((candidate.format, str(sorted(candidate.mapping.items()))), candidate)
    return list(unique.values())


def _others(fitting: Sequence[_Tried]) -> tuple[RowFormat, ...]:
    best = fitting[0].candidate.format
    others = [
        item.candidate.format
        for item in fitting[1:]
        if item.share >= 0.5 and not item.candidate.guessed
    ]
    return tuple(dict.fromkeys(item for item in others if item != best))


def _verdict(best: _Tried, sample: Rows, others: tuple[RowFormat, ...] = ()) -> FormatVerdict:
    candidate = best.candidate
    return FormatVerdict(
        format=candidate.format,
        task=TASKS[candidate.format],
        mapping=dict(candidate.mapping),
        confidence=round(candidate.sure * best.share, 2),
        evidence=_evidence(best),
        others=others,
        problems=tuple(_warnings(best, sample)),
    )


def _evidence(best: _Tried) -> str:
    candidate, rows = best.candidate, best.rows
    read = list(
        dict.fromkeys(name for slot in candidate.mapping.values() for name in names_in(slot))
    )
    columns = ", ".join(f"“{name}”" for name in read)
    title = FORMAT_TITLES[candidate.format]
    share = (
        "the only row looked at"
        if rows == best.used == 1
        else f"all {number(rows)} rows looked at"
        if rows == best.used
        else f"{number(best.used)} of {number(rows)} rows looked at ({percent(best.share)})"
    )
    if len(read) == 1:
        return f"Column {columns} fits “{title}” in {share}."
    return f"Columns {columns} fit “{title}” in {share}."


def _warnings(best: _Tried, sample: Rows) -> list[Problem]:
    """What the user should know about the choice that was made."""
    candidate = best.candidate
    found = []
    if candidate.rivals:
        taken = candidate.mapping[candidate.rivalled]
        found.append(
            _warning(
                "ambiguous_columns",
                f"The answer is taken from “{taken}”; it could also be "
                f"{listed([f'“{name}”' for name in candidate.rivals], 'or')}.",
                f"If that is what you mean, map it to “{candidate.rivalled}”.",
            )
        )
    if candidate.guessed:
        found.append(
            _warning(
                "guessed_columns",
                "The columns’ names do not say what they hold: "
                f"{listed([f'“{name}” is taken as {slot}' for slot, name in candidate.mapping.items()])}.",
                "Look at the rows, and map other columns if that is wrong.",
            )
        )
    if _is_paired_by_order(candidate, sample):
        found.append(
            _warning(
                "first_is_better",
                f"“{candidate.mapping['chosen']}” holds two answers to each prompt. The first is taken "
                "as the better one.",
                "If they are not pairs, choose another format; then the first alone is learnt.",
            )
        )
    if several := _several_answers(candidate, sample):
        found.append(
            _warning(
                "several_answers",
                f"{plural(several, 'row')} of {number(len(sample))} looked at "
                f"{'has' if several == 1 else 'have'} several answers. The first is used, the others "
                "are left out.",
                "To learn all of them, write a row for each.",
            )
        )
    if candidate.format == "preference" and _split_in_words(candidate.mapping, sample):
        found.append(
            _warning(
                "implicit_prompt",
                "There is no prompt column: what both answers of a row begin with alike is its prompt.",
                "If a column has the prompts, map it to “prompt”.",
            )
        )
    if unanswered := sum(_is_unanswered(row, candidate) for row in sample):
        found.append(
            _warning(
                "unanswered_turns",
                f"{plural(unanswered, 'conversation')} of {number(len(sample))} looked at "
                f"{'goes' if unanswered == 1 else 'go'} on after the last answer.",
                "What has no answer is left out: there is nothing to learn from it.",
            )
        )
    return found


def _is_paired_by_order(candidate: FormatCandidate, sample: Rows) -> bool:
    """Whether nothing but their order says which of two answers is the better one."""
    mapping = candidate.mapping
    name = mapping.get("chosen", "")
    is_one = candidate.format == "preference" and mapping.get("rejected") == name
    return is_one and "better" not in mapping and any(is_pair(row.get(name)) for row in sample)


def _several_answers(candidate: FormatCandidate, sample: Rows) -> int:
    """How many rows have a list of different answers, of which the first alone is learnt."""
    slots = {"alpaca": "output", "prompt_completion": "completion", "question_answer": "answer"}
    name = candidate.mapping.get(slots.get(candidate.format, ""), "")
    return sum(_holds_several(row.get(name)) for row in sample) if name else 0


def _holds_several(value: Any) -> bool:
    """Whether a value is a list of different texts."""
    is_list = isinstance(value, list) and all(isinstance(text, str) for text in value)
    return is_list and len({text for text in value if text.strip()}) > 1


def _is_unanswered(row: Mapping[str, Any], candidate: FormatCandidate) -> bool:
    """Whether the conversation of a row goes on after its last answer."""
    if candidate.format not in ("messages", "sharegpt"):
        return False
    try:
        slots = filled(row, candidate.mapping)
        said = conversation(slots.get("messages", slots.get("conversations")))
    except (UnusableRow, RecursionError):
        return False
    return any(turn.role == "assistant" for turn in said) and said[-1].role != "assistant"


def _split_in_words(mapping: Mapping[str, str], sample: Rows) -> bool:
    """Whether most prompts are what two plain texts begin with, which may be chance."""
    if "prompt" in mapping:
        return False
    sides = [row.get(mapping["chosen"]) for row in sample]
    plain = [side for side in sides if isinstance(side, str) and transcript(side) is None]
    return 2 * len(plain) > len(sides)


# --- as the user says -------------------------------------------------------------------------


def _as_told(
    sample: Rows,
    columns: Sequence[DataColumn],
    tried: Sequence[_Tried],
    chosen: Literal["auto"] | RowFormat,
    given: dict[str, str],
) -> FormatVerdict:
    """The verdict with a format or a mapping that the user chose."""
    names = [column.name for column in columns]
    row_format = _format_of(chosen, given, tried)
    if row_format is None:
        return _refusal(_unknown_slots(given))
    detected = next(
        (
            item.candidate
            for item in sorted(tried, key=_Tried.rank)
            if item.candidate.format == row_format
        ),
        None,
    )
    mapping = {**(detected.mapping if detected else {}), **given}
    mapping = {slot: source for slot, source in mapping.items() if source}
    problems = check(row_format, given, names)
    missing = [slot for slot in needed(row_format) if slot not in mapping]
    if missing:
        problems.append(_unfilled(row_format, missing, names))
    if problems:
        return FormatVerdict(
            None, None, mapping, 0.0, str(problems[0].what), problems=tuple(problems)
        )
    sure = 1.0 if given or detected is None else detected.sure
    told = _Tried.on(sample, FormatCandidate(row_format, mapping, 1.0, sure))
    if not told.used:
        reason = max(sorted(told.reasons), key=lambda text: told.reasons[text])
        return _refusal(_none_usable(row_format, reason), mapping=mapping)
    return _verdict(told, sample)


def _format_of(
    chosen: Literal["auto"] | RowFormat, given: Mapping[str, str], tried: Sequence[_Tried]
) -> RowFormat | None:
    """The format that was chosen, or the likeliest one with the slots that were filled."""
    if chosen != "auto":
        return chosen
    ranked = [
        item.candidate.format for item in sorted(tried, key=_Tried.rank) if item.share >= _LEAST
    ]
    for row_format in [*ranked, *FORMAT_TITLES]:
        if not check(row_format, dict.fromkeys(given, ""), ()):
            return row_format
    return None


def _unfilled(row_format: RowFormat, missing: Sequence[str], names: Sequence[str]) -> Problem:
    return refused(
        "missing_slot",
        f"No column fills {listed([f'“{slot}”' for slot in missing])} of "
        f"“{FORMAT_TITLES[row_format]}”.",
        f"Choose one for each. The columns are: {', '.join(names)}.",
    )


def _unknown_slots(given: Mapping[str, str]) -> Problem:
    return refused(
        "unknown_slot",
        f"No format has all of {listed([f'“{slot}”' for slot in given])}.",
        "Choose the format first; it says what can be filled.",
    )


def _none_usable(row_format: RowFormat, reason: str) -> Problem:
    return refused(
        "no_usable_rows",
        f"None of the rows looked at can be read as “{FORMAT_TITLES[row_format]}”: {reason}.",
        "Choose another format or other columns.",
    )


# --- refused ----------------------------------------------------------------------------------


def _nothing_fits(sample: Rows, columns: Sequence[DataColumn], tried: Sequence[_Tried]) -> Problem:
    """Why no reading converts any row."""
    best = min(tried, key=_Tried.rank, default=None)
    if best is None or not best.reasons:
        return unsupported.of_rest(sample, columns)
    reason = max(sorted(best.reasons), key=lambda text: best.reasons[text])
    if "image, sound or film" in reason:
        return refused(
            "media",
            "The turns hold images, sound or film, which language models trained here do not see.",
            "Choose data of text alone.",
        )
    if "no answer" in reason and (problem := unsupported.unclear_pairs(sample, columns)):
        return problem
    if "no answer" in reason:
        return refused(
            "prompts_only",
            "There are prompts but no answers to them, so there is nothing to learn.",
            "Choose data in which the assistant answers.",
        )
    return _none_usable(best.candidate.format, reason)


def _refusal(*problems: Problem, mapping: Mapping[str, str] | None = None) -> FormatVerdict:
    return FormatVerdict(
        None, None, dict(mapping or {}), 0.0, str(problems[0].what), problems=problems
    )


def _spread(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most as many rows as are tried, evenly from all of them."""
    if len(rows) <= _TRIED:
        return rows
    return [rows[index * len(rows) // _TRIED] for index in range(_TRIED)]


def _warning(code: str, what: str, remedy: str) -> Problem:
    return refused(code, what, remedy).model_copy(update={"severity": "warning"})
