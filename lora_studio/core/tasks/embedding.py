"""Embedding: vectors of queries and of the texts that they should find."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from lora_studio.core.spec import Spec, setting
from lora_studio.core.tasks.preference import PairTask
from lora_studio.core.tasks.samples import Sample
from lora_studio.core.tasks.task import PairFault, Turns

PoolingChoice = Literal["auto", "last", "mean"]
Pooling = Literal["last", "mean"]


class EmbeddingSettings(Spec):
    """How to learn vectors from queries and the texts that they should find."""

    pooling: PoolingChoice = setting(
        "auto",
        "Pooling",
        "How the model's output becomes one vector for a text. Only used with pairs for search.",
        choices={"auto": "Automatic", "last": "Last token", "mean": "Mean"},
        choice_details={
            "auto": "As the model itself does if it is an embedding model, otherwise the last token.",
            "last": "The end token, which has seen the whole text. The usual choice for language models.",
            "mean": "The mean over all tokens.",
        },
        advanced=True,
        help_topic="embedding-training",
    )
    similarity_scale: float = setting(
        20.0,
        "Similarity scale",
        "Factor of cosine similarities in the loss, which is 1 / temperature. 20 is common (a temperature of "
        "0.05); higher values concentrate on the most similar texts.",
        gt=0.0,
        le=1000.0,
        step=5.0,
        advanced=True,
        help_topic="embedding-training",
    )


class EmbeddingTask(PairTask):
    """Learn which text a query should find, and which it should not."""

    title: ClassVar[str] = "queries with the text to find"
    sequences: ClassVar[int] = 3
    takes_system_prompt: ClassVar[bool] = False
    counts_tokens: ClassVar[bool] = False

    def iter_conversations(self, sample: Sample) -> Iterator[Turns]:
        """Yield the query with the text to find."""
        yield sample.messages + sample.chosen

    def find_pair_faults(self, sample: Sample) -> set[PairFault]:
        """Return whether a query finds itself, or the text that it must not find."""
        faults = super().find_pair_faults(sample)
        query, passage = (
            [" ".join(turn.content.split()) for turn in turns]
            for turns in (sample.messages, sample.chosen)
        )
        return faults | {"identical_pair"} if query == passage else faults

    def list_settings(self, method: str, loss: str) -> tuple[str, ...]:
        """Return all of `EmbeddingSettings`."""
        return tuple(EmbeddingSettings.model_fields)

    def writes_text(self, method: str) -> bool:
        """Return False: the model returns vectors."""
        return False
