"""Groups of answers: the same however many are written at once, and drawn as the model says."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from lora_studio.core.chat import Sampling
from lora_studio.engine.generation.batched import generate_batch
from lora_studio.engine.generation.group_sampling import (
    GroupSampling,
    SampledText,
    sample_groups,
)
from lora_studio.engine.model.loading import load_tokenizer
from lora_studio.engine.runtime.failures import CancelledError, NotFiniteError
from tests.engine.conftest import TinyModel
from tests.helpers.runs.jobs import make_job

_PROMPTS = [[5, 6, 7, 8, 9, 10], [40, 41, 42], [100]]
_SAMPLING = GroupSampling(answers=3, max_tokens=6, rows=9, seed="0 1")


@pytest.fixture
def network(tiny: TinyModel) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny("llama3"), dtype=torch.float32).eval()


@pytest.fixture
def tokenizer(tiny: TinyModel) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny("llama3"))


def sample(
    network: Any, tokenizer: PreTrainedTokenizerBase, sampling: GroupSampling = _SAMPLING
) -> list[list[SampledText]]:
    return sample_groups(network, tokenizer, _PROMPTS, sampling, lambda _: None)


def test_answers_do_not_depend_on_how_many_are_written_at_once(
    network: Any, tokenizer: PreTrainedTokenizerBase
) -> None:
    together = sample(network, tokenizer)
    assert [len(group) for group in together] == [3, 3, 3]
    assert len({answer.ids for group in together for answer in group}) > 6
    for rows in (1, 2, 4):
        assert sample(network, tokenizer, replace(_SAMPLING, rows=rows)) == together
    assert sample(network, tokenizer, replace(_SAMPLING, seed="0 2")) != together


def test_greedy_answers_equal_those_of_the_chat(
    network: Any, tokenizer: PreTrainedTokenizerBase
) -> None:
    texts = ["What is two and two?", "Name a ship."]
    prompts = [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    greedy = GroupSampling(answers=1, max_tokens=8, rows=4, temperature=0.0)
    own = [group[0].text for group in sample_groups(network, tokenizer, prompts, greedy, lambda _: None)]  # fmt: skip
    chat = Sampling(temperature=0.0, max_tokens=8)
    expected = dict(generate_batch(network, tokenizer, texts, chat, make_job()))
    assert own == [expected[index].text for index in range(2)]


def test_first_tokens_are_drawn_with_their_probabilities(
    network: Any, tokenizer: PreTrainedTokenizerBase
) -> None:
    sampling = GroupSampling(answers=2000, max_tokens=1, rows=2000, temperature=0.3, top_p=0.5)
    answers = sample_groups(network, tokenizer, _PROMPTS[:1], sampling, lambda _: None)[0]
    shares = (network(torch.tensor(_PROMPTS[:1])).logits[0, -1].detach() / 0.3).softmax(-1)
    ordered, tokens = shares.sort(descending=True)
    kept = int((ordered.cumsum(0) < 0.5).sum()) + 1
    expected = dict(zip(tokens[:kept].tolist(), (ordered[:kept] / ordered[:kept].sum()).tolist(), strict=True))  # fmt: skip
    counts = Counter(answer.ids[0] for answer in answers)
    assert set(counts) <= set(expected)
    for token, share in expected.items():  # five standard deviations
        assert abs(counts[token] / 2000 - share) < 5 * (share * (1 - share) / 2000) ** 0.5 + 1e-3


def test_processes_with_parts_of_the_weights_agree_on_tokens(
    network: Any, tokenizer: PreTrainedTokenizerBase
) -> None:
    drawn: list[list[int]] = []

    def sync_tokens(tokens: list[int]) -> list[int]:
        drawn.append(tokens)
        return [50] * len(tokens)

    answers = sample_groups(
        network, tokenizer, _PROMPTS, _SAMPLING, lambda _: None, sync_tokens=sync_tokens
    )
    assert {answer.ids for group in answers for answer in group} == {(50,) * 6}
    assert len(drawn) == 6
    assert {token for tokens in drawn for token in tokens} != {50}


def test_cancel_ends_the_writing_of_answers(
    network: Any, tokenizer: PreTrainedTokenizerBase
) -> None:
    calls: list[int] = []

    def cancel(_: int) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise CancelledError

    with pytest.raises(CancelledError):
        sample_groups(network, tokenizer, _PROMPTS, _SAMPLING, cancel)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_end_the_writing(
    temperature: float, network: Any, tokenizer: PreTrainedTokenizerBase
) -> None:
    network.lm_head.register_forward_hook(lambda *call: call[-1] * float("nan"))
    with pytest.raises(NotFiniteError):
        sample(network, tokenizer, replace(_SAMPLING, temperature=temperature))
