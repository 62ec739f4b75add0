"""Hashes of models: of the whole content, and without reading a large file twice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lora_studio.core.lora.adapters import WeightedAdapter
from lora_studio.engine.evaluation import model_hashes


class _Reads:
    """Counts the blocks that are read."""

    def __init__(self) -> None:
        self.blocks = 0

    def __call__(self) -> None:
        self.blocks += 1


@pytest.fixture
def model(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model whose weights count as large: two blocks."""
    monkeypatch.setattr(model_hashes, "_LARGE", 1000)
    monkeypatch.setattr(model_hashes, "_BLOCK", 1024)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(2048))
    (folder / "config.json").write_text("{}")
    return folder


def count_blocks(folder: Path) -> int:
    reads = _Reads()
    model_hashes.hash_model_folder(folder, reads)
    return reads.blocks


def test_large_file_is_read_once(model: Path) -> None:
    assert count_blocks(model) == 3
    assert count_blocks(model) == 1  # config.json, which is small


def test_change_between_samples_with_restored_times_is_noticed(model: Path) -> None:
    weights = model / "model.safetensors"
    before, status = model_hashes.hash_model_folder(model), weights.stat()
    with weights.open("r+b") as file:
        file.seek(1500)
        file.write(b"\x01")
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert model_hashes.hash_model_folder(model) != before


def test_copy_of_a_model_has_the_same_hash(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in model.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert model_hashes.hash_model_folder(copy) == model_hashes.hash_model_folder(model)


def test_adapters_are_always_read(model: Path) -> None:
    adapters = (WeightedAdapter(folder=str(model)),)
    first, second = _Reads(), _Reads()
    assert model_hashes.hash_adapters(adapters, first) == model_hashes.hash_adapters(
        adapters, second
    )
    assert (first.blocks, second.blocks) == (3, 3)
    assert model_hashes.hash_adapters(()) == ""


def test_damaged_record_is_ignored(model: Path, cache: Path) -> None:
    expected = model_hashes.hash_model_folder(model)
    for content in (b"\xff", b"[1]", b'{"x": 3}'):
        (cache / "answers" / "model_hashes.json").write_bytes(content)
        assert model_hashes.hash_model_folder(model) == expected
