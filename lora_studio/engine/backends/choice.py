"""Choose the backend, before transformers is imported: Unsloth has to come first."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
from typing import TYPE_CHECKING

from lora_studio.core.messages import Template, Text, fill, text
from lora_studio.core.problems import Fix, ProblemError, Where, fail
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import programs
from lora_studio.core.training import combinations, recipe_checks
from lora_studio.engine.devices import devices
from lora_studio.engine.runtime import fast_imports
from lora_studio.engine.runtime.channel import JobContext

if TYPE_CHECKING:
    import torch

    from lora_studio.engine.backends.backend import Backend

#: WORKAROUND: without the first, Unsloth downloads files from the Hub to count its users whenever it loads
#: a model; without the second, patched models return no logits in training mode.
_ENVIRONMENT = {"UNSLOTH_DISABLE_STATISTICS": "1", "UNSLOTH_RETURN_LOGITS": "1"}


def choose_backend(run: RunFolder, job: JobContext, *, resume: bool = False) -> str:
    """Return "peft", or "unsloth" after importing it; emits and records the choice.

    Unsloth is used only where the project says so: memory estimates and the checks on GPUs are for PEFT
    with this program's kernels. Call this before transformers is imported, since Unsloth patches it. A
    resumed training keeps its backend. Raises ProblemError for settings that exclude each other, or a
    backend that isn't available.
    """
    project = run.load_project()
    recorded = run.read_manifest().get("backend") if resume else None
    if isinstance(recorded, dict) and recorded.get("name") in ("peft", "unsloth"):
        # Its settings were checked when it started, maybe when Automatic could mean Unsloth.
        name, reason = recorded["name"], text("The run started with this backend.")
    elif problems := combinations.check(project.model, project.lora, project.training):
        raise ProblemError(problems)
    elif project.training.backend == "auto":
        name, reason = "peft", text("It is the default.")
    else:
        name, reason = project.training.backend, text("It is set in the project.")
    device = devices.choose_device(project.model.device)
    missing_tool = programs.find_missing_build_tool()
    for problem in recipe_checks.check_build_tools(missing_tool, str(device), project.training):
        job.emit(events.Warned(problem=problem))
    if name == "unsloth":
        if importlib.util.find_spec("unsloth") is None:
            raise _unavailable_error(text("Unsloth isn't installed."))
        _check_triton(device, missing_tool)
        _import_unsloth(job)
    version = importlib.metadata.version(name)
    run.update_manifest(backend={"name": name, "why": str(reason), "version": version})
    template = (
        "The training backend is Unsloth {version}. {reason}"
        if name == "unsloth"
        else "The training backend is PEFT. {reason}"
    )
    job.emit(events.LogLine(text=fill(template, {"version": version, "reason": reason})))
    return name


def load_backend(name: str) -> Backend:
    """Return the backend "peft" or "unsloth", as `choose_backend` returned it."""
    if name == "unsloth":
        from lora_studio.engine.backends.unsloth import prepare_with_unsloth

        return prepare_with_unsloth
    from lora_studio.engine.backends.backend import prepare_with_peft

    return prepare_with_peft


def _check_triton(device: torch.device, missing: programs.BuildTool | None) -> None:
    """Raise ProblemError where Unsloth's kernels can't run on a GPU; `missing` is what Triton lacks."""
    if device.type != "cuda" or (missing is None and devices.can_run_triton(device)):
        return
    template: Template = (
        "Unsloth's kernels can't be built on this computer."
        if missing
        else "Triton, which Unsloth needs, has no code for this GPU."
    )
    raise fail(
        "training.no_unsloth_kernels",
        template,
        "Start a new run with the backend Automatic. If a warning names missing tools, you can also install them.",
        where=Where(step="training", field="backend"),
    )


def _import_unsloth(job: JobContext) -> None:
    """Import Unsloth; raises ProblemError where it fails."""
    os.environ.update(_ENVIRONMENT)
    programs.set_compile_caches()
    fast_imports.show_rarely_used_packages()
    job.report_progress(text("importing Unsloth"), 0, None)
    try:
        importlib.import_module("unsloth")
    except Exception as error:  # it checks drivers, versions and files, and fails in many ways
        message = (str(error).strip().split("\n")[0] or type(error).__name__).rstrip(".")[:300]
        raise _unavailable_error(
            text("Unsloth can't be used here: {error}.", error=message)
        ) from error


def _unavailable_error(what: Text) -> ProblemError:
    return fail(
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
