"""What a training leaves behind besides the adapter: manifest entries and held-out conversations."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lora_studio import __version__
from lora_studio.core import events
from lora_studio.core.files import write_atomic
from lora_studio.core.project import Project
from lora_studio.core.run_folder import RunFolder
from lora_studio.engine import model_sources
from lora_studio.engine.backends import Tuned
from lora_studio.engine.dataset import Row

_LIBRARIES = (
    "torch", "transformers", "peft", "accelerate", "bitsandbytes", "tokenizers", "safetensors",
)  # fmt: skip

#: Conversations taken from training where none are kept out of it.
_BORROWED = 32


def record_setup(run: RunFolder, project: Project, tuned: Tuned, data: events.DatasetReady) -> None:
    """Notes everything that is needed to understand or repeat the training."""
    run.update_manifest(
        versions=_versions(),
        seed=project.training.seed,
        base_model={"source": project.model.source} | model_sources.identity(tuned.base.folder),
        dataset={
            "sources": [
                source.model_dump() | {"sha256": _sha256(Path(source.path))}
                for source in project.dataset.sources
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


def write_heldout(run: RunFolder, training: Sequence[Row], validation: Sequence[Row]) -> None:
    """Writes the validation conversations, one JSON line each, for the self-test to run on.

    Without a validation split some training conversations serve, and the manifest says so.
    """
    rows = validation or training[:_BORROWED]
    lines = [
        json.dumps(
            {"messages": [{"role": turn.role, "content": turn.content} for turn in row.messages]},
            ensure_ascii=False,
        )
        for row in rows
    ]
    write_atomic(run.heldout_file, "".join(f"{line}\n" for line in lines))
    run.update_manifest(
        heldout={
            "conversations": len(rows),
            "from": "validation rows" if validation else "training rows: none were kept out",
        }
    )


def _versions() -> dict[str, str]:
    found = {"lora-studio": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found | {"platform": platform.platform()}


def _counts(tuned: Tuned) -> dict[str, Any]:
    from lora_studio.engine import lora

    counted = lora.count(tuned.model)
    return {
        "trainable": counted.trainable,
        "total": counted.total,
        "percent": round(counted.percent, 4),
        "targets": counted.targets,
    }


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
