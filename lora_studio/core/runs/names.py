"""Display names of runs, unique within a list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from lora_studio.core import formatting
from lora_studio.core.runs import table
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.index import RunSummary


class RunNames:
    """The display names of one project's runs.

    A run is named by its title. Without one, a run of a grid search is named by its values, and any
    other by its start time, as precisely as needed to distinguish it from the rest.
    """

    def __init__(self, runs: Iterable[RunSummary] = ()) -> None:
        """Count runs with equal short names; each name is computed on request."""
        runs = list(runs)
        self._same = Counter(_get_key(run) for run in runs)
        self._seconds: dict[tuple[object, int], list[str]] = {}
        for run in runs:
            if self._same[_get_key(run)] > 1:
                self._seconds.setdefault((_get_key(run), int(run.created)), []).append(run.folder)

    def get(self, run: RunSummary) -> str:
        """Return the name of a run."""
        grid_values, about = _format_searched_values(run), run.about
        label = about.title or grid_values
        if self._same[_get_key(run)] < 2:
            return label or formatting.format_short_time(run.created) or run.folder
        same_second = sorted(self._seconds.get((_get_key(run), int(run.created)), []))
        number = same_second.index(run.folder) + 1 if run.folder in same_second else 1
        moment = formatting.format_short_time(run.created, seconds=True) + (
            f" ({number})" if number > 1 else ""
        )
        return f"{label} · {moment}" if label else moment or run.folder


def read_run_name(run: RunFolder) -> str:
    """Return a run's name from its folder alone: its title, else `24 Nov, 14:05:12 · support-bot`."""
    return formatting.format_run_name(read_stored_name(run))


def read_stored_name(run: RunFolder) -> str:
    """Return a run's title, else its folder's name, whose date is formatted where it's shown.

    Templates of messages format it as `{run:run}`. A worker has its run's folder open, at a path such as
    `/proc/self/fd/7`, which leads to the folder with the name.
    """
    return run.read_about().title or run.path.resolve().name


def _get_key(run: RunSummary) -> object:
    """Return the short name's key, which is equal for runs that would share that name."""
    return run.about.title or _format_searched_values(run) or int(run.created // 60)


def _format_searched_values(run: RunSummary) -> str:
    """Return the searched values of a run in a grid search, such as `rank=8, learning_rate=1e-4`."""
    if run.about.grid is None:
        return ""
    searched = []
    for setting in run.about.grid.fields:
        try:
            searched.append(
                f"{setting.partition('.')[2]}={table.format_value(run.get_value(setting))}"
            )
        except KeyError:  # a setting that this version does not know
            continue
    return ", ".join(searched)
