"""The training that the open project describes, as the arithmetic of its memory and time takes it."""

from __future__ import annotations

from dataclasses import replace

from lora_studio.core import events, machine
from lora_studio.core.dataset import DatasetSpec
from lora_studio.core.estimate import Plan, estimate
from lora_studio.core.lora import LoraSpec
from lora_studio.core.model import ModelSpec, names_of
from lora_studio.core.training import TrainingSpec
from lora_studio.core.training_rows import Rows, rows_of
from lora_studio.gui.project_state import ProjectState


def of(state: ProjectState, precision: str = "") -> Plan | None:
    """The plan, also with another precision than the project's.

    None while a value is invalid, or model or device are not known yet.

    Rows that are not measured yet count as long as the limit allows. Of several devices, each of
    which holds all weights, the one with the least room counts; None where they may divide weights,
    and of several processes on one processor.
    """
    model, lora, dataset, training = (
        state.spec("model"), state.spec("lora"), state.spec("dataset"), state.spec("training"),
    )  # fmt: skip
    facts = state.facts
    if not (
        isinstance(model, ModelSpec)
        and isinstance(lora, LoraSpec)
        and isinstance(dataset, DatasetSpec)
        and isinstance(training, TrainingSpec)
        and facts.model is not None
        and facts.devices is not None
    ):
        return None
    if precision:
        model = model.model_copy(update={"precision": precision})
    device = _device(facts.devices, model.device)
    if device is None:
        return None
    plan = Plan(
        inspected=facts.model,
        model=model,
        lora=lora,
        training=training,
        rows=_rows(state, dataset),
        limit=dataset.max_length,
        device=device,
    )
    plan = machine.corrected(plan, machine.load())
    if len(model.devices) == 1:
        return plan
    return None if _may_be_divided(plan) else replace(plan, tokens_per_s=None)  # learned of one


def _may_be_divided(plan: Plan) -> bool:
    """Whether weights or memory of one device may be shared, so that no device has all of both."""
    if plan.kind != "cuda" or plan.model.sharding == "shard":
        return True
    quantised = plan.precision in ("4bit", "8bit")
    return plan.model.sharding == "auto" and not quantised and estimate(plan).fits is False


def device(state: ProjectState) -> events.Device | None:
    """The device that the project trains on; the first one while its setting names none."""
    if (found := state.facts.devices) is None:
        return None
    return _device(found, str(state.get("model", "device"))) or _device(found, "auto")


def _device(found: events.DevicesFound, wanted: str) -> events.Device | None:
    """The device that a setting means: the first one for `auto`, the fullest one of several."""
    if wanted == "auto":
        return next(iter(found.devices), None)
    meant = [
        next((one for one in found.devices if one.name.startswith(name)), None)
        for name in names_of(wanted)
    ]
    known = [one for one in meant if one is not None]
    return min(known, key=lambda one: one.free_bytes) if len(known) == len(meant) else None


def _rows(state: ProjectState, dataset: DatasetSpec) -> Rows:
    lengths, data = state.facts.lengths, state.facts.dataset
    if lengths is None:
        return Rows(heaviest={1: (dataset.max_length,)}, longest=dataset.max_length)
    share = 0.0 if dataset.validation_file else dataset.validation_share
    return rows_of(lengths, data.task if data else None, dataset.max_length, share)
