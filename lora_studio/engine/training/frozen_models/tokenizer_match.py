"""Check that a teacher numbers tokens as the student does, since its probabilities are of those numbers."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from lora_studio.core.messages import Text, text
from lora_studio.core.problems import Where, fail


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
