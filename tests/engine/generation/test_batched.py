"""Batches: the same answers and scores as one by one, whatever is shared, padded or finished early."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)

from lora_studio.core.chat import Sampling
from lora_studio.engine.generation import batched, prefix_cache
from lora_studio.engine.generation.batched import GeneratedAnswer, generate_batch
from lora_studio.engine.generation.continuations import (
    Continuation,
    continuation_logprobs,
    split_pair,
    split_text,
)
from lora_studio.engine.generation.prefix_cache import PrefixGroup, group_by_prefix
from tests.helpers.recorded_job import recorded_job
from tests.helpers.tiny_models import FAMILIES, tiny_model

SHARED = "You are the keeper of the lamp. Please answer in one short sentence. "
PROMPTS = (
    f"{SHARED}Which lamp burns longest?",
    f"{SHARED}And?",
    f"{SHARED}What does it come to in all, 42 crates or 3.50 each?",
    "def area(width, height):",
    f"{SHARED}Which lamp burns longest? The one that is lit last.",
    "Où est la gare?",
)
GREEDY = Sampling(temperature=0.0, max_tokens=24)

#: Models whose states can't be shared or padded, by their configuration.
RECURRENT: dict[str, dict[str, Any]] = {
    "mamba2": {"num_heads": 8, "head_dim": 16, "state_size": 8, "n_groups": 1, "chunk_size": 8},
    "lfm2": {"intermediate_size": 128, "layer_types": ["conv", "full_attention"]},
}
ABSOLUTE: dict[str, dict[str, Any]] = {"gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4}}


def load(folder: Path) -> tuple[Any, PreTrainedTokenizerBase]:
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return network, AutoTokenizer.from_pretrained(folder)


def answer_all(
    network: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str] = PROMPTS,
    sampling: Sampling = GREEDY,
    **settings: Any,
) -> list[GeneratedAnswer]:
    answers = dict(
        generate_batch(network, tokenizer, prompts, sampling, recorded_job()[0], **settings)
    )
    return [answers[index] for index in range(len(prompts))]


def answer_alone(
    network: Any, tokenizer: PreTrainedTokenizerBase, prompt: str, ends: Sequence[int]
) -> tuple[str, bool]:
    """Answer by the plainest loop: the whole sequence for each token, no cache, no padding."""
    ids = tokenizer(prompt, add_special_tokens=False).input_ids
    answer: list[int] = []
    while len(answer) < GREEDY.max_tokens:
        with torch.no_grad():
            token = int(
                network(torch.tensor([ids + answer]), use_cache=False).logits[0, -1].argmax()
            )
        if token in ends:
            return tokenizer.decode(answer, skip_special_tokens=True), True
        answer.append(token)
    return tokenizer.decode(answer, skip_special_tokens=True), False


def check_equal_to_single(network: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Compare a batch with single answers; tokens that answers contain end them at different times."""
    ids = tokenizer(PROMPTS[0], add_special_tokens=False).input_ids
    with torch.no_grad():
        sharing = network.generate(
            torch.tensor([ids]), do_sample=False, max_new_tokens=12, eos_token_id=None,
            pad_token_id=0,
        )  # fmt: skip
    network.generation_config.eos_token_id = [int(sharing[0, -1])]
    ends = batched.create_turn_end_criteria(tokenizer, network.generation_config.eos_token_id).ids
    answers = answer_all(network, tokenizer)
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        assert (answer.text, answer.finished) == answer_alone(network, tokenizer, prompt, ends)
    assert any(answer.finished for answer in answers)


def score_alone(network: Any, continuation: Continuation) -> tuple[float, bool]:
    ids = [*continuation.prompt, *continuation.ids]
    with torch.no_grad():
        logits = network(torch.tensor([ids]), use_cache=False).logits[0].double().log_softmax(-1)
    predicted = logits[len(continuation.prompt) - 1 : -1]
    target = torch.tensor(continuation.ids)
    total = float(predicted.gather(1, target[:, None]).sum())
    return total, bool((predicted.argmax(-1) == target).all())


def check_scores(network: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    choices = (" yes", " no, maybe not", " the one that is lit last", " 42")
    pairs = [split_pair(tokenizer, prompt, choice) for prompt in PROMPTS for choice in choices]
    pairs += split_text(tokenizer, SHARED * 3, 20)
    scores = dict(continuation_logprobs(network, pairs, recorded_job()[0]))
    assert len(scores) == len(pairs)
    for index, pair in enumerate(pairs):
        total, is_greedy = score_alone(network, pair)
        assert math.isclose(scores[index].logprob, total, rel_tol=1e-5, abs_tol=1e-4)
        assert (scores[index].tokens, scores[index].is_greedy) == (len(pair.ids), is_greedy)


@pytest.mark.parametrize("family", FAMILIES)
def test_batch_equals_single_prompts(family: str, tmp_path: Path) -> None:
    network, tokenizer = load(tiny_model(family, tmp_path))
    assert prefix_cache.find_window(network) is not None
    check_equal_to_single(network, tokenizer)
    check_scores(network, tokenizer)


@pytest.mark.parametrize("kind", [*RECURRENT, *ABSOLUTE])
def test_other_architectures_equal_single_prompts(kind: str, tmp_path: Path) -> None:
    _, tokenizer = load(tiny_model("smollm3", tmp_path))
    sizes = {
        "vocab_size": len(tokenizer), "hidden_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2,
        "pad_token_id": None, "bos_token_id": None, "eos_token_id": None,
    }  # fmt: skip
    settings = RECURRENT.get(kind) or ABSOLUTE[kind]
    torch.manual_seed(7)
    network = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(kind, **sizes | settings)
    ).eval()
    assert (prefix_cache.find_window(network) is None) == (kind in RECURRENT)
    check_equal_to_single(network, tokenizer)
    check_scores(network, tokenizer)
