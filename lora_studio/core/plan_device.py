"""The device that an estimate is about: the one that is meant, of several the fullest."""

from __future__ import annotations

from dataclasses import replace

from lora_studio.core.estimate import Plan, estimate
from lora_studio.core.events import Device, DevicesFound
from lora_studio.core.model import names_of


def meant(found: DevicesFound, wanted: str) -> Device | None:
    """The device that a setting means: the first one for `auto`, the fullest one of several; None
    where this machine lacks one of them."""
    if wanted == "auto":
        return next(iter(found.devices), None)
    named = [
        next((one for one in found.devices if one.name.startswith(name)), None)
        for name in names_of(wanted)
    ]
    known = [one for one in named if one is not None]
    return min(known, key=lambda one: one.free_bytes) if len(known) == len(named) else None


def on_fullest(plan: Plan) -> Plan | None:
    """The plan as the fullest of its devices has it; None where weights may be divided among them,
    or several processes share the memory of one, so that no device has all of what is counted."""
    if len(plan.model.devices) == 1:
        return plan
    return None if _may_be_divided(plan) else replace(plan, tokens_per_s=None)  # learned of one


def _may_be_divided(plan: Plan) -> bool:
    if plan.kind != "cuda" or plan.model.sharding == "shard":
        return True
    quantised = plan.precision in ("4bit", "8bit")
    return plan.model.sharding == "auto" and not quantised and estimate(plan).fits is False
