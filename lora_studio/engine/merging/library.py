"""Adapters wherever they lie: found, described layer by layer, held against a model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lora_studio.core.lora.adapters import AdapterFacts, AdapterFit, LayerFacts
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.lora.adapter_files import Adapter, Layer
from lora_studio.engine.merging import (
    model_files,
    plan,
    prequantized,
)
from lora_studio.engine.merging.plan import NeedsPeftError
from lora_studio.engine.model import safetensors_files, sources
from lora_studio.engine.runtime.channel import JobContext

#: Folders inside the one that is searched: PROJECT/runs/RUN/checkpoints/STEP/adapter.
_DEPTH = 5


def find(folders: Sequence[Path], job: JobContext) -> list[AdapterFacts]:
    """Every adapter in these folders, the newest first; one that cannot be read says why."""
    found: dict[Path, AdapterFacts] = {}
    for folder in folders:
        for place in _places(folder.expanduser(), _DEPTH):
            job.progress("looking for adapters", len(found), None, "adapters")
            found.setdefault(place.resolve(), describe(place))
    return sorted(found.values(), key=lambda facts: facts.changed, reverse=True)


def show(folder: Path, spec: ModelSpec | None, job: JobContext) -> events.AdapterShown:
    """An adapter with the norm of each layer's update, and whether it fits a model."""
    facts = describe(folder, norms_for=job)
    if facts.problem is not None:
        raise ProblemError(facts.problem)
    return events.AdapterShown(
        adapter=facts, fit=fit(folder, spec, job) if spec is not None else None
    )


def describe(folder: Path, norms_for: JobContext | None = None) -> AdapterFacts:
    """What an adapter's settings and headers say; with a job also its norms, layer by layer."""
    file = folder / adapter_files.WEIGHTS
    run = next((str(p) for p in folder.parents[:3] if RunFolder(p).project_file.is_file()), None)
    changed = file.stat().st_mtime if file.is_file() else 0.0
    try:
        config = adapter_files.read_config(folder)
        note = None
        try:
            adapter = adapter_files.read(folder)
            note = adapter.complication
        except ProblemError as error:
            # It may still be looked at; merging it is what this is about.
            if error.problems[0].code != "merging.changed_base":
                raise
            adapter, note = Adapter(folder, config), str(error.problems[0].what)
        stored = safetensors_files.header(file)
    except ProblemError as error:
        return AdapterFacts(folder=str(folder), run=run, changed=changed, problem=error.problems[0])
    layers = tuple(_layer(layer, norms_for) for layer in adapter.layers)
    ranks = [layer.rank for layer in layers] or [int(config.get("r", 0))]
    return AdapterFacts(
        folder=str(folder),
        run=run,
        kind=_kind(config),
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
    """Whether each tensor of an adapter has its place in a model; no weights are read.

    Raises ProblemError when the folder holds no adapter that can be read.
    """
    base = sources.resolve(spec, job)
    adapter = adapter_files.read(folder)
    try:
        tensors = prequantized.unpacked(base, safetensors_files.index(base))
        outputs = plan.make(dict(tensors), [adapter], None, model_files.read_config(base))
    except NeedsPeftError as error:
        return _fit_in_memory(adapter, spec, base, str(error))
    except ProblemError as error:
        return AdapterFit(model=spec.source, fits=False, reason=str(error.problems[0].what))
    changed = sum(output.changed for output in outputs)
    warning = _other_base(adapter, spec, base)
    return AdapterFit(
        model=spec.source,
        fits=True,
        reason=f"All its layers have their place: {changed} tensors change.",
        warning=warning,
    )


def fits(found: Sequence[AdapterFacts], spec: ModelSpec, job: JobContext) -> dict[str, AdapterFit]:
    """Of each usable adapter whether it fits a model; {} when there is no such model."""
    try:
        sources.resolve(spec, job)
    except ProblemError:
        return {}
    told: dict[str, AdapterFit] = {}
    for number, facts in enumerate(found):
        job.progress("comparing with the model", number, len(found), "adapters")
        if facts.problem is None:
            try:
                told[facts.folder] = fit(Path(facts.folder), spec, job)
            except ProblemError as error:
                told[facts.folder] = AdapterFit(
                    model=spec.source, fits=False, reason=str(error.problems[0].what)
                )
    return told


def _fit_in_memory(adapter: Adapter, spec: ModelSpec, base: Path, why: str) -> AdapterFit:
    """Whether the modules of an adapter exist in the model as it is in memory, without its weights:
    its files may call them by other names.
    """
    from lora_studio.engine.model import loading  # transformers takes seconds to import

    modules = dict(loading.on_meta(base, spec, loading.read_config(base, spec)).named_modules())
    for layer in adapter.layers:
        if layer.module not in modules:
            reason = f"The model has no {layer.module}."
            return AdapterFit(model=spec.source, fits=False, reason=reason)
        weight = getattr(modules[layer.module], "weight", None)
        wanted = {(layer.b.shape[0], layer.a.shape[1]), (layer.a.shape[1], layer.b.shape[0])}
        if layer.of != "parameter" and (weight is None or tuple(weight.shape) not in wanted):
            reason = f"{layer.module} has another shape in this model."
            return AdapterFit(model=spec.source, fits=False, reason=reason)
    return AdapterFit(model=spec.source, fits=True, warning=f"PEFT merges it, in memory: {why}.")


def _places(folder: Path, depth: int) -> Iterator[Path]:
    """Folders with an adapter; hidden ones and links that lead upwards are passed over."""
    if (folder / adapter_files.CONFIG).is_file():
        yield folder
    if depth == 0:
        return
    try:
        inside = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    except OSError:
        return  # no such folder, or not ours to read
    for entry in inside:
        if not entry.name.startswith(".") and not entry.is_symlink():
            yield from _places(entry, depth - 1)


def _layer(layer: Layer, norms_for: JobContext | None) -> LayerFacts:
    norm = None
    if norms_for is not None:
        norms_for.check()
        norm = _norm(layer)
    return LayerFacts(
        module=layer.module,
        rank=layer.rank,
        scale=layer.scale,
        shape_a=layer.a.shape,
        shape_b=layer.b.shape,
        norm=norm,
        dora=layer.magnitude is not None,
    )


def _norm(layer: Layer) -> float:
    """‖s·B·A‖ of all experts together, through the two small Gram matrices:
    ‖B·A‖² = tr(AᵀBᵀBA) = Σ (BᵀB ∘ AAᵀ), so that B·A is never made.
    """
    total = 0.0
    a, b = layer.a.read().double(), layer.b.read().double()
    experts = max(layer.experts, 1) if layer.of == "parameter" else 1
    for expert in range(experts):
        rank = a.shape[0] // experts
        each_a, each_b = a[expert * rank : (expert + 1) * rank], b[:, expert::experts]
        total += float(((each_b.T @ each_b) * (each_a @ each_a.T)).sum())
    return abs(layer.scale) * math.sqrt(max(total, 0.0))


def _kind(config: dict[str, Any]) -> str:
    kinds = [("use_dora", "DoRA"), ("use_rslora", "rsLoRA")]
    return " + ".join(name for key, name in kinds if config.get(key)) or "LoRA"


def _other_base(adapter: Adapter, spec: ModelSpec, base: Path) -> str:
    """A word of warning when the adapter names another base; shapes alone would not tell."""
    named = str(adapter.config.get("base_model_name_or_path") or "")
    last = named.rstrip("/\\").replace("\\", "/").rpartition("/")[2].lower()
    known = {Path(spec.source).name.lower(), spec.source.lower().rpartition(":")[2], base.name.lower()}  # fmt: skip
    if not last or last in known or str(base) == named:
        return ""
    return f"It was trained on {named}: another model of the same shape gives nonsense."
