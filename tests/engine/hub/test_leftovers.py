"""Incomplete files that killed downloads leave in the cache."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest

from lora_studio.engine.hub.client import download_snapshot


def test_leftovers_of_completed_files_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot, blobs = tmp_path / "snapshots" / "5", tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for name in ("a1", "a1.0011aabb.incomplete", "b2.22334455.incomplete"):
        (blobs / name).write_text("x")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(snapshot))
    assert download_snapshot("tiny/llama") == snapshot
    assert sorted(file.name for file in blobs.iterdir()) == ["a1", "b2.22334455.incomplete"]
