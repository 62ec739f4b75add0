"""Embedding models in Ollama: a Modelfile without a TEMPLATE."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from lora_studio.core.messages import text
from lora_studio.core.problems import ProblemError, Where, fail, warning
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import write_atomic
from lora_studio.engine.export.ollama.server import get_model_name
from lora_studio.engine.runtime.channel import JobContext


def write_modelfile(run: RunFolder, project: Project, gguf: Path, job: JobContext) -> None:
    """Write the Modelfile of an embedding model, and say how to create the model from it."""
    write_atomic(run.modelfile, f"FROM ./{PurePosixPath(run.gguf.name, gguf.name)}\n")
    message = text(
        "An embedding model isn't created in Ollama automatically, and its vectors there aren't compared. To "
        "create it: {command}",
        command=_build_command(run, project),
    )
    job.emit(events.Log(text=message))


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


def not_created_error(run: RunFolder, project: Project) -> ProblemError:
    """Return the error for creating an embedding model, whose vectors in Ollama can't be compared yet."""
    return fail(
        "ollama.embedding",
        "An embedding model isn't created in Ollama automatically.",
        "Create it from its Modelfile: `{command}`",
        where=Where(step="export"),
        command=_build_command(run, project),
    )


def _build_command(run: RunFolder, project: Project) -> str:
    return f"ollama create {get_model_name(project)} -f {run.modelfile}"
