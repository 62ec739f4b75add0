"""Links in a model's folder: what leads out of it is neither copied nor uploaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.core.problems import ProblemError
from lora_studio.engine.model.folder import require_inside


def test_link_out_of_its_folder_is_not_copied(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    blobs = tmp_path / "models--org--name" / "blobs"
    for each in (folder, blobs):
        each.mkdir(parents=True)
    (tmp_path / "secret").write_text("token")
    (blobs / "abc").write_text("{}")
    (folder / "whole.json").write_text("{}")
    (folder / "inside.json").symlink_to("whole.json")
    (folder / "cached.json").symlink_to(blobs / "abc")
    for name in ("whole.json", "inside.json", "cached.json"):
        assert require_inside(folder / name) == folder / name
    for name, target in {"a.json": tmp_path / "secret", "b.json": "../secret"}.items():
        (folder / name).symlink_to(target)
        with pytest.raises(ProblemError) as raised:
            require_inside(folder / name)
        assert raised.value.problems[0].code == "model.link_outside"
