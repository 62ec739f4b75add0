"""The built-in test set of general abilities: what a model may forget while it learns something else.

300 short items in English and German, in `resources/evaluation/forgetting.jsonl`, each with the metric
that judges it, and a plain text in both languages, whose perplexity is measured by paragraphs.
"""

from __future__ import annotations

import json

from lora_studio.core.evaluation.items import EvaluationItem, create_item
from lora_studio.core.messages import Text, text
from lora_studio.core.system.foreign_files import read_text
from lora_studio.core.system.paths import get_resources_folder
from lora_studio.core.tasks.samples import Message

KEY = "forgetting"

#: The abilities that the items test, in the order in which they are shown.
CATEGORIES: dict[str, Text] = {
    "arithmetic": text("arithmetic"),
    "reading": text("reading comprehension"),
    "common_sense": text("common sense"),
    "format": text("following a format"),
    "nonsense": text("refusing nonsense"),
    "text": text("plain text"),
}

#: The category of the paragraphs.
TEXT_CATEGORY = "text"
_TEXTS = ("text_en.txt", "text_de.txt")


def load_forgetting_items() -> list[EvaluationItem]:
    """Return the items and the paragraphs; raises FileNotFoundError if the resources are missing."""
    folder = get_resources_folder() / "evaluation"
    lines = read_text(folder / "forgetting.jsonl").splitlines()
    items = [_parse(json.loads(line), row) for row, line in enumerate(lines, start=1)]
    for name in _TEXTS:
        paragraphs = read_text(folder / name).split("\n\n")
        items += [
            create_item(
                test_set=KEY,
                reference=paragraph.strip(),
                category=TEXT_CATEGORY,
                source=name,
                row=row,
            )
            for row, paragraph in enumerate(paragraphs, start=1)
        ]
    return items


def format_category(category: str) -> Text:
    """Return the title of a category, of another test set the category itself."""
    return CATEGORIES.get(category) or Text(template=category)


def _parse(row: dict[str, object], number: int) -> EvaluationItem:
    choices = row.get("choices", ())
    assert isinstance(choices, list | tuple)
    correct = row.get("correct")
    return create_item(
        test_set=KEY,
        messages=(Message(role="user", content=str(row["prompt"])),),
        reference=str(row["reference"]),
        choices=tuple(map(str, choices)),
        correct=correct if isinstance(correct, int) else None,
        category=str(row["category"]),
        metric=str(row["metric"]),
        source="forgetting.jsonl",
        row=number,
    )
