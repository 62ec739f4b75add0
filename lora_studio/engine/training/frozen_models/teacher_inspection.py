"""Inspect a teacher without loading its weights: its size, and whether its tokenizer is the student's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.messages import Text, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.protocol.events import ModelInspected
from lora_studio.engine.lora import attach
from lora_studio.engine.model.tokenizer import load_tokenizer
from lora_studio.engine.runtime.channel import JobContext

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
