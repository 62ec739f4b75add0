"""Settings of embedding training: how a text becomes a vector, and how sharply vectors are compared."""

from __future__ import annotations

from typing import Literal

from lora_studio.core.spec import Spec, setting

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
