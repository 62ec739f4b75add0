"""Whether the Export page is about an embedding model."""

from __future__ import annotations

from lora_studio.core.runs.manifest import get_task
from lora_studio.gui.project.state import ProjectState


class RunTask:
    """Knows the task of the run that the window follows, or before its training that of the dataset."""

    def __init__(self, state: ProjectState) -> None:
        """Read the run when `is_embedding` is called."""
        self._state = state
        self._key: object = None
        self._task: str | None = None

    def is_embedding(self, results: object) -> bool:
        """Return whether an embedding model is trained. The run is read again when its results have changed."""
        run, data = self._state.run, self._state.facts.dataset
        if (key := (run, results)) != self._key:
            self._key = key
            self._task = get_task(run.read_manifest()) if run is not None else None
        return (self._task or (data.task if data is not None else None)) == "embedding"
