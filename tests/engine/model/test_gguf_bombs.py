"""Small GGUF files that claim to be huge."""

from __future__ import annotations

import resource
import struct
import time
from pathlib import Path

import pytest

from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import commands, events
from lora_studio.engine.model import gguf_header
from tests.helpers.runs.jobs import handle

TEXT, LIST, U8 = 8, 9, 0


def key(name: str) -> bytes:
    return struct.pack("<Q", len(name)) + name.encode()


def header(pairs: bytes, count: int = 1, tensors: int = 0) -> bytes:
    return struct.pack("<4sIQQ", b"GGUF", 3, tensors, count) + pairs


def list_of(kind: int, count: int) -> bytes:
    return key("a") + struct.pack("<IIQ", LIST, kind, count)


#: The start of an array whose only item is an array, 500 times.
NESTED = key("a") + struct.pack("<I", LIST) + struct.pack("<IQ", LIST, 1) * 500


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(header(list_of(U8, 2**40)), id="bytes"),
        pytest.param(header(list_of(TEXT, 2**40)), id="texts"),
        pytest.param(header(list_of(LIST, 2**40)), id="lists"),
        pytest.param(header(list_of(12, 2**61)), id="overflow"),
        pytest.param(header(NESTED), id="nested lists"),
        pytest.param(header(b"", count=2**60), id="pairs"),
        pytest.param(header(b"", count=0, tensors=2**60), id="tensors"),
        pytest.param(header(struct.pack("<Q", 2**62)), id="key"),
        pytest.param(header(key("a") + struct.pack("<IQ", TEXT, 2**62)), id="text"),
    ],
)
def test_claims_are_compared_with_the_size_of_the_file(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "bomb.gguf"
    file.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    with pytest.raises(ValueError):
        gguf_header.read(file)
    assert time.process_time() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64_000  # kilobytes


def test_text_that_is_not_unicode_is_refused(tmp_path: Path) -> None:
    def pack_text(content: bytes) -> bytes:
        return struct.pack("<Q", len(content)) + content

    key = pack_text(b"general.architecture") + struct.pack("<I", 8)
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key + pack_text(b"lla\xff"))
    command = commands.InspectModel(model=ModelSpec(source=str(file), device="cpu"))
    assert handle(command).last(events.Failed).problem.code == "model.unreadable"


class _CanceledError(Exception):
    """Raised by the check of a read that was canceled."""


@pytest.mark.parametrize(("kind", "size"), [(TEXT, 8), (LIST, 12)], ids=["texts", "lists"])
def test_cancel_is_heeded_in_a_list_of_millions(kind: int, size: int, tmp_path: Path) -> None:
    file = tmp_path / "bomb.gguf"
    file.write_bytes(header(list_of(kind, 100_000_000)))
    with file.open("r+b") as sparse:
        sparse.truncate(100_000_000 * size + 1000)
    began = time.process_time()

    def check() -> None:
        if time.process_time() - began > 0.1:
            raise _CanceledError

    with pytest.raises(_CanceledError):
        gguf_header.read(file, check)
    assert time.process_time() - began < 1
