"""Find, show, import and combine adapters."""

from __future__ import annotations

from pathlib import Path

from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.jobs.registry import handles
from lora_studio.engine.runtime.channel import JobContext


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
    fits = library.fit_all(adapters, command.model, job) if command.model is not None else {}
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
