"""Read held-out conversations in the self-test, and compare predictions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from lora_studio.core.chat import Sampling
from lora_studio.core.messages import Text, text
from lora_studio.core.project.project import Project
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.heldout import read_heldout
from lora_studio.core.tasks.samples import Sample, UnusableRow
from lora_studio.engine.generation import turn_boundaries
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.llama_cpp import Llama
from lora_studio.engine.tokens import encoder as token_encoder

#: Conversations are read until there are at least so many conversations and positions.
CONVERSATIONS = 32
POSITIONS = 1000

#: Maximum tokens of a conversation that are read, and maximum positions compared in it.
LENGTH = 1024
PER_CONVERSATION = 96


#: Number of greedy answers that every stage generates, and maximum tokens of each.
ANSWERS = 3
ANSWER_TOKENS = 48


@dataclass(frozen=True)
class SelfTestCase:
    """One conversation: its text, its tokens, and the positions where answer tokens are predicted.

    `positions` index into `ids`: the prediction at a position is for the next token. `prompt` is
    the text up to the first answer, "" without one.
    """

    sample: Sample
    text: str
    ids: list[int]
    positions: list[int]
    end: int | None
    prompt: str = ""


def read_cases(
    folder: RunFolder, project: Project, tokenizer: PreTrainedTokenizerBase
) -> list[SelfTestCase]:
    spec = project.dataset.model_copy(
        update={"max_length": min(project.dataset.max_length, LENGTH), "too_long": "cut"}
    )
    encoder = token_encoder.Encoder(tokenizer, spec)
    end = turn_boundaries.create_turn_end_criteria(tokenizer)
    last = None if end.text else end.ids[-1]
    cases: list[SelfTestCase] = []
    positions = 0
    for held_out in read_heldout(folder):
        sample = _with_trained_answers(held_out)
        try:
            encoded = encoder.encode_sample(sample)[0]
            text = encoder.render_text(sample)
        except UnusableRow:
            continue
        chosen = _select_evenly(
            [int(index) - 1 for index in np.flatnonzero(encoded.trained) if index]
        )
        prompt = _render_prompt(tokenizer, sample)
        cases.append(SelfTestCase(sample, text, encoded.ids.tolist(), chosen, last, prompt))
        positions += len(chosen)
        if len(cases) >= CONVERSATIONS and positions >= POSITIONS:
            break
    return cases


def _with_trained_answers(sample: Sample) -> Sample:
    """Return the sample with every answer trained."""
    turns = (
        turn.model_copy(update={"trained": turn.role == "assistant"}) for turn in sample.messages
    )
    return replace(sample, messages=tuple(turns))


def _render_prompt(tokenizer: PreTrainedTokenizerBase, sample: Sample) -> str:
    """Return the conversation up to its first answer, as a prompt for the model."""
    roles = [turn.role for turn in sample.messages]
    if "assistant" not in roles or roles[0] == "assistant":
        return ""
    try:
        return token_encoder.render(
            tokenizer, sample.messages[: roles.index("assistant")], prompt=True
        )
    except UnusableRow:
        return ""


def _select_evenly(positions: list[int]) -> list[int]:
    """Return at most PER_CONVERSATION positions, evenly spaced, first and last included."""
    if len(positions) <= PER_CONVERSATION:
        return positions
    picks = np.linspace(0, len(positions) - 1, PER_CONVERSATION).round().astype(int)
    return [positions[pick] for pick in picks]


def find_stop_faults(cases: list[SelfTestCase], stops_at: Callable[[int], bool]) -> Iterator[Text]:
    """Yield a fault for each token that ends an answer but doesn't stop the stage."""
    for end in {case.end for case in cases} - {None}:
        assert end is not None
        if not stops_at(end):
            yield text("it doesn't stop at token {token:d}, which ends an answer", token=end)


def find_token_fault(
    cases: list[SelfTestCase], tokenize: Callable[[str], Sequence[int]]
) -> Text | None:
    """Return where the stage's tokens differ from those trained on; None if nowhere."""
    for number, case in enumerate(cases, 1):
        expected, actual = case.ids, list(tokenize(case.text))[: len(case.ids)]
        # If the template doesn't end answers, training appended an end-of-sequence token.
        if actual != expected[: len(actual)] or len(expected) - len(actual) > 1:
            pairs = zip(expected, actual, strict=False)
            index = next((i for i, (a, b) in enumerate(pairs) if a != b), len(actual))
            return text(
                "its tokens differ in conversation {conversation}, from token {token}",
                conversation=number,
                token=index + 1,
            )
    return None


def read_in_torch(network: Any, case: SelfTestCase) -> np.ndarray:
    """Return the logits of a case by a model in torch."""
    ids = torch.tensor([case.ids], device=network.device)
    positions = torch.tensor(case.positions, device=network.device)
    inner = network.get_base_model() if hasattr(network, "get_base_model") else network
    with torch.inference_mode():
        if "logits_to_keep" in inspect.signature(inner.forward).parameters:
            logits = network(input_ids=ids, use_cache=False, logits_to_keep=positions).logits[0]
        else:
            logits = network(input_ids=ids, use_cache=False).logits[0, positions]
    return logits.float().cpu().numpy()


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).log_softmax(-1).numpy()


# --- answers to read side by side -------------------------------------------------------------


def format_reading_stage(stage: str) -> Text:
    """Return the progress stage of reading with a stage of the self-test."""
    return text("self-test: {stage}", stage=stage)


def _answer_text(stage: str) -> Text:
    return text("self-test: answers of {stage}", stage=stage)


def generate_in_torch(
    network: Any,
    tokenizer: PreTrainedTokenizerBase,
    cases: list[SelfTestCase],
    stage: str,
    job: JobContext,
) -> list[str]:
    """Return greedy answers to the first questions.

    They are generated one after another, because padding would change rounding.
    """
    ends = list(
        turn_boundaries.create_turn_end_criteria(
            tokenizer, network.generation_config.eos_token_id
        ).ids
    )
    settings = GenerationConfig(
        max_new_tokens=ANSWER_TOKENS,
        do_sample=False,
        eos_token_id=ends or None,
        pad_token_id=tokenizer.pad_token_id,
    )
    answers: list[str] = []
    for prompt in [case.prompt for case in cases if case.prompt][:ANSWERS]:
        job.report_progress(_answer_text(stage), len(answers), ANSWERS, "answers")
        ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").to(network.device)
        ids.pop("token_type_ids", None)
        with torch.inference_mode():
            output = network.generate(
                **ids,
                generation_config=settings,
                stopping_criteria=[turn_boundaries.CancelCriteria(job)],
            )
        answer = output[0, ids.input_ids.shape[1] :].tolist()
        answers.append(tokenizer.decode(answer, skip_special_tokens=True))
    return answers


def generate_in_llama(
    llama: Llama, cases: list[SelfTestCase], stage: str, job: JobContext
) -> list[str]:
    sampling = Sampling(temperature=0.0, max_tokens=ANSWER_TOKENS)
    answers: list[str] = []
    for prompt in [case.prompt for case in cases if case.prompt][:ANSWERS]:
        job.report_progress(_answer_text(stage), len(answers), ANSWERS, "answers")
        tokens = llama.generate(llama.tokenize(prompt), sampling)
        answers.append(llama.detokenize(list(tokens)))
    return answers


def compare_logits(
    reference: np.ndarray, logits: np.ndarray, tie: float = 0.0
) -> tuple[int, float]:
    """Return how many rows have the same top-1 token, and the sum of their KL divergences in nats.

    `reference` holds log probabilities, `logits` is unnormalized; both [positions, vocabulary]. One
    may have more columns, for tokens that do not exist: they are left out of both. Another token counts as the
    same if its log probability in `reference` is at most `tie` nats below the highest.
    """
    width = min(reference.shape[1], logits.shape[1])
    same, divergence = 0, 0.0
    for begin in range(0, len(reference), 16):  # 64-bit rows of a large vocabulary are large
        rows = slice(begin, begin + 16)
        p = torch.from_numpy(np.array(reference[rows, :width])).double().log_softmax(-1)
        q = torch.from_numpy(np.array(logits[rows, :width])).double().log_softmax(-1)
        chosen = p.gather(-1, q.argmax(-1, keepdim=True)).squeeze(-1)
        same += int((chosen >= p.max(-1).values - tie).sum())
        divergence += float((p.exp() * (p - q)).sum())
    return same, divergence
