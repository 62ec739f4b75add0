"""Import a classifier that was trained elsewhere: its labels, and the settings that transformers loads it with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_studio.core.lora.adapters import CLASSIFIES, require_mergeable
from lora_studio.core.messages import Text, listed, text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import Problem, ProblemError, Where, fail, warning
from lora_studio.core.protocol import events
from lora_studio.core.system.foreign_files import read_json
from lora_studio.core.training.recipe_checks import no_classifier_error
from lora_studio.engine.lora.adapter_files import Adapter
from lora_studio.engine.merging.classifier_head import SCORE
from lora_studio.engine.runtime.channel import JobContext

if TYPE_CHECKING:  # takes seconds to import
    from transformers import PreTrainedConfig

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
        from lora_studio.engine.training.recipe import score_head

        padding = loading.load_tokenizer(folder, trust=trust).pad_token_id
        score_head.write_config(self.base_config, self.labels, padding, folder)


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
    """Return the classifier that an adapter belongs to, None for other adapters; emits Log and Warned.

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
        job.emit(events.Warned(problem=_unnamed_labels_warning(adapter.folder, labels)))
    else:
        job.emit(events.Log(text=_describe_labels(labels, source)))
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
    from lora_studio.engine.training.recipe import score_head

    network = loading.load_on_meta(base, spec)
    if not score_head.can_classify(network):
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


def _unnamed_labels_warning(folder: Path, labels: tuple[str, ...]) -> Problem:
    return warning(
        "adapters.unnamed_labels",
        "Neither the adapter nor its base model says what its labels are called. They are named {first} to {last}.",
        "To name them, put the config.json of the classifier, with id2label, beside the adapter, and import it "
        "again.",
        where=Where(file=str(folder)),
        first=labels[0],
        last=labels[-1],
    )
