"""What the window opens in other programs: folders and texts, nothing that a system would run."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices

from lora_studio.core.messages import text
from lora_studio.core.problems import Problem, Where
from lora_studio.gui.problems.suggested_actions import suggest_action
from lora_studio.gui.widgets.external_open import open_path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the paths that the system was asked to open."""
    paths: list[Path] = []

    def open_url(url: QUrl) -> bool:
        paths.append(Path(url.toLocalFile()))
        return True

    monkeypatch.setattr(QDesktopServices, "openUrl", open_url)
    return paths


def make_problem(file: Path) -> Problem:
    return Problem(code="x.y", what=text("A."), remedy=text("B."), where=Where(file=str(file)))


@pytest.mark.parametrize("name", ["log.txt", "rows.jsonl", "p.TOML"])
def test_text_is_opened(name: str, tmp_path: Path, opened: list[Path]) -> None:
    file = tmp_path / name
    file.touch()
    open_path(file)
    assert opened == [file]


@pytest.mark.parametrize(
    "name",
    ["a.desktop", "a.sh", "a.html", "a.exe", "a.docm", "a.py", "a", "a.txt.desktop", "a.lnk"],
)
def test_folder_of_any_other_file_is_opened(name: str, tmp_path: Path, opened: list[Path]) -> None:
    file = tmp_path / name
    file.touch(0o755)
    open_path(file)
    assert opened == [tmp_path]
    assert (action := suggest_action(make_problem(file)))
    assert action.label == "Open folder"


def test_link_is_opened_as_what_it_leads_to(tmp_path: Path, opened: list[Path]) -> None:
    (tmp_path / "programs").mkdir()
    program = tmp_path / "programs" / "a.desktop"
    program.touch(0o755)
    (tmp_path / "log.txt").symlink_to(program)
    open_path(tmp_path / "log.txt")
    assert opened == [tmp_path / "programs"]


def test_folder_that_macos_runs_is_not_opened(tmp_path: Path, opened: list[Path]) -> None:
    (tmp_path / "a.app").mkdir()
    open_path(tmp_path / "a.app")
    open_path(tmp_path)
    assert opened == [tmp_path, tmp_path]
