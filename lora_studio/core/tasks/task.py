"""What all tasks declare about their rows and models; the defaults are those of conversations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from lora_studio.core.messages import Text
from lora_studio.core.tasks.samples import Message, Sample

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

    #: What its rows are, in words.
    title: ClassVar[str]
    #: The most sequences of a row.
    sequences: ClassVar[int] = 1
    #: Whether a row is one text, which is split at the length limit instead of truncated.
    is_document: ClassVar[bool] = False
    #: Whether the model learns given tokens, so that rows can share micro-batches and a teacher can help.
    is_supervised: ClassVar[bool] = False
    #: Whether the model writes answers while it trains, which rewards rate.
    writes_rollouts: ClassVar[bool] = False
    #: Whether the answer of a row is one of the labels of all rows.
    has_classes: ClassVar[bool] = False
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
        """Return the training settings that only this task uses.

        `method` and `loss` are the values of `preference` and `dpo_loss`, which may be invalid.
        """
        return ()

    def find_usual_rate(self, method: str) -> UsualRate | None:
        """Return the usual learning rate, None where that of the optimizer counts."""
        return None

    def is_reward_model(self, method: str) -> bool:
        """Return whether the training yields a model that scores answers."""
        return False

    def writes_text(self, method: str) -> bool:
        """Return whether the trained model writes text."""
        return True
