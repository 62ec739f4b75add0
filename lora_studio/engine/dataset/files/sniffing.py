"""Detect the kind of a file from its content; the file extension is only a hint."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from lora_studio.core import limits
from lora_studio.core.messages import Template, Text, text
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.system.files import describe_os_error
from lora_studio.core.system.foreign_files import open_regular
from lora_studio.engine.dataset.files import byte_streams, csv_tables, json_kinds
from lora_studio.engine.dataset.files.byte_streams import (
    FAULTS,
    ByteStream,
    Check,
    Compression,
    detect_compression,
)
from lora_studio.engine.dataset.files.csv_tables import Dialect
from lora_studio.engine.dataset.files.exports.catalog import (
    EXPORTS,
    find_json_export,
    find_table_export,
    find_text_export,
)
from lora_studio.engine.dataset.files.json_kinds import JsonKind, JsonShape

# Detect the encoding of a text file: by its byte-order mark, as UTF-8, or as the likeliest code page.
#
# charset-normalizer detects code pages.

#: Python's codec -> its name in messages.
TITLES = {
    "utf-8": "UTF-8", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "utf-32-le": "UTF-32",
    "utf-32-be": "UTF-32", "cp1252": "Windows-1252", "cp1250": "Windows-1250",
    "cp1251": "Windows-1251", "cp1253": "Windows-1253", "cp1254": "Windows-1254",
    "cp1255": "Windows-1255", "cp1256": "Windows-1256", "cp1257": "Windows-1257",
    "cp1258": "Windows-1258", "cp874": "Windows-874", "cp932": "Shift-JIS", "euc_jis_2004": "EUC-JP",
    "gb18030": "GB 18030", "big5": "Big5", "cp949": "EUC-KR", "koi8_r": "KOI8-R",
    "iso8859_2": "ISO-8859-2", "iso8859_5": "ISO-8859-5",
    "koi8_u": "KOI8-U", "mac_roman": "Mac Roman", "mac_cyrillic": "Mac Cyrillic",
    "cp850": "DOS Western (850)", "cp852": "DOS Central European (852)",
    "cp866": "DOS Cyrillic (866)",
}  # fmt: skip
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: Code pages that charset-normalizer chooses from.
_CANDIDATES = [name for name in TITLES if not name.startswith("utf")]
#: With fewer bytes beyond ASCII, statistics are unreliable, and Windows-1252 is the most frequent.
_ENOUGH = 16
_HIGH_RUN = re.compile(rb"[\x80-\xff]+")


@dataclass(frozen=True)
class Encoding:
    """A Python codec; `is_guessed` if it was chosen only because it makes the text likely."""

    codec: str
    is_guessed: bool = False

    @property
    def title(self) -> str:
        """Return the common name of the encoding."""
        return TITLES[self.codec]


UTF8 = Encoding("utf-8")


def detect_encoding(sample: bytes, *, is_json: bool = False) -> Encoding:
    """Return the encoding of a file, given its beginning and, where that is ASCII, pieces of the rest.

    JSON is UTF-8 by its standard (RFC 8259): invalid bytes in a single line are a fault of that line.
    """
    for mark, codec in _MARKS:
        if sample.startswith(mark):
            return Encoding(codec)
    good, bad = _count_utf8_runs(sample)
    if bad == 0 or good >= bad or (is_json and _count_invalid_lines(sample) < 2):
        return UTF8
    return Encoding(_detect_code_page(sample), is_guessed=True)


def _count_utf8_runs(sample: bytes) -> tuple[int, int]:
    """Return how many runs of non-ASCII bytes are UTF-8, and how many are not.

    A character that the end of the sample cuts off counts as UTF-8.
    """
    good = bad = 0
    end = len(sample)
    for run in _HIGH_RUN.finditer(sample):
        try:
            codecs.utf_8_decode(run[0], "strict", run.end() < end)
            good += 1
        except UnicodeDecodeError:
            bad += 1
    return good, bad


def _count_invalid_lines(sample: bytes) -> int:
    """Return how many lines are not UTF-8, or how many objects if all are on one line."""
    lines = sample.split(b"\n")[:-1] if b"\n" in sample.strip() else sample.split(b"}")
    return sum(not line.isascii() and _count_utf8_runs(line + b"\n")[1] > 0 for line in lines)


def _detect_code_page(sample: bytes) -> str:
    """Return what charset-normalizer finds, Windows-1252 where that is as likely or gives the same text.

    German letters have the same bytes in Windows-1250, ISO-8859-2, and Windows-1252.
    """
    from charset_normalizer import from_bytes  # a tenth of a second

    if sum(map(len, _HIGH_RUN.findall(sample))) < _ENOUGH:
        return "cp1252"
    matches = from_bytes(sample, cp_isolation=_CANDIDATES)
    best = matches.best()
    if best is None:
        return "cp1252"
    likeliest = [
        m.encoding for m in matches if (m.chaos, m.coherence) == (best.chaos, best.coherence)
    ]
    is_same = sample.decode(best.encoding, "replace") == sample.decode("cp1252", "replace")
    return "cp1252" if "cp1252" in likeliest or is_same else best.encoding


Kind = JsonKind | Literal["csv", "text", "parquet", "arrow", "sqlite"]

#: Bytes that the kind is detected from, and those of a lone object while its rows are searched.
_HEAD, _OBJECT = 1024 * 1024, 4 * 1024 * 1024
#: Pieces of the rest that the encoding of a file with an ASCII beginning is detected from.
_PROBES, _PROBE = 16, 64 * 1024

_ARROW_STREAM = re.compile(rb"\xff\xff\xff\xff..[\0-\x10]\0", re.DOTALL)
_WEIGHTS = re.compile(r"([^/]+/)?data\.pkl")
#: A comment, or a name without quotes, where JSON has its first bracket or key.
_JSON5 = re.compile(rb"\s*[\[{]?\s*(?:/[/*]|\{?\s*[A-Za-z_$][\w$]*\s*:)")
_COLLECTION = re.compile(r"collection\.anki2[0-9a-z]{0,2}")
_COLUMNAR_NAME = re.compile(r"\.(parquet|arrow|feather)\Z", re.IGNORECASE)

_AS_CSV = "Save it as CSV (UTF-8) or as plain text."
#: Archives that are one document, by a member that all of them have.
_DOCUMENT_MEMBERS: dict[str, Template] = {
    "xl/workbook.xml": "{name} is an Excel workbook.",
    "xl/workbook.bin": "{name} is an Excel workbook.",
    "word/document.xml": "{name} is a Word document.",
    "ppt/presentation.xml": "{name} is a PowerPoint presentation.",
    "META-INF/container.xml": "{name} is an e-book.",
    "META-INF/manifest.xml": "{name} is an OpenDocument file.",
}
_AS_TABLE = "Save its rows as Parquet, CSV, or JSON lines."
_OTHER_FILE = "Choose a file with rows of text."
_UNPACK = "Unpack it and choose the folder."
_PICKLE = ("{name} is a pickle, which can run code when it is opened.", _AS_TABLE)
_IMAGE = ("{name} is an image.", _OTHER_FILE)
#: Files that are mistaken for data, by their first bytes.
_FOREIGN: dict[bytes, tuple[Template, Template]] = {
    b"%PDF": ("{name} is a PDF document.", "Export its text as .txt or .md."),
    b"\xd0\xcf\x11\xe0": ("{name} is a document of an old Office version.", _AS_CSV),
    b"SQLite format 3": ("{name} is an SQLite database.", _AS_TABLE),
    b"\x89HDF": ("{name} is an HDF5 file.", _AS_TABLE),
    b"\x93NUMPY": ("{name} is a NumPy array.", _AS_TABLE),
    b"\x80\x02": _PICKLE,
    b"\x80\x03": _PICKLE,
    b"\x80\x04": _PICKLE,
    b"\x80\x05": _PICKLE,
    b"\x89PNG": _IMAGE,
    b"\xff\xd8\xff": _IMAGE,
    b"GIF8": _IMAGE,
    b"GGUF": ("{name} is a GGUF model.", _OTHER_FILE),
    b"{\\rtf": ("{name} is a rich text document.", "Save it as plain text."),
    b"FEA1": ("{name} is a Feather V1 file.", _AS_TABLE),
    b"ORC": ("{name} is an ORC file.", _AS_TABLE),
    b"Obj\x01": ("{name} is an Avro file.", _AS_TABLE),
    b"version https://git-lfs.": (
        "{name} is a Git LFS pointer, not the file itself.",
        "Run “git lfs pull” or download the file, then choose it.",
    ),
    b"7z\xbc\xaf": ("{name} is a 7-Zip archive.", _UNPACK),
    b"Rar!": ("{name} is a RAR archive.", _UNPACK),
    b"PK\x03\x04": ("{name} is an archive inside another file.", _UNPACK),
}
#: What files of each kind are called.
_TITLES: dict[Kind, Text] = {
    "json lines": text("JSON lines"),
    "json list": text("JSON list"),
    "json objects": text("JSON objects"),
    "json columns": text("JSON columns"),
    "json texts": text("JSON list"),
    "text": text("Text"),
    "parquet": text("Parquet"),
    "arrow": text("Arrow"),
    "sqlite": text("SQLite"),
}


@dataclass(frozen=True)
class Container:
    """One file of rows, or one member of an archive, and how to read it.

    `export` is its name in the catalog of exports, if another program has exported it. Where an export has
    many files, `parts` are all of them, with their members, and `chat` is what they are together.
    """

    path: Path
    kind: Kind
    encoding: Encoding = UTF8
    compression: Compression = ""
    member: str = ""
    dialect: Dialect | None = None
    shape: JsonShape | None = None
    export: str = ""
    parts: tuple[tuple[Path, str], ...] = ()
    chat: str = ""

    @property
    def name(self) -> str:
        """Return the file's name, for messages."""
        if self.chat:
            return self.chat
        return f"{self.path.name}/{self.member}" if self.member else self.path.name

    @property
    def title(self) -> Text:
        """Return what the file is: “JSON lines, UTF-8”."""
        title = self.dialect.title if self.dialect else _TITLES[self.kind]
        if self.export:
            title = EXPORTS[self.export].title
        elif self.shape and self.shape.offset:
            title = text("JSON list in an object")
        if self.shape and self.shape.is_nested:
            title = text("{kind}, nested rows", kind=title)
        if self.kind not in ("parquet", "arrow", "sqlite"):
            title = text("{kind}, {encoding}", kind=title, encoding=self.encoding.title)
        if packed := "ZIP" if self.member else self.compression:
            title = text("{kind}, {packed}", kind=title, packed=packed)
        return title

    def open(self, check: Check = byte_streams.never) -> ByteStream:
        """Return the content as UTF-8 from the beginning; raises ProblemError.

        `check` may raise an exception to end the read; it is called every few megabytes.
        """
        return open_stream(self.path, self.member, self.compression, self.encoding.codec, check)


def open_stream(
    path: Path,
    member: str = "",
    compression: Compression = "",
    encoding: str = "utf-8",
    check: Check = byte_streams.never,
) -> ByteStream:
    """Return the bytes of a file; raises ProblemError when it can't be opened."""
    try:
        return ByteStream(
            path, member=member, compression=compression, encoding=encoding, check=check
        )
    except FAULTS as error:
        raise unreadable_error(path, error) from error
    except RuntimeError as error:
        raise file_error(
            path, "dataset.encrypted", "{name} is protected by a password.", _UNPACK, name=path.name
        ) from error


def unreadable_error(path: Path, error: BaseException) -> ProblemError:
    """Return the error of a file that can't be read at all."""
    return file_error(
        path,
        "dataset.unreadable",
        "{name} can't be read: {reason}.",
        "Check that the file exists and is complete, and that you have permission to read it.",
        name=path.name,
        reason=describe_os_error(error),
    )


def file_error(
    path: Path,
    code: str,
    what: Template,
    remedy: Template,
    *,
    line: int | None = None,
    **values: Any,
) -> ProblemError:
    """Return the error of a data file."""
    where = Where(step="dataset", field="sources", file=str(path), line=line)
    return fail(code, what, remedy, where=where, **values)


def require_columns(container: Container, count: int) -> None:
    """Raise ProblemError for a file with more columns than data has."""
    if count > limits.COLUMNS:
        raise file_error(
            container.path,
            "dataset.too_many_columns",
            "{name} has more than {most} columns.",
            "Choose a file with one row per line and one column per field. A table may be transposed, "
            "or use another delimiter.",
            name=container.name,
            most=limits.COLUMNS,
        )


def recognize_file(
    path: Path, member: str = "", split: str = "train", check: Check = byte_streams.never
) -> Container:
    """Return what a file is; raises ProblemError for one that has no rows.

    `split` names the list that is meant in a JSON object with several.
    """
    name = member or path.name
    start = _read_head(Container(path, "text", member=member), 4096, check)
    compression = detect_compression(start)
    container = Container(path, "text", member=member, compression=compression)
    head = _read_head(container, _HEAD, check)
    if head.startswith(b"PAR1"):
        return replace(container, kind="parquet")
    if head.startswith(b"ARROW1") or _ARROW_STREAM.match(head):
        return replace(container, kind="arrow")
    if head.startswith(b"SQLite format 3") and _COLLECTION.fullmatch(Path(name).name):
        return replace(container, kind="sqlite", export="anki package")
    _refuse_foreign(container, head)
    is_json = json_kinds.is_named_json(name) or json_kinds.can_be_json(head)
    is_sampled = head.isascii() and not (member or compression) and path.stat().st_size > _HEAD
    sample = head + _read_probes(path) if is_sampled else head
    container = replace(container, encoding=detect_encoding(sample, is_json=is_json))
    head = _read_head(container, _HEAD, check)
    if not head.strip():
        raise file_error(
            path,
            "dataset.empty",
            "{name} is empty.",
            "Choose a file with rows.",
            name=container.name,
        )
    if export := find_text_export(head.decode("utf-8", "replace"), name):
        return _with_export(_recognize_text(container, head), export)
    export = find_json_export(head) if is_json else ""
    if export and EXPORTS[export].content == "document":
        shape = JsonShape("json objects")
        return _with_export(replace(container, kind=shape.kind, shape=shape), export)
    if json := _recognize_json(container, head, name, split, check):
        return _with_export(json, export)
    if table := _recognize_table(container, head, name):
        columns = table.dialect.columns if table.dialect else ()
        return _with_export(table, find_table_export(columns))
    return _recognize_text(container, head)


def _with_export(container: Container, export: str) -> Container:
    """Return a file that another program has exported; raises ProblemError for one that can't be read."""
    if export and (remedy := EXPORTS[export].remedy):
        raise file_error(
            container.path,
            "dataset.export",
            "{name} contains {export}, which LoRA Studio can't read.",
            remedy,
            name=container.name,
            export=EXPORTS[export].title,
        )
    return replace(container, export=export)


def _refuse_foreign(container: Container, head: bytes) -> None:
    """Raise ProblemError for a file of another kind, by its first bytes."""
    for magic, (what, remedy) in _FOREIGN.items():
        if head.startswith(magic):
            raise file_error(container.path, "dataset.not_text", what, remedy, name=container.name)
    if detect_compression(head):
        raise file_error(
            container.path,
            "dataset.not_text",
            "{name} is compressed more than once.",
            "Unpack it once and choose the result.",
            name=container.name,
        )


def refuse_documents(path: Path, members: list[str]) -> None:
    """Raise ProblemError for an archive that is one document or one model."""
    if any(_WEIGHTS.fullmatch(member) for member in members):
        raise file_error(
            path,
            "dataset.not_text",
            "{name} is a PyTorch weights file (pickle).",
            _OTHER_FILE,
            name=path.name,
        )
    for member, what in _DOCUMENT_MEMBERS.items():
        if member in members:
            raise file_error(path, "dataset.not_text", what, _AS_CSV, name=path.name)


def _read_head(container: Container, size: int, check: Check) -> bytes:
    """Return about the first `size` bytes of the content as UTF-8, or all if there are fewer."""
    parts: list[bytes] = []
    with container.open(check) as stream:
        for chunk in stream.iter_chunks():
            parts.append(chunk)
            if (size := size - len(chunk)) <= 0:
                break
        if not parts and stream.broken:
            raise unreadable_error(container.path, ValueError(stream.broken))
    return b"".join(parts)


def _read_probes(path: Path) -> bytes:
    """Return pieces from all over a file, each from one line's beginning to another's."""
    size = path.stat().st_size
    parts = []
    with open_regular(path) as file:
        for number in range(1, _PROBES + 1):
            file.seek(size * number // (_PROBES + 1))
            piece = file.read(_PROBE)
            parts.append(piece[piece.find(b"\n") + 1 : piece.rfind(b"\n") + 1])
    return b"".join(parts)


def _recognize_json(
    container: Container, head: bytes, name: str, split: str, check: Check
) -> Container | None:
    """Return the container if it is JSON; raises ProblemError where only its name says so."""
    is_named = json_kinds.is_named_json(name)
    if is_named and _JSON5.match(head):
        raise file_error(
            container.path,
            "dataset.json5",
            "{name} is JSON5 or JSON with comments, which LoRA Studio can't read.",
            "Save it as JSON or JSON lines.",
            name=container.name,
        )
    shape = json_kinds.detect_shape(head, name, is_whole=len(head) < _HEAD, split=split)
    if len(head) >= _HEAD and json_kinds.is_unended_object(head) and not (shape and shape.offset):
        # A long row, or an object whose list of rows is near its end.
        size = _OBJECT if b"\n" in head else limits.ROW_BYTES
        head = _read_head(container, size, check)
        shape = json_kinds.detect_shape(head, name, is_whole=len(head) < size, split=split)
    if shape is None and is_named:
        raise file_error(
            container.path,
            "dataset.not_json",
            "{name} is neither JSON nor JSON lines: it starts with “{beginning}”.",
            "Fix the beginning of the file, or rename it with the right extension: .csv or .txt.",
            line=1,
            name=container.name,
            beginning=head[:20].decode("utf-8", "replace").strip(),
        )
    if shape is None:
        return None
    _check_layout(container, shape)
    return replace(container, kind=shape.kind, shape=shape)


def _check_layout(container: Container, shape: json_kinds.JsonShape) -> None:
    """Raise ProblemError for a JSON file whose rows can't be told."""
    if not shape.is_readable:
        raise file_error(
            container.path,
            "dataset.json_layout",
            "{name} has pandas' layout “split” or “index”, which LoRA Studio can't read.",
            'Save it as JSON lines, in pandas with orient="records" and lines=True.',
            name=container.name,
        )
    if shape.kind != "json list" and shape.lists:
        raise file_error(
            container.path,
            "dataset.no_rows",
            "{name} is one object with several lists of rows: {lists}.",
            "Choose one of them as the split.",
            name=container.name,
            lists=", ".join(shape.lists[:8]),
        )


def _recognize_table(container: Container, head: bytes, name: str) -> Container | None:
    dialect = csv_tables.detect_dialect(head, name)
    require_columns(container, len(dialect.columns) if dialect else 0)
    return replace(container, kind="csv", dialect=dialect) if dialect else None


def _recognize_text(container: Container, head: bytes) -> Container:
    """Return the container as text; raises ProblemError where a tenth of it is not text."""
    if _COLUMNAR_NAME.search(container.member or container.path.name):
        raise file_error(
            container.path,
            "dataset.not_text",
            "{name} contains text, not the table that its extension suggests.",
            "Download the file again, or correct its extension.",
            name=container.name,
        )
    beginning = head[:65536].decode("utf-8", "replace")
    controls = sum(beginning.count(chr(code)) for code in range(32) if chr(code) not in "\t\n\r\f")
    if controls + beginning.count("\ufffd") > len(beginning) / 10:
        raise file_error(
            container.path,
            "dataset.not_text",
            "Most of {name} is not text.",
            "Choose a JSON, CSV, Parquet, Arrow, or plain text file.",
            name=container.name,
        )
    return container
