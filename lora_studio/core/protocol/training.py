"""The command that trains, and the events of a training run."""

from __future__ import annotations

from collections.abc import Container
from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.messages import Text, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Problem
from lora_studio.core.protocol.base import BaseCommand, BaseEvent
from lora_studio.core.tasks.classification import ClassificationReport
from lora_studio.core.training.spec import TrainingSpec


class Train(BaseCommand):
    """Train the adapter of a run; `resume` continues from its last complete checkpoint.

    `lower`: use less memory than the previous attempt, which the system killed for lack of memory.
    """

    title = text("Training")
    step = "training"
    changes_run = True
    state_after = "trained"
    trains = True
    kind: Literal["train"] = "train"
    run: str
    resume: bool = False
    lower: bool = False


Component = Literal[
    "weights", "adapters", "gradients", "optimizer", "activations", "logits", "overhead"
]
COMPONENTS: dict[Component, str] = {
    "weights": "Weights",
    "adapters": "Adapters",
    "gradients": "Gradients",
    "optimizer": "Optimizer",
    "activations": "Activations",
    "logits": "Logits",
    "overhead": "Overhead",
}


class MemoryEstimate(BaseModel):
    """Bytes at the peak of a training, by component; `tokens` is the size of its largest
    micro-batch.

    With several GPUs, it is about the one with the least free memory; with several CPU processes,
    about all of them together. `available` is the free memory of the device, None if unknown.
    `uncounted` is the part of the overhead that a device does not report as memory in use,
    `guessed` the part of the total that depends on measured factors and that
    `MemoryPlan.correction` applies to. `seconds` is the duration, None before anything was trained
    on this machine. `teacher` is the memory of a teacher's passes, after which it is freed, and
    `teacher_cache` the disk space of its probabilities.
    """

    model_config = ConfigDict(
        defer_build=True, frozen=True, extra="forbid", ser_json_inf_nan="strings"
    )

    weights: int
    adapters: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    overhead: int
    tokens: int
    uncounted: int = 0
    guessed: int = 0
    available: int | None = None
    device: str | Text = ""
    seconds: float | None = None
    teacher: int = 0
    teacher_cache: int = 0

    @property
    def parts(self) -> dict[Component, int]:
        """Bytes of each component, in the order they are shown."""
        return {name: getattr(self, name) for name in COMPONENTS}

    @property
    def total(self) -> int:
        """Bytes at the peak of the training, or of the teacher's passes before it if they need more."""
        return max(sum(self.parts.values()), self.teacher)

    @property
    def reported(self) -> int:
        """The peak as the device itself reports it (`StepDone.memory_bytes`)."""
        return sum(self.parts.values()) - self.uncounted

    @property
    def fits(self) -> bool | None:
        """Whether the total fits in the available memory; None while that is unknown."""
        return None if self.available is None else self.total <= self.available


def describe_teacher(memory: MemoryEstimate) -> Text:
    """Return what the teacher needs before the training."""
    return text(
        "The teacher needs about {memory:memory} first, and is freed before the training. Its probabilities "
        "take up to {disk:size} on disk.",
        memory=memory.teacher,
        disk=memory.teacher_cache,
    )


class TrainingStarted(BaseEvent):
    """The plan of a training; `step` is where it resumes, 0 for a new one."""

    kind: Literal["training_started"] = "training_started"
    steps: int
    step: int = 0
    steps_per_epoch: float
    effective_batch: int


class MemoryEstimated(BaseEvent):
    """The estimated memory of a training run, from its model and rows, before the first step."""

    kind: Literal["memory_estimated"] = "memory_estimated"
    estimate: MemoryEstimate


class StepDone(BaseEvent):
    """One optimizer step. Loss in nats per trained token, memory at its peak so far in bytes.

    `metrics` are additional metrics of an objective, such as how often the chosen answer is
    preferred. Utilization is in percent: of time for a GPU, of all CPU cores for this process on a
    CPU; None if unknown.
    """

    kind: Literal["step_done"] = "step_done"
    step: int
    steps: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    tokens_per_s: float
    memory_bytes: int
    gpu_percent: float | None = None
    gpu_celsius: float | None = None
    cpu_percent: float | None = None
    eta_s: float | None = None
    metrics: dict[str, float] = Field(
        default_factory=dict, validation_alias=AliasChoices("metrics", "figures")
    )


#: The name of the mean score of answers to validation rows among the metrics of `Evaluated`.
ANSWER_SCORE = "answer_score"
#: The name of the mean reward among the metrics of a step and of an evaluation of reward training.
REWARD = "reward"
#: The name of the share of answers without a reward, which every step of reward training has.
FAILED_SHARE = "failed_share"

#: What decides on the best adapter.
BestMetric = Literal["loss", "score", "reward"]


def has_rewards(metrics: Container[str]) -> bool:
    """Return whether metrics, by name, are those of reward training; some steps have no mean reward."""
    return REWARD in metrics or FAILED_SHARE in metrics


class Evaluated(BaseEvent):
    """Loss on the validation rows, in nats per trained token or in the objective's unit.

    For reward training, `loss` is the negative mean reward, NaN without any; show `metrics` instead.
    `classification` is how well a classifier predicts the labels of the rows.
    """

    kind: Literal["evaluated"] = "evaluated"
    step: int
    loss: float
    metrics: dict[str, float] = Field(
        default_factory=dict, validation_alias=AliasChoices("metrics", "figures")
    )
    classification: ClassificationReport | None = None

    @property
    def has_rewards(self) -> bool:
        """Whether the answers of validation prompts were rated, as reward training does."""
        return has_rewards(self.metrics)


class CheckpointSaved(BaseEvent):
    """A complete checkpoint to resume training from."""

    kind: Literal["checkpoint_saved"] = "checkpoint_saved"
    step: int
    folder: str


class Recovered(BaseEvent):
    """Memory ran out; training continues after step `step` with less memory.

    The effective batch stays the same; `why` is a sentence about what ran out. `stopped_filling`: short rows
    no longer share larger micro-batches, and nothing else changed.
    """

    kind: Literal["recovered"] = "recovered"
    step: int
    micro_batch: int
    gradient_accumulation: int
    gradient_checkpointing: bool
    stopped_filling: bool = False
    why: Text

    @property
    def text(self) -> Text:
        """Return what happened and how training continues."""
        if self.stopped_filling:
            template = (
                "{why} Training continues after step {step}. Short rows no longer share larger micro-batches; "
                "the effective batch size stays the same."
            )
        elif self.gradient_checkpointing:
            template = (
                "{why} Training continues after step {step} with micro-batches of {micro_batch} and "
                "gradient checkpointing; the effective batch size stays the same."
            )
        else:
            template = (
                "{why} Training continues after step {step} with micro-batches of {micro_batch}; "
                "the effective batch size stays the same."
            )
        return text(template, why=self.why, step=self.step, micro_batch=self.micro_batch)


class Sampled(BaseEvent):
    """An answer to a sample prompt at an evaluation, by the model after `step`.

    For `step` 0 it is the base model's answer, which is generated once. `prompt` is the prompt as
    text to display.
    """

    kind: Literal["sampled"] = "sampled"
    step: int
    index: int
    prompt: str
    source: Literal["base", "tuned"]
    text: str


class ShownAnswer(BaseModel):
    """An answer of reward training; `values` are those of each reward before weighting.

    `prompt` and `text` may be shortened. `ended`: by itself, not at the token limit.
    """

    model_config = ConfigDict(
        defer_build=True, frozen=True, extra="forbid", ser_json_inf_nan="strings"
    )

    prompt: str
    text: str
    reference: str | None = None
    reward: float
    values: dict[str, float] = Field(default_factory=dict)
    ended: bool = True


class AnswersRated(BaseEvent):
    """The best and the worst answer of a step of reward training, by the model before its update."""

    kind: Literal["answers_rated"] = "answers_rated"
    step: int
    best: ShownAnswer
    worst: ShownAnswer


class EndedEarly(BaseEvent):
    """Training ends early: what decides hasn't improved for `evaluations` in a row."""

    kind: Literal["ended_early"] = "ended_early"
    step: int
    evaluations: int
    best_by: BestMetric = "loss"


class AdapterSaved(BaseEvent):
    """The adapter was saved in PEFT's layout, with its weights after `step`; `bytes` of its folder, tokenizer included.

    One of `best_loss`, `best_score`, and `best_reward` is set if it is the best adapter instead of the last
    one: its eval loss, the score of its answers to validation rows, or their mean reward.
    """

    kind: Literal["adapter_saved"] = "adapter_saved"
    step: int
    folder: str
    bytes: int
    best_loss: float | None = None
    best_score: float | None = None
    best_reward: float | None = None

    @property
    def is_best(self) -> bool:
        """Whether it is the best adapter instead of the last one."""
        return any(
            value is not None for value in (self.best_loss, self.best_score, self.best_reward)
        )


#: Number of rows whose answers are rated.
PREVIEW_ROWS = 8


class PreviewRewards(BaseCommand):
    """Let the base model answer the first rows to train on, and rate its answers; nothing is trained."""

    title = text("Trying the rewards")
    step = "training"
    ends_with_parent = True
    kind: Literal["preview_rewards"] = "preview_rewards"
    model: ModelSpec
    dataset: DatasetSpec
    training: TrainingSpec
    rows: int = Field(PREVIEW_ROWS, ge=1, le=64)


class PreviewAnswer(BaseModel):
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


class RewardsPreviewed(BaseEvent):
    """The rated answers, in the order of the rows, and what keeps training from learning."""

    kind: Literal["rewards_previewed"] = "rewards_previewed"
    answers: tuple[PreviewAnswer, ...]
    problems: tuple[Problem, ...] = ()
