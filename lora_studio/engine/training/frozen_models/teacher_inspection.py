"""Inspect a teacher without loading its weights: its size, and whether its tokenizer is the student's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol.events import ModelInspected
from lora_studio.engine.lora import attach
from lora_studio.engine.model.tokenizer import load_tokenizer
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.training.frozen_models.tokenizer_match import require_same_tokens

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
