"""A data file as a stream of UTF-8 bytes: unpacked, decoded, and hashed while it is read."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import hashlib
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal, cast

from lora_studio.core.system.foreign_files import open_raw
from lora_studio.engine.dataset.files import archives
from lora_studio.engine.dataset.files.archives import Allowance, Check

Compression = Literal["", "gzip", "bzip2", "xz", "zstd", "lz4"]

#: Bytes read at a time. The first pieces are small, so that the first rows arrive at once.
FIRST_CHUNK, CHUNK = 64 * 1024, 4 * 1024 * 1024

_MAGIC: tuple[tuple[bytes, Compression], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
)
_UTF8 = ("utf-8", "utf-8-sig")
#: What reading and unpacking raise for damaged data and for unknown kinds of archives.
FAULTS = (
    EOFError, OSError, ValueError, KeyError, struct.error, zlib.error, lzma.LZMAError,
    zipfile.BadZipFile, tarfile.TarError, NotImplementedError,
)  # fmt: skip


def detect_compression(head: bytes) -> Compression:
    """Return how a file is compressed, by its first bytes."""
    return next((name for magic, name in _MAGIC if head.startswith(magic)), "")


def _mark_undecodable(error: UnicodeError) -> tuple[str, int]:
    """Replace bytes that an encoding does not have.

    Half of a surrogate pair becomes invalid UTF-8, so that only that row counts as faulty.
    """
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\udc80", error.end


codecs.register_error("lora_studio.mark", _mark_undecodable)


class _Counted(archives.PackedFile):
    """The file itself: counts and hashes the bytes as they are read, once, from the beginning."""

    def __init__(self, file: IO[bytes], check: Check) -> None:
        super().__init__(file, check)
        self.position = 0
        self.digest = hashlib.sha256()

    def seekable(self) -> bool:
        return False

    def readinto(self, buffer: Any) -> int:
        size = super().readinto(buffer)
        self.position += size
        self.digest.update(memoryview(buffer)[:size])
        return size


class ByteStream:
    """Reads a file, or a member of an archive, once from beginning to end as UTF-8.

    `broken` is why the end was not reached; everything before it is valid.
    """

    def __init__(
        self,
        path: Path,
        *,
        member: str = "",
        compression: Compression = "",
        encoding: str = "utf-8",
        check: Check = archives.never,
    ) -> None:
        """Open the file; raises one of FAULTS or RuntimeError (encrypted), and what `check` raises."""
        self._allowance = Allowance(path, check)
        self.broken = ""
        self._is_packed = bool(member or compression)
        self.is_exact = not self._is_packed and encoding in _UTF8
        self._closing = contextlib.ExitStack()
        with contextlib.ExitStack() as undo:
            opened = undo.enter_context(_open(path, member, check))
            self._counted = _Counted(opened, check)
            self._data = _decompress(io.BufferedReader(self._counted, archives.PIECE), compression)
            self._closing = undo.pop_all()
        self._decoder = (
            None
            if encoding in _UTF8
            else codecs.getincrementaldecoder(encoding)(errors="lora_studio.mark")
        )
        #: Offset of the next byte in the unpacked UTF-8, a byte-order mark included.
        self.offset = 0

    @property
    def position(self) -> int:
        """Return how many bytes of the file itself were read so far."""
        return self._counted.position

    def compute_sha256(self) -> str:
        """Read the rest of the file and return the hash of all its bytes, in hexadecimal."""
        try:
            while data := self._counted.read(CHUNK):
                self._counted.silent = 0
                self._allowance.add(len(data) if self._is_packed else 0)
        except FAULTS as error:
            self.broken = self.broken or str(error)
        return self._counted.digest.hexdigest()

    def iter_chunks(self) -> Iterator[bytes]:
        """Yield the content in pieces that grow from 64 KB to 4 MB."""
        size, is_first = FIRST_CHUNK, True
        while data := self._read(size):
            if is_first and data.startswith(codecs.BOM_UTF8):
                data, self.offset = data[3:], 3
            yield data
            self.offset += len(data)
            size, is_first = min(size * 4, CHUNK), False

    def _read(self, size: int) -> bytes:
        """Return about `size` bytes; fewer at the end or before a fault, none after it."""
        parts: list[bytes] = []
        while size > 0 and (part := self._step(size)):
            parts.append(part)
            size -= len(part)
        data = b"".join(parts)
        if self._decoder is None:
            return data
        text = self._decoder.decode(data, final=not data)
        while data and not text:  # an incomplete character, which the next bytes complete
            data = self._step(CHUNK)
            text = self._decoder.decode(data, final=not data)
        return text.encode("utf-8", "surrogatepass")

    def _step(self, size: int) -> bytes:
        """Return one step of the unpacker: a larger read would lose the bytes before a fault."""
        if self.broken:
            return b""
        try:
            data = self._data.read1(size)
        except FAULTS as error:
            self.broken = str(error).strip().rstrip(".") or type(error).__name__
            return b""
        if data:
            self._counted.silent = 0
        self._allowance.add(len(data) if self._is_packed else 0)
        return data

    def close(self) -> None:
        """Close the file."""
        self._closing.close()

    def __enter__(self) -> ByteStream:
        """Return itself; the file is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()


@contextlib.contextmanager
def _open(path: Path, member: str, check: Check) -> Iterator[IO[bytes]]:
    if not member:
        with open_raw(path) as file:
            yield file
        return
    with archives.open_entry(path, member, check) as file:
        yield file


def _decompress(file: io.BufferedReader, compression: Compression) -> io.BufferedReader:
    """Return a reader of the unpacked bytes; all of these have `read1`."""
    match compression:
        case "":
            return file
        case "gzip":
            return cast(io.BufferedReader, gzip.GzipFile(fileobj=file))
        case "bzip2":
            return cast(io.BufferedReader, bz2.BZ2File(file))
        case "xz":
            return cast(io.BufferedReader, lzma.LZMAFile(file))
        case _:
            return io.BufferedReader(_ArrowUnpacked(file, compression), 256 * 1024)


class _ArrowUnpacked(io.RawIOBase):
    """A reader of Zstandard and LZ4, which pyarrow unpacks because Python itself can't."""

    def __init__(self, file: io.BufferedReader, compression: str) -> None:
        import pyarrow

        self._stream = pyarrow.CompressedInputStream(file, compression)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return int(self._stream.readinto(buffer))
