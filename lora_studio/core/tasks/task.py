"""What all tasks declare about their rows and models; the defaults are those of conversations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from lora_studio.core.messages import Template, Text
from lora_studio.core.problems import Problem
from lora_studio.core.tasks.model_card import ModelCard
from lora_studio.core.tasks.samples import Message, Sample, TaskName

Turns = Sequence[Message]
PairFault = Literal["same_pair", "identical_pair"]


@dataclass(frozen=True)
class UsualRate:
    """The usual learning rate of a method with LoRA and AdamW, and the highest that rarely fails."""

    method: Text
    usual: float
    highest: float


class Task:
    """What a model learns from rows of one kind."""

    #: Its name in files and events.
    name: ClassVar[TaskName]
    #: What its rows are, in words.
    title: ClassVar[str]
    #: What a file with such rows contains.
    contents: ClassVar[Template]
    #: The headings of a row's two columns in a table; the second may be empty.
    headings: ClassVar[tuple[Template, Template]] = ("Prompt", "Answer")
    #: All training settings that only data of this task uses, and their help text with other data.
    settings: ClassVar[tuple[str, ...]] = ()
    unused_settings: ClassVar[Template] = ""
    #: The most sequences of a row.
    sequences: ClassVar[int] = 1
    #: Whether a row is one text, which is split at the length limit instead of truncated.
    is_document: ClassVar[bool] = False
    #: Whether a chat template renders the rows.
    is_rendered: ClassVar[bool] = True
    #: Whether the model learns to write every answer of a row, whatever other columns say about it.
    imitates_answers: ClassVar[bool] = False
    #: Whether rows keep the columns that fill no slot, for rewards.
    keeps_columns: ClassVar[bool] = False
    #: Whether the model learns given tokens, so that rows can share micro-batches and a teacher can help.
    is_supervised: ClassVar[bool] = False
    #: Whether the model writes answers while it trains, which rewards rate.
    writes_rollouts: ClassVar[bool] = False
    #: Whether the answer of a row is one of the labels of all rows.
    has_classes: ClassVar[bool] = False
    #: Whether the trained model returns vectors of texts.
    yields_vectors: ClassVar[bool] = False
    #: Whether a system prompt can be added to its rows.
    takes_system_prompt: ClassVar[bool] = True
    #: Whether the trained tokens of an epoch are counted.
    counts_tokens: ClassVar[bool] = True

    def iter_conversations(self, sample: Sample) -> Iterator[Turns]:
        """Yield each sequence of turns to train on."""
        yield sample.messages

    def get_answers(self, sample: Sample) -> list[Turns]:
        """Return what a row teaches, apart from its prompt: each answer as its turns."""
        return [[t for t in sample.messages if t.role == "assistant" and t.trained]]

    def split_last_answer(self, sample: Sample) -> tuple[Turns, Turns]:
        """Return the turns before the last answer of a row, and those from there on."""
        answers = [i for i, turn in enumerate(sample.messages) if turn.role == "assistant"]
        last = answers[-1] if answers else len(sample.messages)
        return sample.messages[:last], sample.messages[last:]

    def get_good_turns(self, sample: Sample) -> Turns:
        """Return the turns whose answers the model should write."""
        return sample.messages

    def get_label(self, sample: Sample) -> str:
        """Return the label of a row with one of several labels, else ""."""
        return sample.messages[-1].content if self.has_classes else ""

    def find_pair_faults(self, sample: Sample) -> set[PairFault]:
        """Return the faults of a row whose texts have to differ from each other."""
        return set()

    def list_settings(self, method: str, loss: str) -> tuple[str, ...]:
        """Return those of `settings` that are used.

        `method` and `loss` are the values of `preference` and `dpo_loss`, which may be invalid.
        """
        return self.settings

    def find_usual_rate(self, method: str) -> UsualRate | None:
        """Return the usual learning rate, None where that of the optimizer counts."""
        return None

    def is_reward_model(self, method: str) -> bool:
        """Return whether the training yields a model that scores answers."""
        return False

    def writes_text(self, method: str) -> bool:
        """Return whether the trained model writes text."""
        return True

    def check_recipe(self, method: str, batch: int) -> list[Problem]:
        """Return what the trained model can't do, and errors of a recipe with `batch` rows in each step."""
        return []

    def get_card(self, method: str) -> ModelCard:
        """Return what the model card says about the trained model."""
        return ModelCard()
