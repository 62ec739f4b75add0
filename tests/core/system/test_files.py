"""Reasons of file errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.core.system.files import describe_os_error


def test_reason_omits_error_number_and_path(tmp_path: Path) -> None:
    with pytest.raises(OSError) as absent:
        (tmp_path / "absent").read_bytes()
    assert describe_os_error(absent.value) == "No such file or directory"


def test_reason_is_the_first_line_of_an_error_or_its_name() -> None:
    assert describe_os_error(ValueError("no number.\nat line 3")) == "no number"
    assert describe_os_error(MemoryError()) == "MemoryError"
