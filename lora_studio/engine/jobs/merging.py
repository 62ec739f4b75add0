"""Merge a run's adapter into its base model, or adapters into any base model."""

from __future__ import annotations

from pathlib import Path

from lora_studio.core.messages import text
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import heldout
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.jobs.registry import handles
from lora_studio.engine.runtime import torch_settings
from lora_studio.engine.runtime.channel import JobContext


@handles(commands.Merge)
def merge(command: commands.Merge, job: JobContext) -> None:
    """Merge the adapter of a run into its base model and self-test the result."""
    job.show_stage(text("starting PyTorch"))
    torch_settings.choose_for_job(job)
    from lora_studio.engine.merging import merge as merging_merge
    from lora_studio.engine.selftest import selftest

    run = RunFolder(Path(command.run))
    project = run.load_project()
    if not project.merging.base:
        run.require_inputs(project, with_data=False)
    merging_merge.merge(run, job)
    if project.export.self_test and heldout.is_expected(run):
        selftest.run(run, project, {}, job)


@handles(commands.PlanMerge)
def plan_merge(command: commands.PlanMerge, job: JobContext) -> None:
    """Report what merging a run would do and need."""
    from lora_studio.engine.merging import merge as merging_merge

    run = RunFolder(Path(command.run))
    job.open_file(run.path)
    job.emit(merging_merge.preview_merge(run, command.merging, job))


@handles(commands.MergeAdapters)
def merge_adapters(command: commands.MergeAdapters, job: JobContext) -> None:
    """Merge adapters into a base model, outside any run."""
    from lora_studio.engine.merging import merge as merging_merge

    merging_merge.merge_adapters(command, job)


@handles(commands.ImportModel)
def import_model(command: commands.ImportModel, job: JobContext) -> None:
    """Copy the model of a new run into it as its merged model."""
    from lora_studio.engine.merging import imported_runs

    imported_runs.import_model(RunFolder(Path(command.run)), job)


@handles(commands.ImportAdapter)
def import_adapter(command: commands.ImportAdapter, job: JobContext) -> None:
    """Copy an adapter that was trained elsewhere into a new run."""
    from lora_studio.engine.merging import imported_runs

    imported_runs.import_adapter(RunFolder(Path(command.run)), Path(command.adapter), job)


@handles(commands.ListAdapters)
def list_adapters(command: commands.ListAdapters, job: JobContext) -> None:
    """Report the adapters in folders, and with a model which of them fit it."""
    from lora_studio.engine.merging import library

    adapters = library.find_adapters([Path(folder) for folder in command.folders], job)
    fits = (
        library.check_compatibility(adapters, command.model, job)
        if command.model is not None
        else {}
    )
    job.emit(events.AdaptersFound(adapters=tuple(adapters), fits=fits))


@handles(commands.ShowAdapter)
def show_adapter(command: commands.ShowAdapter, job: JobContext) -> None:
    """Report an adapter layer by layer."""
    from lora_studio.engine.merging import library

    job.emit(library.show_adapter(Path(command.folder), command.model, job))


@handles(commands.CombineAdapters)
def combine_adapters(command: commands.CombineAdapters, job: JobContext) -> None:
    """Combine several adapters into one."""
    from lora_studio.engine.merging import combining

    job.emit(combining.combine(command, job))
