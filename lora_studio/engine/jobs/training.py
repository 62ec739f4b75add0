"""Train a run, and list the devices that it can run on."""

from __future__ import annotations

from pathlib import Path

from lora_studio.core.messages import text
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.jobs.registry import handles
from lora_studio.engine.runtime import torch_settings
from lora_studio.engine.runtime.channel import JobContext


@handles(commands.Train)
def train(command: commands.Train, job: JobContext) -> events.Done:
    """Train the adapter of a run, to its end or until the user stops or pauses it.

    Waits while another job uses the same GPU; a pause during that wait ends the command.
    """
    job.show_stage(text("starting PyTorch"))
    run = RunFolder(Path(command.run))
    torch_settings.choose_for_job(
        job, run.read_manifest().get("threads") if command.resume else None
    )
    from lora_studio.engine.devices import lock
    from lora_studio.engine.runtime.failures import PausedError

    job.pausable = True
    try:
        with lock.hold_devices(run.load_project().model, run, "training", job):
            job.pausable = False
            return _train(run, command, job)
    except PausedError:
        return events.Done(paused=True)


def _train(run: RunFolder, command: commands.Train, job: JobContext) -> events.Done:
    from lora_studio.engine.backends import choice
    from lora_studio.engine.runtime import fast_imports

    name = choice.choose_backend(run, job, resume=command.resume)
    with fast_imports.speed_up_imports():
        from lora_studio.engine.training import train_run

        backend = choice.create_backend(name)
    return train_run.train(run, job, resume=command.resume, lower=command.lower, backend=backend)


@handles(commands.TryRewards)
def try_rewards(command: commands.TryRewards, job: JobContext) -> None:
    """Rate answers of the base model with the rewards of a recipe."""
    job.show_stage(text("starting PyTorch"))
    from lora_studio.engine.runtime import fast_imports

    with fast_imports.speed_up_imports():
        from lora_studio.engine.training.rewarding import trial
    trial.try_rewards(command, job)


@handles(commands.InspectDevices)
def inspect_devices(_command: commands.InspectDevices, job: JobContext) -> None:
    """Report the devices of this computer and the packages of this engine."""
    from lora_studio.engine.devices import devices
    from lora_studio.engine.devices.unused_gpus import find_unused_gpu_problem
    from lora_studio.engine.training import trackers
    from lora_studio.engine.training.recipe import optimizers

    missing = (*optimizers.get_missing_packages(), *trackers.get_missing_packages())
    packages = devices.get_package_versions()
    facts = {"missing": missing, "packages": packages, "unused_gpu": find_unused_gpu_problem()}
    job.emit(devices.list_devices().model_copy(update=facts))
