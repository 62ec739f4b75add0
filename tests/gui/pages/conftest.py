"""Fixtures of the page tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_studio.core.runs import folder
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.project.state import ProjectState


@pytest.fixture
def run(state: ProjectState, project_folder: Path) -> Iterator[RunFolder]:
    """Yield a run of the open project."""
    assert state.open(project_folder)
    yield folder.create_run(project_folder / "runs", state.draft.freeze(), project_folder)
    state.undo.setClean()
