"""What each command does: the steps it is made of, in order. Imports are late and priced.

torch and transformers take seconds to import; a question about devices or a dataset's rows should
not wait for them.
"""

from __future__ import annotations

from pathlib import Path

from lora_studio.core import commands, events
from lora_studio.core.run_folder import RunFolder
from lora_studio.engine.channel import Job


def train(command: commands.Train, job: Job) -> events.Done:
    """Trains the adapter of a run, to its end or until the user stops or pauses it.

    Waits while another job uses the same GPU; a pause meanwhile lets it rest before it has begun.
    """
    from lora_studio.engine import device_use
    from lora_studio.engine.failures import PausedError

    run = RunFolder(Path(command.run))
    job.pausable = True
    try:
        with device_use.held(run.load_project().model, run, "training", job):
            job.pausable = False
            return _train(run, command, job)
    except PausedError:
        return events.Done(paused=True)


def _train(run: RunFolder, command: commands.Train, job: Job) -> events.Done:
    from lora_studio.engine import backend_choice, importing

    name = backend_choice.settle(run, job, resume=command.resume)
    with importing.lightly():
        from lora_studio.engine import backends, taking_part
    return taking_part.train(
        run, job, resume=command.resume, lower=command.lower, backend=backends.make(name)
    )


def merge(command: commands.Merge, job: Job) -> None:
    """Merges the adapter of a run into its base model and tests what came of it."""
    from lora_studio.engine import device_use, merging, selftest

    run = RunFolder(Path(command.run))
    selftest.sweep(run)
    merging.merge(run, job)
    project = run.load_project()
    if project.export.self_test and run.heldout_file.is_file():
        with device_use.held(project.model, run, "the self-test", job):
            selftest.run(run, project, {}, job)


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
    fits = adapter_library.fits(found, command.model, job) if command.model is not None else {}
    job.emit(events.AdaptersFound(adapters=tuple(found), fits=fits))


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
    from lora_studio.engine import device_use, selftest
    from lora_studio.engine.export import gguf, lm_studio, ollama_model

    run = RunFolder(Path(command.run))
    project = run.load_project()
    selftest.sweep(run)
    chosen = project.export.quantizations[0]
    failed: set[str] = set()
    with gguf.writing(run, project, job) as made:
        file = made.files[chosen]
        derived = ollama_model.describe(run, project, file, job)
        if project.export.self_test:
            with device_use.held(project.model, run, "the self-test", job):
                results = selftest.run(run, project, made.stages(), job)
            failed = {result.stage for result in results if not result.passed}
    if project.export.lm_studio:
        lm_studio.place(project, made.files.values(), job)
    if project.export.ollama_create and derived is not None:
        if failed & {"merged", "converted", chosen}:
            job.emit(events.Warned(problem=ollama_model.withheld(chosen)))
        else:
            ollama_model.create(run, project, file, derived, job)


def selftest(command: commands.SelfTest, job: Job) -> None:
    """Tests every stage that a run has, all anew."""
    from lora_studio.core.export import QUANTIZATIONS
    from lora_studio.core.problems import Where, fail
    from lora_studio.engine import device_use
    from lora_studio.engine import selftest as testing

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
    with device_use.held(project.model, run, "the self-test", job):
        testing.run(run, project, found, job, fresh=True)


def push(command: commands.Push, job: Job) -> None:
    """Uploads what a run has made."""
    from lora_studio.engine.export import hub

    run = RunFolder(Path(command.run))
    hub.push(
        run, run.load_project(), command.repository, command.what, job, private=command.private
    )


def preview_card(command: commands.PreviewCard, job: Job) -> None:
    """The model card of an upload."""
    from lora_studio.engine.export import hub

    run = RunFolder(Path(command.run))
    text = hub.preview(run, run.load_project(), command.repository, command.what)
    job.emit(events.CardPreviewed(text=text))


def convert(command: commands.Convert, job: Job) -> None:
    """Makes GGUF files of a model outside any run."""
    from lora_studio.engine import model
    from lora_studio.engine.export import gguf

    gguf.convert_folder(command, model.resolve(command.model, job), job)


def estimate_sizes(command: commands.EstimateSizes, job: Job) -> None:
    """How large every GGUF file would be."""
    from lora_studio.engine.export import sizes

    job.emit(sizes.estimate(command, job))


def generate(command: commands.Generate, job: Job) -> None:
    """Answers conversations with the models of a run, one model in memory at a time."""
    run = RunFolder(Path(command.run))
    project = run.load_project()
    if command.mixes:
        from lora_studio.engine import chat_adapters

        chat_adapters.answer(project, command, job)
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


def open_chat(command: commands.OpenChat, job: Job) -> None:
    """Loads what a chat needs; that stays for as long as the worker lives."""
    from lora_studio.engine import chat_session

    chat_session.current().carry_out(command, job)


def ask_chat(command: commands.AskChat, job: Job) -> None:
    """Answers in every column of a chat."""
    from lora_studio.engine import chat_session

    chat_session.current().carry_out(command, job)


def show_prompt(command: commands.ShowPrompt, job: Job) -> None:
    """The exact tokens of a prompt."""
    from lora_studio.engine import chat_session

    chat_session.current().carry_out(command, job)


def inspect_model(command: commands.InspectModel, job: Job) -> None:
    """Facts of a model from its headers."""
    from lora_studio.engine import lora

    job.emit(lora.inspect(command.model, command.lora, job))


def list_models(command: commands.ListModels, job: Job) -> None:
    """Models of one place on this computer."""
    from lora_studio.engine import model_scan

    folders = [Path(folder) for folder in command.folders]
    found = model_scan.scan(command.place, folders, job)
    looked = tuple(str(folder) for folder in model_scan.looked_through(command.place, folders))
    job.emit(events.ModelsFound(place=command.place, models=tuple(found), folders=looked))


def search_models(command: commands.SearchModels, job: Job) -> None:
    """Base models on the hub."""
    from lora_studio.engine import hub_search

    job.emit(events.ModelsFound(place="hub", models=tuple(hub_search.search(command, job))))


def download_model(command: commands.DownloadModel, job: Job) -> None:
    """Fetches a hub model; what an earlier attempt fetched stays."""
    from lora_studio.engine import model_sources

    folder = model_sources.resolve(command.model, job)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    job.emit(
        events.ModelDownloaded(
            source=command.model.source,
            revision=command.model.revision,
            folder=str(folder),
            bytes=size,
        )
    )


def inspect_account(_command: commands.InspectAccount, job: Job) -> None:
    """Whose token is used at the hub."""
    from lora_studio.engine import hub_account

    job.emit(hub_account.account(job))


def sign_in(command: commands.SignIn, job: Job) -> None:
    """Puts a token into the hub's own store."""
    from lora_studio.engine import hub_account

    job.emit(hub_account.sign_in(command.token.get_secret_value(), job))


def sign_out(_command: commands.SignOut, job: Job) -> None:
    """Takes the token out of the hub's own store."""
    from lora_studio.engine import hub_account

    job.emit(hub_account.sign_out(job))


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
    from lora_studio.engine import row_shown

    row_shown.show(command, job)


def measure_dataset(command: commands.MeasureDataset, job: Job) -> None:
    """Lengths of all rows in tokens."""
    from lora_studio.engine import lengths

    lengths.measure(command, job)


def lint_dataset(command: commands.LintDataset, job: Job) -> None:
    """Faults in the data."""
    from lora_studio.engine import lint

    if command.model is None:
        job.emit(lint.lint(command.dataset, job))
        return
    from lora_studio.engine import lengths

    tables = lengths.tables(command.dataset, command.model, job)
    job.emit(lint.lint(command.dataset, job, tables))


def inspect_devices(command: commands.InspectDevices, job: Job) -> None:
    """Devices of this machine."""
    from lora_studio.engine import device, optimizers, trackers

    missing = (*optimizers.missing_packages(), *trackers.missing_packages())
    packages = device.packages()
    job.emit(device.found().model_copy(update={"missing": missing, "packages": packages}))


def inspect_ollama(command: commands.InspectOllama, job: Job) -> None:
    """Version and models of an Ollama server."""
    from lora_studio.engine.export import ollama

    job.emit(ollama.find(command.host))


def create_ollama(command: commands.CreateOllama, job: Job) -> None:
    """Creates the Ollama model of a run that was exported before."""
    from lora_studio.engine.export import ollama_model

    ollama_model.create_of_run(command, job)


def show_ollama(command: commands.ShowOllama, job: Job) -> None:
    """What an Ollama server has stored for a model."""
    from lora_studio.engine.export import ollama_store

    job.emit(ollama_store.show(command.host, command.name))


def copy_ollama(command: commands.CopyOllama, job: Job) -> None:
    """Gives a model in Ollama a second name."""
    from lora_studio.engine.export import ollama, ollama_store

    ollama_store.copy(command.host, command.source, command.target, force=command.force)
    job.emit(ollama.find(command.host))


def remove_ollama(command: commands.RemoveOllama, job: Job) -> None:
    """Removes a model from Ollama."""
    from lora_studio.engine.export import ollama, ollama_store

    ollama_store.remove(command.host, command.name)
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
