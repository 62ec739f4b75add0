"""Classification: the weights of labels in the loss, and how well labels are predicted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from lora_studio.core.messages import Template
from lora_studio.core.problems import Problem, Where, warning
from lora_studio.core.spec import Spec, setting
from lora_studio.core.tasks.model_card import ModelCard
from lora_studio.core.tasks.samples import TaskName
from lora_studio.core.tasks.task import Task

ClassWeights = Literal["none", "balanced"]

#: The names of what is measured among the metrics of steps and evaluations.
ACCURACY, MACRO_F1 = "label_accuracy", "macro_f1"

#: Labels of a confusion matrix that are shown; more don't fit on a page.
SHOWN_LABELS = 20


class ClassificationSettings(Spec):
    """How a classifier is trained; only used for texts with labels."""

    class_weights: ClassWeights = setting(
        "none",
        "Label weights",
        "How much each row counts in the loss: all the same, or more for rows with a rare label. Only used "
        "for texts with labels.",
        choices={"none": "None", "balanced": "Balanced"},
        choice_details={
            "none": "Every row counts the same.",
            "balanced": "Every label counts the same, however many rows have it.",
        },
        advanced=True,
        help_topic="classification",
    )


@dataclass(frozen=True)
class LabelMetrics:
    """How well one label is predicted; all but `support`, the rows with the label, are 0 to 1."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


class ClassificationReport(BaseModel):
    """Predicted labels of rows whose labels are known.

    `confusion` has (actual label, predicted label, rows) for all pairs that occur, as positions in `labels`.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    labels: tuple[str, ...]
    confusion: tuple[tuple[int, int, int], ...]

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return sum(count for _, _, count in self.confusion)

    @property
    def accuracy(self) -> float:
        """Return the share of rows whose label is predicted."""
        right = sum(count for actual, predicted, count in self.confusion if actual == predicted)
        return right / max(1, self.rows)

    @property
    def macro_f1(self) -> float:
        """Return the mean F1 of all labels that rows have or that are predicted, each counted the same."""
        occurring = {
            label for actual, predicted, _ in self.confusion for label in (actual, predicted)
        }
        scores = [each.f1 for index, each in enumerate(self.per_label) if index in occurring]
        return sum(scores) / max(1, len(scores))

    @property
    def per_label(self) -> tuple[LabelMetrics, ...]:
        """Return precision, recall, F1 and support of every label.

        precision = TP / (TP + FP), recall = TP / (TP + FN), F1 = 2 TP / (2 TP + FP + FN); 0 where the
        denominator is 0 (van Rijsbergen 1979, chapter 7).
        """
        right: Counter[int] = Counter()
        actual_rows: Counter[int] = Counter()
        predicted_rows: Counter[int] = Counter()
        for actual, predicted, count in self.confusion:
            actual_rows[actual] += count
            predicted_rows[predicted] += count
            right[actual] += count if actual == predicted else 0
        return tuple(
            LabelMetrics(
                label,
                right[index] / max(1, predicted_rows[index]),
                right[index] / max(1, actual_rows[index]),
                2 * right[index] / max(1, actual_rows[index] + predicted_rows[index]),
                actual_rows[index],
            )
            for index, label in enumerate(self.labels)
        )

    def build_matrix(self) -> tuple[tuple[int, ...], ...]:
        """Return the confusion matrix, with a row for each actual label and a column for each predicted one."""
        counts = {(actual, predicted): count for actual, predicted, count in self.confusion}
        numbers = range(len(self.labels))
        return tuple(tuple(counts.get((row, column), 0) for column in numbers) for row in numbers)

    @property
    def metrics(self) -> dict[str, float]:
        """Return accuracy and macro F1 by name."""
        return {ACCURACY: self.accuracy, MACRO_F1: self.macro_f1}


def weigh_classes(counts: Sequence[int], weights: ClassWeights) -> list[float]:
    """Return the weight of each label in the loss, from its number of training rows.

    Balanced: rows / (labels with rows · rows of the label), so that the mean over rows is 1, as scikit-learn's
    `class_weight="balanced"` (King and Zeng 2001). A label without training rows gets 0.
    """
    if weights == "none":
        return [1.0] * len(counts)
    occurring = sum(count > 0 for count in counts)
    return [sum(counts) / (occurring * count) if count else 0.0 for count in counts]


#: The labels are in the adapter's config.json, which PEFT alone doesn't read.
_ADAPTER_USAGE = """```python
from peft import PeftModel
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, pipeline

config = AutoConfig.from_pretrained("{repository}")
base = AutoModelForSequenceClassification.from_pretrained("{base}", config=config{attention})
model = PeftModel.from_pretrained(base, "{repository}")
tokenizer = AutoTokenizer.from_pretrained("{repository}")
classify = pipeline("text-classification", model=model.merge_and_unload(), tokenizer=tokenizer)
print(classify("A text to classify.", top_k=None))
```"""

_MERGED_USAGE = """```python
from transformers import pipeline

classify = pipeline("text-classification", model="{repository}"{keywords})
print(classify("A text to classify.", top_k=None))
```"""


class ClassificationTask(Task):
    """Learn the labels of texts."""

    name: ClassVar[TaskName] = "classification"
    title: ClassVar[str] = "texts with labels (classification)"
    contents: ClassVar[Template] = "{file} has texts with labels"
    headings: ClassVar[tuple[Template, Template]] = ("Text", "Label")
    settings: ClassVar[tuple[str, ...]] = tuple(ClassificationSettings.model_fields)
    unused_settings: ClassVar[Template] = "Not used: your data has no texts with labels."
    has_classes: ClassVar[bool] = True
    takes_system_prompt: ClassVar[bool] = False

    def writes_text(self, method: str) -> bool:
        """Return False: the model predicts labels."""
        return False

    def check_recipe(self, method: str, batch: int) -> list[Problem]:
        """Return where a classifier can't run and what to do instead."""
        return [
            warning(
                "training.only_classifies",
                "A classifier predicts labels and can't write answers, so it can't be used in a chat. "
                "llama.cpp and Ollama have no classification head for this kind of model, so it can't be "
                "exported or run there.",
                "Classify texts with `lora-studio classify`, or use the merged model with transformers, as its "
                "model card shows. To train a model that answers with the label, choose the format “Question and "
                "answer” for the data.",
                where=Where(step="training"),
            )
        ]

    def get_card(self, method: str) -> ModelCard:
        """Return the card of a classifier."""
        return ModelCard(
            purpose="that classifies texts",
            pipeline="text-classification",
            adapter=_ADAPTER_USAGE,
            merged=_MERGED_USAGE,
        )
