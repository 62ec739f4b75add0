"""Tiny models created once for all engine tests, and a cache folder that isn't the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.helpers.faults.preloaded import get_shared
from tests.helpers.models.tiny_models import tiny_model

TinyModel = Callable[[str], Path]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """Return the folder of a family's tiny model, created on first use. Tests must not change it."""
    folders: dict[str, Path] = {}

    def get(family: str) -> Path:
        if family not in folders:
            folders[family] = tiny_model(family, tmp_path_factory.mktemp(family) / f"tiny-{family}")
        return folders[family]

    return get


@pytest.fixture
def cache(own_cache: Path) -> Path:
    """Return an empty cache folder of the program; pytest's fixture of this name isn't used here."""
    return own_cache


@pytest.fixture(scope="package", autouse=True)
def _preloaded_converter() -> Iterator[None]:
    """Run llama.cpp's converter in a preloaded interpreter. End-to-end tests start a fresh one."""
    with pytest.MonkeyPatch.context() as patch:
        get_shared().run_converters(patch.setattr)
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Use one thread: tiny matrix products are slower on several, much slower on a busy machine."""
    torch.set_num_threads(1)
