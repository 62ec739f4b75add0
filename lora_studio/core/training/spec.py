"""The training step: the hyperparameters of the optimization."""

from __future__ import annotations

import math
from typing import Literal

from lora_studio.core.rewards.spec import RewardSpec
from lora_studio.core.spec import setting
from lora_studio.core.tasks.classification import ClassificationSettings
from lora_studio.core.tasks.embedding import EmbeddingSettings
from lora_studio.core.tasks.grpo import GrpoSettings
from lora_studio.core.tasks.preference import PreferenceSettings
from lora_studio.core.tasks.table import TASKS
from lora_studio.core.training.best_by import TITLES as TITLES_OF_BEST_BY
from lora_studio.core.training.best_by import BestBy
from lora_studio.core.training.distillation import DistillationSettings
from lora_studio.core.training.optimizers import OPTIMIZERS, TITLES, Optimizer
from lora_studio.core.training.trackers import TITLES as TITLES_OF_TRACKERS
from lora_studio.core.training.trackers import Tracker

Schedule = Literal[
    "linear", "cosine", "cosine_with_restarts", "cosine_with_min_lr", "polynomial", "constant",
    "inverse_sqrt", "warmup_stable_decay", "reduce_on_plateau",
]  # fmt: skip
Cadence = Literal["steps", "epochs"]
Checkpointing = Literal["off", "on", "unsloth"]

Backend = Literal["auto", "peft", "unsloth"]


class TrainingSpec(
    PreferenceSettings,
    GrpoSettings,
    DistillationSettings,
    EmbeddingSettings,
    ClassificationSettings,
):
    """How the adapter is optimized."""

    rewards: tuple[RewardSpec, ...] = setting(
        (),
        "Rewards",
        "How answers are rated when the model learns from rewards. The total is the sum of the "
        "values, each multiplied by its weight.",
        help_topic="rewards",
    )
    epochs: float = setting(
        3.0,
        "Epochs",
        "Number of passes over the dataset.",
        gt=0.0,
        le=1000.0,
        step=0.5,
        help_topic="epochs-and-steps",
    )
    max_steps: int = setting(
        0,
        "Max. steps",
        "Ends training after this many optimizer steps. 0 trains for all epochs.",
        unit="steps",
        ge=0,
        le=1_000_000_000,
        advanced=True,
        help_topic="epochs-and-steps",
    )
    micro_batch: int = setting(
        4,
        "Micro-batch size",
        "Rows processed at once. Memory grows with it.",
        unit="rows",
        ge=1,
        le=1024,
        help_topic="effective-batch-size",
    )
    gradient_accumulation: int = setting(
        4,
        "Gradient accumulation",
        "Micro-batches accumulated before each optimizer step. Effective batch size = "
        "micro-batch size × gradient accumulation.",
        unit="micro-batches",
        ge=1,
        le=4096,
        help_topic="effective-batch-size",
    )
    learning_rate: float = setting(
        2e-4,
        "Learning rate",
        "Peak learning rate. 1e-4 to 3e-4 suits most LoRA runs; models below 1 B parameters often need more.",
        gt=0.0,
        le=1.0,
        help_topic="learning-rate",
    )
    lora_plus_ratio: float = setting(
        1.0,
        "LoRA+ ratio",
        "Learning rate of the B matrices divided by that of the A matrices. 1 uses the same "
        "rate for both; 16 often learns faster (LoRA+, Hayou et al. 2024).",
        ge=1.0,
        le=1000.0,
        step=1.0,
        advanced=True,
        help_topic="lora-plus",
    )
    neftune_alpha: float = setting(
        0.0,
        "NEFTune noise",
        "Strength of random noise added to the embeddings during training, which reduces "
        "overfitting on small datasets (Jain et al. 2023). 5 is common, 0 turns it off.",
        ge=0.0,
        le=100.0,
        step=1.0,
        advanced=True,
        help_topic="neftune",
    )
    schedule: Schedule = setting(
        "cosine",
        "Learning rate schedule",
        "How the learning rate decays after warmup.",
        choices={
            "linear": "Linear",
            "cosine": "Cosine",
            "cosine_with_restarts": "Cosine with restarts",
            "cosine_with_min_lr": "Cosine to a minimum",
            "polynomial": "Polynomial",
            "constant": "Constant",
            "inverse_sqrt": "Inverse square root",
            "warmup_stable_decay": "Warmup, stable, decay",
            "reduce_on_plateau": "Reduce on plateau",
        },
        advanced=True,
        help_topic="schedules",
    )
    warmup_share: float = setting(
        0.03,
        "Warmup ratio",
        "Share of all steps over which the learning rate rises from zero.",
        ge=0.0,
        le=1.0,
        step=0.01,
        advanced=True,
        help_topic="schedules",
    )
    warmup_steps: int = setting(
        0,
        "Warmup steps",
        "Overrides the warmup ratio. 0 uses the ratio.",
        unit="steps",
        ge=0,
        le=1_000_000_000,
        advanced=True,
        help_topic="schedules",
    )
    lowest_rate: float = setting(
        0.1,
        "Min. learning rate",
        "Final learning rate as a share of the peak learning rate.",
        ge=0.0,
        le=0.99,
        step=0.05,
        advanced=True,
        help_topic="schedules",
    )
    schedule_cycles: int = setting(
        3,
        "Cycles",
        "How many times the cosine schedule decays from its peak to zero.",
        ge=1,
        le=1000,
        advanced=True,
        help_topic="schedules",
    )
    schedule_power: float = setting(
        2.0,
        "Power",
        "Exponent of the polynomial schedule. 1 is linear; higher values decay faster at first.",
        gt=0.0,
        le=10.0,
        step=0.5,
        advanced=True,
        help_topic="schedules",
    )
    decay_share: float = setting(
        0.2,
        "Decay ratio",
        "Share of all steps, at the end, over which the learning rate decays.",
        ge=0.0,
        le=1.0,
        step=0.05,
        advanced=True,
        help_topic="schedules",
    )
    optimizer: Optimizer = setting(
        "adamw",
        "Optimizer",
        "AdamW suits nearly everything. 8-bit optimizers use a quarter of its memory. On CUDA, "
        "paged optimizers can move their state to main memory. Lion uses half the memory and "
        "needs a lower learning rate. Schedule-free optimizers need no schedule.",
        choices=TITLES,
        advanced=True,
        help_topic="optimizers",
    )
    weight_decay: float = setting(
        0.0,
        "Weight decay",
        "Pulls adapter weights toward zero at each step, scaled by the learning rate.",
        ge=0.0,
        le=10.0,
        step=0.01,
        advanced=True,
        help_topic="weight-decay",
    )
    max_grad_norm: float = setting(
        1.0,
        "Gradient clipping",
        "Maximum gradient norm. 0 turns clipping off.",
        ge=0.0,
        le=1000.0,
        step=0.1,
        advanced=True,
        help_topic="gradient-clipping",
    )
    gradient_checkpointing: Checkpointing = setting(
        "off",
        "Gradient checkpointing",
        "Recomputes activations in the backward pass instead of storing them: much less "
        "memory, about a third slower. Unsloth's version also offloads what it stores to main"
        " memory.",
        choices={"off": "Off", "on": "On", "unsloth": "Unsloth"},
        advanced=True,
        help_topic="gradient-checkpointing",
    )
    packing: bool = setting(
        True,
        "Sequence packing",
        "Concatenates the rows of a micro-batch without padding; attention stays within each "
        "row. Same result, less time and memory.",
        advanced=True,
        help_topic="packing",
    )
    group_by_length: bool = setting(
        False,
        "Group by length",
        "Puts rows of similar length into the same step, so that time and memory per step "
        "vary less. The order is less random.",
        advanced=True,
        help_topic="packing",
    )
    torch_compile: Literal["off", "auto"] = setting(
        "off",
        "torch.compile",
        "Compiles the feed-forward layers where that is faster. This is measured on the "
        "longest micro-batch before training, which takes about a minute.",
        choices={"off": "Off", "auto": "Where it is faster"},
        advanced=True,
        help_topic="compiling",
    )
    liger: Literal["auto", "off"] = setting(
        "auto",
        "Liger and compiled kernels",
        "Kernels for norms, gated MLPs, and rotary embeddings: Liger's on GPUs with Liger "
        "installed, also for the loss; compiled ones in long 16-bit training runs on Linux CPUs "
        "with AMX and g++. Each is tested first and skipped if its values or gradients differ.",
        choices={"auto": "Where results match", "off": "Off"},
        advanced=True,
        help_topic="kernels",
    )
    cadence: Cadence = setting(
        "steps",
        "Interval unit",
        "Unit of the evaluation and checkpoint intervals.",
        choices={"steps": "Steps", "epochs": "Epochs"},
        advanced=True,
        help_topic="evaluation-and-samples",
    )
    eval_every: float = setting(
        0.0,
        "Evaluate every",
        "Steps or epochs between two evaluations on the validation rows. 0 evaluates after "
        "each epoch.",
        ge=0.0,
        le=1_000_000_000.0,
        step=1.0,
        advanced=True,
        help_topic="evaluation-and-samples",
    )
    save_every: float = setting(
        100.0,
        "Checkpoint every",
        "Steps or epochs between two checkpoints. 0 saves by time only, and at the end.",
        ge=0.0,
        le=1_000_000_000.0,
        step=1.0,
        advanced=True,
        help_topic="checkpoints",
    )
    sample_prompts: tuple[str, ...] = setting(
        (),
        "Sample prompts",
        "Prompts that the fine-tuned model and the base model answer at each evaluation. One "
        "per line.",
        lines=True,
        advanced=True,
        help_topic="evaluation-and-samples",
    )
    sample_rows: int = setting(
        2,
        "Sample rows",
        "Number of validation rows whose prompts are answered as well. 0 for none.",
        unit="rows",
        ge=0,
        le=64,
        advanced=True,
        help_topic="evaluation-and-samples",
    )
    sample_tokens: int = setting(
        64,
        "Max. sample length",
        "Maximum number of tokens in an answer to a sample prompt or to a scored row.",
        unit="tokens",
        ge=1,
        le=4096,
        advanced=True,
        help_topic="evaluation-and-samples",
    )
    keep_best: bool = setting(
        True,
        "Keep the best adapter",
        "Saves the adapter of the best evaluation at the end. Needs validation rows.",
        advanced=True,
        help_topic="best-adapter",
    )
    best_by: BestBy = setting(
        "loss",
        "Best adapter by",
        "Decides on the best adapter and early stopping: eval loss, or the score of answers to "
        "validation rows, which takes longer.",
        choices=TITLES_OF_BEST_BY,
        advanced=True,
        help_topic="best-adapter",
    )
    scored_rows: int = setting(
        32,
        "Scored rows",
        "Number of validation rows whose answers are scored, if answers decide.",
        unit="rows",
        ge=1,
        le=1000,
        advanced=True,
        help_topic="best-adapter",
    )
    early_stopping: int = setting(
        0,
        "Early stopping patience",
        "Ends training after this many evaluations without improvement. 0 turns it off.",
        unit="evaluations",
        ge=0,
        le=1000,
        advanced=True,
        help_topic="best-adapter",
    )
    early_stopping_delta: float = setting(
        0.0,
        "Min. improvement",
        "Minimum decrease of the eval loss in nats, or increase of the score, that counts.",
        ge=0.0,
        le=100.0,
        step=0.01,
        advanced=True,
        help_topic="best-adapter",
    )
    save_minutes: float = setting(
        10.0,
        "Max. time between checkpoints",
        "Maximum time between two checkpoints, which limits how much work a power cut can "
        "cost. 0 saves by steps only.",
        unit="minutes",
        ge=0.0,
        le=10_000.0,
        step=5.0,
        advanced=True,
        help_topic="checkpoints",
    )
    keep_checkpoints: int = setting(
        2,
        "Checkpoints to keep",
        "Older checkpoints are deleted when a newer one is complete.",
        ge=1,
        le=1000,
        advanced=True,
        help_topic="checkpoints",
    )
    backend: Backend = setting(
        "auto",
        "Backend",
        "Library that loads and wraps the model. Automatic uses PEFT, which works everywhere; estimates of memory "
        "and time are for PEFT. Unsloth has its own kernels for the GPUs and models that it supports.",
        choices={"auto": "Automatic", "peft": "PEFT", "unsloth": "Unsloth"},
        advanced=True,
        help_topic="backends",
    )
    trackers: tuple[Tracker, ...] = setting(
        (),
        "Experiment trackers",
        "Also log loss, learning rate, and evaluations to these trackers. Weights & Biases works "
        "offline until you run wandb login. Each tracker needs its package.",
        choices=TITLES_OF_TRACKERS,
        advanced=True,
        help_topic="trackers",
    )
    seed: int = setting(
        42,
        "Seed",
        "Seed for the order of rows, the validation split, and the initialization of the adapter.",
        ge=0,
        le=2**32 - 1,
        advanced=True,
        help_topic="seeds",
    )

    def trains_reward_model(self, task: str | None) -> bool:
        """Return whether the training yields a model that scores answers, with data of a task."""
        known = TASKS.get(task or "")
        return known is not None and known.is_reward_model(self.preference)

    def trains_generative_model(self, task: str | None) -> bool:
        """Return whether the training yields a model that writes text, with data of a task."""
        known = TASKS.get(task or "")
        return known is None or known.writes_text(self.preference)

    def count_head_outputs(self, task: str | None, labels: int) -> int:
        """Return the outputs of the head that trains with the adapter: a reward, or one per label; else 0."""
        known = TASKS.get(task or "")
        if known is not None and known.has_classes:
            return labels
        return int(self.trains_reward_model(task))

    @property
    def effective_batch(self) -> int:
        """Rows per optimizer step."""
        return self.micro_batch * self.gradient_accumulation

    def count_steps_per_epoch(self, rows: int) -> int:
        """Return the optimizer steps in an epoch of `rows` rows; the last step may have fewer rows."""
        return math.ceil(rows / self.effective_batch)

    def count_steps(self, rows: int) -> int:
        """Return the optimizer steps of a whole training with `rows` rows per epoch, at least one."""
        steps = max(1, round(self.epochs * self.count_steps_per_epoch(rows)))
        return min(steps, self.max_steps) if self.max_steps else steps

    def count_warmup_steps(self, steps: int) -> int:
        """Return the warmup steps of a training of `steps` steps."""
        return min(self.warmup_steps, steps) or math.ceil(self.warmup_share * steps)

    def count_steps_between(self, every: float, steps_per_epoch: float) -> int:
        """Return `eval_every` or `save_every` in optimizer steps, 0 if it is 0."""
        if every == 0:
            return 0
        return max(1, round(every * (steps_per_epoch if self.cadence == "epochs" else 1)))

    @property
    def schedule_free(self) -> bool:
        """Whether the optimizer replaces a schedule: its rate is constant after warmup."""
        return OPTIMIZERS[self.optimizer].schedule_free
