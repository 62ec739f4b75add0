"""Turn the GGUF file of a run into an Ollama model, during its export or later."""

from __future__ import annotations

from pathlib import Path

from lora_studio.core.export import is_ollama_name_taken
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.manifest import get_task
from lora_studio.core.templates.ollama_template import DerivedTemplate
from lora_studio.engine.export.ollama import (
    checks,
    creation,
    derivation,
    embedding_model,
    server,
    store,
)
from lora_studio.engine.export.ollama.creation import ModelJudge
from lora_studio.engine.runtime.channel import JobContext

#: Problems that end the creation of a model but not the export of its files.
_NO_REASON_TO_FAIL = ("ollama.not_running", "ollama.not_ollama", "ollama.not_proven")


def create(
    run: RunFolder,
    project: Project,
    gguf: Path,
    derived: DerivedTemplate | None,
    judge: ModelJudge,
    job: JobContext,
) -> None:
    """Create the model and test it; emits a warning if no server answers or it is too old for it.

    `derived` is its TEMPLATE, None for an embedding model. `judge` is asked about what the server has stored.
    """
    try:
        ollama = server.inspect_server(project.export.ollama_host)
        if derived is None:
            embedding_model.create_on(ollama, run, project, gguf, judge, job)
        else:
            creation.create_on(ollama, run, project, gguf, derived, judge, job)
    except ProblemError as error:
        if error.problems[0].code not in _NO_REASON_TO_FAIL:
            raise
        for problem in error.problems:
            job.emit(events.Warned(problem=problem.model_copy(update={"severity": "warning"})))


def create_of_run(command: commands.CreateOllama, judge: ModelJudge, job: JobContext) -> None:
    """Create the model of a run that was exported before; raises ProblemError."""
    run = RunFolder(Path(command.run))
    project = _apply_command(run.load_project(), command)
    spec = project.export
    quantization = command.quantization or spec.quantizations[0]
    gguf = run.get_gguf_file(project.name, quantization)
    if not gguf.is_file():
        raise _missing_file_error(run, quantization)
    checksums.require_intact(run, run.gguf, [gguf.name], job.check)
    checks.require_passing_selftest(run, quantization, anyway=command.anyway)
    ollama = server.inspect_server(spec.ollama_host)
    name = server.get_model_name(project)
    if not command.force and is_ollama_name_taken(name, ollama.models):
        raise store.name_exists_error(name, ollama.host)
    task = get_task(run.read_manifest())
    if task is not None and task.yields_vectors:
        embedding_model.write_modelfile(run, project, gguf)
        judge(run, project, gguf, None)
        embedding_model.create_on(ollama, run, project, gguf, judge, job)
        return
    derived = derivation.write_modelfile(run, project, gguf, job)
    if derived is None:
        raise fail(
            "ollama.other_tokens",
            "The GGUF file gives other tokens than the model's tokenizer, so no model was created.",
            "See the warning above.",
            where=Where(file=str(gguf)),
        )
    if derived.proven:
        judge(run, project, gguf, derived)
    creation.create_on(ollama, run, project, gguf, derived, judge, job)


def _apply_command(project: Project, command: commands.CreateOllama) -> Project:
    """Return the project with the command's model name and server; raises ProblemError."""
    changes = {"ollama_name": command.name, "ollama_host": command.host}
    if command.name:
        store.check_name(command.name)
    # Not validated: a password, which no project may hold, is fine in a command.
    changed = {key: value for key, value in changes.items() if value}
    return project.model_copy(update={"export": project.export.model_copy(update=changed)})


def not_created_warning(stage: str) -> Problem:
    """Return the warning that a model was not created because a stage of its self-test failed."""
    if stage in ("merged", "converted"):
        return warning(
            "export.not_created",
            "The merged model failed the self-test, so no Ollama model was created."
            if stage == "merged"
            else "The GGUF file before quantization failed the self-test, so no Ollama model was created.",
            "Follow the advice of that test, then export again. The files and the Modelfile are complete.",
            where=Where(step="export"),
        )
    return warning(
        "export.not_created",
        "The {quantization} file failed the self-test, so no Ollama model was created.",
        "Choose a quantization with more bits and export again. The files and the Modelfile are "
        "complete; if only precision was lost, you can still create the model from them.",
        where=Where(step="export", field="quantizations"),
        quantization=stage,
    )


def _missing_file_error(run: RunFolder, quantization: str) -> ProblemError:
    existing = sorted(file.name for file in run.gguf.glob("*.gguf"))
    return fail(
        "ollama.no_file",
        "The run has no {quantization} file.",
        "Choose one of its files: {names}."
        if existing
        else "Export it first (`lora-studio export RUN`).",
        where=Where(file=str(run.gguf)),
        quantization=quantization,
        names=", ".join(existing),
    )
