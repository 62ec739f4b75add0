"""GGUF files, self-tests and uploads, and the Ollama model at the end of an export."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from lora_studio.core.messages import text
from lora_studio.core.problems import Where, fail
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import checksums, selftest_report
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.templates.ollama_template import DerivedTemplate
from lora_studio.engine.jobs.registry import handles
from lora_studio.engine.runtime import torch_settings
from lora_studio.engine.runtime.channel import JobContext


@handles(commands.Export)
def export(command: commands.Export, job: JobContext) -> None:
    """Write GGUF files, derive TEMPLATE and Modelfile, test every stage, create in Ollama.

    An embedding model has no TEMPLATE. A model that failed its self-test, or was made from one that did, is not
    created in Ollama, nor on a server that needs a proven TEMPLATE without one.
    """
    job.show_stage(text("starting PyTorch"))
    torch_settings.choose_for_job(job)
    from lora_studio.core.runs.manifest import get_task
    from lora_studio.engine.export.gguf import conversion
    from lora_studio.engine.export.ollama import embedding_model
    from lora_studio.engine.export.ollama import model as ollama_model
    from lora_studio.engine.selftest import selftest
    from lora_studio.engine.selftest.oracle import served_model

    run = RunFolder(Path(command.run))
    project = run.load_project()
    first = project.export.quantizations[0]
    tested: dict[str, bool] = {}  # whether each stage passed
    task = get_task(run.read_manifest())
    if task == "classification":
        raise (
            fail(
                "export.classifier",
                "A classifier isn't exported as GGUF, because llama.cpp and Ollama have no head for its labels.",
                "Classify texts with `lora-studio classify`, or use the merged model with transformers.",
                where=Where(step="export"),
            )
        )
    if embeds := task == "embedding":
        project = embedding_model.leave_out_adapter(project, job)
    with conversion.convert_run(run, project, job) as converted:
        file = converted.files[first]
        derived = _write_modelfile(run, project, file, job, embeds=embeds)
        if run.modelfile.is_file():
            served_model.require_as_trained(run, project, file, derived)
        if project.export.self_test:
            results = selftest.run(run, project, converted.get_stages(), job)
            tested = {result.stage: result.passed for result in results}
    if project.export.lm_studio:
        _add_to_lm_studio(run, project, converted.files.values(), derived, job)
    if project.export.ollama_create and (embeds or derived is not None):
        before = selftest_report.list_stages_before(first, tested, is_direct=converted.is_direct)
        if stage := next((name for name in (*before, first) if tested.get(name) is False), ""):
            job.emit(events.Warned(problem=ollama_model.not_created_warning(stage)))
        else:
            ollama_model.create(run, project, file, derived, served_model.require_as_trained, job)


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
    from lora_studio.engine.export.ollama import derivation, embedding_model

    if embeds:
        embedding_model.write_modelfile(run, project, gguf)
        return None
    return derivation.write_modelfile(run, project, gguf, job)


@handles(commands.SelfTest)
def run_selftest(command: commands.SelfTest, job: JobContext) -> None:
    """Test every stage that a run has, ignoring earlier results."""
    from lora_studio.core.export import QUANTIZATIONS
    from lora_studio.core.problems import Where, fail
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


@handles(commands.EstimateSizes)
def estimate_sizes(command: commands.EstimateSizes, job: JobContext) -> None:
    """Report how large the GGUF file of every quantization would be."""
    from lora_studio.engine.export.gguf import sizes

    job.emit(sizes.estimate(command, job))


@handles(commands.InspectOllama)
def inspect_ollama(command: commands.InspectOllama, job: JobContext) -> None:
    """Report the version and the models of an Ollama server."""
    from lora_studio.engine.export.ollama import server

    job.emit(server.inspect_server(command.host))


@handles(commands.CreateOllama)
def create_ollama(command: commands.CreateOllama, job: JobContext) -> None:
    """Create the Ollama model of a run that was exported before."""
    from lora_studio.engine.export.ollama import model as ollama_model
    from lora_studio.engine.selftest.oracle import served_model

    judge = partial(served_model.require_as_trained, quantization=command.quantization)
    ollama_model.create_of_run(command, judge, job)


@handles(commands.ShowOllama)
def show_ollama(command: commands.ShowOllama, job: JobContext) -> None:
    """Report what an Ollama server has stored for a model."""
    from lora_studio.engine.export.ollama import store

    job.emit(store.show_model(command.host, command.name))


@handles(commands.ProveOllama)
def prove_ollama(command: commands.ProveOllama, job: JobContext) -> None:
    """Compare a model in Ollama with a model folder."""
    from lora_studio.engine.export.ollama import server_proof

    job.emit(server_proof.prove_model(command, job))


@handles(commands.CopyOllama)
def copy_ollama(command: commands.CopyOllama, job: JobContext) -> None:
    """Copy a model in Ollama to a second name."""
    from lora_studio.engine.export.ollama import server, store

    store.copy_model(command.host, command.source, command.target, force=command.force)
    job.emit(server.inspect_server(command.host))


@handles(commands.RemoveOllama)
def remove_ollama(command: commands.RemoveOllama, job: JobContext) -> None:
    """Remove a model from Ollama."""
    from lora_studio.engine.export.ollama import server, store

    store.remove_model(command.host, command.name)
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
    from lora_studio.engine.export.ollama import chat_rendering

    job.emit(chat_rendering.render(command))


@handles(commands.ProveTemplate)
def prove_template(command: commands.ProveTemplate, job: JobContext) -> None:
    """Compare a chat template with llama-server and with its derived TEMPLATE."""
    from lora_studio.engine.export.ollama import template_proof

    job.open_file(Path(command.gguf or command.path))
    job.emit(template_proof.prove_template(command, job))
