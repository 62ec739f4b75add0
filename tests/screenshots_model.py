"""Screenshots of the Model page in its states, and of the settings help."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from PySide6.QtTest import QTest
from PySide6.QtWidgets import QWidget

from lora_studio.core.protocol import events
from lora_studio.core.system import offline
from lora_studio.gui.widgets import docs_viewer
from lora_studio.gui.window.main_window import Window
from tests.helpers.models import model_facts, model_lists
from tests.helpers.runs.job_events import emit, wait_until

GATED = (
    "meta-llama/Llama-3.2-3B-Instruct is open only to people who accepted its terms. Accept them "
    "on the model's page, then sign in with your token."
)


def scenario() -> dict[str, list[dict[str, Any]]]:
    """Return the models that the workers find; a download never ends."""
    half = events.Progress(
        stage="fetching model", done=2.1e9, total=6.43e9, unit="bytes", eta_s=125
    )
    return {
        "list_models": [emit(model_lists.cache())],
        "search_models": [emit(model_lists.hub())],
        "inspect_account": [emit(events.AccountFound(name="", has_token=False))],
        "download_model": [emit(half), {"sleep": 60}],
    }


def shots(window: Window) -> Iterator[tuple[str, QWidget]]:
    """Yield the states of the page."""
    page: Any = window.pages["model"]
    known = model_facts.model()
    page.browser.show_source("recommended")
    QTest.qWait(300)
    yield "model-recommended", window
    page.browser.show_source("cache")
    QTest.qWait(300)
    yield "model-cache", window
    page.browser.show_source("hub")
    QTest.qWait(1500)
    window.state.set_answer(
        known.model_copy(update={"missing_bytes": 6_430_000_000, "gated": True})
    )
    yield "model-hub", window
    page.download.start.click()
    wait_until(lambda: " of " in page.download.progress.doing.text())
    yield "model-downloading", window
    page.download.stop.click()
    wait_until(lambda: not page.download.is_running)
    window.state.set_answer(
        known.model_copy(update={"missing_bytes": 4_330_000_000, "gated": True})
    )
    yield "model-download-cancelled", window
    window.state.set_answer(
        known.model_copy(update={"missing_bytes": 6_430_000_000, "gated": True})
    )
    page.download.explain("model.gated", GATED)
    yield "model-gated", window
    page.sign_in()
    yield "dialog-token", page.account.dialog
    page.account.dialog.reject()
    os.environ[offline.VARIABLE] = "1"
    page.browser.refresh()
    yield "model-offline", window
    del os.environ[offline.VARIABLE]
    page.browser.show_source("here")
    yield "model-here", window
    page.repeat_queries()
    window.state.set_answer(known)
    viewer = docs_viewer.show("lora-update", window)
    QTest.qWait(100)
    yield "dialog-docs", viewer
    viewer.close()
