"""Embedding: vectors of queries and of the texts that they should find."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from lora_studio.core.messages import Template
from lora_studio.core.problems import Problem, Where, error, warning
from lora_studio.core.spec import Spec, setting
from lora_studio.core.tasks.model_card import ModelCard, format_peft_usage
from lora_studio.core.tasks.preference import PairTask
from lora_studio.core.tasks.samples import Sample, TaskName
from lora_studio.core.tasks.task import PairFault, Turns

PoolingChoice = Literal["auto", "last", "mean"]


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


_MERGED_USAGE = """```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{repository}"{keywords})
print(model.encode(["A text to search for."]))
```"""


def needs_two_rows_error() -> Problem:
    """Return the error for steps in which a query has no other text to be told apart from."""
    return error(
        "training.embedding_needs_two",
        "Embedding training needs at least two rows in each optimizer step.",
        "Increase the micro-batch size or the gradient accumulation. More rows per step train better "
        "embeddings: 32 or more are common.",
        where=Where(step="training", field="micro_batch"),
    )


class EmbeddingTask(PairTask):
    """Learn which text a query should find, and which it should not."""

    name: ClassVar[TaskName] = "embedding"
    title: ClassVar[str] = "queries with the text to find"
    contents: ClassVar[Template] = "{file} has pairs for search"
    headings: ClassVar[tuple[Template, Template]] = ("Query", "Text to find")
    settings: ClassVar[tuple[str, ...]] = tuple(EmbeddingSettings.model_fields)
    unused_settings: ClassVar[Template] = "Not used: your data has no pairs for search."
    sequences: ClassVar[int] = 3
    is_rendered: ClassVar[bool] = False
    yields_vectors: ClassVar[bool] = True
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

    def writes_text(self, method: str) -> bool:
        """Return False: the model returns vectors."""
        return False

    def check_recipe(self, method: str, batch: int) -> list[Problem]:
        """Return what embeddings can't be used for, and an error for steps of a single row."""
        problems = [
            warning(
                "training.embedding_only_embeds",
                "Pairs for search train a model that turns texts into vectors. It can't write answers or chat.",
                "Use its adapter with PEFT, the merged model with sentence-transformers, or the GGUF file with "
                "Ollama or llama.cpp. To train a model that answers, choose the format “Question and answer”.",
                where=Where(step="dataset", field="sources"),
            )
        ]
        return [*problems, needs_two_rows_error()] if batch < 2 else problems

    def get_card(self, method: str) -> ModelCard:
        """Return the card of a model that returns vectors."""
        return ModelCard(
            purpose="that turns texts into vectors for search",
            pipeline="sentence-similarity",
            tags=("feature-extraction", "sentence-transformers"),
            adapter=format_peft_usage("FeatureExtraction"),
            merged=_MERGED_USAGE,
            gguf="llama-server -hf {repository} --embeddings",
        )
