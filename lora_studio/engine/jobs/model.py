"""Inspect, list, search and download base models, and sign in to the Hub."""

from __future__ import annotations

from pathlib import Path

from lora_studio.core.protocol import commands, events
from lora_studio.engine.jobs.registry import handles
from lora_studio.engine.runtime.channel import JobContext


@handles(commands.InspectModel)
def inspect_model(command: commands.InspectModel, job: JobContext) -> None:
    """Report a model from its headers, and the size of an adapter for it."""
    from lora_studio.engine.export.gguf.pre_tokenizer import find_unknown_pre_tokenizer
    from lora_studio.engine.lora import attach

    inspected = attach.inspect_model(command.model, command.lora, job)
    problem = find_unknown_pre_tokenizer(
        Path(inspected.folder), command.llama_cpp, trust=command.model.trust_remote_code
    )
    inspected = inspected.model_copy(update={"export_problem": problem})
    if command.teacher is not None:
        from lora_studio.engine.training.frozen_models import teacher_inspection

        facts = teacher_inspection.inspect_teacher(inspected, command.teacher, job)
        inspected = inspected.model_copy(update=facts)
    job.emit(inspected)


@handles(commands.ListModels)
def list_models(command: commands.ListModels, job: JobContext) -> None:
    """Report the models of one location on this computer."""
    from lora_studio.engine.model import scan

    folders = [Path(folder) for folder in command.folders]
    entries = scan.scan_models(command.location, folders, job)
    searched = tuple(str(folder) for folder in scan.get_searched_folders(command.location, folders))
    job.emit(events.ModelsFound(location=command.location, models=tuple(entries), folders=searched))


@handles(commands.SearchModels)
def search_models(command: commands.SearchModels, job: JobContext) -> None:
    """Report base models on the Hub."""
    from lora_studio.engine.hub import account

    job.emit(events.ModelsFound(location="hub", models=tuple(account.search_models(command, job))))


@handles(commands.DownloadModel)
def download_model(command: commands.DownloadModel, job: JobContext) -> None:
    """Download a model from the Hub, continuing an earlier attempt."""
    from lora_studio.engine.model import sources

    folder = sources.resolve(command.model, job)
    job.emit(
        events.ModelDownloaded(
            source=command.model.source,
            revision=command.model.revision,
            folder=str(folder),
            bytes=sum(file.stat().st_size for file in folder.glob("*.safetensors")),
        )
    )


@handles(commands.InspectAccount)
def inspect_account(_command: commands.InspectAccount, job: JobContext) -> None:
    """Report which account the Hub token belongs to."""
    from lora_studio.engine.hub import account

    job.emit(account.read_account(job))


@handles(commands.SignIn)
def sign_in(command: commands.SignIn, job: JobContext) -> None:
    """Save a token in the Hub library's own store."""
    from lora_studio.engine.hub import account

    job.emit(account.sign_in(command.token.get_secret_value(), job))


@handles(commands.SignOut)
def sign_out(_command: commands.SignOut, job: JobContext) -> None:
    """Remove the token from the Hub library's own store."""
    from lora_studio.engine.hub import account

    job.emit(account.sign_out(job))
