"""Choose the kernels of a training, and use the same ones when it resumes.

Kernels round differently. To get the result of an uninterrupted run, a resumed training uses the
kernels that it started with, whatever has been installed since.
"""

from __future__ import annotations

from typing import Any

import torch

from lora_studio.core.messages import Text, text
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.training.distributed.ranks import ProcessGroup
from lora_studio.engine.training.kernels.fused import KernelPart
from lora_studio.engine.training.kernels.logprobs import Scorer

_WITHOUT_LIGER = text(
    "Training started with Liger kernels, which aren't available now. It continues without them, with "
    "different rounding."
)
_WITHOUT_TF32 = text(
    "Training started with TF32, which isn't available now. It continues without it, with different "
    "rounding."
)


def create_scorer(
    run: RunFolder, spec: TrainingSpec, tuned: AdaptedModel, job: JobContext, ranks: ProcessGroup
) -> Scorer:
    """Return the scorer of a training; emits and records how rows, logits and layers are computed."""
    set_matmul_precision(run, tuned.base.device, tuned.base.dtype, ranks)
    scorer = Scorer(
        tuned.model,
        tuned.start or tuned.initial_adapter,
        packing=spec.packing,
        dtype=tuned.base.dtype,
        with_liger=may_use_liger(run, spec, ranks),
        compiled=spec.torch_compile != "off",
    )
    report_kernels(run, scorer, job, ranks)
    return scorer


def may_use_liger(run: RunFolder, spec: TrainingSpec, ranks: ProcessGroup) -> bool:
    """Return whether to try Liger's kernels; rank 0 decides for all ranks."""
    return spec.liger == "auto" and ranks.broadcast(_did_start_with(run, "liger")) is not False


def set_matmul_precision(
    run: RunFolder, device: torch.device, dtype: torch.dtype, ranks: ProcessGroup
) -> None:
    """Let a training in 32-bit multiply in TF32 where all GPUs can, unless it started without.

    TF32 keeps the range of 32-bit numbers and 10 bits of their mantissa, and is up to eight times as
    fast; sums stay in 32-bit. Rank 0's record decides for all ranks.
    """
    may_use = ranks.broadcast(_did_start_with(run, "tf32")) is not False
    can_use = not ranks.is_true_on_any(dtype != torch.float32 or not has_tf32(device))
    torch.set_float32_matmul_precision("high" if may_use and can_use else "highest")


def has_tf32(device: torch.device) -> bool:
    """Return whether a device multiplies in TF32: NVIDIA's GPUs since Ampere."""
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_properties(device).major >= 8


def uses_tf32() -> bool:
    """Return whether `set_matmul_precision` chose TF32."""
    return torch.get_float32_matmul_precision() == "high"


def report_kernels(run: RunFolder, scorer: Scorer, job: JobContext, ranks: ProcessGroup) -> None:
    """Emit how rows, logits and layers are computed, and record it in the manifest."""
    sentences = [scorer.describe(), *describe_liger(scorer)]
    if uses_tf32():
        sentences.append(text("Matrix products in 32-bit use TF32."))
    for sentence in sentences:
        job.emit(events.Log(text=sentence))
    if not ranks.is_first:
        return
    for name, is_used, change in (
        ("liger", scorer.uses_liger, _WITHOUT_LIGER),
        ("tf32", uses_tf32(), _WITHOUT_TF32),
    ):
        if _did_start_with(run, name) and not is_used:
            job.emit(events.Log(text=change))
    description = " ".join(map(str, sentences))
    kernels = {"liger": scorer.uses_liger, "tf32": uses_tf32(), "said": description}
    run.update_manifest(kernels=kernels)


def describe_liger(scorer: Scorer) -> list[Text]:
    """Return what Liger's kernels compute, and why not the rest; empty if they weren't tried."""
    if not scorer.tries_liger:
        return []
    layers = scorer.fused.by_liger
    match layers > 0, scorer.scored_by_liger:
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
    return [used, *(_format_reason(part, why) for part, why in scorer.fused.reasons.items())]


def _format_reason(part: KernelPart, why: Text) -> Text:
    match part:
        case "norms":
            return text("Liger can't compute norms: {reason}.", reason=why)
        case "gates":
            return text("Liger can't compute gates: {reason}.", reason=why)
        case "rotations":
            return text("Liger can't compute rotary embeddings: {reason}.", reason=why)
        case _:
            return text("Liger can't compute the loss: {reason}.", reason=why)


def _did_start_with(run: RunFolder, kernel: str) -> bool | None:
    """Return whether an interrupted training used a kernel, by its manifest; None for a new training.

    Versions without these kernels wrote no entry; a new training has an empty one.
    """
    recorded: dict[str, Any] | None = run.read_manifest().get("kernels", {})
    return None if recorded is None else bool(recorded.get(kernel))
