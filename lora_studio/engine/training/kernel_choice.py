"""Choose the kernels of a training, and use the same ones when it resumes.

Kernels round differently. To get the result of an uninterrupted run, a resumed training uses the
kernels that it started with, whatever has been installed since.
"""

from __future__ import annotations

from lora_studio.core.messages import Text, text
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.backends.backend import AdaptedModel
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.training.distributed.ranks import ProcessGroup
from lora_studio.engine.training.kernels.fused import KernelPart
from lora_studio.engine.training.kernels.logprobs import Scorer


def create_scorer(
    run: RunFolder, spec: TrainingSpec, tuned: AdaptedModel, job: JobContext, ranks: ProcessGroup
) -> Scorer:
    """Return the scorer of a training; emits and records how rows, logits and layers are computed."""
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
    return spec.liger == "auto" and ranks.broadcast(_did_start_with_liger(run)) is not False


def report_kernels(run: RunFolder, scorer: Scorer, job: JobContext, ranks: ProcessGroup) -> None:
    """Emit how rows, logits and layers are computed, and record it in the manifest."""
    sentences = [scorer.describe(), *describe_liger(scorer)]
    for sentence in sentences:
        job.emit(events.Log(text=sentence))
    if not ranks.is_first:
        return
    if _did_start_with_liger(run) and not scorer.uses_liger:
        changed = text(
            "Training started with Liger kernels, which aren't available now. It continues without "
            "them, with different rounding."
        )
        job.emit(events.Log(text=changed))
    description = " ".join(map(str, sentences))
    run.update_manifest(kernels={"liger": scorer.uses_liger, "said": description})


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


def _did_start_with_liger(run: RunFolder) -> bool | None:
    """Return whether an interrupted training used Liger, by its manifest; None for a new training.

    Versions without these kernels wrote no entry; a new training has an empty one.
    """
    recorded = run.read_manifest().get("kernels", {})
    return None if recorded is None else bool(recorded.get("liger"))
