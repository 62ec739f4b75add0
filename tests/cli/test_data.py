"""`data inspect`: one JSON object on stdout whose row counts add up."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command_line import run_studio
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.runs.jobs import write_rows

KEYS = {
    "file", "container", "format", "task", "confidence", "evidence", "others", "columns", "mapping",
    "people", "rows", "used", "skipped", "reasons", "problems",
}  # fmt: skip
GOOD = {"instruction": "Who?", "input": "", "output": "I."}
CHAT = {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I."}]}


@pytest.fixture(autouse=True)
def _isolated_cache(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_STUDIO_CACHE", str(tmp_path_factory.mktemp("cache")))


def data(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return run_studio(
        "data", "inspect", *arguments, folder=folder, environment=os.environ | {"COLUMNS": "100"}
    )


def report(*arguments: str, folder: Path | None = None) -> dict[str, Any]:
    """Return the JSON object on stdout after checking the invariants of every report."""
    result = data(*arguments, "--json", folder=folder)
    assert "Traceback" not in result.stdout + result.stderr
    summary: dict[str, Any] = json.loads(result.stdout)
    assert set(summary) == KEYS
    assert summary["rows"] == summary["used"] + summary["skipped"]
    assert summary["skipped"] == sum(entry["count"] for entry in summary["reasons"])
    assert (summary["task"] == "unsupported") == (summary["format"] is None)
    refused = summary["task"] == "unsupported" or not summary["used"]
    assert result.returncode == (2 if refused else 0)
    assert summary["problems"] or not refused
    return summary


@pytest.mark.slow
def test_recognized_file_accounts_for_every_row(tmp_path: Path) -> None:
    rows = [GOOD, {**GOOD, "output": ""}, "no object", {**GOOD, "output": None}, GOOD]
    file = write_rows(tmp_path / "rows.jsonl", rows)
    summary = report(str(file))
    assert (summary["format"], summary["task"]) == ("alpaca", "sft")
    assert summary["columns"] == ["instruction", "input", "output"]
    assert summary["mapping"] == {
        "instruction": "instruction",
        "input": "input",
        "output": "output",
    }
    assert (summary["rows"], summary["used"]) == (5, 2)
    reasons = {entry["reason"]["text"]: entry["rows"] for entry in summary["reasons"]}
    assert reasons["the answer is empty"] == [2]
    assert reasons["the row contains no answer"] == [4]
    assert [3] in reasons.values()
    assert 0.4 < summary["confidence"] < 0.6  # half of the objects are usable


@pytest.mark.slow
def test_refused_file_gives_a_report_with_the_reason(tmp_path: Path) -> None:
    summary = report(str(write_rows(tmp_path / "prompts.jsonl", [{"prompt": "Who?"}] * 3)))
    assert (summary["task"], summary["rows"], summary["used"]) == ("unsupported", 3, 0)
    assert summary["problems"][0]["code"] == "dataset.prompts_only"
    assert summary["problems"][0]["remedy"]["text"]


@pytest.mark.end2end
def test_missing_file_is_refused_with_a_report(tmp_path: Path) -> None:
    summary = report(str(tmp_path / "nothing.jsonl"))
    assert (summary["task"], summary["rows"]) == ("unsupported", 0)
    assert "nothing.jsonl" in summary["problems"][0]["what"]["text"]


@pytest.mark.end2end
def test_columns_are_mapped_by_name_and_template(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [{"t": "Who?", "b": "Me", "r": "I."}])
    summary = report(str(file), "--map", r"question={t}\n{b}", "--map", "answer=r")
    assert (summary["format"], summary["confidence"]) == ("question_answer", 1.0)
    assert summary["mapping"] == {"question": r"{t}\n{b}", "answer": "r"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--map", "answer=nowhere"), "instruction, input, output"),
        (("--map", "answer"), "SLOT=COLUMN"),
        (("--format", "novel"), "alpaca, sharegpt"),
    ],
    ids=["unknown-column", "no-column", "unknown-format"],
)
def test_invalid_option_is_refused_with_the_valid_values(
    tmp_path: Path, options: tuple[str, ...], says: str
) -> None:
    summary = report(str(write_rows(tmp_path / "rows.jsonl", [GOOD])), *options)
    assert summary["task"] == "unsupported"
    assert says in summary["problems"][0]["remedy"]["text"]


@pytest.mark.slow
def test_text_output_has_the_same_facts_as_json(tmp_path: Path) -> None:
    rows = [GOOD] * 3 + [{**GOOD, "output": "[b]" if n else ""} for n in range(2)]
    result = data("rows.jsonl", folder=write_rows(tmp_path / "rows.jsonl", rows).parent)
    assert result.returncode == 0
    for text in ("Alpaca", "instruction, input, output", "5 read = 4 used + 1 skipped",
                 "1 × the answer is empty (row 4)"):  # fmt: skip
        assert text in result.stdout
    assert not result.stderr


@pytest.mark.slow
def test_labels_are_counted_with_problems_in_them(tmp_path: Path) -> None:
    labels = ["bill"] * 12 + ["ship"] * 9 + ["Ship"] * 2
    rows = [{"text": f"Message {n * n}", "label": label} for n, label in enumerate(labels)]
    result = data(str(write_rows(tmp_path / "labels.jsonl", rows)))
    assert result.returncode == 0
    table = [line.split() for line in result.stdout.splitlines()]
    assert table[table.index(["Label", "Rows", "Share", "Validation"]) + 1][:3] == ["bill", "12", "52.2"]  # fmt: skip
    assert "“Ship” for “ship”" in result.stdout
    assert "Repair: merge_labels" in result.stdout


@pytest.mark.end2end
def test_folder_is_read_as_one_dataset(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "a.jsonl", [CHAT] * 3)
    (tmp_path / "data" / "b.json").write_text(json.dumps([CHAT] * 2), encoding="utf-8")
    summary = report("data", folder=tmp_path)
    assert (summary["format"], summary["used"]) == ("messages", 5)


# --- files that are broken --------------------------------------------------------------------

LINE = json.dumps(GOOD).encode()
CSV = b"question,answer\n"
#: File name -> content, number of used rows, task.
BROKEN: dict[str, tuple[bytes, int, str]] = {
    "truncated.json": (json.dumps([GOOD] * 20).encode()[:-30], 19, "sft"),
    "truncated.jsonl": (b"\n".join([LINE] * 5)[:-10], 4, "sft"),
    "ragged.csv": (CSV + b"Who?,I.\nWho?\nWho?,I.,more\n,\nWho?,You.\n", 2, "sft"),
    "types_late.jsonl": (b"\n".join([LINE] * 50 + [b"7", b'{"instruction": [1], "output": {}}', b"null", b'["a"]', LINE]), 52, "sft"),
    "nul.jsonl": (LINE + b"\n\x00\x00\n" + LINE.replace(b"Who?", b"Wh\\u0000o?") + b"\n", 2, "sft"),
    "deep.jsonl": (LINE + b"\n" + b'{"instruction": ' + b"[" * 100_000 + b"]" * 100_000 + b', "output": "x"}\n' + LINE, 2, "sft"),
    "mixed.jsonl": (b"\n".join([LINE] * 6 + [json.dumps(CHAT).encode()] * 3), 9, "sft"),
    "latin.jsonl": (b"\n".join([LINE, b'{"instruction": "caf\xe9", "output": "I."}', LINE]), 2, "sft"),
    "broken_utf8.csv": (CSV + "Où?,là\n".encode() + b"\xff\xfe\x00x,\x80\n" + b"Who?,I.\n", 2, "sft"),
    "rtl.jsonl": (json.dumps({"question": "מי? 👩🏽‍🚀", "answer": "‏أنا‎"}, ensure_ascii=False).encode(), 1, "sft"),
    "surrogate.jsonl": (LINE + b'\n{"instruction": "\\ud83d", "output": "I."}\n', 1, "sft"),
    "single_column.csv": (b"text\nOne.\nTwo.\n", 2, "text"),
    "semicolons.csv": (b"\xef\xbb\xbfFrage;Antwort\n\"Wer; was?\";Ich\n", 1, "sft"),
    "packed.jsonl.gz": (gzip.compress(b"\n".join([LINE] * 3)), 3, "sft"),
    "torn.jsonl.gz": (gzip.compress(b"\n".join([LINE] * 3))[:-12], 1, "sft"),
    "empty.jsonl": (b"", 0, "unsupported"),
    "blank.csv": (b"\n\n", 0, "unsupported"),
    "picture.png": (b"\x89PNG\r\n\x1a\n" + bytes(64), 0, "unsupported"),
    "not.parquet": (b"PAR1 nothing", 0, "unsupported"),
    "numbers.json": (b"[1, 2, 3]", 0, "unsupported"),
    "scalar.json": (b'"hello"', 0, "unsupported"),
}  # fmt: skip


@pytest.mark.end2end
@pytest.mark.parametrize("name", BROKEN)
def test_broken_file_gives_usable_rows_or_one_refusal(name: str, tmp_path: Path) -> None:
    content, used, task = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    summary = report(name, folder=tmp_path)
    assert (summary["task"], summary["used"]) == (task, used), summary


ROWS: list[dict[str, Any]] = [
    {"instruction": "Name a ship.", "input": "", "output": "The Pim 🚢."},
    {"instruction": "And a lamp.", "output": ""},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model("llama3", tmp_path_factory.mktemp("render") / "tiny-llama3")


def render(*arguments: str, cache: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"LORA_STUDIO_CACHE": str(cache)}
    return run_studio("data", "render", *arguments, environment=environment)


@pytest.mark.slow
def test_row_is_printed_as_json_or_text(folder: Path, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", ROWS)
    options = [str(file), "--model", str(folder), "--row"]
    ended = render(*options, "1", "--json", cache=tmp_path)
    assert ended.returncode == 0, ended.stderr
    row = json.loads(ended.stdout)
    assert "".join(token["text"] for token in row["tokens"]) == row["text"]
    assert [row["text"][a:b] for a, b in row["trained_spans"]] == ["The Pim 🚢.<|eot_id|>"]
    trained = [token for token in row["tokens"] if token["trained"]]
    assert trained[-1]["text"] == "<|eot_id|>"
    assert trained[-1]["special"]
    assert row["counts"] == {"tokens": len(row["tokens"]), "trained": len(trained), "cut": 0}

    chosen = render(*options, "1", "--json", "--chat-template", "alpaca", cache=tmp_path)
    assert "### Response:\nThe Pim" in json.loads(chosen.stdout)["text"]

    printed = render(*options, "1", cache=tmp_path)
    assert "The Pim" in printed.stdout
    assert "trained (green)" in printed.stdout

    left_out = render(*options, "2", "--json", cache=tmp_path)
    assert left_out.returncode == 2
    assert json.loads(left_out.stdout)["fault"]


@pytest.mark.slow
def test_unknown_setting_value_is_refused_with_the_valid_ones(folder: Path, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", ROWS)
    ended = render(str(file), "--model", str(folder), "--train-on", "questions", cache=tmp_path)
    assert ended.returncode == 2
    assert "answers, last_answer, everything" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
