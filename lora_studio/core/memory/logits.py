"""How many logits of trained tokens are in memory at a time."""

from __future__ import annotations

#: 32 million logits, 64 MB in 16-bit.
_CHUNK = 1 << 25

#: On large GPUs. With 152,000 ids, a chunk of 32 million has 220 positions, and an H100 would wait for the output
#: layer's weights: it computes 300 operations in the time of reading a byte.
_LARGE_CHUNK = 1 << 27

#: Memory of a GPU, in bytes, from which its chunks are large.
_LARGE_GPU = 40 * 10**9

#: Logits whose softmax a GPU computes at a time: 64 MB in 32-bit, large enough for launches not to matter.
SOFTMAX_ON_GPU = 1 << 24


def count_logits_at_once(kind: str, memory_bytes: int) -> int:
    """Return the number of logits in a chunk, for a kind of device and its memory."""
    return _LARGE_CHUNK if kind == "cuda" and memory_bytes >= _LARGE_GPU else _CHUNK
