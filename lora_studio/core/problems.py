"""Errors as values: what happened, where, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Step = Literal["model", "lora", "dataset", "training", "merging", "export"]
STEPS: tuple[Step, ...] = ("model", "lora", "dataset", "training", "merging", "export")


class Where(BaseModel):
    """The place a problem belongs to; every part is optional.

    `line` and `column` count from 1 in a text file, `row` counts from 1 in a dataset.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: Step | None = None
    field: str | None = None
    file: str | None = None
    line: int | None = None
    column: int | None = None
    row: int | None = None

    def __str__(self) -> str:
        """The place in words, empty when nothing is known."""
        parts = []
        if self.step:
            parts.append(f"{self.step}.{self.field}" if self.field else self.step)
        if self.file:
            parts.append(self.file)
        parts += [
            f"{name} {value}"
            for name, value in (("line", self.line), ("column", self.column), ("row", self.row))
            if value is not None
        ]
        return ", ".join(parts)


class Fix(BaseModel):
    """A change of one field that the user can apply with one click, and of those in `also` with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    step: Step
    field: str
    value: Any
    also: tuple[tuple[Step, str, Any], ...] = ()

    @property
    def changes(self) -> tuple[tuple[Step, str, Any], ...]:
        """Every step, field and value that it sets."""
        return ((self.step, self.field, self.value), *self.also)


class Problem(BaseModel):
    """One thing that is wrong. An `error` keeps a job from starting, a `warning` does not.

    `code` is stable and dotted (`dataset.no_usable_rows`): documentation is indexed by it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    what: str
    remedy: str
    where: Where = Where()
    severity: Literal["error", "warning"] = "error"
    fix: Fix | None = None

    def __str__(self) -> str:
        """The problem as one paragraph for a terminal."""
        place = str(self.where)
        return f"{self.what}{f' ({place})' if place else ''} {self.remedy}".strip()


class ProblemError(Exception):
    """Carries problems up to the one place that reports them."""

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        """Takes one problem or several."""
        self.problems = [problems] if isinstance(problems, Problem) else list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def fail(code: str, what: str, remedy: str, *, where: Where | None = None) -> ProblemError:
    """Builds the error to raise: `raise fail("model.not_found", …)`."""
    return ProblemError(Problem(code=code, what=what, remedy=remedy, where=where or Where()))
