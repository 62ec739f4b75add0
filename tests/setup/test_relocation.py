"""Moving engines to another folder: shared files stay shared and links are updated."""

from __future__ import annotations

import os
from pathlib import Path

from lora_studio.setup import operations
from lora_studio.setup.folders import EngineRoot
from lora_studio.setup.tools import StopFlag


def test_files_shared_by_engines_stay_shared_after_a_move(tmp_path: Path) -> None:
    old, new = EngineRoot(tmp_path / "old"), EngineRoot(tmp_path / "new")
    first, second = old.engines / "cpu-1" / "torch.so", old.engines / "cpu-2" / "torch.so"
    for file in (first, second):
        file.parent.mkdir(parents=True)
    first.write_bytes(b"x" * 1000)
    os.link(first, second)
    total = operations.measure_total_size((old.engines, old.pythons))
    assert total == 1000
    progress = list(operations.copy_engines(old, new, total, StopFlag()))
    assert new.engines.joinpath("cpu-1/torch.so").samefile(new.engines / "cpu-2" / "torch.so")
    assert progress[0].kind == "progress"


def test_links_into_the_old_folder_are_updated(tmp_path: Path) -> None:
    old, new = EngineRoot(tmp_path / "old"), EngineRoot(tmp_path / "new")
    python = old.pythons / "cpython-3.12" / "bin" / "python3"
    link = old.engines / "cpu-1" / "venv" / "bin" / "python"
    outside = link.with_name("python3")
    for file in (python, link):
        file.parent.mkdir(parents=True)
    python.write_text("")
    link.symlink_to(python)
    outside.symlink_to("/usr/bin/python3")
    config = old.engines / "cpu-1" / "venv" / "pyvenv.cfg"
    config.write_text(f"home = {python.parent}\n")
    list(operations.copy_engines(old, new, 0, StopFlag()))
    operations.repoint_environment(new.engines / "cpu-1", old.path, new.path)
    moved = new.engines / "cpu-1" / "venv"
    assert (moved / "bin" / "python").readlink() == new.pythons / "cpython-3.12" / "bin" / "python3"
    assert (moved / "bin" / "python3").readlink() == Path("/usr/bin/python3")
    assert str(new.pythons) in (moved / "pyvenv.cfg").read_text()
