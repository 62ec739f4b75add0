"""A checkpoint on disk: a folder that is written completely or not at all, with checksums."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerBase

from lora_studio.core.problems import (
    InvalidContentError,
    Problem,
    ProblemError,
    Where,
    fail,
    warning,
)
from lora_studio.core.protocol import events
from lora_studio.core.runs.checksums import CHECKPOINT, read_record, write_record
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import (
    create_folder,
    create_folder_atomic,
    describe_os_error,
    name_newest_file,
    write_file,
)
from lora_studio.engine.lora import initialization
from lora_studio.engine.lora.initialization import subtract_initial_adapter
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.runtime.failures import is_caused_by_system, is_out_of_memory
from lora_studio.engine.runtime.zip_files import open_zip

_ADAPTER = "adapter_model.safetensors"
_TENSORS = "training.pt"


@dataclass
class Checkpoint:
    """A complete checkpoint.

    `entries` are those of `TrainerState.to_checkpoint` and the fingerprint of the rows; `tensors` has the
    states of optimizer, scheduler, gradient scaler and random number generators.
    """

    entries: dict[str, Any]
    adapter: dict[str, torch.Tensor]
    tensors: dict[str, Any]

    @property
    def step(self) -> int:
        """Return the step that the checkpoint was saved at."""
        return int(self.entries["step"])


def write_checkpoint(
    target: Path, model: peft.PeftModel, tensors: dict[str, Any], entries: dict[str, Any]
) -> None:
    """Write a checkpoint into a folder of its own.

    `tensors` holds tensors and plain values only, since it is read back without running any code.
    Raises OSError, with every earlier checkpoint untouched.
    """
    with create_folder_atomic(target) as folder:
        _write_trained_weights(model, folder)
        # Through memory, because torch reports no "disk full" when it writes files itself.
        buffer = io.BytesIO()
        torch.save(tensors, buffer)
        with buffer.getbuffer() as content:
            write_file(folder / _TENSORS, content)
        write_record(folder, entries, CHECKPOINT)


def write_adapter(
    model: peft.PeftModel,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    initial: Path | None = None,
) -> None:
    """Write a LoRA adapter in PEFT's layout, with the tokenizer and chat template it was trained on.

    `initial` is the folder of the initial adapter if that was subtracted from the base weights. The
    saved adapter is then the difference, with twice the rank, and fits the original base model.
    """
    _write_trained_weights(model, folder)
    if initial is not None:
        subtract_initial_adapter(folder, initial)
    if initialization.is_miss(model):
        initialization.convert_to_lora(folder, model)
    if initialization.is_feature_extraction(model):
        initialization.remove_output_layer(folder, model)
    with name_newest_file(folder):
        tokenizer.save_pretrained(folder)


def _write_trained_weights(model: peft.PeftModel, folder: Path) -> None:
    """Write what trains, without PEFT's model card: it says nothing about this training.

    Writing the card takes longer than writing a small adapter.
    """
    model.create_or_update_model_card = _write_no_card  # type: ignore[method-assign]
    # Only the adapter that trains: preference training may also have loaded a reference.
    with name_newest_file(folder):
        model.save_pretrained(
            str(folder), save_embedding_layers=False, selected_adapters=["default"]
        )


def _write_no_card(output_dir: str) -> None:
    """Do nothing, in place of PEFT's method."""


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint; raises ValueError, OSError or a reader's own error if it is damaged."""
    entries = read_record(folder)
    _require_plain_archive(folder / _TENSORS)
    tensors = torch.load(folder / _TENSORS, map_location="cpu", weights_only=True)
    if any(_is_expanded(tensor) for tensor in _iter_tensors(tensors)):
        raise InvalidContentError("{file} has tensors without values", file=_TENSORS)
    return Checkpoint(entries, load_file(folder / _ADAPTER), tensors)


def _require_plain_archive(file: Path) -> None:
    """Raise InvalidContentError if reading an archive of tensors takes more memory than it has bytes.

    torch writes no compressed entries, and none that share bytes; it would unpack either to any size.
    """
    try:
        with open_zip(file, lambda: None) as archive:
            entries = archive.infolist()
    except zipfile.BadZipFile as error:
        raise InvalidContentError("{file} isn't an archive of tensors", file=file.name) from error
    is_stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
    if not is_stored or sum(entry.file_size for entry in entries) > file.stat().st_size:
        raise InvalidContentError("{file} expands to more than its size", file=file.name)


def _iter_tensors(value: object) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from (tensor for item in value.values() for tensor in _iter_tensors(item))
    elif isinstance(value, list | tuple):
        yield from (tensor for item in value for tensor in _iter_tensors(item))


def _is_expanded(tensor: torch.Tensor) -> bool:
    """Return whether a tensor repeats its values, so that a copy of it takes more memory."""
    size = tensor.numel() * tensor.element_size()
    return tensor.layout != torch.strided or size > tensor.untyped_storage().nbytes()


def read_last_complete(run: RunFolder, job: JobContext) -> Checkpoint | None:
    """Return the newest checkpoint that isn't damaged; emits Warned for each damaged one.

    Raises ProblemError if the disk or a limit of the system keeps one from being read: that says nothing
    about its content, and without it training would begin again.
    """
    for step in reversed(run.list_checkpoint_steps()):
        try:
            return read_checkpoint(run.checkpoint(step))
        except Exception as error:
            if is_out_of_memory(error):
                raise
            if is_caused_by_system(error):
                raise _unreadable_checkpoint_error(run.checkpoint(step), error) from error
            job.emit(
                events.Warned(problem=_damaged_checkpoint_problem(run.checkpoint(step), error))
            )
    return None


def delete_outdated_checkpoints(run: RunFolder, last: int, keep: int) -> None:
    """Delete all checkpoints but the newest `keep` up to the step `last`.

    Later ones are damaged: training continued from one before them.
    """
    steps = run.list_checkpoint_steps()
    outdated = {*steps} - {*[step for step in steps if step <= last][-keep:]}
    for step in outdated:
        shutil.rmtree(run.checkpoint(step), ignore_errors=True)


def delete_all_checkpoints(run: RunFolder) -> None:
    """Delete every checkpoint and every best adapter, for a training that starts from the beginning."""
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    shutil.rmtree(run.best, ignore_errors=True)


@contextmanager
def create_scratch_folder(run: RunFolder, name: str = "") -> Iterator[Path]:
    """Yield a folder for temporary files of a training, or of one rank; deleted when the block ends."""
    folder = run.temporary / "training" / name
    create_folder(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unreadable_checkpoint_error(folder: Path, error: Exception) -> ProblemError:
    return fail(
        "training.checkpoint_unreadable",
        "The checkpoint {name} can't be read: {reason}.",
        "Make sure that you have permission to read the folder and that its disk is connected, then resume the training.",
        where=Where(step="training", file=str(folder)),
        name=folder.name,
        reason=describe_os_error(error),
    )


def _damaged_checkpoint_problem(folder: Path, error: Exception) -> Problem:
    return warning(
        "training.checkpoint_damaged",
        "The checkpoint {name} can't be read: {reason}.",
        "Training resumes from the checkpoint before it.",
        where=Where(step="training", file=str(folder)),
        name=folder.name,
        reason=describe_os_error(error),
    )
