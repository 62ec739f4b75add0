"""Files for LM Studio: in its layout, linked where possible, never partially written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lora_studio.core.export import ExportSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.engine.export import lm_studio
from lora_studio.engine.runtime import disk
from tests.helpers.runs.jobs import Recorder, recorded_job


@pytest.fixture
def file(tmp_path: Path) -> Path:
    gguf = tmp_path / "bot-Q4_K_M.gguf"
    gguf.write_bytes(b"GGUF" + bytes(100))
    return gguf


def add_file(file: Path, folder: str) -> Recorder:
    job, recorder = recorded_job()
    project = Project(name="My bot", export=ExportSpec(lm_studio_folder=folder))
    lm_studio.add_to_lm_studio(project, [file], job)
    return recorder


def test_file_is_linked_under_publisher_and_model(file: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    recorder = add_file(file, str(models))
    placed = models / "lora-studio" / "My bot" / file.name
    assert placed.samefile(file)
    assert [entry.name for entry in placed.parent.iterdir()] == [file.name]
    assert "lora-studio/My bot" in str(recorder.of(events.LogLine)[0].text)
    file.unlink()
    file.write_bytes(b"GGUF newer")
    add_file(file, str(models))
    assert placed.read_bytes() == b"GGUF newer"


def test_file_is_copied_to_another_disk_if_space_allows(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    models = tmp_path / "models"
    models.mkdir()
    add_file(file, str(models))
    placed = models / "lora-studio" / "My bot" / file.name
    assert placed.read_bytes() == file.read_bytes()
    assert not placed.samefile(file)
    placed.unlink()
    monkeypatch.setattr(disk, "RESERVE", 1 << 60)
    with pytest.raises(ProblemError) as caught:
        add_file(file, str(models))
    assert caught.value.problems[0].code == "disk.full"
    assert not list(placed.parent.iterdir())


def test_default_folder_is_in_home_and_missing_one_warns(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (warning,) = add_file(file, "").of(events.Warned)
    assert warning.problem.code == "export.no_lm_studio"
    (tmp_path / ".lmstudio" / "models").mkdir(parents=True)
    add_file(file, "")
    assert list((tmp_path / ".lmstudio").rglob("*.gguf"))


def test_missing_folder_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ProblemError) as caught:
        add_file(file, str(tmp_path / "nowhere"))
    assert caught.value.problems[0].where.field == "lm_studio_folder"


def test_preset_has_the_template_and_its_stop_strings(file: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "config-presets").mkdir()
    spec = ExportSpec(lm_studio_folder=str(tmp_path / "models"), system_prompt="Be brief.")
    project, (job, _) = Project(name="My bot", export=spec), recorded_job()
    lm_studio.add_to_lm_studio(project, [file], job, template="{{ messages }}", stops=("<end>",))
    (written,) = (tmp_path / "config-presets").iterdir()
    preset = json.loads(written.read_text("utf-8"))
    assert written.name == "lora-studio-My bot.preset.json"
    fields = {field["key"]: field["value"] for field in preset["operation"]["fields"]}
    assert fields["llm.prediction.promptTemplate"] == {
        "type": "jinja", "jinjaPromptTemplate": {"template": "{{ messages }}"}, "stopStrings": ["<end>"],
    }  # fmt: skip
    assert fields["llm.prediction.stopStrings"] == ["<end>"]
    assert fields["llm.prediction.systemPrompt"] == "Be brief."


def test_no_preset_is_written_beside_another_folder(file: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    project, (job, _) = (
        Project(name="My bot", export=ExportSpec(lm_studio_folder=str(tmp_path / "models"))),
        recorded_job(),
    )
    lm_studio.add_to_lm_studio(project, [file], job, template="{{ messages }}")
    assert not (tmp_path / "config-presets").exists()
