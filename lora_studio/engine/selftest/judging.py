"""Judge a stage of the self-test by how well it agrees with base + adapter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lora_studio.core.messages import Text, text
from lora_studio.core.problems import Fix, Problem, Where, warning
from lora_studio.core.protocol import events
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.selftest import limits, reading
from lora_studio.engine.selftest.causes import Cause
from lora_studio.engine.selftest.reading import SelfTestCase


@dataclass(frozen=True)
class Reference:
    """Base + adapter: its log probabilities, float32 [all positions, vocabulary], on disk.

    `computed_in` is the dtype of the computation, `parameters` the number of its parameters.
    """

    log_probabilities: np.ndarray
    computed_in: str
    parameters: int
    answers: list[str]


@dataclass(frozen=True)
class Stage:
    """A model under test.

    `read` returns a case's logits, float32 [positions, vocabulary]; `token_fault` says where its
    tokens differ from those trained on, `faults` what else is wrong; `find_cause` looks for the most
    likely cause of a failure; `inherited` is the divergence in nats of the model that it was made from.
    """

    name: str
    read: Callable[[SelfTestCase], np.ndarray]
    token_fault: Text | None
    faults: tuple[Text, ...]
    find_cause: Callable[[], Cause]
    inherited: float = 0.0


def judge_stage(
    stage: Stage, cases: list[SelfTestCase], reference: Reference, job: JobContext
) -> events.SelfTested:
    """Read every case with a stage, emit how well it agrees, and warn when it fails."""
    top1, kl, positions = _measure(stage, cases, reference, job)
    limit = limits.get_limit(
        stage.name, reference.computed_in, positions, reference.parameters, stage.inherited
    )
    faults = [fault for fault in (stage.token_fault, *stage.faults) if fault]
    verdict = limits.judge(stage.name, limit, top1, kl, faults=bool(faults))
    cause = Cause() if verdict != "failed" or limit.is_met(top1, kl) else stage.find_cause()
    if cause.rounded_to and not faults and limits.USABLE.is_met(top1, kl):
        verdict = "lossy"  # the merge is correct; only its precision limits it
    result = events.SelfTested(
        stage=stage.name,
        conversations=len(cases),
        positions=positions,
        tokens_equal=stage.token_fault is None,
        top1=top1,
        kl=kl,
        top1_limit=None if limit.unjudged else limit.top1,
        kl_limit=None if limit.unjudged else limit.kl,
        basis=text("not judged: {reason}", reason=limit.unjudged)
        if limit.unjudged
        else limit.source,
        passed=verdict != "failed",
        verdict=verdict,
        cause=cause.message,
    )
    job.emit(result)
    if cause.rounded_to:
        job.emit(events.Warned(problem=_rounding_problem(result, cause)))
    elif verdict == "failed":
        measured = _find_measured_faults(limit, top1, kl)
        job.emit(
            events.Warned(problem=_failed_stage_problem(stage, [*faults, *measured], cause.message))
        )
    elif verdict == "lossy" and not limits.is_exact(stage.name):
        job.emit(events.Warned(problem=_lossy_quantization_problem(result)))
    return result


def _measure(
    stage: Stage, cases: list[SelfTestCase], reference: Reference, job: JobContext
) -> tuple[float, float, int]:
    """Return top-1 agreement, mean KL divergence in nats, and the number of positions compared."""
    agreeing, divergence, done = 0, 0.0, 0
    for number, case in enumerate(cases):
        job.report_progress(reading.get_stage_text(stage.name), number, len(cases), "conversations")
        rows = reference.log_probabilities[done : done + len(case.positions)]
        same, kl = reading.compare_logits(np.asarray(rows), stage.read(case))
        agreeing += same
        divergence += kl
        done += len(case.positions)
    return agreeing / done, divergence / done, done


def _find_measured_faults(limit: limits.Limit, top1: float, kl: float) -> list[Text]:
    faults = []
    if top1 < limit.top1:
        faults.append(
            text(
                "its top-1 agreement is {top1:.1%} (minimum {limit:.0%})",
                top1=top1,
                limit=limit.top1,
            )
        )
    if not kl <= limit.kl:
        faults.append(
            text("its KL divergence is {kl:.3g} nats (maximum {limit:g})", kl=kl, limit=limit.kl)
        )
    return faults


def _rounding_problem(result: events.SelfTested, cause: Cause) -> Problem:
    better, dtype = ("fp32", "float32") if cause.rounded_to == "float16" else ("fp16", "float16")
    return warning(
        "selftest.rounded",
        "The merged model differs slightly from what was trained: {cause}. The top-1 agreement is "
        "{top1:.1%}, the KL divergence {kl:.2g} nats.",
        "Merge again with {dtype} as the precision of the merged model, then export again.",
        where=Where(step="merging", field="dtype"),
        fix=Fix(
            label=text("Use {dtype}", dtype=dtype), step="merging", field="dtype", value=better
        ),
        cause=cause.message,
        top1=result.top1,
        kl=result.kl,
        dtype=dtype,
    )


def _failed_stage_problem(stage: Stage, faults: list[Text], cause: Text) -> Problem:
    names = {
        "merged": text("The merged model"),
        "converted": text("The GGUF file before quantization"),
    }
    return warning(
        "selftest.failed",
        "{stage} differs from what was trained: {faults}. Most likely cause: {cause}."
        if cause
        else "{stage} differs from what was trained: {faults}.",
        "Don't use it. Merge again, then export again. Details are in the log."
        if stage.name in names
        else "Don't use it. Export again, or choose a quantization with more bits.",
        where=Where(step="merging" if stage.name == "merged" else "export"),
        stage=names.get(stage.name) or text("The {quantization} file", quantization=stage.name),
        faults=tuple(faults),
        cause=cause,
    )


def _lossy_quantization_problem(result: events.SelfTested) -> Problem:
    return warning(
        "selftest.lossy",
        "{quantization} loses a lot of this model's precision: the top-1 agreement is {top1:.1%}, "
        "the KL divergence {kl:.2g} nats. The file is correct, but has too few bits.",
        "A quantization with more bits, such as Q8_0, stays closer to the trained model. An "
        "importance matrix also helps.",
        where=Where(step="export", field="quantizations"),
        quantization=result.stage,
        top1=result.top1,
        kl=result.kl,
    )
