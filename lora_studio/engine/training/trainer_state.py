"""The progress of a training: everything in a checkpoint besides tensors."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import peft
import torch

from lora_studio.core.protocol import events
from lora_studio.core.tasks.classification import ClassificationReport
from lora_studio.core.training.spec import TrainingSpec


@dataclass(frozen=True)
class MemoryLevel:
    """How many rows are computed at once, and whether activations are recomputed instead of stored.

    The field names are those of the `memory` entry in checkpoints and manifests.
    """

    micro_batch: int
    recomputing: bool

    def count_micro_batches(self, rows_per_step: int) -> int:
        """Return the number of micro-batches in a step; the last one may be smaller."""
        return math.ceil(rows_per_step / self.micro_batch)

    def get_next_lower(self, *, can_recompute: bool) -> MemoryLevel | None:
        """Return the level with half the rows, then the one that recomputes; None at the lowest."""
        if self.micro_batch > 1:
            return MemoryLevel(self.micro_batch // 2, self.recomputing)
        return MemoryLevel(1, True) if can_recompute and not self.recomputing else None


def choose_starting_level(spec: TrainingSpec, *recorded: Any) -> MemoryLevel:
    """Return the lowest of the recipe's level and the `recorded` ones of an interrupted training.

    Recorded levels are JSON objects, or None; invalid ones are ignored.
    """
    levels = [MemoryLevel(spec.micro_batch, spec.gradient_checkpointing != "off")]
    for entry in recorded:
        with contextlib.suppress(KeyError, TypeError, ValueError):
            levels.append(
                MemoryLevel(max(1, int(entry["micro_batch"])), bool(entry["recomputing"]))
            )
    return min(levels, key=lambda level: (level.micro_batch, not level.recomputing))


def can_recompute(model: peft.PeftModel) -> bool:
    """Return whether the architecture supports gradient checkpointing."""
    return bool(getattr(model.get_base_model(), "supports_gradient_checkpointing", False))


def enable_recomputing(model: peft.PeftModel) -> None:
    """Turn gradient checkpointing on; results stay the same."""
    base = model.get_base_model()
    if not base.is_gradient_checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})


def reserve_optimizer_state(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> list[torch.Tensor]:
    """Allocate what the optimizer's first step will allocate: two values for each trainable parameter.

    Returns an empty list when the optimizer has its state already.
    """
    if any(getattr(optimizer, "state", {}).values()):
        return []
    return [
        torch.zeros((2, *value.shape), device=value.device)
        for value in model.parameters()
        if value.requires_grad
    ]


@dataclass(frozen=True)
class EvaluationResult:
    """The loss on the validation rows after a step, and the score of answers to some of them.

    In reward training, `reward` is their mean reward, and the loss its negative. `report` is how well a
    classifier predicts their labels.
    """

    step: int
    loss: float
    score: float | None = None
    reward: float | None = None
    report: ClassificationReport | None = None

    def to_plain(self) -> dict[str, Any]:
        """Return the entry in manifests and checkpoints."""
        entry = asdict(self) | {"report": self.report.model_dump() if self.report else None}
        return {name: value for name, value in entry.items() if value is not None}

    @classmethod
    def from_plain(cls, entry: Mapping[str, Any]) -> EvaluationResult:
        """Return the evaluation of an entry in a checkpoint."""
        report = entry.get("report")
        return cls(
            entry["step"],
            entry["loss"],
            entry.get("score"),
            entry.get("reward"),
            ClassificationReport.model_validate(report) if report else None,
        )

    def to_event(self, metrics: Mapping[str, float] | None = None) -> events.Evaluated:
        """Return the event of the evaluation, with further metrics."""
        known = {**(metrics or {}), **self.metrics}
        return events.Evaluated(
            step=self.step, loss=self.loss, metrics=known, classification=self.report
        )

    @property
    def metrics(self) -> dict[str, float]:
        """What is known of the evaluation besides its loss, by the names of events."""
        metrics = {events.ANSWER_SCORE: self.score, events.REWARD: self.reward}
        known = {name: value for name, value in metrics.items() if value is not None}
        return known | (self.report.metrics if self.report else {})


@dataclass(frozen=True)
class SavedAdapter:
    """The step of the adapter in the run folder, and its evaluation where it is the best one."""

    step: int
    loss: float | None
    score: float | None = None
    reward: float | None = None


@dataclass
class TrainerState:
    """Progress and results of a training.

    `loss` is that of the last step, `seconds` the training time so far, `compiled` whether torch.compile
    is in use (None: not decided yet). `evaluation_due` means that a pause or a stop came before the
    evaluation of this step. `saved` is the adapter that was kept at the end. `least_tokens` are those up to
    which short rows fill micro-batches (`core/memory/advice.py`; None: not decided yet).
    """

    memory_level: MemoryLevel
    step: int = 0
    evaluations: list[EvaluationResult] = field(default_factory=list)
    loss: float | None = None
    seconds: float = 0.0
    compiled: bool | None = None
    evaluation_due: bool = False
    saved: SavedAdapter | None = None
    least_tokens: int | None = None

    def to_results(self) -> dict[str, Any]:
        """Return the `results` entry of manifests and checkpoints."""
        saved = asdict(self.saved) if self.saved else None
        for name in ("score", "reward") if saved else ():
            if saved and saved[name] is None:
                del saved[name]
        optional = {"loss": self.loss, "compiled": self.compiled, "kept": saved}
        return {
            "evaluations": [evaluation.to_plain() for evaluation in self.evaluations],
            "seconds": self.seconds,
        } | {name: value for name, value in optional.items() if value is not None}

    def to_checkpoint(self) -> dict[str, Any]:
        """Return the entries of `checkpoint.json`; versions since 0.1 read these keys."""
        return {
            "step": self.step,
            "results": self.to_results(),
            "owes_evaluation": self.evaluation_due,
            "memory": asdict(self.memory_level) | {"least_tokens": self.least_tokens or 0},
        }

    @classmethod
    def from_checkpoint(cls, entries: Mapping[str, Any], spec: TrainingSpec) -> TrainerState:
        """Return the state of a checkpoint, of version 0.1 as well, at the recipe's memory level or below."""
        results = entries["results"]
        return cls(
            memory_level=choose_starting_level(spec, entries.get("memory")),
            step=entries["step"],
            evaluations=[EvaluationResult.from_plain(entry) for entry in results["evaluations"]],
            loss=results.get("loss"),
            seconds=results["seconds"],
            compiled=results.get("compiled"),
            evaluation_due=entries.get("owes_evaluation", False),
            saved=SavedAdapter(**results["kept"]) if results.get("kept") else None,
            least_tokens=_read_least_tokens(entries.get("memory")),
        )


def _read_least_tokens(memory: Any) -> int:
    """Return `least_tokens` of a checkpoint; 0 where it has none, as those of earlier versions."""
    tokens = memory.get("least_tokens") if isinstance(memory, dict) else None
    return tokens if isinstance(tokens, int) else 0
