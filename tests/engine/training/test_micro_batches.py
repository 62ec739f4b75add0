"""Micro-batches of sampled answers: which answers share a prompt, and how many tokens that takes."""

from __future__ import annotations

import numpy as np

from lora_studio.engine.tasks.grpo import SampledAnswer
from lora_studio.engine.tokens.batches import collate_shared
from lora_studio.engine.tokens.encoder import Encoded
from lora_studio.engine.training.rollouts import batch_by_prompt


def answer_to(prompt: list[int], ids: list[int]) -> SampledAnswer:
    every = np.asarray(prompt + ids, np.int32)
    return SampledAnswer(Encoded(every, np.arange(len(every)) >= len(prompt)), 1.0)


def test_prompt_is_collated_once() -> None:
    rows = [answer_to([5, 6], [1, 2, 3]), answer_to([7], [8]), answer_to([5, 6], [4, 9])]
    batch = collate_shared([row.sequence for row in rows])
    assert batch.ids.tolist() == [5, 6, 1, 2, 7, 4]  # last tokens predict nothing
    assert (batch.lengths, batch.parents) == ((2, 2, 1, 1), (-1, 0, -1, 0))
    assert batch.targets.tolist() == [1, 2, 3, 8, 4, 9]
    assert batch.ids[batch.sources].tolist() == [6, 1, 2, 7, 6, 4]
    assert batch.owners.tolist() == [0, 0, 0, 1, 2, 2]
    assert batch.pad_to_tokens(9).parents == (-1, 0, -1, 0, -1)


def test_micro_batch_takes_no_more_tokens_than_unshared_rows() -> None:
    prompts = [list(range(begin, begin + 30)) for begin in (10, 50)]
    rows = [answer_to(prompt, [1] * length) for prompt in prompts for length in (4, 9, 2, 7)]
    batches = batch_by_prompt(rows, 2)
    tokens = [collate_shared([row.sequence for row in batch]).tokens for batch in batches]
    assert sorted(map(id, rows)) == sorted(id(row) for batch in batches for row in batch)
    assert [len(batch) for batch in batches] == [4, 4]
    assert tokens == [30 + 22 - 4] * 2
    assert [len(batch) for batch in batch_by_prompt(rows, 1)] == [1, 2, 1, 2, 1, 1]
    assert batch_by_prompt([], 4) == []
