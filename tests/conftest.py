"""What every test has: a data folder of its own, so that no run here teaches the user's program."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.environ.get("LORA_STUDIO_DATA")
    os.environ["LORA_STUDIO_DATA"] = str(tmp_path_factory.mktemp("data"))
    yield
    if before is None:
        del os.environ["LORA_STUDIO_DATA"]
    else:
        os.environ["LORA_STUDIO_DATA"] = before
