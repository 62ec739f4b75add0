"""Choose the backend, before transformers is imported: Unsloth has to come first."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

from lora_studio.core.messages import Template, Text, fill, text
from lora_studio.core.problems import Fix, Problem, ProblemError, Where, error
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import build_tools
from lora_studio.core.training import combinations, recipe_checks
from lora_studio.engine.devices import devices
from lora_studio.engine.model import folder as model_folder
from lora_studio.engine.model import placement, sources
from lora_studio.engine.runtime.channel import JobContext

if TYPE_CHECKING:
    import torch

    from lora_studio.engine.backends.backend import Backend

#: Values of `model_type` that Unsloth has fast layers for. Models with experts aren't listed: Unsloth would
#: adapt the experts whatever the recipe selects.
_FAST_MODEL_TYPES = (
    "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "cohere", "granite", "falcon_h1",
)  # fmt: skip

#: WORKAROUND: without the first, Unsloth downloads files from the Hub to count its users whenever it loads
#: a model; without the second, patched models return no logits in training mode.
_ENVIRONMENT = {"UNSLOTH_DISABLE_STATISTICS": "1", "UNSLOTH_RETURN_LOGITS": "1"}


def choose_backend(run: RunFolder, job: JobContext, *, resume: bool = False) -> str:
    """Return "peft", or "unsloth" after importing it; emits and records the choice.

    Call it before transformers is imported, since Unsloth patches it. A resumed training keeps its
    backend. Raises ProblemError for settings that exclude each other, or a backend that isn't available.
    """
    project = run.load_project()
    problems = combinations.check(project.model, project.lora, project.training)
    if problems:
        raise ProblemError(problems)
    device = devices.choose_device(project.model.device)
    missing_tool = build_tools.find_missing_build_tool()
    for problem in recipe_checks.check_build_tools(missing_tool, str(device), project.training):
        job.emit(events.Warned(problem=problem))
    unusable = _find_triton_problem(device, missing_tool)
    name, reason = _choose(project, job, unusable)
    recorded = run.read_manifest().get("backend") if resume else None
    if isinstance(recorded, dict) and recorded.get("name") in ("peft", "unsloth"):
        name, reason = recorded["name"], text("The run started with this backend.")
    if name == "unsloth":
        if unusable:
            raise ProblemError(unusable)
        name, reason = _import_unsloth(project, reason, job)
    version = importlib.metadata.version(name)
    run.update_manifest(backend={"name": name, "why": str(reason), "version": version})
    template = (
        "The training backend is Unsloth {version}. {reason}"
        if name == "unsloth"
        else "The training backend is PEFT. {reason}"
    )
    job.emit(events.Log(text=fill(template, {"version": version, "reason": reason})))
    return name


def create_backend(name: str) -> Backend:
    """Return the backend "peft" or "unsloth", as `choose_backend` returned it."""
    if name == "unsloth":
        from lora_studio.engine.backends.unsloth import UnslothBackend

        return UnslothBackend()
    from lora_studio.engine.backends.peft import PeftBackend

    return PeftBackend()


def _choose(project: Project, job: JobContext, unusable: Problem | None) -> tuple[str, Text]:
    """Return the name and the reason for it; `unusable` says why Triton's kernels don't run here."""
    configured = project.training.backend
    if configured != "auto":
        if configured == "unsloth" and importlib.util.find_spec("unsloth") is None:
            raise ProblemError(_unavailable_problem(text("Unsloth isn't installed.")))
        return configured, text("It is set in the project.")
    reason = _get_reason_against_unsloth(project, job)
    if not reason and unusable:
        reason = unusable.what
    return (
        ("peft", reason)
        if reason
        else ("unsloth", text("It is faster for this model on this GPU."))
    )


def _get_reason_against_unsloth(project: Project, job: JobContext) -> Text | None:
    """Return why Unsloth can't be used or isn't faster; the cheapest checks come first."""
    if importlib.util.find_spec("unsloth") is None:
        return text("Unsloth isn't installed.")
    if reason := combinations.explain_unsloth_conflict(
        project.model, project.lora, project.training
    ):
        return reason
    # `recipe/grpo.py` refuses it. Prompts for rewards are never detected, so the format of a source says it.
    if any(source.format == "prompts" for source in project.dataset.sources):
        return text("Unsloth can't train on rewards.")
    if devices.choose_device(project.model.device).type != "cuda":
        return text("Unsloth is only faster on a GPU.")
    folder = sources.resolve(project.model, job)
    model_type = model_folder.read_config(folder).get("model_type")
    if str(model_type) not in _FAST_MODEL_TYPES:
        return text(
            "Unsloth has no fast layers for {model_type} models.", model_type=str(model_type)
        )
    if _is_spread(project, folder):
        return text("Unsloth trains on one GPU, but the model is spread over several.")
    return None


def _is_spread(project: Project, folder: Path) -> bool:
    """Return whether the model needs several GPUs, judged by its files: transformers isn't imported yet."""
    device = devices.choose_device(project.model.device)
    stored = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    share = 0.25 if project.model.precision == "4bit" else 1.0
    return placement.should_spread(project.model, device, lambda: round(share * stored))


def _import_unsloth(project: Project, reason: Text, job: JobContext) -> tuple[str, Text]:
    """Import Unsloth; where that fails and it wasn't configured by name, return PEFT."""
    os.environ.update(_ENVIRONMENT)
    build_tools.set_compile_caches()
    job.report_progress(text("importing Unsloth"), 0, None)
    try:
        importlib.import_module("unsloth")
    except Exception as error:  # it checks drivers, versions and files, and fails in many ways
        message = (str(error).strip().split("\n")[0] or type(error).__name__).rstrip(".")[:300]
        failure = text("Unsloth can't be used here: {error}.", error=message)
        if project.training.backend == "unsloth":
            raise ProblemError(_unavailable_problem(failure)) from error
        return "peft", failure
    return "unsloth", reason


def _find_triton_problem(
    device: torch.device, missing: build_tools.BuildTool | None
) -> Problem | None:
    """Return why Unsloth's kernels can't run on a GPU, None if they can; `missing` is what Triton lacks."""
    if device.type != "cuda" or (missing is None and devices.can_run_triton(device)):
        return None
    template: Template = (
        "Unsloth's kernels can't be built on this computer."
        if missing
        else "Triton, which Unsloth needs, has no code for this GPU."
    )
    return error(
        "training.no_unsloth_kernels",
        template,
        "Start a new run with the backend Automatic. If a warning names missing tools, you can also install them.",
        where=Where(step="training", field="backend"),
    )


def _unavailable_problem(what: Text) -> Problem:
    return error(
        "training.no_unsloth",
        what,
        "Install it (pip install unsloth) in the engine's environment, or set the backend to "
        "Automatic.",
        where=Where(step="training", field="backend"),
        fix=Fix(
            label=text("Set the backend to Automatic"),
            step="training",
            field="backend",
            value="auto",
        ),
    )
