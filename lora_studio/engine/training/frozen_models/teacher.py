"""A teacher's most likely tokens: computed once per row before the student is loaded, and kept on disk.

The key of the cache covers the teacher's weights and how they are computed, the settings that the values
depend on, and the tokens of all rows. Only rows that the training will read are computed; a pause keeps
what is done. The first process of a training computes alone, before the others load.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.messages import Text, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.protocol.events import ModelInspected
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import paths
from lora_studio.core.system.files import create_folder, write_atomic
from lora_studio.core.system.foreign_files import open_own, open_regular, read_bytes
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.dataset.prepare import PreparedDataset, prepare
from lora_studio.engine.dataset.rows.sequences import EncodedRows
from lora_studio.engine.devices import devices
from lora_studio.engine.devices.devices import copy_to_device
from lora_studio.engine.devices.oom_capture import (
    OutOfMemory,
    capture_oom,
    release_memory,
)
from lora_studio.engine.devices.ranks import ProcessGroup
from lora_studio.engine.generation.batched import use_mask
from lora_studio.engine.kernels.chunked_logprobs import (
    find_decoder,
    find_frozen_head,
    get_chunk_size,
)
from lora_studio.engine.kernels.distillation import LOWEST
from lora_studio.engine.lora import attach
from lora_studio.engine.model import loading, sources
from lora_studio.engine.model.folder import get_identity
from lora_studio.engine.model.loading import LoadedModel
from lora_studio.engine.model.tokenizer import load_tokenizer
from lora_studio.engine.runtime import disk
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.disk import get_source_digest
from lora_studio.engine.tokens.batches import Batch, collate
from lora_studio.engine.tokens.encoder import Encoded, TrainingRow
from lora_studio.engine.training.frozen_models.reference_logprobs import (
    UniqueRows,
    fill_missing,
    sweep_unused,
)
from lora_studio.engine.training.step_batches import (
    StepBatches,
    TrainingData,
    TrainingRows,
)


class DistilledRows:
    """Training rows that carry the teacher's tokens."""

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
    training = DistilledRows(EncodedRows(prepared.training))
    validation = DistilledRows(EncodedRows(prepared.validation))
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
            events.LogLine(
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


class TeacherModel:
    """Computes the records of a `TeacherStore`."""

    def __init__(
        self, loaded: LoadedModel, limit: int, temperature: float, dtype: np.dtype[np.void]
    ) -> None:
        """Take the model, the number of ids that the student's tokenizer has, and the type of a record."""
        self._model = loaded.model.requires_grad_(False).eval()
        self._device = loaded.device
        self._limit, self._temperature, self._dtype = limit, temperature, dtype
        decoder = find_decoder(self._model)
        self._head = find_frozen_head(self._model, decoder) if decoder is not None else None
        self._decoder = decoder

    @torch.no_grad()
    def compute(self, rows: Sequence[TrainingRow], job: JobContext) -> np.ndarray:
        """Return the records of all trained tokens of some rows, end to end; raises CancelledError."""
        job.check()
        batch = collate([row for row in rows if isinstance(row, Encoded)])
        records = np.zeros(len(batch.targets), self._dtype)
        begin = 0
        for logits in self._iter_logits(batch):
            part = records[begin : begin + len(logits)]
            values, ids, rest = self._find_most_likely(logits)
            part["logprobs"], part["ids"] = values.cpu().numpy(), ids.cpu().numpy()
            part["rest"] = rest.cpu().numpy()
            begin += len(logits)
        return records

    def _find_most_likely(
        self, logits: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return log-probabilities and ids of the most likely tokens, and the log-probability of the rest."""
        scaled = logits[:, : self._limit].float() / self._temperature
        total = scaled.logsumexp(1, keepdim=True)
        values, ids = scaled.topk(min(self._dtype["ids"].shape[0], scaled.shape[1]), 1)
        rest = scaled.scatter_(1, ids, float("-inf")).logsumexp(1) - total[:, 0]
        return (values - total).clamp_(min=LOWEST), ids, rest.clamp_(min=LOWEST)

    def _iter_logits(self, batch: Batch) -> Iterator[torch.Tensor]:
        """Yield the logits of some trained positions after another, [positions, ids]."""
        padded, known_mask = batch.to_padded()
        ids, sources = copy_to_device(padded, self._device), batch.get_padded_sources()
        network = self._model if self._head is None else self._decoder
        assert network is not None
        with use_mask(known_mask, self._device) as mask:
            output = network(input_ids=ids, attention_mask=mask, use_cache=False)
        if self._head is None:
            yield output.logits.flatten(0, 1)[copy_to_device(sources, output.logits.device)]
            return
        hidden = output.last_hidden_state
        hidden = hidden.flatten(0, 1)[copy_to_device(sources, hidden.device)]
        for part in hidden.split(get_chunk_size(self._head)):
            yield self._head(part)


# The teacher's most likely tokens of many rows, in a file: they don't fit in memory.
#
# A file of values has one record for each trained token, in the order of the unique rows. A file of checksums
# says which rows are complete: it is written after the values have reached the disk, so a process that is
# killed loses what it computed since then, and nothing else.

_DIGEST_BYTES = hashlib.sha256().digest_size
_UNKNOWN = -1

_REMEDY = text(
    "Free up some space on the disk of the cache folder, or store fewer teacher tokens per position."
)


class TeacherStore:
    """Records of unique rows by number; `counts` are the trained tokens of each."""

    def __init__(self, file: Path, counts: np.ndarray, top_k: int) -> None:
        """Open the store, or an empty one if there is none; damaged rows count as unknown."""
        self._file, self._index = file.with_suffix(".values"), file.with_suffix(".rows")
        self.dtype = np.dtype(
            [("ids", np.uint32, (top_k,)), ("logprobs", np.float32, (top_k,)), ("rest", np.float32)]
        )
        self._offsets = np.concatenate([[0], np.cumsum(counts)]) * self.dtype.itemsize
        self._checksums = self._read_checksums(len(counts))

    @property
    def bytes(self) -> int:
        """Return the size of the file with the values of all rows."""
        return int(self._offsets[-1])

    def find_missing(self, rows: np.ndarray) -> np.ndarray:
        """Return which of the rows aren't known, after comparing all others with their checksums."""
        known = rows[self._checksums[rows] != _UNKNOWN]
        with contextlib.suppress(OSError), open_regular(self._file) as stream:
            for row in known:
                begin, end = self._offsets[row : row + 2]
                stream.seek(begin)
                if zlib.crc32(stream.read(end - begin)) != self._checksums[row]:
                    self._checksums[row] = _UNKNOWN
        if not self._file.is_file():
            self._checksums[:] = _UNKNOWN
        return rows[self._checksums[rows] == _UNKNOWN]

    def require_space(self, rows: np.ndarray) -> None:
        """Raise ProblemError unless the values of these rows fit on the disk."""
        create_folder(self._file.parent)
        needed = int((self._offsets[rows + 1] - self._offsets[rows]).sum())
        disk.require_free_space(
            self._file.parent, needed, text("The cache of the teacher's probabilities"), _REMEDY
        )

    def read(self, row: int) -> np.ndarray:
        """Return the records of a row, [trained tokens]."""
        begin, end = self._offsets[row : row + 2]
        with open_regular(self._file) as stream:
            stream.seek(begin)
            return np.frombuffer(stream.read(end - begin), self.dtype)

    def write(self, rows: list[int], records: np.ndarray) -> None:
        """Write the records of some rows, end to end; raises OSError."""
        if not self._file.exists():
            create_folder(self._file.parent)
            with open_own(self._file, "ab"):
                pass
        data = records.tobytes()
        done = 0
        with open_own(self._file, "rb+") as stream:
            for row in rows:
                begin, end = self._offsets[row : row + 2]
                part = data[done : done + (end - begin)]
                stream.seek(begin)
                stream.write(part)
                self._checksums[row] = zlib.crc32(part)
                done += end - begin

    def save(self) -> None:
        """Record which rows are complete, after their values are on the disk; raises OSError."""
        if not self._file.exists():
            return
        with open_own(self._file, "rb+") as stream:
            os.fsync(stream.fileno())
        data = self._checksums.tobytes()
        write_atomic(self._index, hashlib.sha256(data).digest() + data)

    def _read_checksums(self, rows: int) -> np.ndarray:
        with contextlib.suppress(OSError):
            content = read_bytes(self._index, _DIGEST_BYTES + 8 * rows)
            digest, data = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
            if len(data) == 8 * rows and hashlib.sha256(data).digest() == digest:
                for file in (self._file, self._index):
                    os.utime(file)
                return np.frombuffer(data, np.int64).copy()
        return np.full(rows, _UNKNOWN, np.int64)


_TOKENIZER = "tokenizer.json"


def inspect_teacher(student: ModelInspected, spec: ModelSpec, job: JobContext) -> dict[str, Any]:
    """Return the fields `teacher` and `teacher_problem` of an inspected model.

    Tokenizers are compared if both are on this computer already; training compares them in any case.
    """
    try:
        teacher = attach.inspect_model(spec, LoraSpec(), job)
        folders = [Path(each.folder) for each in (student, teacher)]
        if all((folder / _TOKENIZER).is_file() for folder in folders):
            own, other = map(load_tokenizer, folders)
            require_same_tokens(own, other, spec.source)
    except ProblemError as error:
        where = error.problems[0].where.model_copy(update={"step": "training", "field": "teacher"})
        return {"teacher_problem": error.problems[0].model_copy(update={"where": where})}
    return {"teacher": teacher}


def require_same_tokens(
    student: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase, source: str
) -> None:
    """Raise ProblemError that names the first token that the teacher has another of, or lacks."""
    own = {number: token for token, number in student.get_vocab().items()}
    others = {number: token for token, number in teacher.get_vocab().items()}
    differing = (number for number in sorted(own) if others.get(number) != own[number])
    number = next(differing, None)
    if number is None:
        return
    raise fail(
        "training.teacher_tokens",
        "The teacher {teacher} has another tokenizer: token {number:d} is “{own}” in the model and {other} in "
        "the teacher.",
        "Choose a teacher of the same model family, which has the same tokenizer.",
        where=Where(step="training", field="teacher"),
        teacher=source,
        number=number,
        own=own[number],
        other=_quote(others.get(number)),
    )


def _quote(token: str | None) -> Text:
    return text("missing") if token is None else text("“{token}”", token=token)
