"""Names of the columns of an evaluation, in the user's language."""

from __future__ import annotations

from lora_studio.core.evaluation.columns import Column
from lora_studio.core.evaluation.plan import EvaluationPlan
from lora_studio.gui.message_translation import localize

_LONGEST = 28


def format_column(column: Column) -> str:
    """Return the name of a column: its title, or what it is; a quantization is its own name."""
    return localize(column.label)


def list_column_names(plan: EvaluationPlan) -> dict[str, str]:
    """Return the names of all columns by their keys, shortened in the middle."""
    names = {column.key: format_column(column) for column in plan.columns}
    return {key: _shorten(name) for key, name in names.items()}


def _shorten(name: str) -> str:
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST // 2]}…{name[-(_LONGEST // 2 - 1) :]}"
