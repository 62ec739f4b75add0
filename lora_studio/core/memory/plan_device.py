"""The device that an estimate is about: the one that is meant, of several the fullest."""

from __future__ import annotations

from lora_studio.core.model.spec import names_of
from lora_studio.core.protocol.events import Device, DevicesFound


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
