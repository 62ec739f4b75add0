"""The memory and time of the training at hand: told before its first step, compared after its last."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import psutil
import torch

from lora_studio.core.dataset.spec import Task
from lora_studio.core.lora import starting_adapter
from lora_studio.core.memory import calibration
from lora_studio.core.memory.estimate import estimate
from lora_studio.core.memory.plan import MemoryPlan
from lora_studio.core.memory.rows import RowStatistics
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.protocol.training import MemoryEstimate
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.dataset import lengths
from lora_studio.engine.devices import devices
from lora_studio.engine.lora import attach
from lora_studio.engine.model import loading, shape
from lora_studio.engine.runtime.channel import JobContext

#: Steps of a training from which on it says something about this machine.
_ENOUGH_STEPS = 2


@dataclass
class MemoryForecast:
    """What was told of a training, and since when it runs, in seconds of the monotonic clock."""

    plan: MemoryPlan
    told: MemoryEstimate
    device: torch.device
    first_step: int
    began: float

    def learn(self, step: int, steps_per_epoch: float) -> None:
        """Remembers for later estimates how much memory and time it took, up to `step`.

        Not to be called where the recipe had to be made smaller on the way: the estimate was not
        about that.
        """
        done = step - self.first_step
        if done < _ENOUGH_STEPS:
            return
        tokens = self.plan.rows.tokens * done / steps_per_epoch
        speed = tokens / max(1e-9, time.monotonic() - self.began)
        calibration.learn(self.plan, self.told, devices.peak_memory_bytes(self.device), speed)


def tell(
    project: Project,
    tuned: AdaptedModel,
    task: Task,
    training: Any,
    job: JobContext,
    *,
    step: int = 0,
    ranks: int = 1,
) -> MemoryForecast:
    """Emits MemoryEstimated. `training` are the rows as a sequence with a selection, `step` is where
    the training goes on, `ranks` how many processes take part."""
    plan = calibration.corrected(_plan(project, tuned, task, training), calibration.load())
    plan = replace(plan, ranks=ranks)
    told = estimate(plan)
    job.emit(events.MemoryEstimated(estimate=told))
    return MemoryForecast(plan, told, tuned.base.device, step, time.monotonic())


def _plan(project: Project, tuned: AdaptedModel, task: Task, training: Any) -> MemoryPlan:
    selection = training.selection
    tokens = np.asarray(selection.lengths)
    if task == "preference":
        both = [
            np.minimum(table.computed, 2 * project.dataset.max_length) for table in selection.tables
        ]
        tokens = np.array(
            [both[t][p] for t, p in zip(selection.table, selection.place, strict=True)], np.int64
        )
    rows = RowStatistics(
        heaviest=lengths.heaviest(tokens),
        longest=int(np.max(selection.lengths, initial=0)),
        trained=selection.targets() / max(1, int(tokens.sum())),
        tokens=int(tokens.sum()),
        count=len(tokens),
        task="sft" if task == "text" else task,  # documents are in pieces already
    )
    return MemoryPlan(
        inspected=_inspected(project, tuned),
        model=project.model,
        lora=starting_adapter.effective(project.lora),
        training=project.training,
        rows=rows,
        limit=project.dataset.max_length,
        device=_device(tuned.base.device),
    )


def _inspected(project: Project, tuned: AdaptedModel) -> events.ModelInspected:
    """The facts of the model that is loaded; its outline is read anew, as its layers are wrapped."""
    base = tuned.base
    outline = loading.on_meta(base.folder, project.model)
    text = outline.config.get_text_config()
    return events.ModelInspected(
        source=project.model.source,
        folder=str(base.folder),
        architecture=type(outline).__name__,
        parameters=loading.count_parameters(outline),
        layers=text.num_hidden_layers,
        hidden_size=text.hidden_size,
        vocabulary=text.vocab_size,
        context=None,
        stored_dtype="",
        licence=None,
        has_chat_template=True,
        prequantized=loading.prequantized(loading.read_config(base.folder, project.model)),
        weight_bytes={},
        linear_names=(),
        adapter=attach.count(tuned.model),
        shape=shape.shape(outline),
    )


def _device(used: torch.device) -> events.Device:
    """The device that is trained on; what this process has of it already counts as free."""
    found = devices.found().devices
    name = str(used)
    device = next((each for each in found if each.name == name), found[-1])
    own = (
        torch.cuda.memory_reserved(used)
        if used.type == "cuda"
        else psutil.Process().memory_info().rss
    )
    free = min(device.total_bytes, device.free_bytes + math.floor(own))
    return device.model_copy(update={"free_bytes": free})
