"""Errors as values: what happened, where, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from lora_studio.core.messages import Template, Text, fill

Step = Literal["model", "lora", "dataset", "training", "merging", "export"]
STEPS: tuple[Step, ...] = ("model", "lora", "dataset", "training", "merging", "export")


class Where(BaseModel):
    """The location of a problem; every part is optional.

    `line` and `column` count from 1 in a text file, `row` counts from 1 in a dataset.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    step: Step | None = None
    field: str | None = None
    file: str | None = None
    line: int | None = None
    column: int | None = None
    row: int | None = None

    def __str__(self) -> str:
        """Return the location as text, empty if nothing is known."""
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
    """A field change that the user can apply with one click, together with the changes in `also`."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    label: Text
    step: Step
    field: str
    value: Any
    also: tuple[tuple[Step, str, Any], ...] = ()

    @property
    def changes(self) -> tuple[tuple[Step, str, Any], ...]:
        """Every step, field and value that the fix sets."""
        return ((self.step, self.field, self.value), *self.also)


#: Validation context for JSON of a process that this program has started, whose fixes are its own.
OWN_JSON = {"own": True}

#: Codes in files of version 0.1, and their current spelling.
_RENAMED_CODES = {
    "dataset.tokenised": "dataset.tokenized",
    "lora.orthogonal_on_quantised": "lora.orthogonal_on_quantized",
    "merging.dequantised_base": "merging.dequantized_base",
    "merging.quantised_base": "merging.quantized_base",
    "model.sharding_quantised": "model.sharding_quantized",
}


class Problem(BaseModel):
    """One thing that is wrong. An `error` prevents a job from starting, a `warning` does not.

    `code` is stable and dotted (`dataset.no_usable_rows`): documentation is indexed by it. `what`
    says what happened, `remedy` what to do next. A fix that was read from JSON is dropped unless it is
    validated with `OWN_JSON`: in a run from somebody else, it could change any setting.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    code: str
    what: Text
    remedy: Text
    where: Where = Where()
    severity: Literal["error", "warning"] = "error"
    fix: Fix | None = None

    @field_validator("code")
    @classmethod
    def _renamed(cls, code: str) -> str:
        return _RENAMED_CODES.get(code, code)

    @field_validator("fix", mode="before")
    @classmethod
    def _drop_foreign_fix(cls, fix: object, info: ValidationInfo) -> object:
        return fix if isinstance(fix, Fix) or info.context == OWN_JSON else None

    def __str__(self) -> str:
        """Return the problem as one English paragraph for a terminal."""
        location = str(self.where)
        return f"{self.what}{f' ({location})' if location else ''} {self.remedy}".strip()


class ProblemError(Exception):
    """Raised with one or more problems to report to the user."""

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        """Store one or several problems."""
        self.problems = [problems] if isinstance(problems, Problem) else list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class InvalidContentError(ValueError):
    """Raised for content that can't be used; `reason` completes a sentence."""

    def __init__(self, reason: Template | Text, **values: Any) -> None:
        """Store the reason: a template with `values` for its fields."""
        self.reason = fill(reason, values)
        super().__init__(str(self.reason))


def error(
    code: str,
    what: Template | Text,
    remedy: Template | Text,
    *,
    where: Where | None = None,
    fix: Fix | None = None,
    **values: Any,
) -> Problem:
    """Return a problem that prevents a job from starting; `values` fill the fields of both
    templates.
    """
    return Problem(
        code=code,
        what=fill(what, values),
        remedy=fill(remedy, values),
        where=where or Where(),
        fix=fix,
    )


def warning(
    code: str,
    what: Template | Text,
    remedy: Template | Text,
    *,
    where: Where | None = None,
    fix: Fix | None = None,
    **values: Any,
) -> Problem:
    """Return a problem that does not prevent a job from starting."""
    problem = error(code, what, remedy, where=where, fix=fix, **values)
    return problem.model_copy(update={"severity": "warning"})


def fail(
    code: str,
    what: Template | Text,
    remedy: Template | Text,
    *,
    where: Where | None = None,
    fix: Fix | None = None,
    **values: Any,
) -> ProblemError:
    """Return the error to raise: `raise fail("model.not_found", "{name} is missing.", …, name=name)`."""
    return ProblemError(error(code, what, remedy, where=where, fix=fix, **values))
