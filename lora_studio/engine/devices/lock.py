"""Lock the GPUs that a job uses, or wait for the job that holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lora_studio.core.messages import text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import locks as locks_module
from lora_studio.core.system.locks import DeviceIdentity, FileLock, LockHolder
from lora_studio.engine.devices import devices
from lora_studio.engine.runtime.channel import JobContext

#: What locks the remaining GPUs for the job of this process; empty while it holds none.
_extend: list[Callable[[], None]] = []


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
            job.emit(events.Warned(problem=locks_module.device_busy_problem(device, holder)))
        job.report_progress(text("waiting for {device}", device=device.title), 0, None)

    with hold_model_devices(model, LockHolder(str(run.path.resolve()), doing), on_wait):
        yield


@contextmanager
def hold_model_devices(
    model: ModelSpec,
    holder_info: LockHolder,
    on_wait: Callable[[DeviceIdentity, LockHolder], object],
) -> Iterator[None]:
    """Hold the GPUs of a model while the block runs, and all of them after `hold_every_gpu`.

    `on_wait` is called with each GPU that somebody else holds; what it raises ends the wait.
    """
    locks: list[FileLock] = []

    def lock(identities: list[DeviceIdentity]) -> None:
        # Those that are held first: two jobs could wait for each other otherwise.
        while locks:
            locks.pop().release()
        locks.extend(locks_module.lock_devices(identities, holder_info, on_wait))

    try:
        lock(get_lockable_devices(model))
        _extend.append(
            lambda: lock([*map(devices.get_gpu_identity, devices.list_supported_gpus())])
        )
        yield
    finally:
        _extend.clear()
        for held in locks:
            held.release()


def hold_every_gpu() -> None:
    """Lock all GPUs for a job that holds one, before it uses any; waits as `hold_devices` does.

    Whether "auto" needs one GPU or all is known once the model has been downloaded.
    """
    for extend in _extend:
        extend()


def get_lockable_devices(model: ModelSpec) -> list[DeviceIdentity]:
    """Return the GPUs that a device setting means, each with a unique identifier.

    Raises ProblemError for a missing device.
    """
    identities = []
    for name in model.devices:
        chosen = devices.choose_device(name)
        if chosen.type == "cuda":
            identities.append(devices.get_gpu_identity(chosen.index or 0))
        elif chosen.type != "cpu":
            identities.append(DeviceIdentity(chosen.type, text("The GPU")))
    return identities
