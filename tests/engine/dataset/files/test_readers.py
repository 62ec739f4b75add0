"""Every kind of data file: recognized by content, read row by row; one fault costs one row."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_studio.core import limits
from lora_studio.core.dataset.spec import DataSource
from lora_studio.core.problems import Problem, ProblemError
from lora_studio.core.protocol.base import Progress
from lora_studio.engine.dataset.files import columnar
from lora_studio.engine.dataset.files.byte_streams import ByteStream, Compression
from lora_studio.engine.dataset.files.json_kinds import JsonSplitter
from lora_studio.engine.dataset.files.sniffing import detect_encoding
from lora_studio.engine.dataset.rows.scan import open_store, read_first_rows
from lora_studio.engine.dataset.rows.store import RowStore
from tests.helpers.runs.jobs import make_job, recorded_job
from tests.helpers.servers.hub_server import hub_server

pytestmark = pytest.mark.usefixtures("cache")

QA = {"question": "Where, then?", "answer": 'He said "here"\n\tand {left}.'}
CHAT = {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}


def scan(path: Path, **how: Any) -> RowStore:
    return open_store(DataSource(path=str(path), **how), make_job())


def scan_text(folder: Path, name: str, text: str | bytes, **how: Any) -> RowStore:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return scan(file, **how)


def values(store: RowStore) -> list[Any]:
    return [store.read_raw(position).values for position in range(len(store))]


def faults(store: RowStore) -> list[str]:
    return [str(store.read_raw(position).fault or "") for position in range(len(store))]


def refusal(path: Path, **how: Any) -> Problem:
    with pytest.raises(ProblemError) as caught:
        scan(path, **how)
    problem = caught.value.problems[0]
    assert str(problem.what)
    assert str(problem.remedy)
    return problem


# --- recognized by content ------------------------------------------------------------------------

JSON_FILES = {
    "lines": ("JSON lines", "\n".join(json.dumps(QA) for _ in range(2))),
    "lines with a blank one": ("JSON lines", f"{json.dumps(QA)}\r\n\r\n{json.dumps(QA)}\r\n"),
    "a list": ("JSON list", json.dumps([QA, QA])),
    "a list on many lines": ("JSON list", json.dumps([QA, QA], indent=2)),
    "a list of one item a line": ("JSON list", f"[\n{json.dumps(QA)},\n{json.dumps(QA)}\n]\n"),
    "a list in an object": (
        "JSON list in an object",
        json.dumps({"about": "[x]", "rows": [QA, QA]}),
    ),
    "a list in an object's object": (
        "JSON list in an object",
        json.dumps({"status": "ok", "data": {"total": 2, "items": [QA, QA]}}, indent=1),
    ),
    "a list by the split's name": (
        "JSON list in an object",
        json.dumps({"test": [CHAT], "train": [QA, QA]}, indent=1),
    ),
    "objects on many lines": (
        "JSON objects",
        "\n".join(json.dumps(QA, indent=4) for _ in range(2)),
    ),
    "objects one after another": ("JSON objects", json.dumps(QA) + json.dumps(QA)),
    "columns": ("JSON columns", json.dumps({key: [text, text] for key, text in QA.items()})),
    "columns by row number": (
        "JSON columns",
        json.dumps({key: {"0": text, "1": text} for key, text in QA.items()}),
    ),
}


#: Files with rows inside their objects, and the row.
NESTED: dict[str, tuple[Any, Any]] = {
    "a file of instances": (
        {"Definition": ["Say it."], "Positive Examples": [{"input": "x", "output": "y"}],
         "Instances": [{"id": "1", "input": "Q", "output": ["A"]}] * 2},
        {"Definition": "Say it.", "id": "1", "input": "Q", "output": ["A"]},
    ),
    "instructions with instances": (
        [{"id": "s", "instruction": "Say it.", "instances": [{"input": "", "output": "A"}] * 2}],
        {"id": "s", "instruction": "Say it.", "input": "", "output": "A"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("kind", NESTED)
def test_instances_of_an_instruction_become_rows(
    tmp_path: Path, kind: str, indent: int | None
) -> None:
    document, row = NESTED[kind]
    store = scan_text(tmp_path, "rows.json", json.dumps(document, indent=indent))
    assert values(store) == [row] * 2
    assert set(store.facts.columns) == set(row)


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".txt", ""])
@pytest.mark.parametrize("kind", JSON_FILES)
def test_json_layout_is_recognized_by_content(tmp_path: Path, kind: str, suffix: str) -> None:
    title, text = JSON_FILES[kind]
    store = scan_text(tmp_path, f"rows{suffix}", text)
    assert str(store.title) == f"{title}, UTF-8"
    assert values(store) == [QA, QA]
    assert store.facts.columns == ("question", "answer")


@pytest.mark.parametrize(
    ("name", "text", "title", "rows"),
    [
        ("a.csv", "q,a\n1,2\n", "CSV with commas, UTF-8", [{"q": "1", "a": "2"}]),
        ("a.csv", "q;a\n1,5;2\n", "CSV with semicolons, UTF-8", [{"q": "1,5", "a": "2"}]),
        ("a.tsv", "q\ta\nx y\tz\n", "CSV with tabs, UTF-8", [{"q": "x y", "a": "z"}]),
        ("a.csv", "q|a\nx|z\n", "CSV with bars, UTF-8", [{"q": "x", "a": "z"}]),
        ("a.csv", "text\nHello, you\nBye\n", "CSV with one column, UTF-8", [{"text": "Hello, you"}, {"text": "Bye"}]),
        ("a.csv", "\ufeffq,a\r\n\"x\r\n\"\"y\"\"\",z\r\n", "CSV with commas, UTF-8", [{"q": "x\r\n\"y\"", "a": "z"}]),
        ("a.csv", "q,a\rx,y\rz,w\r", "CSV with commas, UTF-8", [{"q": "x", "a": "y"}, {"q": "z", "a": "w"}]),
        ("a.csv", ",q,a\n0,x,y\n1,z,w\n", "CSV with commas, UTF-8", [{"q": "x", "a": "y"}, {"q": "z", "a": "w"}]),
        ("a.csv", 'q,a\n"say \\"hi\\", you",y\n', "CSV with commas, UTF-8", [{"q": 'say "hi", you', "a": "y"}]),
        ("a", "question;answer\nx;y\n", "CSV with semicolons, UTF-8", [{"question": "x", "answer": "y"}]),
        ("a.csv", 'question, answer\n"x, y", "z, ""w"""\n', "CSV with commas, UTF-8", [{"question": "x, y", "answer": 'z, "w"'}]),
        ("a.csv", "question,answer,answer\nx,y,z\n", "CSV with commas, UTF-8", [{"question": "x", "answer": "y", "answer_2": "z"}]),
        ("a.tsv", 'q\ta\nHe said "hi\t5" wide\n"so" he did\t"z"\n', "CSV with tabs, UTF-8", [{"q": 'He said "hi', "a": '5" wide'}, {"q": '"so" he did', "a": '"z"'}]),
        ("a.tsv", 'q\ta\n"x\ty"\t"z\nw"\n', "CSV with tabs, UTF-8", [{"q": "x\ty", "a": "z\nw"}]),
    ],
    ids=[
        "commas",
        "semicolons",
        "tabs",
        "bars",
        "one column",
        "quotes and BOM",
        "CR line ends",
        "index column",
        "backslash quotes",
        "no suffix",
        "space after comma",
        "duplicate names",
        "TSV with plain quotes",
        "TSV with quoted cells",
    ],
)  # fmt: skip
def test_csv_dialect_is_detected(
    tmp_path: Path, name: str, text: str, title: str, rows: list[Any]
) -> None:
    store = scan_text(tmp_path, name, text)
    assert str(store.title) == title
    assert values(store) == rows


def test_late_quotes_in_tsv_are_plain_characters(tmp_path: Path) -> None:
    plain = "x\ty\n" * 200
    store = scan_text(tmp_path, "a.tsv", f'q\ta\n{plain}"so" he said\ty\n"open\ty\nx\ty\n')
    assert not any(faults(store))
    assert [row["q"] for row in values(store)[-3:]] == ['"so" he said', '"open', "x"]


def test_table_without_header_keeps_all_rows_and_warns(tmp_path: Path) -> None:
    store = scan_text(tmp_path, "a.csv", "12,13\n14,15\n")
    assert values(store)[0] == {"column 1": "12", "column 2": "13"}
    assert [problem.code for problem in store.facts.problems] == ["dataset.no_header"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "Once upon a time, there was\na king, who said:\n\n[stop] {now}"),
        ("a.md", "# Title\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"),
        ("a.txt", "[Chorus]\n“Hello” – 你好 🙂\n"),
        ("a", "{name}: hello\n{name}: bye\n"),
        (
            "a.txt",
            "One sentence, of many words, that goes on and on for longer than any name of a column could be, and then it ends.\n",
        ),
        ("a.txt", "Yes,no\n"),
        ("a.txt", "שלום עולם\nمرحبا بالعالم\n"),
    ],
    ids=[
        "prose",
        "Markdown",
        "brackets",
        "braces",
        "long sentence",
        "one line",
        "right to left",
    ],
)
def test_document_is_one_unchanged_row(tmp_path: Path, name: str, text: str) -> None:
    store = scan_text(tmp_path, name, text)
    assert str(store.title) == "Text, UTF-8"
    assert values(store) == [{"text": text}]


def test_large_text_is_split_at_blank_lines_without_loss(tmp_path: Path) -> None:
    text = "".join(f"Paragraph {number}. {'word ' * 60}\n\n" for number in range(2000))
    store = scan_text(tmp_path, "a.txt", text)
    parts = [row["text"] for row in values(store)]
    assert len(parts) > 5
    assert "".join(parts) == text
    assert all(part.startswith("Paragraph") and len(part) <= 65536 for part in parts)
    row = store.read_raw(3)
    assert text.encode()[row.offset :].decode().startswith(parts[3][:50])
    assert text.encode()[: row.offset].count(b"\n") + 1 == row.line


def test_json_list_of_strings_becomes_text_rows(tmp_path: Path) -> None:
    store = scan_text(tmp_path, "a.json", json.dumps(["Once, [upon] {a}", "time."]))
    assert values(store) == [{"text": "Once, [upon] {a}"}, {"text": "time."}]


@pytest.mark.parametrize(
    "text", ["[12/01/2026, 10:00] Ann: Hi\n[12/01/2026, 10:02] Ben: Yes", "[1] A note."]
)
def test_text_that_begins_with_a_bracket_is_no_json(tmp_path: Path, text: str) -> None:
    assert values(scan_text(tmp_path, "chat.txt", text)) == [{"text": text}]


def test_short_column_costs_the_rows_after_its_end(tmp_path: Path) -> None:
    columns = {"question": ["a", "b", "c"], "answer": ["x", "y"]}
    store = scan_text(tmp_path, "a.json", json.dumps(columns))
    assert values(store)[:2] == [{"question": "a", "answer": "x"}, {"question": "b", "answer": "y"}]
    assert faults(store) == ["", "", "one of the columns is shorter than the others"]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": {"role": "user", "content": "Q"}, "completion": {"role": "assistant", "content": "A"}},
        {"meta": {"a": 1}, "question": {"text": "Q"}},
        {"messages": CHAT["messages"]},
        {"talk": {"turns": [{"speaker": "A", "text": "Q"}, {"speaker": "B", "text": "A"}]}},
        {"segments": [{"text": "Q", "label": False}, {"text": "A", "label": True}]},
    ],
    ids=["turns in columns", "nested values", "messages", "inner turns", "segments"],
)  # fmt: skip
def test_single_row_of_objects_is_not_a_table(tmp_path: Path, row: dict[str, Any]) -> None:
    assert values(scan_text(tmp_path, "a.json", json.dumps(row))) == [row]


def test_duplicate_column_names_are_numbered(tmp_path: Path) -> None:
    table = pa.table([pa.array(["a"]), pa.array(["b"]), pa.array(["c"])], names=["q", "a", "a"])
    pq.write_table(table, tmp_path / "rows.parquet")
    with pa.ipc.new_file(tmp_path / "rows.arrow", table.schema) as writer:
        writer.write_table(table)
    for name in ("rows.parquet", "rows.arrow"):
        store = scan(tmp_path / name)
        assert values(store) == [{"q": "a", "a": "b", "a_2": "c"}]
        assert store.facts.columns == ("q", "a", "a_2")


def test_nested_columns_are_kept_and_index_columns_dropped(tmp_path: Path) -> None:
    turns = [[{"role": "user", "content": "Q"}], [{"role": "user", "content": None}]]
    table = pa.table(
        {
            "messages": pa.array(turns),
            "beside": pa.array([{"role": ["user", "assistant"], "content": ["Q", "A"]}] * 2),
            "label": [True, None],
            "__index_level_0__": [7, 8],
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    with pa.ipc.new_file(tmp_path / "rows.arrow", table.schema) as writer:
        writer.write_table(table)
    with pa.ipc.new_stream(tmp_path / "stream", table.schema) as writer:
        writer.write_table(table)
    expected = [
        {"messages": turns[0], "beside": CHAT["messages"], "label": True},
        {"messages": turns[1], "beside": CHAT["messages"], "label": None},
    ]
    assert values(scan(tmp_path / "rows.parquet")) == expected
    assert values(scan(tmp_path / "rows.arrow")) == expected
    assert values(scan(tmp_path / "stream")) == expected


def test_arrow_maps_become_objects(tmp_path: Path) -> None:
    turn = pa.map_(pa.string(), pa.string())
    turns = [[("role", "user"), ("content", "Q")], [("role", "assistant"), ("content", "A")]]
    table = pa.table({"messages": pa.array([turns], pa.list_(turn))})
    pq.write_table(table, tmp_path / "rows.parquet")
    assert values(scan(tmp_path / "rows.parquet")) == [CHAT]


def test_values_without_json_type_become_text(tmp_path: Path) -> None:
    import datetime
    import decimal

    columns = {
        "when": [datetime.datetime(2024, 5, 6)],
        "price": [decimal.Decimal("1.50")],
        "image": [b"\x89PNG"],
        "odd": [float("nan")],
    }
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    assert values(scan(tmp_path / "rows.parquet")) == [
        {"when": "2024-05-06T00:00:00", "price": "1.50", "image": "<4 bytes>", "odd": None}
    ]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.string_view(), "a text of over twelve characters"),
        (pa.binary_view(), b"more than twelve bytes"),
        (pa.binary(), b"text"),
        (pa.binary(4), b"text"),
        (pa.decimal128(9, 2), 1),
        (pa.uuid(), bytes(16)),
        (pa.map_(pa.string(), pa.string()), [("key", "text")]),
    ],
    ids=str,
)
def test_row_of_large_arrow_batch_counts_its_own_size_only(
    kind: pa.DataType, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ROW_BYTES", 2000)
    monkeypatch.setattr(columnar, "BLOCK_BYTES", 2000)
    table = pa.table({"text": ["x"] * 3000, "more": pa.array([value] * 3000, kind)})
    with pa.ipc.new_file(tmp_path / "rows.arrow", table.schema) as writer:
        writer.write_table(table)
    store = scan(tmp_path / "rows.arrow")
    assert (len(store), store.facts.faults) == (3000, ())


# --- encodings and compression --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "title", "text"),
    [
        ("utf-8", "UTF-8", "Zażółć 日本 🙂"),
        ("utf-8-sig", "UTF-8", "Zażółć 日本 🙂"),
        ("utf-16", "UTF-16", "Zażółć 日本 🙂"),
        ("utf-32", "UTF-32", "Zażółć 日本 🙂"),
        ("cp1252", "Windows-1252", "Où est l’hôtel ? Über die Brücke, señor."),
        ("cp1250", "Windows-1250", "Zażółć gęślą jaźń, proszę państwa, dziękuję bardzo."),
        (
            "cp1252",
            "Windows-1252",
            "Möchtest du das Abo kündigen? Schöne Grüße aus Köln, Jörg Weiß.",
        ),
        ("cp1252", "Windows-1252", "Hvað ertu að gera, spurði þýðandinn og fór út í myrkrið."),
        ("cp1251", "Windows-1251", "Съешь же ещё этих мягких французских булок."),
        ("shift_jis", "Shift-JIS", "これは日本語の文章です。質問に答えてください。"),
        ("gb18030", "GB 18030", "这是一个中文句子。请回答下面的问题。"),
        ("euc_kr", "EUC-KR", "이것은 한국어 문장입니다. 서울은 수도입니다."),
        ("koi8_u", "KOI8-U", "Яка столиця України і де вона є? Київ на річці Дніпро."),
    ],
    ids=lambda value: value if value.isascii() and len(value) < 30 else "text",
)
@pytest.mark.parametrize("kind", ["jsonl", "csv", "txt"])
def test_encoding_is_detected_and_a_guess_is_reported(
    tmp_path: Path, kind: str, encoding: str, title: str, text: str
) -> None:
    rows = [{"question": "What is said here?", "answer": f"{text} {number}"} for number in range(5)]
    written = {
        "jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
        "csv": "question;answer\n"
        + "".join(f"{row['question']};{row['answer']}\n" for row in rows),
        "txt": "\n".join(row["answer"] for row in rows),
    }[kind]
    (tmp_path / f"rows.{kind}").write_bytes(written.encode(encoding))
    store = scan(tmp_path / f"rows.{kind}")
    assert str(store.title).endswith(title)
    assert values(store) == ([{"text": written}] if kind == "txt" else rows)
    guessed = [p.code for p in store.facts.problems] == ["dataset.encoding_guessed"]
    assert guessed == (not encoding.startswith("utf"))


@pytest.mark.parametrize("text", ["Yes!\0", "No, ¿qué?"], ids=["ASCII", "Spanish"])
def test_utf16_without_byte_order_mark_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ProblemError) as caught:
        scan_text(tmp_path, "rows.txt", (text * 50).encode("utf-16-le"))
    assert caught.value.problems[0].code == "dataset.not_text"


def test_few_bytes_beyond_ascii_are_read_as_windows_1252() -> None:
    assert detect_encoding("question,answer\nCafé?,déjà vu\n".encode("cp1252")).codec == "cp1252"


@pytest.mark.slow
def test_encoding_is_detected_after_a_megabyte_of_ascii(tmp_path: Path) -> None:
    plain = json.dumps({"question": "x" * 200, "answer": "y"}) + "\n"
    late = json.dumps({"question": "Où ?", "answer": "à l’hôtel"}, ensure_ascii=False) + "\n"
    content = (plain * 8000).encode() + (late * 4000).encode("cp1252")
    store = scan_text(tmp_path, "rows.jsonl", content)
    assert not store.facts.faults
    assert store.read_raw(11_999).values == {"question": "Où ?", "answer": "à l’hôtel"}


@pytest.mark.slow
@settings(max_examples=60)
@given(st.text(max_size=300))
def test_valid_utf8_is_read_as_utf8(text: str) -> None:
    data = f"Once upon a time there was: {text}".encode()
    for cut in range(4):
        assert detect_encoding(data[: len(data) - cut]).codec == "utf-8"


def _zst(data: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as file:
        file.write(data)
    return out.getvalue().to_pybytes()


_ARCHIVES = {"data.zip": "zip", "data.tar": "tar", "data.tar.gz": "gztar", "data.txz": "xztar"}

PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": _zst}


@pytest.mark.parametrize("packer", PACKERS)
def test_compressed_file_is_read_whatever_its_name(tmp_path: Path, packer: str) -> None:
    rows = [{"question": f"Q{number}", "answer": "é"} for number in range(3000)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    for name in (f"rows.jsonl.{packer}", "rows"):
        store = scan_text(tmp_path, name, PACKERS[packer](text.encode()))
        assert str(store.title).startswith("JSON lines, UTF-8, ")
        assert values(store) == rows


@pytest.mark.parametrize("packer", PACKERS)
def test_cut_off_compressed_file_gives_rows_before_the_cut(tmp_path: Path, packer: str) -> None:
    rows = [{"question": os.urandom(20).hex(), "answer": str(number)} for number in range(20_000)]
    data = PACKERS[packer]("".join(json.dumps(row) + "\n" for row in rows).encode())
    store = scan_text(tmp_path, "rows.gz", data[: len(data) * 3 // 4])
    parsed = values(store)
    sound = [row for row in parsed if row is not None]
    assert 500 < len(sound) < 20_000
    assert sound == rows[: len(sound)]
    assert len(parsed) - len(sound) <= 1
    assert "dataset.broken_off" in [problem.code for problem in store.facts.problems]


def test_parquet_in_zip_archive_is_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"question": ["Q"], "answer": ["A"]}), tmp_path / "rows.parquet")
    with zipfile.ZipFile(tmp_path / "rows.zip", "w") as archive:
        archive.write(tmp_path / "rows.parquet", "inside/rows.parquet")
    assert values(scan(tmp_path / "rows.zip")) == [{"question": "Q", "answer": "A"}]


# --- folders, archives, the hub -------------------------------------------------------------------


def _fill(folder: Path) -> None:
    (folder / "deep").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "a.jsonl").write_text(json.dumps(QA) + "\n", "utf-8")
    (folder / "deep" / "b.csv").write_text("question,answer\nx,y\n", "utf-8")
    (folder / "deep" / "c.json.gz").write_bytes(gzip.compress(json.dumps([QA, QA]).encode()))
    (folder / "d.md").write_text("Some text.", "utf-8")
    (folder / "README.md").write_text("About it", "utf-8")
    (folder / "LICENSE").write_text("Yours", "utf-8")
    (folder / "dataset_info.json").write_text("{}", "utf-8")
    (folder / "make.py").write_text("print()", "utf-8")
    (folder / ".hidden" / "e.jsonl").write_text(json.dumps(QA), "utf-8")
    (folder / "picture.dat").write_bytes(b"\x89PNG\r\n" + bytes(100))


def test_folder_is_read_by_file_and_lists_skipped_files(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    _fill(folder)
    store = scan(folder)
    assert values(store) == [QA, {"text": "Some text."}, {"question": "x", "answer": "y"}, QA, QA]
    assert [Path(file.path).name for file in store.facts.files] == ["a.jsonl", "d.md", "b.csv", "c.json.gz"]  # fmt: skip
    assert store.get_source_file(2).path.endswith("b.csv")
    assert [store.read_raw(position).number for position in range(5)] == [1, 2, 3, 4, 5]
    warnings = " ".join(str(problem.what) for problem in store.facts.problems)
    for name in ("README.md", "LICENSE", "dataset_info.json", "make.py", "e.jsonl", "picture.dat"):
        assert name in warnings
    assert all(problem.severity == "warning" for problem in store.facts.problems)


def test_progress_of_folder_ends_at_the_size_of_its_files(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text((json.dumps(QA) + "\n") * 100, "utf-8")
    job, recorder = recorded_job()
    open_store(DataSource(path=str(tmp_path)), job)
    reading = [event for event in recorder.of(Progress) if str(event.stage) == "reading rows"]
    assert reading[-1].done == reading[-1].total


def test_folder_skips_documents_and_damaged_archives_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with zipfile.ZipFile(folder / "a.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<x/>")
    (folder / "b.zip").write_bytes(b"PK\x03\x04broken")
    (folder / "c.jsonl").write_text(json.dumps(QA), "utf-8")
    store = scan(folder)
    assert values(store) == [QA]
    warnings = " ".join(str(problem.what) for problem in store.facts.problems)
    assert "a.xlsx" in warnings
    assert "b.zip" in warnings


@pytest.mark.parametrize("name", ["data.zip", "data.tar", "data.tar.gz", "data.txz"])
def test_archive_is_read_like_a_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    _fill(folder)
    shutil.make_archive(str(tmp_path / "data"), _ARCHIVES[name], folder)
    parsed = values(scan(next(tmp_path.glob("data.*")).rename(tmp_path / name)))
    assert sorted(map(str, parsed)) == sorted(map(str, values(scan(folder))))


def test_damaged_tar_is_refused_and_zeros_are_not_an_archive(tmp_path: Path) -> None:
    _fill(tmp_path / "data")
    file = Path(shutil.make_archive(str(tmp_path / "data"), "gztar", tmp_path / "data"))
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ProblemError) as caught:
        scan(file)
    assert caught.value.problems[0].code == "dataset.unreadable"
    (tmp_path / "zeros.txt").write_bytes(bytes(2048))
    with pytest.raises(ProblemError) as caught:
        scan(tmp_path / "zeros.txt")
    assert caught.value.problems[0].code == "dataset.not_text"


def test_folder_with_splits_reads_the_requested_split(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("train-00000.jsonl", "test.jsonl", "valid.jsonl", "extra.jsonl"):
        (folder / name).write_text(json.dumps({"text": name}) + "\n", "utf-8")
    training, validation = scan(folder), scan(folder, split="validation")
    assert {row["text"] for row in values(training)} == {"train-00000.jsonl", "extra.jsonl"}
    assert {row["text"] for row in values(validation)} == {"valid.jsonl", "extra.jsonl"}
    assert "test.jsonl" in str(training.facts.problems[0].what)


_HUB = """
import json, sys
from lora_studio.core.dataset.spec import DataSource
from lora_studio.core.problems import ProblemError
from lora_studio.engine.dataset.rows.scan import open_store
from tests.helpers.runs.jobs import make_job
for line in sys.stdin:
    try:
        store = open_store(DataSource.model_validate_json(line), make_job())
        print(json.dumps([store.read_raw(place).values for place in range(len(store))]))
    except ProblemError as error:
        print(json.dumps(str(error)))
"""


@pytest.mark.slow
def test_hub_dataset_is_read_by_subset_split_and_revision(tmp_path: Path) -> None:
    plain, carded = tmp_path / "plain", tmp_path / "carded"
    (plain / "data").mkdir(parents=True)
    (carded / "fr").mkdir(parents=True)
    table = pa.table({"question": ["Q"], "answer": ["A"]})
    pq.write_table(table, plain / "data" / "train-00000-of-00001.parquet")
    (plain / "data" / "test.jsonl").write_text(json.dumps(CHAT), "utf-8")
    (plain / "README.md").write_text("# Data\n", "utf-8")
    card = (
        "---\nlicense: mit\nconfigs:\n- config_name: english\n  data_files:\n  - split: train\n"
        "    path: en*.csv\n- config_name: french\n  data_files: fr/**\n---\n# Data\n"
    )
    (carded / "README.md").write_text(card, "utf-8")
    (carded / "en1.csv").write_text("question,answer\nwho,me\n", "utf-8")
    (carded / "fr" / "rows.jsonl").write_text('{"question": "qui", "answer": "moi"}', "utf-8")
    sources = [
        {"path": "some/plain"},
        {"path": "some/plain", "split": "test"},
        {"path": "some/plain", "split": "other"},
        {"path": "some/carded", "subset": "english"},
        {"path": "some/carded", "subset": "french"},
        {"path": "some/carded"},
        {"path": "some/plain", "revision": "none"},
        {"path": "some/missing"},
    ]
    with hub_server({}) as hub:
        hub.datasets = {"some/plain": plain, "some/carded": carded}
        environment = os.environ | {
            "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_DISABLE_XET": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "5",
        }  # fmt: skip

        def ask(questions: list[Any], **more: str) -> list[Any]:
            done = subprocess.run(
                [sys.executable, "-c", _HUB],
                input="".join(json.dumps(question) + "\n" for question in questions),
                env=environment | more,
                capture_output=True,
                text=True,
                timeout=600,
            )
            assert done.returncode == 0, done.stderr
            return [json.loads(line) for line in done.stdout.splitlines()]

        answers = ask(sources)
    assert answers[0] == [{"question": "Q", "answer": "A"}]
    assert answers[1] == [CHAT]
    assert "one of these splits: test, train" in answers[2]
    assert answers[3] == [{"question": "who", "answer": "me"}]
    assert answers[4] == [{"question": "qui", "answer": "moi"}]
    assert "english, french" in answers[5]
    assert "no branch, tag, or commit named none" in answers[6]
    assert "some/missing doesn't exist on the Hub" in answers[7]
    # Downloaded files work offline, too.
    assert ask(sources[:1], HF_HUB_OFFLINE="1") == answers[:1]


# --- files without data ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "code", "message"),
    [
        ("a.json", b"", "dataset.empty", "a.json is empty"),
        ("a.json", b" \n\n", "dataset.empty", "a.json is empty"),
        ("a.json", b"[]", "dataset.empty", "no rows"),
        ("a.csv", b"question,answer\n", "dataset.empty", "no rows"),
        ("a.json", b"hello", "dataset.not_json", "“hello”"),
        ("a.json", b'{"one": [{"a": 1}], "two": [{"a": 2}]}', "dataset.no_rows", "one, two"),
        (
            "a.json", json.dumps({"columns": [*QA], "index": [0], "data": [[*QA.values()]]}).encode(),
            "dataset.json_layout", "pandas' layout",
        ),
        ("a.json", json.dumps({"0": QA, "1": QA}).encode(), "dataset.json_layout", "pandas' layout"),
        ("a.json", json.dumps({"a": QA, "b": QA}).encode(), "dataset.json_layout", "pandas' layout"),
        ("a.pdf", b"%PDF-1.7 abc", "dataset.not_text", "a PDF document"),
        ("a.pkl", b"\x80\x04\x95abc", "dataset.not_text", "a pickle"),
        ("a.bin", bytes(range(256)) * 20, "dataset.not_text", "is not text"),
        ("a.parquet", b"PAR1 and no more", "dataset.unreadable", "damaged parquet file"),
        ("a.arrow", b"ARROW1\0\0 and no more", "dataset.unreadable", "damaged arrow file"),
        ("a.parquet", b"<html>not found</html>", "dataset.not_text", "its extension suggests"),
        ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "dataset.not_text", "Git LFS"),
        ("a.rtf", b"{\\rtf1 Hello}", "dataset.not_text", "rich text"),
        ("a.json", b"// nothing yet\n", "dataset.json5", "JSON with comments"),
        # mtime=0: otherwise the bytes differ between runs.
        (
            "a.gz", gzip.compress(gzip.compress(b"a", mtime=0), mtime=0), "dataset.not_text",
            "compressed more than once",
        ),
        (
            "a.gz", gzip.compress(b"PK\x03\x04broken", mtime=0), "dataset.not_text",
            "an archive inside another",
        ),
        ("a.gz", b"\x1f\x8b\x08\x00broken", "dataset.unreadable", "can't be read"),
        ("a.zip", b"PK\x03\x04broken", "dataset.unreadable", "can't be read"),
    ],
    ids=[
        "empty file",
        "only blank lines",
        "empty list",
        "only a header",
        "plain word",
        "two lists",
        "split layout",
        "rows by number",
        "rows by key",
        "PDF",
        "pickle",
        "binary",
        "cut-off Parquet",
        "cut-off Arrow",
        "HTML named parquet",
        "Git LFS pointer",
        "RTF",
        "only a comment",
        "compressed twice",
        "zip in gzip",
        "broken gzip",
        "broken zip",
    ],
)  # fmt: skip
def test_file_without_rows_is_refused_with_one_clear_problem(
    tmp_path: Path, name: str, content: bytes, code: str, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    problem = refusal(tmp_path / name)
    assert problem.code == code
    assert message in str(problem.what)
    assert problem.where.file == str(tmp_path / name)


def test_missing_file_and_empty_folder_are_reported(tmp_path: Path) -> None:
    assert "doesn't exist" in str(refusal(tmp_path / "none.json").what)
    (tmp_path / "empty").mkdir()
    assert "contains no data files" in str(refusal(tmp_path / "empty").what)


@pytest.mark.parametrize(
    ("member", "title"),
    [
        ("xl/workbook.xml", "an Excel workbook"),
        ("ppt/presentation.xml", "a PowerPoint presentation"),
        ("META-INF/container.xml", "an e-book"),
        ("META-INF/manifest.xml", "an OpenDocument file"),
        ("model/data.pkl", "a PyTorch weights file"),
    ],
    ids=["Excel", "PowerPoint", "e-book", "OpenDocument", "PyTorch"],
)
def test_zip_based_document_is_refused_by_its_type(tmp_path: Path, member: str, title: str) -> None:
    with zipfile.ZipFile(tmp_path / "rows", "w") as archive:
        archive.writestr(member, "<x/>")
        archive.writestr("content.xml", "<x/>")
    assert title in str(refusal(tmp_path / "rows").what)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.jsonl")
    assert "a pipe or a device" in str(refusal(tmp_path / "rows.jsonl").what)
    (tmp_path / "more.jsonl").write_text(json.dumps(QA), "utf-8")
    assert values(scan(tmp_path)) == [QA]


@pytest.mark.skipif(os.name == "nt", reason="on Windows, modes do not lock a folder")
def test_unreadable_subfolder_is_reported(tmp_path: Path) -> None:
    data, locked = tmp_path / "data", tmp_path / "data" / "locked"
    locked.mkdir(parents=True)
    (data / "rows.jsonl").write_text(json.dumps(QA), "utf-8")
    script = (
        "import os, sys\n"
        "from lora_studio.core.dataset.spec import DataSource\n"
        "from lora_studio.engine.dataset.rows.scan import find_files\n"
        "from tests.helpers.runs.jobs import recorded_job\n"
        "os.getuid() or os.setuid(65534)\n"
        "print(*(f'{name}: {why}' for name, why in find_files(DataSource(path=sys.argv[1]), recorded_job()[0]).left_out))"
    )
    for folder in (tmp_path, *tmp_path.parents):  # pytest creates them for the user only
        if folder.stat().st_mode & 0o777 == 0o700:
            folder.chmod(0o755)
    locked.chmod(0)
    done = subprocess.run(
        [sys.executable, "-c", script, str(data)], capture_output=True, text=True, check=False
    )
    locked.chmod(0o755)
    assert done.stdout == "locked: no permission to open the folder\n", done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows allows links only to administrators")
def test_link_out_of_a_folder_is_left_out_and_named(tmp_path: Path) -> None:
    private, data = tmp_path / "private", tmp_path / "data"
    for folder in (private, data / "part"):
        folder.mkdir(parents=True)
    (private / "diary.jsonl").write_text(json.dumps({"question": "?", "answer": "!"}), "utf-8")
    (data / "part" / "rows.jsonl").write_text(json.dumps(QA), "utf-8")
    (data / "more.jsonl").symlink_to(private / "diary.jsonl")
    (data / "others").symlink_to(private)
    (data / "same.jsonl").symlink_to(data / "part" / "rows.jsonl")
    chosen = tmp_path / "chosen"
    chosen.symlink_to(data)
    store = scan(chosen)
    assert values(store) == [QA, QA]
    (problem,) = store.facts.problems
    assert "a link that leads out of the folder): more.jsonl, others." in str(problem.what)


def test_damaged_file_in_folder_leaves_other_files_readable(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "b.jsonl").write_text(json.dumps(QA), "utf-8")
    parsed = read_first_rows(DataSource(path=str(tmp_path)), 5, make_job())
    assert [row.values for row in parsed.rows] == [QA]
    store = scan(tmp_path)
    assert values(store) == [QA]
    (problem,) = store.facts.problems
    assert (problem.severity, "damaged parquet file" in str(problem.what)) == ("warning", True)


# --- one fault, one row ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"{broken", "the row is not valid JSON"),
        (b'{"question": "\xff", "answer": "y"}', "the row is not valid UTF-8"),
        (b'{"question": "\x00", "answer": "y"}', "the row contains a NUL byte"),
        (b'["a", "list"]', "the row is not a JSON object"),
        (b"5", "the row is not a JSON object"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "the row is nested too deeply"),
        (b'{"a": 1} {"a": 2}', "the row is not valid JSON"),
    ],
    ids=[
        "not JSON",
        "not UTF-8",
        "NUL byte",
        "list",
        "number",
        "nested too deeply",
        "two objects",
    ],
)  # fmt: skip
def test_faulty_line_costs_one_row_with_reason_and_number(
    tmp_path: Path, line: bytes, fault: str
) -> None:
    good = json.dumps(QA).encode()
    store = scan_text(tmp_path, "rows.jsonl", b"\n".join([good, line, good, b"", good]))
    assert values(store) == [QA, None, QA, QA]
    assert faults(store) == ["", fault, "", ""]
    assert [(str(one.reason), one.count, one.rows) for one in store.facts.faults] == [
        (fault, 1, (2,))
    ]
    assert [store.read_raw(position).line for position in range(4)] == [1, 2, 3, 5]
    assert store.read_raw(3).offset == len(good) * 2 + len(line) + 4


@pytest.mark.parametrize("size", [5, 5000])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    "broken",
    [
        '{"question": "x" "answer": "y"}',
        '{"question": "x", "answer": "y"',
        '{"question": "x", "answer": ["y"}',
        '{"question": "x", "answer": "y}',
        '"a text alone"',
        "17",
    ],
    ids=["no comma", "no brace", "wrong bracket", "open string", "text", "number"],
)
def test_faulty_list_item_costs_one_row(
    tmp_path: Path, broken: str, indent: int | None, size: int
) -> None:
    items = [json.dumps(QA, indent=indent) for _ in range(size)]
    items.insert(3, broken)
    store = scan_text(tmp_path, "rows.json", "[" + ",\n".join(items) + "]")
    assert values(store) == [*[QA] * 3, None, *[QA] * (size - 3)]


def test_extra_bracket_is_a_fault_between_rows(tmp_path: Path) -> None:
    good = json.dumps(QA)
    store = scan_text(tmp_path, "rows.json", f"[{good}, {good}}}, {good}]")
    assert values(store) == [QA, QA, None, QA]


def test_truncated_list_gives_rows_before_the_cut(tmp_path: Path) -> None:
    text = json.dumps([QA] * 10)
    store = scan_text(tmp_path, "rows.json", text[: len(text) - 20])
    assert values(store) == [QA] * 9 + [None]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("only one", "the row has fewer cells than the header"),
        ("a,b,c", "the row has more cells than the header"),
        ('"never closed,b', "a quotation mark is never closed"),
        ('"stray "quote" here",b', "a quotation mark is never closed"),
        ("nul\0,b", "the row contains a NUL byte"),
    ],
    ids=["too few cells", "too many cells", "open quote", "stray quote", "NUL byte"],
)
def test_ragged_csv_row_costs_one_row(tmp_path: Path, line: str, fault: str) -> None:
    text = f"question,answer\nx,y\n{line}\nx,y\n"
    store = scan_text(tmp_path, "rows.csv", text)
    assert values(store) == [
        {"question": "x", "answer": "y"},
        None,
        {"question": "x", "answer": "y"},
    ]
    assert faults(store)[1] == fault
    assert [store.read_raw(position).line for position in range(3)] == [2, 3, 4]
    assert text.encode()[store.read_raw(1).offset :].startswith(line.encode())


def test_mixed_line_endings_are_all_read(tmp_path: Path) -> None:
    text = 'question,answer\r\na,b\nc,d\re,f\r\n"g\rh",i\rj,"k\r\nl"\rm,n\n'
    store = scan_text(tmp_path, "rows.csv", text)
    cells = [tuple(row.values()) for row in values(store) if row]
    assert cells == [("a", "b"), ("c", "d"), ("e", "f"), ("g\rh", "i"), ("j", "k\r\nl"), ("m", "n")]
    for position, first in enumerate(("a", "c", "e", '"g', "j", "m")):
        assert text[store.read_raw(position).offset :].startswith(first)


def test_overlong_number_costs_its_row_with_reason(tmp_path: Path) -> None:
    text = f'{{"a": {"9" * 5000}}}\n{{"a": 1}}\n'
    store = scan_text(tmp_path, "rows.jsonl", text)
    assert values(store) == [None, {"a": 1}]
    assert faults(store)[0] == "the row has a number with more than 4,300 digits"


def test_nonstandard_json_is_read_and_reported(tmp_path: Path) -> None:
    text = '{"a": NaN, "b": -Infinity}\n{"a": "one\ttwo"}\n{"a": 1e999}\n{"a": "\\ud800"}\n'
    store = scan_text(tmp_path, "rows.jsonl", text)
    assert values(store)[:2] == [{"a": None, "b": None}, {"a": "one\ttwo"}]
    assert values(store)[3] == {"a": "\ud800"}
    assert {p.where.row for p in store.facts.problems if p.code == "dataset.odd_spelling"} == {1, 2}


@pytest.mark.parametrize(
    "line",
    [
        "{'question': 'It\\'s \"here\"?', 'answer': None}",
        '{"question": "It\'s \\"here\\"?", "answer": null,}',
        '{"question": "It\'s \\"here\\"?", "answer": null , }',
        '\ufeff{"question": "It\'s \\"here\\"?", "answer": null}',
    ],
    ids=["Python literal", "trailing comma", "spaced trailing comma", "BOM"],
)
def test_unambiguous_invalid_json_line_is_repaired(tmp_path: Path, line: str) -> None:
    store = scan_text(tmp_path, "rows.jsonl", f"{json.dumps(QA)}\n{line}\n{json.dumps(QA)}\n")
    assert values(store) == [QA, {"question": 'It\'s "here"?', "answer": None}, QA]


def test_column_with_lone_surrogate_name_is_ignored(tmp_path: Path) -> None:
    store = scan_text(tmp_path, "rows.jsonl", '{"a": 1}\n{"\\ud800": 2, "b": 3, "🙂": 4}\n')
    assert store.facts.columns == ("a", "b", "🙂")
    assert values(store)[1]["b"] == 3


def test_trailing_comma_inside_a_string_is_kept(tmp_path: Path) -> None:
    store = scan_text(tmp_path, "rows.json", '[{"question": "a,}", "answer": ["b,]",],},]')
    assert values(store) == [{"question": "a,}", "answer": ["b,]"]}]
    (problem,) = store.facts.problems
    assert problem.code == "dataset.odd_spelling"


def test_single_line_json_in_cp1252_is_decoded(tmp_path: Path) -> None:
    answer = "La préfecture a annoncé hier que l’été arrive."
    rows = [{"question": f"Où ? {number}", "answer": answer} for number in range(4)]
    text = json.dumps(rows, ensure_ascii=False)
    store = scan_text(tmp_path, "rows.json", text.encode("cp1252"))
    assert values(store) == rows
    assert [problem.code for problem in store.facts.problems] == ["dataset.encoding_guessed"]


@pytest.mark.slow
def test_large_row_is_read_and_oversized_is_a_fault(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    with file.open("wb") as stream:
        stream.write(json.dumps(QA).encode() + b"\n")
        stream.write(b'{"question": "x", "answer": "' + b"y" * 7_900_000 + b'"}\n')
        stream.write(b'{"question": "x", "answer": "' + b"y" * 8_100_000 + b'"}\n')
        stream.write(json.dumps(QA).encode() + b"\n")
    store = scan(file)
    assert faults(store) == ["", "", "the row is larger than 8 MB", ""]
    assert len(store.read_raw(1).raw) > 7_900_000
    assert store.read_raw(3).values == QA
    assert store.read_raw(3).line == 4


@pytest.mark.slow
def test_oversized_list_item_is_skipped(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    with file.open("wb") as stream:
        stream.write(b"[" + json.dumps(QA).encode() + b", ")
        stream.write(b'{"question": "x", "answer": "' + b"y" * 8_100_000 + b'"}, ')
        stream.write(json.dumps(QA).encode() + b"]")
    store = scan(file)
    assert values(store) == [QA, None, QA]
    assert faults(store)[1] == "the row is larger than 8 MB"


# --- the splitter ---------------------------------------------------------------------------------

_JSON = st.recursive(
    st.text('ab"\\{}[]\n,é:', max_size=8) | st.integers() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("kl", max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)


@pytest.mark.slow
@settings(max_examples=60)
@given(
    st.lists(st.fixed_dictionaries({"a": _JSON, "b": _JSON}), min_size=1, max_size=5),
    st.sampled_from([None, 1]),
    st.sampled_from([0, 1, 2]),
    st.integers(1, 80),
)
def test_items_are_split_whole_at_any_chunk_boundary(
    rows: list[Any], indent: int | None, depth: int, size: int
) -> None:
    text = json.dumps(rows, indent=indent, ensure_ascii=False)
    if depth == 0:
        text = " ".join(json.dumps(row, indent=indent) for row in rows)
    elif depth == 2:
        text = text[1:] + ', "more": [{"a": 1}]}'
    data = text.encode()
    splitter = JsonSplitter(depth)
    parsed = [
        item for at in range(0, len(data), size) for item in splitter.feed(data[at : at + size])
    ]
    parsed += splitter.finish()
    assert [json.loads(item.text) for item in parsed] == rows
    for item in parsed:
        assert data[item.offset : item.offset + len(item.text)] == item.text
        assert item.line == 1 + data.count(b"\n", 0, item.offset)


def test_first_rows_match_the_full_scan(tmp_path: Path) -> None:
    for name, (_, text) in JSON_FILES.items():
        file = tmp_path / name
        file.write_text(text, "utf-8")
        source = DataSource(path=str(file))
        first = read_first_rows(source, 2, make_job())
        store = open_store(source, make_job())
        assert [row.values for row in first.rows] == values(store)
        assert [row.raw for row in first.rows] == [
            store.read_raw(position).raw for position in range(2)
        ]
        assert (first.title, first.columns) == (store.title, store.facts.columns)


# --- nested rows, lists as rows, JSON5 ------------------------------------------------------------

ARTICLES: list[dict[str, Any]] = [
    {
        "title": "Sky",
        "paragraphs": [
            {
                "context": "The sky {is} blue.",
                "qas": [
                    {"answers": [{"text": "blue", "answer_start": 13}], "question": "Which?", "id": "a"},
                    {"question": "Why?", "id": "b", "answers": [], "is_impossible": True},
                ],
            },
            {"context": "Grass is green.", "qas": [{"question": "And?", "id": "c", "answers": [{"text": "green"}]}]},
        ],
    },
    {"title": "Sea", "paragraphs": [{"context": "Deep.", "qas": []}]},
]  # fmt: skip
QUESTIONS: list[dict[str, Any]] = [
    {"title": "Sky", "context": "The sky {is} blue."} | ARTICLES[0]["paragraphs"][0]["qas"][0],
    {"title": "Sky", "context": "The sky {is} blue."} | ARTICLES[0]["paragraphs"][0]["qas"][1],
    {"title": "Sky", "context": "Grass is green."} | ARTICLES[0]["paragraphs"][1]["qas"][0],
]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"version": "v2.0", "data": ARTICLES}),
        json.dumps({"data": ARTICLES, "version": "v2.0"}, indent=2),
        json.dumps(ARTICLES, indent=1),
        "\n".join(map(json.dumps, ARTICLES)),
    ],
    ids=["as published", "indented", "a list", "lines"],
)
def test_each_question_of_nested_articles_is_a_row(tmp_path: Path, text: str) -> None:
    store = scan_text(tmp_path, "train.json", text)
    assert values(store) == [*QUESTIONS, None]
    assert faults(store)[3] == "the paragraph has no question"
    assert store.facts.columns[:3] == ("title", "context", "answers")
    assert "paragraphs" not in store.facts.columns
    assert "nested rows" in str(store.title)
    (problem,) = store.facts.problems
    assert ("3 rows, starting with row 1" in str(problem.what), problem.where.row) == (True, 1)
    for position, question in enumerate(QUESTIONS):
        row = store.read_raw(position)
        parsed, _ = json.JSONDecoder().raw_decode(text[row.offset :])
        assert parsed["id"] == question["id"]
        assert row.line == 1 + text.count("\n", 0, row.offset)


def test_list_of_turns_is_a_conversation(tmp_path: Path) -> None:
    lines = [CHAT["messages"], CHAT["messages"], ["a", "b"]]
    store = scan_text(tmp_path, "rows.jsonl", "\n".join(map(json.dumps, lines)))
    assert values(store) == [CHAT, CHAT, None]
    assert faults(store)[2] == "the row is not a JSON object"
    assert [problem.code for problem in store.facts.problems] == ["dataset.odd_spelling"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('// Rows\n[{"question": "Q", "answer": "A"}]', id="comment first"),
        pytest.param('[/* Rows */ {"question": "Q", "answer": "A"}]', id="comment in the list"),
        pytest.param("{question: 'Q', answer: 'A'}", id="unquoted names"),
        pytest.param("[\n  {question: 'Q', answer: 'A'},\n]", id="unquoted names in a list"),
    ],
)
@pytest.mark.parametrize("name", ["rows.json", "rows.jsonc", "rows.json5"])
def test_json5_file_is_refused_with_remedy(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    problem = refusal(tmp_path / name)
    assert problem.code == "dataset.json5"
    assert "JSON lines" in str(problem.remedy)


def test_json_file_with_json5_name_is_read(tmp_path: Path) -> None:
    assert values(scan_text(tmp_path, "rows.json5", json.dumps([QA]))) == [QA]


def test_comment_like_text_in_multiline_string_is_kept(tmp_path: Path) -> None:
    code = "x = 1\n// set\ny = 2"
    text = '[{"question": "' + code + '", "answer": "A"},\n {"question": "Q", "answer": "B"}]'
    store = scan_text(tmp_path, "rows.json", text)
    assert values(store)[0] == {"question": code, "answer": "A"}


@pytest.mark.parametrize("compression", ["", "gzip"])
def test_file_larger_than_one_piece_is_read_to_its_end(
    compression: Compression, tmp_path: Path
) -> None:
    content = random.Random(1).randbytes(9_000_000)
    file = tmp_path / "rows"
    file.write_bytes(gzip.compress(content, 1) if compression else content)
    with ByteStream(file, compression=compression) as stream:
        read = b"".join(stream.iter_chunks())
    assert (read == content, stream.broken) == (True, "")


@pytest.mark.parametrize(
    "line", ["[15.03.24, 14:23:11] Anna: Hello, you", "3/15/24, 2:23\u202fPM - Anna: Hello, you"]
)
def test_exported_chat_is_text_with_a_warning(tmp_path: Path, line: str) -> None:
    store = scan_text(tmp_path, "chat.txt", f"{line}\nand more\n" * 4)
    assert [problem.code for problem in store.facts.problems] == ["dataset.chat_log"]


@pytest.mark.parametrize("layout", ["object", "lines", "list"])
def test_questions_that_name_their_answers_become_rows(tmp_path: Path, layout: str) -> None:
    answers = {"Wann öffnet das Museum?": "Um zehn Uhr.", "入場料はいくらですか？": "500円です。", "Qui peut entrer ?": "Tout le monde."}  # fmt: skip
    rows = [json.dumps({question: answer}) for question, answer in answers.items()]
    content = {
        "object": json.dumps(answers, indent=2, ensure_ascii=False),
        "lines": "\n".join(rows),
        "list": f"[{', '.join(rows)}]",
    }[layout]
    file = tmp_path / ("faq.jsonl" if layout == "lines" else "faq.json")
    file.write_text(content, encoding="utf-8")
    store = open_store(DataSource(path=str(file)), make_job())
    values = [store.read_raw(index).values for index in range(len(store))]
    assert values == [{"question": name, "answer": text} for name, text in answers.items()]


def test_columns_named_by_questions_are_not_answers(tmp_path: Path) -> None:
    rows = [{"Wie alt sind Sie?": str(30 + i), "Was machen Sie beruflich?": "Bäcker"} for i in range(5)]  # fmt: skip
    file = tmp_path / "survey.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    store = open_store(DataSource(path=str(file)), make_job())
    assert [store.read_raw(index).values for index in range(len(store))] == rows


def test_single_text_column_with_commas_keeps_its_header(
    tmp_path: Path,
) -> None:
    store = scan_text(tmp_path, "a.csv", "text\nHello, you\nBye, me\n")
    assert values(store) == [{"text": "Hello, you"}, {"text": "Bye, me"}]
