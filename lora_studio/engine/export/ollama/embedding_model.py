"""Embedding models in Ollama: a Modelfile without a TEMPLATE, and vectors instead of answers to compare."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from lora_studio.core.problems import ProblemError, Where, fail, warning
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs import step_records
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import write_atomic
from lora_studio.core.templates.server.prompt_path import parse_version
from lora_studio.engine.export.ollama import creation, read_back, server, store, vector_proof
from lora_studio.engine.runtime.channel import JobContext

_WHERE = Where(step="export", field="ollama_host")


def write_modelfile(run: RunFolder, project: Project, gguf: Path) -> None:
    """Write the Modelfile of an embedding model."""
    lines = [f"FROM ./{PurePosixPath(run.gguf.name, gguf.name)}"]
    lines += [f"PARAMETER {name} {value}" for name, value in _list_parameters(project).items()]
    write_atomic(run.modelfile, "\n".join([*lines, ""]))


def _list_parameters(project: Project) -> dict[str, float | int]:
    """Return the parameters of a model that doesn't sample."""
    return {"num_ctx": project.export.num_ctx}


def leave_out_adapter(project: Project, job: JobContext) -> Project:
    """Return the project without a GGUF file of the adapter alone, with a warning if it was chosen."""
    if project.export.adapter_gguf:
        problem = warning(
            "export.embedding_adapter",
            "The adapter of an embedding model isn't written as a GGUF file of its own.",
            "Use the GGUF file of the whole model.",
            where=Where(step="export", field="adapter_gguf"),
        )
        job.emit(events.Warned(problem=problem))
    return project.model_copy(
        update={"export": project.export.model_copy(update={"adapter_gguf": False})}
    )


def create_on(
    ollama: events.OllamaFound,
    run: RunFolder,
    project: Project,
    gguf: Path,
    judge: creation.ModelJudge,
    job: JobContext,
) -> None:
    """Create a model, read it back, and compare its vectors; raises ProblemError if they differ."""
    recipe = server.CreateRequest(
        name=server.get_model_name(project),
        template="",
        stops=(),
        parameters=_list_parameters(project),
    )
    host, version = project.export.ollama_host, parse_version(ollama.version)
    with creation.name_needed_version(ollama.version, gguf):
        digest = server.create(host, gguf, recipe, job)
        stored = store.show_model(host, recipe.name)
        differences = read_back.find_essential_differences(
            recipe, digest, stored, version, gguf, job
        )
        if differences:
            raise read_back.stored_differently_error(recipe.name, differences)
        judge(run, project, gguf, None, stored)
        step_records.record_settings(run, project, "create_ollama")
        with server.unload_afterwards(host, recipe.name):
            proof = vector_proof.compare_vectors(host, recipe.name, run, project, gguf, job)
    job.emit(events.Log(text=proof.verdict))
    if proof.is_different:
        raise _other_vectors_error(ollama.version, recipe.name, proof.least)
    job.emit(
        events.OllamaCreated(
            host=ollama.host, name=recipe.name, version=ollama.version, vectors=proof
        )
    )


def _other_vectors_error(version: str, name: str, least: float) -> ProblemError:
    return fail(
        "ollama.other_vectors",
        "Ollama {version} gives other vectors for {model} than its GGUF file: their cosine similarity is as low as "
        "{least:.4f} (minimum {limit:.2f}).",
        "The model exists, but its vectors differ from those that were trained. Update Ollama and create it again, "
        "or run the GGUF file with llama.cpp's llama-server.",
        where=_WHERE,
        version=version,
        model=name,
        least=least,
        limit=vector_proof.LIMIT,
    )
