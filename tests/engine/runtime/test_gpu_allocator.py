"""The allocator's settings: growing segments on NVIDIA's driver for Linux, and never over the user's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lora_studio.engine.runtime.gpu_allocator import VARIABLES, set_allocator_defaults

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="growing segments need Linux")


def test_segments_grow_where_the_driver_can(tmp_path: Path) -> None:
    driver = tmp_path / "version"
    driver.touch()
    environment: dict[str, str] = {}
    set_allocator_defaults(environment, driver=driver)
    assert environment == dict.fromkeys(VARIABLES[:2], "expandable_segments:True")


@pytest.mark.parametrize("name", VARIABLES)
def test_settings_of_the_user_stay_alone(tmp_path: Path, name: str) -> None:
    driver = tmp_path / "version"
    driver.touch()
    environment = {name: "max_split_size_mb:64"}
    set_allocator_defaults(environment, driver=driver)
    assert environment == {name: "max_split_size_mb:64"}


def test_other_drivers_get_no_settings(tmp_path: Path) -> None:
    environment: dict[str, str] = {}
    set_allocator_defaults(environment, driver=tmp_path / "none")
    assert environment == {}
