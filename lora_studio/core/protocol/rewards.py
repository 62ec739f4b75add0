"""The command that tries the rewards of a recipe before training, and what it finds."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.messages import text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Problem
from lora_studio.core.protocol.base import BaseCommand, BaseEvent
from lora_studio.core.training.spec import TrainingSpec

#: Number of rows whose answers are rated.
TRIED_ROWS = 8


class TryRewards(BaseCommand):
    """Let the base model answer the first rows to train on, and rate its answers; nothing is trained."""

    title = text("Trying the rewards")
    step = "training"
    ends_with_parent = True
    kind: Literal["try_rewards"] = "try_rewards"
    model: ModelSpec
    dataset: DatasetSpec
    training: TrainingSpec
    rows: int = Field(TRIED_ROWS, ge=1, le=64)


class TriedAnswer(BaseModel):
    """An answer of the base model with the value of each reward, before weighting, and their total.

    A value is None where its reward failed, and the total is None without all of its values. `ended`: by
    itself, not at the token limit.
    """

    model_config = ConfigDict(
        defer_build=True, frozen=True, extra="forbid", ser_json_inf_nan="strings"
    )

    prompt: str
    text: str
    values: dict[str, float | None]
    reward: float | None
    ended: bool = True


class RewardsTried(BaseEvent):
    """The rated answers, in the order of the rows, and what keeps training from learning."""

    kind: Literal["rewards_tried"] = "rewards_tried"
    answers: tuple[TriedAnswer, ...]
    problems: tuple[Problem, ...] = ()
