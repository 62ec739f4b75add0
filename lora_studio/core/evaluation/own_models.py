"""The run's own models in an evaluation, and whether they have changed since.

A run records the checksums of its adapter, its merged model, and its GGUF files when they are written. An
evaluation keeps a digest of those, so that its scores are known to be out of date once the training was
continued, or the model was merged or exported again. Nothing but the manifest is read for that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lora_studio.core.chat import AdapterSpeaker, GgufSpeaker, ModelSpeaker
from lora_studio.core.evaluation.columns import AnyColumnModel
from lora_studio.core.evaluation.results import EvaluationResults
from lora_studio.core.messages import NO_TEXT, Text, listed, text

#: The checksums that the manifest of a run records: by folder, then by file name.
Checksums = Mapping[str, Mapping[str, Any]]


def list_own_columns(results: EvaluationResults) -> list[str]:
    """Return the keys of the columns that are models of the evaluated run, in the plan's order."""
    run = _get_run_name(results)
    return [
        column.key for column in results.plan.columns if get_path_in_run(column.model, run) is not None
    ]  # fmt: skip


def list_outdated(results: EvaluationResults, checksums: Checksums) -> list[str]:
    """Return the keys of the run's own columns whose model isn't the evaluated one anymore."""
    run = _get_run_name(results)
    evaluated = {report.key: report.recorded for report in results.facts.columns}
    return [
        key
        for key in list_own_columns(results)
        if evaluated.get(key)
        and evaluated[key] != digest_model(results.plan.get_column(key).model, run, checksums)
    ]


def describe_outdated(results: EvaluationResults, keys: Sequence[str]) -> Text:
    """Return a sentence on columns whose model has changed, NO_TEXT without any."""
    if not keys:
        return NO_TEXT
    names = listed([results.plan.get_column(key).label for key in keys])
    return text(
        "Out of date: {names} changed after this evaluation. Evaluate the run again.", names=names
    )


def digest_model(model: AnyColumnModel, run: str, checksums: Checksums) -> str:
    """Return a digest of the recorded checksums of a model in the run's folder named `run`.

    "" if the model isn't the run's, or if no checksums of it are recorded.
    """
    path = get_path_in_run(model, run)
    if not path:
        return ""
    entry: Any = checksums.get("/".join(path))
    if entry is None:
        entry = checksums.get("/".join(path[:-1]), {}).get(path[-1])
    plain = json.dumps(entry, sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()[:32] if entry else ""


def get_path_in_run(model: AnyColumnModel, run: str) -> tuple[str, ...] | None:
    """Return the path of a model below the run's folder, None if it isn't there.

    A run that was moved keeps the name of its folder.
    """
    match model:
        case AdapterSpeaker(adapters=(adapter, *_)):
            path = adapter.folder
        case ModelSpeaker():
            path = model.folder
        case GgufSpeaker():
            path = model.file
        case _:
            return None
    parts = Path(path).parts
    if run not in parts:
        return None
    return parts[len(parts) - parts[::-1].index(run) :]


def _get_run_name(results: EvaluationResults) -> str:
    """Return the name of the run's folder; a job's path may lead through a descriptor of it."""
    return results.folder.resolve().parent.parent.name
