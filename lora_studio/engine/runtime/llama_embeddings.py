"""Vectors of texts from a GGUF file, as llama.cpp computes them for other programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lora_studio.engine.runtime.llama_cpp import BATCH, Llama, SequenceToken


class EmbeddingLlama(Llama):
    """An embedding model in a GGUF file, which pools as the file says."""

    def __init__(self, file: Path, *, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Load the model for texts of at most BATCH tokens; raises ProblemError."""
        super().__init__(file, context=BATCH, cancelled=cancelled)
        self._lib.llama_set_embeddings(self._context, True)

    def __enter__(self) -> EmbeddingLlama:
        """Return the model itself."""
        return self

    @property
    def pooling_type(self) -> int:
        """Return the `enum llama_pooling_type` of the file; 0 for a file of another model."""
        return int(self._lib.llama_pooling_type(self._context))

    def embed(self, ids: Sequence[int]) -> np.ndarray | None:
        """Return the normalized vector of a text, [size] float32, None if the file doesn't pool."""
        self.forget_all()
        self.decode(
            [
                SequenceToken(token, position, wants_logits=True)
                for position, token in enumerate(ids)
            ]
        )
        pointer = self._lib.llama_get_embeddings_seq(self._context, 0)
        if pointer == self._ffi.NULL:
            return None
        size = 4 * int(self._lib.llama_model_n_embd_out(self._model))
        vector = np.frombuffer(self._ffi.buffer(pointer, size), dtype=np.float32)
        return vector / np.linalg.norm(vector)
