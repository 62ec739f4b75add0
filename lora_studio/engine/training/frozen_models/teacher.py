"""A teacher's most likely tokens: computed once per row before the student is loaded, and kept on disk.

The key of the cache covers the teacher's weights and how they are computed, the settings that the values
depend on, and the tokens of all rows. Only rows that the training will read are computed; a pause keeps
what is done. The first process of a training computes alone, before the others load.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lora_studio.core.messages import text
from lora_studio.core.problems import Where, fail
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import paths
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.dataset.prepare import PreparedDataset, prepare
from lora_studio.engine.dataset.rows.sequences import encode_rows
from lora_studio.engine.devices import devices
from lora_studio.engine.model import loading, sources
from lora_studio.engine.model.folder import get_identity
from lora_studio.engine.model.tokenizer import load_tokenizer
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.source_digest import get_source_digest
from lora_studio.engine.tokens.encoder import Encoded
from lora_studio.engine.training.distributed.ranks import ProcessGroup
from lora_studio.engine.training.frozen_models.teacher_model import TeacherModel
from lora_studio.engine.training.frozen_models.teacher_store import TeacherStore
from lora_studio.engine.training.frozen_models.tokenizer_match import require_same_tokens
from lora_studio.engine.training.frozen_models.unique_rows import (
    UniqueRows,
    fill_missing,
    sweep_unused,
)
from lora_studio.engine.training.memory.capture import (
    OutOfMemory,
    capture_oom,
    release_memory,
)
from lora_studio.engine.training.step_batches import StepBatches
from lora_studio.engine.training.training_data import TrainingData, TrainingRow, TrainingRows


class DistilledRows:
    """Training rows that carry the teacher's tokens."""

    are_labeled = False

    def __init__(self, rows: TrainingRows) -> None:
        self._rows = rows
        self.selection, self.lengths = rows.selection, rows.lengths
        self._store: TeacherStore | None = None
        self._unique = np.zeros(0, np.int64)

    def read_from(self, store: TeacherStore, unique: np.ndarray) -> None:
        """Take the teacher's tokens of each row from its unique row in a store."""
        self._store, self._unique = store, unique

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> TrainingRow:
        item = self._rows[row]
        if self._store is None or not isinstance(item, Encoded):
            return item
        return replace(item, teacher=self._store.read(int(self._unique[row])))


@dataclass(frozen=True)
class DistilledData:
    """The prepared dataset, and its rows with the teacher's tokens; None if the task uses no teacher.

    `identity` says which teacher it was (`get_identity`).
    """

    prepared: PreparedDataset
    identity: dict[str, Any] | None = None
    rows: tuple[DistilledRows, DistilledRows] | None = None

    def attach(self, data: TrainingData) -> TrainingData:
        """Return the data of a training with the rows that carry the teacher's tokens."""
        if self.rows is None:
            return data
        return replace(data, training=self.rows[0], validation=self.rows[1])


def prepare_teacher(project: Project, job: JobContext) -> DistilledData:
    """Prepare the dataset, and compute what isn't cached of the teacher's tokens; the teacher is freed.

    Raises ProblemError, CancelledError, and PausedError while the job is pausable.
    """
    folder = sources.resolve_intact(project.model, job)
    trust = project.model.trust_remote_code
    tokenizer = load_tokenizer(folder, project.dataset, trust=trust)
    spec = project.training
    prepared = prepare(project.dataset, tokenizer, spec.seed, job)
    task = prepared.rows.task
    if not spec.distills(task):
        return DistilledData(prepared)
    teacher_folder = sources.resolve_intact(spec.make_teacher_spec(project.model), job)
    require_same_tokens(tokenizer, load_tokenizer(teacher_folder), spec.teacher)
    training = DistilledRows(encode_rows(prepared.training, task))
    validation = DistilledRows(encode_rows(prepared.validation, task))
    unique = UniqueRows(training, validation, _list_needed(training, spec))
    limit = len(tokenizer)
    top_k = min(spec.distillation_top_k, limit)
    file = _get_file(unique, teacher_folder, project, limit)
    sweep_unused(file.parent, file.name)
    store = TeacherStore(file, unique.count_targets(), top_k)
    missing = store.find_missing(unique.needed)
    if len(missing):
        store.require_space(missing)
        _compute(project, job, store, unique, missing, limit)
        release_memory()
    for rows, numbers in ((training, unique.training), (validation, unique.validation)):
        rows.read_from(store, numbers)
    return DistilledData(prepared, get_identity(teacher_folder), (training, validation))


def record_teacher(run: RunFolder, distilled: DistilledData, *, resume: bool) -> None:
    """Record the teacher in the run's manifest; raises ProblemError if the run started with another."""
    recorded = run.read_manifest().get("teacher") if resume else None
    expected = recorded.get("hash") if isinstance(recorded, dict) else None
    identity = distilled.identity
    if identity is not None and isinstance(expected, str) and identity["hash"] != expected:
        raise fail(
            "training.teacher_changed",
            "The teacher has changed since the training started.",
            "Restore the teacher that the training started with, or start a new run.",
            where=Where(step="training", field="teacher"),
        )
    run.update_manifest(teacher=identity)


def _list_needed(rows: TrainingRows, spec: TrainingSpec) -> np.ndarray:
    """Return the training rows that the steps of a training read."""
    batches = StepBatches(rows, spec, padded=False, fill=False)
    steps = (batches.plan.get_step(step) for step in range(batches.total_steps))
    return np.unique(np.array([row for step in steps for part in step for row in part], np.int64))


def _compute(
    project: Project,
    job: JobContext,
    store: TeacherStore,
    unique: UniqueRows,
    missing: np.ndarray,
    limit: int,
) -> None:
    """Load the teacher, and compute rows with ever smaller micro-batches until they fit in memory."""
    spec = project.training
    loaded = loading.load(spec.make_teacher_spec(project.model), job)
    teacher = TeacherModel(loaded, limit, spec.distillation_temperature, store.dtype)
    micro_batch = spec.micro_batch

    def fill() -> None:
        try:
            fill_missing(
                store.find_missing(missing), unique.lengths, micro_batch,
                lambda parts: [teacher.compute([unique.read(row) for row in part], job) for part in parts],
                store.write, store.save, text("computing the teacher's probabilities"), job, ProcessGroup(),
            )  # fmt: skip
        finally:
            store.save()

    while isinstance(result := capture_oom(fill), OutOfMemory):
        release_memory()
        if micro_batch == 1:
            raise fail(
                "training.teacher_memory",
                "The teacher needs more memory than there is. {reason}",
                "Choose 4-bit as the teacher's precision, a smaller teacher, or a shorter maximum sequence length.",
                where=Where(step="training", field="teacher_precision"),
                reason=result.reason,
            )
        micro_batch //= 2
        job.emit(
            events.Log(
                text=text("{why} The teacher continues with micro-batches of {size}.", why=result.reason, size=micro_batch)
            )
        )  # fmt: skip


def _get_file(rows: UniqueRows, folder: Path, project: Project, limit: int) -> Path:
    """Return the path of these rows' values under this teacher, without an ending."""
    spec = project.training
    teacher = spec.make_teacher_spec(project.model)
    device = devices.choose_device(teacher.device)
    facts = [
        get_source_digest(), rows.digest, get_identity(folder)["hash"], teacher.precision,
        str(devices.get_dtype(teacher.precision, device)), device.type, torch.__version__,
        spec.distillation_temperature, spec.distillation_top_k, limit,
    ]  # fmt: skip
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return paths.get_cache_folder() / "teacher" / key[:32]
