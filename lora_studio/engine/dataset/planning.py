"""Say what a training would train on: the rows, tokens and lengths that its worker prepares."""

from __future__ import annotations

from lora_studio.core.protocol import commands
from lora_studio.core.protocol.events import DatasetPlanned, DatasetReady
from lora_studio.engine.dataset import lengths
from lora_studio.engine.dataset.prepare import prepare
from lora_studio.engine.dataset.rows.sequences import Selection
from lora_studio.engine.model import sources
from lora_studio.engine.model.tokenizer import load_tokenizer
from lora_studio.engine.runtime.channel import JobContext


def plan(command: commands.PlanDataset, job: JobContext) -> None:
    """Prepare the dataset as a training does and emit its counts; raises ProblemError."""
    folder = sources.resolve_tokenizer(command.model, job)
    trust, tokens = command.model.trust_remote_code, command.new_tokens
    tokenizer = load_tokenizer(folder, command.dataset, trust=trust, new_tokens=tokens)
    prepared = prepare(command.dataset, tokenizer, command.seed, job)
    job.emit(describe_epoch(prepared.ready, prepared.training))


def describe_epoch(ready: DatasetReady, training: Selection) -> DatasetPlanned:
    """Return the counts of a prepared dataset with the lengths that memory and time depend on."""
    counts = {name: getattr(ready, name) for name in type(ready).model_fields if name != "kind"}
    heaviest = lengths.find_heaviest_steps(lengths.sample_rows(training.count_computed()))
    return DatasetPlanned(**counts, heaviest=heaviest)
