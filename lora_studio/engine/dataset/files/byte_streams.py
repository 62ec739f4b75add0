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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal, cast

from lora_studio.core import limits
from lora_studio.core.problems import InvalidContentError, ProblemError, Where, fail
from lora_studio.core.system.foreign_files import open_raw, open_regular
from lora_studio.engine.runtime.zip_files import open_zip

#: Raises an exception to end a read; called every few megabytes.
Check = Callable[[], None]

#: Bytes skipped at a time.
_STEP = 1024 * 1024

#: Bytes of a packed file that are unpacked between two checks for a cancel.
PIECE = 64 * 1024

_PACKED: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}


def never(*_: object) -> None:
    """Do nothing: the check of a read that can't be ended."""


class PackedFile(io.RawIOBase):
    """A file that is unpacked: checks for a cancel on each read, and refuses parts that unpack to nothing.

    Unpackers read on until they have content. `silent` counts the bytes read since there was some; the
    owner sets it to 0.
    """

    def __init__(self, file: IO[bytes], check: Check) -> None:
        """Read from an open file."""
        self._file, self._check = file, check
        self.silent = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return whether the file itself is."""
        return self._file.seekable()

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position in the file."""
        return self._file.seek(position, whence)

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; raises InvalidContentError, and what the check raises."""
        self._check()
        # Compared before the read: a file that isn't packed is read in pieces of megabytes.
        if self.silent > limits.PACKED_SILENCE:
            raise InvalidContentError("megabytes of it unpack to nothing")
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self.silent += len(data)
        return len(data)


class Allowance:
    """Counts what a file unpacks to, and ends the read when that is out of proportion."""

    def __init__(self, path: Path, check: Check = never) -> None:
        """Allow for a multiple of the file's size; raises OSError."""
        self._path, self._check = path, check
        self._most = limits.EXPANSION_FREE + limits.EXPANSION * path.stat().st_size
        self._used = 0

    def add(self, size: int) -> None:
        """Count some bytes; raises ProblemError beyond the limit, and what the check raises."""
        self._check()
        self._used += size
        if self._used > self._most:
            raise _expansion_error(self._path, self._most)


def _expansion_error(path: Path, most: int) -> ProblemError:
    return fail(
        "dataset.expands",
        "{name} unpacks to more than {most:size}, over {times} times its size. It may be a "
        "decompression bomb.",
        "If you trust the file, unpack it yourself or save its rows as JSON lines, and choose the "
        "result.",
        where=Where(step="dataset", field="sources", file=str(path)),
        name=path.name,
        most=most,
        times=limits.EXPANSION,
    )


def list_entries(path: Path, check: Check = never) -> list[str] | None:
    """Return the names of the files in an archive, each once; None if the file is not an archive.

    Raises OSError, ValueError, zipfile.BadZipFile or tarfile.TarError for a damaged one, and
    ProblemError for one with too many files.
    """
    if _is_zip(path):
        with open_zip(path, check) as archive:
            # `is_dir` needs a name, which a damaged entry may lack.
            named = (entry for entry in archive.infolist() if entry.filename)
            names = (entry.filename for entry in named if not entry.is_dir())
            return _collect(path, names)
    if not _is_tar(path, check):
        return None
    with _open_tar(path, check) as tar:
        # tarfile reads a file that starts with zeros as an empty archive.
        return _collect(path, (entry.name for entry in tar if entry.isfile())) or None


def _collect(path: Path, names: Iterator[str]) -> list[str]:
    distinct: dict[str, None] = {}
    for number, name in enumerate(names):
        if number >= limits.ARCHIVE_FILES:
            raise fail(
                "dataset.too_many_files",
                "{name} contains more than {most} files.",
                "Choose an archive that contains only the data, or unpack it and choose the folder.",
                where=Where(step="dataset", field="sources", file=str(path)),
                name=path.name,
                most=limits.ARCHIVE_FILES,
            )
        distinct[name] = None
    return list(distinct)


@contextlib.contextmanager
def open_entry(path: Path, name: str, check: Check = never) -> Iterator[IO[bytes]]:
    """Open a file in an archive; raises KeyError and the errors of damaged archives."""
    if _is_zip(path):
        with open_zip(path, check) as archive, archive.open(name) as file:
            yield file
        return
    with _open_tar(path, check) as tar:
        # A folder may have the same name.
        entry = next((entry for entry in tar if entry.name == name and entry.isfile()), None)
        content = tar.extractfile(entry) if entry is not None else None
        if content is None:
            raise KeyError(name)
        with content:
            yield content


@contextlib.contextmanager
def _open_tar(path: Path, check: Check) -> Iterator[tarfile.TarFile]:
    with open_regular(path) as file:
        head = file.read(8)
        file.seek(0)
        unpack = next((unpack for magic, unpack in _PACKED.items() if head.startswith(magic)), None)
        packed = PackedFile(file, check)
        content = file if unpack is None else unpack(io.BufferedReader(packed, PIECE))
        allowance = Allowance(path, check)
        stream = _TarStream(content, allowance, None if unpack is None else packed)
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            yield archive


class _TarStream(io.RawIOBase):
    """The content of a tar: skips no more than is allowed, and reads no header that is too large."""

    def __init__(self, file: Any, allowance: Allowance, packed: PackedFile | None) -> None:
        self._file, self._allowance, self._packed = file, allowance, packed
        self._is_packed = packed is not None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= limits.ARCHIVE_HEADER:
            raise InvalidContentError("the header of an entry is too large")
        data: bytes = self._file.read(size)
        if self._packed is not None and data:
            self._packed.silent = 0
        self._allowance.add(len(data) if self._is_packed else 0)
        return data

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        if not self._is_packed or whence != io.SEEK_SET:
            return int(self._file.seek(position, whence))
        while self._file.tell() < position:  # a packed file can only be read
            if not self.read(min(_STEP, position - self._file.tell())):
                break
        if self._file.tell() > position:
            self._file.seek(position)
        return int(self._file.tell())


def _is_tar(path: Path, check: Check) -> bool:
    try:
        with _open_tar(path, check):
            return True
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile):
        return False  # another file, or truncated at the beginning


def _is_zip(path: Path) -> bool:
    with open_regular(path) as stream:
        return stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


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


class _Counted(PackedFile):
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
        check: Check = never,
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
            self._data = _decompress(io.BufferedReader(self._counted, PIECE), compression)
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
    with open_entry(path, member, check) as file:
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
