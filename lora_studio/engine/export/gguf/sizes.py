"""Estimate the size of every GGUF file of a model before it is converted."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lora_studio.core.export import QUANTIZATIONS, ExportSpec, should_use_imatrix
from lora_studio.core.llama_cpp import is_allowed
from lora_studio.core.messages import text
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import selftest_report
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.export.gguf import direct_gguf, quantizer
from lora_studio.engine.export.gguf.conversion import choose_first_pass
from lora_studio.engine.export.gguf.converter import convert
from lora_studio.engine.export.gguf.direct_gguf import TensorSource
from lora_studio.engine.merging import merge
from lora_studio.engine.merging.plan import NeedsPeftError
from lora_studio.engine.model import sources
from lora_studio.engine.runtime.channel import JobContext


def estimate(command: commands.EstimateSizes, job: JobContext) -> events.SizesEstimated:
    """Return the sizes that the quantizer reports for a run or a model; raises ProblemError."""
    run = RunFolder(Path(command.run)) if command.run else None
    if run is None or not (run.has_merged or run.has_adapter):
        folder = sources.resolve(command.model, job)
        estimated = estimate_sizes(direct_gguf.open_source(folder), command.export, job)
    else:
        with _open_run(run, command.export, job) as source:
            estimated = estimate_sizes(source, command.export, job)
    run_path = run.path if run is not None else None
    return estimated.model_copy(
        update={"free": shutil.disk_usage(run_path).free if run_path else None}
    )


@contextmanager
def _open_run(run: RunFolder, spec: ExportSpec, job: JobContext) -> Iterator[TensorSource]:
    """Yield what a run would export: its merged model, or its adapter on its base."""
    if not (selftest_report.is_exported_directly(run, spec) and run.has_adapter):
        # If not merged yet, use the base: the shapes are nearly always the same.
        base = run.merged if run.has_merged else sources.resolve(run.load_project().model, job)
        yield direct_gguf.open_source(base)
        return
    project = run.load_project()
    with tempfile.TemporaryDirectory(prefix="lora-studio-headers-") as folder:
        try:
            recipe = direct_gguf.plan_direct_merge(run, project, job)
            trust = project.model.trust_remote_code
            source = direct_gguf.write_headers(recipe, Path(folder), trust=trust)
        except NeedsPeftError:  # the shapes are the base's in what PEFT alone can merge
            base = merge.resolve_base(project.model, project.merging, job)
            source = direct_gguf.open_source(base)
        yield source


def estimate_sizes(
    source: TensorSource, spec: ExportSpec, job: JobContext
) -> events.SizesEstimated:
    """Return the sizes from a dry run of the quantizer on a file without weights.

    They are exact for the packaged llama.cpp. Types that the quantizer doesn't have or that are
    impossible for the model are left out. Raises ProblemError.
    """
    kind = choose_first_pass(source.tensors, ())
    # Nothing of the project runs only because the page is shown.
    llama_cpp = spec.llama_cpp if is_allowed(spec.llama_cpp) else ""
    with tempfile.TemporaryDirectory(prefix="lora-studio-outline-") as folder:
        file = Path(folder, "outline.gguf")
        tool = convert(
            source.folder, file, "outline", llama_cpp, job,
            kind=kind, outline=True, recipe=source.recipe,
        )  # fmt: skip
        sizes: dict[str, int] = {}
        for helped in (False, True):
            group = [name for name in QUANTIZATIONS if should_use_imatrix(spec, name) is helped]
            estimated = quantizer.estimate_sizes(file, group, job, imatrix=helped)
            sizes |= {str(name): size for name, size in estimated.items()}
    binary, quantizer_name = quantizer.find_quantizer(llama_cpp)
    known = quantizer.list_known_types(binary, job) if binary else frozenset()
    if known:
        sizes = {name: size for name, size in sizes.items() if name in known}
    tools = (
        tool
        if tool == quantizer_name
        else text("{converter}; {quantizer}", converter=tool, quantizer=quantizer_name)
    )
    return events.SizesEstimated(bytes=sizes, pass_kind=kind, tools=tools)
