"""Show one row in full: as in its file, and token by token as the model sees it."""

from __future__ import annotations

from collections.abc import Sequence

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.messages import Template, Text, counted
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning
from lora_studio.core.protocol import commands
from lora_studio.core.protocol.events import RowPreview, RowShown
from lora_studio.core.tasks.samples import Sample, UnusableKind, UnusableRow
from lora_studio.core.tasks.table import TASKS
from lora_studio.engine.dataset.rows import mixture
from lora_studio.engine.dataset.rows.mixture import MixedRows
from lora_studio.engine.model import sources
from lora_studio.engine.model.tokenizer import load_tokenizer
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tokens.encoder import Encoder, TokenizedText, check_length

#: Encoders by model and settings: a user looks at one row after another.
_encoders: dict[tuple[str, ...], Encoder] = {}


def show(command: commands.ShowRow, job: JobContext) -> None:
    """Emit the row, with the reason if it is skipped; raises ProblemError."""
    spec = command.dataset
    rows = mixture.open_dataset(spec, job)
    source, position = command.source, command.row - 1
    if source >= len(rows.stores) or position >= len(rows.stores[source]):
        raise _no_such_row_error(rows, command)
    raw = rows.stores[source].read_text(position)
    preview = RowPreview(row=command.row, source=source)
    try:
        sample = rows.read_sample(source, position)
    except UnusableRow as reason:
        job.emit(_show_unusable(preview, raw, reason, command))
        return
    preview = preview.model_copy(
        update={
            "messages": sample.conversation,
            "chosen": sample.chosen,
            "rejected": sample.rejected,
            "label": sample.label,
            "text": sample.text,
        }
    )
    if command.model is None:
        job.emit(RowShown(row=preview, raw=raw))
        return
    encoder = _create_encoder(command.model, spec, job, command.new_tokens)
    try:
        job.emit(_show_usable(encoder, sample, preview, raw, command))
    except UnusableRow as reason:
        job.emit(_show_unusable(preview, raw, reason, command))


def _show_usable(
    encoder: Encoder, sample: Sample, preview: RowPreview, raw: str, command: commands.ShowRow
) -> RowShown:
    sides = encoder.show(sample)
    tokenized = encoder.tokenize([sample])[0]
    verdict = tokenized if isinstance(tokenized, UnusableRow) else None
    if not TASKS[sample.task].is_document and isinstance(tokenized, list):
        verdicts = (check_length(len(side.ids), side.first, command.dataset) for side in tokenized)
        verdict = next(filter(None, verdicts), None)
    rejected = sides[1] if len(sides) > 1 else None
    return RowShown(
        row=preview.model_copy(update={"fault": verdict.reason}) if verdict else preview,
        raw=raw,
        text=sides[0].text,
        tokens=sides[0].tokens,
        trained_spans=sides[0].trained_spans,
        rejected_text=rejected.text if rejected else "",
        rejected_tokens=rejected.tokens if rejected else (),
        rejected_trained_spans=rejected.trained_spans if rejected else (),
        problems=(_problem(verdict, command),)
        if verdict
        else tuple(_get_row_problems(tokenized, command)),
    )


def _get_row_problems(
    tokenized: list[TokenizedText] | UnusableRow, command: commands.ShowRow
) -> list[Problem]:
    """Return problems about the parts of a usable row that the chat template doesn't train or show."""
    sides = tokenized if isinstance(tokenized, list) else []
    remarks = []
    if left_out := sum(side.left_out for side in sides):
        what = counted(
            left_out,
            "{n} answer of row {row:d} can't be trained: the chat template renders earlier turns "
            "differently later on.",
            "{n} answers of row {row:d} can't be trained: the chat template renders earlier turns "
            "differently later on.",
            row=command.row,
        )
        remedy = "To train every answer, make each a row of its own, or remove the system message."
        remarks.append(_row_problem("dataset.answers_left_out", what, remedy, command))
    if unshown := sum(side.unshown for side in sides):
        what = counted(
            unshown,
            "The reasoning of {n} earlier answer of row {row:d} is left out: the chat template shows "
            "only the reasoning of the last answer.",
            "The reasoning of {n} earlier answers of row {row:d} is left out: the chat template shows "
            "only the reasoning of the last answer.",
            row=command.row,
        )
        remedy = "To train on all reasoning, make each answer a row of its own."
        remarks.append(_row_problem("dataset.thinking_left_out", what, remedy, command))
    return remarks


def _row_problem(code: str, what: Text, remedy: Template, command: commands.ShowRow) -> Problem:
    path = command.dataset.sources[command.source].path
    where = Where(step="dataset", field="sources", file=path, row=command.row)
    return warning(code, what, remedy, where=where)


def _show_unusable(
    preview: RowPreview, raw: str, verdict: UnusableRow, command: commands.ShowRow
) -> RowShown:
    return RowShown(
        row=preview.model_copy(update={"fault": verdict.reason}),
        raw=raw,
        problems=(_problem(verdict, command),),
    )


_REMEDIES: dict[UnusableKind, Template] = {
    UnusableKind.LENGTH: "Increase “Max. sequence length”, or shorten the row.",
    UnusableKind.TEMPLATE: "Change the row to what the chat template accepts, or choose another "
    "template.",
}


def _problem(verdict: UnusableRow, command: commands.ShowRow) -> Problem:
    return warning(
        "dataset.row_unusable",
        "Row {row:d} is skipped: {reason}.",
        _REMEDIES.get(verdict.kind, "Correct the row in its file. All other rows are used."),
        where=Where(
            step="dataset", field="sources", file=command.dataset.sources[command.source].path
        ),
        row=command.row,
        reason=verdict.reason,
    )


def _create_encoder(
    model: ModelSpec, spec: DatasetSpec, job: JobContext, new_tokens: Sequence[str]
) -> Encoder:
    folder = sources.resolve_tokenizer(model, job)
    trust = model.trust_remote_code
    key = (str(folder), str(trust), spec.model_dump_json(), *new_tokens)
    if key not in _encoders:
        _encoders.clear()
        tokenizer = load_tokenizer(folder, spec, trust=trust, new_tokens=new_tokens)
        _encoders[key] = Encoder(tokenizer, spec)
    return _encoders[key]


def _no_such_row_error(rows: MixedRows, command: commands.ShowRow) -> ProblemError:
    if command.source >= len(rows.stores):
        count = len(rows.stores)
        what = counted(
            count,
            "Source {number:d} doesn't exist: the dataset has {n} source.",
            "Source {number:d} doesn't exist: the dataset has {n} sources.",
            number=command.source + 1,
        )
    else:
        count = len(rows.stores[command.source])
        what = counted(
            count,
            "Row {number:d} doesn't exist: the source has {n} row.",
            "Row {number:d} doesn't exist: the source has {n} rows.",
            number=command.row,
        )
    return fail(
        "dataset.no_such_row",
        what,
        "Choose an existing row.",
        where=Where(step="dataset", field="sources"),
    )
