"""Start training from an existing adapter: its settings, its weights, and a copy of it in the run."""

from __future__ import annotations

from pathlib import Path

import peft
from transformers import PreTrainedModel

from lora_studio.core.lora import adapters
from lora_studio.core.messages import Text
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.project.project import Project
from lora_studio.core.runs import checksums
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import copy_file, create_folder_atomic
from lora_studio.engine.lora import adapter_weights
from lora_studio.engine.lora.adapter_weights import AdapterMismatchError
from lora_studio.engine.model.folder import require_inside
from lora_studio.engine.runtime.failures import translate_library_errors


def copy_start_adapter(run: RunFolder, project: Project, *, resume: bool) -> Project:
    """Copy the adapter that training starts from into the run; return the project with the copy's path.

    Resuming and the reference model then don't depend on where it came from. Raises ProblemError when
    there is no usable adapter.
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
    with translate_library_errors(_foreign_adapter_error):
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
        with translate_library_errors(_foreign_adapter_error, AdapterMismatchError):
            model = peft.get_peft_model(base, config, autocast_adapter_dtype=True)
            adapter_weights.load_adapter_weights(
                model, peft.load_peft_weights(str(folder), device="cpu")
            )
    except AdapterMismatchError as error:
        raise _foreign_adapter_error(error.reason) from error
    return model


def _foreign_adapter_error(reason: Text | str) -> ProblemError:
    return fail(
        "lora.start_is_foreign",
        "The adapter to start from doesn't fit this model: {reason}.",
        "Choose the base model that the adapter was trained on, in the same version.",
        where=Where(step="lora", field="start_from"),
        reason=reason,
    )
