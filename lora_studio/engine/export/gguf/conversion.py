"""Convert a model to GGUF files: run llama.cpp's converter once, then its quantizer."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.core.export import (
    BITS_PER_WEIGHT,
    DIRECT_SOURCE,
    MERGED_SOURCE,
    QUANTIZATIONS,
    ExportSpec,
    Quantization,
    should_use_imatrix,
)
from lora_studio.core.llama_cpp import is_allowed
from lora_studio.core.messages import Text, text
from lora_studio.core.problems import Where, fail
from lora_studio.core.project.project import Project, to_file_name
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs import checksums, selftest_report, step_records
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.runs.heldout import read_heldout
from lora_studio.core.runs.manifest import get_task
from lora_studio.core.system.files import create_folder
from lora_studio.core.system.locks import FileLock
from lora_studio.core.tasks.samples import Sample, UnusableRow
from lora_studio.engine.dataset.rows import mixture
from lora_studio.engine.export.gguf import direct_gguf, imatrix, quantizer
from lora_studio.engine.export.gguf.adapter_gguf import write_adapter_gguf
from lora_studio.engine.export.gguf.converter import (
    FirstPass,
    UnsupportedModelError,
    choose_model_name,
    convert,
    find_converter,
)
from lora_studio.engine.export.gguf.direct_gguf import TensorSource
from lora_studio.engine.export.gguf.projector import write_projector
from lora_studio.engine.export.gguf.quantizer import quantize
from lora_studio.engine.merging import merge, model_files
from lora_studio.engine.merging.plan import NeedsPeftError
from lora_studio.engine.model import loading, sources
from lora_studio.engine.model.safetensors_files import PlannedFile
from lora_studio.engine.runtime import disk
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tokens import encoder as token_encoder
from lora_studio.engine.tokens.chat_format import ChatFormat

#: Room for vocabulary and header of a GGUF file, in bytes.
_HEADER = 16 * 1024 * 1024


@dataclass(frozen=True)
class ConversionPlan:
    """What to convert, and which files to write.

    `model` returns the model's folder, in the scratch folder if its weights aren't on disk; `whole`
    returns it with its weights on disk. `file` names the file of each quantization, `scratch` is on
    the same disk and deleted afterwards, `conversations` reads token ids for an importance matrix.
    `adds_bos`: programs may start prompts with the tokenizer's BOS, if it says so.
    """

    model: Callable[[Path], direct_gguf.TensorSource]
    whole: Callable[[Path, Text], direct_gguf.TensorSource]
    name: str
    spec: ExportSpec
    scratch: Path
    file: Callable[[Quantization], Path]
    conversations: Callable[[], list[list[int]]]
    adds_bos: bool = True


@dataclass(frozen=True)
class GgufFiles:
    """The files by quantization, and how they were written, for the record.

    `model` has at least settings and tokenizer, `converted` is what the quantizer started from, None
    when that is one of the files.
    """

    files: dict[Quantization, Path]
    model: Path
    converted: Path | None
    record: dict[str, Any]

    @property
    def is_direct(self) -> bool:
        """Return whether they were made from base and adapter, not from the merged model."""
        return bool(self.record["from"] == DIRECT_SOURCE)

    def get_stages(self) -> dict[str, Path]:
        """Return the files that a self-test reads, in the order in which a fault would spread."""
        stages: dict[str, Path] = {} if self.converted is None else {"converted": self.converted}
        ordered = sorted(self.files, key=lambda name: -BITS_PER_WEIGHT[name])
        stages.update({str(name): self.files[name] for name in ordered})
        return stages


def write(run: RunFolder, project: Project, job: JobContext) -> dict[Quantization, Path]:
    """Write every chosen GGUF file of a run; raises ProblemError."""
    with convert_run(run, project, job) as converted:
        return converted.files


@contextmanager
def convert_run(run: RunFolder, project: Project, job: JobContext) -> Iterator[GgufFiles]:
    """Write every chosen GGUF file of a run; the converted file exists until the block ends."""
    may_use_merged = project.export.convert_from != "adapter" and run.merged.is_dir()
    if may_use_merged and not run.has_merged:  # else it would be taken for a run without one
        checksums.require_intact(run, run.merged, on_block=job.check)
    model, whole = choose_sources(run, project, job)
    plan = ConversionPlan(
        model=model,
        whole=whole,
        name=project.name,
        spec=project.export,
        scratch=get_scratch_folder(run),
        file=lambda quantization: run.get_gguf_file(project.name, quantization),
        conversations=lambda: read_run_conversations(run, project, job),
        adds_bos=may_add_bos(run, project),
    )
    selftest_report.forget_files(run)
    checksums.forget_checksums(run, run.gguf, [plan.file(q).name for q in plan.spec.quantizations])
    with convert_plan(plan, job) as converted:
        written = [file.name for file in converted.files.values()]
        if project.export.adapter_gguf:
            written.append(_write_adapter(run, project, converted.model, plan.scratch, job))
        if _write_run_projector(run, project, plan, job):
            written.append(run.get_projector_file(project.name).name)
        checksums.record_checksums(run, run.gguf, written, job.check)
        run.update_manifest(gguf=_add_earlier_files(run, converted.record))
        step_records.record_settings(run, project, "export")
        yield converted


def may_add_bos(run: RunFolder, project: Project) -> bool:
    """Return False if the prompts that a run was trained on start without the tokenizer's BOS.

    Documents and texts of an embedding model, which no chat template renders, start with it if the tokenizer says so.
    Raises ProblemError if the tokenizer is damaged.
    """
    checksums.require_small_files(run, run.adapter)
    tokenizer = loading.load_tokenizer(run.adapter, trust=project.model.trust_remote_code)
    task = get_task(run.read_manifest())
    if (task is not None and not task.is_rendered) or not tokenizer.bos_token:
        return True
    return ChatFormat(tokenizer).starts_with(str(tokenizer.bos_token)) is not False


def _add_earlier_files(run: RunFolder, record: dict[str, Any]) -> dict[str, Any]:
    """Return the record of an export, with the files of earlier exports that weren't replaced."""
    earlier = run.read_manifest().get("gguf")
    files = earlier.get("files") if isinstance(earlier, dict) else None
    return record | {"files": (files if isinstance(files, dict) else {}) | record["files"]}


def get_scratch_folder(run: RunFolder) -> Path:
    """Return the folder for unfinished files; the next export empties it after a kill."""
    return run.temporary / "gguf"


@contextmanager
def convert_plan(plan: ConversionPlan, job: JobContext) -> Iterator[GgufFiles]:
    """Convert once and quantize the result; raises ProblemError and leaves no partial file.

    The first pass keeps the 16-bit format that the model is stored in (float16 for a float32
    model), so that quantization starts from the exact weights: bfloat16 in float16 would lose
    values below 6e-8. It is 32 bits wide when F32 is requested of a model stored in 32 bits.
    """
    quantizations = sorted(plan.spec.quantizations, key=lambda name: -BITS_PER_WEIGHT[name])
    shutil.rmtree(plan.scratch, ignore_errors=True)
    create_folder(plan.scratch, exist_ok=False)
    try:
        yield _make(plan, quantizations, job)
    finally:
        shutil.rmtree(plan.scratch, ignore_errors=True)


def _make(plan: ConversionPlan, quantizations: list[Quantization], job: JobContext) -> GgufFiles:
    """Convert, then write the quantizations from largest to smallest; the converted type comes last."""
    source = plan.model(plan.scratch)
    first = choose_first_pass(source.tensors, quantizations)
    others = [quantization for quantization in quantizations if quantization != first]
    quantizer.require_known_types(others, plan.spec.llama_cpp, job)
    _require_space(plan, source, first, quantizations)
    converted = plan.scratch / "converted.gguf"
    source, tool = _convert(plan, source, converted, first, job)
    _, quantizer_name = quantizer.find_quantizer(plan.spec.llama_cpp)
    message = text(
        "Converted with {converter}, quantized with {quantizer}.",
        converter=tool,
        quantizer=quantizer_name,
    )
    job.log(message)
    written = _quantize_all(plan, others, converted, job, is_direct=source.passing)
    if first in quantizations:  # last, because it moves the converted file
        written[first] = _publish(
            converted, plan.file(first), first, tool=tool, is_direct=source.passing
        )
        job.emit(written[first])
    how: dict[str, Any] = {
        "converter": str(tool),
        "quantizer": str(quantizer_name),
        "pass": first,
        "from": DIRECT_SOURCE if source.passing else MERGED_SOURCE,
        "dtype": source.dtype,
    }
    details = {
        name: how | {"bytes": event.bytes, "imatrix": event.imatrix}
        for name, event in written.items()
    }
    record = how | {"files": details}
    files = {name: Path(event.file) for name, event in written.items()}
    return GgufFiles(files, source.folder, converted if converted.exists() else None, record)


def _quantize_all(
    plan: ConversionPlan,
    quantizations: list[Quantization],
    converted: Path,
    job: JobContext,
    *,
    is_direct: bool,
) -> dict[Quantization, events.GgufWritten]:
    """Quantize the converted file to each of these; emits `GgufWritten` for every file."""
    matrix = _measure_importance(plan, quantizations, converted, job)
    expected = _estimate_sizes(plan, converted, quantizations, job) if quantizations else {}
    written: dict[Quantization, events.GgufWritten] = {}
    for quantization in quantizations:
        part = plan.scratch / f"{quantization}.gguf"
        weights = matrix if should_use_imatrix(plan.spec, quantization) else None
        tool = quantize(converted, part, quantization, plan.spec.llama_cpp, job, imatrix=weights)
        written[quantization] = _publish(
            part,
            plan.file(quantization),
            quantization,
            tool=tool,
            estimated_bytes=expected.get(quantization),
            imatrix=weights is not None,
            is_direct=is_direct,
        )
        job.emit(written[quantization])
    return written


def _convert(
    plan: ConversionPlan,
    source: direct_gguf.TensorSource,
    target: Path,
    kind: FirstPass,
    job: JobContext,
) -> tuple[direct_gguf.TensorSource, Text]:
    """Write the file that all others are made from; return its source and the converter's name."""
    name = choose_model_name(plan.name, source.folder)
    llama_cpp = plan.spec.llama_cpp
    if source.recipe:
        message = text("Exporting directly from the base model and adapter, without a merged copy.")
        job.log(message)
    try:
        tool = convert(
            source.folder,
            target,
            name,
            llama_cpp,
            job,
            kind=kind,
            recipe=source.recipe,
            adds_bos=plan.adds_bos,
        )
    except UnsupportedModelError:
        source = plan.whole(
            plan.scratch, text("this version of llama.cpp can't merge weights while reading them")
        )
        tool = convert(
            source.folder, target, name, llama_cpp, job, kind=kind, adds_bos=plan.adds_bos
        )
    if source.passing:
        for file in source.folder.glob("*.safetensors"):
            file.unlink()  # room for the quantizations
    return source, tool


def choose_first_pass(
    tensors: Sequence[PlannedFile], quantizations: Sequence[Quantization]
) -> FirstPass:
    """Return the type of the file that all others are made from."""
    widths: Counter[str] = Counter()
    for tensor in tensors:
        widths[tensor.dtype] += math.prod(tensor.shape)
    stored = widths.most_common(1)[0][0] if widths else "F16"
    if stored == "BF16":
        return "BF16"
    return "F32" if stored in ("F32", "F64") and "F32" in quantizations else "F16"


def _measure_importance(
    plan: ConversionPlan, quantizations: Sequence[Quantization], converted: Path, job: JobContext
) -> Path | None:
    if not any(should_use_imatrix(plan.spec, quantization) for quantization in quantizations):
        return None
    sums_by_name = imatrix.measure(converted, plan.conversations(), job)
    file = plan.scratch / "imatrix.gguf"
    imatrix.write(sums_by_name, file, plan.name)
    tokens = max(int(sums.counts.max()) for sums in sums_by_name.values())
    job.log(
        text(
            "Importance matrix: {weights} weights measured on {tokens} tokens.",
            weights=len(sums_by_name),
            tokens=tokens,
        )
    )
    return file


def _estimate_sizes(
    plan: ConversionPlan, converted: Path, quantizations: Sequence[Quantization], job: JobContext
) -> dict[Quantization, int]:
    """Return the size of each file from the quantizer's dry run.

    Raises ProblemError if the disk is too full.
    """
    expected: dict[Quantization, int] = {}
    for helped in (False, True):
        group = [name for name in quantizations if should_use_imatrix(plan.spec, name) is helped]
        if group:
            expected |= quantizer.estimate_sizes(converted, group, job, imatrix=helped)
    if unable := [name for name in quantizations if name not in expected]:
        has_no_experts = any(QUANTIZATIONS[name].needs_experts for name in unable)
        raise fail(
            "quantize.not_for_model",
            "This model can't be quantized to {names}, which is only for mixtures of experts."
            if has_no_experts
            else "This model can't be quantized to {names}: the rows of its weights don't fit the "
            "block size.",
            "Choose other quantizations. Q4_K_M works with every model.",
            where=Where(step="export", field="quantizations"),
            names=", ".join(unable),
        )
    disk.require_free_space(plan.scratch, sum(expected.values()), "The export")
    return expected


def convert_folder(command: commands.Convert, model: Path, job: JobContext) -> GgufFiles:
    """Convert any Hugging Face folder to files in `command.out`; raises ProblemError."""
    out = Path(command.out)
    scratch = out / ".gguf.tmp"
    create_folder(scratch)
    lock = FileLock(scratch / "lock")
    if not lock.acquire({"pid": os.getpid()}):
        raise fail(
            "export.busy",
            "Another export is writing to {folder}.",
            "Wait until it finishes, or choose another folder.",
            where=Where(file=str(out)),
            folder=str(out),
        )
    name = Path(command.model.source.removeprefix("builtin:")).stem or "model"
    plan = ConversionPlan(
        model=lambda _: direct_gguf.open_source(model),
        whole=lambda _, __: direct_gguf.open_source(model),
        name=name,
        spec=command.export,
        scratch=scratch / "files",
        file=lambda quantization: out / f"{to_file_name(name)}-{quantization}.gguf",
        conversations=lambda: read_file_conversations(
            command.data, model, job, trust=command.model.trust_remote_code
        ),
    )
    try:
        with convert_plan(plan, job) as converted:
            return converted
    finally:
        lock.release()
        shutil.rmtree(scratch, ignore_errors=True)


def _write_adapter(
    run: RunFolder, project: Project, model: Path, scratch: Path, job: JobContext
) -> str:
    """Write the adapter alone as a GGUF file; return the file's name."""
    part = scratch / "adapter.gguf"
    checksums.require_intact(run, run.adapter)
    tool = write_adapter_gguf(run.adapter, model, part, project.export.llama_cpp, job)
    file = run.gguf / f"{to_file_name(project.name)}-adapter.gguf"
    job.emit(_publish(part, file, "adapter", tool=tool))
    usage = text(
        "Use the adapter file with llama.cpp (`{command}`). Ollama doesn't support adapter "
        "files: use the merged model's file there.",
        command="llama-cli -m BASE.gguf --lora ADAPTER.gguf",
    )
    job.log(usage)
    return file.name


def _write_run_projector(
    run: RunFolder, project: Project, plan: ConversionPlan, job: JobContext
) -> bool:
    """Write the encoders of a run's model as a GGUF file, if it has any; return whether it did.

    Training doesn't change them, so they are those of the base model where there is no merged one.
    """
    target = run.get_projector_file(project.name)
    target.unlink(missing_ok=True)  # of an earlier export
    folder = (
        run.merged
        if run.has_merged
        else merge.resolve_base(project.model, project.merging, job, run)
    )
    part = plan.scratch / "projector.gguf"
    name = choose_model_name(project.name, folder)
    if not write_projector(folder, part, name, project.export.llama_cpp, job):
        return False
    _, tool = find_converter(project.export.llama_cpp)
    job.emit(_publish(part, target, "projector", tool=tool))
    usage = text(
        "Use the projector file together with a model file (`{command}`).",
        command="llama-server -m MODEL.gguf --mmproj PROJECTOR.gguf",
    )
    job.log(usage)
    return True


def _require_space(
    plan: ConversionPlan,
    source: direct_gguf.TensorSource,
    first: FirstPass,
    quantizations: Sequence[Quantization],
) -> None:
    """Check disk space with an estimate before the converter runs, exactly after it has run."""
    parameters = sum(math.prod(tensor.shape) for tensor in source.tensors)
    types = {first, *quantizations}
    needed = sum(int(parameters * BITS_PER_WEIGHT[name] / 8) + _HEADER for name in types)
    disk.require_free_space(plan.scratch, needed, "The export")


def _publish(part: Path, file: Path, quantization: str, **facts: Any) -> events.GgufWritten:
    """Move a finished file to its final path; return its GgufWritten event with further `facts`."""
    create_folder(file.parent)
    part.replace(file)
    return events.GgufWritten(
        file=str(file), quantization=quantization, bytes=file.stat().st_size, **facts
    )


#: Maximum number of rows to render: far more than any matrix reads.
_ROWS = 2000


def read_run_conversations(run: RunFolder, project: Project, job: JobContext) -> list[list[int]]:
    """Return token ids of a run's training rows, without held-out rows; raises ProblemError."""
    tokenizer = loading.load_tokenizer(run.adapter, trust=project.model.trust_remote_code)
    held_out = {_get_key(sample) for sample in read_heldout(run)}
    return _tokenize_samples(project.dataset, tokenizer, held_out, job)


def read_file_conversations(
    data: str, folder: Path, job: JobContext, *, trust: bool
) -> list[list[int]]:
    """Return token ids of the rows in a data file, rendered for the model in `folder`."""
    if not data:
        raise fail(
            "imatrix.no_data",
            "An importance matrix needs data similar to what the model will be used for.",
            "Pass a data file with `{option}`, or choose quantizations that need no matrix.",
            where=Where(step="export", field="imatrix"),
            option="--data",
        )
    spec = DatasetSpec(sources=(DataSource(path=data),))
    return _tokenize_samples(spec, loading.load_tokenizer(folder, trust=trust), set(), job)


def _tokenize_samples(
    spec: DatasetSpec, tokenizer: PreTrainedTokenizerBase, held_out: set[str], job: JobContext
) -> list[list[int]]:
    rows = mixture.open_dataset(spec, job)
    encoder = token_encoder.Encoder(tokenizer, spec)
    total = sum(len(store.data) for store in rows.stores)
    conversations: list[list[int]] = []
    for source, store in enumerate(rows.stores):
        for row in range(0, len(store.data), max(1, total // _ROWS)):
            job.check()
            try:
                sample = rows.read_sample(source, row)
                if _get_key(sample) not in held_out:
                    conversations += _list_token_ids(encoder.encode_sample(sample)[0])
            except UnusableRow:
                continue
    return conversations


def _list_token_ids(row: Any) -> list[list[int]]:
    """Return the token ids of an encoded row: of its conversation, or of the texts of an embedding model."""
    if isinstance(row, token_encoder.EncodedSearchPair):
        return [ids.tolist() for ids in (row.query, row.positive)]
    return [row.ids.tolist()]


def _get_key(sample: Sample) -> str:
    return sample.text or "\n".join(f"{turn.role}\t{turn.content}" for turn in sample.messages)


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
            raise fail(
                "export.not_merged",
                "This run has no merged model yet.",
                "Merge the adapter first, or export directly from base model and adapter.",
                where=Where(step="export", field="convert_from", file=str(run.merged)),
            )
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
        job.log(_ROUNDED)
    recipe = direct_gguf.plan_direct_merge(run, project, job)
    if problem := model_files.dequantization_warning(recipe.base):
        job.warn(problem)

    def whole(scratch: Path, reason: Text) -> direct_gguf.TensorSource:
        return direct_gguf.write_temporary_merge(recipe, scratch, reason, job, trust=trust)

    def model(scratch: Path) -> direct_gguf.TensorSource:
        try:
            return direct_gguf.write_headers(recipe, scratch, trust=trust)
        except NeedsPeftError as error:
            return whole(scratch, error.reason)

    return model, whole


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
