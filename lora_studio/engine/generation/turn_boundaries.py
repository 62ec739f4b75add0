"""What a model continues, and where an answer ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, StoppingCriteria

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.problems import fail
from lora_studio.core.tasks.samples import Message, UnusableRow
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tokens import encoder


@dataclass(frozen=True)
class TurnEndCriteria:
    """End an answer at any of these tokens, or at a text that no single token represents."""

    ids: tuple[int, ...]
    text: str = ""

    def cut(self, answer: str) -> tuple[str, bool]:
        """Return the answer before the text that ends it, and whether that text occurs."""
        before, end, _ = answer.partition(self.text) if self.text else (answer, "", "")
        return before, bool(end)


def create_turn_end_criteria(
    tokenizer: PreTrainedTokenizerBase, stops: Any = None
) -> TurnEndCriteria:
    """Return what ends an answer: the end that training teaches, and the tokens in `stops`."""
    stated = [tokenizer.eos_token_id, *(stops if isinstance(stops, list) else [stops])]
    ids = {token for token in stated if isinstance(token, int)}  # of a generation_config.json
    turns = (
        Message(role="user", content="Hi"),
        Message(role="assistant", content="qzq", trained=True),
    )
    try:
        encoded = encoder.encode(tokenizer, turns, DatasetSpec())
    except UnusableRow:
        return TurnEndCriteria(tuple(ids))
    ending = tokenizer.decode(encoded.ids[encoded.trained].tolist()).rpartition("qzq")[2].strip()
    marks = tokenizer(ending, add_special_tokens=False).input_ids if ending else []
    if len(marks) == 1:
        return TurnEndCriteria((*ids, marks[0]))
    return TurnEndCriteria(tuple(ids), ending)


class CancelCriteria(StoppingCriteria):
    """Check for a cancel after each token."""

    def __init__(self, job: JobContext) -> None:
        self.job = job

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        self.job.check()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def render_prompt(tokenizer: PreTrainedTokenizerBase, turns: Sequence[Message]) -> str:
    """Return the text that the next answer continues; raises ProblemError."""
    try:
        return encoder.render(tokenizer, turns, prompt=True)
    except UnusableRow as error:
        raise fail(
            "chat.refused_by_template",
            "The chat template can't render the conversation: {reason}.",
            "Change the order or the roles of the messages.",
            reason=error.reason,
        ) from error
