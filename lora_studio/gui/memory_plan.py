"""The training that the open project describes, as the arithmetic of its memory and time takes it."""

from __future__ import annotations

from lora_studio.core import events, machine
from lora_studio.core.dataset import DatasetSpec
from lora_studio.core.estimate import Plan
from lora_studio.core.lora import LoraSpec
from lora_studio.core.model import ModelSpec
from lora_studio.core.training import TrainingSpec
from lora_studio.core.training_rows import Rows, rows_of
from lora_studio.gui.project_state import ProjectState


def of(state: ProjectState) -> Plan | None:
    """None while a value is invalid, or model or device are not known yet.

    Rows that are not measured yet count as long as the limit allows.
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
    return machine.corrected(plan, machine.load())


def _device(found: events.DevicesFound, wanted: str) -> events.Device | None:
    """The device that a setting means: the first one for `auto`."""
    return next(
        (one for one in found.devices if wanted == "auto" or one.name.startswith(wanted)), None
    )


def _rows(state: ProjectState, dataset: DatasetSpec) -> Rows:
    lengths, data = state.facts.lengths, state.facts.dataset
    if lengths is None:
        return Rows(heaviest={1: (dataset.max_length,)}, longest=dataset.max_length)
    share = 0.0 if dataset.validation_file else dataset.validation_share
    return rows_of(lengths, data.task if data else None, dataset.max_length, share)
