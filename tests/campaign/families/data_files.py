"""Data files and archives of every kind the program reads, damaged or hostile.

The first line of an input is the name of the file.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import json
import lzma
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lora_studio.core.problems import ProblemError
from tests.campaign.family import SimpleFamily, WrongResultError
from tests.campaign.mutation import damage_bytes

_ROWS: list[dict[str, Any]] = [
    {"question": f"Q{number}?\n“{number}”", "answer": f"A {number}, é 🙂", "n": number} for number in range(8)
]  # fmt: skip
_ARTICLES = [
    {"title": "T", "paragraphs": [{"context": "C", "qas": [{"question": "Q", "answers": [{"text": "A"}]}]}]}
] * 3  # fmt: skip
_PIECES = (
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"{", b"}", b"[", b"]", b",", b"\r", b"\n", b"\r\n", b"\t", b"\\", b"//", b"/*", b";",
    b"NaN", b"1e999", b"9" * 5000, b"\\ud800", b"'", b"\x1a", b"\xc3\x28", b"[" * 2000, b'{"a":' * 2000, b'"question":', b'"qas":[',
    b"sep=;\n", b"null", b"<html>", b"a" * 70_000, b"," * 5000, b'""' * 3000, b"\x80\x04", b"PK\x03\x04", b"%PDF",
)  # fmt: skip
_CODECS = ("utf-16", "utf-16-le", "utf-32", "cp1252", "utf-8-sig", "shift_jis", "utf-7")


def _write_csv() -> bytes:
    cells = [
        [json.dumps(value, ensure_ascii=False).replace('\\"', '""') for value in row.values()]
        for row in _ROWS
    ]
    return "\n".join(["question,answer,n", *map(",".join, cells)]).encode()


def _write_columnar(kind: str) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer, table = io.BytesIO(), pa.Table.from_pylist(_ROWS)
    if kind == "parquet":
        pq.write_table(table, buffer, row_group_size=3)
    else:
        with pa.ipc.new_stream(buffer, table.schema) as writer:
            writer.write_table(table, max_chunksize=3)
    return buffer.getvalue()


_LINES = "\n".join(map(json.dumps, _ROWS)).encode()
_TEXT_FILES: dict[str, Callable[[], bytes]] = {
    "rows.jsonl": lambda: _LINES,
    "rows.json": lambda: json.dumps(_ROWS, indent=1, ensure_ascii=False).encode(),
    "nested.json": lambda: json.dumps({"version": "1", "data": _ARTICLES}).encode(),
    "lists.jsonl": lambda: "\n".join(json.dumps(list(row.values())) for row in _ROWS).encode(),
    "columns.json": lambda: json.dumps({key: [row[key] for row in _ROWS] for key in _ROWS[0]}).encode(),
    "rows.csv": _write_csv,
    "rows.tsv": lambda: _write_csv().replace(b",", b"\t"),
    "rows.txt": lambda: b"\n\n".join([b"A paragraph of text."] * 9),
    "rows.md": lambda: b"# A\n\n- b\n\n" * 5,
    "noname": lambda: _LINES,
}  # fmt: skip
_COLUMNAR: dict[str, Callable[[], bytes]] = {
    "rows.parquet": lambda: _write_columnar("parquet"),
    "rows.arrow": lambda: _write_columnar("arrow"),
}


@functools.cache
def _get_seed(name: str) -> bytes:
    return (_TEXT_FILES | _COLUMNAR)[name]()


def _damage_text(rng: random.Random, content: bytes) -> bytes:
    match rng.randrange(6):
        case 0:
            return content.decode("utf-8", "replace").encode(rng.choice(_CODECS), "replace")
        case 1:
            return content.replace(b"\n", rng.choice((b"\r", b"\r\n", b"\n\n", b"")))
        case _:
            return damage_bytes(rng, content, _PIECES)


def generate_file(rng: random.Random) -> bytes:
    """Return a damaged file of rows."""
    name = rng.choice([*_TEXT_FILES, *_COLUMNAR] if rng.random() < 0.5 else [*_TEXT_FILES])
    if rng.random() < 0.03:
        return name.encode() + b"\n" + rng.randbytes(rng.randrange(3000))
    content = _get_seed(name)
    content = damage_bytes(rng, content) if name in _COLUMNAR else _damage_text(rng, content)
    return name.encode() + b"\n" + content


_NAMES = (
    "a.jsonl", "b/c.csv", "../x.jsonl", "/x.jsonl", "a.jsonl", "x" * 300 + ".jsonl", "é.jsonl", "a\0b.jsonl", "a\n.jsonl", "C:\\x.jsonl",
    "con.jsonl", ".hidden", "a.py", "a.zip", "a.jsonl.gz", "__MACOSX/a.jsonl", "\ud800.jsonl", "d/", "data.pkl",
)  # fmt: skip


def _write_zip(rng: random.Random) -> bytes:
    buffer = io.BytesIO()
    method = rng.choice(
        (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2)
    )
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name in rng.choices(_NAMES, k=rng.randrange(1, 4)):
            info = zipfile.ZipInfo(name.encode("utf-8", "replace").decode())
            info.compress_type = method
            if rng.random() < 0.1:
                info.external_attr = 0o120777 << 16  # a link
            archive.writestr(info, _draw_member(rng))
    return buffer.getvalue()


_SHEET = (
    b'<?xml version="1.0"?><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
    b'<row r="1"><c t="inlineStr"><is><t>question</t></is></c><c t="inlineStr"><is><t>answer</t></is></c></row>'
    b'<row r="2"><c t="inlineStr"><is><t>Q</t></is></c><c t="inlineStr"><is><t>A</t></is></c></row></sheetData></worksheet>'
)
_ENTITIES = (
    b'<!DOCTYPE x [<!ENTITY a0 "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 9))
    + b"]><x>&a8;</x>"
)

#: Names of files that are archives of XML or of arrays, with their members.
_CONTAINERS: dict[str, tuple[str, ...]] = {
    "a.xlsx": ("[Content_Types].xml", "xl/workbook.xml", "xl/sharedStrings.xml", "xl/worksheets/sheet1.xml"),
    "a.xlsm": ("[Content_Types].xml", "xl/workbook.xml", "xl/vbaProject.bin"),
    "a.xlsb": ("[Content_Types].xml", "xl/workbook.bin"),
    "a.docx": ("[Content_Types].xml", "word/document.xml"),
    "a.ods": ("mimetype", "content.xml", "META-INF/manifest.xml"),
    "a.npz": ("a.npy", "b.npy"),
    "a.jar": ("META-INF/MANIFEST.MF", "rows.jsonl"),
    "a.whl": ("a/__init__.py", "a/data.jsonl", "a-1.dist-info/METADATA"),
}  # fmt: skip


def _write_container(rng: random.Random) -> tuple[str, bytes]:
    """Return the name and content of a spreadsheet, a document, or another file that is a ZIP archive."""
    name = rng.choice([*_CONTAINERS])
    buffer = io.BytesIO()
    with zipfile.ZipFile(
        buffer, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    ) as archive:
        for member in _CONTAINERS[name]:
            if rng.random() < 0.9:
                content = rng.choice((_SHEET, _SHEET, _ENTITIES, _draw_member(rng)))
                archive.writestr(member, content)
    return rng.choice((name, name, "a.zip", "rows.jsonl", "rows.csv")), buffer.getvalue()


def _draw_member(rng: random.Random) -> bytes:
    return rng.choice(
        (
            _LINES,
            _LINES,
            _write_csv(),
            b"",
            b"../../canary/notes.txt",
            b"\0" * 3_000_000,
            b"[" * 1_000_000,
        )
    )


def _write_tar(rng: random.Random) -> bytes:
    buffer = io.BytesIO()
    compression = rng.choice(("", "gz", "bz2", "xz"))
    with tarfile.open(
        fileobj=buffer, mode=f"w:{compression}", format=rng.choice((0, 1, 2))
    ) as archive:  # type: ignore[call-overload]
        for name in rng.choices(_NAMES, k=rng.randrange(1, 4)):
            info = tarfile.TarInfo(name.encode("ascii", "replace").decode()[:90].replace("\0", ""))
            kinds = (tarfile.REGTYPE,) * 4 + (
                tarfile.SYMTYPE,
                tarfile.LNKTYPE,
                tarfile.CHRTYPE,
                tarfile.FIFOTYPE,
                tarfile.DIRTYPE,
            )
            info.type, info.linkname = (
                rng.choice(kinds),
                rng.choice(("/dev/zero", "../canary/notes.txt", "a.jsonl")),
            )
            member = _draw_member(rng)
            info.size = len(member) if info.type == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(member))
    return buffer.getvalue()


def _write_zst(content: bytes) -> bytes:
    import pyarrow as pa

    compressed: bytes = pa.compress(content, codec="zstd", asbytes=True)
    return compressed


def generate_archive(rng: random.Random) -> bytes:
    """Return an archive or a compressed file with unusual members, sometimes damaged."""
    match rng.randrange(9):
        case 0 | 1:
            name, content = rng.choice(("a.zip", "noname")), _write_zip(rng)
        case 7 | 8:
            name, content = _write_container(rng)
        case 2 | 3:
            name, content = rng.choice(("a.tar", "a.tar.gz", "a.tgz", "noname")), _write_tar(rng)
        case 4:
            name, content = (
                "a.jsonl.gz",
                gzip.compress(_draw_member(rng), mtime=0) * rng.choice((1, 1, 2)),
            )
        case 5:
            pack, ending = rng.choice(
                ((bz2.compress, "bz2"), (lzma.compress, "xz"), (_write_zst, "zst"))
            )
            name, content = f"a.jsonl.{ending}", pack(_draw_member(rng))
        case _:
            name, content = "a.jsonl.gz", gzip.compress(gzip.compress(_LINES, mtime=0), mtime=0)
    if rng.random() < 0.6:
        content = damage_bytes(rng, content)
    return name.encode() + b"\n" + content


def run_file(content: bytes, sandbox: Path) -> str:
    """Inspect the file as the dataset page does; rows and reasons add up."""
    from lora_studio.core.dataset.spec import DatasetSpec, DataSource
    from lora_studio.core.protocol import commands, events
    from lora_studio.engine.dataset import inspection
    from tests.helpers.runs.jobs import RecordingChannel, make_job

    name, _, content = content.partition(b"\n")
    folder, cache = sandbox / "files", sandbox.parent / "cache"
    for each in (folder, cache):
        shutil.rmtree(each, ignore_errors=True)
        each.mkdir()
    file = folder / (Path(name.decode("ascii", "replace")).name.replace("\0", "") or "x")
    file.write_bytes(content)
    channel = RecordingChannel()
    spec = DatasetSpec(sources=(DataSource(path=str(file)),))
    try:
        inspection.inspect(commands.InspectDataset(dataset=spec), make_job(channel))
    except ProblemError as error:
        str(error).encode("utf-8", "replace")
        return "refused"
    except MemoryError:  # a damaged file may claim any amount; the worker names it
        return "too large"
    answer = channel.last(events.DatasetInspected)
    (source,) = answer.sources
    if source.rows != source.used + sum(entry.count for entry in source.skipped):
        raise WrongResultError("rows and skipped rows don't add up")
    if source.format is None and not any(p.severity == "error" for p in source.problems):
        raise WrongResultError("a file has no format and no reason")
    return "read"


FAMILIES = [
    SimpleFamily("data-files", generate_file, run_file, seconds=10.0, weight=1.5, smoke=25),
    SimpleFamily(
        "archives",
        generate_archive,
        run_file,
        seconds=20.0,
        weight=1,
        smoke=12,
    ),
]
