"""Carry out commands: one handler per command, in the order of the steps.

Importing this module imports nothing heavy. torch and transformers take seconds to import, and a question about devices
or a dataset's rows must not wait for them, so handlers import what they need when they run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from lora_studio.core.export import QUANTIZATIONS
from lora_studio.core.messages import text
from lora_studio.core.problems import Where, fail
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import checksums, heldout, manifest, selftest_report
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.templates.ollama_template import DerivedTemplate
from lora_studio.engine.runtime import fast_imports, torch_settings
from lora_studio.engine.runtime.channel import JobContext

#: Carries out a command. Returns how it ended, an event that answers it, or None.
Handler = Callable[[Any, JobContext], events.Event | None]

_HandlerT = TypeVar("_HandlerT", bound=Handler)

#: Commands that a function of the engine carries out alone.
_FUNCTIONS: dict[type[commands.Job | commands.Question], str] = {
    commands.InspectDataset: "dataset.inspection.inspect",
    commands.ReadRows: "dataset.inspection.read_page",
    commands.LintDataset: "dataset.inspection.check",
    commands.ShowRow: "dataset.row_view.show",
    commands.MeasureDataset: "dataset.lengths.measure",
    commands.PlanDataset: "dataset.lengths.plan",
    commands.InspectTestSets: "evaluation.test_sets.inspect",
    commands.MergeAdapters: "merging.merge.merge_adapters",
    commands.CombineAdapters: "merging.combining.combine",
    commands.EstimateSizes: "export.gguf.conversion.estimate",
    commands.ProveOllama: "export.ollama.server_proof.prove_model",
    commands.Serve: "export.serving.server.serve",
}

_HANDLERS: dict[type[commands.Job | commands.Question], Handler] = {}


def run_command(command: commands.Job | commands.Question, job: JobContext) -> events.Done:
    """Carry out a command with its handler and return how it ended; raises what the handler raises."""
    answer = get_handler(type(command))(command, job)
    if isinstance(answer, events.Done):
        return answer
    if answer is not None:
        job.emit(answer)
    return events.Done()


def get_handler(command_type: type[commands.Job | commands.Question]) -> Handler:
    """Return the handler of a command; raises KeyError when it has none."""
    if (name := _FUNCTIONS.get(command_type)) is None:
        return _HANDLERS[command_type]
    module, _, function = name.rpartition(".")
    handler: Handler = getattr(import_module(f"lora_studio.engine.{module}"), function)
    return handler


def handles(
    *command_types: type[commands.Job | commands.Question],
) -> Callable[[_HandlerT], _HandlerT]:
    """Register the decorated function as the handler of these commands."""

    def register(handler: _HandlerT) -> _HandlerT:
        _HANDLERS.update(dict.fromkeys(command_types, handler))
        return handler

    return register


@handles(commands.InspectModel)
def inspect_model(command: commands.InspectModel, job: JobContext) -> None:
    """Report a model from its headers, and the size of an adapter for it."""
    from lora_studio.engine.export.gguf.converter import find_unknown_pre_tokenizer
    from lora_studio.engine.lora import attach

    inspected = attach.inspect_model(command.model, command.lora, job)
    problem = find_unknown_pre_tokenizer(
        Path(inspected.folder), command.llama_cpp, trust=command.model.trust_remote_code
    )
    inspected = inspected.model_copy(update={"export_problem": problem})
    if command.teacher is not None:
        from lora_studio.engine.training.frozen_models import teacher

        facts = teacher.inspect_teacher(inspected, command.teacher, job)
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

    name = choice.choose_backend(run, job, resume=command.resume)
    with fast_imports.speed_up_imports():
        from lora_studio.engine.training import train_run

        backend = choice.load_backend(name)
    return train_run.train(run, job, resume=command.resume, lower=command.lower, backend=backend)


@handles(commands.PreviewRewards)
def preview_rewards(command: commands.PreviewRewards, job: JobContext) -> None:
    """Rate answers of the base model with the rewards of a recipe."""
    job.show_stage(text("starting PyTorch"))
    with fast_imports.speed_up_imports():
        from lora_studio.engine.training import rollouts
    rollouts.preview_rewards(command, job)


@handles(commands.InspectDevices)
def inspect_devices(_command: commands.InspectDevices, job: JobContext) -> None:
    """Report the devices of this computer and the packages of this engine."""
    from lora_studio.engine.devices import devices
    from lora_studio.engine.devices.devices import find_unused_gpu_problem
    from lora_studio.engine.training import trackers
    from lora_studio.engine.training.recipe import torch_optimizers

    missing = (*torch_optimizers.get_missing_packages(), *trackers.get_missing_packages())
    packages = devices.get_package_versions()
    facts = {"missing": missing, "packages": packages, "unused_gpu": find_unused_gpu_problem()}
    job.emit(devices.list_devices().model_copy(update=facts))


@handles(commands.Generate)
def generate(command: commands.Generate, job: JobContext) -> None:
    """Answer conversations with the models of a run, one model in memory at a time."""
    run = RunFolder(Path(command.run))
    project = run.load_project()
    sources = {*command.sources}
    if command.mixes:
        with fast_imports.speed_up_imports():
            from lora_studio.engine.chat import adapters
        adapters.answer(project, command, job)
    if {"base", "tuned", "merged", "gguf"} & sources:
        with fast_imports.speed_up_imports():
            from lora_studio.engine.generation import answering
        if {"base", "tuned"} & sources:
            answering.answer_in_torch(run, project, command.sources, command, job)
        if "merged" in sources:
            answering.answer_merged(run, project, command, job)
        if "gguf" in sources:
            answering.answer_gguf(run, project, command, job)
    if "ollama" in sources:
        from lora_studio.engine.export.ollama import server

        server.answer_conversations(project, command, job)


@handles(commands.OpenChat, commands.AskChat, commands.ShowPrompt)
def run_chat_command(
    command: commands.OpenChat | commands.AskChat | commands.ShowPrompt, job: JobContext
) -> None:
    """Carry out a command of the chat, whose models stay loaded as long as the worker lives."""
    with fast_imports.speed_up_imports():
        from lora_studio.engine.chat import session
    session.get_session().run_command(command, job)


@handles(commands.Evaluate)
def evaluate(command: commands.Evaluate, job: JobContext) -> events.Done:
    """Start or continue an evaluation of a run."""
    job.show_stage(text("starting PyTorch"))
    torch_settings.choose_for_job(job)
    with fast_imports.speed_up_imports():
        from lora_studio.engine.evaluation import evaluation
    return evaluation.evaluate(command, job)


@handles(commands.ListBenchmarks)
def list_benchmarks(command: commands.ListBenchmarks, job: JobContext) -> None:
    """Report the benchmarks of lm-eval that a search finds."""
    from lora_studio.engine.evaluation import benchmark_index

    found = benchmark_index.search(command.search, job)
    shown = tuple(found[: command.limit])
    job.emit(events.BenchmarksListed(benchmarks=shown, total=len(found)))


@handles(commands.Classify)
def classify(command: commands.Classify, job: JobContext) -> None:
    """Predict the labels of texts."""
    job.show_stage(text("starting PyTorch"))
    with fast_imports.speed_up_imports():
        from lora_studio.engine.chat import label_predictor
    job.emit(label_predictor.classify(RunFolder(Path(command.run)), command.texts, job))


@handles(commands.ClassifyFile)
def classify_file(command: commands.ClassifyFile, job: JobContext) -> None:
    """Predict the labels of the rows of a file."""
    job.show_stage(text("starting PyTorch"))
    with fast_imports.speed_up_imports():
        from lora_studio.engine.chat import labeled_files
    labeled_files.classify_file(RunFolder(Path(command.run)), command, job)


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


@handles(commands.Export)
def export(command: commands.Export, job: JobContext) -> None:
    """Write GGUF files, derive TEMPLATE and Modelfile, test every stage, create in Ollama.

    An embedding model has no TEMPLATE. A model that failed its self-test, or was made from one that did, is not
    created in Ollama, nor on a server that needs a proven TEMPLATE without one.
    """
    job.show_stage(text("starting PyTorch"))
    torch_settings.choose_for_job(job)
    from lora_studio.engine.export.gguf import conversion
    from lora_studio.engine.export.ollama import creation
    from lora_studio.engine.selftest import selftest
    from lora_studio.engine.selftest.oracle import served_model

    run = RunFolder(Path(command.run))
    project = run.load_project()
    first = project.export.quantizations[0]
    tested: dict[str, bool] = {}  # whether each stage passed
    task = manifest.get_task(run.read_manifest())
    if task is not None and task.has_classes:
        raise fail(
            "export.classifier",
            "A classifier isn't exported as GGUF, because llama.cpp and Ollama have no head for its labels.",
            "Classify texts with `lora-studio classify`, or use the merged model with transformers.",
            where=Where(step="export"),
        )
    if embeds := task is not None and task.yields_vectors:
        project = creation.leave_out_adapter(project, job)
    with conversion.convert_run(run, project, job) as converted:
        file = converted.files[first]
        derived = _write_modelfile(run, project, file, job, embeds=embeds)
        if run.modelfile.is_file():
            served_model.require_as_trained(run, project, file, derived)
        if project.export.self_test:
            results = selftest.run(run, project, converted.get_stages(), job)
            tested = {result.stage: result.passed for result in results}
    if project.export.lm_studio:
        projector = run.get_projector_file(project.name)
        files = [*converted.files.values(), *([projector] if projector.is_file() else [])]
        _add_to_lm_studio(run, project, files, derived, job)
    if project.export.ollama_create and (embeds or derived is not None):
        before = selftest_report.list_stages_before(first, tested, is_direct=converted.is_direct)
        if stage := next((name for name in (*before, first) if tested.get(name) is False), ""):
            job.emit(events.Warned(problem=creation.not_created_warning(stage)))
        else:
            creation.create(run, project, file, derived, served_model.require_as_trained, job)


def _add_to_lm_studio(
    run: RunFolder,
    project: Project,
    files: Iterable[Path],
    derived: DerivedTemplate | None,
    job: JobContext,
) -> None:
    from lora_studio.engine.export import lm_studio
    from lora_studio.engine.export.ollama.template_proof import read_intact_source

    template = read_intact_source(run.tokenizer).text if derived is not None else ""
    stops = derived.stops if derived is not None else ()
    lm_studio.add_to_lm_studio(project, files, job, template=template, stops=stops)


def _write_modelfile(
    run: RunFolder, project: Project, gguf: Path, job: JobContext, *, embeds: bool
) -> DerivedTemplate | None:
    """Write the Modelfile and return its TEMPLATE, None for an embedding model and without a proven one."""
    from lora_studio.engine.export.ollama import creation, derivation

    if embeds:
        creation.write_embedding_modelfile(run, project, gguf)
        return None
    return derivation.write_modelfile(run, project, gguf, job)


@handles(commands.SelfTest)
def run_selftest(command: commands.SelfTest, job: JobContext) -> None:
    """Test every stage that a run has, ignoring earlier results."""
    from lora_studio.engine.selftest import problems, selftest

    run = RunFolder(Path(command.run))
    project = run.load_project()
    files = {str(name): run.get_gguf_file(project.name, name) for name in QUANTIZATIONS}
    existing = {name: file for name, file in files.items() if file.is_file()}
    is_recorded = checksums.is_recorded(run, run.merged)
    if is_recorded and not run.merged.is_dir():
        job.emit(events.Warned(problem=problems.missing_model_problem(run.merged)))
    for name in _list_missing_files(run, files):
        job.emit(events.Warned(problem=problems.missing_file_problem(files[name], name)))
    is_incomplete = is_recorded and run.merged.is_dir()  # the self-test says what is missing
    if not (run.has_merged or is_incomplete or existing):
        raise fail(
            "selftest.not_merged",
            "This run has no merged model or GGUF file to test.",
            "Merge or export first.",
            where=Where(step="merging", file=str(run.merged)),
        )
    selftest.run(run, project, existing, job, fresh=True, all_rows=command.all_rows)


def _list_missing_files(run: RunFolder, files: Mapping[str, Path]) -> list[str]:
    """Return the quantizations that were exported and whose file is missing."""
    exported = checksums.read_recorded(run).get(run.gguf.name, {})
    return [name for name, file in files.items() if file.name in exported and not file.is_file()]


@handles(commands.Push)
def push(command: commands.Push, job: JobContext) -> None:
    """Upload what a run has produced to the Hugging Face Hub."""
    from lora_studio.engine.export import hub_upload

    run = RunFolder(Path(command.run))
    hub_upload.push(
        run, run.load_project(), command.repository, command.what, job, private=command.private
    )


@handles(commands.PreviewCard)
def preview_card(command: commands.PreviewCard, job: JobContext) -> None:
    """Report the model card that an upload would have."""
    from lora_studio.engine.export import hub_upload

    run = RunFolder(Path(command.run))
    job.open_file(run.path)
    card = hub_upload.preview_card(run, run.load_project(), command.repository, command.what)
    job.emit(events.CardPreviewed(text=card))


@handles(commands.Convert)
def convert(command: commands.Convert, job: JobContext) -> None:
    """Write GGUF files of a model outside any run."""
    from lora_studio.engine.export.gguf import conversion
    from lora_studio.engine.model import sources

    conversion.convert_folder(command, sources.resolve_intact(command.model, job), job)


@handles(commands.InspectOllama)
def inspect_ollama(command: commands.InspectOllama, job: JobContext) -> None:
    """Report the version and the models of an Ollama server."""
    from lora_studio.engine.export.ollama import server

    job.emit(server.inspect_server(command.host))


@handles(commands.CreateOllama)
def create_ollama(command: commands.CreateOllama, job: JobContext) -> None:
    """Create the Ollama model of a run that was exported before."""
    from lora_studio.engine.export.ollama import creation
    from lora_studio.engine.selftest.oracle import served_model

    judge = partial(served_model.require_as_trained, quantization=command.quantization)
    creation.create_of_run(command, judge, job)


@handles(commands.ShowOllama)
def show_ollama(command: commands.ShowOllama, job: JobContext) -> None:
    """Report what an Ollama server has stored for a model."""
    from lora_studio.engine.export.ollama import server

    job.emit(server.show_model(command.host, command.name))


@handles(commands.CopyOllama)
def copy_ollama(command: commands.CopyOllama, job: JobContext) -> None:
    """Copy a model in Ollama to a second name."""
    from lora_studio.engine.export.ollama import server

    server.copy_model(command.host, command.source, command.target, force=command.force)
    job.emit(server.inspect_server(command.host))


@handles(commands.RemoveOllama)
def remove_ollama(command: commands.RemoveOllama, job: JobContext) -> None:
    """Remove a model from Ollama."""
    from lora_studio.engine.export.ollama import server

    server.remove_model(command.host, command.name)
    job.emit(server.inspect_server(command.host))


@handles(commands.DeriveTemplate)
def derive_template(command: commands.DeriveTemplate, job: JobContext) -> None:
    """Derive the Ollama TEMPLATE of a chat template on disk."""
    from lora_studio.engine.export.ollama import template_sandbox
    from lora_studio.engine.export.ollama.template_proof import read_intact_source

    job.open_file(Path(command.path))
    source = read_intact_source(
        Path(command.path), bos=command.bos, eos=command.eos, adds_bos=command.adds_bos
    )
    job.report_progress(text("deriving the Ollama template"), 0, None)
    job.emit(template_sandbox.derive(source, job, frozen_date=command.frozen_date))


@handles(commands.RenderTemplate)
def render_template(command: commands.RenderTemplate, job: JobContext) -> None:
    """Render a conversation with a TEMPLATE."""
    from lora_studio.engine.export.ollama import template_sandbox

    job.emit(template_sandbox.render(command.template, command.request, command.today, job))


@handles(commands.RenderChat)
def render_chat(command: commands.RenderChat, job: JobContext) -> None:
    """Render conversations with a chat template."""
    from lora_studio.engine.export.ollama import template_proof

    job.emit(template_proof.render(command))


@handles(commands.ProveTemplate)
def prove_template(command: commands.ProveTemplate, job: JobContext) -> None:
    """Compare a chat template with llama-server and with its derived TEMPLATE."""
    from lora_studio.engine.export.ollama import template_proof

    job.open_file(Path(command.gguf or command.path))
    job.emit(template_proof.prove_template(command, job))
