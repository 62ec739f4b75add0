"""Load the weights of an adapter into a PEFT model, all of them, and start training from one."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lora_studio.core import limits
from lora_studio.core.lora import adapters
from lora_studio.core.messages import Text, text
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.project.project import Project
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import copy_file, create_folder_atomic
from lora_studio.core.system.foreign_files import read_json
from lora_studio.engine.lora.adapter_files import foreign_adapter_error
from lora_studio.engine.model.folder import require_inside
from lora_studio.engine.model.tokenizer import add_tokens, grow, list_row_weights
from lora_studio.engine.runtime.failures import translate_library_errors


class AdapterMismatchError(Exception):
    """An adapter has weights that the model lacks, or the other way round; `reason` names one."""

    def __init__(self, reason: Text | str) -> None:
        """Use the reason as the message."""
        super().__init__(str(reason))
        self.reason = Text.model_validate(reason)


def attach_trained(
    model: PreTrainedModel | peft.PeftModel, folder: Path, name: str = "default"
) -> peft.PeftModel:
    """Return the model with a trained adapter, not merged, and enough rows for the adapter's new tokens.

    A PEFT model gets one more adapter, the only active one then. Raises ProblemError unless all weights fit.
    """
    try:
        with (
            translate_library_errors(
                lambda reason: foreign_adapter_error(folder, reason), AdapterMismatchError
            ),
            ignore_unused_patterns(),
        ):
            config = peft.PeftConfig.from_pretrained(str(folder))
            config.inference_mode = True
            config.base_model_name_or_path = None  # where the base was when it was trained on
            if isinstance(model, peft.PeftModel):
                wrapped = model
                grow_for_adapter(model.get_base_model(), folder)
                wrapped.add_adapter(name, config)
                wrapped.set_adapter(name, inference_mode=True)
            else:
                grow_for_adapter(model, folder)
                wrapped = peft.get_peft_model(model, config, adapter_name=name)
            load_adapter_weights(wrapped, peft.load_peft_weights(str(folder), device="cpu"), name)
    except AdapterMismatchError as error:
        raise foreign_adapter_error(folder, error.reason) from error
    return wrapped.eval()


@contextlib.contextmanager
def ignore_unused_patterns() -> Iterator[None]:
    """Ignore PEFT's warning about a rank that it added itself, for experts that transformers stacks.

    It says so whether these experts are adapted or not: it looks for modules only, and they are parameters.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="(?s)The following (rank|alpha)_pattern keys.*gate_up"
        )
        yield


def load_adapter_weights(
    model: peft.PeftModel, state: dict[str, torch.Tensor], name: str = "default"
) -> None:
    """Set the weights of the adapter called `name` by the names in PEFT's files.

    Raises AdapterMismatchError unless all fit. PEFT itself ignores a missing one, which would keep its
    random or zero initial value.
    """
    with translate_library_errors(AdapterMismatchError):
        result: Any = peft.set_peft_model_state_dict(model, state, adapter_name=name)
    # Of this adapter only: preference training may also have loaded a reference.
    missing = {each for each in result.missing_keys if name in each.split(".")}
    # Tied layers share the rows of new tokens, and the file has them once.
    values = dict(model.named_parameters(remove_duplicate=False)) if missing else {}
    loaded = {id(value) for each, value in values.items() if each not in missing}
    empty = sorted(each for each in missing if id(values.get(each)) not in loaded)
    if result.unexpected_keys:
        raise AdapterMismatchError(
            text("the model doesn't have {tensor}", tensor=result.unexpected_keys[0])
        )
    if empty:
        raise AdapterMismatchError(text("{tensor} is missing", tensor=empty[0]))


def add_adapter_tokens(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Add the new tokens of an adapter, if it has any, to the tokenizer of its base model.

    Raises ProblemError if they don't get the IDs that their rows have.
    """
    tokens = read_new_tokens(folder)
    add_tokens(tokenizer, tokens)
    ids = [tokenizer.convert_tokens_to_ids(token) for token in tokens]
    if ids != list_trained_ids(_read_settings(folder)):
        raise foreign_adapter_error(folder, text("its new tokens have other IDs in this tokenizer"))


def grow_for_adapter(model: PreTrainedModel, folder: Path) -> None:
    """Give a model the rows of the new tokens that an adapter brings, which set their values."""
    ids = list_trained_ids(_read_settings(folder))
    if not ids:
        return
    if max(ids) >= len(list_row_weights(model)[0]) + limits.ADDED_TOKENS:
        reason = text("the ID of a new token is far beyond the model's vocabulary")
        raise foreign_adapter_error(folder, reason)
    grow(model, max(ids) + 1)


def read_new_tokens(folder: Path) -> tuple[str, ...]:
    """Return the new tokens of an adapter in the order of their IDs; () if it has none."""
    ids = list_trained_ids(_read_settings(folder))
    if not ids:
        return ()
    try:
        added = read_json(folder / "tokenizer.json")["added_tokens"]
        contents = {int(entry["id"]): str(entry["content"]) for entry in added}
        return tuple(contents[index] for index in ids)
    except (OSError, ValueError, KeyError, TypeError):
        raise fail(
            "lora.tokens_unknown",
            "The adapter in {folder} trained new tokens, but its tokenizer doesn't contain them.",
            "Copy tokenizer.json next to the adapter, as training saved it.",
            where=Where(step="merging", file=str(folder)),
            folder=str(folder),
        ) from None


def list_trained_ids(config: dict[str, Any]) -> list[int]:
    """Return the IDs of the tokens whose rows an adapter with these settings trained, in their order."""
    trained = config.get("trainable_token_indices") or ()
    lists = trained.values() if isinstance(trained, dict) else (trained,)
    return sorted({int(index) for indices in lists for index in indices})


def _read_settings(folder: Path) -> dict[str, Any]:
    try:
        config = read_json(folder / "adapter_config.json")
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


# Start training from an existing adapter: its settings, its weights, and a copy of it in the run.


def copy_start_adapter(run: RunFolder, project: Project, *, resume: bool) -> Project:
    """Copy the adapter that training starts from into the run; return the project with the copy's path.

    Resuming and the reference model then don't depend on where it came from. Raises ProblemError if
    its adapter is missing or unusable.
    """
    source = project.lora.start_from
    if not source:
        return project
    if not (resume and _is_intact(run)):
        _copy(run, Path(source), resume=resume)
    lora = project.lora.model_copy(update={"start_from": str(run.start_adapter)})
    return project.model_copy(update={"lora": lora})


def _is_intact(run: RunFolder) -> bool:
    return run.start_adapter.is_dir() and checksums.find_damage(run, run.start_adapter) is None


def _copy(run: RunFolder, source: Path, *, resume: bool) -> None:
    """Copy the adapter; a damaged copy is replaced only by the adapter that training started from."""
    if not source.is_dir():
        checksums.require_intact(run, run.start_adapter)
    adapters.read_config(source)
    checksums.require_intact_source(source)
    with create_folder_atomic(run.start_adapter) as folder:
        for name in (adapters.CONFIG, "adapter_model.safetensors"):
            copy_file(require_inside(source / name), folder / name)
        if resume and checksums.find_damage(run, run.start_adapter, copy=folder) is not None:
            checksums.require_intact(run, run.start_adapter)
    checksums.record_checksums(run, run.start_adapter)
    run.update_manifest(started_from=str(source))


def read_lora_config(folder: Path, dropout: float) -> peft.LoraConfig:
    """Return the settings of an adapter, prepared for training; raises ProblemError."""
    adapters.read_config(folder)
    with translate_library_errors(_foreign_start_error):
        config = peft.LoraConfig.from_pretrained(str(folder))
    config.inference_mode = False
    config.init_lora_weights = True
    config.lora_dropout = dropout
    config.base_model_name_or_path = None  # where the base model was when the adapter was trained
    config.revision = None
    return config


def attach_existing(base: PreTrainedModel, config: peft.LoraConfig, folder: Path) -> peft.PeftModel:
    """Wrap a model with the adapter in a folder; raises ProblemError unless every weight fits."""
    try:
        with translate_library_errors(_foreign_start_error, AdapterMismatchError):
            model = peft.get_peft_model(base, config, autocast_adapter_dtype=True)
            load_adapter_weights(model, peft.load_peft_weights(str(folder), device="cpu"))
    except AdapterMismatchError as error:
        raise _foreign_start_error(error.reason) from error
    return model


def _foreign_start_error(reason: Text | str) -> ProblemError:
    return fail(
        "lora.start_is_foreign",
        "The adapter to start from doesn't fit this model: {reason}.",
        "Choose the base model that the adapter was trained on, in the same version.",
        where=Where(step="lora", field="start_from"),
        reason=reason,
    )
