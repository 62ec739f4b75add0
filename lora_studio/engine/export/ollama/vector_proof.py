"""Compare the vectors that an Ollama server gives for texts with those of the GGUF file that it got."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lora_studio.core.messages import text
from lora_studio.core.problems import ProblemError
from lora_studio.core.project.project import Project
from lora_studio.core.protocol.ollama import VectorProof
from lora_studio.core.runs import heldout
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.export.ollama import server as ollama_server
from lora_studio.engine.export.ollama.client import (
    PATIENT,
    UnknownArchitectureError,
    create_client,
    translate_ollama_errors,
)
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.llama_cpp import BATCH
from lora_studio.engine.runtime.llama_embeddings import EmbeddingLlama

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
