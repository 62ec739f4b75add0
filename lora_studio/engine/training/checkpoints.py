"""Checkpoints of a training: written whole or not at all, read with a fall-back to the one before."""

from __future__ import annotations

import io
import json
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerBase

from lora_studio.core.problems import Problem, Where
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import folder_atomic
from lora_studio.engine.lora.initialization import subtract
from lora_studio.engine.runtime.channel import JobContext

_ADAPTER = "adapter_model.safetensors"
_STATE = "training.pt"
_ABOUT = "checkpoint.json"


@dataclass
class Checkpoint:
    """A complete checkpoint. `about` holds step, fingerprint and results so far."""

    step: int
    about: dict[str, Any]
    adapter: dict[str, torch.Tensor]
    state: dict[str, Any]


def write(
    target: Path, model: peft.PeftModel, state: dict[str, Any], about: dict[str, Any]
) -> None:
    """Writes the checkpoint of `about["step"]` into a folder of its own.

    `state` holds tensors and plain values only, since it is read back without running any code.
    Raises OSError, with every older checkpoint untouched.
    """
    with folder_atomic(target) as folder:
        save_adapter(model, folder)
        # Through memory, because torch does not say "disk full" when it writes files itself.
        buffer = io.BytesIO()
        torch.save(state, buffer)
        (folder / _STATE).write_bytes(buffer.getbuffer())
        files = {file.name: _fingerprint(file) for file in folder.iterdir()}
        (folder / _ABOUT).write_text(json.dumps(about | {"files": files}, indent=2), "utf-8")


def delete_older(run: RunFolder, keep: int) -> None:
    """Deletes all checkpoints but the newest `keep`."""
    for step in run.checkpoint_steps()[:-keep]:
        shutil.rmtree(run.checkpoint(step), ignore_errors=True)


def save_adapter(
    model: peft.PeftModel,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase | None = None,
    initial: Path | None = None,
) -> None:
    """Writes an adapter in PEFT's layout, with the tokenizer and chat template it was trained on.

    `initial` is the adapter as it began, where that was taken out of the base weights: what is
    written then is the difference, of twice the rank, and fits the base as it is stored. PEFT's
    model card is left off: it says nothing about this training.
    """
    # The adapter of training alone: the reference of preference training may lie beside it.
    model.save_pretrained(str(folder), save_embedding_layers=False, selected_adapters=["default"])
    if initial is not None:
        subtract(folder, initial)
    (folder / "README.md").unlink(missing_ok=True)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)


def last_complete(run: RunFolder, job: JobContext) -> Checkpoint | None:
    """The newest checkpoint that can be read; a damaged one is named and passed over."""
    for step in reversed(run.checkpoint_steps()):
        try:
            return read(run.checkpoint(step))
        except Exception as error:
            job.emit(events.Warned(problem=_damaged(run.checkpoint(step), error)))
    return None


def read(folder: Path) -> Checkpoint:
    """A checkpoint; raises any exception where it is damaged."""
    about = json.loads((folder / _ABOUT).read_text("utf-8"))
    for name, expected in about["files"].items():
        size, checksum = expected if isinstance(expected, list) else (expected, None)
        if (folder / name).stat().st_size != size:
            raise ValueError(f"{name} is incomplete")
        if checksum is not None and _fingerprint(folder / name)[1] != checksum:
            raise ValueError(f"{name} is damaged")
    state = torch.load(folder / _STATE, map_location="cpu", weights_only=True)
    return Checkpoint(about["step"], about, load_file(folder / _ADAPTER), state)


def _fingerprint(file: Path) -> list[int]:
    """Size in bytes and CRC-32: at gigabytes a second it tells a file torn by a power cut."""
    checksum = 0
    with file.open("rb") as stream:
        while block := stream.read(1 << 22):
            checksum = zlib.crc32(block, checksum)
    return [file.stat().st_size, checksum]


def clear(run: RunFolder) -> None:
    """Deletes every checkpoint and what else was kept on the way; for a training that begins anew."""
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    shutil.rmtree(run.best, ignore_errors=True)


@contextmanager
def scratch(run: RunFolder, part: str = "") -> Iterator[Path]:
    """A folder for what a training, or `part` of it, has to remember until its end, and no longer."""
    folder = _scratch(run) / part
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _scratch(run: RunFolder) -> Path:
    return run.temporary / "training"


def sweep(run: RunFolder) -> None:
    """Deletes what a killed worker left behind."""
    for folder in _left_behind(run):
        shutil.rmtree(folder, ignore_errors=True)


def _left_behind(run: RunFolder) -> Iterator[Path]:
    yield from run.checkpoints.glob(".step-*")
    yield from run.best.glob(".step-*")
    yield from run.path.glob(".adapter.*")
    yield from run.path.glob(".start-adapter.*")
    yield from run.path.glob(".data.*")
    yield _scratch(run)


def random_state() -> dict[str, Any]:
    """The state of torch's random numbers on every device; what dropout draws from. Of several GPUs
    `own` is the one that this process computes on."""
    found: dict[str, Any] = {"cpu": torch.get_rng_state(), "cuda": [], "own": 0}
    if torch.cuda.is_initialized():  # a training on the processor leaves GPUs alone
        found |= {"cuda": torch.cuda.get_rng_state_all(), "own": torch.cuda.current_device()}
    if torch.backends.mps.is_available():
        found["mps"] = torch.mps.get_rng_state()
    return found


def restore_random_state(states: list[dict[str, Any]] | dict[str, Any], rank: int = 0) -> None:
    """Puts the random numbers back to where they were; `states` are those of every rank.

    A rank that was not there when they were written goes on with its own; another GPU takes up the
    numbers of the one before. (Runs of version 0.1 have one state alone.)
    """
    known = [states] if isinstance(states, dict) else states
    if rank >= len(known):
        return
    state = known[rank]
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and torch.cuda.is_initialized():
        if len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda"])
        torch.cuda.set_rng_state(state["cuda"][state.get("own", 0)], torch.cuda.current_device())
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])


def _damaged(folder: Path, error: Exception) -> Problem:
    return Problem(
        code="training.checkpoint_damaged",
        what=f"The checkpoint {folder.name} cannot be read: {error}.",
        remedy="The one before it is used instead.",
        where=Where(step="training", file=str(folder)),
        severity="warning",
    )
