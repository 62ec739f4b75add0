"""What each command does: the steps it is made of, in order. Imports are late and priced.

torch and transformers take seconds to import; a question about devices or a dataset's rows should
not wait for them.
"""

from __future__ import annotations

from pathlib import Path

from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.runtime.channel import JobContext


def train(command: commands.Train, job: JobContext) -> events.Done:
    """Trains the adapter of a run, to its end or until the user stops or pauses it.

    Waits while another job uses the same GPU; a pause meanwhile lets it rest before it has begun.
    """
    from lora_studio.engine.devices import lock
    from lora_studio.engine.runtime.failures import PausedError

    run = RunFolder(Path(command.run))
    job.pausable = True
    try:
        with lock.held(run.load_project().model, run, "training", job):
            job.pausable = False
            return _train(run, command, job)
    except PausedError:
        return events.Done(paused=True)


def _train(run: RunFolder, command: commands.Train, job: JobContext) -> events.Done:
    from lora_studio.engine.backends import choice
    from lora_studio.engine.runtime import fast_imports

    name = choice.settle(run, job, resume=command.resume)
    with fast_imports.lightly():
        from lora_studio.engine.backends import backend
        from lora_studio.engine.training import train_run
    return train_run.train(
        run, job, resume=command.resume, lower=command.lower, backend=backend.make(name)
    )


def merge(command: commands.Merge, job: JobContext) -> None:
    """Merges the adapter of a run into its base model and tests what came of it."""
    from lora_studio.engine.devices import lock
    from lora_studio.engine.merging import merge as merging_merge
    from lora_studio.engine.selftest import selftest

    run = RunFolder(Path(command.run))
    selftest.sweep(run)
    merging_merge.merge(run, job)
    project = run.load_project()
    if project.export.self_test and run.heldout_file.is_file():
        with lock.held(project.model, run, "the self-test", job):
            selftest.run(run, project, {}, job)


def import_adapter(command: commands.ImportAdapter, job: JobContext) -> None:
    """Puts an adapter made elsewhere into a new run."""
    from lora_studio.engine.merging import imported_runs

    imported_runs.adapter(RunFolder(Path(command.run)), Path(command.adapter), job)


def import_model(command: commands.ImportModel, job: JobContext) -> None:
    """Puts the model of a new run into it as its merged model."""
    from lora_studio.engine.merging import imported_runs

    imported_runs.model(RunFolder(Path(command.run)), job)


def plan_merge(command: commands.PlanMerge, job: JobContext) -> None:
    """What merging a run would do and need."""
    from lora_studio.engine.merging import merge as merging_merge

    job.emit(merging_merge.preview(RunFolder(Path(command.run)), command.merging, job))


def merge_adapters(command: commands.MergeAdapters, job: JobContext) -> None:
    """Merges adapters into a base model, outside any run."""
    from lora_studio.engine.merging import merge as merging_merge

    merging_merge.merge_adapters(command, job)


def list_adapters(command: commands.ListAdapters, job: JobContext) -> None:
    """Looks for adapters in folders."""
    from lora_studio.engine.merging import library

    found = library.find([Path(folder) for folder in command.folders], job)
    fits = library.fits(found, command.model, job) if command.model is not None else {}
    job.emit(events.AdaptersFound(adapters=tuple(found), fits=fits))


def show_adapter(command: commands.ShowAdapter, job: JobContext) -> None:
    """An adapter layer by layer."""
    from lora_studio.engine.merging import library

    job.emit(library.show(Path(command.folder), command.model, job))


def combine_adapters(command: commands.CombineAdapters, job: JobContext) -> None:
    """Makes one adapter of several."""
    from lora_studio.engine.merging import combining

    job.emit(combining.combine(command, job))


def export(command: commands.Export, job: JobContext) -> None:
    """Writes GGUF files, derives TEMPLATE and Modelfile, tests every stage, creates in Ollama.

    A model that failed its self-test or whose TEMPLATE is not proven is not created in Ollama.
    """
    from lora_studio.engine.devices import lock
    from lora_studio.engine.export import lm_studio
    from lora_studio.engine.export.gguf import conversion
    from lora_studio.engine.export.ollama import model as ollama_model
    from lora_studio.engine.selftest import selftest

    run = RunFolder(Path(command.run))
    project = run.load_project()
    selftest.sweep(run)
    chosen = project.export.quantizations[0]
    failed: set[str] = set()
    with conversion.writing(run, project, job) as made:
        file = made.files[chosen]
        derived = ollama_model.describe(run, project, file, job)
        if project.export.self_test:
            with lock.held(project.model, run, "the self-test", job):
                results = selftest.run(run, project, made.stages(), job)
            failed = {result.stage for result in results if not result.passed}
    if project.export.lm_studio:
        lm_studio.place(project, made.files.values(), job)
    if project.export.ollama_create and derived is not None:
        if failed & {"merged", "converted", chosen}:
            job.emit(events.Warned(problem=ollama_model.withheld(chosen)))
        else:
            ollama_model.create(run, project, file, derived, job)


def selftest(command: commands.SelfTest, job: JobContext) -> None:
    """Tests every stage that a run has, all anew."""
    from lora_studio.core.export import QUANTIZATIONS
    from lora_studio.core.problems import Where, fail
    from lora_studio.engine.devices import lock
    from lora_studio.engine.selftest import selftest as testing

    run = RunFolder(Path(command.run))
    project = run.load_project()
    testing.sweep(run)
    files = {str(name): run.gguf_file(project.name, name) for name in QUANTIZATIONS}
    found = {name: file for name, file in files.items() if file.is_file()}
    if not run.has_merged and not found:
        raise fail(
            "selftest.not_merged",
            "There is neither a merged model nor a GGUF file to test.",
            "Merge or export first.",
            where=Where(step="merging", file=str(run.merged)),
        )
    with lock.held(project.model, run, "the self-test", job):
        testing.run(run, project, found, job, fresh=True)


def push(command: commands.Push, job: JobContext) -> None:
    """Uploads what a run has made."""
    from lora_studio.engine.export import hub_upload

    run = RunFolder(Path(command.run))
    hub_upload.push(
        run, run.load_project(), command.repository, command.what, job, private=command.private
    )


def preview_card(command: commands.PreviewCard, job: JobContext) -> None:
    """The model card of an upload."""
    from lora_studio.engine.export import hub_upload

    run = RunFolder(Path(command.run))
    text = hub_upload.preview(run, run.load_project(), command.repository, command.what)
    job.emit(events.CardPreviewed(text=text))


def convert(command: commands.Convert, job: JobContext) -> None:
    """Makes GGUF files of a model outside any run."""
    from lora_studio.engine.export.gguf import conversion
    from lora_studio.engine.model import loading

    conversion.convert_folder(command, loading.resolve(command.model, job), job)


def estimate_sizes(command: commands.EstimateSizes, job: JobContext) -> None:
    """How large every GGUF file would be."""
    from lora_studio.engine.export.gguf import sizes

    job.emit(sizes.estimate(command, job))


def generate(command: commands.Generate, job: JobContext) -> None:
    """Answers conversations with the models of a run, one model in memory at a time."""
    run = RunFolder(Path(command.run))
    project = run.load_project()
    if command.mixes:
        from lora_studio.engine.chat import adapters

        adapters.answer(project, command, job)
    if {"base", "tuned", "merged", "gguf"} & {*command.sources}:
        from lora_studio.engine import generation

        if {"base", "tuned"} & {*command.sources}:
            generation.answer_in_torch(run, project, command.sources, command, job)
        if "merged" in command.sources:
            generation.answer_merged(run, project, command, job)
        if "gguf" in command.sources:
            generation.answer_gguf(run, project, command, job)
    if "ollama" in command.sources:
        from lora_studio.engine.export.ollama import server

        server.answer(project, command, job)


def open_chat(command: commands.OpenChat, job: JobContext) -> None:
    """Loads what a chat needs; that stays for as long as the worker lives."""
    from lora_studio.engine.chat import session

    session.current().carry_out(command, job)


def ask_chat(command: commands.AskChat, job: JobContext) -> None:
    """Answers in every column of a chat."""
    from lora_studio.engine.chat import session

    session.current().carry_out(command, job)


def show_prompt(command: commands.ShowPrompt, job: JobContext) -> None:
    """The exact tokens of a prompt."""
    from lora_studio.engine.chat import session

    session.current().carry_out(command, job)


def inspect_model(command: commands.InspectModel, job: JobContext) -> None:
    """Facts of a model from its headers."""
    from lora_studio.engine.lora import attach

    job.emit(attach.inspect(command.model, command.lora, job))


def list_models(command: commands.ListModels, job: JobContext) -> None:
    """Models of one place on this computer."""
    from lora_studio.engine.model import scan

    folders = [Path(folder) for folder in command.folders]
    found = scan.scan(command.place, folders, job)
    looked = tuple(str(folder) for folder in scan.looked_through(command.place, folders))
    job.emit(events.ModelsFound(place=command.place, models=tuple(found), folders=looked))


def search_models(command: commands.SearchModels, job: JobContext) -> None:
    """Base models on the hub."""
    from lora_studio.engine.hub import search

    job.emit(events.ModelsFound(place="hub", models=tuple(search.search(command, job))))


def download_model(command: commands.DownloadModel, job: JobContext) -> None:
    """Fetches a hub model; what an earlier attempt fetched stays."""
    from lora_studio.engine.model import sources

    folder = sources.resolve(command.model, job)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    job.emit(
        events.ModelDownloaded(
            source=command.model.source,
            revision=command.model.revision,
            folder=str(folder),
            bytes=size,
        )
    )


def inspect_account(_command: commands.InspectAccount, job: JobContext) -> None:
    """Whose token is used at the hub."""
    from lora_studio.engine.hub import account

    job.emit(account.account(job))


def sign_in(command: commands.SignIn, job: JobContext) -> None:
    """Puts a token into the hub's own store."""
    from lora_studio.engine.hub import account

    job.emit(account.sign_in(command.token.get_secret_value(), job))


def sign_out(_command: commands.SignOut, job: JobContext) -> None:
    """Takes the token out of the hub's own store."""
    from lora_studio.engine.hub import account

    job.emit(account.sign_out(job))


def inspect_dataset(command: commands.InspectDataset, job: JobContext) -> None:
    """Rows, format and faults of a dataset."""
    from lora_studio.engine.dataset import pages

    pages.inspect(command, job)


def read_rows(command: commands.ReadRows, job: JobContext) -> None:
    """A page of rows."""
    from lora_studio.engine.dataset import pages

    pages.read(command, job)


def show_row(command: commands.ShowRow, job: JobContext) -> None:
    """One row, as the file has it and as the model sees it."""
    from lora_studio.engine.dataset import row_view

    row_view.show(command, job)


def measure_dataset(command: commands.MeasureDataset, job: JobContext) -> None:
    """Lengths of all rows in tokens."""
    from lora_studio.engine.dataset import lengths

    lengths.measure(command, job)


def lint_dataset(command: commands.LintDataset, job: JobContext) -> None:
    """Faults in the data."""
    from lora_studio.engine.dataset.quality import lint

    if command.model is None:
        job.emit(lint.lint(command.dataset, job))
        return
    from lora_studio.engine.dataset import lengths

    tables = lengths.tables(command.dataset, command.model, job)
    job.emit(lint.lint(command.dataset, job, tables))


def inspect_devices(command: commands.InspectDevices, job: JobContext) -> None:
    """Devices of this machine."""
    from lora_studio.engine.devices import devices
    from lora_studio.engine.training import trackers
    from lora_studio.engine.training.recipe import optimizers

    missing = (*optimizers.missing_packages(), *trackers.missing_packages())
    packages = devices.packages()
    job.emit(devices.found().model_copy(update={"missing": missing, "packages": packages}))


def inspect_ollama(command: commands.InspectOllama, job: JobContext) -> None:
    """Version and models of an Ollama server."""
    from lora_studio.engine.export.ollama import server

    job.emit(server.find(command.host))


def create_ollama(command: commands.CreateOllama, job: JobContext) -> None:
    """Creates the Ollama model of a run that was exported before."""
    from lora_studio.engine.export.ollama import model as ollama_model

    ollama_model.create_of_run(command, job)


def show_ollama(command: commands.ShowOllama, job: JobContext) -> None:
    """What an Ollama server has stored for a model."""
    from lora_studio.engine.export.ollama import store

    job.emit(store.show(command.host, command.name))


def copy_ollama(command: commands.CopyOllama, job: JobContext) -> None:
    """Gives a model in Ollama a second name."""
    from lora_studio.engine.export.ollama import server, store

    store.copy(command.host, command.source, command.target, force=command.force)
    job.emit(server.find(command.host))


def remove_ollama(command: commands.RemoveOllama, job: JobContext) -> None:
    """Removes a model from Ollama."""
    from lora_studio.engine.export.ollama import server, store

    store.remove(command.host, command.name)
    job.emit(server.find(command.host))


def derive_template(command: commands.DeriveTemplate, job: JobContext) -> None:
    """The Ollama TEMPLATE of a chat template on disk."""
    from lora_studio.core.templates import source as template_source
    from lora_studio.engine.export.ollama import template_sandbox

    source = template_source.find(
        Path(command.path), bos=command.bos, eos=command.eos, adds_bos=command.adds_bos
    )
    job.progress("deriving the Ollama template", 0, None)
    job.emit(template_sandbox.derive(source, job, frozen_date=command.frozen_date))


def render_template(command: commands.RenderTemplate, job: JobContext) -> None:
    """What a TEMPLATE makes of a conversation."""
    from lora_studio.engine.export.ollama import template_sandbox

    job.emit(template_sandbox.render(command.template, command.request, command.today, job))
