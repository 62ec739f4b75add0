"""The card that serves a run: what it sends, what it shows, and that it ends with the window."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QLocale
from PySide6.QtGui import QGuiApplication
from pytestqt.qtbot import QtBot

from lora_studio.core import formatting, serving
from lora_studio.core.messages import text
from lora_studio.core.problems import Problem, warning
from lora_studio.core.protocol import events
from lora_studio.core.protocol.chat import ServedAdapter
from lora_studio.core.runs import folder as run_folder
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.pages.export.serving_card import ServingCard
from lora_studio.gui.project.state import ProjectState
from tests.conftest import PATIENCE

READY = events.ServerReady(
    address="http://127.0.0.1:8080", model="bot", file="/cache/base.gguf", program="llama-server", key="k1",
    adapters=(ServedAdapter(id=0, name="Pim", scale=1.0),),
)  # fmt: skip


def add_run(state: ProjectState, folder: Path) -> RunFolder:
    new_run = run_folder.create_run(folder / "runs", state.draft.freeze(), folder)
    for part, name in ((new_run.gguf, "bot-Q4_K_M.gguf"), (new_run.adapter, "adapter_config.json")):
        part.mkdir()
        (part / name).write_bytes(b"{}")
    new_run.events_file.write_text("")
    return new_run


@pytest.fixture
def run(state: ProjectState, project_folder: Path) -> Iterator[RunFolder]:
    """Yield a run of the open project with an adapter and a GGUF file."""
    assert state.open(project_folder)
    new_run = add_run(state, project_folder)
    state.set_run(new_run, "")
    yield new_run
    state.undo.setClean()


@pytest.fixture
def card(qtbot: QtBot, state: ProjectState, run: RunFolder) -> Iterator[ServingCard]:
    serving_card = ServingCard(state)
    qtbot.addWidget(serving_card)
    serving_card.show()
    yield serving_card
    serving_card.stop_background_work()
    qtbot.waitUntil(lambda: not serving_card.worker.busy, timeout=PATIENCE)


def emit(event: events.Event) -> dict[str, object]:
    return {"emit": json.loads(events.to_line(event))}


def test_card_is_hidden_without_anything_to_serve(qtbot: QtBot, state: ProjectState) -> None:
    empty = ServingCard(state)
    qtbot.addWidget(empty)
    assert empty.isHidden()


def test_file_is_preselected_and_adapters_appear_with_the_base(card: ServingCard) -> None:
    assert card.model.currentText() == "bot-Q4_K_M.gguf"
    assert card.served.isHidden()
    card.model.setCurrentIndex(1)
    assert not card.served.isHidden()
    assert [served.scale for served in card.adapters.get_chosen()] == [1.0]


def test_other_run_of_the_base_is_added_with_its_scale(
    qtbot: QtBot, card: ServingCard, state: ProjectState, run: RunFolder, project_folder: Path
) -> None:
    other = add_run(state, project_folder)
    name = serving.RunOption.read(other).name
    card.adapters.menu.aboutToShow.emit()
    qtbot.waitUntil(
        lambda: [a.text() for a in card.adapters.menu.actions()] == [name], timeout=PATIENCE
    )
    card.adapters.menu.actions()[0].trigger()
    card.adapters.scales[1].setValue(0.5)
    chosen = card.adapters.get_chosen()
    assert [(served.run, served.scale) for served in chosen] == [
        (str(run.path), 1.0), (str(other.path), 0.5),
    ]  # fmt: skip


def test_ready_server_shows_address_log_and_copies_requests(
    qtbot: QtBot, card: ServingCard, scenario: Callable[..., None]
) -> None:
    note = warning("serve.other_template", "Another template.", "Serve it separately.")
    lines = ("model loaded", "listening")
    scenario(
        serve=[
            emit(READY), emit(events.ServerLogged(lines=lines)), emit(events.Warned(problem=note)),
            {"sleep": 600},
        ]
    )  # fmt: skip
    card.start()
    assert card.status.text() == "Starting…"
    assert not card.model.isEnabled()
    qtbot.waitUntil(lambda: "Another template." in card.notes.text(), timeout=PATIENCE)
    assert card.status.text() == "✓ Ready at http://127.0.0.1:8080/v1, serving base model with Pim"
    assert card.log.toPlainText() == "model loaded\nlistening"
    for copy, expected in (
        (card.copy_address, "http://127.0.0.1:8080/v1"),
        (card.copy_key, "k1"),
        (card.copy_curl, serving.format_curl(READY)),
        (card.copy_python, serving.format_python(READY)),
    ):
        copy.click()
        assert QGuiApplication.clipboard().text() == expected
    card.stop()
    qtbot.waitUntil(lambda: not card.worker.busy, timeout=PATIENCE)
    assert card.copies.isHidden()
    assert not card.start_button.isHidden()


@pytest.fixture
def german_dates() -> Iterator[None]:
    english = [
        QLocale("en").standaloneMonthName(n, QLocale.FormatType.ShortFormat) for n in range(1, 13)
    ]
    formatting.set_date_names(["M"] * 9 + ["Okt", "M", "M"], "{day}. {month}")
    yield
    formatting.set_date_names(english, "{day} {month}")


@pytest.mark.usefixtures("german_dates")
def test_untitled_run_is_named_with_the_date_of_the_language(
    qtbot: QtBot, card: ServingCard, scenario: Callable[..., None]
) -> None:
    adapter = ServedAdapter(id=0, name="20251024-140512-bot", scale=1.0)
    scenario(serve=[emit(READY.model_copy(update={"adapters": (adapter,)})), {"sleep": 600}])
    card.start()
    name = "24. Okt 2025, 14:05:12 · bot"
    qtbot.waitUntil(lambda: name in card.status.text(), timeout=PATIENCE)
    card.stop()
    qtbot.waitUntil(lambda: not card.worker.busy, timeout=PATIENCE)


def test_failure_shows_problem_and_remedy(
    qtbot: QtBot, card: ServingCard, scenario: Callable[..., None]
) -> None:
    problem = Problem(
        code="serve.no_llama_server", what=text("It was not found."), remedy=text("Install it.")
    )
    scenario(serve=[{"fail": problem.model_dump(mode="json")}])
    card.start()
    qtbot.waitUntil(lambda: card.status.text() == "✗ It was not found.", timeout=PATIENCE)
    assert card.remedy.text() == "Install it."
    with qtbot.waitSignal(card.explain_requested) as signal:
        card.what_now.click()
    assert signal.args[0].code == "serve.no_llama_server"
