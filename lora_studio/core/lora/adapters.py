"""Facts about an adapter that need no model, and how to combine several adapters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lora_studio.core.messages import NO_TEXT, Template, Text
from lora_studio.core.problems import Problem, Where, fail

#: Ways to combine adapters, as PEFT's `add_weighted_adapter` names them.
Method = Literal["linear", "cat", "svd", "ties", "dare_linear", "dare_ties", "magnitude_prune"]

METHODS: dict[Method, Template] = {
    "cat": "Concatenates: the exact weighted sum of the updates. The ranks add up.",
    "svd": "Finds the best approximation of the weighted sum at the rank you choose (SVD).",
    "linear": "Adds A and B separately: small and fast, but a rough approximation. Needs equal ranks.",
    "ties": "Drops small values and resolves signs by majority (TIES). Needs equal ranks.",
    "dare_linear": "Drops random values, rescales the rest, and adds them (DARE).",
    "dare_ties": "Drops random values and resolves signs by majority (DARE with TIES).",
    "magnitude_prune": "Drops small values and adds the rest. Needs equal ranks.",
}


#: PEFT's task of adapters with a head for classification, such as those of reward models.
CLASSIFIES = "SEQ_CLS"
#: PEFT's task of adapters that turn texts into vectors.
EMBEDS = "FEATURE_EXTRACTION"

#: What the model of an adapter does with a text: continue it, give it a vector, or scores or a label.
AdapterUse = Literal["generation", "embedding", "classification"]


def get_use(config: Mapping[str, Any]) -> AdapterUse:
    """Return what PEFT's settings of an adapter say that its model does."""
    task = config.get("task_type")
    if task == EMBEDS:
        return "embedding"
    return "classification" if task == CLASSIFIES else "generation"


def require_mergeable(config: Mapping[str, Any], *, has_labels: bool = False) -> None:
    """Raise ProblemError if the settings of an adapter say that it scores text.

    The adapter of a classifier can be merged if its folder says which labels it has, as an import writes it.
    """
    if config.get("task_type") == CLASSIFIES and not has_labels:
        raise fail(
            "lora.only_scores",
            "This adapter scores answers and can't write them: it belongs to a reward model or a classifier.",
            "Import a classifier with “Import adapter…” on Merge or `lora-studio import --adapter`, then classify "
            "texts or merge it. Load a reward model with PEFT as a sequence classification model. Neither can be "
            "exported as GGUF, run in Ollama, used in a chat, combined with others, or trained further.",
            where=Where(step="lora"),
        )


def require_generative(config: Mapping[str, Any]) -> None:
    """Raise ProblemError if the settings of an adapter say that it scores text or turns it into vectors, and
    can't write any.
    """
    require_mergeable(config)
    if config.get("task_type") == EMBEDS:
        raise fail(
            "lora.only_embeds",
            "This adapter turns texts into vectors and can't write any: it belongs to an embedding model.",
            "Load it with PEFT as a feature extraction model, or choose another adapter. It can be merged and "
            "exported, but not used in a chat or trained further.",
            where=Where(step="lora"),
        )


class _Facts(BaseModel):
    model_config = ConfigDict(
        defer_build=True, frozen=True, extra="forbid", ser_json_inf_nan="strings"
    )


class WeightedAdapter(_Facts):
    """An adapter's folder and weight; 1 is as trained."""

    folder: str
    weight: float = Field(1.0, allow_inf_nan=False)


class AdapterMix(_Facts):
    """Named adapters active together on one base model; none is the base model alone."""

    name: str
    adapters: tuple[WeightedAdapter, ...] = ()


class LayerFacts(_Facts):
    """The update of one module; `norm` is the Frobenius norm of scale · B·A."""

    module: str
    rank: int
    scale: float
    shape_a: tuple[int, ...]
    shape_b: tuple[int, ...]
    norm: float | None = None
    dora: bool = False


class AdapterFacts(_Facts):
    """Facts about an adapter. Sizes in bytes; `ranks` are the lowest and the highest of its layers.

    `run` is the run that contains it; `problem` says why it can't be used, `note` which feature
    needs PEFT.
    """

    folder: str
    run: str | None = None
    kind: str = "LoRA"  # LoRA, rsLoRA, DoRA, or PEFT's name for the type
    use: AdapterUse = "generation"
    base: str = ""
    rank: int = 0
    ranks: tuple[int, int] = (0, 0)
    alpha: float = 0.0
    modules: tuple[str, ...] = ()
    trained_whole: tuple[str, ...] = ()
    parameters: int = 0
    bytes: int = 0
    changed: float = 0.0  # modification time of its file, seconds since 1970
    note: Text | None = None
    problem: Problem | None = None
    layers: tuple[LayerFacts, ...] = ()


class AdapterFit(_Facts):
    """Whether an adapter fits a model; `reason` says why not, `warning` is a caveat if it does."""

    model: str
    fits: bool
    reason: Text = NO_TEXT
    warning: Text = NO_TEXT


def parse_weighted(text: str) -> WeightedAdapter:
    """Parse `DIR` or `DIR=weight`; raises ProblemError when the weight isn't a number."""
    folder, equals, weight = text.rpartition("=")
    if not equals or not folder:
        return WeightedAdapter(folder=text)
    try:
        value = float(weight)
    except ValueError:
        if "/" in weight or "\\" in weight:  # the = belongs to the name of a folder
            return WeightedAdapter(folder=text)
        value = math.nan
    if not math.isfinite(value):
        raise fail(
            "adapters.weight",
            "“{weight}” isn't a weight.",
            "Enter only the folder, or folder=number, such as adapters/style=0.5.",
            weight=weight,
        )
    return WeightedAdapter(folder=folder, weight=value)
