"""Recent projects on Home: their names and how old they are."""

from __future__ import annotations

import time
from pathlib import Path

from lora_studio.core.project import project
from lora_studio.core.project.samples import copy_sample
from lora_studio.gui.pages.home.recent_projects import summarize_project


def test_home_names_a_project_as_its_file_does(tmp_path: Path) -> None:
    draft = project.create(tmp_path / "p", "Pim’s bot: v2")
    file = draft.save()
    assert file.stem != draft.name
    assert summarize_project(file).name == draft.name
    file.write_text("name = [", "utf-8")
    assert summarize_project(file).name == file.stem


def test_copied_sample_project_is_new(tmp_path: Path) -> None:
    folder = copy_sample("assistant", tmp_path / "copy")
    (file,) = folder.glob("*.lorastudio")
    assert time.time() - summarize_project(file).changed < 30
