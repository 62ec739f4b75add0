"""Whether merged model and GGUF files say what base + adapter says, token by token.

Every stage reads the same held-out conversations. Compared are, at the positions where an answer is
predicted, the likeliest token and the whole distribution: KL(p ‖ q) = Σ p (log p − log q), in nats,
p being base + adapter's and q the stage's (Kullback & Leibler 1951). The reference's log
probabilities wait on disk, so that two models are never in memory at once.
"""

from __future__ import annotations

import gc
import hashlib
import inspect
import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from lora_studio.core import events
from lora_studio.core.files import write_atomic
from lora_studio.core.model import ModelSpec
from lora_studio.core.problems import Problem, Where
from lora_studio.core.project import Project
from lora_studio.core.run_folder import RunFolder
from lora_studio.core.samples import Sample, UnusableRow
from lora_studio.engine import chat, disk, model, stage_causes, stage_limits, tokens
from lora_studio.engine.channel import Job
from lora_studio.engine.export import gguf
from lora_studio.engine.llama import Llama

#: As many conversations are read as it takes to have at least so many of each.
CONVERSATIONS = 32
POSITIONS = 1000

#: Longest part of a conversation that is read, and most positions compared in it.
LENGTH = 1024
PER_CONVERSATION = 96


#: Answers given greedily by every stage, to be read side by side; tokens of each at most.
ANSWERS = 3
ANSWER_TOKENS = 48


def run(
    folder: RunFolder,
    project: Project,
    files: Mapping[str, Path],
    job: Job,
    *,
    fresh: bool = False,
) -> list[events.SelfTested]:
    """Tests the merged model and GGUF files, by stage, of a run; emits and keeps what was found.

    The merged model's earlier result stands when neither it nor what it is compared with has
    changed since, unless `fresh`. A stage that fails is also a warning that says what is wrong with
    it. Returns [] when the run kept no conversations out of training.
    """
    earlier = None if fresh else _earlier(folder)
    folder.selftest_file.unlink(missing_ok=True)
    if not folder.heldout_file.is_file() or not folder.adapter.is_dir():
        job.emit(events.Warned(problem=_nothing_held_out()))
        return []
    tokenizer = model.load_tokenizer(folder.adapter, trust=project.model.trust_remote_code)
    cases = _cases(folder, project, tokenizer)
    if not cases:
        job.emit(events.Warned(problem=_nothing_held_out()))
        return []
    _tell_how_many(cases, job)
    if earlier is not None and not files:
        write_atomic(folder.selftest_file, json.dumps(earlier, indent=2, ensure_ascii=False) + "\n")
        return [_tell(earlier, job)]
    with _scratch(folder) as scratch:
        return _test(folder, project, cases, files, earlier, scratch, job)


def _test(
    folder: RunFolder,
    project: Project,
    cases: list[Case],
    files: Mapping[str, Path],
    earlier: dict[str, Any] | None,
    scratch: Path,
    job: Job,
) -> list[events.SelfTested]:
    reference = _reference(folder, project, cases, scratch, job)
    answers = {"base + adapter": reference.answers}
    if earlier is not None:
        results = [_tell(earlier, job)]
        answers["merged"] = [entry["merged"] for entry in earlier["answers"]]
    else:
        merged, answers["merged"] = _test_merged(folder, project, cases, reference, job)
        results = [merged]
    for stage, file in files.items():
        _release()
        result, answers[stage] = _test_gguf(stage, file, folder, cases, reference, job)
        results.append(result)
    found = {
        "conversations": len(cases),
        "positions": len(reference.log_probabilities),
        "reference": f"base + adapter, computed in {reference.computed_in}",
        "passed": all(result.passed for result in results),
        "stages": [result.model_dump(exclude={"kind", "id", "time"}) for result in results],
        "answers": _side_by_side(cases, answers),
        "merged_from": _fingerprint(folder),
    }
    write_atomic(folder.selftest_file, json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    return results


def _side_by_side(cases: list[Case], answers: dict[str, list[str]]) -> list[dict[str, str]]:
    """One row for each question: what was asked, and each stage's answer."""
    asked = [case.prompt for case in cases if case.prompt][:ANSWERS]
    return [
        {"prompt": prompt, **{stage: texts[index] for stage, texts in answers.items()}}
        for index, prompt in enumerate(asked)
    ]


# --- what was found before --------------------------------------------------------------------


def _fingerprint(folder: RunFolder) -> str:
    """Changes whenever the merged model, the adapter or the held-out conversations do.

    By name, size and time of each file: to read all weights would take as long as the test.
    """
    digest = hashlib.sha256()
    files = [*folder.merged.rglob("*"), *folder.adapter.rglob("*"), folder.heldout_file]
    for file in sorted(file for file in files if file.is_file()):
        facts = file.stat()
        digest.update(f"{file.name}\t{facts.st_size}\t{facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _earlier(folder: RunFolder) -> dict[str, Any] | None:
    """The stored result when its merged stage is still true, reduced to that stage."""
    try:
        found: dict[str, Any] = json.loads(folder.selftest_file.read_text("utf-8"))
        stages = [stage for stage in found["stages"] if stage["stage"] == "merged"]
        answers = [
            {key: entry[key] for key in ("prompt", "base + adapter", "merged")}
            for entry in found["answers"]
        ]
        current = found["merged_from"] == _fingerprint(folder)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not (current and stages):
        return None
    return found | {"stages": stages, "answers": answers, "passed": stages[0]["passed"]}


def _tell(earlier: dict[str, Any], job: Job) -> events.SelfTested:
    """Emits the merged stage's earlier result once more."""
    result = events.SelfTested.model_validate(earlier["stages"][0])
    job.emit(events.Log(text="The merged model was tested before and has not changed since."))
    job.emit(result)
    return result


# --- what is read -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One conversation: its text, its tokens as trained on, and where answer tokens are predicted.

    `positions` index into `ids`: the prediction at a position is of the token behind it. `prompt`
    is the text up to the first answer, empty where there is none.
    """

    sample: Sample
    text: str
    ids: list[int]
    positions: list[int]
    end: int | None
    prompt: str = ""


def _cases(folder: RunFolder, project: Project, tokenizer: PreTrainedTokenizerBase) -> list[Case]:
    spec = project.dataset.model_copy(
        update={"max_length": min(project.dataset.max_length, LENGTH), "too_long": "cut"}
    )
    encoder = tokens.Encoder(tokenizer, spec)
    end = chat.turn_end(tokenizer)
    last = None if end.text else end.ids[-1]
    cases: list[Case] = []
    positions = 0
    for held_out in folder.heldout():
        sample = _trained(held_out)
        try:
            encoded = encoder.encode_sample(sample)[0]
            text = encoder.text(sample)
        except UnusableRow:
            continue
        chosen = _spread([int(index) - 1 for index in np.flatnonzero(encoded.trained) if index])
        prompt = _prompt(tokenizer, sample)
        cases.append(Case(sample, text, encoded.ids.tolist(), chosen, last, prompt))
        positions += len(chosen)
        if len(cases) >= CONVERSATIONS and positions >= POSITIONS:
            break
    return cases


def _trained(sample: Sample) -> Sample:
    """The sample with every answer trained."""
    turns = (
        turn.model_copy(update={"trained": turn.role == "assistant"}) for turn in sample.messages
    )
    return replace(sample, messages=tuple(turns))


def _prompt(tokenizer: PreTrainedTokenizerBase, sample: Sample) -> str:
    """The conversation up to its first answer, as the model is asked for it."""
    roles = [turn.role for turn in sample.messages]
    if "assistant" not in roles or roles[0] == "assistant":
        return ""
    try:
        return tokens.render(tokenizer, sample.messages[: roles.index("assistant")], prompt=True)
    except UnusableRow:
        return ""


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
    answers: list[str]


@dataclass(frozen=True)
class Stage:
    """A model under test: how it reads a case (float32 logits [positions, vocabulary]), where its
    tokens part from those trained on (None: nowhere), what else is wrong with it, and how to find
    the likeliest cause once it has failed.
    """

    name: str
    read: Callable[[Case], np.ndarray]
    token_fault: str | None
    faults: tuple[str, ...]
    find_cause: Callable[[], str]


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
    answers = _answers_in_torch(tuned, loaded.tokenizer, cases, "base + adapter", job)
    del loaded, tuned
    _release()
    return Reference(stored, computed_in, answers)


def _plain(spec: ModelSpec) -> ModelSpec:
    """Quantised only to train on: what is delivered is made of the 16-bit original."""
    return spec.model_copy(update={"precision": "auto"} if "bit" in spec.precision else {})


def _test_merged(
    folder: RunFolder, project: Project, cases: list[Case], reference: Reference, job: Job
) -> tuple[events.SelfTested, list[str]]:
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
    if any(renderer.text(case.sample) != case.text for case in cases):
        faults.append("its chat template writes conversations otherwise")
    stops = loaded.model.generation_config.eos_token_id
    known = {loaded.tokenizer.eos_token_id, *(stops if isinstance(stops, list) else [stops])}
    faults += _stop_faults(cases, known.__contains__)
    stage = Stage(
        name="merged",
        read=lambda case: _read_in_torch(loaded.model, case),
        token_fault=_token_fault(cases, tokenize),
        faults=tuple(faults),
        find_cause=lambda: stage_causes.of_merged(
            model.resolve(project.model, job), folder.adapter, folder.merged
        ),
    )
    result = _judge(stage, cases, reference, job)
    return result, _answers_in_torch(loaded.model, loaded.tokenizer, cases, "merged", job)


def _test_gguf(
    name: str, file: Path, folder: RunFolder, cases: list[Case], reference: Reference, job: Job
) -> tuple[events.SelfTested, list[str]]:
    longest = max(len(case.ids) for case in cases)
    context = longest + ANSWER_TOKENS + 8
    with Llama(file, context=context, cancelled=job.flags.cancel.is_set) as llama:
        stage = Stage(
            name=name,
            read=lambda case: llama.logits(case.ids, case.positions),
            token_fault=_token_fault(cases, llama.tokenize),
            faults=tuple(_stop_faults(cases, llama.ends_generation)),
            find_cause=lambda: stage_causes.of_gguf(file, folder.merged),
        )
        result = _judge(stage, cases, reference, job)
        return result, _answers_of_llama(llama, cases, name, job)


# --- answers to read side by side -------------------------------------------------------------


def _answers_in_torch(
    network: Any, tokenizer: PreTrainedTokenizerBase, cases: list[Case], stage: str, job: Job
) -> list[str]:
    """Greedy answers to the first questions, one after another: padding would change rounding."""
    ends = list(chat.turn_end(tokenizer, network.generation_config.eos_token_id).ids)
    settings = GenerationConfig(
        max_new_tokens=ANSWER_TOKENS,
        do_sample=False,
        eos_token_id=ends or None,
        pad_token_id=tokenizer.pad_token_id,
    )
    answers: list[str] = []
    for prompt in [case.prompt for case in cases if case.prompt][:ANSWERS]:
        job.progress(f"self-test: answers of {stage}", len(answers), ANSWERS, "answers")
        ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").to(network.device)
        ids.pop("token_type_ids", None)
        with torch.inference_mode():
            output = network.generate(
                **ids, generation_config=settings, stopping_criteria=[chat.HeedCancel(job)]
            )
        answer = output[0, ids.input_ids.shape[1] :].tolist()
        answers.append(tokenizer.decode(answer, skip_special_tokens=True))
    return answers


def _answers_of_llama(llama: Llama, cases: list[Case], stage: str, job: Job) -> list[str]:
    answers: list[str] = []
    for prompt in [case.prompt for case in cases if case.prompt][:ANSWERS]:
        job.progress(f"self-test: answers of {stage}", len(answers), ANSWERS, "answers")
        answers.append(
            llama.text(list(llama.generate(llama.tokenize(prompt), max_tokens=ANSWER_TOKENS)))
        )
    return answers


# --- a stage's tokens and stops ---------------------------------------------------------------


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
    top1, kl = agreeing / done, divergence / done
    limit = stage_limits.limit(stage.name, reference.computed_in)
    faults = [*stage.faults]
    if stage.token_fault:
        faults.insert(0, stage.token_fault)
    verdict = stage_limits.verdict(stage.name, reference.computed_in, top1, kl, faults=bool(faults))
    if top1 < limit.top1:
        faults.append(
            f"its likeliest token agrees at {top1:.1%} of positions (at least {limit.top1:.0%})"
        )
    if not kl <= limit.kl:
        faults.append(f"its probabilities are {kl:.3g} nats off (at most {limit.kl:g})")
    measured = not limit.holds(top1, kl)
    result = events.SelfTested(
        stage=stage.name,
        conversations=len(cases),
        positions=done,
        tokens_equal=stage.token_fault is None,
        top1=top1,
        kl=kl,
        top1_limit=limit.top1,
        kl_limit=limit.kl,
        passed=verdict != "failed",
        verdict=verdict,
        cause=stage.find_cause() if verdict == "failed" and measured else "",
    )
    job.emit(result)
    if verdict == "failed":
        job.emit(events.Warned(problem=_failed(stage, faults, result.cause)))
    elif verdict == "lossy":
        job.emit(events.Warned(problem=_lossy(result)))
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


def _failed(stage: Stage, faults: list[str], cause: str) -> Problem:
    name = {
        "merged": "The merged model",
        "converted": "The file that all quantisations are made of",
    }.get(stage.name, f"The {stage.name} file")
    remedy = "Do not use it; merge again, then export again. The log has the details."
    if stage.name not in ("merged", "converted"):
        remedy = "Do not use it; export again, or choose a quantisation with more bits."
    return Problem(
        code="selftest.failed",
        what=f"{name} is not what was trained: {'; '.join(faults)}."
        + (f" The likeliest cause: {cause}." if cause else ""),
        remedy=remedy,
        where=Where(step="merging" if stage.name == "merged" else "export"),
        severity="warning",
    )


def _lossy(result: events.SelfTested) -> Problem:
    return Problem(
        code="selftest.lossy",
        what=f"{result.stage} costs this model much: its likeliest token agrees at "
        f"{result.top1:.1%} of positions, its probabilities are {result.kl:.2g} nats off. Nothing "
        "is wrong with the file; so few bits hold no more.",
        remedy="A quantisation with more bits, such as Q8_0, stays closer to what was trained. An "
        "importance matrix helps too.",
        where=Where(step="export", field="quantizations"),
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


def sweep(folder: RunFolder) -> None:
    """Deletes what a killed export or self-test has left; call it under the run's lock."""
    shutil.rmtree(folder.temporary / "selftest", ignore_errors=True)
    shutil.rmtree(gguf.scratch_of(folder), ignore_errors=True)


@contextmanager
def _scratch(folder: RunFolder) -> Iterator[Path]:
    file = folder.temporary / "selftest"
    file.mkdir(parents=True, exist_ok=True)
    try:
        yield file
    finally:
        shutil.rmtree(file, ignore_errors=True)


def _release() -> None:
    """Gives memory back before the next model comes."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
