"""Public data files: format, task, mapping, and every row accounted for."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.core.dataset.spec import DatasetSpec, DataSource
from lora_studio.core.protocol import commands, events
from tests.helpers.runs.jobs import handle

DATA = Path(__file__).parents[4] / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"there is no public data at {DATA}")

ALPACA = {"instruction": "instruction", "input": "input", "output": "output"}
QA = {"question": "question", "answer": "answer"}
TALK = {"conversations": "conversations"}
#: File -> format, task, mapping, rows read, rows used.
EXPECTED: dict[str, tuple[str, str, dict[str, str], int, int]] = {
    "sft/alpaca_en_demo.json": ("alpaca", "sft", ALPACA, 999, 999),
    "sft/self_instruct_alpaca.json": ("alpaca", "sft", ALPACA, 427, 427),
    "sft/sharegpt_multi_turn.json": ("sharegpt", "sft", TALK, 500, 500),
    "sft/gsm8k_test.jsonl": ("question_answer", "sft", QA, 1319, 1319),
    "sft/TruthfulQA.csv": ("question_answer", "sft", {"question": "Question", "answer": "Best Answer"}, 817, 817),
    "parquet/gsm8k_test.parquet": ("question_answer", "sft", QA, 1319, 1319),
    "preference/truthfulqa_dpo.jsonl": ("preference", "preference", {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}, 817, 817),
    "preference/dpo_en_demo.json": ("preference", "preference", {"prompt": "conversations", "chosen": "chosen", "rejected": "rejected"}, 300, 300),
    "unicode/chatterbot_persian_sharegpt.jsonl": ("sharegpt", "sft", TALK, 773, 773),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_STUDIO_CACHE", str(tmp_path))


def inspected(path: Path) -> events.SourceFound:
    spec = DatasetSpec(sources=(DataSource(path=str(path)),))
    channel = handle(commands.InspectDataset(dataset=spec))
    channel.last(events.Done)
    (source,) = channel.last(events.DatasetInspected).sources
    assert source.rows == source.used + sum(entry.count for entry in source.skipped)
    return source


@pytest.mark.parametrize("name", EXPECTED)
def test_public_file_is_recognized_with_all_its_rows(name: str) -> None:
    row_format, task, mapping, rows, used = EXPECTED[name]
    source = inspected(DATA / name)
    assert (source.format, source.task, source.mapping) == (row_format, task, mapping)
    assert (source.rows, source.used) == (rows, used)
    assert source.confidence > 0.8


def test_text_file_is_read_without_loss() -> None:
    source = inspected(DATA / "raw" / "tinyshakespeare.txt")
    assert (source.format, source.task, source.mapping) == ("text", "text", {"text": "text"})
    assert source.rows == source.used
    assert source.used > 0


def test_every_public_file_has_an_expectation() -> None:
    files = {str(path.relative_to(DATA)) for path in DATA.glob("*/*") if path.is_file()}
    assert files == {*EXPECTED, "raw/tinyshakespeare.txt"}
