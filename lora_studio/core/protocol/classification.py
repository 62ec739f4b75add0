"""The commands that predict labels with a trained classifier, and their answer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lora_studio.core.dataset.spec import DataSource
from lora_studio.core.messages import text
from lora_studio.core.protocol.base import BaseCommand, BaseEvent


class Classify(BaseCommand):
    """Predict the labels of texts with the classifier of a run, which stays loaded for further texts."""

    title = text("Classifying texts")
    step = "training"
    ends_with_parent = True
    kind: Literal["classify"] = "classify"
    run: str
    texts: tuple[str, ...] = Field(min_length=1)


class ClassifyFile(BaseCommand):
    """Predict the labels of the rows of a file with the classifier of a run, some hundred at a time.

    `column` has the texts; it may also be a template with several columns. Without it, the column is the one of
    training, or one that holds texts.
    """

    title = text("Classifying texts")
    step = "training"
    ends_with_parent = True
    kind: Literal["classify_file"] = "classify_file"
    run: str
    source: DataSource
    column: str = ""


class TextsClassified(BaseEvent):
    """The probability of each of the `labels` for each text, in the order of the texts.

    `rows` are those of a file, as JSON objects. A text without tokens has no probabilities. `cut` texts were longer than the run's max. sequence length, and only
    their beginning was classified.
    """

    kind: Literal["texts_classified"] = "texts_classified"
    labels: tuple[str, ...]
    probabilities: tuple[tuple[float, ...], ...]
    cut: int = 0
    rows: tuple[str, ...] = ()
