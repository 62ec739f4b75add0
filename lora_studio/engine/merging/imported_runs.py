"""Import into a new run: an adapter to merge, or a model to export."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_studio.core.lora.adapters import AdapterFit, get_use
from lora_studio.core.messages import text
from lora_studio.core.model.pooling import list_pooling_modes, read_pooling
from lora_studio.core.problems import Where, fail
from lora_studio.core.protocol import events
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import (
    copy_file,
    create_folder_atomic,
    link_file,
    link_or_copy,
)
from lora_studio.core.system.foreign_files import open_regular
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.merging import imported_classifier, library, model_files
from lora_studio.engine.model import safetensors_files, sources
from lora_studio.engine.model.folder import require_inside
from lora_studio.engine.runtime import disk
from lora_studio.engine.runtime.channel import JobContext

if TYPE_CHECKING:  # imports PyTorch
    from lora_studio.engine.backends.backend import EmbeddingOutput


def import_adapter(run: RunFolder, source: Path, job: JobContext) -> None:
    """Copy an adapter into a run after checking that it fits the run's model; raises ProblemError.

    An adapter without a tokenizer gets the model's, as in training, and a classifier the names of its labels.
    """
    spec = run.load_project().model
    adapter = adapter_files.read_intact(source, needs_labels=False)
    imported_classifier.require_head(adapter)
    fit = library.fit(source, spec, job)
    if not fit.fits:
        raise _does_not_fit(source, fit)
    if fit.warning:
        job.emit(events.Log(text=fit.warning))
    base = sources.resolve(spec, job)
    classifier = imported_classifier.read_classifier(adapter, base, spec, job)
    output = _read_output(source, run, job) if get_use(adapter.config) == "embedding" else None
    size = sum(file.stat().st_size for file in source.iterdir() if file.is_file())
    disk.require_free_space(run.path, size, "The adapter")
    with create_folder_atomic(run.adapter) as folder:
        _copy_adapter(source, folder, job)
        if not (folder / "tokenizer_config.json").is_file():
            model_files.copy_tokenizer(base, folder)
        if output is not None:
            _write_modules(folder, output)
        if classifier is not None:
            classifier.write_config(folder, trust=spec.trust_remote_code)
    if classifier is not None:
        run.update_manifest(dataset={"task": "classification"})
    if output is not None:
        run.update_manifest(dataset={"task": "embedding"}, embedding=asdict(output))
    _record_import(run, source, adapter.config, job)


def _record_import(
    run: RunFolder, source: Path, config: Mapping[str, Any], job: JobContext
) -> None:
    """Record where the adapter of a run comes from, and emit AdapterSaved."""
    checksums.record_checksums(run, run.adapter)
    weights_file = run.adapter / adapter_files.WEIGHTS
    with open_regular(weights_file) as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    run.update_manifest(
        imported={
            "what": "adapter",
            "from": str(source.resolve()),
            "sha256": digest,
            "when": datetime.now().astimezone().isoformat(timespec="seconds"),
            "base_it_names": config.get("base_model_name_or_path"),
        }
    )
    size = sum(file.stat().st_size for file in run.adapter.iterdir())
    job.emit(events.AdapterSaved(step=0, folder=str(run.adapter), bytes=size))


def _copy_adapter(source: Path, folder: Path, job: JobContext) -> None:
    """Copy the files of an adapter except those that only its training needs."""
    for file in sorted(source.iterdir()):
        if file.is_file() and not file.name.startswith(("optimizer", "rng_state", ".")):
            copy_file(require_inside(file), folder / file.name, lambda _: job.check())


def _write_modules(folder: Path, output: EmbeddingOutput) -> None:
    from lora_studio.engine.training.recipe import pooling  # imports PyTorch

    pooling.write_modules(folder, output)


def _read_output(source: Path, run: RunFolder, job: JobContext) -> EmbeddingOutput:
    """Return how the model of an adapter to import makes vectors.

    The files of sentence-transformers beside the adapter say it, else those beside the base model; without
    any, the last token is pooled. Raises ProblemError for another pooling than the last token or the mean.
    """
    from lora_studio.engine.backends.backend import EmbeddingOutput  # imports PyTorch
    from lora_studio.engine.model import loading
    from lora_studio.engine.training.recipe.pooling import parse_pooling

    project = run.load_project()
    base = sources.resolve(project.model, job)
    if (settings := read_pooling(source)) is None:
        settings = read_pooling(base)
    modes = ["lasttoken"] if settings is None else list_pooling_modes(settings)
    pooling = parse_pooling(modes)
    if pooling is None:
        raise _unsupported_pooling(source, modes)
    width = loading.read_config(base, project.model).get_text_config().hidden_size
    return EmbeddingOutput(pooling, width, project.dataset.max_length)


def import_model(run: RunFolder, job: JobContext) -> None:
    """Copy the run's model into it as its merged model; raises ProblemError.

    Weights on the same disk are hard-linked, which uses no space.
    """
    spec = run.load_project().model
    source = sources.resolve_intact(spec, job)
    tensors = safetensors_files.read_index(source, job.check)  # raises if it has none
    files = [file for file in sorted(source.iterdir()) if file.is_file() and _is_model_file(file)]
    linked = _can_link(files, run.path)
    copy = partial(copy_file, on_copied=lambda _: job.check())
    if not linked:
        disk.require_free_space(run.path, _get_size(files), "The model")
    with create_folder_atomic(run.merged) as folder:
        for done, file in enumerate(files):
            job.report_progress(text("importing the model"), done, len(files), "files")
            if linked and file.suffix == ".safetensors":
                link_or_copy(file.resolve(), folder / file.name, copy)
            else:
                copy(require_inside(file), folder / file.name)
    model_files.stop_at_turn_end(run.merged, trust=spec.trust_remote_code)
    checksums.record_checksums(run, run.merged, on_block=job.check)
    run.update_manifest(
        imported={
            "what": "model",
            "from": str(source),
            "source": spec.source,
            "linked": linked,
            "when": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
    )
    dtype = max(tensors.values(), key=lambda tensor: tensor.end - tensor.start).dtype
    job.emit(
        events.Merged(
            folder=str(run.merged),
            bytes=_get_size(run.merged.iterdir()),
            dtype=safetensors_files.get_dtype_name(safetensors_files.DTYPES[dtype]),
            tensors_changed=0,
        )
    )


def _get_size(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files if file.is_file())


def _is_model_file(file: Path) -> bool:
    """Return whether a file is part of a model: safetensors and small files, no pickles or GGUF."""
    if file.suffix == ".safetensors":
        return True
    return not file.name.startswith(".") and file.stat().st_size < 64e6 and file.suffix not in (
        ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx",
    )  # fmt: skip


def _can_link(files: list[Path], target: Path) -> bool:
    """Return whether the weights are on the disk of `target` and that disk supports hard links."""
    device = target.stat().st_dev
    heavy = [file.resolve() for file in files if file.suffix == ".safetensors"]
    if not all(file.stat().st_dev == device for file in heavy):
        return False
    probe = target / ".link-probe"
    if not link_file(heavy[0], probe):
        return False
    probe.unlink()
    return True


def _unsupported_pooling(source: Path, modes: list[str]) -> Exception:
    return fail(
        "adapters.unsupported_pooling",
        "The adapter's embedding model pools in a way that isn't supported: {modes}.",
        "Choose an adapter of a model that pools the last token or the mean. PEFT can merge this one.",
        where=Where(step="model", field="source", file=str(source)),
        modes=", ".join(modes) or "?",
    )


def _does_not_fit(source: Path, fit: AdapterFit) -> Exception:
    return fail(
        "adapters.does_not_fit",
        fit.reason or "The adapter doesn't fit {model}.",
        "On the Model page, choose the base model that the adapter was trained on.",
        where=Where(step="model", field="source", file=str(source)),
        model=fit.model,
    )
