"""What each command does: the steps it is made of, in order. Imports are late and priced.

torch and transformers take seconds to import; a question about devices or a dataset's rows should
not wait for them.
"""

from __future__ import annotations

from pathlib import Path

from lora_studio.core import commands, events
from lora_studio.core.run_folder import RunFolder
from lora_studio.engine.channel import Job


def train(command: commands.Train, job: Job) -> bool:
    """Trains the adapter of a run; True when the user stopped it early and kept the adapter."""
    from lora_studio.engine import training

    return training.train(RunFolder(Path(command.run)), job, resume=command.resume)


def merge(command: commands.Merge, job: Job) -> None:
    """Merges the adapter of a run into its base model."""
    from lora_studio.engine import merging

    merging.merge(RunFolder(Path(command.run)), job)


def import_adapter(command: commands.ImportAdapter, job: Job) -> None:
    """Puts an adapter made elsewhere into a new run."""
    from lora_studio.engine import imports

    imports.adapter(RunFolder(Path(command.run)), Path(command.adapter), job)


def import_model(command: commands.ImportModel, job: Job) -> None:
    """Puts the model of a new run into it as its merged model."""
    from lora_studio.engine import imports

    imports.model(RunFolder(Path(command.run)), job)


def plan_merge(command: commands.PlanMerge, job: Job) -> None:
    """What merging a run would do and need."""
    from lora_studio.engine import merging

    job.emit(merging.preview(RunFolder(Path(command.run)), command.merging, job))


def merge_adapters(command: commands.MergeAdapters, job: Job) -> None:
    """Merges adapters into a base model, outside any run."""
    from lora_studio.engine import merging

    merging.merge_adapters(command, job)


def list_adapters(command: commands.ListAdapters, job: Job) -> None:
    """Looks for adapters in folders."""
    from lora_studio.engine import adapter_library

    found = adapter_library.find([Path(folder) for folder in command.folders], job)
    job.emit(events.AdaptersFound(adapters=tuple(found)))


def show_adapter(command: commands.ShowAdapter, job: Job) -> None:
    """An adapter layer by layer."""
    from lora_studio.engine import adapter_library

    job.emit(adapter_library.show(Path(command.folder), command.model, job))


def combine_adapters(command: commands.CombineAdapters, job: Job) -> None:
    """Makes one adapter of several."""
    from lora_studio.engine import combining

    job.emit(combining.combine(command, job))


def export(command: commands.Export, job: Job) -> None:
    """Writes GGUF files, derives TEMPLATE and Modelfile, tests every stage, creates in Ollama.

    A model that failed its self-test or whose TEMPLATE is not proven is not created in Ollama.
    """
    from lora_studio.engine import selftest
    from lora_studio.engine.export import gguf, ollama_model

    run = RunFolder(Path(command.run))
    project = run.load_project()
    files = gguf.write(run, project, job)
    chosen = project.export.quantizations[0]
    derived = ollama_model.describe(run, project, files[chosen], job)
    failed: set[str] = set()
    if project.export.self_test:
        results = selftest.run(run, project, files, job)
        failed = {result.stage for result in results if not result.passed}
    if project.export.ollama_create and derived is not None:
        if failed & {"merged", chosen}:
            job.emit(events.Warned(problem=ollama_model.withheld(chosen)))
        else:
            ollama_model.create(run, project, files[chosen], derived, job)


def generate(command: commands.Generate, job: Job) -> None:
    """Answers conversations with the models of a run, one model in memory at a time."""
    run = RunFolder(Path(command.run))
    project = run.load_project()
    if {"base", "tuned", "merged", "gguf"} & {*command.sources}:
        from lora_studio.engine import chat

        if {"base", "tuned"} & {*command.sources}:
            chat.answer_in_torch(run, project, command.sources, command, job)
        if "merged" in command.sources:
            chat.answer_merged(run, project, command, job)
        if "gguf" in command.sources:
            chat.answer_gguf(run, project, command, job)
    if "ollama" in command.sources:
        from lora_studio.engine.export import ollama

        ollama.answer(project, command, job)


def inspect_model(command: commands.InspectModel, job: Job) -> None:
    """Facts of a model from its headers."""
    from lora_studio.engine import lora

    job.emit(lora.inspect(command.model, command.lora, job))


def inspect_dataset(command: commands.InspectDataset, job: Job) -> None:
    """Rows, format and faults of a dataset."""
    from lora_studio.engine import row_pages

    row_pages.inspect(command, job)


def read_rows(command: commands.ReadRows, job: Job) -> None:
    """A page of rows."""
    from lora_studio.engine import row_pages

    row_pages.read(command, job)


def show_row(command: commands.ShowRow, job: Job) -> None:
    """One row, as the file has it and as the model sees it."""
    raise NotImplementedError


def measure_dataset(command: commands.MeasureDataset, job: Job) -> None:
    """Lengths of all rows in tokens."""
    raise NotImplementedError


def lint_dataset(command: commands.LintDataset, job: Job) -> None:
    """Faults in the data."""
    from lora_studio.engine import lint

    job.emit(lint.lint(command.dataset, job))


def inspect_devices(command: commands.InspectDevices, job: Job) -> None:
    """Devices of this machine."""
    from lora_studio.engine import device

    job.emit(device.found())


def inspect_ollama(command: commands.InspectOllama, job: Job) -> None:
    """Version and models of an Ollama server."""
    from lora_studio.engine.export import ollama

    job.emit(ollama.find(command.host))


def derive_template(command: commands.DeriveTemplate, job: Job) -> None:
    """The Ollama TEMPLATE of a chat template on disk."""
    from lora_studio.core import template_source
    from lora_studio.engine.export import template_limits

    source = template_source.find(
        Path(command.path), bos=command.bos, eos=command.eos, adds_bos=command.adds_bos
    )
    job.progress("deriving the Ollama template", 0, None)
    job.emit(template_limits.derive(source, job, frozen_date=command.frozen_date))


def render_template(command: commands.RenderTemplate, job: Job) -> None:
    """What a TEMPLATE makes of a conversation."""
    from lora_studio.engine.export import template_limits

    job.emit(template_limits.render(command.template, command.request, command.today, job))
