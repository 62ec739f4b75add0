"""A table of runs: columns, sorting, search, differing settings, and CSV export."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

from lora_studio.core import formatting
from lora_studio.core.formatting import CsvWriter
from lora_studio.core.runs import facts
from lora_studio.core.runs.index import RunSummary
from lora_studio.core.tasks.classification import ACCURACY, MACRO_F1
from lora_studio.core.training.retrieval import MRR, RECALLS

Column = Literal[
    "name", "state", "model", "data", "rank", "loss", "eval", "reward",
    "accuracy", "f1", "recall", "mrr", "answers", "step", "time", "size", "tags", "begun"
]  # fmt: skip

#: The raw value of each column, for sorting and CSV; None if empty.
VALUES: dict[Column, Callable[[RunSummary], Any]] = {
    "name": lambda run: run.name,
    "state": lambda run: run.state,
    "model": lambda run: run.model or None,
    "data": lambda run: run.data or None,
    "rank": lambda run: run.rank,
    "loss": lambda run: run.loss,
    "eval": lambda run: run.best_eval,
    "reward": lambda run: run.best_reward,
    "accuracy": lambda run: run.best_scores.get(ACCURACY),
    "f1": lambda run: run.best_scores.get(MACRO_F1),
    "recall": lambda run: run.best_scores.get(RECALLS[10]),
    "mrr": lambda run: run.best_scores.get(MRR),
    "answers": lambda run: run.answers.score if run.answers else None,
    "step": lambda run: run.step or None,
    "time": lambda run: run.seconds or None,
    "size": lambda run: run.bytes,
    "tags": lambda run: ", ".join(run.tags) or None,
    "begun": lambda run: run.created,
}

#: Columns that only runs of some tasks have; tables show them if a run has a value.
OPTIONAL: tuple[Column, ...] = ("reward", "accuracy", "f1", "recall", "mrr")

#: Display format of each column.
_SAID: dict[Column, Callable[[Any], str]] = {
    "loss": formatting.format_loss,
    "eval": formatting.format_loss,
    "reward": formatting.format_reward,
    "accuracy": formatting.format_percent,
    "f1": formatting.format_percent,
    "recall": formatting.format_percent,
    "mrr": lambda value: formatting.format_float(value, ".3f"),
    "answers": formatting.format_percent,
    "step": formatting.format_number,
    "time": formatting.format_duration,
    "size": formatting.format_size,
    "begun": formatting.format_time,
}


def list_empty_columns(runs: Sequence[RunSummary]) -> list[Column]:
    """Return the optional columns that none of the runs has a value for."""
    return [column for column in OPTIONAL if all(VALUES[column](run) is None for run in runs)]


def format_cell(run: RunSummary, column: Column) -> str:
    """Return a cell as text, "" if it is empty."""
    value = VALUES[column](run)
    return "" if value is None else _SAID.get(column, str)(value)


def get_sort_key(run: RunSummary, column: Column) -> tuple[Any, ...]:
    """Return a key that orders runs by a column; missing and infinite numbers come last."""
    value = VALUES[column](run)
    if column == "name":  # runs without a title are sorted by start time
        return (0, run.about.title == "", value.casefold(), run.created)
    if isinstance(value, str):
        return (0, value.casefold())
    return (1,) if value is None or value != value else (0, value)


def sort_runs(runs: Iterable[RunSummary], column: Column, *, descending: bool) -> list[RunSummary]:
    """Return runs sorted by a column, those without a value last in both directions."""
    keyed = [(get_sort_key(run, column), run) for run in runs]
    with_value = sorted(
        ((key, run) for key, run in keyed if key != (1,)),
        key=lambda pair: pair[0],
        reverse=descending,
    )
    return [run for _, run in with_value] + [run for key, run in keyed if key == (1,)]


def is_match(run: RunSummary, text: str) -> bool:
    """Return whether every word of a search occurs in the facts about a run."""
    searched = run.searched
    return all(word in searched or _has_value(run, word) for word in text.lower().split())


def _has_value(run: RunSummary, word: str) -> bool:
    """Return whether `rank=16` or `learning_rate=1e-4` holds for a run, defaults included."""
    name, sign, expected = word.partition("=")
    if not sign or not expected:
        return False
    values = [run.get_value(each) for each in facts.DEFAULTS if each.partition(".")[2] == name]
    return any(
        format_value(value).lower() == expected or _is_same_number(value, expected)
        for value in values
    )


def _is_same_number(value: Any, expected: str) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return float(expected) == value
    except ValueError:
        return False


def find_differences(
    runs: Sequence[RunSummary], *, everything: bool = False
) -> dict[str, list[Any]]:
    """Return the settings that differ among runs, or all: the value in each run, in the order of
    the specs."""
    names = facts.DEFAULTS if everything else {n for run in runs for n in run.settings}
    columns = {name: [run.get_value(name) for run in runs] for name in facts.sort_settings(names)}
    if everything:
        return columns
    return {name: values for name, values in columns.items() if has_differences(values)}


def _format_iso(moment: float) -> str:
    with contextlib.suppress(OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(moment).isoformat(" ") if moment else ""
    return ""


def has_differences(values: Sequence[Any]) -> bool:
    """Return whether the values of several runs are not all the same."""
    return any(value != values[0] for value in values[1:])


def to_csv(runs: Sequence[RunSummary]) -> str:
    """Return one line per run: its columns, then every setting that differs."""
    varied = find_differences(runs)
    out = io.StringIO()
    writer = CsvWriter(out)
    writer.writerow(["run", *VALUES, "notes", *varied])
    for number, run in enumerate(runs):
        cells = [VALUES[column](run) for column in VALUES]
        cells[-1] = _format_iso(run.created)
        settings = [format_value(values[number]) for values in varied.values()]
        writer.writerow([run.folder, *cells, run.about.notes, *settings])
    return out.getvalue()


def format_value(value: Any) -> str:
    """Return the value of a setting on one line."""
    if isinstance(value, list | tuple):
        return ", ".join(map(format_value, value))
    if isinstance(value, dict):  # a source of a dataset
        return str(value.get("path", value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return formatting.format_setting_value(value) if isinstance(value, float) else str(value)
