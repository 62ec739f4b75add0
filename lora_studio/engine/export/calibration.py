"""Which conversations an importance matrix is measured on: the training rows, as trained on."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from lora_studio.core.dataset import DatasetSpec, Message, Source
from lora_studio.core.problems import Where, fail
from lora_studio.core.project import Project
from lora_studio.core.run_folder import RunFolder
from lora_studio.core.samples import UnusableRow
from lora_studio.engine import dataset, model, tokens
from lora_studio.engine.channel import Job

#: Rows beyond these are not rendered: far more than any matrix reads.
_ROWS = 2000


def of_run(run: RunFolder, project: Project, job: Job) -> list[list[int]]:
    """Token ids of a run's training rows, without those held out; raises ProblemError."""
    tokenizer = model.load_tokenizer(run.adapter, trust=project.model.trust_remote_code)
    kept_out = {_key(turns) for turns in run.heldout()}
    return _ids(project.dataset, tokenizer, kept_out, job)


def of_file(data: str, folder: Path, job: Job, *, trust: bool) -> list[list[int]]:
    """Token ids of the rows in a data file, rendered by the model in `folder`."""
    if not data:
        raise fail(
            "imatrix.no_data",
            "An importance matrix needs data that is like what the model will be used for.",
            "Name a file of rows with --data, or choose quantisations that need no matrix.",
            where=Where(step="export", field="imatrix"),
        )
    spec = DatasetSpec(sources=(Source(path=data),))
    return _ids(spec, model.load_tokenizer(folder, trust=trust), set(), job)


def _ids(
    spec: DatasetSpec, tokenizer: PreTrainedTokenizerBase, kept_out: set[str], job: Job
) -> list[list[int]]:
    rows = [row for row in dataset.read(spec, job).rows if _key(row.messages) not in kept_out]
    encoder = tokens.Encoder(tokenizer, spec)
    found: list[list[int]] = []
    for row in rows[:: max(1, len(rows) // _ROWS)]:
        job.check()
        try:
            found.append(encoder.encode(row.messages).ids.tolist())
        except UnusableRow:
            continue
    return found


def _key(turns: tuple[Message, ...]) -> str:
    return "\n".join(f"{turn.role}\t{turn.content}" for turn in turns)
