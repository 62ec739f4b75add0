"""What kind of file it is: told from its content, with the name's ending as a hint at most."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.system.files import reason_of
from lora_studio.engine.dataset.files import csv_tables, json_kinds
from lora_studio.engine.dataset.files.byte_streams import (
    FAULTS,
    ByteStream,
    Compression,
    compression_of,
)
from lora_studio.engine.dataset.files.csv_tables import Dialect
from lora_studio.engine.dataset.files.encodings import UTF8, Encoding, detect_encoding
from lora_studio.engine.dataset.files.json_kinds import JsonKind, JsonShape
from lora_studio.engine.dataset.files.json_splitter import MAX_ROW

Kind = JsonKind | Literal["csv", "text", "parquet", "arrow"]

#: Bytes that the kind is told from, and of a lone object as long as its rows have to be found in it.
_HEAD, _OBJECT = 1024 * 1024, 16 * 1024 * 1024
#: Pieces of the rest that the encoding of a file with an ASCII beginning is told from.
_PROBES, _PROBE = 16, 64 * 1024

_ARROW_STREAM = re.compile(rb"\xff\xff\xff\xff..[\0-\x10]\0", re.DOTALL)
#: Archives that programs keep one document in, by a member that all of them have.
_DOCUMENT_MEMBERS = {
    "xl/workbook.xml": "an Excel workbook",
    "word/document.xml": "a Word document",
    "ppt/presentation.xml": "a PowerPoint presentation",
    "META-INF/container.xml": "an e-book",
    "META-INF/manifest.xml": "an OpenDocument file",
}
_WEIGHTS = re.compile(r"([^/]+/)?data\.pkl")
#: A comment, or a name without quotes, where JSON has its first bracket or key.
_JSON5 = re.compile(rb"\s*[\[{]?\s*(?:/[/*]|\{?\s*[A-Za-z_$][\w$]*\s*:)")
_COLUMNAR_NAME = re.compile(r"\.(parquet|arrow|feather)\Z", re.IGNORECASE)

_AS_TABLE = "Save its rows as Parquet, CSV or JSON lines."
#: Files that are taken for data now and then, by their first bytes.
_FOREIGN = {
    b"%PDF": ("a PDF document", "Export its text as .txt or .md."),
    b"\xd0\xcf\x11\xe0": ("an old Office file", "Save it as CSV (UTF-8)."),
    b"SQLite format 3": ("an SQLite database", _AS_TABLE),
    b"\x89HDF": ("an HDF5 file", _AS_TABLE),
    b"\x93NUMPY": ("a NumPy array", _AS_TABLE),
    b"\x80\x02": ("a pickle, which could run programs", _AS_TABLE),
    b"\x80\x03": ("a pickle, which could run programs", _AS_TABLE),
    b"\x80\x04": ("a pickle, which could run programs", _AS_TABLE),
    b"\x80\x05": ("a pickle, which could run programs", _AS_TABLE),
    b"\x89PNG": ("a picture", "Choose a file of text."),
    b"\xff\xd8\xff": ("a picture", "Choose a file of text."),
    b"GIF8": ("a picture", "Choose a file of text."),
    b"GGUF": ("a model", "Choose a file of text."),
    b"{\\rtf": ("a document in rich text", "Save it as plain text."),
    b"FEA1": ("an old Feather file", _AS_TABLE),
    b"ORC": ("an ORC file", _AS_TABLE),
    b"Obj\x01": ("an Avro file", _AS_TABLE),
    b"version https://git-lfs.": (
        "only a note that stands for a file kept in Git LFS",
        "Fetch the file itself (git lfs pull) or download it, and choose that.",
    ),
    b"7z\xbc\xaf": ("a 7-Zip archive", "Unpack it and choose the folder."),
    b"Rar!": ("a RAR archive", "Unpack it and choose the folder."),
    b"PK\x03\x04": ("an archive inside of another file", "Unpack it and choose the folder."),
}


@dataclass(frozen=True)
class Container:
    """One file of rows, or one member of an archive, and how to read it."""

    path: Path
    kind: Kind
    encoding: Encoding = UTF8
    compression: Compression = ""
    member: str = ""
    dialect: Dialect | None = None
    shape: JsonShape | None = None

    @property
    def name(self) -> str:
        """The file's name, for messages."""
        return f"{self.path.name}/{self.member}" if self.member else self.path.name

    @property
    def title(self) -> str:
        """The container in words: “JSON lines, UTF-8”."""
        packed = "ZIP" if self.member else self.compression
        return ", ".join(part for part in (self._kind_title(), packed) if part)

    def _kind_title(self) -> str:
        match self.kind:
            case "parquet" | "arrow":
                return self.kind.capitalize()
            case "csv":
                assert self.dialect is not None
                return f"CSV with {self.dialect.title}, {self.encoding.title}"
            case "text":
                return f"Text, {self.encoding.title}"
            case _:
                inner = " in an object" if self.shape and self.shape.offset else ""
                nested = ", questions in paragraphs" if self.shape and self.shape.is_nested else ""
                return (
                    f"JSON {self.kind.removeprefix('json ')}{inner}{nested}, {self.encoding.title}"
                )

    def open(self) -> ByteStream:
        """The content as UTF-8 from the beginning; raises ProblemError."""
        return open_stream(self.path, self.member, self.compression, self.encoding.codec)


def open_stream(
    path: Path,
    member: str = "",
    compression: Compression = "",
    encoding: str = "utf-8",
) -> ByteStream:
    """A file's bytes; raises ProblemError with the reason why there are none."""
    try:
        return ByteStream(
            path,
            member=member,
            compression=compression,
            encoding=encoding,
        )
    except FAULTS as error:
        raise unreadable(path, error) from error
    except RuntimeError as error:
        raise problem(
            path,
            "dataset.encrypted",
            f"{path.name} is protected by a password.",
            "Unpack it and choose the folder.",
        ) from error


def unreadable(path: Path, error: BaseException) -> ProblemError:
    """The problem of a file that cannot be read at all."""
    return problem(
        path,
        "dataset.unreadable",
        f"{path.name} could not be read: {reason_of(error)}.",
        "Check that the file exists, that it is complete and that you may read it.",
    )


def problem(path: Path, code: str, what: str, remedy: str, line: int | None = None) -> ProblemError:
    """The error of a data file."""
    where = Where(step="dataset", field="sources", file=str(path), line=line)
    return fail(code, what, remedy, where=where)


def recognise(path: Path, member: str = "", split: str = "train") -> Container:
    """What a file is; raises ProblemError for one that holds no rows.

    `split` names the list that is meant in a JSON object with several.
    """
    name = member or path.name
    start = _beginning(Container(path, "text", member=member), 4096)
    compression = compression_of(start)
    found = Container(path, "text", member=member, compression=compression)
    head = _beginning(found, _HEAD)
    if head.startswith(b"PAR1"):
        return replace(found, kind="parquet")
    if head.startswith(b"ARROW1") or _ARROW_STREAM.match(head):
        return replace(found, kind="arrow")
    for magic, (title, remedy) in _FOREIGN.items():
        if head.startswith(magic):
            raise problem(path, "dataset.not_text", f"{found.name} is {title}, not rows.", remedy)
    if compression_of(head):
        raise problem(
            path,
            "dataset.not_text",
            f"{found.name} is compressed more than once.",
            "Unpack it once and choose what comes out.",
        )
    is_json = json_kinds.is_named_json(name) or json_kinds.looks_like_json(head)
    is_sampled = head.isascii() and not (member or compression) and path.stat().st_size > _HEAD
    sample = head + _probes(path) if is_sampled else head
    found = replace(found, encoding=detect_encoding(sample, is_json=is_json))
    head = _beginning(found, _HEAD)
    if not head.strip():
        raise _empty(found)
    return (
        _as_json(found, head, name, split) or _as_table(found, head, name) or _as_text(found, head)
    )


def refuse_documents(path: Path, members: list[str]) -> None:
    """Raises ProblemError for archives that are one document or model to the programs that write them."""
    if any(_WEIGHTS.fullmatch(member) for member in members):
        raise problem(
            path,
            "dataset.not_text",
            f"{path.name} is a PyTorch file of weights, not rows.",
            "Choose a file of text.",
        )
    for member, title in _DOCUMENT_MEMBERS.items():
        if member in members:
            raise problem(
                path,
                "dataset.not_text",
                f"{path.name} is {title}, not rows.",
                "Save it as CSV (UTF-8) or as plain text.",
            )


def _empty(found: Container) -> ProblemError:
    return problem(
        found.path, "dataset.empty", f"{found.name} is empty.", "Choose a file with rows."
    )


def _beginning(found: Container, size: int) -> bytes:
    """The first bytes of the content as UTF-8, about `size` of them, all if there are fewer."""
    parts: list[bytes] = []
    with found.open() as stream:
        for chunk in stream.chunks():
            parts.append(chunk)
            if (size := size - len(chunk)) <= 0:
                break
        if not parts and stream.broken:
            raise unreadable(found.path, ValueError(stream.broken))
    return b"".join(parts)


def _probes(path: Path) -> bytes:
    """Pieces from all over a file, each from one line's beginning to another's."""
    size = path.stat().st_size
    parts = []
    with path.open("rb") as file:
        for place in range(1, _PROBES + 1):
            file.seek(size * place // (_PROBES + 1))
            piece = file.read(_PROBE)
            parts.append(piece[piece.find(b"\n") + 1 : piece.rfind(b"\n") + 1])
    return b"".join(parts)


def _as_json(found: Container, head: bytes, name: str, split: str) -> Container | None:
    """The container if it is JSON; raises ProblemError where only its name is."""
    if json_kinds.is_named_json(name) and _JSON5.match(head):
        raise problem(
            found.path,
            "dataset.json5",
            f"{found.name} is JSON5 or JSON with comments, which LoRA Studio can't read.",
            "Save it as JSON or JSON lines.",
        )
    shape = json_kinds.shape_of(head, name, is_whole=len(head) < _HEAD, split=split)
    if len(head) >= _HEAD and json_kinds.is_unended_object(head) and not (shape and shape.offset):
        # A long row, or an object whose list of rows comes late in it.
        size = _OBJECT if b"\n" in head else MAX_ROW
        head = _beginning(found, size)
        shape = json_kinds.shape_of(head, name, is_whole=len(head) < size, split=split)
    if shape is None:
        if json_kinds.is_named_json(name):
            raise problem(
                found.path,
                "dataset.not_json",
                f"{found.name} is neither JSON nor JSON lines: it begins with "
                f"“{head[:20].decode('utf-8', 'replace').strip()}”.",
                "Correct its beginning, or give it the name of what it is: .csv or .txt.",
                line=1,
            )
        return None
    if shape.kind != "json list" and shape.lists:
        raise problem(
            found.path,
            "dataset.no_rows",
            f"{found.name} is one object with {len(shape.lists)} lists of rows: "
            f"{', '.join(shape.lists[:8])}.",
            "Choose one of them as the split.",
        )
    return replace(found, kind=shape.kind, shape=shape)


def _as_table(found: Container, head: bytes, name: str) -> Container | None:
    dialect = csv_tables.dialect_of(head, name)
    return replace(found, kind="csv", dialect=dialect) if dialect else None


def _as_text(found: Container, head: bytes) -> Container:
    """Plain text; raises ProblemError where a tenth of it is no text, or its name says otherwise."""
    if _COLUMNAR_NAME.search(found.member or found.path.name):
        raise problem(
            found.path,
            "dataset.not_text",
            f"{found.name} is not what its name says: it is text, not a table.",
            "Fetch the file again, or give it the name of what it is.",
        )
    text = head[:65536].decode("utf-8", "replace")
    odd = sum(text.count(chr(code)) for code in range(32) if chr(code) not in "\t\n\r\f")
    if odd + text.count("\ufffd") > len(text) / 10:
        raise problem(
            found.path,
            "dataset.not_text",
            f"{found.name} is not a file of rows: most of it is not text.",
            "Choose JSON, CSV, Parquet, Arrow or plain text.",
        )
    return found
