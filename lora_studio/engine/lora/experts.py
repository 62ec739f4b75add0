"""Adapters of stacked experts: what PEFT can't do with them, said before training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.messages import text
from lora_studio.core.problems import Fix, Problem, Where, fail, warning
from lora_studio.core.spec import get_facts

#: Initial values that don't depend on the weights or the inputs of a layer.
_PLAIN_INITS = ("default", "gaussian")


def require_supported(spec: LoraSpec, names: Sequence[str]) -> None:
    """Raise ProblemError for a setting that can't be used with the stacked experts in `names`.

    PEFT's ParamWrapper (peft/tuners/lora/layer.py) adds the update to the weights of a bare parameter, and
    supports neither dropout, DoRA, nor initialization from a layer's weights.
    """
    used: list[tuple[str, bool, Any]] = [
        ("dropout", spec.dropout > 0, 0.0),
        ("use_dora", spec.use_dora, False),
        ("init", spec.init not in _PLAIN_INITS, "default"),
    ]
    for field, is_used, plain in used:
        if names and is_used:
            title = text(get_facts(LoraSpec, field).title)
            raise fail(
                "lora.experts_not_supported",
                "This setting can't be used with stacked experts ({names}): {setting}.",
                "Reset it, or remove the experts from the target modules.",
                where=Where(step="lora", field=field),
                fix=Fix(
                    label=text("Reset {setting}", setting=title),
                    step="lora",
                    field=field,
                    value=plain,
                ),
                names=", ".join(names),
                setting=title,
            )


def merging_only_warning(names: Sequence[str]) -> Problem:
    """Return the warning that an adapter of experts is only complete after merging."""
    return warning(
        "lora.experts_need_merging",
        "The adapter of the experts ({names}) can't be combined with others into one adapter or "
        "exported as a GGUF adapter: it changes parameters directly.",
        "Merge it into the base model. The merged model can be exported and used anywhere.",
        where=Where(step="lora", field="target_names"),
        names=", ".join(names),
    )
