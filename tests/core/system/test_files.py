"""Reasons of file errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.core.system.files import reason_of


def test_reason_omits_error_number_and_path(tmp_path: Path) -> None:
    with pytest.raises(OSError) as absent:
        (tmp_path / "absent").read_bytes()
    assert reason_of(absent.value) == "No such file or directory"


def test_reason_is_the_first_line_of_an_error_or_its_name() -> None:
    assert reason_of(ValueError("no number.\nat line 3")) == "no number"
    assert reason_of(MemoryError()) == "MemoryError"
