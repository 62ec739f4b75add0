"""A GGUF file on its way to an Ollama server: its digest and its bytes, with progress."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from lora_studio.core.messages import text
from lora_studio.core.system.foreign_files import open_regular
from lora_studio.engine.runtime.channel import JobContext

_CHUNK = 1 << 20


def digest_file(file: Path, job: JobContext) -> str:
    """Return the digest of a file as Ollama names blobs: `sha256:` and 64 hex digits."""
    total = file.stat().st_size
    digest = hashlib.sha256()
    with open_regular(file) as opened:
        while chunk := opened.read(_CHUNK):
            digest.update(chunk)
            job.report_progress(text("hashing the GGUF file"), opened.tell(), total, "bytes")
    return f"sha256:{digest.hexdigest()}"


def read_chunks(file: Path, size: int, job: JobContext) -> Iterator[bytes]:
    """Yield the bytes of a file of `size` bytes to upload, with progress."""
    with open_regular(file) as opened:
        while chunk := opened.read(_CHUNK):
            job.report_progress(text("uploading to Ollama"), opened.tell(), size, "bytes")
            yield chunk
