"""What killed workers leave: it is deleted, put back, or left alone while a process writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.core.runs import leftovers
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import files
from lora_studio.core.system.files import create_folder_atomic, list_temporaries, open_atomic


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_temporary_files_and_folders_are_swept(run: RunFolder) -> None:
    for name in (".manifest.json.abcdefgh.tmp", ".about.json.a1b2_c3d.tmp"):
        (run.path / name).write_text("cut")
    for name in (".adapter.abcdefgh.tmp", "checkpoints/.step-00000004.abcdefgh.tmp", "tmp/gguf"):
        (run.path / name).mkdir(parents=True)
    run.adapter.mkdir()
    (run.path / ".adapter.abcdefgh.old").mkdir()
    leftovers.sweep(run)
    assert sorted(path.name for path in run.path.rglob("*")) == ["adapter", "checkpoints"]


def test_file_that_a_living_process_writes_stays(run: RunFolder) -> None:
    with open_atomic(run.about_file) as file:
        file.write(b"{}")
        leftovers.sweep(run)
    assert run.about_file.read_bytes() == b"{}"


def test_file_swept_before_it_was_locked_is_created_again(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[Path] = []

    def sweep_first(descriptor: int) -> None:
        if not swept:
            swept.extend(list_temporaries(run.path))
            swept[0].unlink()

    monkeypatch.setattr(files, "hold_shared", sweep_first)
    files.write_atomic(run.about_file, "{}")
    assert run.about_file.read_text() == "{}"


@pytest.mark.parametrize("name", [".adapter.abcdefgh.old", ".merged.old"])
def test_folder_moved_aside_for_one_that_never_came_is_put_back(run: RunFolder, name: str) -> None:
    (run.path / name).mkdir()
    (run.path / name / "weights").write_text("kept")
    leftovers.sweep(run)
    target = run.adapter if "adapter" in name else run.merged
    assert (target / "weights").read_text() == "kept"


def test_folder_stays_when_its_replacement_cannot_be_moved(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.adapter.mkdir()
    (run.adapter / "weights").write_text("kept")
    rename = Path.rename

    def refuse_new(self: Path, target: Path) -> Path:
        if self.suffix == ".tmp":
            raise OSError("refused")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_new)
    with pytest.raises(OSError, match="refused"), create_folder_atomic(run.adapter):
        pass
    assert (run.adapter / "weights").read_text() == "kept"
