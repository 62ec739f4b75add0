"""Reward training: the variant of GRPO, and how answers are sampled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from lora_studio.core.messages import Template, text
from lora_studio.core.spec import Spec, setting
from lora_studio.core.tasks.samples import Message, Sample, TaskName
from lora_studio.core.tasks.task import Task, Turns, UsualRate

GrpoVariant = Literal["grpo", "dr_grpo", "dapo", "gspo"]


@dataclass(frozen=True)
class ClipRange:
    """How far the ratio of new to old probability may fall below 1 and rise above it."""

    low: float
    high: float


#: The clip range of each variant's authors. GRPO: 0.2 of PPO (Schulman et al. 2017), which DeepSeekMath
#: doesn't state. Dr. GRPO: section 4 keeps PPO's. DAPO: section 4.1. GSPO: section 5.1.
CLIP_RANGES: Mapping[GrpoVariant, ClipRange] = {
    "grpo": ClipRange(0.2, 0.2),
    "dr_grpo": ClipRange(0.2, 0.2),
    "dapo": ClipRange(0.2, 0.28),
    "gspo": ClipRange(3e-4, 4e-4),
}

#: Answers that are written at once for each that is trained at once.
_WRITTEN_PER_TRAINED = 8


class GrpoSettings(Spec):
    """How to learn from rewards for answers that the model writes while it trains."""

    grpo_variant: GrpoVariant = setting(
        "grpo",
        "Reward method",
        "How to learn from the rewards of several completions to one prompt. Only used with prompts.",
        choices={"grpo": "GRPO", "dr_grpo": "Dr. GRPO", "dapo": "DAPO", "gspo": "GSPO"},
        choice_details={
            "grpo": "Compares each completion with the others to its prompt. The usual choice (Shao et al. 2024).",
            "dr_grpo": "Removes GRPO's preference for long wrong completions and for prompts with similar rewards "
            "(Liu et al. 2025).",
            "dapo": "Weights all tokens equally, lets unlikely tokens grow faster, and ignores completions that "
            "were truncated at the token limit (Yu et al. 2025).",
            "gspo": "Compares whole completions instead of tokens, which is steadier for mixtures of experts and "
            "long completions (Zheng et al. 2025).",
        },
        advanced=True,
        help_topic="reward-training",
    )
    group_size: int = setting(
        8,
        "Completions per prompt",
        "Completions sampled per prompt. More give a steadier comparison and take more time.",
        unit="completions",
        ge=2,
        le=256,
        help_topic="reward-training",
    )
    rollout_tokens: int = setting(
        256,
        "Max. completion length",
        "Maximum number of tokens in a completion during reward training.",
        unit="tokens",
        ge=1,
        le=131_072,
        help_topic="reward-training",
    )
    rollout_temperature: float = setting(
        1.0,
        "Sampling temperature",
        "How varied the completions of reward training are. Without variety there is nothing to compare. "
        "1 samples from the model as it is.",
        ge=0.1,
        le=2.0,
        step=0.1,
        advanced=True,
        help_topic="reward-training",
    )
    rollout_top_p: float = setting(
        1.0,
        "Sampling top-p",
        "Samples the completions of reward training from the most likely tokens that together reach this "
        "probability. 1 allows all tokens, as the method assumes.",
        gt=0.0,
        le=1.0,
        step=0.05,
        advanced=True,
        help_topic="reward-training",
    )
    rollout_passes: int = setting(
        1,
        "Updates per completion",
        "Number of weight updates with the same completions before new ones are generated. 1 is steadiest; more "
        "save time when generating completions is slow.",
        unit="updates",
        ge=1,
        le=16,
        advanced=True,
        help_topic="reward-training",
    )
    kl_beta: float = setting(
        0.0,
        "KL weight",
        "How strongly reward training keeps the model close to the reference model. 0 turns it off and "
        "saves time; DeepSeekMath uses 0.04.",
        ge=0.0,
        le=10.0,
        step=0.01,
        advanced=True,
        help_topic="reward-training",
    )
    clip_low: float = setting(
        0.0,
        "Clip range below",
        "How far the probability of a token may fall in the updates with one set of completions, as a share. "
        "0 uses the value of the method's authors. Only matters with several updates per completion.",
        ge=0.0,
        le=0.99,
        step=0.05,
        advanced=True,
        help_topic="reward-training",
    )
    clip_high: float = setting(
        0.0,
        "Clip range above",
        "How far the probability of a token may rise in the updates with one set of completions, as a share. "
        "0 uses the value of the method's authors. Only matters with several updates per completion.",
        ge=0.0,
        le=10.0,
        step=0.05,
        advanced=True,
        help_topic="reward-training",
    )

    def count_answers_at_once(self, micro_batch: int) -> int:
        """Return the number of answers that are written at once, where so many rows are trained at once.

        Writing keeps keys and values only, so it needs far less memory per token than training.
        """
        return _WRITTEN_PER_TRAINED * micro_batch

    @property
    def clip_range(self) -> ClipRange:
        """Return the clip range in use: the settings, or the variant's own values where they are 0."""
        own = CLIP_RANGES[self.grpo_variant]
        return ClipRange(self.clip_low or own.low, self.clip_high or own.high)


class RewardTask(Task):
    """Learn from rewards for answers that the model writes to prompts."""

    name: ClassVar[TaskName] = "grpo"
    title: ClassVar[str] = "prompts that the model answers for rewards"
    contents: ClassVar[Template] = "{file} has prompts for rewards"
    headings: ClassVar[tuple[Template, Template]] = ("Prompt", "Reference")
    settings: ClassVar[tuple[str, ...]] = tuple(GrpoSettings.model_fields)
    unused_settings: ClassVar[Template] = "Not used: your data has no prompts for rewards."
    keeps_columns: ClassVar[bool] = True
    writes_rollouts: ClassVar[bool] = True
    counts_tokens: ClassVar[bool] = False

    def iter_conversations(self, sample: Sample) -> Iterator[Turns]:
        """Yield the prompt with an answer to come, or the expected one."""
        yield (*sample.messages, Message(role="assistant", content=sample.reference or ""))

    def get_answers(self, sample: Sample) -> list[Turns]:
        """Return the expected answer, if there is one."""
        return [self.split_last_answer(sample)[1]]

    def split_last_answer(self, sample: Sample) -> tuple[Turns, Turns]:
        """Return the prompt and the expected answer, if there is one."""
        if not (sample.reference or "").strip():
            return sample.messages, ()
        return sample.messages, (Message(role="assistant", content=sample.reference or ""),)

    def find_usual_rate(self, method: str) -> UsualRate | None:
        """Return ten times the default of TRL's GRPOConfig, 1e-6, which is for training all weights."""
        return UsualRate(text("reward training"), 1e-5, 1e-4)
