"""Add GGUF files to LM Studio, as models folder / publisher / model / file, and a preset for them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lora_studio.core.messages import text
from lora_studio.core.model.folders import list_lm_studio_folders
from lora_studio.core.problems import Where, fail, warning
from lora_studio.core.project.project import Project, to_file_name
from lora_studio.core.system.files import copy_file, create_folder, link_file, write_atomic
from lora_studio.engine.runtime import disk
from lora_studio.engine.runtime.channel import JobContext

#: The publisher that the files are listed under.
PUBLISHER = "lora-studio"


#: Folder of presets, next to the models folder.
PRESETS = "config-presets"


def add_to_lm_studio(
    project: Project,
    files: Iterable[Path],
    job: JobContext,
    *,
    template: str = "",
    stops: Sequence[str] = (),
) -> None:
    """Link the files into LM Studio's models folder, or copy them from another disk; warns without one.

    With a chat template, also writes a preset with it and its stop strings. Raises ProblemError when the folder that the user chose doesn't exist, or the disk is full.
    """
    models = _find_models_folder(project.export.lm_studio_folder)
    if models is None:
        job.warn(
            warning(
                "export.no_lm_studio",
                "LM Studio's models folder was not found on this computer.",
                "Start LM Studio once, or choose the folder on the Export page.",
                where=Where(step="export", field="lm_studio_folder"),
            )
        )
        return
    folder = models / PUBLISHER / to_file_name(project.name)
    create_folder(folder)
    for file in files:
        _put(file, folder / file.name, job)
    if template and (models in list_lm_studio_folders() or (models.parent / PRESETS).is_dir()):
        name = f"{PUBLISHER}-{folder.name}"
        target = models.parent / PRESETS / f"{name}.preset.json"
        target.parent.mkdir(exist_ok=True)
        write_atomic(target, json.dumps(make_preset(project, name, template, stops), indent=2))
        job.log(text("Wrote LM Studio's preset {name}.", name=name))
    job.log(
        text(
            "Added to LM Studio as {model} in {folder}. Refresh its list of models.",
            model=f"{PUBLISHER}/{folder.name}",
            folder=str(folder),
        )
    )


def make_preset(project: Project, name: str, template: str, stops: Sequence[str]) -> dict[str, Any]:
    """Return a preset as LM Studio 0.3 saves them, with the template of training (lmstudio-js)."""
    export = project.export
    prompt = {
        "type": "jinja",
        "jinjaPromptTemplate": {"template": template},
        "stopStrings": list(stops),
    }
    fields = {
        "systemPrompt": export.system_prompt,
        "promptTemplate": prompt,
        "stopStrings": list(stops),
        "temperature": export.temperature,
        "topPSampling": {"checked": True, "value": export.top_p},
    }
    entries = [{"key": f"llm.prediction.{key}", "value": value} for key, value in fields.items()]
    return {
        "identifier": f"@local:{name}",
        "name": name,
        "changed": False,
        "operation": {"fields": entries},
        "load": {"fields": []},
    }


def _find_models_folder(chosen: str) -> Path | None:
    if chosen:
        if not Path(chosen).is_dir():
            raise fail(
                "export.no_lm_studio",
                "The folder {folder} doesn't exist.",
                "Choose LM Studio's models folder, or leave the field empty to find it "
                "automatically.",
                where=Where(step="export", field="lm_studio_folder"),
                folder=chosen,
            )
        return Path(chosen)
    return next(iter(list_lm_studio_folders()), None)


def _put(file: Path, target: Path, job: JobContext) -> None:
    """Link or copy a file in one step, so that LM Studio never lists half of it."""
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        if not link_file(file, part):
            disk.require_free_space(target.parent, file.stat().st_size, "The copy for LM Studio")
            copy_file(file, part, lambda _: job.check())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
