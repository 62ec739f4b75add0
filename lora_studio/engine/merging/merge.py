"""The merging step: adapters into a base model, W' = W + scale · B·A, as a Hugging Face folder.

It works block by block from disk to disk on the CPU; a model is loaded only where PEFT is needed.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lora_studio.core.lora.adapters import WeightedAdapter, parse_weighted
from lora_studio.core.merging import MergingSpec
from lora_studio.core.messages import Text, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Problem, ProblemError, Where, fail
from lora_studio.core.protocol import events
from lora_studio.core.protocol.commands import MergeAdapters
from lora_studio.core.runs import checksums, leftovers, step_records
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import create_folder, name_newest_file
from lora_studio.core.system.foreign_files import open_regular, read_bytes
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.lora.adapter_files import Adapter
from lora_studio.engine.merging import model_files
from lora_studio.engine.merging import (
    plan as merging_plan,
)
from lora_studio.engine.merging import shards as merging_shards
from lora_studio.engine.merging.plan import (
    HEAD,
    MergedTensor,
    NeedsPeftError,
    WeightSource,
    find_tied_embedding,
)
from lora_studio.engine.merging.shards import Shard, ShardRecord
from lora_studio.engine.model import safetensors_files, sources, text_model
from lora_studio.engine.model.folder import require_same_base, unreadable_model_error
from lora_studio.engine.runtime import disk
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import translate_library_errors

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}

#: Settings of how a merged model is stored, which the manifest records: they may change afterwards.
STORAGE = ("dtype", "shard_size_gb")

#: Tensors and rows of each on which the effect of training in 4 bits is measured before a merge.
_SAMPLED, _SAMPLED_ROWS = 4, 64

#: Increase this whenever the same merge would give different bytes: unfinished merges then start over.
_VERSION = 1


@dataclass(frozen=True)
class MergePlan:
    """What a merge will do. Without `shards`, PEFT does it in memory, for the reason `by_peft`."""

    shards: tuple[Shard, ...]
    by_peft: Text | None
    bytes: int
    dtype: torch.dtype

    @property
    def outputs(self) -> list[MergedTensor]:
        """Return every tensor of the merged model."""
        return [output for shard in self.shards for output in shard.outputs]

    @property
    def changed(self) -> int:
        """Return how many tensors will differ from the base model's."""
        return sum(output.changed for output in self.outputs)

    @property
    def memory(self) -> int:
        """Return the estimated peak memory above an idle worker, in bytes."""
        if self.by_peft is not None:
            return int(2.2 * self.bytes)
        threads = torch.get_num_threads()
        sizes = [merging_shards.estimate_memory(output, threads) for output in self.outputs]
        return max(sizes, default=0)

    @property
    def untied(self) -> bool:
        """Return whether the merged model has its own head, unlike the base model."""
        ends = {output.name: output.changed for output in self.outputs}
        return HEAD in ends and (ends[HEAD] or ends.get(find_tied_embedding(ends), False))


def merge(run: RunFolder, job: JobContext) -> None:
    """Merge the adapter of a run, and further ones that it names; raises ProblemError.

    The base is the 16-bit original if available, whatever precision was trained in.
    """
    project = run.load_project()
    merged = _read_adapters(run, project.merging)
    base = resolve_intact_base(project.model, project.merging, job, run)
    trust = project.model.trust_remote_code
    checksums.forget_checksums(run, run.merged)
    merge_into(run.merged, base, merged, project.merging, job, trust=trust)
    checksums.record_checksums(run, run.merged, on_block=job.check)
    stored = safetensors_files.get_dtype_name(get_stored_dtype(run.merged))
    step_records.record_settings(run, project, "merge", stored_dtype=stored)


def merge_adapters(command: MergeAdapters, job: JobContext) -> None:
    """Merge adapters into a base model, outside any run; raises ProblemError."""
    out = Path(command.out)
    if out.exists() and not (out / "config.json").is_file() and any(out.iterdir()):
        raise fail(
            "merging.not_empty",
            "The folder {folder} contains files that don't belong to a model.",
            "Choose a new folder for the merged model.",
            where=Where(file=str(out)),
            folder=str(out),
        )
    merged = [
        adapter_files.read_intact(Path(adapter.folder), adapter.weight)
        for adapter in command.adapters
    ]
    base = resolve_intact_base(command.base, command.merging, job)
    if out.resolve() == base.resolve():
        raise fail(
            "merging.onto_base",
            "The merged model would overwrite its base model.",
            "Choose another folder for the merged model.",
            where=Where(file=str(out)),
        )
    trust = command.base.trust_remote_code
    merge_into(out, base, merged, command.merging, job, trust=trust)


def preview_merge(run: RunFolder, spec: MergingSpec, job: JobContext) -> events.MergePlanned:
    """Return what merging a run would do and need; raises ProblemError when it is impossible."""
    project = run.load_project()
    merged = _read_adapters(run, spec)
    base = resolve_base(project.model, spec, job, run)
    plan = make_plan(base, merged, spec, job.check)
    record = ShardRecord(
        get_scratch_folder(run.merged), _get_key(base, merged, plan), only_look=True
    )
    finished = record.count_finished_bytes(plan.shards)
    warnings = [
        model_files.dequantization_warning(base),
        _measure_other_precision(base, plan, project.model),
    ]
    return events.MergePlanned(
        bytes=plan.bytes,
        missing=plan.bytes - finished,
        free=shutil.disk_usage(run.path).free,
        memory=plan.memory,
        dtype=safetensors_files.get_dtype_name(plan.dtype),
        shards=len(plan.shards),
        tensors=len(plan.outputs),
        tensors_changed=plan.changed,
        finished_shards=sum(record.is_recorded(shard) for shard in plan.shards),
        by_peft=plan.by_peft,
        problems=tuple(warning for warning in warnings if warning),
    )


def _measure_other_precision(base: Path, plan: MergePlan, trained_on: ModelSpec) -> Problem | None:
    """Return the warning that training had the base in 4 bits, measured on a few rows; None if it hadn't."""
    if trained_on.precision != "4bit" or model_files.dequantization_warning(base):
        return None
    trained = [
        output for output in plan.outputs if output.updates and len(output.source.shape) == 2
    ]
    step = max(len(trained) // _SAMPLED, 1)
    rounded, updates = 0.0, 0.0
    for output in trained[::step][:_SAMPLED]:
        whole = any(update.whole for update in output.updates)
        rows = output.source.length if whole else min(output.source.length, _SAMPLED_ROWS)
        before = output.source.read_rows(0, rows).float()
        after = merging_shards.compute_rows(replace(output, dtype=torch.float32), rows)
        rounded += model_files.measure_rounding(before, trained_on)
        updates += float(((after - before) ** 2).sum(dtype=torch.float64))
    if not updates:
        return None
    return model_files.other_precision_warning(math.sqrt(rounded / updates), min(len(trained), _SAMPLED))  # fmt: skip


def get_chosen_adapters(run: RunFolder, spec: MergingSpec) -> list[WeightedAdapter]:
    """Return the run's own adapter and the further ones, without those of weight 0.

    Raises ProblemError when none remains.
    """
    further = [parse_weighted(text) for text in spec.further]
    run_adapter = WeightedAdapter(folder=str(run.adapter), weight=spec.weight)
    adapters = [adapter for adapter in (run_adapter, *further) if adapter.weight != 0.0]
    if not adapters:
        raise fail(
            "merging.no_weight",
            "All adapter weights are 0, so there is nothing to merge.",
            "Set at least one weight. A weight of 1 merges an adapter as it was trained.",
            where=Where(step="merging", field="weight"),
        )
    return adapters


def _read_adapters(run: RunFolder, spec: MergingSpec) -> list[Adapter]:
    checksums.require_intact(run, run.adapter)
    chosen = get_chosen_adapters(run, spec)
    return [adapter_files.read_intact(Path(adapter.folder), adapter.weight) for adapter in chosen]


def resolve_base(
    trained_on: ModelSpec, spec: MergingSpec, job: JobContext, run: RunFolder | None = None
) -> Path:
    """Return the model to merge into; raises ProblemError, also if it isn't the one `run` recorded.

    That is the chosen base or the model trained on; of a quantized one its 16-bit original, if cached.
    """
    named = sources.resolve(ModelSpec(source=spec.base) if spec.base else trained_on, job)
    if run is not None and not spec.base:
        require_same_base(run, named)
    return model_files.find_original(named, trained_on, job)


def resolve_intact_base(
    trained_on: ModelSpec, spec: MergingSpec, job: JobContext, run: RunFolder | None = None
) -> Path:
    """Return the model to merge into, as `resolve_base`, after reading it if it comes from a run."""
    base = resolve_base(trained_on, spec, job, run)
    checksums.require_intact_source(base, job.check)
    return base


def get_scratch_folder(target: Path) -> Path:
    """Return the folder that a merge is written to until it is complete."""
    return target.with_name(f".{target.name}.unfinished")


def merge_into(
    target: Path,
    base: Path,
    merged: Sequence[Adapter],
    spec: MergingSpec,
    job: JobContext,
    *,
    trust: bool = False,
) -> None:
    """Write the merged model to `target`, replacing an older one; raises ProblemError.

    A killed merge leaves its finished shards next to `target`, and the same merge resumes from them;
    one that fails or is cancelled leaves nothing.
    """
    scratch = get_scratch_folder(target)
    create_folder(target.parent)
    try:
        event = merge_folders(base, merged, scratch, spec, job)
        model_files.stop_at_turn_end(scratch, trust=trust)
        _swap_in(scratch, target)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    size = sum(file.stat().st_size for file in target.iterdir() if file.is_file())
    job.emit(event.model_copy(update={"folder": str(target), "bytes": size}))


def merge_folders(
    base: Path, merged: Sequence[Adapter], target: Path, spec: MergingSpec, job: JobContext
) -> events.Merged:
    """Write the merged model to the folder `target`; raises ProblemError.

    Shards that an earlier attempt at the same merge has finished are kept.
    """
    plan = make_plan(base, merged, spec, job.check)
    if problem := model_files.dequantization_warning(base):
        job.warn(problem)
    record = ShardRecord(target, _get_key(base, merged, plan))
    disk.require_free_space(
        target, plan.bytes - record.count_finished_bytes(plan.shards), "The merged model"
    )
    changed = plan.changed
    if plan.by_peft is None:
        merging_shards.write(plan.shards, target, record, job)
    else:
        job.log(text("PEFT merges it with the model in memory: {reason}.", reason=plan.by_peft))
        limit = f"{spec.shard_size_gb}GB"
        changed = merge_in_memory(base, merged, target, plan.dtype, limit, job)
    write_settings(base, merged, target, spec, plan)
    record.end()
    return events.Merged(
        folder=str(target),
        bytes=plan.bytes,
        dtype=safetensors_files.get_dtype_name(plan.dtype),
        tensors_changed=changed,
        by_peft=plan.by_peft,
    )


def write_settings(
    base: Path, merged: Sequence[Adapter], target: Path, spec: MergingSpec, plan: MergePlan
) -> None:
    """Write everything of the merged model but its weights: settings, tokenizer, chat template."""
    model_files.copy(base, merged[0].folder, target)
    model_files.write_added_tokens(merged[0], target)
    dtype = _DTYPES.get(spec.dtype)
    labels = merging_plan.read_settings(merged)
    model_files.write_config(base, target, dtype, plan.outputs, untied=plan.untied, labels=labels)


def make_plan(
    base: Path,
    merged: Sequence[Adapter],
    spec: MergingSpec,
    check: Callable[[], None] = lambda: None,
) -> MergePlan:
    """Return what the merge will do, from the headers of the files alone; raises ProblemError.

    `check` is called before each file; it may raise.
    """
    settings = model_files.read_config(base)
    tensors: Mapping[str, WeightSource] = model_files.unpack_tensors(
        base, safetensors_files.read_index(base, check)
    )
    dtype = _DTYPES.get(spec.dtype)
    common = dtype or _get_common_dtype(tensors.values())
    try:
        outputs = _make_outputs(base, dict(tensors), merged, dtype, settings)
    except NeedsPeftError as error:
        if merging_plan.is_classifier(merged):
            raise fail(
                "merging.classifier_in_memory",
                "The adapter of this classifier can't be merged: {reason}.",
                "Load it with PEFT as a sequence classification model.",
                where=Where(step="merging", file=str(merged[0].folder)),
                reason=error.reason,
            ) from error
        size = sum(
            max(math.prod(t.shape) * (common.itemsize if t.floating else 1), 1)
            for t in tensors.values()
        )
        return MergePlan((), error.reason, size, common)
    cut = tuple(merging_shards.cut(outputs, int(spec.shard_size_gb * 1e9)))
    return MergePlan(cut, None, sum(shard.bytes for shard in cut), common)


def _make_outputs(
    base: Path,
    tensors: dict[str, WeightSource],
    merged: Sequence[Adapter],
    dtype: torch.dtype | None,
    settings: dict[str, Any],
) -> list[MergedTensor]:
    """Return every tensor of the merged model; raises NeedsPeftError and ProblemError.

    Where the modules in memory have other names than the tensors in the files, transformers says which.
    """
    try:
        return merging_plan.make_outputs(tensors, merged, dtype, settings)
    except NeedsPeftError as error:
        names = text_model.map_stored_names(base, tensors)
        if all(name == stored for name, stored in names.items()):
            raise
        renamed = [adapter_files.rename(adapter, names) for adapter in merged]
        try:
            return merging_plan.make_outputs(tensors, renamed, dtype, settings)
        except NeedsPeftError:
            raise error from None


def _get_key(base: Path, merged: Sequence[Adapter], plan: MergePlan) -> str:
    """Return a key of everything that determines the bytes of the merged model."""
    files = [file for file in sorted(base.iterdir()) if file.suffix in (".safetensors", ".json")]
    facts = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    for adapter in merged:
        digest = hashlib.sha256(read_bytes(adapter.folder / adapter_files.CONFIG))
        with open_regular(adapter.folder / adapter_files.WEIGHTS) as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
        facts.append((digest.hexdigest(), int(adapter.weight * 1e9), 0))
    planned = [(shard.file, shard.planned) for shard in plan.shards]
    return hashlib.sha256(repr((_VERSION, facts, planned)).encode()).hexdigest()


def _swap_in(merged: Path, target: Path) -> None:
    """Replace an older folder with the finished one."""
    backup = leftovers.get_backup_folder(target)
    shutil.rmtree(backup, ignore_errors=True)
    if target.exists():
        target.replace(backup)
    merged.replace(target)
    shutil.rmtree(backup, ignore_errors=True)


def get_stored_dtype(base: Path) -> torch.dtype:
    """Return the data type that most values of a model are merged in by default; raises
    ProblemError.
    """
    return _get_common_dtype(
        model_files.unpack_tensors(base, safetensors_files.read_index(base)).values()
    )


def _get_common_dtype(tensors: Iterable[WeightSource]) -> torch.dtype:
    """Return the data type that most values of a model are stored in."""
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.floating:
            sizes[tensor.dtype] += math.prod(tensor.shape)
    return safetensors_files.DTYPES[sizes.most_common(1)[0][0]] if sizes else torch.bfloat16


def merge_in_memory(
    base: Path,
    adapters_merged: Sequence[Adapter],
    target: Path,
    dtype: torch.dtype,
    shard_limit: str,
    job: JobContext,
) -> int:
    """Write the merged model to `target`; return how many layers changed.

    Raises ProblemError when the adapter doesn't fit the model or the result isn't finite.
    """
    from transformers import AutoConfig

    job.report_progress(text("loading the base model"), 0, None)
    with translate_library_errors(lambda reason: unreadable_model_error(base, reason)):
        config = AutoConfig.from_pretrained(base, trust_remote_code=False, local_files_only=True)
        model = text_model.choose_class(config, text_only=False).from_pretrained(
            base, dtype=dtype, device_map="cpu", use_safetensors=True, trust_remote_code=False
        )
    if getattr(model, "is_quantized", False):
        model = model.dequantize().to(dtype)
        _forget_quantization(model)
    job.report_progress(text("merging with PEFT"), 0, None)
    changed = 0
    merged = model
    for adapter in adapters_merged:
        wrapped = _with_adapter(merged, adapter)
        changed += sum(hasattr(module, "get_delta_weight") for module in wrapped.modules())
        merged = _merge_adapter(wrapped, adapter)
    named = list(merged.named_parameters())
    for done, (name, value) in enumerate(named):
        job.report_progress(text("checking the merged model"), done, len(named), "tensors")
        if not bool(torch.isfinite(value).all()):
            raise adapter_files.not_finite_error(
                name, safetensors_files.get_dtype_name(value.dtype)
            )
    job.report_progress(text("saving the merged model"), 0, None)
    with name_newest_file(target):
        merged.save_pretrained(target, max_shard_size=shard_limit)
    return changed


def _merge_adapter(wrapped: Any, adapter: Adapter) -> Any:
    """Return the model with the adapter in its weights; raises ProblemError if PEFT can't merge this kind."""

    def to_error(reason: Text | str) -> ProblemError:
        return fail(
            "merging.not_mergeable",
            "The adapter in {folder} can't be merged: {reason}.",
            "Use it as an adapter on its base model, or choose another one.",
            where=Where(step="merging", file=str(adapter.folder)),
            folder=str(adapter.folder),
            reason=reason,
        )

    with translate_library_errors(to_error):
        return wrapped.merge_and_unload()


def _forget_quantization(model: Any) -> None:
    """Remove the record of how a model was dequantized.

    WORKAROUND: transformers 5.17 saves a dequantized model by reversing how it was loaded, and
    reading packed weights can't be reversed (NotImplementedError in save_pretrained).
    """

    def is_reversible(conversion: Any) -> bool:
        try:
            conversion.reverse_transform()
        except NotImplementedError:
            return False
        return True

    steps = getattr(model, "_weight_conversions", None) or ()
    model._weight_conversions = [step for step in steps if is_reversible(step)]


def _with_adapter(model: Any, adapter: Adapter) -> Any:
    """Return the model with the adapter's weights, after checking that all of them fit."""
    from peft.tuners.lora import LoraLayer

    from lora_studio.engine.lora.adapter_weights import attach_trained

    wrapped = attach_trained(model, adapter.folder)
    for module in wrapped.modules():
        if isinstance(module, LoraLayer) and adapter.weight != 1.0:
            module.set_scale("default", adapter.weight)
    return wrapped
