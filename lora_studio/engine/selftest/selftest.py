"""Whether merged model and GGUF files say what base + adapter says, token by token.

Base + adapter is what was to be merged: at its weight, with the further adapters that were chosen.
Every stage reads the same held-out conversations. Compared are, at the positions where an answer is
predicted, the likeliest token and the whole distribution: KL(p ‖ q) = Σ p (log p − log q), in nats,
p being base + adapter's and q the stage's (Kullback & Leibler 1951). The reference's log
probabilities wait on disk, so that two models are never in memory at once.
"""

from __future__ import annotations

import gc
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from lora_studio.core.lora.adapters import AdapterMix
from lora_studio.core.messages import Text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Fix, Problem, ProblemError, Where
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import write_atomic
from lora_studio.engine import generation
from lora_studio.engine.chat import adapters
from lora_studio.engine.export.gguf import conversion
from lora_studio.engine.merging import merge
from lora_studio.engine.model import loading, safetensors_files
from lora_studio.engine.runtime import disk
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.llama import Llama
from lora_studio.engine.selftest import (
    causes,
    limits,
    reading,
)
from lora_studio.engine.selftest.causes import Cause
from lora_studio.engine.selftest.reading import SelfTestCase
from lora_studio.engine.tokens import encoder


def run(
    folder: RunFolder,
    project: Project,
    files: Mapping[str, Path],
    job: JobContext,
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
    tokenizer = loading.load_tokenizer(folder.adapter, trust=project.model.trust_remote_code)
    cases = reading.cases(folder, project, tokenizer)
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
    cases: list[SelfTestCase],
    files: Mapping[str, Path],
    earlier: dict[str, Any] | None,
    scratch: Path,
    job: JobContext,
) -> list[events.SelfTested]:
    reference = _reference(folder, project, cases, scratch, job)
    answers = {"base + adapter": reference.answers}
    results: list[events.SelfTested] = []
    if earlier is not None:
        results = [_tell(earlier, job)]
        answers["merged"] = [entry["merged"] for entry in earlier["answers"]]
    elif folder.has_merged:
        merged, answers["merged"] = _test_merged(folder, project, cases, reference, job)
        results = [merged]
    inherited = sum(result.kl for result in results if result.verdict == "lossy")
    for stage, file in files.items():
        _release()
        result, answers[stage] = _test_gguf(stage, file, folder, cases, reference, inherited, job)
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


def _side_by_side(cases: list[SelfTestCase], answers: dict[str, list[str]]) -> list[dict[str, str]]:
    """One row for each question: what was asked, and each stage's answer."""
    asked = [case.prompt for case in cases if case.prompt][: reading.ANSWERS]
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


def _tell(earlier: dict[str, Any], job: JobContext) -> events.SelfTested:
    """Emits the merged stage's earlier result once more."""
    result = events.SelfTested.model_validate(earlier["stages"][0])
    job.emit(events.Log(text="The merged model was tested before and has not changed since."))
    job.emit(result)
    return result


# --- what is computed -------------------------------------------------------------------------


@dataclass(frozen=True)
class Reference:
    """Log probabilities of base + adapter, float32 [all positions, vocabulary], on disk; how it was
    computed, and how many parameters it has.
    """

    log_probabilities: np.ndarray
    computed_in: str
    parameters: int
    answers: list[str]


@dataclass(frozen=True)
class Stage:
    """A model under test: how it reads a case (float32 logits [positions, vocabulary]), where its
    tokens part from those trained on (None: nowhere), what else is wrong with it, how to find the
    likeliest cause once it has failed, and how many nats what it is made of had lost before.
    """

    name: str
    read: Callable[[SelfTestCase], np.ndarray]
    token_fault: str | None
    faults: tuple[str, ...]
    find_cause: Callable[[], Cause]
    inherited: float = 0.0


def _reference(
    folder: RunFolder, project: Project, cases: list[SelfTestCase], scratch: Path, job: JobContext
) -> Reference:
    source = str(merge.base_of(project.model, project.merging, job))
    spec = _plain(project.model).model_copy(update={"source": source})
    loaded = loading.load(generation.widened(spec, job), job)
    mix = AdapterMix(name="merged", adapters=tuple(merge.chosen_adapters(folder, project.merging)))
    tuned = adapters.AdapterSwitch(loaded.model).to(mix)
    reference = _read_reference(tuned, loaded.tokenizer, cases, scratch, job)
    del loaded, tuned
    _release()
    return reference


def _read_reference(
    tuned: Any,
    tokenizer: PreTrainedTokenizerBase,
    cases: list[SelfTestCase],
    scratch: Path,
    job: JobContext,
) -> Reference:
    rows = sum(len(case.positions) for case in cases)
    stored: np.memmap | None = None
    done = 0
    for number, case in enumerate(cases):
        job.progress("self-test: base + adapter", number, len(cases), "conversations")
        values = reading.log_softmax(reading.read_in_torch(tuned, case))
        if stored is None:
            shape = (rows, values.shape[1])
            disk.require(scratch, 4 * math.prod(shape), "The self-test")
            stored = np.memmap(scratch / "reference", np.float32, "w+", shape=shape)
        stored[done : done + len(values)] = values
        done += len(values)
    assert stored is not None
    computed_in = safetensors_files.dtype_name(next(tuned.parameters()).dtype)
    answers = reading.answers_in_torch(tuned, tokenizer, cases, "base + adapter", job)
    parameters = sum(value.numel() for value in tuned.parameters())
    return Reference(stored, computed_in, parameters, answers)


def _plain(spec: ModelSpec) -> ModelSpec:
    """Quantised only to train on: what is delivered is made of the 16-bit original."""
    return spec.model_copy(update={"precision": "auto"} if "bit" in spec.precision else {})


def _test_merged(
    folder: RunFolder,
    project: Project,
    cases: list[SelfTestCase],
    reference: Reference,
    job: JobContext,
) -> tuple[events.SelfTested, list[str]]:
    spec = ModelSpec(
        source=str(folder.merged),
        precision=_plain(project.model).precision,
        device=project.model.device,
        trust_remote_code=project.model.trust_remote_code,
    )
    loaded = loading.load(generation.widened(spec, job), job)

    def tokenize(text: str) -> list[int]:
        return loaded.tokenizer(text, add_special_tokens=False).input_ids

    faults = []
    renderer = encoder.Encoder(loaded.tokenizer, project.dataset)
    if any(renderer.text(case.sample) != case.text for case in cases):
        faults.append("its chat template writes conversations otherwise")
    stops = loaded.model.generation_config.eos_token_id
    known = {loaded.tokenizer.eos_token_id, *(stops if isinstance(stops, list) else [stops])}
    faults += reading.stop_faults(cases, known.__contains__)
    stage = Stage(
        name="merged",
        read=lambda case: reading.read_in_torch(loaded.model, case),
        token_fault=reading.token_fault(cases, tokenize),
        faults=tuple(faults),
        find_cause=lambda: causes.of_merged(
            merge.base_of(project.model, project.merging, job),
            merge.chosen_adapters(folder, project.merging),
            folder.merged,
        ),
    )
    result = _judge(stage, cases, reference, job)
    return result, reading.answers_in_torch(loaded.model, loaded.tokenizer, cases, "merged", job)


def _test_gguf(
    name: str,
    file: Path,
    folder: RunFolder,
    cases: list[SelfTestCase],
    reference: Reference,
    inherited: float,
    job: JobContext,
) -> tuple[events.SelfTested, list[str]]:
    longest = max(len(case.ids) for case in cases)
    context = longest + reading.ANSWER_TOKENS + 8
    with Llama(file, context=context, cancelled=job.flags.cancel.is_set) as llama:
        stage = Stage(
            name=name,
            read=lambda case: llama.logits(case.ids, case.positions),
            token_fault=reading.token_fault(cases, llama.tokenize),
            faults=tuple(reading.stop_faults(cases, llama.ends_generation)),
            find_cause=lambda: Cause(_cause_of_gguf(file, folder, job)),
            inherited=inherited,
        )
        result = _judge(stage, cases, reference, job)
        return result, reading.answers_of_llama(llama, cases, name, job)


def _cause_of_gguf(file: Path, folder: RunFolder, job: JobContext) -> str:
    try:
        return causes.of_gguf(file, merge.settings_of(folder, job))
    except ProblemError:
        return ""  # base or adapter are gone, so nothing can be compared


# --- the verdict ------------------------------------------------------------------------------


def _judge(
    stage: Stage, cases: list[SelfTestCase], reference: Reference, job: JobContext
) -> events.SelfTested:
    """Reads every case with a stage and emits how well it agrees."""
    agreeing, divergence, done = 0, 0.0, 0
    for number, case in enumerate(cases):
        job.progress(f"self-test: {stage.name}", number, len(cases), "conversations")
        rows = reference.log_probabilities[done : done + len(case.positions)]
        same, kl = reading.agreement(np.asarray(rows), stage.read(case))
        agreeing += same
        divergence += kl
        done += len(case.positions)
    top1, kl = agreeing / done, divergence / done
    limit = limits.limit(
        stage.name, reference.computed_in, done, reference.parameters, stage.inherited
    )
    faults = [*stage.faults]
    if stage.token_fault:
        faults.insert(0, stage.token_fault)
    verdict = limits.verdict(stage.name, limit, top1, kl, faults=bool(faults))
    measured = not limit.holds(top1, kl)
    cause = stage.find_cause() if verdict == "failed" and measured else Cause()
    if cause.rounded_to and not faults and limits.USABLE.holds(top1, kl):
        verdict = "lossy"  # the merge is right: its precision holds no more
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
        top1_limit=None if limit.unjudged else limit.top1,
        kl_limit=None if limit.unjudged else limit.kl,
        basis=f"not judged: {limit.unjudged}" if limit.unjudged else limit.source,
        passed=verdict != "failed",
        verdict=verdict,
        cause=cause.words,
    )
    job.emit(result)
    if cause.rounded_to:
        job.emit(events.Warned(problem=_rounded(result, cause)))
    elif verdict == "failed":
        job.emit(events.Warned(problem=_failed(stage, faults, result.cause)))
    elif verdict == "lossy" and not limits.is_exact(stage.name):
        job.emit(events.Warned(problem=_lossy(result)))
    return result


def _rounded(result: events.SelfTested, cause: Cause) -> Problem:
    better, word = ("fp32", "float32") if cause.rounded_to == "float16" else ("fp16", "float16")
    return Problem(
        code="selftest.rounded",
        what=f"The merged model is not quite what was trained: {cause.words}. Its likeliest token "
        f"agrees at {result.top1:.1%} of positions, its probabilities are {result.kl:.2g} nats off.",
        remedy=f"Merge again with {word} as the precision of the merged model, then export again.",
        where=Where(step="merging", field="dtype"),
        severity="warning",
        fix=Fix(label=f"Use {word}", step="merging", field="dtype", value=better),
    )


def _failed(stage: Stage, faults: list[str], cause: Text) -> Problem:
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


def _tell_how_many(cases: list[SelfTestCase], job: JobContext) -> None:
    positions = sum(len(case.positions) for case in cases)
    text = f"The self-test reads {len(cases)} conversations with {positions} answer positions"
    if len(cases) < reading.CONVERSATIONS or positions < reading.POSITIONS:
        text += (
            f", all that were held out; {reading.CONVERSATIONS} with {reading.POSITIONS:,} say more"
        )
    job.emit(events.Log(text=f"{text}."))


def sweep(folder: RunFolder) -> None:
    """Deletes what a killed export or self-test has left; call it under the run's lock."""
    shutil.rmtree(folder.temporary / "selftest", ignore_errors=True)
    shutil.rmtree(conversion.scratch_of(folder), ignore_errors=True)


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
