"""Import into a new run: an adapter to merge, or a model to export."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_studio.core.lora.adapters import CLASSIFIES, get_use, require_mergeable
from lora_studio.core.messages import Text, listed, text
from lora_studio.core.model.embedding_files import (
    EmbeddingOutput,
    list_pooling_modes,
    parse_pooling,
    read_pooling,
    write_modules,
)
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError, Where, fail, warning
from lora_studio.core.protocol import events
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import (
    copy_file,
    create_folder_atomic,
    link_file,
    link_or_copy,
)
from lora_studio.core.system.foreign_files import open_regular, read_json
from lora_studio.core.training.recipe_checks import no_classifier_error
from lora_studio.engine.lora import adapter_files
from lora_studio.engine.lora.adapter_files import Adapter
from lora_studio.engine.merging import library, model_files
from lora_studio.engine.merging.plan import SCORE
from lora_studio.engine.model import safetensors_files, sources
from lora_studio.engine.model.folder import require_inside
from lora_studio.engine.runtime import disk
from lora_studio.engine.runtime.channel import JobContext

if TYPE_CHECKING:  # takes seconds to import
    from transformers import PreTrainedConfig


def import_adapter(run: RunFolder, source: Path, job: JobContext) -> None:
    """Copy an adapter into a run after checking that it fits the run's model; raises ProblemError.

    An adapter without a tokenizer gets the model's, as in training, and a classifier the names of its labels.
    """
    spec = run.load_project().model
    adapter = adapter_files.read_intact(source, needs_labels=False)
    require_head(adapter)
    fit = library.fit(source, spec, job)
    if not fit.fits:
        raise fail(
            "adapters.does_not_fit",
            fit.reason or "The adapter doesn't fit {model}.",
            "On the Model page, choose the base model that the adapter was trained on.",
            where=Where(step="model", field="source", file=str(source)),
            model=fit.model,
        )
    if fit.warning:
        job.log(fit.warning)
    base = sources.resolve(spec, job)
    classifier = read_classifier(adapter, base, spec, job)
    output = _read_output(source, run, job) if get_use(adapter.config) == "embedding" else None
    size = sum(file.stat().st_size for file in source.iterdir() if file.is_file())
    disk.require_free_space(run.path, size, "The adapter")
    with create_folder_atomic(run.adapter) as folder:
        _copy_adapter(source, folder, job)
        if not (folder / "tokenizer_config.json").is_file():
            model_files.copy_tokenizer(base, folder)
        if output is not None:
            write_modules(folder, output)
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


def _read_output(source: Path, run: RunFolder, job: JobContext) -> EmbeddingOutput:
    """Return how the model of an adapter to import makes vectors.

    The files of sentence-transformers beside the adapter say it, else those beside the base model; without
    any, the last token is pooled. Raises ProblemError for another pooling than the last token or the mean.
    """
    from lora_studio.engine.model import loading

    project = run.load_project()
    base = sources.resolve(project.model, job)
    if (settings := read_pooling(source)) is None:
        settings = read_pooling(base)
    modes = ["lasttoken"] if settings is None else list_pooling_modes(settings)
    pooling = parse_pooling(modes)
    if pooling is None:
        raise fail(
            "adapters.unsupported_pooling",
            "The adapter's embedding model pools in a way that isn't supported: {modes}.",
            "Choose an adapter of a model that pools the last token or the mean. PEFT can merge this one.",
            where=Where(step="model", field="source", file=str(source)),
            modes=", ".join(modes) or "?",
        )
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


#: The most labels that are listed in the log.
_LISTED = 20


@dataclass(frozen=True)
class ImportedClassifier:
    """The labels of a classifier, in the order of its outputs, and the settings of its base model."""

    labels: tuple[str, ...]
    base_config: PreTrainedConfig

    def write_config(self, folder: Path, *, trust: bool) -> None:
        """Write transformers' settings of the classifier beside its adapter and its tokenizer."""
        from lora_studio.engine.model import loading
        from lora_studio.engine.tasks import classification

        padding = loading.load_tokenizer(folder, trust=trust).pad_token_id
        classification.write_config(self.base_config, self.labels, padding, folder)


def require_head(adapter: Adapter) -> None:
    """Raise ProblemError for the adapter of a reward model, or of a classifier without its head."""
    if adapter.config.get("task_type") != CLASSIFIES:
        return
    head = adapter.replacements.get(SCORE)
    if head is None or len(head.shape) != 2 or not head.shape[0]:
        raise fail(
            "adapters.no_head",
            "The adapter belongs to a classifier, but its file has no head “{name}” with a row for each label.",
            "Save it again in PEFT with the head among modules_to_save.",
            where=Where(step="model", field="source", file=str(adapter.folder)),
            name=SCORE.removesuffix(".weight"),
        )
    if head.shape[0] == 1:  # a reward model
        require_mergeable(adapter.config)


def read_classifier(
    adapter: Adapter, base: Path, spec: ModelSpec, job: JobContext
) -> ImportedClassifier | None:
    """Return the classifier that an adapter belongs to, None for other adapters; emits LogLine and Warned.

    PEFT saves no labels. Those in a config.json beside the adapter count, else those of the base model, else
    they are numbered as transformers does. Raises ProblemError for a head or a base that don't fit.
    """
    if adapter.config.get("task_type") != CLASSIFIES:
        return None
    outputs = _count_outputs(adapter, base, spec)
    labels = _read_labels(adapter.folder, outputs)
    source = text("config.json beside the adapter")
    if labels is None:
        labels, source = _read_labels(base, outputs), text("config.json of the base model")
    if labels is None:
        labels = tuple(f"LABEL_{number}" for number in range(outputs))
        job.warn(
            warning(
                "adapters.unnamed_labels",
                "Neither the adapter nor its base model says what its labels are called. They are named {first} to {last}.",
                "To name them, put the config.json of the classifier, with id2label, beside the adapter, and import it "
                "again.",
                where=Where(file=str(adapter.folder)),
                first=labels[0],
                last=labels[-1],
            )
        )
    else:
        job.log(_describe_labels(labels, source))
    return ImportedClassifier(labels, _read_base_config(base, spec))


def _count_outputs(adapter: Adapter, base: Path, spec: ModelSpec) -> int:
    """Return how many labels the head of a classifier has; raises ProblemError if it doesn't fit the base."""
    head = adapter.replacements[SCORE]
    width = _read_base_config(base, spec).get_text_config().hidden_size
    if head.shape[1] != width:
        raise fail(
            "adapters.head_does_not_fit",
            "The head of the adapter doesn't fit {model}: their widths differ.",
            "On the Model page, choose the base model that the adapter was trained on.",
            where=Where(step="model", field="source", file=str(adapter.folder)),
            model=spec.source,
        )
    _require_supported(base, spec)
    return head.shape[0]


def _read_base_config(base: Path, spec: ModelSpec) -> PreTrainedConfig:
    from lora_studio.engine.model import loading

    return loading.read_config(base, spec)


def _require_supported(base: Path, spec: ModelSpec) -> None:
    """Raise ProblemError for a base model that transformers has no fitting classifier for."""
    from lora_studio.engine.model import loading
    from lora_studio.engine.tasks import classification

    network = loading.load_on_meta(base, spec)
    if not classification.can_classify(network):
        raise ProblemError(no_classifier_error(type(network).__name__))


def _read_labels(folder: Path, outputs: int) -> tuple[str, ...] | None:
    """Return the labels that the config.json of a folder names, None unless it has one for each output."""
    try:
        config: Any = read_json(folder / "config.json")
        names = config["id2label"]
        labels = tuple(str(names[str(number)]) for number in range(outputs))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return labels if len(names) == outputs == len(set(labels)) else None


def _describe_labels(labels: tuple[str, ...], source: Text) -> Text:
    shown = [text("{label}", label=label) for label in labels[:_LISTED]]
    if len(labels) > _LISTED:
        shown.append(text("{n:d} more", n=len(labels) - _LISTED))
    return text("Labels from {source}: {labels}.", source=source, labels=listed(shown))
