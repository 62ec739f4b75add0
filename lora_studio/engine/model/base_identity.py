"""Check that the base model of a run is still the one that its adapter was trained on."""

from __future__ import annotations

from pathlib import Path

from lora_studio.core.problems import Where, fail
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.model.folder import get_identity


def require_same_base(run: RunFolder, folder: Path) -> None:
    """Raise ProblemError if the model in `folder` isn't the one that the run recorded.

    Weights of the same shapes would be accepted anywhere else, and the answers would be meaningless.
    """
    recorded = run.read_manifest().get("base_model")
    expected = recorded.get("hash") if isinstance(recorded, dict) else None
    if isinstance(expected, str) and get_identity(folder)["hash"] != expected:
        raise fail(
            "run.base_changed",
            "The base model in {folder} has changed since the adapter was trained on it.",
            "Restore the model that the adapter was trained on. To merge into another one, choose it on "
            "the Merge page.",
            where=Where(step="model", field="source", file=str(folder)),
            folder=str(folder),
        )
