"""What train.py says about each objective, and which sequences of its rows are written.

The statements of an objective are in a template of the same name (resources/reproduction).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lora_studio.core.tasks.samples import TaskName
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.tokens.encoder import (
    Encoded,
    EncodedClassified,
    EncodedLabeled,
    EncodedPair,
    EncodedSearchPair,
    Ids,
)


@dataclass(frozen=True)
class ScriptObjective:
    """An objective in train.py.

    `template` names its template, `summary` is a sentence about it, and `settings` are the settings that its
    statements use, with `beta` in the place of BETA. The loss of a step is the mean over its `unit`. `get_sequences`
    returns the sequences of a row; `label_type` is the type of the labels of rows. With `pools`, their masks
    say which tokens make up a vector. With `compares`, the loss compares with a reference model. With `uses_trl`, the
    script leaves the training to TRL.
    """

    template: str
    summary: str
    unit: str = "tokens"
    beta: str = ""
    settings: tuple[str, ...] = ()
    model_class: str = "AutoModelForCausalLM"
    label_type: type[np.generic] | None = None
    pools: bool = False
    compares: bool = False
    uses_trl: bool = False
    get_sequences: Callable[[Any, TrainingSpec], tuple[Encoded, ...]] = lambda row, _: (row,)


def find_objective(task: TaskName, spec: TrainingSpec) -> ScriptObjective:
    """Return the objective of a training with data of a task."""
    if spec.distills(task):
        return _DISTILLATION
    return _OBJECTIVES[task if task in _OBJECTIVES else spec.preference]


def _get_pair(row: EncodedPair, _: TrainingSpec) -> tuple[Encoded, ...]:
    return row.chosen, row.rejected


def _get_answer(row: EncodedLabeled, _: TrainingSpec) -> tuple[Encoded, ...]:
    return (row.answer,)


def _get_texts(row: EncodedSearchPair, spec: TrainingSpec) -> tuple[Encoded, ...]:
    is_mean = spec.pooling == "mean"
    texts = (row.query, row.positive, row.negative)
    return tuple(_mark_pooled(ids, is_mean=is_mean) for ids in texts)


def _get_text(row: EncodedClassified, _: TrainingSpec) -> tuple[Encoded, ...]:
    return (_mark_pooled(row.text.ids, is_mean=False),)


def _mark_pooled(ids: Ids | None, *, is_mean: bool) -> Encoded:
    """Return a text whose marked tokens make up its vector: all for the mean, else the last one."""
    ids = np.empty(0, np.int32) if ids is None else ids
    marked = np.full(len(ids), is_mean)
    marked[-1:] = True
    return Encoded(ids, marked)


_DISTILLATION = ScriptObjective(
    "distillation",
    "It trains on the trained tokens of each row, and on a teacher's probabilities.",
)

#: By task, or by method for data that several methods train on.
_OBJECTIVES: Mapping[str, ScriptObjective] = {
    "sft": ScriptObjective("sft", "It trains on the answers of each row (supervised fine-tuning)."),
    "text": ScriptObjective(
        "sft", "It trains on every token of its documents (continued pre-training)."
    ),
    "dpo": ScriptObjective(
        "dpo",
        "It trains on which of two answers is better, relative to the base model (DPO).",
        unit="pairs",
        beta="beta",
        settings=("dpo_loss", "label_smoothing"),
        compares=True,
        get_sequences=_get_pair,
    ),
    "orpo": ScriptObjective(
        "orpo",
        "It trains on which of two answers is better, and on the better one (ORPO).",
        unit="pairs",
        beta="beta",
        get_sequences=_get_pair,
    ),
    "simpo": ScriptObjective(
        "simpo",
        "It trains on which of two answers is better, by their mean log p (SimPO).",
        unit="pairs",
        beta="simpo_beta",
        settings=("simpo_gamma",),
        get_sequences=_get_pair,
    ),
    "reward": ScriptObjective(
        "reward",
        "It trains a score of answers, higher for the better of two (reward model).",
        unit="pairs",
        get_sequences=_get_pair,
    ),
    "kto": ScriptObjective(
        "kto",
        "It trains on which answers are good, relative to the base model (KTO).",
        unit="answers",
        beta="beta",
        label_type=np.uint8,
        compares=True,
        get_sequences=_get_answer,
    ),
    "grpo": ScriptObjective(
        "grpo",
        "It trains on rewards of answers that the model writes itself (GRPO).",
        uses_trl=True,
    ),
    "embedding": ScriptObjective(
        "embedding",
        "It trains vectors of texts: queries find their own text among all of a step.",
        unit="queries",
        settings=("pooling", "similarity_scale"),
        model_class="AutoModel",
        pools=True,
        get_sequences=_get_texts,
    ),
    "classification": ScriptObjective(
        "classification",
        "It trains which label a text has (sequence classification).",
        unit="texts",
        model_class="AutoModelForSequenceClassification",
        label_type=np.int64,
        pools=True,
        get_sequences=_get_text,
    ),
}
