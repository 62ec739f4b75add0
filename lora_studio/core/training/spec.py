"""The training step: the recipe of the optimisation."""

from __future__ import annotations

import math
from typing import Literal

from lora_studio.core.spec import Spec, setting
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


class TrainingSpec(Spec):
    """How the adapter is optimised."""

    preference: Literal["dpo", "orpo"] = setting(
        "dpo",
        "Preference method",
        "How pairs of a better and a worse answer are learned from: DPO compares with the base "
        "model, ORPO does without and also learns the better answer itself. Used with pairs only.",
        choices={"dpo": "DPO", "orpo": "ORPO"},
        advanced=True,
        help_topic="preference-losses",
    )
    beta: float = setting(
        0.1,
        "Beta",
        "Of preference training: how strongly DPO and labelled answers (KTO) are held near the base "
        "model, and the weight of the comparison in ORPO. 0.1 is usual.",
        gt=0.0,
        le=100.0,
        step=0.05,
        advanced=True,
        help_topic="preference-losses",
    )
    epochs: float = setting(
        3.0,
        "Epochs",
        "How often the whole dataset is gone through.",
        gt=0.0,
        le=1000.0,
        step=0.5,
        help_topic="epochs-and-steps",
    )
    max_steps: int = setting(
        0,
        "Step limit",
        "Ends training after this many optimizer steps. 0: no limit but the epochs.",
        unit="steps",
        ge=0,
        le=1_000_000_000,
        advanced=True,
        help_topic="epochs-and-steps",
    )
    micro_batch: int = setting(
        4,
        "Micro-batch",
        "Conversations processed at once. Memory grows with it.",
        unit="rows",
        ge=1,
        le=1024,
        help_topic="effective-batch-size",
    )
    gradient_accumulation: int = setting(
        4,
        "Gradient accumulation",
        "Micro-batches added up before each optimizer step. The effective batch is micro-batch × "
        "accumulation.",
        unit="micro-batches",
        ge=1,
        le=4096,
        help_topic="effective-batch-size",
    )
    learning_rate: float = setting(
        2e-4,
        "Learning rate",
        "Size of an optimizer step at its highest. 1e-4 to 3e-4 suits most LoRA runs.",
        gt=0.0,
        le=1.0,
        help_topic="learning-rate",
    )
    lora_plus_ratio: float = setting(
        1.0,
        "LoRA+ ratio",
        "Learning rate of the adapter's B matrices over that of its A matrices. 1: the same for "
        "both; 16 often learns faster (LoRA+, Hayou et al. 2024).",
        ge=1.0,
        le=1000.0,
        step=1.0,
        advanced=True,
        help_topic="lora-plus",
    )
    neftune_alpha: float = setting(
        0.0,
        "NEFTune noise",
        "Strength of random noise on the embeddings while training, against parroting of small "
        "datasets (Jain et al. 2023). 5 is usual. 0: none.",
        ge=0.0,
        le=100.0,
        step=1.0,
        advanced=True,
        help_topic="neftune",
    )
    schedule: Schedule = setting(
        "cosine",
        "Schedule",
        "How the learning rate falls after the warm-up.",
        choices={
            "linear": "Linear",
            "cosine": "Cosine",
            "cosine_with_restarts": "Cosine with restarts",
            "cosine_with_min_lr": "Cosine to a lowest rate",
            "polynomial": "Polynomial",
            "constant": "Constant",
            "inverse_sqrt": "Inverse square root",
            "warmup_stable_decay": "Stable, then decay",
            "reduce_on_plateau": "Halve on a plateau",
        },
        advanced=True,
        help_topic="schedules",
    )
    warmup_share: float = setting(
        0.03,
        "Warm-up",
        "Share of all steps over which the learning rate rises from zero.",
        ge=0.0,
        le=1.0,
        step=0.01,
        advanced=True,
        help_topic="schedules",
    )
    warmup_steps: int = setting(
        0,
        "Warm-up steps",
        "Counts instead of the share where it is not 0.",
        unit="steps",
        ge=0,
        le=1_000_000_000,
        advanced=True,
        help_topic="schedules",
    )
    lowest_rate: float = setting(
        0.1,
        "Lowest rate",
        "Where the learning rate ends, as a share of its highest.",
        ge=0.0,
        le=0.99,
        step=0.05,
        advanced=True,
        help_topic="schedules",
    )
    schedule_cycles: int = setting(
        3,
        "Restarts",
        "How many times the cosine runs from its highest to zero.",
        ge=1,
        le=1000,
        advanced=True,
        help_topic="schedules",
    )
    schedule_power: float = setting(
        2.0,
        "Power",
        "Of the polynomial: 1 is a straight line, more falls faster at first.",
        gt=0.0,
        le=10.0,
        step=0.5,
        advanced=True,
        help_topic="schedules",
    )
    decay_share: float = setting(
        0.2,
        "Decay",
        "Share of all steps, the last ones, over which the stable learning rate falls.",
        ge=0.0,
        le=1.0,
        step=0.05,
        advanced=True,
        help_topic="schedules",
    )
    optimizer: Optimizer = setting(
        "adamw",
        "Optimizer",
        "AdamW suits nearly everything. 8-bit ones keep a quarter of its memory, paged ones can spill "
        "to main memory on CUDA, Lion keeps half and wants a lower learning rate, schedule-free ones "
        "need no schedule.",
        choices=TITLES,
        advanced=True,
        help_topic="optimizers",
    )
    weight_decay: float = setting(
        0.0,
        "Weight decay",
        "Pull of adapter weights towards zero at each step, times the learning rate.",
        ge=0.0,
        le=10.0,
        step=0.01,
        advanced=True,
        help_topic="weight-decay",
    )
    max_grad_norm: float = setting(
        1.0,
        "Gradient clipping",
        "Largest norm of the gradient of one step. 0 switches clipping off.",
        ge=0.0,
        le=1000.0,
        step=0.1,
        advanced=True,
        help_topic="gradient-clipping",
    )
    gradient_checkpointing: Checkpointing = setting(
        "off",
        "Gradient checkpointing",
        "Computes activations twice instead of keeping them: much less memory, about a third "
        "slower. Unsloth's also moves what it keeps to main memory.",
        choices={"off": "Off", "on": "On", "unsloth": "Unsloth's"},
        advanced=True,
        help_topic="gradient-checkpointing",
    )
    packing: bool = setting(
        True,
        "Packing",
        "Puts the rows of a micro-batch end to end, with attention inside each row only, so that "
        "nothing is computed for padding. Same result, less time and memory.",
        advanced=True,
        help_topic="packing",
    )
    group_by_length: bool = setting(
        False,
        "Group by length",
        "Rows of like length share a step: steps take more even time and memory, in an order that is "
        "less random.",
        advanced=True,
        help_topic="packing",
    )
    torch_compile: Literal["off", "auto"] = setting(
        "off",
        "torch.compile",
        "Joins small computations of the feed-forward parts into larger ones. Where it pays is measured "
        "on the longest micro-batch before training, which takes a minute.",
        choices={"off": "Off", "auto": "Where it pays"},
        advanced=True,
        help_topic="compiling",
    )
    liger: Literal["auto", "off"] = setting(
        "auto",
        "Liger kernels",
        "Norms, gates, rotations and the scores of logits in one pass each, on a GPU for which Liger is "
        "installed. Each is tried first; what gives other values or gradients is left out.",
        choices={"auto": "Where they agree", "off": "Off"},
        advanced=True,
        help_topic="kernels",
    )
    cadence: Cadence = setting(
        "steps",
        "Count in",
        "What the two intervals below are counted in.",
        choices={"steps": "Steps", "epochs": "Epochs"},
        advanced=True,
        help_topic="evaluation-and-samples",
    )
    eval_every: float = setting(
        0.0,
        "Evaluate every",
        "Steps or epochs between two looks at the validation rows. 0: after each epoch.",
        ge=0.0,
        le=1_000_000_000.0,
        step=1.0,
        advanced=True,
        help_topic="evaluation-and-samples",
    )
    save_every: float = setting(
        100.0,
        "Checkpoint every",
        "Steps or epochs between two checkpoints. 0: by time alone, and at the end.",
        ge=0.0,
        le=1_000_000_000.0,
        step=1.0,
        advanced=True,
        help_topic="checkpoints",
    )
    sample_prompts: tuple[str, ...] = setting(
        (),
        "Sample prompts",
        "Answered at each evaluation by the tuned model, beside the base model. One a line.",
        lines=True,
        advanced=True,
        help_topic="evaluation-and-samples",
    )
    sample_rows: int = setting(
        2,
        "Sample rows",
        "Validation rows whose prompts are answered as well. 0: none.",
        unit="rows",
        ge=0,
        le=64,
        advanced=True,
        help_topic="evaluation-and-samples",
    )
    sample_tokens: int = setting(
        64,
        "Longest sample",
        "An answer to a sample prompt ends after this many tokens.",
        unit="tokens",
        ge=1,
        le=4096,
        advanced=True,
        help_topic="evaluation-and-samples",
    )
    keep_best: bool = setting(
        True,
        "Keep the best",
        "The adapter at the end is the one with the lowest eval loss, not the last one. Takes "
        "validation rows.",
        advanced=True,
        help_topic="best-adapter",
    )
    early_stopping: int = setting(
        0,
        "Early stopping",
        "Ends training when eval loss has not fallen for this many evaluations. 0: never.",
        unit="evaluations",
        ge=0,
        le=1000,
        advanced=True,
        help_topic="best-adapter",
    )
    early_stopping_delta: float = setting(
        0.0,
        "Least improvement",
        "Eval loss has to fall by more than this, in nats, to count for early stopping.",
        ge=0.0,
        le=100.0,
        step=0.01,
        advanced=True,
        help_topic="best-adapter",
    )
    save_minutes: float = setting(
        10.0,
        "Checkpoint at least every",
        "Longest time between two checkpoints: what a power cut can cost. 0: by steps alone.",
        unit="minutes",
        ge=0.0,
        le=10_000.0,
        step=5.0,
        advanced=True,
        help_topic="checkpoints",
    )
    keep_checkpoints: int = setting(
        2,
        "Checkpoints kept",
        "Older ones are deleted after a newer one is complete.",
        ge=1,
        le=1000,
        advanced=True,
        help_topic="checkpoints",
    )
    backend: Backend = setting(
        "auto",
        "Backend",
        "What loads the model and wraps it. Unsloth brings faster kernels for a GPU and models it "
        "knows; PEFT works everywhere. Automatic takes Unsloth where it is installed and pays.",
        choices={"auto": "Automatic", "peft": "PEFT", "unsloth": "Unsloth"},
        advanced=True,
        help_topic="backends",
    )
    trackers: tuple[Tracker, ...] = setting(
        (),
        "Metrics also to",
        "Where loss, rate and evaluations go besides the run folder. Weights & Biases works offline "
        "until you log in with its own command; each needs its package.",
        choices=TITLES_OF_TRACKERS,
        advanced=True,
        help_topic="trackers",
    )
    seed: int = setting(
        42,
        "Seed",
        "Fixes the order of rows, the split and the initial adapter.",
        ge=0,
        le=2**32 - 1,
        advanced=True,
        help_topic="seeds",
    )

    @property
    def effective_batch(self) -> int:
        """Conversations per optimizer step."""
        return self.micro_batch * self.gradient_accumulation

    def warmup(self, steps: int) -> int:
        """Warm-up steps of a training of that many steps."""
        return min(self.warmup_steps, steps) or math.ceil(self.warmup_share * steps)

    def steps_between(self, every: float, steps_per_epoch: float) -> int:
        """`eval_every` or `save_every` in optimizer steps; 0 where it is 0."""
        if every == 0:
            return 0
        return max(1, round(every * (steps_per_epoch if self.cadence == "epochs" else 1)))

    @property
    def schedule_free(self) -> bool:
        """Whether the optimizer takes the place of a schedule: its rate stays once it is warm."""
        return OPTIMIZERS[self.optimizer].schedule_free
