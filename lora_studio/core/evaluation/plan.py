"""What to evaluate: test sets, columns, measures, sampling, and a judge."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lora_studio.core.chat import Sampling
from lora_studio.core.evaluation.columns import Column, ColumnModel
from lora_studio.core.evaluation.test_sets import HeldoutRows, TestSet

#: Greedy decoding: the same answers each time, up to the arithmetic of the device.
GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, max_tokens=256)


class JudgeSettings(BaseModel):
    """A model that decides which of two answers is better, each pair in both orders.

    Every column is compared with the column `baseline`, "" for the first one. `criteria` is what counts;
    it is part of the text that the judge receives.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    model: ColumnModel
    baseline: str = ""
    criteria: str = ""


class EvaluationPlan(BaseModel):
    """An evaluation as it was started; stored with its results as `plan.json`.

    `measures` are names for every test set, () for those that suit each. `batch` is the number of answers
    generated at once, 0 for automatic.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    schema_version: int = 1
    title: str = ""
    columns: tuple[Column, ...] = Field(min_length=1)
    test_sets: tuple[TestSet, ...] = Field((HeldoutRows(),), min_length=1)
    measures: tuple[str, ...] = ()
    sampling: Sampling = GREEDY
    judge: JudgeSettings | None = None
    batch: int = Field(0, ge=0, le=1024)

    @model_validator(mode="after")
    def _check_unique(self) -> EvaluationPlan:
        for what, keys in (
            ("columns", [column.key for column in self.columns]),
            ("test sets", [test_set.key for test_set in self.test_sets]),
        ):
            if len(set(keys)) != len(keys):
                raise ValueError(f"two {what} have the same key")
        return self

    def get_column(self, key: str) -> Column:
        """Return a column by its key; raises KeyError."""
        for column in self.columns:
            if column.key == key:
                return column
        raise KeyError(key)
