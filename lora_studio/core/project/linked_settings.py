"""Settings that follow another one: alpha keeps its ratio to the rank."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.problems import Step
from lora_studio.core.spec import get_facts

SettingPath = tuple[Step, str]

#: Settings that keep their ratio to another one, by that other one.
RATIOS: dict[SettingPath, SettingPath] = {("lora", "rank"): ("lora", "alpha")}


def get_ratio(get: Callable[[Step, str], Any], setting: SettingPath) -> float | None:
    """Return how many times `setting` the setting that follows it is; None if that is unknown."""
    value, following = get(*setting), get(*RATIOS[setting])
    is_known = isinstance(value, int) and isinstance(following, int) and value > 0
    return following / value if is_known else None


def scale_alpha(alpha: int, rank: int, new_rank: int) -> int:
    """Return the alpha that keeps alpha / rank for another rank, within its bounds."""
    limit = int(get_facts(LoraSpec, "alpha").maximum or alpha)
    return min(max(1, round(alpha / rank * new_rank)), limit)


def list_following_changes(
    get: Callable[[Step, str], Any], step: Step, field: str, value: Any
) -> list[tuple[Step, str, Any]]:
    """Return the changes of settings that follow `step.field` when it becomes `value`.

    `get` returns the values before the change. Nothing follows an invalid value.
    """
    if (step, field) not in RATIOS or get_ratio(get, (step, field)) is None:
        return []
    new_rank = _parse_rank(value)
    if new_rank is None:
        return []
    return [("lora", "alpha", scale_alpha(get("lora", "alpha"), get("lora", "rank"), new_rank))]


def _parse_rank(value: Any) -> int | None:
    """Return a rank as typed on the command line or in a field; None if it isn't valid."""
    try:
        return LoraSpec.model_validate({"rank": value}).rank
    except ValueError:
        return None


def list_linked_changes(
    get: Callable[[Step, str], Any], settings: Collection[tuple[Step, str, Any]]
) -> list[tuple[Step, str, Any]]:
    """Return changes of several settings, with those that follow them and aren't among them."""
    explicit = {(step, field) for step, field, _ in settings}
    following = [
        change
        for setting in settings
        for change in list_following_changes(get, *setting)
        if change[:2] not in explicit
    ]
    return [*settings, *following]
