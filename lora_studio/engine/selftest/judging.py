"""Judge a stage of the self-test by how well it agrees with base + adapter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lora_studio.core.export import QUANTIZATIONS, Quantization
from lora_studio.core.messages import NO_TEXT, Text, counted, text
from lora_studio.core.problems import Fix, Problem, Where, warning
from lora_studio.core.protocol import events
from lora_studio.core.protocol.events import Verdict
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.selftest import limits, reading
from lora_studio.engine.selftest.reading import SelfTestCase

#: Faults that are named one by one; of more, only the number is shown.
MAX_FAULTS = 8


@dataclass(frozen=True)
class StageComparison:
    """What differs; without `faults`, the stage has the values that were trained.

    `cause` explains the faults together, if anything does. `is_reproduced`: doing it again gives every byte of
    the weights. `is_exact`: so it is, and rules that share nothing with the program prove them right.
    `compared` says what was compared, or why nothing was.
    """

    faults: tuple[Text, ...] = ()
    cause: Text = NO_TEXT
    is_reproduced: bool = False
    is_exact: bool = False
    compared: Text = NO_TEXT


def summarize_faults(faults: Sequence[Text]) -> tuple[Text, ...]:
    """Return the first faults and how many more there are."""
    if len(faults) <= MAX_FAULTS:
        return tuple(faults)
    rest = len(faults) - MAX_FAULTS
    more = counted(rest, "{n} more difference", "{n} more differences")
    return (*faults[:MAX_FAULTS], more)


@dataclass(frozen=True)
class Cause:
    """The most likely cause of a failure; without a message when none was found.

    `rounded_to`: the weights are right, and the error comes from storing them in this dtype.
    """

    message: Text = NO_TEXT
    rounded_to: str = ""


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
    tokens differ from those trained on, `faults` what else is wrong. `comparison` says how far its
    values are known to be right. `find_rounding` returns rounding as a cause where it alone loses as much
    as was measured: KL divergence in nats. `inherited` is the loss of the model that it was made from.
    `is_conversion_proven`: an unquantized file of the same conversion predicts what was trained.
    `computed_in` is the dtype of the computation; llama.cpp adds up in 32 bits, but with `rounds_products` it rounds
    to 16 bits what it multiplies.
    """

    name: str
    read: Callable[[SelfTestCase], np.ndarray]
    token_fault: Text | None
    faults: tuple[Text, ...]
    comparison: StageComparison
    find_rounding: Callable[[float], Cause] = lambda _: Cause()
    inherited: limits.InheritedLoss = limits.InheritedLoss()  # noqa: RUF009 - frozen
    is_conversion_proven: bool = False
    computed_in: str = "float32"
    rounds_products: bool = False


def judge_stage(
    stage: Stage, cases: list[SelfTestCase], reference: Reference, job: JobContext
) -> events.SelfTested:
    """Read every case with a stage, emit how well it agrees, and warn when it fails."""
    top1, kl, positions = _measure(stage, cases, reference, job)
    limit = choose_limit(stage, reference, positions)
    passing = limits.get_passing_limit(stage.name, limit)
    faults = [fault for fault in (stage.token_fault, *stage.faults) if fault]
    verdict = limits.judge(stage.name, limit, top1, kl, faults=bool(faults))
    cause = Cause()
    if verdict == "failed" and not limit.is_met(top1, kl):
        cause = stage.find_rounding(kl)
        if cause.rounded_to and not faults and limits.USABLE.is_met(top1, kl):
            verdict = "lossy"  # the merge is correct; only its precision limits it
        elif stage.comparison.is_reproduced and stage.name != "merged":
            cause = Cause(_get_program_cause(stage.comparison))
    if verdict == "failed":
        faults += _find_measured_faults(limit, top1, kl)
    result = events.SelfTested(
        stage=stage.name,
        conversations=len(cases),
        positions=positions,
        tokens_equal=stage.token_fault is None,
        top1=top1,
        kl=kl,
        top1_limit=None if limit.unjudged else limit.top1,
        kl_limit=None if limit.unjudged else limit.kl,
        top1_passing=passing.top1,
        kl_passing=passing.kl,
        basis=_describe_basis(limit),
        passed=verdict != "failed",
        verdict=verdict,
        cause=cause.message,
        faults=tuple(faults),
        compared=stage.comparison.compared,
        remedy=_get_remedy(stage.name) if verdict == "failed" else NO_TEXT,
    )
    job.emit(result)
    _warn(result, cause, job)
    return result


def choose_limit(stage: Stage, reference: Reference, positions: int) -> limits.Limit:
    """Return the limit that a stage must meet for this number of compared positions."""
    if (
        stage.comparison.is_reproduced
        and stage.is_conversion_proven
        and not limits.is_exact(stage.name)
    ):
        return limits.OWN_LOSS
    precision = _get_precision(stage, reference)
    known = (positions, reference.parameters, stage.inherited)
    limit = limits.get_limit(stage.name, precision, *known)
    if not stage.rounds_products or precision != "float32":
        return limit
    rounded = limits.get_limit(stage.name, "bfloat16", *known)
    return replace(rounded, own=limit.own or limit)


def _get_precision(stage: Stage, reference: Reference) -> str:
    """Return the dtype of the less precise computation of a stage and its reference.

    Base + adapter may have run on the CPU in 32 bits, and the merged model on a GPU that was free again.
    """
    is_wide = reference.computed_in == "float32"
    return stage.computed_in if is_wide else reference.computed_in


def _warn(result: events.SelfTested, cause: Cause, job: JobContext) -> None:
    if cause.rounded_to and result.verdict == "lossy":
        job.emit(events.Warned(problem=_rounding_problem(result, cause)))
    elif result.verdict == "failed":
        job.emit(events.Warned(problem=_failed_stage_problem(result)))
    elif result.verdict == "lossy" and not limits.is_exact(result.stage):
        job.emit(events.Warned(problem=_lossy_quantization_problem(result)))


def _describe_basis(limit: limits.Limit) -> Text:
    if limit is limits.OWN_LOSS or not limit.unjudged:
        return limit.source or limit.unjudged
    return text("not judged: {reason}", reason=limit.unjudged)


def report_vectors(
    stage: str,
    cosines: np.ndarray,
    limit: float,
    faults: list[Text],
    comparison: StageComparison,
    job: JobContext,
) -> events.SelfTested:
    """Emit how similar the vectors of a stage are to those that were trained, and warn unless it passes.

    `cosines` [texts] are empty for a stage whose vectors can't be compared, for which `faults` say why.
    """
    least = float(cosines.min()) if len(cosines) else None
    verdict = judge(least, limit, has_faults=bool(faults))
    if least is not None and not least >= limit:
        measured = text("a vector's cosine similarity is {least:.4f} (minimum {limit:.2f})", least=least, limit=limit)  # fmt: skip
        faults = [*faults, measured]
    result = events.SelfTested(
        stage=stage,
        passed=verdict != "failed",
        verdict=verdict,
        faults=tuple(faults),
        cause=_get_program_cause(comparison) if verdict == "failed" and comparison.is_reproduced and stage != "merged" else NO_TEXT,
        compared=comparison.compared,
        similarity=least,
        similarity_mean=float(cosines.mean()) if len(cosines) else None,
        similarity_limit=max(limit, USABLE) if verdict != "failed" else limit,
        remedy=_get_remedy(stage) if verdict == "failed" else NO_TEXT,
    )  # fmt: skip
    job.emit(result)
    _warn(result, Cause(), job)
    return result


def report_faults(stage: str, comparison: StageComparison, job: JobContext) -> events.SelfTested:
    """Emit a stage whose values differ from what was trained; it isn't measured."""
    result = events.SelfTested(
        stage=stage,
        passed=False,
        verdict="failed",
        cause=comparison.cause,
        faults=comparison.faults,
        compared=comparison.compared,
        remedy=_get_remedy(stage) if stage == "merged" else text("Don't use it. Export again."),
    )
    job.emit(result)
    job.emit(events.Warned(problem=_failed_stage_problem(result)))
    return result


def _get_program_cause(comparison: StageComparison) -> Text:
    """Return the cause of a wrong file whose bytes are what the converter writes for the right model."""
    if comparison.is_exact:
        return text("llama.cpp runs the model differently, since the file has the trained values")
    return text(
        "this version of llama.cpp converts or runs the model differently, since the file's values are "
        "those of a fresh conversion"
    )


def _get_remedy(stage: str) -> Text:
    if stage == "merged":
        return text("Don't use it. Merge again, then export again. Details are in the log.")
    if stage == "converted":
        return text("Don't use the GGUF files. Choose another version of llama.cpp, or merge again and then export again.")  # fmt: skip
    return text("Don't use it. Export again. If that doesn't help, choose another version of llama.cpp.")  # fmt: skip


def _measure(
    stage: Stage, cases: list[SelfTestCase], reference: Reference, job: JobContext
) -> tuple[float, float, int]:
    """Return top-1 agreement, mean KL divergence in nats, and the number of positions compared."""
    agreeing, divergence, done = 0, 0.0, 0
    tie = limits.get_tie(_get_precision(stage, reference))
    for number, case in enumerate(cases):
        job.report_progress(
            reading.format_reading_stage(stage.name), number, len(cases), "conversations"
        )
        rows = reference.log_probabilities[done : done + len(case.positions)]
        same, kl = reading.compare_logits(np.asarray(rows), stage.read(case), tie)
        agreeing += same
        divergence += kl
        done += len(case.positions)
    return agreeing / done, divergence / done, done


def _find_measured_faults(limit: limits.Limit, top1: float, kl: float) -> list[Text]:
    faults = []
    if top1 < limit.top1:
        faults.append(
            text(
                "its top-1 agreement is {top1:percent} (minimum {limit:percent})",
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
        "{top1:percent}, the KL divergence {kl:.2g} nats.",
        "Merge again with {dtype} as the precision of the merged model, then export again.",
        where=Where(step="merging", field="dtype"),
        fix=Fix(
            label=text("Use {dtype}", dtype=dtype), step="merging", field="dtype", value=better
        ),
        cause=cause.message,
        top1=result.top1 or 0.0,
        kl=result.kl or 0.0,
        dtype=dtype,
    )


def _failed_stage_problem(result: events.SelfTested) -> Problem:
    names = {
        "merged": text("The merged model"),
        "converted": text("The GGUF file before quantization"),
    }
    return warning(
        "selftest.failed",
        "{stage} differs from what was trained: {faults}. Most likely cause: {cause}."
        if result.cause
        else "{stage} differs from what was trained: {faults}.",
        result.remedy,
        where=Where(step="merging" if result.stage == "merged" else "export"),
        stage=names.get(result.stage) or text("The {quantization} file", quantization=result.stage),
        faults=result.faults,
        cause=result.cause,
    )


def _lossy_quantization_problem(result: events.SelfTested) -> Problem:
    if result.similarity is not None:
        return warning(
            "selftest.lossy_vectors",
            "{quantization} loses a lot of this model's precision: the cosine similarity of its vectors to the "
            "trained ones is {least:.2f} at least and {mean:.2f} on average. The file is correct, but has too "
            "few bits.",
            "A quantization with more bits, such as Q8_0, stays closer to the trained model. An "
            "importance matrix also helps.",
            where=Where(step="export", field="quantizations"),
            quantization=result.stage,
            least=result.similarity,
            mean=result.similarity_mean or 0.0,
        )
    return warning(
        "selftest.lossy",
        "{quantization} loses a lot of this model's precision: the top-1 agreement is {top1:percent}, "
        "the KL divergence {kl:.2g} nats. The file is correct, but has too few bits.",
        "A quantization with more bits, such as Q8_0, stays closer to the trained model. An "
        "importance matrix also helps.",
        where=Where(step="export", field="quantizations"),
        quantization=result.stage,
        top1=result.top1 or 0.0,
        kl=result.kl or 0.0,
    )


#: For weights of 16 bits and more: rounded to bfloat16, SmolLM2-135M had 0.996 at the lowest, and Q8_0 0.993.
EXACT = 0.98
#: A quantization with this similarity is usable without a check.
USABLE = 0.9

#: Both the divergence in nats and one minus the cosine grow with the square of small errors, so a quantization
#: may lose this much similarity per nat that it is expected to cost.
_LOSS_PER_NAT = 0.5
#: Every quantization may lose this much, and none more than `_MOST`: other vectors are hardly related.
_LEAST, _MOST = 0.05, 0.5


def get_limit(stage: str, parameters: int, *, is_own_loss: bool) -> float:
    """Return the least similarity that doesn't fail.

    `is_own_loss`: the file has the bytes of this model's own healthy quantization, whose conversion was proven.
    """
    known: dict[str, Quantization] = {name: name for name in QUANTIZATIONS}
    if limits.is_exact(stage):
        return EXACT
    if is_own_loss:
        return -1.0
    if QUANTIZATIONS[known[stage]].kl is None:
        return 1 - _MOST
    lost = _LOSS_PER_NAT * limits.estimate_divergence(known[stage], parameters)
    return 1 - min(max(lost, _LEAST), _MOST)


def judge(least: float | None, limit: float, *, has_faults: bool) -> Verdict:
    """Return the verdict on the lowest similarity of a stage, None if there is none; NaN fails."""
    if has_faults or least is None or not least >= limit:
        return "failed"
    return "passed" if least >= USABLE else "lossy"
