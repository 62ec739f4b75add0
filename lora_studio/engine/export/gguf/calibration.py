"""The conversations that an importance matrix is measured on: the training rows, rendered as in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from lora_studio.core.dataset.samples import Sample, UnusableRow
from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.core.problems import Where, fail
from lora_studio.core.project.project import Project
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.heldout import read_heldout
from lora_studio.engine.dataset.rows import mixture
from lora_studio.engine.model import loading
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tokens import encoder as token_encoder
from lora_studio.engine.tokens.search_texts import EncodedSearchPair

#: Maximum number of rows to render: far more than any matrix reads.
_ROWS = 2000


def read_run_conversations(run: RunFolder, project: Project, job: JobContext) -> list[list[int]]:
    """Return token ids of a run's training rows, without held-out rows; raises ProblemError."""
    tokenizer = loading.load_tokenizer(run.adapter, trust=project.model.trust_remote_code)
    held_out = {_get_key(sample) for sample in read_heldout(run)}
    return _tokenize_samples(project.dataset, tokenizer, held_out, job)


def read_file_conversations(
    data: str, folder: Path, job: JobContext, *, trust: bool
) -> list[list[int]]:
    """Return token ids of the rows in a data file, rendered for the model in `folder`."""
    if not data:
        raise fail(
            "imatrix.no_data",
            "An importance matrix needs data similar to what the model will be used for.",
            "Pass a data file with `{option}`, or choose quantizations that need no matrix.",
            where=Where(step="export", field="imatrix"),
            option="--data",
        )
    spec = DatasetSpec(sources=(DataSource(path=data),))
    return _tokenize_samples(spec, loading.load_tokenizer(folder, trust=trust), set(), job)


def _tokenize_samples(
    spec: DatasetSpec, tokenizer: PreTrainedTokenizerBase, held_out: set[str], job: JobContext
) -> list[list[int]]:
    rows = mixture.open_dataset(spec, job)
    encoder = token_encoder.Encoder(tokenizer, spec)
    total = sum(len(store.data) for store in rows.stores)
    conversations: list[list[int]] = []
    for source, store in enumerate(rows.stores):
        for row in range(0, len(store.data), max(1, total // _ROWS)):
            job.check()
            try:
                sample = rows.read_sample(source, row)
                if _get_key(sample) not in held_out:
                    conversations += _list_token_ids(encoder.encode_sample(sample)[0])
            except UnusableRow:
                continue
    return conversations


def _list_token_ids(row: Any) -> list[list[int]]:
    """Return the token ids of an encoded row: of its conversation, or of the texts of an embedding model."""
    if isinstance(row, EncodedSearchPair):
        return [ids.tolist() for ids in (row.query, row.positive)]
    return [row.ids.tolist()]


def _get_key(sample: Sample) -> str:
    return sample.text or "\n".join(f"{turn.role}\t{turn.content}" for turn in sample.messages)
