"""Whether merged model and GGUF files say what base + adapter says, token by token.

Every stage reads the same held-out conversations. Compared are, at the positions where an answer is
predicted, the likeliest token and the whole distribution: KL(p ‖ q) = Σ p (log p − log q), in nats,
p being base + adapter's and q the stage's (Kullback & Leibler 1951). The reference's log
probabilities wait on disk, so that two models are never in memory at once.
"""

from __future__ import annotations

import gc
import inspect
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from lora_studio.core import events
from lora_studio.core.dataset import Message
from lora_studio.core.export import Quantization
from lora_studio.core.files import write_atomic
from lora_studio.core.model import ModelSpec
from lora_studio.core.problems import Problem, Where
from lora_studio.core.project import Project
from lora_studio.core.run_folder import RunFolder
from lora_studio.core.samples import UnusableRow
from lora_studio.engine import chat, disk, model, tokens
from lora_studio.engine.channel import Job
from lora_studio.engine.llama import Llama

#: As many conversations are read as it takes to have at least so many of each.
CONVERSATIONS = 32
POSITIONS = 1000

#: Longest part of a conversation that is read, and most positions compared in it.
LENGTH = 1024
PER_CONVERSATION = 96


@dataclass(frozen=True)
class Limit:
    """What a stage must reach: least top-1 agreement, largest mean KL divergence in nats."""

    top1: float
    kl: float


#: Measured on SmolLM2-135M-Instruct with a rank-16 adapter, 1,297 positions, all in 32 bits: merged
#: 99.5 % and 0.00006 nats, F16 the same, Q8_0 97 % and 0.003, Q6_K 95 % and 0.007, Q5_K_M 80 % and
#: 0.13, Q4_K_M 88 % and 0.04, Q3_K_M 79 % and 0.13, Q2_K 69 % and 0.31. Small models quantise worst,
#: and this one's rows do not fit K-quants' blocks of 256, so larger ones stay well within. A wrong
#: merge or conversion shows in the first two: an update at 1.1 times its scale is 0.004 nats off.
LIMITS: dict[str, Limit] = {
    "merged": Limit(0.97, 0.001),
    "F16": Limit(0.97, 0.001),
    "Q8_0": Limit(0.93, 0.03),
    "Q6_K": Limit(0.90, 0.06),
    "Q5_K_M": Limit(0.70, 0.30),
    "Q5_K_S": Limit(0.70, 0.30),
    "Q4_K_M": Limit(0.70, 0.30),
    "Q4_K_S": Limit(0.70, 0.30),
    "Q3_K_L": Limit(0.60, 0.60),
    "Q3_K_M": Limit(0.60, 0.60),
    "Q3_K_S": Limit(0.50, 1.00),
    "Q2_K": Limit(0.40, 1.50),
}


#: The first two where base + adapter is computed in 16 bits, whose own rounding is that large.
LIMIT_IN_16_BITS = Limit(0.95, 0.01)


def run(
    folder: RunFolder, project: Project, files: dict[Quantization, Path], job: Job
) -> list[events.SelfTested]:
    """Tests the merged model and each GGUF file of a run; emits and keeps what was found.

    A stage that fails is also a warning that says what is wrong with it. Returns [] when the run
    kept no conversations out of training.
    """
    folder.selftest_file.unlink(missing_ok=True)
    tokenizer = model.load_tokenizer(folder.adapter, trust=project.model.trust_remote_code)
    cases = _cases(folder, project, tokenizer)
    if not cases:
        job.emit(events.Warned(problem=_nothing_held_out()))
        return []
    _tell_how_many(cases, job)
    with _scratch(folder) as scratch:
        return _test(folder, project, cases, files, scratch, job)


def _test(
    folder: RunFolder,
    project: Project,
    cases: list[Case],
    files: dict[Quantization, Path],
    scratch: Path,
    job: Job,
) -> list[events.SelfTested]:
    reference = _reference(folder, project, cases, scratch, job)
    results = [_test_merged(folder, project, cases, reference, job)]
    for quantization, file in files.items():
        _release()
        results.append(_test_gguf(quantization, file, cases, reference, job))
    found = {
        "conversations": len(cases),
        "positions": len(reference.log_probabilities),
        "reference": f"base + adapter, computed in {reference.computed_in}",
        "passed": all(result.passed for result in results),
        "stages": [result.model_dump(exclude={"kind", "id", "time"}) for result in results],
    }
    write_atomic(folder.selftest_file, json.dumps(found, indent=2) + "\n")
    return results


# --- what is read -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One conversation: its text, its tokens as trained on, and where answer tokens are predicted.

    `positions` index into `ids`: the prediction at a position is of the token behind it.
    """

    messages: tuple[Message, ...]
    text: str
    ids: list[int]
    positions: list[int]
    end: int | None


def _cases(folder: RunFolder, project: Project, tokenizer: PreTrainedTokenizerBase) -> list[Case]:
    spec = project.dataset.model_copy(
        update={"max_length": min(project.dataset.max_length, LENGTH), "too_long": "cut"}
    )
    encoder = tokens.Encoder(tokenizer, spec)
    end = chat.turn_end(tokenizer)
    last = None if end.text else end.ids[-1]
    cases: list[Case] = []
    positions = 0
    for conversation in folder.heldout():
        messages = [
            turn.model_copy(update={"trained": turn.role == "assistant"}) for turn in conversation
        ]
        try:
            encoded = encoder.encode(messages)
            text = encoder.text(messages)
        except UnusableRow:
            continue
        chosen = _spread([int(index) - 1 for index in np.flatnonzero(encoded.trained) if index])
        cases.append(Case(tuple(messages), text, encoded.ids.tolist(), chosen, last))
        positions += len(chosen)
        if len(cases) >= CONVERSATIONS and positions >= POSITIONS:
            break
    return cases


def _spread(positions: list[int]) -> list[int]:
    """At most PER_CONVERSATION of them, evenly spaced, first and last included."""
    if len(positions) <= PER_CONVERSATION:
        return positions
    picks = np.linspace(0, len(positions) - 1, PER_CONVERSATION).round().astype(int)
    return [positions[pick] for pick in picks]


# --- what is computed -------------------------------------------------------------------------


@dataclass(frozen=True)
class Reference:
    """Log probabilities of base + adapter, float32 [all positions, vocabulary], on disk."""

    log_probabilities: np.ndarray
    computed_in: str


@dataclass(frozen=True)
class Stage:
    """A model under test: how it reads a case (float32 logits [positions, vocabulary]), where its
    tokens part from those trained on (None: nowhere), and what else is wrong with it.
    """

    name: str
    read: Callable[[Case], np.ndarray]
    token_fault: str | None
    faults: tuple[str, ...]


def _reference(
    folder: RunFolder, project: Project, cases: list[Case], scratch: Path, job: Job
) -> Reference:
    loaded = model.load(chat.widened(_plain(project.model), job), job)
    tuned = chat.with_adapter(loaded.model, folder)
    rows = sum(len(case.positions) for case in cases)
    stored: np.memmap | None = None
    done = 0
    for number, case in enumerate(cases):
        job.progress("self-test: base + adapter", number, len(cases), "conversations")
        values = _log_softmax(_read_in_torch(tuned, case))
        if stored is None:
            shape = (rows, values.shape[1])
            disk.require(scratch, 4 * math.prod(shape), "The self-test")
            stored = np.memmap(scratch / "reference", np.float32, "w+", shape=shape)
        stored[done : done + len(values)] = values
        done += len(values)
    assert stored is not None
    computed_in = str(next(tuned.parameters()).dtype).removeprefix("torch.")
    del loaded, tuned
    _release()
    return Reference(stored, computed_in)


def _plain(spec: ModelSpec) -> ModelSpec:
    """Quantised only to train on: what is delivered is made of the 16-bit original."""
    return spec.model_copy(update={"precision": "auto"} if "bit" in spec.precision else {})


def _test_merged(
    folder: RunFolder, project: Project, cases: list[Case], reference: Reference, job: Job
) -> events.SelfTested:
    spec = ModelSpec(
        source=str(folder.merged),
        precision=_plain(project.model).precision,
        device=project.model.device,
        trust_remote_code=project.model.trust_remote_code,
    )
    loaded = model.load(chat.widened(spec, job), job)

    def tokenize(text: str) -> list[int]:
        return loaded.tokenizer(text, add_special_tokens=False).input_ids

    faults = []
    renderer = tokens.Encoder(loaded.tokenizer, project.dataset)
    if any(renderer.text(case.messages) != case.text for case in cases):
        faults.append("its chat template writes conversations otherwise")
    stops = loaded.model.generation_config.eos_token_id
    known = {loaded.tokenizer.eos_token_id, *(stops if isinstance(stops, list) else [stops])}
    faults += _stop_faults(cases, known.__contains__)
    stage = Stage(
        name="merged",
        read=lambda case: _read_in_torch(loaded.model, case),
        token_fault=_token_fault(cases, tokenize),
        faults=tuple(faults),
    )
    return _judge(stage, cases, reference, job)


def _test_gguf(
    quantization: Quantization, file: Path, cases: list[Case], reference: Reference, job: Job
) -> events.SelfTested:
    longest = max(len(case.ids) for case in cases)
    with Llama(file, context=longest + 8, cancelled=job.flags.cancel.is_set) as llama:
        stage = Stage(
            name=quantization,
            read=lambda case: llama.logits(case.ids, case.positions),
            token_fault=_token_fault(cases, llama.tokenize),
            faults=tuple(_stop_faults(cases, llama.ends_generation)),
        )
        return _judge(stage, cases, reference, job)


def _stop_faults(cases: list[Case], stops_at: Callable[[int], bool]) -> Iterator[str]:
    for end in {case.end for case in cases} - {None}:
        assert end is not None
        if not stops_at(end):
            yield f"it does not stop at token {end}, which ends an answer"


def _token_fault(cases: list[Case], tokenize: Callable[[str], Sequence[int]]) -> str | None:
    """Where the stage's tokenizer parts from the one that was trained with."""
    for number, case in enumerate(cases, 1):
        expected, found = case.ids, list(tokenize(case.text))[: len(case.ids)]
        # A template that ends no answer: training put an end-of-sequence token behind it.
        if found != expected[: len(found)] or len(expected) - len(found) > 1:
            pairs = zip(expected, found, strict=False)
            place = next((i for i, (a, b) in enumerate(pairs) if a != b), len(found))
            return f"its tokens differ in conversation {number}, from token {place + 1} on"
    return None


def _read_in_torch(network: Any, case: Case) -> np.ndarray:
    """Logits of a case by a model in torch."""
    ids = torch.tensor([case.ids], device=network.device)
    positions = torch.tensor(case.positions, device=network.device)
    inner = network.get_base_model() if hasattr(network, "get_base_model") else network
    with torch.inference_mode():
        if "logits_to_keep" in inspect.signature(inner.forward).parameters:
            logits = network(input_ids=ids, use_cache=False, logits_to_keep=positions).logits[0]
        else:
            logits = network(input_ids=ids, use_cache=False).logits[0, positions]
    return logits.float().cpu().numpy()


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).log_softmax(-1).numpy()


# --- the verdict ------------------------------------------------------------------------------


def _judge(stage: Stage, cases: list[Case], reference: Reference, job: Job) -> events.SelfTested:
    """Reads every case with a stage and emits how well it agrees."""
    agreeing, divergence, done = 0, 0.0, 0
    for number, case in enumerate(cases):
        job.progress(f"self-test: {stage.name}", number, len(cases), "conversations")
        rows = reference.log_probabilities[done : done + len(case.positions)]
        same, kl = agreement(np.asarray(rows), stage.read(case))
        agreeing += same
        divergence += kl
        done += len(case.positions)
    limit = LIMITS[stage.name]
    if stage.name in ("merged", "F16") and reference.computed_in != "float32":
        limit = LIMIT_IN_16_BITS
    top1, kl = agreeing / done, divergence / done
    faults = [*stage.faults]
    if stage.token_fault:
        faults.insert(0, stage.token_fault)
    if top1 < limit.top1:
        faults.append(
            f"its likeliest token agrees at {top1:.1%} of positions (at least {limit.top1:.0%})"
        )
    if not kl <= limit.kl:
        faults.append(f"its probabilities are {kl:.3g} nats off (at most {limit.kl:g})")
    result = events.SelfTested(
        stage=stage.name,
        conversations=len(cases),
        positions=done,
        tokens_equal=stage.token_fault is None,
        top1=top1,
        kl=kl,
        top1_limit=limit.top1,
        kl_limit=limit.kl,
        passed=not faults,
    )
    job.emit(result)
    if faults:
        job.emit(events.Warned(problem=_failed(stage, faults)))
    return result


def agreement(reference: np.ndarray, logits: np.ndarray) -> tuple[int, float]:
    """How many rows have the same likeliest token, and the sum of their KL divergences in nats.

    `reference` holds log probabilities, `logits` is unnormalised; both [positions, vocabulary]. One
    may have more columns, for tokens that do not exist: they are left out of both.
    """
    width = min(reference.shape[1], logits.shape[1])
    same, divergence = 0, 0.0
    for begin in range(0, len(reference), 16):  # 64-bit rows of a large vocabulary are large
        rows = slice(begin, begin + 16)
        p = torch.from_numpy(np.array(reference[rows, :width])).double().log_softmax(-1)
        q = torch.from_numpy(np.array(logits[rows, :width])).double().log_softmax(-1)
        same += int((p.argmax(-1) == q.argmax(-1)).sum())
        divergence += float((p.exp() * (p - q)).sum())
    return same, divergence


def _failed(stage: Stage, faults: list[str]) -> Problem:
    name = "The merged model" if stage.name == "merged" else f"The {stage.name} file"
    remedy = "Do not use it; export again. The log has the details."
    if stage.name not in ("merged", "F16") and not (stage.token_fault or stage.faults):
        remedy = "A quantisation with more bits, such as Q8_0, stays closer to what was trained."
    return Problem(
        code="selftest.failed",
        what=f"{name} is not what was trained: {'; '.join(faults)}.",
        remedy=remedy,
        where=Where(step="merging" if stage.name == "merged" else "export"),
        severity="warning",
    )


def _nothing_held_out() -> Problem:
    return Problem(
        code="selftest.no_conversations",
        what="No conversation was kept out of training, so nothing can be tested on.",
        remedy="Set a validation share in the dataset step and train again.",
        where=Where(step="dataset", field="validation_share"),
        severity="warning",
    )


def _tell_how_many(cases: list[Case], job: Job) -> None:
    positions = sum(len(case.positions) for case in cases)
    text = f"The self-test reads {len(cases)} conversations with {positions} answer positions"
    if len(cases) < CONVERSATIONS or positions < POSITIONS:
        text += f", all that were held out; {CONVERSATIONS} with {POSITIONS:,} say more"
    job.emit(events.Log(text=f"{text}."))


@contextmanager
def _scratch(folder: RunFolder) -> Iterator[Path]:
    file = folder.temporary / "selftest"
    file.mkdir(parents=True, exist_ok=True)
    try:
        yield file
    finally:
        for entry in file.iterdir():
            entry.unlink(missing_ok=True)
        file.rmdir()


def _release() -> None:
    """Gives memory back before the next model comes."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
