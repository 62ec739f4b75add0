"""The folder of an evaluation: written line by line, read at any time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from pydantic import BaseModel, ValidationError

from lora_studio.core import limits
from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.plan import EvaluationPlan
from lora_studio.core.evaluation.results import (
    EvaluationFacts,
    EvaluationResults,
    ItemResult,
    Judgment,
)
from lora_studio.core.formatting import create_run_stamp
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.system.files import create_folder, describe_os_error, write_atomic
from lora_studio.core.system.foreign_files import (
    iter_lines,
    open_own,
    open_regular,
    read_bytes,
)

_NAME = re.compile(r"\d{8}-\d{6}(-\d+)?\Z")

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class EvaluationFolder:
    """One evaluation in the folder of its run."""

    path: Path

    @property
    def plan_file(self) -> Path:
        """What was started."""
        return self.path / "plan.json"

    @property
    def facts_file(self) -> Path:
        """What is known about test sets and columns."""
        return self.path / "facts.json"

    @property
    def items_file(self) -> Path:
        """The items, one JSON line each."""
        return self.path / "items.jsonl"

    @property
    def answers_file(self) -> Path:
        """The answers, one JSON line per item and column, in the order of their arrival."""
        return self.path / "answers.jsonl"

    @property
    def judgments_file(self) -> Path:
        """The judge's comparisons, one JSON line each."""
        return self.path / "judgments.jsonl"

    def read_plan(self) -> EvaluationPlan:
        """Return the plan; raises ProblemError."""
        return self._read(self.plan_file, EvaluationPlan)

    def read_facts(self) -> EvaluationFacts:
        """Return the facts, empty before they are written; raises ProblemError."""
        if not self.facts_file.exists():
            return EvaluationFacts()
        return self._read(self.facts_file, EvaluationFacts)

    def write_facts(self, facts: EvaluationFacts) -> None:
        """Replace the facts; raises OSError."""
        write_atomic(self.facts_file, facts.model_dump_json(indent=1) + "\n")

    def write_items(self, items: Iterable[EvaluationItem]) -> None:
        """Write the items; raises OSError."""
        lines = (item.model_dump_json(exclude_defaults=True) for item in items)
        write_atomic(self.items_file, "".join(f"{line}\n" for line in lines))

    def read_items(self) -> list[EvaluationItem]:
        """Return the items, [] before they are written; raises ProblemError if there are too many."""
        return list(_iter_lines(self.items_file, EvaluationItem))

    def read(self) -> EvaluationResults:
        """Return everything so far; raises ProblemError if the plan can't be read."""
        results = EvaluationResults(
            self.path, self.read_plan(), self.read_facts(), self.read_items()
        )
        for row in _iter_lines(self.answers_file, ItemResult):
            results.answers[row.item, row.column] = row
        results.judgments = list(_iter_lines(self.judgments_file, Judgment))
        return results

    @contextmanager
    def append(self, file: Path) -> Iterator[LineWriter]:
        """Yield a writer for `answers_file` or `judgments_file`; raises OSError.

        A line that a killed worker left incomplete is ended first.
        """
        with open_own(file, "ab+") as stream:
            if stream.seek(0, 2):
                stream.seek(-1, 2)
                if stream.read(1) != b"\n":
                    stream.write(b"\n")
            yield LineWriter(stream)

    def _read(self, file: Path, kind: type[_Model]) -> _Model:
        try:
            return kind.model_validate_json(read_bytes(file, limits.LARGE_FILE))
        except (OSError, ValidationError) as error:
            raise fail(
                "evaluation.unreadable",
                "The evaluation {name} can't be read: {reason}.",
                "Start a new evaluation. Answers that were computed before are reused.",
                where=Where(file=str(file)),
                name=self.path.name,
                reason=describe_os_error(error)
                if isinstance(error, OSError)
                else f"{file.name} is damaged",
            ) from error


class LineWriter:
    """Appends JSON lines; each is in the file when `write` returns."""

    def __init__(self, stream: IO[bytes]) -> None:
        """Take a stream that is opened for appending."""
        self._stream = stream

    def write(self, row: BaseModel) -> None:
        """Append one line; raises OSError."""
        line = row.model_dump_json(exclude_defaults=True).encode("utf-8", "replace")
        self._stream.write(line + b"\n")
        self._stream.flush()


def create_evaluation(evaluations: Path, plan: EvaluationPlan) -> EvaluationFolder:
    """Create the folder of a new evaluation with its plan; raises OSError."""
    create_folder(evaluations)
    stamp = create_run_stamp(f"{folder.path.name}-x" for folder in list_evaluations(evaluations))
    for attempt in range(1, 1000):
        folder = EvaluationFolder(evaluations / (stamp if attempt == 1 else f"{stamp}-{attempt}"))
        try:
            folder.path.mkdir()
        except FileExistsError:
            continue
        write_atomic(folder.plan_file, plan.model_dump_json(indent=1) + "\n")
        return folder
    raise FileExistsError(17, "too many evaluations", str(evaluations))


def list_evaluations(evaluations: Path) -> list[EvaluationFolder]:
    """Return the evaluations in the folder of a run, the newest first."""
    try:
        names = [entry.name for entry in evaluations.iterdir() if _NAME.match(entry.name)]
    except OSError:
        return []
    return [EvaluationFolder(evaluations / name) for name in sorted(names, reverse=True)]


def open_evaluation(evaluations: Path, name: str) -> EvaluationFolder:
    """Return an evaluation by its name; raises ProblemError if the run has none of this name."""
    folder = EvaluationFolder(evaluations / name)
    if _NAME.match(name) and folder.plan_file.is_file():
        return folder
    raise fail(
        "evaluation.not_found",
        "This run has no evaluation named {name}.",
        "Choose one of these: {known}." if list_evaluations(evaluations) else "Start a new one.",
        where=Where(file=str(evaluations)),
        name=name,
        known=", ".join(each.path.name for each in list_evaluations(evaluations)),
    )


def read_latest(evaluations: Path, *, complete: bool = False) -> EvaluationResults | None:
    """Return the newest evaluation of a run that can be read, None without one.

    With `complete`, one that isn't finished yet is passed over.
    """
    for folder in list_evaluations(evaluations):
        try:
            if not complete or folder.read_facts().finished is not None:
                return folder.read()
        except ProblemError:
            continue
    return None


def _iter_lines(file: Path, kind: type[_Model]) -> Iterator[_Model]:
    """Yield the complete lines of a file that can be parsed; others are skipped.

    Raises ProblemError beyond the limits: all of them are in memory.
    """
    try:
        stream = open_regular(file)
    except OSError:
        return
    total = 0
    with stream:
        for number, (line, size) in enumerate(iter_lines(stream)):
            total += size
            if number >= limits.EVALUATION_LINES or total > limits.EVALUATION_BYTES:
                raise _too_large_error(file)
            with suppress(ValidationError):
                yield kind.model_validate_json(line)


def _too_large_error(file: Path) -> ProblemError:
    return fail(
        "evaluation.too_large",
        "{file} is too large to show: it has more than {lines} lines or {most:size}.",
        "Start a new evaluation with fewer items or columns.",
        where=Where(file=str(file)),
        file=file.name,
        lines=limits.EVALUATION_LINES,
        most=limits.EVALUATION_BYTES,
    )
