"""Files to classify: their readers, the column with the texts, and what is left out."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_studio.core.dataset.spec import DataSource
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import locks
from lora_studio.core.system.locks import DeviceIdentity
from lora_studio.engine.chat import label_predictor, labeled_files
from lora_studio.engine.chat.label_predictor import LabelPredictor
from lora_studio.engine.dataset.files import blocks, readers
from lora_studio.engine.dataset.rows import scan
from lora_studio.engine.devices import lock
from tests.helpers.runs.jobs import RecordingChannel, make_job, new_run


class Predictor:
    """Gives every text the same label, and records the texts."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.texts: list[str] = []

    def predict(
        self, texts: Sequence[str], report: Callable[[int], object]
    ) -> events.TextsClassified:
        self.texts += texts
        return events.TextsClassified(labels=("a",), probabilities=((1.0,),) * len(texts))


@pytest.fixture
def predictor(monkeypatch: pytest.MonkeyPatch) -> Predictor:
    """Return what stands for the model; `test_classification.py` classifies a file with a real one."""
    predictor = Predictor()
    monkeypatch.setattr(label_predictor, "require_classifier", lambda run: None)
    monkeypatch.setattr(label_predictor.LabelPredictor, "open", lambda run, job: predictor)
    return predictor


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return new_run(
        tmp_path, dataset={"sources": [{"path": "a.csv", "mapping": {"text": "ticket"}}]}
    )


def classify(run: RunFolder, file: Path, content: bytes, column: str = "") -> RecordingChannel:
    file.write_bytes(content)
    channel = RecordingChannel()
    command = commands.ClassifyFile(run=str(run.path), source=DataSource(path=str(file)), column=column)  # fmt: skip
    labeled_files.classify_file(run, command, make_job(channel))
    return channel


@pytest.mark.parametrize(
    ("name", "content", "column", "texts"),
    [
        ("a.csv", "id;ticket\n1;Größe?\n2;\n".encode(), "", ["Größe?", ""]),
        ("a.jsonl", b'{"ticket": "x", "text": "y"}\n', "", ["x"]),
        ("a.jsonl", b'{"ticket": "x", "text": "y"}\n', "text", ["y"]),
        ("a.json", b'[{"body": "x", "id": 1}, {"body": "y", "id": 2}]', "", ["x", "y"]),
        ("a.csv", b"title,note\nA,b\nC,d\n", "{title}: {note}", ["A: b", "C: d"]),
        ("a.txt", "Eins.\n\nZwölf.\n".encode(), "", ["Eins.", "", "Zwölf."]),
        ("a.txt", "a\u2028b\x0bc\r\n\rd\x85e".encode(), "", ["a\u2028b\x0bc", "", "d\x85e"]),
        ("a.jsonl", b'{"data": {"body": "x"}, "text": "y"}\n', "data.body", ["x"]),
        ("a.jsonl", b'{"data": {"body": "x"}}\n', "{data.body}!", ["x!"]),
    ],
)
def test_texts_of_a_file_are_found(
    run: RunFolder, predictor: Predictor, tmp_path: Path, name: str, content: bytes, column: str, texts: list[str]
) -> None:  # fmt: skip
    channel = classify(run, tmp_path / name, content, column)
    assert predictor.texts == texts
    rows = [json.loads(row) for row in channel.last(events.TextsClassified).rows]
    assert len(rows) == len(texts)
    assert not channel.of(events.Warned)


@pytest.mark.parametrize("column", ["", "ticket"])
def test_column_may_first_appear_in_a_later_part(
    run: RunFolder, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str
) -> None:  # fmt: skip
    monkeypatch.setattr(labeled_files, "_CHUNK", 1)
    rows = b'{"text": "x"}\n{"text": "y"}\n{"text": "z", "ticket": "t"}\n'
    channel = classify(run, tmp_path / "a.jsonl", rows, column)
    assert predictor.texts == ["", "", "t"]
    assert len(channel.of(events.TextsClassified)) == 3


def test_line_over_several_parts_is_one_text(
    run: RunFolder, predictor: Predictor, tmp_path: Path
) -> None:
    # The long line has no blanks, so its parts end in the middle, the first one between CR and LF.
    start = "x" * (readers.TEXT_ROW - 1)
    long = "y" * (2 * readers.TEXT_ROW)
    classify(run, tmp_path / "a.txt", f"{start}\r\n{long}\r\nend\r\n".encode())
    assert predictor.texts == [start, long, "end"]


def test_part_ends_after_a_few_megabytes(
    run: RunFolder, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labeled_files, "_CHUNK_BYTES", 40)
    channel = classify(run, tmp_path / "a.jsonl", b'{"text": "0123456789"}\n' * 5)
    assert [len(each.rows) for each in channel.of(events.TextsClassified)] == [2, 2, 1]


def test_what_is_unusual_about_a_file_is_a_warning(
    run: RunFolder, predictor: Predictor, tmp_path: Path
) -> None:
    channel = classify(run, tmp_path / "a.csv", "id;ticket\n1;Größe?\n".encode("cp1252"))
    assert predictor.texts == ["Größe?"]
    assert channel.last(events.Warned).problem.code == "dataset.encoding_guessed"
    packed = gzip.compress(b"".join(b'{"ticket": "%d"}\n' % number for number in range(2000)))
    channel = classify(run, tmp_path / "b.jsonl.gz", packed[: len(packed) // 2])
    codes = [warned.problem.code for warned in channel.of(events.Warned)]
    assert codes == ["dataset.broken_off", "classify.skipped_rows"]
    assert 1 < len(predictor.texts) < 2000


def test_unreadable_rows_are_left_out_with_a_warning(
    run: RunFolder, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labeled_files, "_CHUNK", 2)
    lines = ['{"text": "x"}', "{broken", *['{"text": "y"}'] * 3]
    channel = classify(run, tmp_path / "a.jsonl", "\n".join(lines).encode())
    assert [len(each.rows) for each in channel.of(events.TextsClassified)] == [2, 2]
    assert predictor.texts == ["x", "y", "y", "y"]
    assert "1 row of a.jsonl can't be read" in str(channel.last(events.Warned).problem.what)


@pytest.mark.parametrize(
    ("content", "column", "words"),
    [
        (b"id,name\n1,Ann\n2,Bo\n", "", "couldn't tell which column"),
        (b"id,ticket\n1,x\n", "body", "has no column body"),
        (b"", "", "a.csv"),
    ],
)
def test_file_without_texts_is_refused(
    run: RunFolder, predictor: Predictor, tmp_path: Path, content: bytes, column: str, words: str
) -> None:  # fmt: skip
    with pytest.raises(ProblemError, match=words):
        classify(run, tmp_path / "a.csv", content, column)
    assert not predictor.texts


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
def test_memory_is_limited_only_while_rows_are_read(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    limits: dict[str, int] = {}

    def note(name: str) -> None:
        limits[name] = resource.getrlimit(resource.RLIMIT_DATA)[0]

    class Recording(Predictor):
        def predict(
            self, texts: Sequence[str], report: Callable[[int], object]
        ) -> events.TextsClassified:
            note("predicting")
            return super().predict(texts, report)

    def parse(raw: bytes) -> Any:
        note("reading")
        return blocks.parse_values(raw)

    note("before")
    monkeypatch.setattr(scan, "parse_values", parse)
    monkeypatch.setattr(label_predictor, "require_classifier", lambda run: None)
    monkeypatch.setattr(label_predictor.LabelPredictor, "open", lambda run, job: Recording())
    classify(run, tmp_path / "a.jsonl", b'{"ticket": "x"}\n')
    note("afterwards")
    assert limits["predicting"] == limits["afterwards"] == limits["before"]
    assert 0 < limits["reading"] < 64 << 30


GPU = DeviceIdentity("cuda-GPU-1", "RTX 4090")


@pytest.mark.parametrize(("device", "is_held"), [("cpu", False), ("cuda:0", True)])
def test_classifier_on_the_cpu_holds_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, is_held: bool
) -> None:
    monkeypatch.setenv("LORA_STUDIO_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(lock, "get_lockable_devices", lambda model: [GPU])
    monkeypatch.setattr(LabelPredictor, "_held", None)
    monkeypatch.setattr(label_predictor, "require_classifier", lambda run: None)
    while_loading: list[bool] = []

    def load(*_: object) -> LabelPredictor:
        while_loading.append(locks.find_holder(GPU) is not None)
        part: Any = None
        return LabelPredictor(part, part, ("a",), part, torch.device(device), 8)

    monkeypatch.setattr(label_predictor, "_load", load)
    run = new_run(tmp_path)
    for _ in range(2):
        with label_predictor.open_predictor(run, make_job()):
            assert (locks.find_holder(GPU) is not None) == is_held
        assert locks.find_holder(GPU) is None
    assert while_loading == [True]
    if not is_held:  # a classifier in memory doesn't wait for a GPU either
        monkeypatch.setattr(lock, "hold_devices", lambda *_: pytest.fail("waits for a GPU"))
        with label_predictor.open_predictor(run, make_job()):
            pass
