"""Lock the GPUs that a job uses, or wait for the job that holds them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lora_studio.core.messages import text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import device_locks
from lora_studio.core.system.device_locks import DeviceIdentity, LockHolder
from lora_studio.engine.devices import devices
from lora_studio.engine.runtime.channel import JobContext


@contextmanager
def hold_devices(model: ModelSpec, run: RunFolder, doing: str, job: JobContext) -> Iterator[None]:
    """Hold the GPUs of a model exclusively while the block runs; waits for them first.

    Warns which job it waits for. A cancel ends the wait, as does a pause of a pausable job. CPUs are
    not locked. Imports torch.
    """
    reported: list[LockHolder] = []

    def on_wait(device: DeviceIdentity, holder: LockHolder) -> None:
        if holder not in reported:
            reported.append(holder)
            job.emit(events.Warned(problem=device_locks.device_busy_problem(device, holder)))
        job.report_progress(text("waiting for {device}", device=device.title), 0, None)

    devices_of_model = get_lockable_devices(model)
    with device_locks.hold_devices(
        devices_of_model, LockHolder(str(run.path.resolve()), doing), on_wait
    ):
        yield


def get_lockable_devices(model: ModelSpec) -> list[DeviceIdentity]:
    """Return the GPUs that a device setting means, each with a unique identifier.

    Indices don't identify a GPU: processes see it under different ones (CUDA_VISIBLE_DEVICES).
    Raises ProblemError for a missing device.
    """
    import torch

    identities = []
    for name in model.devices:
        chosen = devices.choose_device(name)
        if chosen.type == "cuda":
            # Whether "auto" needs one GPU or all is known once the model has been downloaded.
            every = range(torch.cuda.device_count()) if name == "auto" else [chosen.index]
            identities += [_get_identity(index) for index in every]
        elif chosen.type != "cpu":
            identities.append(DeviceIdentity(chosen.type, text("The GPU")))
    return identities


def _get_identity(index: int) -> DeviceIdentity:
    import torch

    facts = torch.cuda.get_device_properties(index)
    return DeviceIdentity(f"cuda-{getattr(facts, 'uuid', index)}", facts.name)
