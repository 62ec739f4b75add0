"""Find which prompts a run was trained on, so that they aren't used to evaluate it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lora_studio.core.chat import AdapterSpeaker, ModelSpeaker
from lora_studio.core.evaluation.columns import Column
from lora_studio.core.messages import NO_TEXT, Text, text
from lora_studio.core.problems import ProblemError
from lora_studio.core.runs import names as run_names
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.tasks.samples import Message, Sample, UnusableRow
from lora_studio.engine.dataset import splitting
from lora_studio.engine.dataset.rows import mixture
from lora_studio.engine.dataset.rows.store import hash_text
from lora_studio.engine.runtime.channel import JobContext


@dataclass
class TrainedPrompts:
    """Digests of the prompts that runs were trained on; `unchecked` says why some are unknown."""

    digests: set[int] = field(default_factory=set)
    unchecked: Text = NO_TEXT

    def has(self, messages: Sequence[Message], text: str = "") -> bool:
        """Return whether a prompt, or a plain text, was trained on."""
        return _digest(messages, text) in self.digests


def find_trained_prompts(
    run: RunFolder, columns: Iterable[Column], job: JobContext
) -> TrainedPrompts:
    """Return what the run, and every other run whose adapter or model is a column, was trained on.

    The rows are read from the dataset as it is now; a run whose dataset has changed or is missing is
    named in `unchecked`.
    """
    found = TrainedPrompts()
    runs = {run.path.resolve(): run}
    for column in columns:
        for other in _list_runs(column):
            runs.setdefault(other.path.resolve(), other)
    for each in runs.values():
        try:
            _add_prompts(each, found, job)
        except ProblemError as error:
            found.unchecked = text(
                "The rows that {run:run} was trained on can't be read: {reason}",
                run=run_names.read_stored_name(each),
                reason=error.problems[0].what,
            )
    return found


def _list_runs(column: Column) -> list[RunFolder]:
    """Return the runs that a column's adapters or model come from."""
    match column.model:
        case AdapterSpeaker():
            folders = [Path(adapter.folder) for adapter in column.model.adapters]
        case ModelSpeaker():
            folders = [Path(column.model.folder)]
        case _:
            return []
    parents = [parent for folder in folders for parent in folder.parents[:2]]
    return [RunFolder(parent) for parent in parents if RunFolder(parent).project_file.is_file()]


def _add_prompts(run: RunFolder, trained: TrainedPrompts, job: JobContext) -> None:
    """Add the prompts of a run's training rows; raises ProblemError."""
    project = run.load_project()
    if not project.dataset.sources:
        return  # an imported adapter: what it was trained on is unknown
    rows = mixture.open_dataset(project.dataset, job)
    if _has_changed(run, rows):
        trained.unchecked = text(
            "The data files were changed since {run:run} was trained, so rows that it was trained on can't be "
            "recognized for certain.",
            run=run_names.read_stored_name(run),
        )
    divided = splitting.split(rows, project.training.seed, job)
    for number, position in enumerate(divided.training):
        if number % 256 == 0:
            job.report_progress(
                text("reading the training rows"), number, len(divided.training), "rows"
            )
        try:
            sample = rows.read_sample(*position)
        except UnusableRow:
            continue
        trained.digests.add(_digest(get_prompt(sample), sample.text))


def _has_changed(run: RunFolder, rows: mixture.MixedRows) -> bool:
    """Return whether a source isn't what the run recorded; False if it recorded nothing."""
    recorded = run.read_manifest().get("dataset")
    sources = recorded.get("sources") if isinstance(recorded, dict) else None
    if not isinstance(sources, list):
        return False
    hashes = [source.get("sha256") for source in sources if isinstance(source, dict)]
    return any(
        expected not in (None, store.sha256)
        for expected, store in zip(hashes, rows.stores, strict=False)
    )


def get_prompt(sample: Sample) -> tuple[Message, ...]:
    """Return the messages before the last answer of a sample, without its own system message."""
    turns = sample.messages
    if sample.task != "preference":
        answers = [index for index, turn in enumerate(turns) if turn.role == "assistant"]
        turns = turns[: answers[-1]] if answers else turns
    return turns


def _digest(messages: Sequence[Message], plain: str) -> int:
    """Return 64 bits for a prompt, apart from its system message, case, and spaces."""
    parts = [
        f"{turn.role}\0{_normalize(turn.content)}" for turn in messages if turn.role != "system"
    ]
    return hash_text("\0\0".join(parts) if parts else _normalize(plain))


def _normalize(content: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", content).casefold().split())
