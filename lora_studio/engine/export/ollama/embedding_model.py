"""Embedding models in Ollama: a Modelfile without a TEMPLATE, and vectors instead of answers to compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from lora_studio.core.messages import text
from lora_studio.core.problems import ProblemError, Where, fail, warning
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.protocol.export import VectorProof
from lora_studio.core.runs import heldout, step_records
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import write_atomic
from lora_studio.core.templates.server.prompt_path import parse_version
from lora_studio.engine.export.ollama import creation, read_back, server, store
from lora_studio.engine.export.ollama import server as ollama_server
from lora_studio.engine.export.ollama.client import (
    PATIENT,
    UnknownArchitectureError,
    create_client,
    translate_ollama_errors,
)
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.llama_cpp import BATCH, EmbeddingLlama

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
            proof = compare_vectors(host, recipe.name, run, project, gguf, job)
    job.emit(events.LogLine(text=proof.verdict))
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
        limit=LIMIT,
    )


#: The most texts that are compared.
_TEXTS = 16
#: The least cosine similarity of the vectors of one file, computed in other precisions and on other devices.
LIMIT = 0.99
#: Texts for a run without held-out rows.
_PLAIN = ("Where is the nearest train station?", "The train station is next to the city park.")


@dataclass(frozen=True)
class _Expected:
    """A text and its normalized vector, [size] float32."""

    text: str
    vector: np.ndarray


def compare_vectors(
    host: str, name: str, run: RunFolder, project: Project, gguf: Path, job: JobContext
) -> VectorProof:
    """Return how well a server's vectors agree with the file's; raises ProblemError for an old server."""
    longest = min(project.dataset.max_length, project.export.num_ctx, BATCH)
    expected = _compute_expected(run, gguf, longest, job)
    cosines: list[float] = []
    for number, each in enumerate(expected):
        job.report_progress(text("comparing vectors with Ollama"), number, len(expected), "texts")
        try:
            vector = _ask_for_vector(host, name, each.text, job)
        except UnknownArchitectureError:
            raise
        except ProblemError as error:
            return VectorProof(unasked=error.problems[0].what)
        cosines.append(_compute_cosine(each.vector, vector))
    if not cosines:
        return VectorProof(unasked=text("All held-out texts are longer than the context length."))
    return VectorProof(
        compared=len(cosines), least=min(cosines), mean=float(np.mean(cosines)), limit=LIMIT
    )


def _compute_expected(run: RunFolder, gguf: Path, longest: int, job: JobContext) -> list[_Expected]:
    """Return the vectors of held-out texts of at most `longest` tokens; raises ProblemError."""
    expected: list[_Expected] = []
    with EmbeddingLlama(gguf, cancelled=job.flags.cancel.is_set) as llama:
        for each in heldout.read_texts(run) or _PLAIN:
            ids = llama.tokenize(each, add_special=True)
            if len(expected) < _TEXTS and len(ids) <= longest:
                job.check()
                vector = llama.embed(ids)
                assert (
                    vector is not None
                )  # the converter writes the pooling (`gguf/embedding_header.py`)
                expected.append(_Expected(each, vector))
    return expected


def _ask_for_vector(host: str, name: str, content: str, job: JobContext) -> np.ndarray:
    """Return a text's vector on the server, [size] float32, empty without any; raises ProblemError."""
    server = create_client(host)

    def ask() -> Sequence[float]:
        with server.create_client(PATIENT) as client:
            answer = client.embed(name, content, truncate=False)
        return next(iter(answer.embeddings), ())

    with translate_ollama_errors(server):
        return np.asarray(ollama_server.run_cancellable(job, ask), np.float32)


def _compute_cosine(expected: np.ndarray, actual: np.ndarray) -> float:
    """Return the cosine similarity of a normalized vector to another, -1 if that isn't comparable."""
    length = float(np.linalg.norm(actual))
    if actual.shape != expected.shape or not np.isfinite(length) or length == 0:
        return -1.0
    return float(expected @ actual) / length
