"""Record the manifest entries and held-out conversations of a run."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from typing import Any

import torch

from lora_studio import __version__
from lora_studio.core.dataset.samples import Sample
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import write_atomic
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.dataset.rows.mixture import MixedRows
from lora_studio.engine.dataset.splitting import DatasetSplit
from lora_studio.engine.model import folder as model_folder

_LIBRARIES = (
    "torch", "transformers", "peft", "accelerate", "bitsandbytes", "tokenizers", "safetensors", "triton",
    "liger-kernel",
)  # fmt: skip

#: Maximum number of validation rows for the self-test, and of training rows without a validation split.
_HELD_OUT = 512
_BORROWED = 32


def write_manifest(
    run: RunFolder,
    project: Project,
    tuned: AdaptedModel,
    data: events.DatasetReady,
    rows: MixedRows,
) -> None:
    """Record everything that is needed to understand or repeat the training."""
    run.update_manifest(
        versions=_get_versions(),
        seed=project.training.seed,
        base_model={"source": project.model.source} | model_folder.get_identity(tuned.base.folder),
        dataset={
            "sources": [
                source.model_dump() | {"sha256": store.sha256}
                for source, store in zip(project.dataset.sources, rows.stores, strict=False)
            ],
            "task": data.task,
            "rows_read": data.rows_read,
            "rows_train": data.rows_train,
            "rows_validation": data.rows_validation,
            "rows_cut": data.rows_cut,
            "skipped": [entry.model_dump() for entry in data.skipped],
        },
        device=str(tuned.base.device),
        threads=torch.get_num_threads(),
        precision=tuned.base.precision,
        dtype=str(tuned.base.dtype).removeprefix("torch."),
        parameters=_get_counts(tuned),
    )


def write_heldout(run: RunFolder, rows: MixedRows, split: DatasetSplit) -> None:
    """Write validation rows, one JSON line each, for the self-test.

    Without a validation split, training rows are used instead, and the manifest records that.
    """
    chosen = split.validation[:_HELD_OUT] or split.training[:_BORROWED]
    samples = [rows.read_sample(*position) for position in chosen]
    write_atomic(run.heldout_file, "".join(f"{_format_line(sample)}\n" for sample in samples))
    checksums.record_checksums(run, run.path, [run.heldout_file.name])
    run.update_manifest(
        heldout={
            "conversations": len(samples),
            "from": "validation rows"
            if split.validation
            else "training rows (no rows were held out)",
        }
    )


def _format_line(sample: Sample) -> str:
    """Return a sample in the form that `read_heldout` reads, with the chosen or expected answer."""
    turns = (*sample.conversation, *sample.chosen)
    entry: dict[str, Any] = {
        "messages": [turn.model_dump(exclude_defaults=True, exclude={"trained"}) for turn in turns]
    }
    if sample.tools:
        entry["tools"] = sample.tools
    if sample.task == "text":
        entry = {"text": sample.text}
    return json.dumps(entry, ensure_ascii=False)


def _get_versions() -> dict[str, str]:
    versions = {"lora-studio": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions | {"platform": platform.platform()}


def _get_counts(tuned: AdaptedModel) -> dict[str, Any]:
    from lora_studio.engine.lora import attach

    counted = attach.count_parameters(tuned.model)
    return {
        "trainable": counted.trainable,
        "total": counted.total,
        "percent": round(counted.percent, 4),
        "targets": counted.targets,
    }
