"""Compare the vectors of a merged embedding model with those of base and adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lora_studio.core.messages import text
from lora_studio.core.model import remote_code
from lora_studio.core.project.project import Project
from lora_studio.core.runs import heldout
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.training.embedding import Pooling
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.merging import merge
from lora_studio.engine.model import loading
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import translate_library_errors

#: The most texts that are compared.
_TEXTS = 64
#: The cosine similarity below which a stage fails, of the most different text.
LEAST_SIMILARITY = 0.99


def get_pooling(run: RunFolder) -> Pooling | None:
    """Return how a run's model pools, None if it isn't an embedding model."""
    recorded = run.read_manifest().get("embedding")
    pooling = recorded.get("pooling") if isinstance(recorded, dict) else None
    return pooling if pooling in ("last", "mean") else None


def read_texts(run: RunFolder) -> list[str]:
    """Return held-out queries and the texts that they should find; raises ProblemError."""
    contents = [turn.content for sample in heldout.read_heldout(run) for turn in sample.messages]
    return list(dict.fromkeys(contents))[:_TEXTS]


def has_own_weights_only(run: RunFolder, project: Project) -> bool:
    """Return whether the merged model has the run's own adapter, as it was trained, and no other."""
    chosen = merge.get_chosen_adapters(run, project.merging)
    return [(adapter.folder, adapter.weight) for adapter in chosen] == [(str(run.adapter), 1.0)]


def compare_merged(
    run: RunFolder, project: Project, texts: Sequence[str], pooling: Pooling, job: JobContext
) -> float:
    """Return the lowest cosine similarity of a text's vectors from base + adapter and from the merged model.

    Both are computed in 32-bit on the CPU, the merged model from its files as other programs load it. Raises
    ProblemError.
    """
    base = merge.resolve_base(project.model, project.merging, job, run)
    trust = project.model.trust_remote_code
    expected = _embed(base, run.adapter, texts, pooling, job, trust=trust)
    actual = _embed(run.merged, None, texts, pooling, job, trust=trust)
    return float((expected * actual).sum(1).min())


def _embed(
    folder: Path,
    adapter: Path | None,
    texts: Sequence[str],
    pooling: Pooling,
    job: JobContext,
    *,
    trust: bool,
) -> np.ndarray:
    """Return the normalized vectors of texts, [texts, size] float32."""
    from peft import PeftModel
    from transformers import AutoModel

    job.report_progress(text("comparing vectors"), 0, len(texts), "texts")
    tokenizer = loading.load_tokenizer(adapter or folder, trust=trust)
    is_allowed = remote_code.is_allowed(folder, requested=trust)
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
        if adapter is not None:
            network = PeftModel.from_pretrained(network, str(adapter))
    network.eval()
    vectors = []
    for number, each in enumerate(texts):
        job.report_progress(text("comparing vectors"), number, len(texts), "texts")
        job.check()
        with torch.no_grad():
            states = network(**tokenizer(each, return_tensors="pt")).last_hidden_state[0]
        pooled = states[-1] if pooling == "last" else states.mean(0)
        vectors.append(torch.nn.functional.normalize(pooled, dim=0).numpy())
    return np.stack(vectors)
