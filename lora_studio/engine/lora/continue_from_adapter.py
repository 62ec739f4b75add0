"""Going on from an adapter that was made earlier: its shape, its weights, a copy of it in the run."""

from __future__ import annotations

import shutil
from pathlib import Path

import peft
from transformers import PreTrainedModel

from lora_studio.core.lora import starting_adapter
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.project.project import Project
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system.files import folder_atomic
from lora_studio.engine.lora import adapter_weights


def keep(run: RunFolder, project: Project, *, resume: bool) -> Project:
    """Copies the adapter that training starts from into the run, so that resuming and comparing with
    it do not depend on the place it came from; the project returned names the copy.

    Raises ProblemError when there is no usable adapter.
    """
    source = project.lora.start_from
    if not source:
        return project
    if not (resume and run.start_adapter.is_dir()):
        starting_adapter.read(Path(source))
        with folder_atomic(run.start_adapter) as folder:
            for name in (starting_adapter.CONFIG, "adapter_model.safetensors"):
                shutil.copyfile(Path(source) / name, folder / name)
        run.update_manifest(started_from=source)
    lora = project.lora.model_copy(update={"start_from": str(run.start_adapter)})
    return project.model_copy(update={"lora": lora})


def config(folder: Path, dropout: float) -> peft.LoraConfig:
    """PEFT's settings of an adapter as those of one that trains; raises ProblemError."""
    starting_adapter.read(folder)
    found = peft.LoraConfig.from_pretrained(str(folder))
    found.inference_mode = False
    found.init_lora_weights = True
    found.lora_dropout = dropout
    found.base_model_name_or_path = None  # where the base was when it was trained on
    found.revision = None
    return found


def attach(base: PreTrainedModel, shape: peft.LoraConfig, folder: Path) -> peft.PeftModel:
    """Wraps a model with the adapter in a folder, every weight of it in use; raises ProblemError."""
    try:
        model = peft.get_peft_model(base, shape, autocast_adapter_dtype=True)
        adapter_weights.put(model, peft.load_peft_weights(str(folder), device="cpu"))
    except adapter_weights.AdapterMismatchError as error:
        raise _foreign(str(error)) from error
    except (ValueError, KeyError, RuntimeError) as error:
        raise _foreign(str(error).strip().split("\n")[-1].strip().rstrip(".")) from error
    return model


def _foreign(reason: str) -> ProblemError:
    return fail(
        "lora.start_is_foreign",
        f"The adapter to go on from does not fit this model: {reason}.",
        "Choose the model that the adapter was trained on, in its very same version.",
        where=Where(step="lora", field="start_from"),
    )
