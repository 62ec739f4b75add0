"""Adapters on disk: find them, describe them layer by layer, check them against a model."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lora_studio.core.lora.adapters import AdapterFacts, AdapterFit, LayerFacts, get_use
from lora_studio.core.messages import NO_TEXT, Text, counted, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Problem, ProblemError, Where, error
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import describe_os_error
from lora_studio.core.system.foreign_files import is_unicode, make_unicode
from lora_studio.core.system.paths import expand_home
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.lora.adapter_files import Adapter, Layer
from lora_studio.engine.merging import model_files, plan
from lora_studio.engine.merging.plan import NeedsPeftError
from lora_studio.engine.model import safetensors_files, sources
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import translate_library_errors

#: Folders inside the one that is searched: PROJECT/runs/RUN/checkpoints/STEP/adapter.
_DEPTH = 5


def find_adapters(folders: Sequence[Path], job: JobContext) -> list[AdapterFacts]:
    """Return every adapter in these folders, the newest first; an unreadable one carries its problem."""
    adapters: dict[Path, AdapterFacts] = {}
    for folder in folders:
        for adapter_folder in _iter_adapter_folders(expand_home(folder), _DEPTH):
            job.report_progress(text("looking for adapters"), len(adapters), None, "adapters")
            adapters.setdefault(adapter_folder.resolve(), _describe_or_refuse(adapter_folder))
    return sorted(adapters.values(), key=lambda facts: facts.changed, reverse=True)


def _describe_or_refuse(folder: Path) -> AdapterFacts:
    """Return the facts about an adapter, or the problem with it: it must not hide the others."""
    if not is_unicode(folder):
        shown = make_unicode(folder)
        return AdapterFacts(folder=shown, problem=_unusable_problem(shown, _NOT_UNICODE))
    try:
        with translate_library_errors(
            lambda reason: ProblemError(_unusable_problem(str(folder), reason))
        ):
            return describe(folder)
    except OSError as error:
        problem = _unusable_problem(str(folder), describe_os_error(error))
    except ProblemError as error:
        problem = error.problems[0]
    return AdapterFacts(folder=str(folder), problem=problem)


_NOT_UNICODE = text("its path isn't valid UTF-8; rename it")


def _unusable_problem(folder: str, reason: Text | str) -> Problem:
    return error(
        "merging.unreadable_adapter",
        "The adapter in {folder} can't be read: {reason}.",
        "Copy or download the adapter again.",
        where=Where(step="merging", file=folder),
        folder=folder,
        reason=reason,
    )


def show_adapter(folder: Path, spec: ModelSpec | None, job: JobContext) -> events.AdapterShown:
    """Return an adapter with the norm of each layer's update, and whether it fits a model."""
    facts = describe(folder, norms_for=job)
    if facts.problem is not None:
        raise ProblemError(facts.problem)
    return events.AdapterShown(
        adapter=facts, fit=fit(folder, spec, job) if spec is not None else None
    )


def describe(folder: Path, norms_for: JobContext | None = None) -> AdapterFacts:
    """Return what an adapter's settings and headers say; with a job also each layer's norm."""
    file = folder / adapter_files.WEIGHTS
    run = next((str(p) for p in folder.parents[:3] if RunFolder(p).project_file.is_file()), None)
    changed = file.stat().st_mtime if file.is_file() else 0.0
    try:
        config = adapter_files.read_config(folder)
        note: Text | None = None
        try:
            adapter = adapter_files.read(folder)
            note = adapter.complication
        except ProblemError as error:
            # It can still be shown; the problem only concerns merging it.
            if error.problems[0].code != "merging.changed_base":
                raise
            adapter, note = Adapter(folder, config), error.problems[0].what
        stored = safetensors_files.read_header(file)
    except ProblemError as error:
        return AdapterFacts(folder=str(folder), run=run, changed=changed, problem=error.problems[0])
    layers = tuple(_describe_layer(layer, norms_for) for layer in adapter.layers)
    ranks = [layer.rank for layer in layers] or [int(config.get("r", 0))]
    return AdapterFacts(
        folder=str(folder),
        run=run,
        kind=_get_kind(config),
        use=get_use(config),
        base=str(config.get("base_model_name_or_path") or ""),
        rank=int(config.get("r", 0)),
        ranks=(min(ranks), max(ranks)),
        alpha=float(config.get("lora_alpha", 0)),
        modules=tuple(dict.fromkeys(layer.module.rpartition(".")[2] for layer in layers)),
        trained_whole=tuple(sorted(adapter.trained_whole)),
        parameters=sum(math.prod(tensor.shape) for tensor in stored),
        bytes=file.stat().st_size,
        changed=changed,
        note=note,
        layers=layers if norms_for is not None else (),
    )


def fit(folder: Path, spec: ModelSpec, job: JobContext) -> AdapterFit:
    """Return whether each tensor of an adapter fits a model; reads no weights.

    Raises ProblemError when the folder contains no readable adapter.
    """
    base = sources.resolve(spec, job)
    adapter = adapter_files.read(folder, needs_labels=False)
    try:
        tensors = model_files.unpack_tensors(base, safetensors_files.read_index(base, job.check))
        outputs = plan.make_outputs(dict(tensors), [adapter], None, model_files.read_config(base))
    except NeedsPeftError as error:
        return _fit_in_memory(adapter, spec, base, error.reason)
    except ProblemError as error:
        return AdapterFit(model=spec.source, fits=False, reason=error.problems[0].what)
    changed = sum(output.changed for output in outputs)
    warning = _get_base_warning(adapter, spec, base)
    return AdapterFit(
        model=spec.source,
        fits=True,
        reason=counted(
            changed,
            "All layers fit: {n} tensor changes.",
            "All layers fit: {n} tensors change.",
        ),
        warning=warning,
    )


def check_compatibility(
    adapters: Sequence[AdapterFacts], spec: ModelSpec, job: JobContext
) -> dict[str, AdapterFit]:
    """Return for each usable adapter whether it fits a model; {} when there is no such model."""
    try:
        sources.resolve(spec, job)
    except ProblemError:
        return {}
    fits: dict[str, AdapterFit] = {}
    for number, facts in enumerate(adapters):
        job.report_progress(text("comparing with the model"), number, len(adapters), "adapters")
        if facts.problem is None:
            try:
                fits[facts.folder] = fit(Path(facts.folder), spec, job)
            except ProblemError as error:
                fits[facts.folder] = AdapterFit(
                    model=spec.source, fits=False, reason=error.problems[0].what
                )
    return fits


def _fit_in_memory(adapter: Adapter, spec: ModelSpec, base: Path, by_peft: Text) -> AdapterFit:
    """Return whether the adapter's modules exist in the model as transformers builds it.

    The model's files may call them by other names. No weights are loaded.
    """
    from lora_studio.engine.model import loading  # transformers takes seconds to import

    modules = dict(
        loading.load_on_meta(base, spec, loading.read_config(base, spec)).named_modules()
    )
    for layer in adapter.layers:
        if layer.module not in modules:
            reason = text("The model has no {module}.", module=layer.module)
            return AdapterFit(model=spec.source, fits=False, reason=reason)
        weight = getattr(modules[layer.module], "weight", None)
        shapes = {(layer.b.shape[0], layer.a.shape[1]), (layer.a.shape[1], layer.b.shape[0])}
        if layer.of != "parameter" and (weight is None or tuple(weight.shape) not in shapes):
            reason = text("{module} has a different shape in this model.", module=layer.module)
            return AdapterFit(model=spec.source, fits=False, reason=reason)
    warning = text("PEFT merges it with the model in memory: {reason}.", reason=by_peft)
    return AdapterFit(model=spec.source, fits=True, warning=warning)


def _iter_adapter_folders(folder: Path, depth: int) -> Iterator[Path]:
    """Yield folders with an adapter; hidden folders and links are skipped."""
    if os.path.isfile(folder / adapter_files.CONFIG):  # noqa: PTH113 - Path.is_file raises without permission
        yield folder
    if depth == 0:
        return
    try:
        inside = sorted(entry for entry in folder.iterdir() if os.path.isdir(entry))  # noqa: PTH112 - see above
    except OSError:
        return  # missing or unreadable folder
    for entry in inside:
        if not entry.name.startswith(".") and not entry.is_symlink():
            yield from _iter_adapter_folders(entry, depth - 1)


def _describe_layer(layer: Layer, norms_for: JobContext | None) -> LayerFacts:
    norm = None
    if norms_for is not None:
        norms_for.check()
        norm = _compute_norm(layer)
    return LayerFacts(
        module=layer.module,
        rank=layer.rank,
        scale=layer.scale,
        shape_a=layer.a.shape,
        shape_b=layer.b.shape,
        norm=norm,
        dora=layer.magnitude is not None,
    )


def _compute_norm(layer: Layer) -> float:
    """Return ‖s·B·A‖ of all experts together, through the two small Gram matrices.

    ‖B·A‖² = tr(AᵀBᵀBA) = Σ (BᵀB ∘ AAᵀ), so that B·A is never computed.
    """
    total = 0.0
    a, b = layer.a.read().double(), layer.b.read().double()
    experts = max(layer.experts, 1) if layer.of == "parameter" else 1
    for expert in range(experts):
        rank = a.shape[0] // experts
        each_a, each_b = a[expert * rank : (expert + 1) * rank], b[:, expert::experts]
        total += float(((each_b.T @ each_b) * (each_a @ each_a.T)).sum())
    return abs(layer.scale) * math.sqrt(max(total, 0.0))


def _get_kind(config: dict[str, Any]) -> str:
    kinds = [("use_dora", "DoRA"), ("use_rslora", "rsLoRA")]
    return " + ".join(name for key, name in kinds if config.get(key)) or "LoRA"


def _get_base_warning(adapter: Adapter, spec: ModelSpec, base: Path) -> Text:
    """Return a warning when the adapter names another base, which shapes alone don't reveal."""
    named = str(adapter.config.get("base_model_name_or_path") or "")
    last = named.rstrip("/\\").replace("\\", "/").rpartition("/")[2].lower()
    base_names = {Path(spec.source).name.lower(), spec.source.lower().rpartition(":")[2], base.name.lower()}  # fmt: skip
    if not last or last in base_names or str(base) == named:
        return NO_TEXT
    return text(
        "It was trained on {named}. On another model of the same shape its output is meaningless.",
        named=named,
    )
