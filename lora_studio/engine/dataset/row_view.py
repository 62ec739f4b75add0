"""One row in full: as its file has it, and token by token as the model sees it."""

from __future__ import annotations

from lora_studio.core.dataset.samples import Sample, UnusableKind, UnusableRow
from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.formatting import plural
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning
from lora_studio.core.protocol import commands
from lora_studio.core.protocol.events import RowPreview, RowShown
from lora_studio.engine.dataset.rows import mixture
from lora_studio.engine.dataset.rows.mixture import MixedRows
from lora_studio.engine.model import sources
from lora_studio.engine.model.tokenizer import load_tokenizer
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tokens.encoder import Encoder, TokenizedText, check_length

#: Encoders by model and settings: a user looks at one row after another.
_encoders: dict[tuple[str, ...], Encoder] = {}


def show(command: commands.ShowRow, job: JobContext) -> None:
    """Emits the row; one that cannot be used comes with the reason. Raises ProblemError."""
    spec = command.dataset
    rows = mixture.open(spec, job)
    source, position = command.source, command.row - 1
    if source >= len(rows.stores) or position >= len(rows.stores[source]):
        raise _no_such_row(rows, command)
    raw = rows.stores[source].text(position)
    preview = RowPreview(row=command.row, source=source)
    try:
        sample = rows.sample(source, position)
    except UnusableRow as reason:
        job.emit(_unusable(preview, raw, reason, command))
        return
    preview = preview.model_copy(
        update={
            "messages": sample.messages,
            "chosen": sample.chosen,
            "rejected": sample.rejected,
            "label": sample.label,
            "text": sample.text,
        }
    )
    if command.model is None:
        job.emit(RowShown(row=preview, raw=raw))
        return
    encoder = _encoder(command.model, spec, job)
    try:
        job.emit(_shown(encoder, sample, preview, raw, command))
    except UnusableRow as reason:
        job.emit(_unusable(preview, raw, reason, command))


def _shown(
    encoder: Encoder, sample: Sample, preview: RowPreview, raw: str, command: commands.ShowRow
) -> RowShown:
    sides = encoder.show(sample)
    tokenised = encoder.tokenise([sample])[0]
    verdict = tokenised if isinstance(tokenised, UnusableRow) else None
    if sample.task != "text" and isinstance(tokenised, list):
        verdicts = (check_length(len(side.ids), side.first, command.dataset) for side in tokenised)
        verdict = next(filter(None, verdicts), None)
    rejected = sides[1] if len(sides) > 1 else None
    return RowShown(
        row=preview.model_copy(update={"fault": str(verdict) if verdict else ""}),
        raw=raw,
        text=sides[0].text,
        tokens=sides[0].tokens,
        trained_spans=sides[0].trained_spans,
        rejected_text=rejected.text if rejected else "",
        rejected_tokens=rejected.tokens if rejected else (),
        rejected_trained_spans=rejected.trained_spans if rejected else (),
        problems=(_problem(verdict, command),) if verdict else tuple(_remarks(tokenised, command)),
    )


def _remarks(
    tokenised: list[TokenizedText] | UnusableRow, command: commands.ShowRow
) -> list[Problem]:
    """What of a usable row does not train or is not in the text, by the way of the template."""
    sides = tokenised if isinstance(tokenised, list) else []
    found = []
    if left_out := sum(side.left_out for side in sides):
        found.append(
            _remark(
                "dataset.answers_left_out",
                f"{plural(left_out, 'answer')} of row {command.row} cannot train: the chat template "
                "writes earlier turns otherwise than it asked for them.",
                "To train every answer, make a row of each, or leave the system message out.",
                command,
            )
        )
    if unshown := sum(side.unshown for side in sides):
        found.append(
            _remark(
                "dataset.thinking_left_out",
                f"The reasoning before {plural(unshown, 'earlier answer')} of row {command.row} is not "
                "in the text: the chat template shows that before the last answer alone.",
                "To train on all of it, make a row of each answer.",
                command,
            )
        )
    return found


def _remark(code: str, what: str, remedy: str, command: commands.ShowRow) -> Problem:
    path = command.dataset.sources[command.source].path
    where = Where(step="dataset", field="sources", file=path, row=command.row)
    return Problem(code=code, what=what, remedy=remedy, where=where, severity="warning")


def _unusable(
    preview: RowPreview, raw: str, verdict: UnusableRow, command: commands.ShowRow
) -> RowShown:
    return RowShown(
        row=preview.model_copy(update={"fault": str(verdict)}),
        raw=raw,
        problems=(_problem(verdict, command),),
    )


_REMEDIES = {
    UnusableKind.LENGTH: "Increase “Max. sequence length”, or shorten the row.",
    UnusableKind.TEMPLATE: "Change the row to what the chat template accepts, or choose another "
    "template.",
}


def _problem(verdict: UnusableRow, command: commands.ShowRow) -> Problem:
    return warning(
        "dataset.row_unusable",
        "Row {row} is skipped: {reason}.",
        _REMEDIES.get(verdict.kind, "Correct the row in its file. All other rows are used."),
        where=Where(
            step="dataset", field="sources", file=command.dataset.sources[command.source].path
        ),
        row=command.row,
        reason=verdict.reason,
    )


def _encoder(model: ModelSpec, spec: DatasetSpec, job: JobContext) -> Encoder:
    folder = sources.resolve_tokenizer(model, job)
    key = (str(folder), str(model.trust_remote_code), spec.model_dump_json())
    if key not in _encoders:
        _encoders.clear()
        tokenizer = load_tokenizer(folder, spec, trust=model.trust_remote_code)
        _encoders[key] = Encoder(tokenizer, spec)
    return _encoders[key]


def _no_such_row(rows: MixedRows, command: commands.ShowRow) -> ProblemError:
    if command.source >= len(rows.stores):
        what = f"There is no source {command.source + 1}: there are {len(rows.stores)}."
    else:
        count = len(rows.stores[command.source])
        what = f"There is no row {command.row}: the data has {count} rows, counted from 1."
    return fail(
        "dataset.no_such_row",
        what,
        "Choose a row that is there.",
        where=Where(step="dataset", field="sources"),
    )
