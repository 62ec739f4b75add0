"""Choose the kernels of a training, and use the same ones when it resumes.

Kernels round differently. To get the result of an uninterrupted run, a resumed training uses the
kernels that it started with, whatever has been installed since.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from lora_studio.core.messages import Template, Text, text
from lora_studio.core.problems import Problem, Where, warning
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import programs
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.devices.ranks import ProcessGroup
from lora_studio.engine.kernels import inductor
from lora_studio.engine.kernels.fused import KernelPart, KernelRecord
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.runtime import failures
from lora_studio.engine.runtime.channel import JobContext

#: What is said where a choice isn't possible any more, by the field of `KernelRecord`.
_LOST = {
    "liger": text(
        "Training started with Liger kernels, which aren't available now. It continues without them, with "
        "different rounding."
    ),
    "tf32": text(
        "Training started with TF32, which isn't available now. It continues without it, with different "
        "rounding."
    ),
    "packed": text(
        "Training started with packed rows, which isn't possible now. It continues with padded rows, with "
        "different rounding."
    ),
    "chunked": text(
        "Training started with logits that are computed in chunks, which isn't possible now. It continues with "
        "all logits at once, which takes more memory, and with different rounding."
    ),
    "shared": text(
        "Training started with prompts that are computed once for several answers, which isn't possible now. "
        "It continues without that, with different rounding."
    ),
    "direct_writing": text(
        "Training started with a faster way of writing answers, which isn't possible now. It continues without "
        "it, with different rounding."
    ),
    "flash": text(
        "Training started with FlashAttention, which isn't available now. It continues without it, with "
        "different rounding."
    ),
}
_LOST_LAYERS = text(
    "Some of the fused layers that training started with aren't available now. It continues without them, "
    "with different rounding."
)


#: Why a part isn't computed by compiled kernels, or by Liger's.
_UNUSED: tuple[dict[KernelPart, Template], dict[KernelPart, Template]] = (
    {
        "norms": "Compiled kernels can't compute norms: {reason}.",
        "gates": "Compiled kernels can't compute gates: {reason}.",
        "rotations": "Compiled kernels can't compute rotary embeddings: {reason}.",
    },
    {
        "norms": "Liger can't compute norms: {reason}.",
        "gates": "Liger can't compute gates: {reason}.",
        "rotations": "Liger can't compute rotary embeddings: {reason}.",
        "scores": "Liger can't compute the loss: {reason}.",
    },
)


def create_logprob_model(
    run: RunFolder,
    spec: TrainingSpec,
    tuned: AdaptedModel,
    job: JobContext,
    ranks: ProcessGroup,
    *,
    sharing: bool = False,
    tokens: int = 0,
) -> LogprobModel:
    """Return the logprob model of a training; emits and records how rows, logits and layers are computed.

    With `sharing`, rows may share their prompts; `tokens` is the number that the whole training reads.
    """
    record = read_record(run, ranks)
    set_matmul_precision(record, tuned.base.device, tuned.base.dtype, ranks)
    logprob_model = LogprobModel.create(
        tuned.model,
        tuned.start or tuned.initial_adapter,
        packing=spec.packing,
        sharing=sharing,
        dtype=tuned.base.dtype,
        with_liger=spec.liger == "auto" and record.liger is not False,
        with_inductor=spec.liger == "auto" and _should_compile(tuned, job, record, tokens),
        compiled=spec.torch_compile != "off",
        record=record,
    )
    report_kernels(run, logprob_model, job, ranks, record)
    return logprob_model


def _should_compile(
    tuned: AdaptedModel, job: JobContext, record: KernelRecord, tokens: int
) -> bool:
    """Return whether Inductor compiles layers for the CPU, as in the training's first part where it resumes."""
    if record.kinds is not None:
        compiled = any(kind.startswith(inductor.NAME) for kind in record.kinds)
        is_wanted = compiled and inductor.is_possible(tuned.base.device)
    else:
        parameters = sum(value.numel() for value in tuned.model.parameters())
        is_wanted = inductor.is_worthwhile(tuned.base.device, tuned.base.dtype, parameters, tokens)
    missing = programs.find_missing_cpu_build_tool() if is_wanted else None
    if missing is not None:
        reason = (
            text(
                "No C++ compiler is installed (`sudo apt install g++`). With one, training on this CPU is faster."
            )
            if missing == "compiler"
            else text(
                "Python's header files aren't installed (`sudo apt install python3-dev`). With them, training on this CPU is faster."
            )
        )
        job.emit(events.LogLine(text=reason))
        return False
    if is_wanted:
        job.show_stage(text("compiling the model"))
    return is_wanted


def read_record(run: RunFolder, ranks: ProcessGroup) -> KernelRecord:
    """Return the kernels that an interrupted training used; rank 0 reads them for all ranks."""
    entry = run.read_manifest().get("kernels", {}) if ranks.is_first else None
    return KernelRecord.from_manifest(ranks.broadcast(entry))


def set_matmul_precision(
    record: KernelRecord, device: torch.device, dtype: torch.dtype, ranks: ProcessGroup
) -> None:
    """Let a training in 32-bit multiply in TF32 where all GPUs can, unless it started without.

    TF32 keeps the range of 32-bit numbers and 10 bits of their mantissa, and is up to eight times as
    fast; sums stay in 32-bit. `record` has the kernels that it used before.
    """
    can_use = not ranks.is_true_on_any(dtype != torch.float32 or not has_tf32(device))
    torch.set_float32_matmul_precision(
        "high" if record.tf32 is not False and can_use else "highest"
    )


def has_tf32(device: torch.device) -> bool:
    """Return whether a device multiplies in TF32: NVIDIA's GPUs since Ampere."""
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_properties(device).major >= 8


def uses_tf32() -> bool:
    """Return whether `set_matmul_precision` chose TF32."""
    return torch.get_float32_matmul_precision() == "high"


def report_kernels(
    run: RunFolder,
    logprob_model: LogprobModel,
    job: JobContext,
    ranks: ProcessGroup,
    record: KernelRecord,
) -> None:
    """Emit how rows, logits and layers are computed, and record it in the manifest.

    `record` has the kernels that the training used before.
    """
    sentences = [logprob_model.describe(), *describe_kernels(logprob_model)]
    if uses_tf32():
        sentences.append(text("Matrix products in 32-bit use TF32."))
    for sentence in sentences:
        job.emit(events.LogLine(text=sentence))
    if not ranks.is_first:
        return
    now = replace(logprob_model.record, tf32=uses_tf32())
    changes = list_changes(record, now)
    for change in changes:
        job.emit(events.LogLine(text=change))
    description = " ".join(map(str, sentences))
    run.update_manifest(kernels=now.to_manifest() | {"said": description})


def list_changes(before: KernelRecord, now: KernelRecord) -> list[Text]:
    """Return a sentence for each choice of an interrupted training that isn't possible any more."""
    changes = [
        sentence
        for name, sentence in _LOST.items()
        if getattr(before, name) and not getattr(now, name)
    ]
    if before.kinds is not None and before.kinds != now.kinds:
        changes.append(_LOST_LAYERS)
    return changes


def describe_kernels(logprob_model: LogprobModel) -> list[Text]:
    """Return what a library's kernels compute, and why not the rest; empty if they weren't tried."""
    layers = logprob_model.fused.by_library
    template = _UNUSED[0 if logprob_model.library is inductor else 1]
    reasons = [
        text(template[part], reason=why) for part, why in logprob_model.fused.reasons.items()
    ]
    if logprob_model.library is None:
        return []
    if logprob_model.library is inductor:
        used = text("Compiled kernels compute {layers} of these layers.", layers=layers)
        return [used, *reasons]
    match layers > 0, logprob_model.scored_by_liger:
        case True, True:
            used = text(
                "Liger kernels compute {layers} of these layers, and the loss.", layers=layers
            )
        case True, False:
            used = text("Liger kernels compute {layers} of these layers.", layers=layers)
        case False, True:
            used = text("Liger kernels compute the loss.")
        case _:
            used = text("Liger kernels aren't used.")
    return [used, *reasons]


# torch.compile where it pays: measured on the longest micro-batch of the training.
#
# Only the feed-forward parts of the blocks are compiled. They have the same structure, so one compilation
# covers all of them, and they contain most of the operations that can be fused. Attention runs row by
# row, with lengths that change every step, so it would be recompiled each time.

#: Timed passes of each variant; the fastest counts, because other programs may interfere.
_TIMED_PASSES = 3
#: How much faster compiled passes have to be to be worth their different rounding.
_MIN_SPEEDUP = 1.03

#: Names of the feed-forward part of a block in transformers.
_FEED_FORWARD_NAMES = ("mlp", "feed_forward")


def compile_if_faster(
    model: torch.nn.Module, run_pass: Callable[[], object], job: JobContext
) -> bool:
    """Compile the feed-forward parts of a model if that makes `run_pass` faster; return whether it does.

    `run_pass` is a forward and backward pass without side effects. Where compiling fails, Warned is
    emitted and the model stays as it was.
    """
    parts = _feed_forward_parts(model)
    if not parts:
        reason = text("this model has no feed-forward layers")
        job.emit(events.Warned(problem=_not_compiled_problem(reason)))
        return False
    before = _measure_fastest_seconds(run_pass)
    started = time.monotonic()
    try:
        set_compiled(model, enabled=True)
        run_pass()
        compile_seconds = time.monotonic() - started
        after = _measure_fastest_seconds(run_pass)
    except Exception as error:
        set_compiled(model, enabled=False)
        if isinstance(error, torch.OutOfMemoryError) or not _is_compiler_error(error):
            raise
        cause = getattr(error, "inner_exception", error)  # the outer one names the backend only
        reason = text("{error}", error=failures.get_first_line(cause).rstrip("."))
        job.emit(events.Warned(problem=_not_compiled_problem(reason)))
        return False
    pays = before / after >= _MIN_SPEEDUP
    if not pays:
        set_compiled(model, enabled=False)
    job.emit(events.LogLine(text=_report(pays, before, after, compile_seconds)))
    return pays


def set_compiled(model: torch.nn.Module, *, enabled: bool) -> None:
    """Compile the feed-forward parts on their next use, for any number of tokens; or undo that."""
    programs.set_compile_caches()
    for part in _feed_forward_parts(model):
        if enabled and part._compiled_call_impl is None:
            part.compile(dynamic=True)
        elif not enabled:
            part._compiled_call_impl = None


def _feed_forward_parts(model: torch.nn.Module) -> list[Any]:
    names = model.named_modules()
    return [part for name, part in names if name.rpartition(".")[2] in _FEED_FORWARD_NAMES]


def _measure_fastest_seconds(run_pass: Callable[[], object]) -> float:
    seconds = []
    for _ in range(_TIMED_PASSES):
        started = time.monotonic()
        run_pass()
        _wait_for_gpu()
        seconds.append(time.monotonic() - started)
    return min(seconds)


def _wait_for_gpu() -> None:
    """Wait until a GPU has computed everything: a pass returns before that."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    if torch.backends.mps.is_available():
        torch.mps.synchronize()


def _is_compiler_error(error: Exception) -> bool:
    """Return whether an error comes from the compiler, not from the compiled code."""
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))


def _report(pays: bool, before: float, after: float, compile_seconds: float) -> Text:
    template = (
        "torch.compile is used: the longest micro-batch takes {after:.3g} s instead of {before:.3g} s, "
        "after {seconds:duration} of compiling."
        if pays
        else "torch.compile isn't used because it isn't faster: the longest micro-batch takes "
        "{after:.3g} s instead of {before:.3g} s, after {seconds:duration} of compiling."
    )
    return text(template, after=after, before=before, seconds=compile_seconds)


def _not_compiled_problem(reason: Text) -> Problem:
    return warning(
        "training.not_compiled",
        "torch.compile can't be used here: {reason}.",
        "Training continues without it, with the same result. It needs a C++ compiler, and Triton on "
        "a GPU.",
        where=Where(step="training", field="torch_compile"),
        reason=reason,
    )
