"""From an empty home to a first model, with the mouse and the real worker; clicks are counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from lora_studio.gui import theme
from lora_studio.gui.frame import lazy_pages
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.commands import NewProjectDialog
from lora_studio.gui.window.main_window import Window
from lora_studio.gui.window.wiring import make_window
from tests.helpers.models.llama_cpp_folder import llama_cpp_folder
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.window.fake_engine import Clicks, FileDrop

pytestmark = [pytest.mark.thorough, pytest.mark.end2end]

#: Longest wait for a real job on a busy machine, in milliseconds.
WAIT = 180_000
#: Most clicks, drops and double-clicks from the first screen to a GGUF file.
MOST_CLICKS = 8
#: Longest turn of the event loop, in seconds of processor time. The goal is 0.2; on a machine whose cores
#: are shared with other work, the same turn takes up to twice as long (0.27 measured).
LONGEST_FREEZE = 0.4

_TABLE = "Ticket no.;Opened;Name;Customer wrote;Agent reply;State\r\n" + "".join(
    f'T-{4000 + n};2025-03-{1 + n % 28:02};Anna Weber;"Hello, my parcel {n} has not arrived. Call me at '
    f'+49 170 {1000000 + n * 37}.";"Thank you for writing. Parcel {n} is on its way and arrives within '
    f'{2 + n % 5} days. Write to anna{n}@example.com for more.";closed\r\n'
    for n in range(40)
)


class _Freezes:
    """Records the processor time between turns of the event loop that lasts longest."""

    def __init__(self) -> None:
        self.longest, self._last = 0.0, time.thread_time()
        self.timer = QTimer(interval=5, timerType=Qt.TimerType.PreciseTimer)
        self.timer.timeout.connect(self._tick)
        self.timer.start()

    def _tick(self) -> None:
        now = time.thread_time()
        self.longest, self._last = max(self.longest, now - self._last), now


@pytest.fixture
def window(qtbot: QtBot, qapp: QApplication, tmp_path: Path, monkeypatch: Any) -> Iterator[Window]:
    """The window as it first opens: no project and no settings."""
    home = tmp_path / "home"
    (home / "Documents").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    theme.apply(qapp, "light")
    new_window = make_window(Preferences(), lazy_pages.make_step_pages)
    new_window.show()
    new_window.resize(1280, 800)
    yield new_window
    new_window.state.undo.setClean()
    new_window.close()
    new_window.deleteLater()


def test_first_model_takes_at_most_eight_clicks(
    qtbot: QtBot, qapp: QApplication, window: Window, tmp_path: Path
) -> None:
    clicks = Clicks()
    click = clicks.click

    def wait(holds: Callable[[], Any]) -> None:
        qtbot.waitUntil(lambda: bool(holds()), timeout=WAIT)

    table = tmp_path / "home" / "Documents" / "tickets.csv"
    table.write_text(_TABLE, "utf-8-sig")
    model = tiny_model("llama3", tmp_path / "base")
    pages: dict[str, Any] = window.pages
    freezes = _Freezes()

    window.home.dropEvent(FileDrop(table))
    clicks.add("drop")
    wait(lambda: qapp.activeModalWidget() is not None)
    dialog: Any = qapp.activeModalWidget()
    assert isinstance(dialog, NewProjectDialog)
    click(dialog.create_button)
    wait(lambda: window.has_project)

    # A model is one click in the list; a tiny one is dropped here, to save time.
    pages["model"].dropEvent(FileDrop(model))
    clicks.add("model")
    wait(lambda: pages["model"].find_blocker() is None)
    click(pages["model"].header.primary)
    assert window.page_name == "dataset", "LoRA has defaults"
    wait(lambda: window.state.facts.dataset is not None and window.state.facts.dataset.complete)
    wait(lambda: pages["dataset"].find_blocker() is None)
    found = window.state.facts.dataset
    assert found is not None
    assert found.complete
    assert found.rows_used == 40
    assert dict(found.sources[0].mapping) == {
        "question": "Customer wrote", "answer": "Agent reply",
    }  # fmt: skip
    window.state.set("training", "epochs", 1)  # to save time
    # The converter doesn't know the tokenizer of the tiny model.
    window.state.set("export", "llama_cpp", str(llama_cpp_folder(tmp_path / "llama.cpp")))

    click(pages["dataset"].header.primary)
    wait(lambda: window.page_name == "training")
    wait(lambda: pages["training"].header.primary.isEnabled())
    click(pages["training"].header.primary)
    wait(lambda: pages["training"].is_done() and not window.jobs.running)
    click(pages["training"].header.primary)
    assert window.page_name == "export", "a merged copy isn't needed"
    wait(lambda: pages["export"].header.primary.isEnabled())
    click(pages["export"].header.primary)
    wait(lambda: pages["export"].is_done() and not window.jobs.running)

    assert window.state.draft.folder is not None
    assert list(window.state.draft.folder.rglob("*.gguf"))
    assert window.rail.button("merging").state.caption == "optional"
    assert not [item.code for item in window.state.list_problems() if "not_running" in item.code]
    assert len(clicks.done) <= MOST_CLICKS, clicks.done
    assert freezes.longest < LONGEST_FREEZE, freezes.longest
