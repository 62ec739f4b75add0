"""Fixtures of the end-to-end tests: a real Ollama server, and folders that aren't the user's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.servers import real_ollama

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


@pytest.fixture(scope="session")
def ollama_server() -> Iterator[real_ollama.Server]:
    """Yield a real Ollama server, which manages models but can't run them."""
    program = real_ollama.install()
    if isinstance(program, str):
        pytest.skip(program)
    with real_ollama.running_server(program) as server:
        yield server


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA", "CONFIG", "LOGS"):
        monkeypatch.setenv(f"LORA_STUDIO_{name}", str(tmp_path / name.lower()))
