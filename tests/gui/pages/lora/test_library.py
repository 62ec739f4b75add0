"""The adapter library: list, details, combination, and use elsewhere in the window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QWidget
from pytestqt.qtbot import QtBot

from lora_studio.core.chat import OllamaChatModel
from lora_studio.core.lora.adapters import AdapterFacts, AdapterFit, LayerFacts
from lora_studio.core.problems import Problem
from lora_studio.core.protocol import events
from lora_studio.gui.pages.lora.library import AdapterLibrary
from lora_studio.gui.pages.lora.library_dialog import AdapterLibraryDialog, NormBars
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import ProjectState
from lora_studio.gui.window.main_window import Window
from tests.helpers.runs.job_events import emit


def facts(folder: Path, rank: int = 16, **more: Any) -> AdapterFacts:
    return AdapterFacts(
        folder=str(folder), base="org/Llama-3.2-3B", rank=rank, ranks=(rank, rank), alpha=2 * rank,
        modules=("q_proj", "v_proj"), parameters=4_000_000, bytes=16_000_000, **more,
    )  # fmt: skip


def layers(count: int = 4) -> tuple[LayerFacts, ...]:
    return tuple(
        LayerFacts(
            module=f"model.layers.{n}.self_attn.{name}", rank=16, scale=2,
            shape_a=(16, 64), shape_b=(64, 16), norm=3.0 * (n + 1) if name == "q_proj" else 4.0,
        )
        for n in range(count) for name in ("q_proj", "v_proj")
    )  # fmt: skip


@pytest.fixture
def plays(project_folder: Path, tmp_path: Path, scenario: Callable[..., None]) -> Path:
    """Set up a project with two usable adapters and a broken one; return its folder."""
    broken = Problem(code="x.y", what="It has no weights.", remedy="Train it again.")
    style, facts_, torn = (tmp_path / name for name in ("style", "facts", "torn"))
    adapters = (
        facts(style),
        facts(facts_, 32, use="embedding"),
        AdapterFacts(folder=str(torn), problem=broken),
    )
    fit = AdapterFit(model="m", fits=True)
    shown = events.AdapterShown(adapter=facts(style, layers=layers()), fit=fit)
    combined = events.AdapterCombined(
        folder=str(project_folder / "adapters" / "both"), method="cat", rank=48, layers=8, bytes=9
    )
    scenario(
        list_adapters=[emit(events.AdaptersFound(adapters=adapters, fits={str(style): fit}))],
        show_adapter=[emit(shown)],
        combine_adapters=[
            emit(events.Progress(stage="combining", done=1, total=8)),
            emit(combined),
        ],
    )
    return project_folder


def opened(library: AdapterLibrary, qtbot: QtBot) -> AdapterLibraryDialog:
    """Return the open dialog with the first adapter inspected."""
    library.open()
    dialog = library.dialog
    assert dialog is not None
    qtbot.waitUntil(lambda: bool(dialog.norms.update_norms()))
    return dialog


@pytest.mark.slow
def test_adapters_are_listed_inspected_and_combined(
    plays: Path, state: ProjectState, qtbot: QtBot, tmp_path: Path
) -> None:
    holder = QWidget()
    qtbot.addWidget(holder)
    state.open(plays)
    owner = AdapterLibrary(state, Preferences(), holder)
    usable: list[Any] = []
    owner.adapters_listed.connect(usable.append)
    library = opened(owner, qtbot)
    cells = [library.table.item(0, column).text() for column in range(6)]
    assert cells == ["style", "✓", "LoRA", "16", "Llama-3.2-3B", "16 MB"]
    assert library.fit.text() == "Compatible with the project's model."
    assert library.facts.get_facts()["Target modules"] == "q_proj, v_proj"
    assert library.norms.update_norms()[0] == 5.0  # √(3² + 4²)
    assert library.strength.text() == "Largest update: layer 3, ‖ΔW‖ 12.6."
    library.table.setCurrentCell(2, 0)
    assert library.fit.text() == "It has no weights. Train it again."
    assert not library.chat.isEnabled()
    assert usable[-1] == (library.adapters[0].folder,)  # the other one can't chat
    library.table.setCurrentCell(1, 0)
    assert (library.chat.isEnabled(), library.start.isEnabled()) == (False, False)
    assert library.merge.isEnabled()
    library.table.setCurrentCell(2, 0)
    _combine(library, plays, qtbot)
    library.add_folder(str(tmp_path / "elsewhere"))  # saved in the preferences
    assert Preferences.load().adapter_folders == [str(tmp_path / "elsewhere")]
    library.accept()
    assert not owner.link.held  # its worker has ended


def _combine(library: AdapterLibraryDialog, folder: Path, qtbot: QtBot) -> None:
    combine = library.combine
    assert not combine.make.isEnabled()
    for line in (0, 1):
        library.table.item(line, 0).setCheckState(Qt.CheckState.Checked)
    assert combine.name.text() == "style+facts"
    combine.method.setCurrentIndex(combine.method.findData("ties"))
    assert combine.error.text() == "The adapters have different ranks. Choose Concatenation or SVD."
    combine.method.setCurrentIndex(combine.method.findData("svd"))
    assert combine.rank.value() == 32
    combine.blend.numbers[1].setValue(0.5)
    sent: list[Any] = []
    combine.combine_requested.connect(sent.append)
    combine.make.click()
    (command,) = sent
    assert command.out == str(folder / "adapters" / "style+facts")
    assert (command.method, command.rank) == ("svd", 32)
    assert [each.weight for each in command.adapters] == [1.0, 0.5]
    qtbot.waitUntil(lambda: not library.link.busy)
    assert combine.make.isVisible()


@pytest.mark.slow
def test_adapter_opens_in_playground_and_as_training_start(
    window: Window, plays: Path, qtbot: QtBot
) -> None:
    window.open_project(plays)
    library = opened(window.library, qtbot)
    folder = library.adapters[0].folder
    library.chat.click()
    assert library.result() == QDialog.DialogCode.Accepted
    assert window.page_name == "playground"
    chat_model = window.playground.controller.conversation.chat_models[1]
    assert chat_model.adapters[0].folder == folder
    # Chat with the exported model in the same way.
    exported = OllamaChatModel(name="bot", host="http://127.0.0.1:11434")
    window.pages["export"].chat_requested.emit(exported)
    assert window.playground.controller.conversation.chat_models[1] == exported
    window.library.training_requested.emit(folder)
    assert window.page_name == "lora"
    assert window.state.get("lora", "start_from") == folder
    window.state.undo.undo()
    assert window.state.get("lora", "start_from") == ""


def test_norm_bars_are_read_by_keyboard(qtbot: QtBot) -> None:
    bars = NormBars()
    qtbot.addWidget(bars)
    bars.show_layers(layers(3))
    bars.resize(300, 120)
    bars.show()
    qtbot.keyClick(bars, Qt.Key.Key_Right)
    qtbot.keyClick(bars, Qt.Key.Key_Right)
    assert bars.accessibleDescription().startswith("Layer 1: ‖ΔW‖ 7.21")
    assert "self_attn.q_proj  6" in bars.accessibleDescription()


@pytest.mark.slow
@pytest.mark.usefixtures("plays")
def test_narrow_adapter_list_hides_all_but_essential_columns(
    qtbot: QtBot, window: Window, project_folder: Path
) -> None:
    window.open_project(project_folder)
    dialog = opened(window.library, qtbot)
    table, rank = dialog.table, 3
    dialog.resize(1500, 700)
    qtbot.waitUntil(lambda: not table.isColumnHidden(rank))
    dialog.resize(780, 700)
    qtbot.waitUntil(lambda: table.isColumnHidden(rank))
    assert not table.isColumnHidden(0)
    dialog.reject()
