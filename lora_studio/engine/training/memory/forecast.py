"""Estimate memory and time of a training before its first step, and learn from it after its last."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import psutil
import torch

from lora_studio.core.lora import adapters
from lora_studio.core.memory import calibration
from lora_studio.core.memory.advice import fill_micro_batches
from lora_studio.core.memory.estimate import estimate
from lora_studio.core.memory.plan import CONSTANTS, MemoryPlan
from lora_studio.core.memory.rows import build_row_statistics
from lora_studio.core.memory.weights import combine_gpus
from lora_studio.core.messages import text
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.protocol.training import MemoryEstimate
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.dataset import lengths
from lora_studio.engine.devices import devices
from lora_studio.engine.lora import attach
from lora_studio.engine.model import loading, shape
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.training.step_batches import TrainingData

#: Minimum number of steps to correct estimates by.
_MIN_STEPS = 2


@dataclass
class MemoryForecast:
    """An estimate, and when the training started, in seconds of the monotonic clock."""

    plan: MemoryPlan
    estimate: MemoryEstimate
    device: torch.device
    first_step: int
    started: float

    def learn(self, step: int, steps_per_epoch: float) -> None:
        """Correct later estimates with the memory and time used up to `step`.

        Don't call it after the micro-batch was reduced: the estimate assumed the original size.
        """
        done = step - self.first_step
        if done < _MIN_STEPS:
            return
        tokens = self.plan.rows.tokens * done / steps_per_epoch
        speed = tokens / max(1e-9, time.monotonic() - self.started)
        peak = devices.get_peak_memory_bytes(self.device)
        calibration.learn(self.plan, self.estimate, peak, speed)


def estimate_training(
    project: Project,
    tuned: AdaptedModel,
    data: TrainingData,
    job: JobContext,
    *,
    step: int,
    world_size: int,
    is_packed: bool,
    fill: Callable[[int], int],
) -> MemoryForecast:
    """Estimate the training from `step` on and emit MemoryEstimated.

    `is_packed` says whether rows are packed: some models train on padded ones, whatever the settings say.
    `fill` gets the tokens that fit a micro-batch, and returns those up to which short rows fill it.
    """
    plan = calibration.apply_correction(_plan_memory(project, tuned, data), calibration.load())
    training = plan.training.model_copy(update={"packing": is_packed})
    plan = replace(plan, training=training, ranks=world_size)
    plan = replace(plan, least_tokens=fill(fill_micro_batches(plan).least_tokens))
    if plan.least_tokens:
        job.emit(
            events.LogLine(
                text=text(
                    "Short rows share micro-batches of up to {tokens} tokens, since memory allows it.",
                    tokens=plan.tokens,
                )
            )
        )
    estimated = estimate(plan)
    job.emit(events.MemoryEstimated(estimate=estimated))
    return MemoryForecast(plan, estimated, tuned.base.device, step, time.monotonic())


def _plan_memory(project: Project, tuned: AdaptedModel, data: TrainingData) -> MemoryPlan:
    devices_used = _describe_devices(tuned)
    is_spread = len(devices_used) > 1
    return MemoryPlan(
        inspected=_inspect_model(project, tuned),
        model=project.model,
        lora=adapters.resolve_lora(project.lora),
        training=project.training,
        rows=build_row_statistics(lengths.describe_epoch(data.ready, data.training.selection)),
        limit=project.dataset.max_length,
        device=combine_gpus(devices_used) if is_spread else devices_used[0],
        gpus=len(devices_used),
        spread=is_spread,
    )


def _inspect_model(project: Project, tuned: AdaptedModel) -> events.ModelInspected:
    """Return the facts of the loaded model, from its config, since its layers are wrapped."""
    base = tuned.base
    outline = loading.load_on_meta(base.folder, project.model)
    config = outline.config.get_text_config()
    return events.ModelInspected(
        source=project.model.source,
        folder=str(base.folder),
        architecture=type(outline).__name__,
        parameters=loading.count_parameters(outline),
        layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        vocabulary=config.vocab_size,
        context=None,
        stored_dtype="",
        license=None,
        has_chat_template=True,
        prequantized=loading.get_quantization_method(
            loading.read_config(base.folder, project.model)
        ),
        weight_bytes={},
        linear_names=(),
        adapter=attach.count_parameters(tuned.model),
        shape=shape.get_model_shape(outline),
    )


def _describe_devices(tuned: AdaptedModel) -> list[events.Device]:
    """Return the devices in use, several where layers are on several GPUs.

    The memory that this process has of each counts as free.
    """
    all_devices = devices.list_devices().devices
    places = {str(value.device) for value in tuned.model.parameters()}
    used = [device for device in all_devices if device.name in places - {"cpu"}]
    if len(used) < 2:
        name = str(tuned.base.device)
        used = [device for device in all_devices if device.name == name] or [all_devices[-1]]
    return [_with_own_memory(device) for device in used]


def _with_own_memory(device: events.Device) -> events.Device:
    free = min(device.total_bytes, device.free_bytes + _get_own_bytes(device))
    return device.model_copy(update={"free_bytes": free})


def _get_own_bytes(device: events.Device) -> int:
    """Return the memory that this process has of a device, its CUDA context included."""
    if device.name.startswith("cuda"):
        return int(torch.cuda.memory_reserved(device.name)) + CONSTANTS.context
    if device.name == "mps":
        return int(torch.mps.driver_allocated_memory())
    return int(psutil.Process().memory_info().rss)
