"""Holds the GPUs that a job uses, and lets it wait for another one that uses them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import device_locks
from lora_studio.core.system.device_locks import DeviceIdentity, LockHolder
from lora_studio.engine.devices import devices
from lora_studio.engine.runtime.channel import JobContext


@contextmanager
def held(model: ModelSpec, run: RunFolder, doing: str, job: JobContext) -> Iterator[None]:
    """The devices of a model are this job's alone while the block runs; waits for them first.

    Why it waits is told. A cancel ends the waiting, and a pause where the job can be paused. Processors
    are for everybody. Imports torch.
    """
    told: list[LockHolder] = []

    def waits(device: DeviceIdentity, holder: LockHolder) -> None:
        if holder not in told:
            told.append(holder)
            job.emit(events.Warned(problem=device_locks.busy(device, holder)))
        job.progress(f"waiting for {device.title}", 0, None)

    locks = device_locks.take(lockable(model), LockHolder(str(run.path), doing), waits)
    try:
        yield
    finally:
        for lock in locks:
            lock.release()


def lockable(model: ModelSpec) -> list[DeviceIdentity]:
    """The GPUs that a device setting means here, each by a number that no other one has.

    Processes see the same GPU under different numbers (CUDA_VISIBLE_DEVICES), so that these do not do.
    Raises ProblemError for one that is not there.
    """
    import torch

    found = []
    for name in model.devices:
        chosen = devices.choose(name)
        if chosen.type == "cuda":
            # Left open, the layers go to all GPUs there are (`engine/model/loading.py`).
            every = range(torch.cuda.device_count()) if name == "auto" else [chosen.index]
            found += [_gpu(index) for index in every]
        elif chosen.type != "cpu":
            found.append(DeviceIdentity(chosen.type, "The GPU"))
    return found


def _gpu(index: int) -> DeviceIdentity:
    import torch

    facts = torch.cuda.get_device_properties(index)
    return DeviceIdentity(f"cuda-{getattr(facts, 'uuid', index)}", facts.name)
