"""Batches: the same answers and scores as one by one, whatever is shared, padded or finished early."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    RepetitionPenaltyLogitsProcessor,
)

from lora_studio.core.chat import Sampling
from lora_studio.engine.generation import batched, continuations, prefix_cache
from lora_studio.engine.generation.batched import GeneratedAnswer, generate_batch
from lora_studio.engine.generation.continuations import (
    Continuation,
    continuation_logprobs,
    split_prompt_and_continuation,
    split_text,
)
from lora_studio.engine.generation.group_sampling import (
    GroupSampling,
    SampledText,
    sample_groups,
)
from lora_studio.engine.generation.prefix_cache import PrefixGroup, group_by_prefix
from lora_studio.engine.generation.token_sampling import TokenSampler
from lora_studio.engine.model.loading import load_tokenizer
from lora_studio.engine.runtime.failures import CancelledError, NotFiniteError
from tests.engine.conftest import TinyModel
from tests.helpers.models.tiny_models import FAMILIES, tiny_model
from tests.helpers.runs.jobs import make_job, recorded_job

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
    pairs = [
        split_prompt_and_continuation(tokenizer, prompt, choice)
        for prompt in PROMPTS
        for choice in choices
    ]
    pairs += split_text(tokenizer, SHARED * 3, 20)
    scores = dict(continuation_logprobs(network, pairs, recorded_job()[0]))
    assert len(scores) == len(pairs)
    for index, pair in enumerate(pairs):
        total, is_greedy = score_alone(network, pair)
        assert math.isclose(scores[index].logprob, total, rel_tol=1e-5, abs_tol=1e-4)
        assert (scores[index].tokens, scores[index].is_greedy) == (len(pair.ids), is_greedy)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_batch_equals_single_prompts(family: str, tmp_path: Path) -> None:
    network, tokenizer = load(tiny_model(family, tmp_path))
    assert prefix_cache.find_window(network) is not None
    check_equal_to_single(network, tokenizer)
    check_scores(network, tokenizer)


@pytest.mark.slow
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


# --- one model --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, PreTrainedTokenizerBase]:
    return load(tiny_model("llama3", tmp_path_factory.mktemp("llama3")))


def test_sampled_answers_do_not_depend_on_the_batch(
    llama: tuple[Any, PreTrainedTokenizerBase],
) -> None:
    sampling = Sampling(
        temperature=1.2, top_p=0.9, top_k=40, min_p=0.01, repetition_penalty=1.1, max_tokens=6
    )
    together = answer_all(*llama, sampling=sampling)
    alone = [answer_all(*llama, [prompt], sampling)[0] for prompt in PROMPTS]
    assert together == alone
    other = sampling.model_copy(update={"seed": 1})
    assert answer_all(*llama, sampling=other) != together


def test_samples_follow_the_probabilities() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0, -9.0]]).expand(4000, -1)
    sampling = Sampling(temperature=0.5, top_p=0.999)
    sampler = TokenSampler(sampling, [[row] for row in range(4000)])
    counts = sampler.sample(logits, range(4000), {}).bincount(minlength=4) / 4000
    expected = (logits[0] / 0.5).softmax(-1)
    assert torch.allclose(counts.double(), expected.double(), atol=0.02)
    narrow = TokenSampler(sampling.model_copy(update={"top_p": 0.5}), [[row] for row in range(50)])
    assert narrow.sample(logits[:50], range(50), {}).unique().tolist() == [1]


def test_penalty_equals_that_of_transformers() -> None:
    logits = torch.randn(3, 40, generator=torch.Generator().manual_seed(3))
    prompts, answers = [[5, 5, 7], [1], [2, 3, 39, 0]], {0: [9], 2: [2, 38, 12]}
    for row, prompt in enumerate(prompts):
        logits[row, prompt[0]] = logits[row].max() + 0.1
    sampler = TokenSampler(Sampling(temperature=0, repetition_penalty=2.0), prompts)
    processor = RepetitionPenaltyLogitsProcessor(2.0)
    expected = [
        processor(torch.tensor([prompt + answers.get(row, [])]), logits[row : row + 1].clone())
        for row, prompt in enumerate(prompts)
    ]
    chosen = sampler.sample(logits, range(3), answers)
    assert chosen.tolist() == torch.cat(expected).argmax(-1).tolist()
    assert chosen.tolist() != logits.argmax(-1).tolist()


def test_answer_ends_before_a_stop_text(llama: tuple[Any, PreTrainedTokenizerBase]) -> None:
    whole = answer_all(*llama)[0].text
    stop = whole[5:8]
    stops = [(stop,), *[()] * (len(PROMPTS) - 1)]
    cut, *others = answer_all(*llama, stops=stops)
    assert cut.text == whole.partition(stop)[0]
    assert cut.finished
    assert others == answer_all(*llama)[1:]
    assert cut.tokens < GREEDY.max_tokens


def test_answer_ends_where_the_context_is_full(llama: tuple[Any, PreTrainedTokenizerBase]) -> None:
    network, tokenizer = llama
    prompt = tokenizer.decode(tokenizer("lamp " * 1020, add_special_tokens=False).input_ids[:1020])
    count = len(tokenizer(prompt, add_special_tokens=False).input_ids)
    answer = answer_all(network, tokenizer, [prompt])[0]
    assert (answer.tokens, answer.finished) == (1024 - count + 1, False)


def test_smaller_batches_answer_after_memory_ran_out(
    llama: tuple[Any, PreTrainedTokenizerBase], monkeypatch: pytest.MonkeyPatch
) -> None:
    sampling = Sampling(temperature=1.0, max_tokens=6)
    expected = answer_all(*llama, sampling=sampling)
    own, sizes = batched.compute_logits, []

    def compute(network: Any, ids: torch.Tensor, *rest: Any, **settings: Any) -> torch.Tensor:
        sizes.append(len(ids))
        if len(ids) > 2 and len(sizes) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return own(network, ids, *rest, **settings)

    monkeypatch.setattr(batched, "compute_logits", compute)
    assert answer_all(*llama, sampling=sampling) == expected
    assert max(sizes) > 2


def test_models_with_states_answer_after_memory_ran_out(
    llama: tuple[Any, PreTrainedTokenizerBase], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, tokenizer = llama
    monkeypatch.setattr(prefix_cache, "find_window", lambda _: None)
    prompts = [tokenizer.decode([40 + row, 90, 70]) for row in range(7)]
    assert len({len(tokenizer(each, add_special_tokens=False).input_ids) for each in prompts}) == 1
    sampling = Sampling(temperature=1.0, max_tokens=6)
    expected = answer_all(network, tokenizer, prompts, sampling)
    sizes: list[int] = []

    def run_out(_: object, __: object, logits: torch.Tensor) -> None:
        sizes.append(len(logits))
        if len(logits) > 2 and len(sizes) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = network.lm_head.register_forward_hook(run_out)
    try:
        assert answer_all(network, tokenizer, prompts, sampling) == expected
    finally:
        hook.remove()
    assert max(sizes) == 7


def test_whole_sequences_are_scored_within_the_memory(
    llama: tuple[Any, PreTrainedTokenizerBase], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, _ = llama
    pairs = [Continuation((1, 2 + row), (3, 4, 5 + row)) for row in range(9)]
    scores = dict(continuation_logprobs(network, pairs, recorded_job()[0]))
    monkeypatch.setattr(prefix_cache, "find_window", lambda _: None)
    monkeypatch.setattr(continuations, "_MOST_LOGITS", 5 * 4 * network.config.vocab_size)
    sizes: list[int] = []

    def run_out(_: object, __: object, logits: torch.Tensor) -> None:
        sizes.append(len(logits))
        if len(logits) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = network.lm_head.register_forward_hook(run_out)
    try:
        whole = dict(continuation_logprobs(network, pairs, recorded_job()[0]))
    finally:
        hook.remove()
    assert sizes == [5, 2, 2, 2, 2, 1]
    for index, score in scores.items():
        assert math.isclose(whole[index].logprob, score.logprob, rel_tol=1e-4)


@pytest.mark.parametrize("is_whole", [False, True])
def test_scored_batch_that_ran_out_of_memory_is_halved(
    llama: tuple[Any, PreTrainedTokenizerBase], monkeypatch: pytest.MonkeyPatch, is_whole: bool
) -> None:
    network, _ = llama
    if is_whole:
        monkeypatch.setattr(prefix_cache, "find_window", lambda _: None)
    pairs = [Continuation((row, *range(1, 100)), (5,)) for row in range(4)]
    sizes: list[int] = []

    def run_out(_: object, __: object, logits: torch.Tensor) -> None:
        sizes.append(len(logits))
        if len(logits) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = network.lm_head.register_forward_hook(run_out)
    try:
        assert len(dict(continuation_logprobs(network, pairs, recorded_job()[0]))) == 4
    finally:
        hook.remove()
    assert sizes == [4, 2, 2]


class _OnDevice:
    """Stands for a model on a device; counts the rows that it computes at once."""

    def __init__(self, network: Any, device: str) -> None:
        self.config, self._network = network.config, network
        self.device = torch.device(device)
        self.sizes: list[int] = []

    def __call__(self, input_ids: torch.Tensor, **settings: Any) -> Any:
        self.sizes.append(len(input_ids))
        return self._network(input_ids=input_ids, **settings)


@pytest.mark.parametrize(("is_gpu", "sizes"), [(False, [2, 2, 2]), (True, [6])])
def test_gpu_computes_more_logits_of_whole_texts(
    llama: tuple[Any, PreTrainedTokenizerBase], monkeypatch: pytest.MonkeyPatch,
    is_gpu: bool, sizes: list[int],
) -> None:  # fmt: skip
    pairs = [Continuation((1, 2 + row), (3, 4, 5)) for row in range(6)]
    logits = 4 * llama[0].config.vocab_size
    monkeypatch.setattr(prefix_cache, "find_window", lambda _: None)
    monkeypatch.setattr(continuations, "_MOST_LOGITS", 2 * logits)
    monkeypatch.setattr(continuations, "_GPU_WHOLE_LOGITS", 6 * logits)
    monkeypatch.setattr(continuations, "copy_to_device", lambda tensor, _: tensor)
    network = _OnDevice(llama[0], "cuda" if is_gpu else "cpu")
    assert len(dict(continuation_logprobs(network, pairs, recorded_job()[0]))) == 6
    assert network.sizes == sizes


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("is_recurrent", [False, True])
def test_logits_that_are_not_finite_end_the_answers(
    temperature: float,
    value: float,
    is_recurrent: bool,
    llama: tuple[Any, PreTrainedTokenizerBase],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, tokenizer = llama
    steps: list[int] = []

    def damage(_: object, __: object, logits: torch.Tensor) -> torch.Tensor:
        steps.append(len(logits))
        if len(steps) == 3:
            logits[-1, -1, 7] = value
        return logits

    if is_recurrent:
        monkeypatch.setattr(prefix_cache, "find_window", lambda _: None)
    hook = network.lm_head.register_forward_hook(damage)
    sampling = Sampling(temperature=temperature, top_p=0.9, max_tokens=6)
    try:
        with pytest.raises(NotFiniteError):
            answer_all(network, tokenizer, PROMPTS[:2], sampling)
    finally:
        hook.remove()


def test_scores_that_are_not_finite_are_refused(
    llama: tuple[Any, PreTrainedTokenizerBase],
) -> None:
    network, _ = llama
    hook = network.lm_head.register_forward_hook(lambda *call: call[-1] * math.nan)
    pairs = [Continuation((1, 2), (3, 4))]
    try:
        with pytest.raises(NotFiniteError):
            list(continuation_logprobs(network, pairs, recorded_job()[0]))
    finally:
        hook.remove()


def test_cancel_ends_a_batch_between_tokens(llama: tuple[Any, PreTrainedTokenizerBase]) -> None:
    job, _ = recorded_job()
    answers = generate_batch(*llama, PROMPTS, Sampling(temperature=0, max_tokens=900), job)
    job.flags.cancel.set()
    with pytest.raises(CancelledError):
        next(answers)


def test_shared_beginning_is_computed_once(
    llama: tuple[Any, PreTrainedTokenizerBase], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, read = batched.compute_logits, []

    def compute(network: Any, ids: torch.Tensor, *rest: Any, **settings: Any) -> torch.Tensor:
        read.append(ids.numel())
        return own(network, ids, *rest, **settings)

    monkeypatch.setattr(batched, "compute_logits", compute)
    prompts = [SHARED * 5 + end for end in ("And?", "Who?", "Where?")]
    answer_all(*llama, prompts, Sampling(temperature=0, max_tokens=1))
    lengths = [len(ids) for ids in llama[1](prompts, add_special_tokens=False).input_ids]
    assert sum(read) < max(lengths) + 20


def test_rows_are_grouped_by_the_longest_useful_beginning() -> None:
    first, second = list(range(100, 120)), list(range(200, 230))
    rows = [[1, *first, n] for n in range(5)] + [[1, *second, n] for n in range(4)] + [[1, 7]]
    groups = {group.length: sorted(group.rows) for group in group_by_prefix(rows)}
    assert groups == {21: [0, 1, 2, 3, 4], 31: [5, 6, 7, 8], 0: [9]}
    assert group_by_prefix([[5, 6]] * 9) == [PrefixGroup(tuple(range(9)), 0)]
    assert group_by_prefix([]) == []


def test_padding_keeps_out_of_a_sliding_window(tmp_path: Path) -> None:
    folder = tiny_model("gemma3", tmp_path)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, sliding_window=48)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert prefix_cache.find_window(network) == 48
    prompts = [SHARED * 2 + end for end in ("And?", "Which lamp burns longest, the red one?")]
    assert len(tokenizer(prompts[0], add_special_tokens=False).input_ids) > 48
    ends = batched.create_turn_end_criteria(tokenizer).ids
    for prompt, answer in zip(prompts, answer_all(network, tokenizer, prompts), strict=True):
        assert answer.text == answer_alone(network, tokenizer, prompt, ends)[0]


def test_long_text_is_predicted_in_windows(llama: tuple[Any, PreTrainedTokenizerBase]) -> None:
    ids = llama[1](SHARED, add_special_tokens=False).input_ids
    windows = split_text(llama[1], SHARED, 7)
    assert [token for window in windows for token in window.ids] == ids
    assert len(windows[0].prompt) == 1
    assert all(len(window.prompt) + len(window.ids) <= 8 for window in windows)


def test_empty_continuation_has_no_tokens(llama: tuple[Any, PreTrainedTokenizerBase]) -> None:
    pairs = [Continuation((1, 2), ()), Continuation((1, 2), (3,))]
    scores = dict(continuation_logprobs(llama[0], pairs, recorded_job()[0]))
    assert (scores[0].logprob, scores[0].tokens) == (0.0, 0)
    assert scores[1].logprob < 0


def test_blanks_before_a_choice_belong_to_it(llama: tuple[Any, PreTrainedTokenizerBase]) -> None:
    assert split_prompt_and_continuation(llama[1], "And? ", "yes") == split_prompt_and_continuation(
        llama[1], "And?", " yes"
    )
    empty = split_prompt_and_continuation(llama[1], "", "yes")
    assert empty.prompt == (llama[1].bos_token_id,)


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
