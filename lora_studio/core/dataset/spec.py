"""The dataset step: which rows to train on, how they are rendered, and which tokens count."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from lora_studio.core.spec import Spec, check_text, setting
from lora_studio.core.tasks.samples import TaskName

RowFormat = Literal[
    "alpaca", "sharegpt", "messages", "prompt_completion", "question_answer", "text", "preference",
    "kto", "prompts", "search_pairs", "labeled_text",
]  # fmt: skip
Repair = Literal[
    "drop_duplicates", "drop_near_duplicates", "drop_leaked", "drop_empty_turns", "merge_turns",
    "drop_role_order", "repair_encoding", "drop_lost_characters", "remove_markers", "drop_refusals",
    "drop_contradictions", "drop_minority_schema", "drop_outliers", "mask_personal_data",
    "merge_labels", "drop_identical_pairs", "remove_media",
]  # fmt: skip


@dataclass(frozen=True)
class FormatInfo:
    """Facts about a row format: its title, its typical columns, its task, and its slots.

    A column, or a template such as "{question}\\n{context}", can be mapped to each slot; those with
    an asterisk are required. `answer` is the slot of a single answer next to its question.
    """

    name: str
    columns: str
    task: TaskName
    slots: tuple[str, ...]
    answer: str = ""

    @property
    def title(self) -> str:
        """Return the name with the typical columns."""
        return f"{self.name} ({self.columns})" if self.columns else self.name


#: Every row format. Its columns are recognized by `formats/candidates.py`, and its rows converted in
#: `formats/conversion.py`.
FORMATS: dict[RowFormat, FormatInfo] = {
    "alpaca": FormatInfo(
        "Alpaca", "instruction, input, output", "sft",
        ("instruction*", "input", "output*", "thinking", "system", "history", "tools"), answer="output",
    ),
    "sharegpt": FormatInfo(
        "ShareGPT", "conversations: from, value", "sft", ("conversations*", "speaker", "system", "tools")
    ),
    "messages": FormatInfo("Messages", "role, content", "sft", ("messages*", "speaker", "system", "tools")),
    "prompt_completion": FormatInfo(
        "Prompt and completion", "", "sft",
        ("prompt*", "completion*", "thinking", "system", "tools"), answer="completion",
    ),
    "question_answer": FormatInfo(
        "Question and answer", "", "sft",
        ("question*", "context", "choices", "answer*", "thinking", "system", "tools"), answer="answer",
    ),
    "text": FormatInfo("Plain text", "", "text", ("text*",)),
    "preference": FormatInfo(
        "Preference", "chosen, rejected", "preference",
        ("prompt", "input", "chosen*", "rejected*", "better", "system", "tools"),
    ),
    "kto": FormatInfo(
        "Labeled answers", "completion, label", "kto",
        ("prompt", "input", "completion*", "label*", "system", "tools"),
    ),
    "prompts": FormatInfo(
        "Prompts for rewards", "prompt, reference", "grpo",
        ("prompt*", "reference", "system", "tools"),
    ),
    "search_pairs": FormatInfo(
        "Pairs for search", "query, positive, negative", "embedding",
        ("query*", "positive*", "negative"),
    ),
    "labeled_text": FormatInfo(
        "Texts with labels", "text, label", "classification", ("text*", "label*")
    ),
}  # fmt: skip

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+\Z")
_FILE_SUFFIX = re.compile(
    r"\.(jsonl?|ndjson|csv|tsv|parquet|arrow|txt|md|markdown)(\.(gz|bz2|xz|zst|lz4))?\Z|\.zip\Z",
    re.IGNORECASE,
)


class DataSource(BaseModel):
    """Where rows come from: a file, a folder of files, or the ID of a Hub dataset.

    `mapping` maps slots of the format to columns or templates; slots without an entry are detected.
    `weight` is how often a row is used per epoch: each row twice for 2, a seeded half of the rows
    for 0.5.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    path: Annotated[str, AfterValidator(lambda path: check_text(path, is_path=True))] = Field(
        min_length=1
    )
    format: Literal["auto"] | RowFormat = "auto"
    mapping: dict[str, str] = Field(default_factory=dict)
    weight: float = Field(1.0, gt=0.0, le=100.0)
    subset: str = ""  # configuration name of a Hub dataset
    split: str = "train"
    revision: str = "main"

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @property
    def is_hub(self) -> bool:
        """Return whether the path looks like a Hub ID (the disk is not checked)."""
        return bool(_HUB_ID.match(self.path)) and not _FILE_SUFFIX.search(self.path)


class DatasetSpec(Spec):
    """The rows to train on and how they are rendered."""

    sources: tuple[DataSource, ...] = setting(
        (),
        "Data",
        "Files, folders of files, or Hub datasets to train on, mixed by weight.",
        help_topic="data",
    )
    chat_template: Literal["model", "chatml", "llama3", "gemma", "mistral", "zephyr", "alpaca"] = (
        setting(
            "model",
            "Chat template",
            "How messages are formatted as text. A base model without a chat template uses ChatML "
            "unless you choose another template. The adapter and the merged and exported models "
            "include the template.",
            choices={
                "model": "The model's own",
                "chatml": "ChatML",
                "llama3": "Llama 3",
                "gemma": "Gemma",
                "mistral": "Mistral",
                "zephyr": "Zephyr",
                "alpaca": "Alpaca",
            },
            advanced=True,
            help_topic="chat-template",
        )
    )
    system_prompt: str = setting(
        "",
        "System prompt",
        "Added to conversations that have no system message. Leave empty for none.",
        advanced=True,
        help_topic="chat-template",
    )
    train_on: Literal["answers", "last_answer", "everything"] = setting(
        "answers",
        "Train on",
        "Which tokens count in the loss: the assistant's answers with their end-of-turn token, only the "
        "last answer, or the whole conversation.",
        choices={
            "answers": "Answers only",
            "last_answer": "Last answer only",
            "everything": "Everything",
        },
        help_topic="loss-and-its-mask",
    )
    thinking: Literal["train", "mask", "remove"] = setting(
        "train",
        "Reasoning",
        "What to do with the reasoning before an answer: train on it like the answer, show it to the "
        "model without training on it, or remove it.",
        choices={"train": "Train on it", "mask": "Show without training", "remove": "Remove"},
        advanced=True,
        help_topic="loss-and-its-mask",
    )
    max_length: int = setting(
        2048,
        "Max. sequence length",
        "Rows are truncated after this many tokens. Plain text is split into pieces of this length. "
        "Longer sequences use more memory.",
        unit="tokens",
        ge=16,
        le=1_048_576,
        help_topic="sequence-length",
    )
    too_long: Literal["cut", "skip"] = setting(
        "cut",
        "Rows that are too long",
        "What to do with rows that exceed the maximum sequence length.",
        choices={"cut": "Truncate", "skip": "Skip"},
        advanced=True,
        help_topic="sequence-length",
    )
    validation_share: float = setting(
        0.05,
        "Validation share",
        "Share of rows held out to measure the eval loss. 0 turns evaluation off.",
        ge=0.0,
        le=0.5,
        step=0.01,
        help_topic="validation",
    )
    validation_count: int = setting(
        0,
        "Validation rows",
        "Number of rows to hold out instead of a share. 0 uses the share.",
        unit="rows",
        ge=0,
        le=1_000_000,
        advanced=True,
        help_topic="validation",
    )
    validation_file: str = setting(
        "",
        "Validation file",
        "Rows to measure the eval loss on, instead of a share of the data. Same format as the "
        "data.",
        path="file",
        advanced=True,
        help_topic="validation",
    )
    group_column: str = setting(
        "",
        "Group by",
        "A column. Rows with the same value stay on the same side of the validation split. Duplicates "
        "and near-duplicates always do.",
        advanced=True,
        help_topic="validation",
    )
    fixes: tuple[Repair, ...] = setting(
        (),
        "Repairs",
        "Problems in the rows to repair during training. Your files are never changed.",
        choices={
            "drop_duplicates": "Remove duplicate rows",
            "drop_near_duplicates": "Remove near-duplicate rows",
            "drop_leaked": "Remove validation rows from training",
            "drop_empty_turns": "Remove rows with empty turns",
            "merge_turns": "Merge consecutive turns of one role",
            "drop_role_order": "Remove rows with turns out of order",
            "repair_encoding": "Repair broken characters",
            "drop_lost_characters": "Remove rows with lost characters",
            "remove_markers": "Strip template markers from turns, remove rows that contain others",
            "mask_personal_data": "Mask personal data",
            "drop_refusals": "Remove refusals",
            "drop_contradictions": "Remove contradictory pairs",
            "drop_minority_schema": "Remove rows with different columns",
            "drop_outliers": "Remove extremely long rows",
            "merge_labels": "Write labels in lower case, with single spaces",
            "drop_identical_pairs": "Remove pairs with the same query and passage",
            "remove_media": "Use rows with images, audio, or video as text only",
        },
        advanced=True,
        help_topic="data",
    )

    def resolve_sources(self, folder: Path) -> tuple[DataSource, ...]:
        """Return the sources with local paths resolved against `folder`."""
        return tuple(
            source
            if source.is_hub and not (folder / source.path).exists()
            else source.model_copy(
                update={"path": str((folder / Path(source.path).expanduser()).resolve())}
            )
            for source in self.sources
        )


_SPLITS = {
    "train": "train", "training": "train", "test": "test", "testing": "test", "eval": "test",
    "evaluation": "test", "validation": "validation", "valid": "validation", "val": "validation",
    "dev": "validation",
}  # fmt: skip


def detect_split(path: str) -> str:
    """Return the split that a path names, "" if none; the file's name takes precedence over its
    folders.
    """
    for part in reversed(PurePosixPath(path).parts):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in _SPLITS:
                return _SPLITS[word]
    return ""
