"""The head and the labels of a merged classifier, in place of the head that predicts tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lora_studio.core.lora.adapters import CLASSIFIES
from lora_studio.core.messages import Template, Text, text
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.system.foreign_files import read_json
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.lora.adapter_files import Adapter
from lora_studio.engine.merging.weight_sources import WeightSource

SCORE = "score.weight"
#: Tensors of heads that predict tokens, which no classifier has.
_TOKEN_HEADS = ("lm_head.weight", "lm_head.bias", "embed_out.weight")


def is_classifier(merged: Sequence[Adapter]) -> bool:
    """Return whether one of the adapters belongs to a classifier."""
    return any(adapter.config.get("task_type") == CLASSIFIES for adapter in merged)


def is_dropped(name: str, merged: Sequence[Adapter]) -> bool:
    """Return whether a base model's tensor isn't part of the merged model: the head of a classifier's base."""
    return name in _TOKEN_HEADS and is_classifier(merged)


def add_head(
    tensors: Mapping[str, WeightSource], merged: Sequence[Adapter]
) -> dict[str, WeightSource]:
    """Return a base model's tensors, with the head of the classifier if the adapter belongs to one.

    Raises ProblemError if there are other adapters, or no head.
    """
    if not is_classifier(merged):
        return dict(tensors)
    adapter = merged[0]
    if len(merged) > 1:
        raise fail(
            "merging.classifier_alone",
            "The adapter of a classifier can't be merged with other adapters.",
            "Merge it alone.",
            where=Where(step="merging", field="further"),
        )
    if SCORE not in adapter.replacements:
        raise adapter_files.foreign_adapter_error(
            adapter.folder, text("it has no head, which predicts the labels")
        )
    return {**tensors, SCORE: adapter.replacements[SCORE]}


def read_settings(merged: Sequence[Adapter]) -> dict[str, Any]:
    """Return the settings that make transformers load a classifier, {} for other adapters.

    The adapter's config.json has them. Raises ProblemError unless it names a label for each row of the head.
    """
    if not is_classifier(merged):
        return {}
    adapter = merged[0]
    try:
        config = read_json(adapter.folder / "config.json")
        names = config["id2label"]
        count = adapter.replacements[SCORE].shape[0]
        labels = [str(names[str(number)]) for number in range(count)]
        (architecture,) = config["architectures"]
        is_valid = len(names) == count and str(architecture).endswith("ForSequenceClassification")
        padding = config.get("pad_token_id")
    except (OSError, ValueError, KeyError, TypeError):
        is_valid = False
    if not is_valid:
        reason = text("its config.json doesn't name a label for each output of its head")
        raise adapter_files.foreign_adapter_error(adapter.folder, reason)
    return {
        "architectures": [str(architecture)],
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
        "pad_token_id": padding if isinstance(padding, int) else None,
    }


def not_planned_error(folder: Path, reason: Template | Text) -> ProblemError:
    """Return the error for a classifier that can't be merged tensor by tensor."""
    return fail(
        "merging.classifier_in_memory",
        "The adapter of this classifier can't be merged: {reason}.",
        "Load it with PEFT as a sequence classification model.",
        where=Where(step="merging", file=str(folder)),
        reason=reason,
    )
