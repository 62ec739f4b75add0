"""Compare the label probabilities of a merged classifier with those of base and adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lora_studio.core.messages import text
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs import heldout
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.manifest import get_task
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.merging import merge
from lora_studio.engine.model import capped_attention, loading
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import translate_library_errors
from lora_studio.engine.selftest import judging, vectors
from lora_studio.engine.selftest.comparison import StageComparison

#: The most texts that are compared.
_TEXTS = 64
#: The difference of a probability above which a merged model fails. Rounding to 16 bits costs a tenth of it.
LARGEST_DIFFERENCE = 0.05


def is_classifier(run: RunFolder) -> bool:
    """Return whether a run trained a classifier."""
    return get_task(run.read_manifest()) == "classification"


def measure_merged(
    run: RunFolder, project: Project, comparison: StageComparison, job: JobContext
) -> events.SelfTested:
    """Emit and return whether the merged model gives held-out texts the label probabilities of base + adapter.

    Both are computed in 32-bit on the CPU, the merged model from its files as other programs load it. Without
    held-out texts, or with another weight than 1, only the weights are compared. A failure also emits a warning.
    Raises ProblemError.
    """
    contents = [
        turn.content for sample in heldout.read_heldout(run) for turn in sample.messages[:1]
    ]
    texts = list(dict.fromkeys(contents))[:_TEXTS]
    measured = comparison.compared
    if texts and vectors.has_own_weights_only(run, project):
        difference = _find_largest_difference(run, project, texts, job)
        measured = text(
            "{compared}; label probabilities differ by at most {difference:.2g} (held-out texts: {n})",
            compared=comparison.compared,
            n=len(texts),
            difference=difference,
        )
        if not difference <= LARGEST_DIFFERENCE:
            fault = text("it gives other label probabilities")
            return judging.report_faults(
                "merged", StageComparison((fault,), compared=measured), job
            )
    result = events.SelfTested(stage="merged", passed=True, verdict="passed", compared=measured)
    job.emit(result)
    return result


def _find_largest_difference(
    run: RunFolder, project: Project, texts: Sequence[str], job: JobContext
) -> float:
    base = merge.resolve_base(project.model, project.merging, job, run)
    length, trust = project.dataset.max_length, project.model.trust_remote_code
    expected = predict_labels(base, run.adapter, texts, length, job, trust=trust)
    actual = predict_labels(run.merged, None, texts, length, job, trust=trust)
    return float(np.abs(expected - actual).max())


def predict_labels(
    folder: Path,
    adapter: Path | None,
    texts: Sequence[str],
    length: int,
    job: JobContext,
    *,
    trust: bool,
) -> np.ndarray:
    """Return the probabilities of labels, [texts, labels] float32."""
    from peft import PeftModel
    from transformers import AutoConfig, AutoModelForSequenceClassification

    stage = text("comparing label probabilities")
    source = adapter or folder
    with translate_library_errors(
        lambda reason: adapter_files.foreign_adapter_error(source, reason)
    ):
        # Classifiers are transformers' own classes: a model's code is never needed.
        safely: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
        config = AutoConfig.from_pretrained(source, **safely)
        network: Any = AutoModelForSequenceClassification.from_pretrained(
            folder, config=config, dtype=torch.float32, use_safetensors=True, **safely
        )
        capped_attention.cap_scores(network)
        if adapter is not None:
            network = PeftModel.from_pretrained(network, str(adapter), torch_device="cpu")
    network.eval()
    tokenizer = loading.load_tokenizer(source, trust=trust)
    rows = []
    for number, each in enumerate(texts):
        job.report_progress(stage, number, len(texts), "texts")
        job.check()
        ids = tokenizer(each, return_tensors="pt", truncation=True, max_length=length)
        with torch.no_grad():
            rows.append(network(**ids).logits[0].softmax(0).numpy())
    return np.stack(rows)
