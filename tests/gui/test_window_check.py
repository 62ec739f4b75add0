"""`lora-studio --check-window`: every page is shown, and whatever fails is reported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lora_studio.cli.app import app
from lora_studio.core.problems import STEPS

pytestmark = pytest.mark.slow  # the real pages, in a process of their own

RUN = "import sys; sys.argv = ['lora-studio', '--check-window']; from lora_studio.__main__ import main; main()"
FAILING_PAGE = """
from lora_studio.gui.pages.export import page
def fail(*_):
    raise ImportError("No module named 'somewhere'")
page.ExportPage.__init__ = fail
"""
FAILING_LATER = """
from lora_studio.gui.pages.runs import page
def fail(*_):
    raise KeyError("lost")
page.RunsPage.paintEvent = fail
"""
QT_WARNING = """
from PySide6.QtCore import qWarning
from lora_studio.gui.pages.settings import page
page.SettingsPage.on_shown = lambda *_: qWarning("Could not load the icon")
"""


def check(tmp_path: Path, defect: str = "") -> subprocess.CompletedProcess[str]:
    """Run the check in a program with a defect, without an engine."""
    return subprocess.run(
        [sys.executable, "-c", defect + RUN],
        env=os.environ
        | {"QT_QPA_PLATFORM": "offscreen", "LANG": "C.UTF-8", "HOME": str(tmp_path), "LORA_STUDIO_ENGINE": "missing"},
        capture_output=True,
        text=True,
        timeout=300,
    )  # fmt: skip


def test_every_page_is_shown_and_the_user_folders_stay_untouched(tmp_path: Path) -> None:
    ended = check(tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    shown = [line.partition(":")[0] for line in ended.stdout.splitlines()]
    assert {*STEPS, "home", "runs", "evaluation", "playground", "settings", "about"} <= set(shown)
    assert not [
        file for file in tmp_path.rglob("*") if file.is_file() and "lora" in str(file).lower()
    ]


@pytest.mark.parametrize(
    ("defect", "message"),
    [
        pytest.param(FAILING_PAGE, "No module named 'somewhere'", id="page can't be created"),
        pytest.param(FAILING_LATER, "KeyError: 'lost'", id="exception in an event handler"),
        pytest.param(QT_WARNING, "Qt: Could not load the icon", id="warning of Qt"),
    ],
)
def test_defects_are_reported(tmp_path: Path, defect: str, message: str) -> None:
    ended = check(tmp_path, defect)
    assert ended.returncode == 1
    assert message in ended.stderr


def test_other_arguments_are_refused() -> None:
    assert CliRunner().invoke(app, ["--check-window", "doctor"]).exit_code == 2
