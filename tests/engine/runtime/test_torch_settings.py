"""Settings of PyTorch: no compiler for matrix products, growing segments on NVIDIA's driver, and never over the user's."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.version import Version

from lora_studio.engine.runtime.torch_settings import ALLOCATOR_VARIABLES, set_torch_defaults

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="growing segments need Linux")

_NO_COMPILER = {"TORCH_DISABLE_NATIVE_JIT": "1"}


def test_segments_grow_where_the_driver_can(tmp_path: Path) -> None:
    driver = tmp_path / "version"
    driver.touch()
    environment: dict[str, str] = {}
    set_torch_defaults(environment, driver=driver)
    assert environment == _NO_COMPILER | dict.fromkeys(
        ALLOCATOR_VARIABLES[:2], "expandable_segments:True"
    )


@pytest.mark.parametrize("name", ALLOCATOR_VARIABLES)
def test_settings_of_the_user_stay_alone(tmp_path: Path, name: str) -> None:
    driver = tmp_path / "version"
    driver.touch()
    environment = {name: "max_split_size_mb:64"}
    set_torch_defaults(environment, driver=driver)
    assert environment == _NO_COMPILER | {name: "max_split_size_mb:64"}


def test_other_drivers_get_no_settings(tmp_path: Path) -> None:
    environment: dict[str, str] = {}
    set_torch_defaults(environment, driver=tmp_path / "none")
    assert environment == _NO_COMPILER


def test_products_may_be_built_if_the_user_says_so(tmp_path: Path) -> None:
    environment = {"TORCH_DISABLE_NATIVE_JIT": "0"}
    set_torch_defaults(environment, driver=tmp_path / "none")
    assert environment == {"TORCH_DISABLE_NATIVE_JIT": "0"}


@pytest.mark.slow
@pytest.mark.skipif(
    Version(metadata.version("torch")) < Version("2.13"), reason="this PyTorch replaces no product"
)
def test_installed_pytorch_knows_the_setting() -> None:
    script = """
import os, sys
from lora_studio.engine.runtime.torch_settings import set_torch_defaults
set_torch_defaults()
import torch
from torch._native import common_utils
assert common_utils.check_native_jit_disabled()
"""
    subprocess.run([sys.executable, "-c", script], check=True)
