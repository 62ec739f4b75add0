"""Small GGUF files that claim to be huge."""

from __future__ import annotations

import resource
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from lora_studio.core import limits
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.engine.model import from_gguf, gguf_header
from tests.helpers.models import tiny_gguf
from tests.helpers.models.tiny_gguf import LEFT_OUT
from tests.helpers.runs.jobs import handle, recorded_job

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


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        pytest.param(
            {"llama.block_count": 0}, "llama.block_count in its header is missing", id="no blocks"
        ),
        pytest.param(
            {"llama.block_count": 1 << 30},
            "llama.block_count in its header is missing",
            id="many blocks",
        ),
        pytest.param(
            {"llama.block_count": LEFT_OUT},
            "llama.block_count in its header is missing",
            id="no count",
        ),
        pytest.param(
            {"llama.embedding_length": 4096}, "but its tensors have 2,736", id="wide layers"
        ),
        pytest.param({"llama.feed_forward_length": LEFT_OUT}, "but its tensors", id="no width"),
    ],
)
def test_model_that_its_tensors_do_not_fill_is_refused(
    values: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    whole = tiny_gguf.write(tmp_path / "whole.gguf")
    without = tiny_gguf.edit(whole, tmp_path / "without.gguf", dict.fromkeys(values, LEFT_OUT))
    added = {name: value for name, value in values.items() if value is not LEFT_OUT}
    file = tiny_gguf.edit(without, tmp_path / "model.gguf", added)
    job, _ = recorded_job()
    started = time.process_time()
    with pytest.raises(ProblemError) as caught:
        from_gguf.convert(file, tmp_path, job)
    assert caught.value.problems[0].code == "model.unreadable"
    assert reason in str(caught.value.problems[0].what)
    assert time.process_time() - started < 5


def test_file_with_too_many_tokens_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "VOCABULARY", 100)
    job, _ = recorded_job()
    with pytest.raises(ProblemError, match="more than 100 tokens"):
        from_gguf.convert(tiny_gguf.write(tmp_path / "many.gguf"), tmp_path, job)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        pytest.param("tokenizer.ggml.merges", ["a b"] * 5000, id="merges"),
        pytest.param("anything", [0] * 5000, id="unknown key"),
    ],
)
def test_file_with_too_many_values_in_lists_is_refused(
    name: str, values: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "GGUF_ITEMS", 5000)
    whole = tiny_gguf.write(tmp_path / "whole.gguf")
    file = tiny_gguf.edit(whole, tmp_path / "many.gguf", {name: values})
    assert gguf_header.read(whole).items <= 5000
    job, _ = recorded_job()
    with pytest.raises(ProblemError, match="have more than 5,000 values") as caught:
        from_gguf.convert(file, tmp_path, job)
    assert "Hugging Face folder" in str(caught.value.problems[0].remedy)


def test_values_of_lists_inside_lists_count(tmp_path: Path) -> None:
    inner = struct.pack("<IQ", U8, 7) + bytes(7)
    file = tmp_path / "nested.gguf"
    file.write_bytes(header(list_of(LIST, 3) + inner * 3))
    assert gguf_header.read(file).items == 3 + 3 * 7


def test_key_of_a_very_long_text_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GGUF_TEXT", 2000)
    values = {"tokenizer.huggingface.json": "x" * 2001}
    whole = tiny_gguf.write(tmp_path / "whole.gguf")
    file = tiny_gguf.edit(whole, tmp_path / "long.gguf", values)
    job, _ = recorded_job()
    with pytest.raises(ProblemError, match=r"huggingface\.json in its header has more") as caught:
        from_gguf.convert(file, tmp_path, job)
    assert "Hugging Face folder" in str(caught.value.problems[0].remedy)


def test_part_of_a_split_file_is_refused_with_how_to_join(tmp_path: Path) -> None:
    whole = tiny_gguf.write(tmp_path / "whole.gguf")
    file = tiny_gguf.edit(whole, tmp_path / "model-00001-of-00003.gguf", {"split.count": 3})
    job, _ = recorded_job()
    with pytest.raises(ProblemError, match="one part of a model") as caught:
        from_gguf.convert(file, tmp_path, job)
    assert "llama-gguf-split --merge" in str(caught.value.problems[0].remedy)


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
