"""The Evaluate page with a run that has an adapter and a GGUF file."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from pytestqt.qtbot import QtBot

from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.pages.evaluation.page import EvaluationPage
from lora_studio.gui.project.state import ProjectState
from tests.gui.conftest import WAIT


@pytest.fixture
def evaluated(run: RunFolder) -> RunFolder:
    """Return the run with an adapter and a GGUF file."""
    run.adapter.mkdir()
    (run.adapter / "adapter_config.json").write_text("{}")
    (run.adapter / "adapter_model.safetensors").write_bytes(b"0")
    run.gguf.mkdir()
    (run.gguf / "support-bot-Q4_K_M.gguf").write_bytes(b"0")
    return run


@pytest.fixture
def page(qtbot: QtBot, state: ProjectState, evaluated: RunFolder) -> Iterator[EvaluationPage]:
    """Yield the page without the rest of the window."""
    evaluation_page = EvaluationPage(state)
    evaluation_page.resize(1130, 720)
    evaluation_page.show()
    yield evaluation_page
    evaluation_page.stop_background_work()
    evaluation_page.close()
    evaluation_page.deleteLater()


@pytest.fixture
def show(qtbot: QtBot, page: EvaluationPage) -> Callable[..., None]:
    """Return a function that lists the runs, and by default waits for an evaluation."""

    def show_page(*, evaluations: int = 1) -> None:
        page.library.refresh(page._state.runs_folder)
        qtbot.waitUntil(lambda: bool(page.choices), timeout=WAIT)
        if evaluations:
            qtbot.waitUntil(lambda: page.shown is not None, timeout=WAIT)

    return show_page
