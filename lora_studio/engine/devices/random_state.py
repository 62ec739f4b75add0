"""Save and restore torch's random number generators, so that a resumed training draws the same dropout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

#: "cpu", "cuda" (a list with one state for each GPU), "own" (index of this rank's GPU) and, on a Mac,
#: "mps". The keys are those of checkpoints on disk.
RandomState = dict[str, Any]


def get_random_state() -> RandomState:
    """Return the state of torch's generators on every device that is in use."""
    state: RandomState = {"cpu": torch.get_rng_state(), "cuda": [], "own": 0}
    if torch.cuda.is_initialized():  # training on the CPU leaves GPUs alone
        state |= {"cuda": torch.cuda.get_rng_state_all(), "own": torch.cuda.current_device()}
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_random_state(states: Sequence[RandomState] | RandomState, rank: int = 0) -> None:
    """Restore the generators from the states of all ranks.

    A rank without a saved state keeps its current one. If the rank now uses another GPU, that GPU's
    generator continues from the saved state. Version 0.1 saved a single state instead of a list.
    """
    saved = [states] if isinstance(states, dict) else states
    if rank >= len(saved):
        return
    state = saved[rank]
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and torch.cuda.is_initialized():
        if len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda"])
        torch.cuda.set_rng_state(state["cuda"][state.get("own", 0)], torch.cuda.current_device())
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])


@contextmanager
def preserve_random_state() -> Iterator[None]:
    """Restore the generators when the block ends, so that it doesn't affect later random numbers."""
    state = get_random_state()
    try:
        yield
    finally:
        set_random_state(state)
