"""Compare the vectors of a merged embedding model and of its GGUF files with those that were trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lora_studio.core.messages import Text, text
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs import heldout
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.tasks.embedding import Pooling
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.merging import merge
from lora_studio.engine.model import capped_attention, loading
from lora_studio.engine.runtime import model_code
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import translate_library_errors
from lora_studio.engine.runtime.llama_cpp import BATCH, EmbeddingLlama
from lora_studio.engine.selftest import judging, limits, vector_limits
from lora_studio.engine.selftest.comparison import StageComparison
from lora_studio.engine.tokens.search_texts import truncate

#: The most texts that are compared.
_TEXTS = 64
#: `enum llama_pooling_type` (llama.h).
_POOLING_TYPES: dict[Pooling, int] = {"mean": 1, "last": 3}


def get_pooling(run: RunFolder) -> Pooling | None:
    """Return how a run's model pools, None if it isn't an embedding model."""
    recorded = run.read_manifest().get("embedding")
    pooling = recorded.get("pooling") if isinstance(recorded, dict) else None
    return pooling if pooling in ("last", "mean") else None


def has_own_weights_only(run: RunFolder, project: Project) -> bool:
    """Return whether the merged model has the run's own adapter, as it was trained, and no other."""
    chosen = merge.get_chosen_adapters(run, project.merging)
    return [(adapter.folder, adapter.weight) for adapter in chosen] == [(str(run.adapter), 1.0)]


@dataclass(frozen=True)
class TextVectors:
    """The tokens of texts, and their normalized vectors, [texts, size] float32; `parameters` of the model."""

    ids: list[list[int]]
    vectors: np.ndarray
    parameters: int = 0


class VectorComparer:
    """Measure the stages of a self-test by their vectors of held-out texts.

    They are compared with those of base and adapter in 32-bit, or with the merged model's if it combines
    several adapters.
    """

    def __init__(self, run: RunFolder, project: Project, pooling: Pooling, job: JobContext) -> None:
        """Read the texts; raises ProblemError."""
        self._run, self._project, self._pooling, self._job = run, project, pooling, job
        self._texts = heldout.read_texts(run)[:_TEXTS]
        self._expected: TextVectors | None = None
        self._is_conversion_proven = False

    def measure(
        self, stage: str, file: Path | None, comparison: StageComparison
    ) -> events.SelfTested:
        """Report how well a stage's vectors agree: those of a GGUF file, or of the merged model without one.

        A stage without anything to compare with was compared by value. Raises ProblemError.
        """
        expected = self._compute_expected(stage) if self._texts else None
        if expected is None:
            result = events.SelfTested(stage=stage, passed=True, compared=comparison.compared)
            self._job.emit(result)
            return result
        actual, faults = self._embed_in_llama(file) if file else (self._embed_merged(), [])
        if actual.ids != expected.ids:
            faults.append(text("it splits texts into other tokens"))
        cosines = (expected.vectors * actual.vectors).sum(1) if len(actual.vectors) else np.zeros(0)
        is_own_loss = comparison.is_reproduced and self._is_conversion_proven
        limit = vector_limits.get_limit(stage, expected.parameters, is_own_loss=is_own_loss)
        result = judging.report_vectors(stage, cosines, limit, faults, comparison, self._job)
        if file and limits.is_exact(stage) and result.passed:
            self._is_conversion_proven = True
        return result

    def _compute_expected(self, stage: str) -> TextVectors | None:
        """Return what was trained, computed once; None if only the merged model itself could tell."""
        if self._expected is None:
            if has_own_weights_only(self._run, self._project):
                project = self._project
                base = merge.resolve_base(project.model, project.merging, self._job, self._run)
                self._expected = self._embed_in_torch(base, self._run.adapter)
            elif stage != "merged" and self._run.has_merged:
                self._expected = self._embed_merged()
        return self._expected

    def _embed_merged(self) -> TextVectors:
        return self._embed_in_torch(self._run.merged, None)

    def _embed_in_torch(self, folder: Path, adapter: Path | None) -> TextVectors:
        return embed_texts(
            folder, adapter, self._texts, self._pooling, self._job, limit=self._get_longest(), trust=self._project.model.trust_remote_code
        )  # fmt: skip

    def _get_longest(self) -> int:
        """Return how many tokens of a text are compared."""
        return min(self._project.dataset.max_length, BATCH)

    def _embed_in_llama(self, file: Path) -> tuple[TextVectors, list[Text]]:
        """Return the vectors of a GGUF file, none if it doesn't pool as trained, and what is wrong with it."""
        with EmbeddingLlama(file, cancelled=self._job.flags.cancel.is_set) as llama:
            ids = [
                truncate(np.array(llama.tokenize(each, add_special=True)), self._get_longest()).tolist()
                for each in self._texts
            ]  # fmt: skip
            if llama.pooling_type != _POOLING_TYPES[self._pooling]:
                return TextVectors(ids, np.zeros((0, 0))), [text("it pools in another way")]
            vectors = []
            for number, each in enumerate(ids):
                _report(number, len(ids), self._job)
                vectors.append(llama.embed(each))
        return TextVectors(ids, np.stack([each for each in vectors if each is not None])), []


def embed_texts(
    folder: Path,
    adapter: Path | None,
    texts: Sequence[str],
    pooling: Pooling,
    job: JobContext,
    *,
    limit: int,
    trust: bool,
) -> TextVectors:
    """Return the vectors of texts from a model's files, as other programs load them; raises ProblemError.

    They are computed in 32-bit on the CPU, from at most `limit` tokens of each text.
    """
    _report(0, len(texts), job)
    tokenizer = loading.load_tokenizer(adapter or folder, trust=trust)
    network = _load_network(folder, adapter, trust=trust)
    ids = [truncate(np.array(tokenizer(each).input_ids), limit).tolist() for each in texts]
    vectors = []
    for number, each in enumerate(ids):
        _report(number, len(texts), job)
        with torch.no_grad():
            states = network(input_ids=torch.tensor([each])).last_hidden_state[0]
        pooled = states[-1] if pooling == "last" else states.mean(0)
        vectors.append(torch.nn.functional.normalize(pooled, dim=0).numpy())
    parameters = sum(value.numel() for value in network.parameters())
    return TextVectors(ids, np.stack(vectors), parameters)


def _load_network(folder: Path, adapter: Path | None, *, trust: bool) -> Any:
    """Return a model without its output layer, in 32-bit; raises ProblemError."""
    from peft import PeftModel
    from transformers import AutoModel

    is_allowed = model_code.is_allowed(folder, requested=trust)
    with translate_library_errors(
        lambda reason: adapter_files.foreign_adapter_error(adapter or folder, reason)
    ):
        network: Any = AutoModel.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=is_allowed,
            local_files_only=True,
        )
        capped_attention.cap_scores(network)
        if adapter is not None:
            network = PeftModel.from_pretrained(network, str(adapter), torch_device="cpu")
    return network.eval()


def _report(done: int, total: int, job: JobContext) -> None:
    job.report_progress(text("comparing vectors"), done, total, "texts")
    job.check()
