"""Which backend trains, settled before transformers is imported: Unsloth has to come first."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os

from lora_studio.core.problems import Fix, Problem, ProblemError, Where
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import paths
from lora_studio.core.training import combinations
from lora_studio.engine.devices import devices
from lora_studio.engine.model import folder as model_folder
from lora_studio.engine.model import sources
from lora_studio.engine.runtime.channel import JobContext

#: Kinds of models (`model_type`) that Unsloth has fast layers of its own for; without experts, which
#: it would adapt unasked.
_FAST = (
    "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "cohere", "granite", "falcon_h1",
)  # fmt: skip

#: WORKAROUND: without the first, Unsloth fetches files from the hub to count its users whenever a
#: model is loaded; without the second, patched models give no logits outside evaluations.
_SETTINGS = {"UNSLOTH_DISABLE_STATISTICS": "1", "UNSLOTH_RETURN_LOGITS": "1"}


def settle(run: RunFolder, job: JobContext, *, resume: bool = False) -> str:
    """"peft" or "unsloth", which is imported then, for this process only; says why, and notes it.

    A resumed training keeps the backend it began with. Raises ProblemError where choices cannot go
    together or what was asked for is not to be had.
    """  # fmt: skip
    project = run.load_project()
    wrong = combinations.check(project.model, project.lora, project.training)
    if wrong:
        raise ProblemError(wrong)
    name, why = _choose(project, job)
    before = run.manifest().get("backend") if resume else None
    if isinstance(before, dict) and before.get("name") in ("peft", "unsloth"):
        name, why = before["name"], "training began with it"
    if name == "unsloth":
        name, why = _import_unsloth(project, why, job)
    version = importlib.metadata.version(name)
    run.update_manifest(backend={"name": name, "why": why, "version": version})
    title = {"peft": "PEFT", "unsloth": f"Unsloth {version}"}[name]
    job.emit(events.Log(text=f"Backend: {title}, because {why}."))
    return name


def _choose(project: Project, job: JobContext) -> tuple[str, str]:
    """The name and the reason for it."""
    wanted = project.training.backend
    if wanted != "auto":
        if wanted == "unsloth" and importlib.util.find_spec("unsloth") is None:
            raise ProblemError(_unavailable("Unsloth is not installed."))
        return wanted, "it was chosen"
    reason = _against_unsloth(project, job)
    return ("peft", reason) if reason else ("unsloth", "it is faster for this model on this GPU")


def _against_unsloth(project: Project, job: JobContext) -> str | None:
    """Why Unsloth would not do or not pay, as the end of a sentence. The cheapest questions first."""
    if importlib.util.find_spec("unsloth") is None:
        return "Unsloth is not installed"
    if found := combinations.against_unsloth(project.model, project.lora, project.training):
        return found
    import torch

    if devices.choose(project.model.device).type != "cuda":
        return "Unsloth is faster on a GPU only"
    if project.model.device == "auto" and torch.cuda.device_count() > 1:
        return "Unsloth trains on one GPU, and the layers are spread over several"
    kind = model_folder.read_config(sources.resolve(project.model, job)).get("model_type")
    if kind not in _FAST:
        return f"Unsloth has no fast layers for models of the kind {kind}"
    return None


def _import_unsloth(project: Project, why: str, job: JobContext) -> tuple[str, str]:
    """Imports it; where that fails and it was not asked for by name, PEFT takes its place."""
    os.environ.update(_SETTINGS)
    # Where it keeps code that it generates; by itself it would take the current folder.
    os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(paths.cache_folder() / "unsloth"))
    job.progress("importing Unsloth", 0, None)
    try:
        importlib.import_module("unsloth")
    except Exception as error:  # it looks at drivers, versions and files, and says so in many ways
        reason = (str(error).strip().split("\n")[0] or type(error).__name__).rstrip(".")[:300]
        if project.training.backend == "unsloth":
            raise ProblemError(_unavailable(f"Unsloth cannot be used here: {reason}.")) from error
        return "peft", f"Unsloth cannot be used here: {reason}"
    return "unsloth", why


def _unavailable(what: str) -> Problem:
    return Problem(
        code="training.no_unsloth",
        what=what,
        remedy="Install it (pip install unsloth) beside the engine, or leave the backend open.",
        where=Where(step="training", field="backend"),
        fix=Fix(label="Leave it open", step="training", field="backend", value="auto"),
    )
