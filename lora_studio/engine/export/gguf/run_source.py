"""What the GGUF files of a run are converted from: its merged model, or its base and adapter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lora_studio.core.messages import Text, text
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs import checksums, selftest_report
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.export.gguf import direct_gguf
from lora_studio.engine.merging import model_files
from lora_studio.engine.merging.plan import NeedsPeftError
from lora_studio.engine.runtime.channel import JobContext

#: Why a merged model isn't converted.
_ROUNDED = text(
    "The files are created from base model and adapter, because rounding changed the merged model."
)


def choose_sources(
    run: RunFolder, project: Project, job: JobContext
) -> tuple[
    Callable[[Path], direct_gguf.TensorSource], Callable[[Path, Text], direct_gguf.TensorSource]
]:
    """Return the merged model of a run, or its base and adapter instead; raises ProblemError."""
    trust = project.model.trust_remote_code
    if not selftest_report.is_exported_directly(run, project.export):
        if not run.has_merged:
            raise _not_merged_error(run)
        checksums.require_intact(run, run.merged, on_block=job.check)
        return lambda _: direct_gguf.open_source(run.merged), lambda _, __: direct_gguf.open_source(
            run.merged
        )
    if not run.has_adapter:
        raise fail(
            "export.no_adapter",
            "There is nothing to export: this run has no adapter.",
            "Train first, or import an adapter or a model.",
            where=Where(step="training", file=str(run.adapter)),
        )
    checksums.require_small_files(run, run.tokenizer)  # that of the merged model, if there is one
    if run.has_merged and project.export.convert_from == "auto":
        job.emit(events.LogLine(text=_ROUNDED))
    recipe = direct_gguf.plan_direct_merge(run, project, job)
    if problem := model_files.dequantization_warning(recipe.base):
        job.emit(events.Warned(problem=problem))

    def whole(scratch: Path, reason: Text) -> direct_gguf.TensorSource:
        return direct_gguf.write_temporary_merge(recipe, scratch, reason, job, trust=trust)

    def model(scratch: Path) -> direct_gguf.TensorSource:
        try:
            return direct_gguf.write_headers(recipe, scratch, trust=trust)
        except NeedsPeftError as error:
            return whole(scratch, error.reason)

    return model, whole


def _not_merged_error(run: RunFolder) -> ProblemError:
    return fail(
        "export.not_merged",
        "There is no merged model to export.",
        "Merge the adapter first, or export directly from base model and adapter.",
        where=Where(step="export", field="convert_from", file=str(run.merged)),
    )
