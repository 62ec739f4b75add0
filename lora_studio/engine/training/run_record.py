"""What a training leaves behind besides the adapter: manifest entries and held-out conversations."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from typing import Any

from lora_studio import __version__
from lora_studio.core.dataset.samples import Sample
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
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

#: Rows kept for the self-test, and those taken from training where none are kept out of it.
_HELD_OUT = 512
_BORROWED = 32


def record_setup(
    run: RunFolder,
    project: Project,
    tuned: AdaptedModel,
    data: events.DatasetReady,
    rows: MixedRows,
) -> None:
    """Notes everything that is needed to understand or repeat the training."""
    run.update_manifest(
        versions=_versions(),
        seed=project.training.seed,
        base_model={"source": project.model.source} | model_folder.identity(tuned.base.folder),
        dataset={
            "sources": [
                source.model_dump() | {"content": store.key}
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
        precision=tuned.base.precision,
        dtype=str(tuned.base.dtype).removeprefix("torch."),
        parameters=_counts(tuned),
    )


def write_heldout(run: RunFolder, rows: MixedRows, split: DatasetSplit) -> None:
    """Writes validation rows, one JSON line each, for the self-test to run on.

    Without a validation split some training rows serve, and the manifest says so.
    """
    chosen = split.validation[:_HELD_OUT] or split.training[:_BORROWED]
    samples = [rows.sample(*place) for place in chosen]
    write_atomic(run.heldout_file, "".join(f"{_line(sample)}\n" for sample in samples))
    run.update_manifest(
        heldout={
            "conversations": len(samples),
            "from": "validation rows" if split.validation else "training rows: none were kept out",
        }
    )


def _line(sample: Sample) -> str:
    """A sample as it is read back by `RunFolder.heldout`; of a pair the better side."""
    turns = (*sample.messages, *sample.chosen)
    held: dict[str, Any] = {
        "messages": [turn.model_dump(exclude_defaults=True, exclude={"trained"}) for turn in turns]
    }
    if sample.tools:
        held["tools"] = sample.tools
    if sample.task == "text":
        held = {"text": sample.text}
    return json.dumps(held, ensure_ascii=False)


def _versions() -> dict[str, str]:
    found = {"lora-studio": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found | {"platform": platform.platform()}


def _counts(tuned: AdaptedModel) -> dict[str, Any]:
    from lora_studio.engine.lora import attach

    counted = attach.count(tuned.model)
    return {
        "trainable": counted.trainable,
        "total": counted.total,
        "percent": round(counted.percent, 4),
        "targets": counted.targets,
    }
