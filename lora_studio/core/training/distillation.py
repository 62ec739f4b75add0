"""Settings of distillation: supervised training that also learns from the probabilities of a larger model."""

from __future__ import annotations

from lora_studio.core.model.spec import ModelSpec, Precision
from lora_studio.core.spec import Spec, setting
from lora_studio.core.tasks.samples import TaskName
from lora_studio.core.tasks.table import TASKS

#: Bytes of a cached token: its id and its log-probability, 4 bytes each.
_TOKEN_BYTES = 8
#: Bytes of the probability of all other tokens, at each position.
_REST_BYTES = 4


class DistillationSettings(Spec):
    """A teacher, and how much of the loss comes from it (Hinton et al. 2015)."""

    teacher: str = setting(
        "",
        "Teacher",
        "Folder or Hub ID of a larger model with the same tokenizer. Training then also learns its "
        "probabilities of each token (distillation). Leave it empty to train without a teacher.",
        path="any",
        advanced=True,
        help_topic="distillation",
    )
    teacher_precision: Precision = setting(
        "auto",
        "Teacher precision",
        "How the teacher's weights are stored in memory while its probabilities are computed.",
        choices={
            "auto": "Best for this device",
            "bf16": "bfloat16",
            "fp16": "float16",
            "fp32": "float32",
            "8bit": "8-bit",
            "4bit": "4-bit",
        },
        advanced=True,
        help_topic="distillation",
    )
    distillation_weight: float = setting(
        0.5,
        "Teacher weight",
        "Share of the loss that comes from the teacher. The rest is the usual loss on your data. "
        "1 learns from the teacher only.",
        ge=0.0,
        le=1.0,
        step=0.1,
        advanced=True,
        help_topic="distillation",
    )
    distillation_temperature: float = setting(
        1.0,
        "Distillation temperature",
        "Divides the logits of both models. Above 1, unlikely tokens count more, so raise the teacher tokens as "
        "well: all others count as one. 1 to 4 is common.",
        gt=0.0,
        le=100.0,
        step=0.5,
        advanced=True,
        help_topic="distillation",
    )
    distillation_top_k: int = setting(
        64,
        "Teacher tokens",
        "Number of the teacher's most likely tokens that are compared one by one at each position. All others "
        "count as one token. 32 to 64 is common at a temperature of 1; higher temperatures need more. Disk use "
        "grows with it.",
        unit="tokens",
        ge=1,
        le=4096,
        advanced=True,
        help_topic="distillation",
    )

    def distills(self, task: TaskName | None) -> bool:
        """Return whether a training with data of a task learns from a teacher."""
        return bool(self.teacher.strip()) and task is not None and TASKS[task].is_supervised

    def make_teacher_spec(self, model: ModelSpec) -> ModelSpec:
        """Return the teacher as a model on the first device of the project's, without code of its own."""
        return ModelSpec(
            source=self.teacher.strip(),
            precision=self.teacher_precision,
            device=model.devices[0],
            sharding="replicate",
        )

    def estimate_cache_bytes(self, trained_tokens: float, vocabulary: int) -> int:
        """Return the disk space of the teacher's probabilities for a number of trained tokens."""
        count = min(self.distillation_top_k, vocabulary)
        return round(trained_tokens * (_TOKEN_BYTES * count + _REST_BYTES))


def list_distillation_settings(task: TaskName | None, teacher: str) -> tuple[str, ...]:
    """Return the fields of `DistillationSettings` that are used; `teacher` may be empty."""
    if task is not None and not TASKS[task].is_supervised:
        return ()
    return tuple(DistillationSettings.model_fields) if teacher.strip() else ("teacher",)
