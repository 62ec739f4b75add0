"""The dialog that asks whether foreign code may run."""

from __future__ import annotations

import json
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QPushButton
from pytestqt.qtbot import QtBot

from lora_studio.core.model import remote_code
from lora_studio.core.problems import Problem
from lora_studio.core.system import consent
from lora_studio.gui.pages.settings.page import TrustedCodeCard
from lora_studio.gui.problems.dialogs import ConsentDialog
from lora_studio.gui.problems.suggested_actions import suggest_action
from lora_studio.gui.window.main_window import Window

SOURCE = "import os\nprint(os.environ)\n"


def untrusted(folder: Path) -> Problem:
    """Write a model with code of its own, and return the problem about it."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"auto_map": {"AutoConfig": "own.Config"}}))
    (folder / "own.py").write_text(SOURCE)
    code = remote_code.find_code(folder)
    assert code is not None
    return remote_code.untrusted_problem(code)


def open_dialog(window: Window, problem: Problem) -> ConsentDialog:
    window.help.run_action(problem)
    (dialog,) = window.findChildren(ConsentDialog)
    return dialog


def test_problem_of_untrusted_code_offers_a_review(tmp_path: Path) -> None:
    assert (action := suggest_action(untrusted(tmp_path / "model")))
    assert action.label == "Review code…"


def test_dialog_shows_every_file_before_it_is_allowed(
    qtbot: QtBot, window: Window, project_folder: Path, tmp_path: Path
) -> None:
    window.open_project(project_folder)
    problem = untrusted(tmp_path / "model")
    dialog = open_dialog(window, problem)
    assert [dialog.files.itemText(i) for i in range(dialog.files.count())] == ["own.py"]
    assert dialog.source.toPlainText() == SOURCE
    assert dialog.cancel.isDefault()
    assert consent.read_trusted() == {}
    with qtbot.waitSignal(dialog.allowed):
        qtbot.mouseClick(dialog.allow, Qt.MouseButton.LeftButton)
    (entry,) = consent.read_trusted().values()
    assert entry["folder"] == str(tmp_path / "model")


def test_file_that_changed_since_it_was_hashed_cannot_be_allowed(
    qtbot: QtBot, window: Window, tmp_path: Path
) -> None:
    untrusted(tmp_path / "model")
    code = remote_code.find_code(tmp_path / "model")
    assert code is not None
    (tmp_path / "model" / "own.py").write_text("# harmless\n")
    dialog = ConsentDialog(code, window)
    qtbot.addWidget(dialog)
    assert "harmless" not in dialog.source.toPlainText()
    assert not dialog.allow.isEnabled()


def test_long_file_is_shown_as_such(qtbot: QtBot, window: Window, tmp_path: Path) -> None:
    untrusted(tmp_path / "model")
    (tmp_path / "model" / "own.py").write_text("#\n" * 300_000)
    code = remote_code.find_code(tmp_path / "model")
    assert code is not None
    dialog = ConsentDialog(code, window)
    qtbot.addWidget(dialog)
    assert not dialog.source.toPlainText().startswith("#")
    assert dialog.allow.isEnabled()


def test_canceled_review_allows_nothing(
    qtbot: QtBot, window: Window, project_folder: Path, tmp_path: Path
) -> None:
    window.open_project(project_folder)
    dialog = open_dialog(window, untrusted(tmp_path / "model"))
    qtbot.mouseClick(dialog.cancel, Qt.MouseButton.LeftButton)
    assert consent.read_trusted() == {}


def test_consent_is_withdrawn_in_settings(qtbot: QtBot, tmp_path: Path) -> None:
    problem = untrusted(tmp_path / "model")
    code = remote_code.find_code(Path(problem.where.file or ""))
    assert code is not None
    consent.trust(code)
    card = TrustedCodeCard()
    qtbot.addWidget(card)
    card.show()
    card.refresh()
    QApplication.processEvents()
    assert [part for part in card.findChildren(QPushButton) if part.isVisible()] == card.buttons
    (withdraw,) = card.buttons
    assert str(tmp_path / "model") in withdraw.accessibleName()
    qtbot.mouseClick(withdraw, Qt.MouseButton.LeftButton)
    assert not consent.is_trusted(code)
    assert card.buttons == []
