"""The texts whose log-likelihood is measured for an item: its choices, its reference, or a whole text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.measures import Logprobs
from lora_studio.engine.evaluation.runners import AnswerRequest
from lora_studio.engine.generation import continuations, prefix_cache
from lora_studio.engine.generation.continuations import Continuation, ContinuationScore

#: Tokens of a text that are read at once, if the model's context is larger.
_WINDOW = 2048


@dataclass(frozen=True)
class TargetPart:
    """A continuation, and the position of the choice that it is; None for a part of the reference."""

    continuation: Continuation
    choice: int | None = None


def list_continuations(
    tokenizer: PreTrainedTokenizerBase, request: AnswerRequest, network: Any
) -> list[TargetPart]:
    """Return everything of an item that has to be scored, [] if it has neither choices nor reference."""
    item = request.item
    if item.is_text:
        window = min(_WINDOW, prefix_cache.get_context_length(network))
        parts = continuations.split_text(tokenizer, item.reference or "", window)
        return [TargetPart(part) for part in parts]
    targets: list[tuple[str, int | None]] = [(text, number) for number, text in enumerate(item.choices)]  # fmt: skip
    if item.reference:
        targets.append((item.reference, None))
    return [
        TargetPart(
            split_chat(tokenizer, request.prompt, text)
            if item.raw_prompt is None
            else continuations.split_pair(
                tokenizer, item.raw_prompt, text, add_special_tokens=True
            ),
            number,
        )
        for text, number in targets
    ]


def split_chat(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str) -> Continuation:
    """Return the tokens of a rendered prompt and of an answer after it.

    Unlike in a plain text, the spaces and line breaks that end the prompt are the template's, so they
    aren't part of the answer.
    """
    before = list(tokenizer(prompt, add_special_tokens=False).input_ids)
    whole = list(tokenizer(prompt + answer, add_special_tokens=False).input_ids)
    if whole[: len(before)] != before:  # tokens merge across the border
        whole = before + list(tokenizer(answer, add_special_tokens=False).input_ids)
    return Continuation(tuple(before), tuple(whole[len(before) :]))


def sum_scores(
    item: EvaluationItem, parts: Sequence[TargetPart], scores: Mapping[int, ContinuationScore]
) -> Logprobs:
    """Return the log-likelihoods of an item from the scores of its parts."""
    choices = [0.0] * len(item.choices)
    references = []
    for index, part in enumerate(parts):
        if part.choice is None:
            references.append(scores[index])
        else:
            choices[part.choice] = scores[index].logprob
    return Logprobs(
        choices=tuple(choices),
        reference=sum(each.logprob for each in references) if references else None,
        reference_tokens=sum(each.tokens for each in references),
    )
