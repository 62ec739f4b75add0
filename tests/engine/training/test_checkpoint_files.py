"""A checkpoint from somebody else takes no more memory than its files have bytes."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lora_studio.core.problems import InvalidContentError
from lora_studio.core.runs.checksums import CHECKPOINT, write_record
from lora_studio.engine.training import checkpoint_files

TENSORS = {"optimizer": {"state": {0: {"exp_avg": torch.arange(4096.0)}}}, "rng": [torch.zeros(8)]}


def save(tensors: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return buffer.getvalue()


def rewrite(content: bytes, compression: int, *, copies: int = 1) -> bytes:
    """Return an archive with the same entries, compressed or with `copies` names for the same bytes each."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(buffer, "w", compression) as target:  # fmt: skip
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
        first = [*target.infolist()]
        for number in range(1, copies):
            for entry in first:
                named = zipfile.ZipInfo(f"{entry.filename}-{number}")
                for name in ("header_offset", "compress_size", "file_size", "CRC", "compress_type"):
                    setattr(named, name, getattr(entry, name))
                target.filelist.append(named)
        target._didModify = True  # type: ignore[attr-defined]
    return buffer.getvalue()


def write(folder: Path, content: bytes) -> Path:
    save_file({"a": torch.zeros(2)}, folder / "adapter_model.safetensors")
    (folder / "training.pt").write_bytes(content)
    write_record(folder, {"step": 3}, CHECKPOINT)
    return folder


def test_own_checkpoint_is_read(tmp_path: Path) -> None:
    checkpoint = checkpoint_files.read_checkpoint(write(tmp_path, save(TENSORS)))
    assert checkpoint.step == 3
    exp_avg = checkpoint.tensors["optimizer"]["state"][0]["exp_avg"]
    assert torch.equal(exp_avg, torch.arange(4096.0))


BOMBS: dict[str, Callable[[], bytes]] = {
    "compressed": lambda: rewrite(save({"a": torch.zeros(1_000_000)}), zipfile.ZIP_DEFLATED),
    "names for the same bytes": lambda: rewrite(save(TENSORS), zipfile.ZIP_STORED, copies=50),
    "repeated value": lambda: save({"a": torch.zeros(1).expand(1_000_000)}),
    "repeated value inside": lambda: save({"a": [{"b": (torch.zeros(1).expand(10_000),)}]}),
    "sparse": lambda: save(
        {"a": torch.sparse_coo_tensor([[0]], [1.0], (1 << 40,), check_invariants=True)}
    ),
    "legacy format": lambda: b"\x80\x02" + b"a" * 100,
}


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
@pytest.mark.parametrize("name", BOMBS)
def test_checkpoint_that_would_expand_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path, BOMBS[name]())
    if name in ("compressed", "names for the same bytes", "legacy format"):
        monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was unpacked"))
    with pytest.raises(InvalidContentError):
        checkpoint_files.read_checkpoint(folder)
