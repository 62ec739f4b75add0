"""Which conversations an importance matrix is measured on: the training rows, as trained on."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from lora_studio.core.dataset.samples import Sample, UnusableRow
from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.core.problems import Where, fail
from lora_studio.core.project.project import Project
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.dataset.rows import mixture
from lora_studio.engine.model import loading
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tokens import encoder as token_encoder

#: Rows beyond these are not rendered: far more than any matrix reads.
_ROWS = 2000


def of_run(run: RunFolder, project: Project, job: JobContext) -> list[list[int]]:
    """Token ids of a run's training rows, without those held out; raises ProblemError."""
    tokenizer = loading.load_tokenizer(run.adapter, trust=project.model.trust_remote_code)
    kept_out = {_key(sample) for sample in run.heldout()}
    return _ids(project.dataset, tokenizer, kept_out, job)


def of_file(data: str, folder: Path, job: JobContext, *, trust: bool) -> list[list[int]]:
    """Token ids of the rows in a data file, rendered by the model in `folder`."""
    if not data:
        raise fail(
            "imatrix.no_data",
            "An importance matrix needs data that is like what the model will be used for.",
            "Name a file of rows with --data, or choose quantisations that need no matrix.",
            where=Where(step="export", field="imatrix"),
        )
    spec = DatasetSpec(sources=(DataSource(path=data),))
    return _ids(spec, loading.load_tokenizer(folder, trust=trust), set(), job)


def _ids(
    spec: DatasetSpec, tokenizer: PreTrainedTokenizerBase, kept_out: set[str], job: JobContext
) -> list[list[int]]:
    rows = mixture.open(spec, job)
    encoder = token_encoder.Encoder(tokenizer, spec)
    total = sum(len(store.data) for store in rows.stores)
    found: list[list[int]] = []
    for source, store in enumerate(rows.stores):
        for row in range(0, len(store.data), max(1, total // _ROWS)):
            job.check()
            try:
                sample = rows.sample(source, row)
                if _key(sample) not in kept_out:
                    found.append(encoder.encode_sample(sample)[0].ids.tolist())
            except UnusableRow:
                continue
    return found


def _key(sample: Sample) -> str:
    return sample.text or "\n".join(f"{turn.role}\t{turn.content}" for turn in sample.messages)
