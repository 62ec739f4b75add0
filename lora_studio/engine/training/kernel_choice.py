"""What computes a training besides PyTorch: chosen when it begins, told, noted, and kept to the end.

A resumed training is to go on as it would have gone on: kernels round differently, so that it takes
those it began with, whatever has been installed since.
"""

from __future__ import annotations

from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.training.distributed.ranks import ProcessGroup
from lora_studio.engine.training.kernels.logprobs import Scorer


def may_use_liger(run: RunFolder, spec: TrainingSpec, ranks: ProcessGroup) -> bool:
    """Whether Liger's kernels are to be tried; every rank does as the first one."""
    return spec.liger == "auto" and ranks.broadcast(_began_with_liger(run)) is not False


def tell(run: RunFolder, scorer: Scorer, job: JobContext, ranks: ProcessGroup) -> None:
    """Emits how rows, logits and layers are computed, and notes it."""
    job.emit(events.Log(text=scorer.described))
    of_liger = of_ligers(scorer)
    if of_liger:
        job.emit(events.Log(text=of_liger))
    if not ranks.is_first:
        return
    if _began_with_liger(run) and not scorer.uses_liger:
        job.emit(
            events.Log(
                text="Training began with Liger's kernels, which are not to be had now: it goes on with "
                "other last digits."
            )
        )
    said = " ".join(filter(None, (scorer.described, of_liger)))
    run.update_manifest(kernels={"liger": scorer.uses_liger, "said": said})


def of_ligers(scorer: Scorer) -> str:
    """What Liger's kernels compute and why not more, in words; "" where they were not tried."""
    if not scorer.tries_liger:
        return ""
    layers = scorer.fused.by_liger
    match layers > 0, scorer.scored_by_liger:
        case True, True:
            said = f"Liger's kernels compute {layers} of these layers, and the scores of logits."
        case True, False:
            said = f"Liger's kernels compute {layers} of these layers."
        case False, True:
            said = "Liger's kernels compute the scores of logits."
        case _:
            said = "Liger's kernels compute nothing here."
    return " ".join([said, *map(_reason, scorer.fused.reasons.items())])


def _reason(about: tuple[str, str]) -> str:
    part, why = about
    match part:
        case "norms":
            return f"They do not serve for norms: {why}."
        case "gates":
            return f"They do not serve for gates: {why}."
        case "rotations":
            return f"They do not serve for rotations: {why}."
        case _:
            return f"They do not serve for scores: {why}."


def _began_with_liger(run: RunFolder) -> bool | None:
    """What is noted of a training that goes on: nothing where an earlier version began it, which had no
    such kernels. None for one that has yet to begin, whose entry is there and empty."""
    noted = run.manifest().get("kernels", {})
    return None if noted is None else bool(noted.get("liger"))
