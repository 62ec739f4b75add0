"""The engine manager of the window; a script plays the setup."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QPushButton
from pytestqt.qtbot import QtBot

from lora_studio import __version__
from lora_studio.gui.pages.settings.engine_manager import EngineControl, EngineDialog, EngineManager
from lora_studio.gui.pages.settings.page import EngineActions
from lora_studio.gui.problems.suggested_actions import Messages
from lora_studio.gui.window.main_window import Window
from lora_studio.setup import engines, folders
from lora_studio.setup.engines import Engine
from lora_studio.setup.events import (
    Failed,
    Progress,
    Warned,
)
from lora_studio.setup.operations import SetupRequest
from tests.helpers.set_up_script import NO_NETWORK, PLAN, READY, Script


@pytest.fixture
def opened(qtbot: QtBot) -> Iterator[Callable[[Script], EngineDialog]]:
    """Yield a function that opens a dialog with a script and waits for its plan."""
    dialogs: list[EngineDialog] = []

    def make(script: Script, mode: str = "install") -> EngineDialog:
        control = EngineControl(make=script)
        request = SetupRequest(mode=mode)  # type: ignore[arg-type]  # one of the three modes
        with qtbot.waitSignal(control.ended):
            dialog = EngineDialog(control, request)
        qtbot.addWidget(dialog)
        dialog.show()
        dialogs.append(dialog)
        return dialog

    yield make
    for dialog in dialogs:
        dialog.control.stop_background_work()


def test_setup_plan_shows_download_disk_space_and_folder(
    opened: Callable[[Script], EngineDialog],
) -> None:
    facts = opened(Script()).facts.get_facts()
    assert facts["This computer"] == "NVIDIA RTX 4090, 24 GiB, driver 570.86, CUDA 12.8"
    assert facts["Download"] == "3.2 GB (81 packages, 3 already installed)"
    assert facts["Disk space"] == "9 GB required, 80 GB free"
    assert facts["Folder"] == "/data/engine"


def test_setup_starts_on_click_and_shows_speed_and_time_left(
    qtbot: QtBot, opened: Callable[[Script], EngineDialog]
) -> None:
    half = Progress(stage="Downloading", done=1e9, total=3e9, unit="B", eta_s=100)
    dialog = opened(Script(half, hold=True))
    assert not dialog.control.running
    qtbot.mouseClick(dialog.go, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dialog.control.progress is not None)
    assert dialog.progress.doing.text() == "Downloading: 1 GB of 3 GB  ·  20 MB/s"
    assert dialog.progress.left.text() == "33 %  ·  about 2 min left"
    with qtbot.waitSignal(dialog.control.ended):
        qtbot.mouseClick(dialog.cancel, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(dialog.outcome.isVisible)
    assert "continues from there" in dialog.outcome.text()
    assert dialog.go.text() == "Try again"


def test_failed_plan_shows_problem_and_can_be_retried(
    qtbot: QtBot, opened: Callable[[Script], EngineDialog]
) -> None:
    script = Script(plan=Failed(problem=NO_NETWORK))
    dialog = opened(script)
    qtbot.waitUntil(dialog.problem.isVisible)
    assert "doesn't respond" in dialog.problem.text()
    assert "start the setup again" in dialog.problem.text()
    script.plan = PLAN
    with qtbot.waitSignal(dialog.control.ended):
        qtbot.mouseClick(dialog.go, Qt.MouseButton.LeftButton)
    assert not dialog.problem.isVisible()
    assert len(script.requests) == 2


def test_failed_setup_can_be_continued_by_one_click(
    qtbot: QtBot, opened: Callable[[Script], EngineDialog]
) -> None:
    script = Script(Failed(problem=NO_NETWORK))
    dialog = opened(script)
    with qtbot.waitSignal(dialog.control.ended):
        qtbot.mouseClick(dialog.go, Qt.MouseButton.LeftButton)
    assert dialog.go.text() == "Try again"
    script.sequence = (READY,)
    with qtbot.waitSignal(dialog.control.switched):
        qtbot.mouseClick(dialog.go, Qt.MouseButton.LeftButton)
    assert dialog.outcome.text() == "The engine is ready."
    assert script.requests == [SetupRequest(), SetupRequest()]


def test_insufficient_disk_space_is_shown_before_setup(
    opened: Callable[[Script], EngineDialog],
) -> None:
    assert not opened(Script()).note.isVisible()
    small = opened(Script(plan=PLAN.model_copy(update={"free": 1_000_000_000})))
    assert small.note.isVisible()
    assert "Not enough disk space" in small.note.text()


def test_enter_starts_the_setup(qtbot: QtBot, opened: Callable[[Script], EngineDialog]) -> None:
    dialog = opened(Script(READY))
    dialog.close_.setFocus()  # like while nothing can be started
    dialog.control.changed.emit()
    focused = dialog.focusWidget()
    assert focused is dialog.go
    with qtbot.waitSignal(dialog.control.switched):
        qtbot.keyClick(focused, Qt.Key.Key_Return)


def test_finished_setup_is_reported_and_can_be_closed(
    qtbot: QtBot, opened: Callable[[Script], EngineDialog]
) -> None:
    note = NO_NETWORK.model_copy(update={"what": "PyTorch is larger.", "severity": "warning"})
    dialog = opened(Script(Warned(problem=note), READY))
    with qtbot.waitSignal(dialog.control.switched):
        qtbot.keyClick(dialog, Qt.Key.Key_Return)
    assert dialog.outcome.text() == "The engine is ready."
    assert "PyTorch is larger." in dialog.note.text()
    qtbot.mouseClick(dialog.go, Qt.MouseButton.LeftButton)
    assert not dialog.isVisible()


def test_changing_the_variant_plans_again(
    qtbot: QtBot, opened: Callable[[Script], EngineDialog]
) -> None:
    script = Script()
    dialog = opened(script)
    box = dialog.variant.box
    with qtbot.waitSignal(dialog.control.ended):
        box.setCurrentIndex(box.findData("cpu"))
        box.activated.emit(box.currentIndex())
    assert script.requests[-1].variant == "cpu"


def test_outdated_plan_is_replaced_by_the_requested_one(
    qtbot: QtBot,
) -> None:
    script = Script()
    control = EngineControl(make=script)
    control.prepare(SetupRequest(mode="install"))
    dialog = EngineDialog(control, SetupRequest(mode="repair"))
    qtbot.addWidget(dialog)
    dialog.show()
    qtbot.waitUntil(lambda: [request.mode for request in script.requests] == ["install", "repair"])
    qtbot.waitUntil(lambda: control.planned)
    assert control.request == SetupRequest(mode="repair")
    control.stop_background_work()


def test_setup_continues_after_its_dialog_is_closed(qtbot: QtBot) -> None:
    messages = Messages()
    messages.connect_view()
    posted: list[str] = []
    messages.posted.connect(lambda message: posted.append(message.text))
    window = EngineActions()
    qtbot.addWidget(window)
    manager = EngineManager(messages, window)
    script = Script(READY)
    manager.control.make = script
    manager.open("install")
    qtbot.waitUntil(lambda: manager.control.planned)
    assert manager.dialog is not None
    manager.dialog.go.click()
    manager.dialog.reject()
    qtbot.waitUntil(lambda: bool(posted))
    assert manager.dialog is None
    manager.stop_background_work()


def test_outdated_engine_opens_the_update_dialog(
    qtbot: QtBot, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script()
    window.engine.control.make = script
    window.engine.open_if_missing()
    assert window.engine.dialog is None, "the engine of the tests is compatible"
    monkeypatch.delenv("LORA_STUDIO_ENGINE")
    installed("cpu-1", app_version="0.0.1")
    window.engine.open_if_missing()
    qtbot.waitUntil(lambda: window.engine.control.planned)
    assert window.engine.dialog is not None
    assert script.requests == [SetupRequest(mode="update")]
    window.engine.dialog.reject()


def test_missing_engine_problem_opens_the_setup(qtbot: QtBot, window: Window) -> None:
    window.engine.control.make = Script()
    window.messages.problem(engines.no_engine_problem())
    assert window.engine.dialog is not None
    qtbot.waitUntil(lambda: window.engine.control.planned)
    window.engine.dialog.reject()


def installed(name: str, **facts: str) -> Engine:
    """Install an empty engine, make it the current one and return it."""
    root = folders.get_root()
    values = {"variant": "cpu", "app_version": __version__, "python_version": "3.11.7"} | facts
    engine = Engine.model_validate(
        {"name": name, "created": name, "torch": "2.9", "folder": root.engines / name} | values
    )
    engine.python.parent.mkdir(parents=True)
    engine.python.write_text("")
    engines.write_manifest(engine)
    engines.switch_engine(engine, root)
    return engine


@pytest.mark.slow
def test_engines_with_the_same_name_show_their_creation_time(qtbot: QtBot, window: Window) -> None:
    installed("cpu-1", created="2026-11-26T10:15:30+01:00")
    installed("cpu-2", created="2026-11-27T09:00:00+01:00")
    installed("cuda-1", variant="cuda")
    window.show_page("settings")
    window.settings.refresh_engine(running=False)
    box = window.settings.engine.choice.box
    texts = {box.itemData(row): box.itemText(row) for row in range(box.count())}
    assert texts["cpu-1"].endswith("(created 2026-11-26 10:15)")
    assert texts["cpu-2"].endswith("(created 2026-11-27 09:00)")
    assert texts["cuda-1"].startswith("NVIDIA,")


@pytest.mark.slow
def test_engine_actions_depend_on_installed_engines(qtbot: QtBot, window: Window) -> None:
    actions = window.settings.engine
    window.show_page("settings")
    assert shown(actions) == ["Set up…"]
    installed("cpu-1")
    installed("cpu-2")
    window.settings.refresh_engine(running=False)
    assert shown(actions) == ["Set up…", "Repair…", "Roll back", "Move…", "Remove…"]
    assert actions.choice.box.count() == 2
    with qtbot.waitSignal(window.engine.switched):
        actions.rollback.click()
    assert engines.get_current() == engines.find_engine("cpu-1")
    with qtbot.waitSignal(window.engine.switched):
        window.engine.activate("cpu-2")
    assert engines.get_current() == engines.find_engine("cpu-2")


def shown(actions: EngineActions) -> list[str]:
    """Return the texts of the visible buttons."""
    return [part.text() for part in actions.buttons if not part.isHidden()]


@pytest.mark.slow
def test_removing_the_engine_asks_first_and_keeps_projects(qtbot: QtBot, window: Window) -> None:
    engine = installed("cpu-1")
    project = Path(folders.get_root().path.parent, "projects")
    project.mkdir(parents=True)
    window.settings.refresh_engine(running=False)
    window.engine.run_action("remove")
    question = window.engine.question
    assert question is not None
    assert str(folders.get_root().path) in question.text.text()
    buttons = question.findChildren(QPushButton)
    remove = next(part for part in buttons if part.text().startswith("Remove"))
    with qtbot.waitSignals([window.engine.clearing, window.engine.switched]):
        remove.click()
    assert not engine.folder.exists()
    assert project.is_dir()
    assert engines.get_current() is None
