"""Tokens on disk: computed once, independent of the process count, truncated when they are read."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from lora_studio.core.dataset.spec import DatasetSpec
from lora_studio.core.messages import Text
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import commands, events
from lora_studio.core.tasks.samples import Sample, UnusableRow
from lora_studio.engine.dataset import prepare as dataset_prepare
from lora_studio.engine.dataset.prepare import PreparedDataset, prepare
from lora_studio.engine.dataset.rows import mixture, token_cache
from lora_studio.engine.dataset.rows.sequences import (
    EncodedRows,
    TokenTable,
    fit_to_limit,
    select,
)
from lora_studio.engine.model.tokenizer import load_tokenizer
from lora_studio.engine.runtime import torch_settings
from lora_studio.engine.runtime.failures import CancelledError
from lora_studio.engine.tokens.encoder import Encoder, split_document
from tests.engine.conftest import TinyModel
from tests.helpers.runs.jobs import RecordingChannel, handle, make_job, write_rows

pytestmark = pytest.mark.usefixtures("cache")

WORDS = [
    "ship",
    "harbour",
    "tide",
    "lamp",
    "keeper",
    "crate",
    "apple",
    "book",
    "answer",
    "question",
    "blue",
    "twelve",
]


def make_chat(number: int) -> dict[str, Any]:
    """Return a unique conversation whose length varies with the number."""
    text = " ".join(
        WORDS[(number * 7 + step * step) % len(WORDS)] for step in range(number % 23 + 1)
    )
    return {
        "messages": [
            {"role": "user", "content": f"Question {number}: {text}?"},
            {"role": "assistant", "content": f"{text} is answer {number}."},
        ]
    }


@pytest.fixture
def tokenizer(tiny: TinyModel) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny("llama3"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "talks.jsonl", [make_chat(number) for number in range(40)])


def spec_of(*files: Path | dict[str, Any], **settings: Any) -> DatasetSpec:
    sources = [str(file) if isinstance(file, Path) else file for file in files]
    return DatasetSpec.model_validate({"sources": sources, **settings})


def tables_of(spec: DatasetSpec, tokenizer: PreTrainedTokenizerBase) -> list[TokenTable]:
    return dataset_prepare.tokenize(mixture.open_dataset(spec, make_job()), tokenizer, make_job())


def everything(result: PreparedDataset) -> list[tuple[list[int], list[bool]]]:
    return [(row.ids.tolist(), row.trained.tolist()) for row in EncodedRows(result.training)]


# --- the token cache --------------------------------------------------------------------------


def test_cached_tokens_match_the_encoder(file: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    spec = spec_of(file, max_length=140)
    rows = mixture.open_dataset(spec, make_job())
    (table,) = dataset_prepare.tokenize(rows, tokenizer, make_job())
    picks = [(0, row) for row in (3, 0, 39, 3)]
    result = EncodedRows(select([table], picks, spec.max_length))
    encoder = Encoder(tokenizer, spec)
    for (_, row), encoded in zip(picks, result, strict=True):
        expected = encoder.encode_sample(rows.read_sample(0, row))[0]
        assert encoded.ids.tolist() == expected.ids.tolist()
        assert encoded.trained.tolist() == expected.trained.tolist()
    assert result.lengths.tolist() == [len(encoded.ids) for encoded in result]


@pytest.mark.slow
def test_several_processes_give_the_same_tokens(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [make_chat(number) if number % 50 else {"messages": []} for number in range(600)]
    spec = spec_of(write_rows(tmp_path / "rows.jsonl", rows))
    monkeypatch.setattr(token_cache, "CHUNK", 100)
    (alone,) = tables_of(spec, tokenizer)
    monkeypatch.setenv("LORA_STUDIO_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(token_cache, "MANY", 10)
    monkeypatch.setattr(torch_settings, "count_cores", lambda: 2)
    (together,) = tables_of(spec, tokenizer)
    assert together.digest == alone.digest
    assert together.row.tolist() == alone.row.tolist()
    assert {r: (left.count, left.rows) for r, left in together.skipped.items()} == {
        r: (left.count, left.rows) for r, left in alone.skipped.items()
    }
    assert alone.rows_read == 600 == len(alone) + sum(left.count for left in alone.skipped.values())


def test_second_preparation_tokenizes_nothing(
    file: Path, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    tokenize = Encoder.tokenize

    def counting(self: Encoder, samples: list[Sample]) -> Any:
        counted.append(len(samples))
        return tokenize(self, samples)

    monkeypatch.setattr(Encoder, "tokenize", counting)
    tables_of(spec_of(file), tokenizer)
    assert sum(counted) == 40
    # Length limit, validation share and weight don't change the tokens.
    tables_of(spec_of(file, max_length=16, too_long="skip", validation_share=0.2), tokenizer)
    tables_of(spec_of({"path": str(file), "weight": 3.0}), tokenizer)
    assert sum(counted) == 40
    tables_of(spec_of(file, system_prompt="Be short."), tokenizer)
    assert sum(counted) == 80
    tables_of(spec_of(file, train_on="everything"), tokenizer)
    assert sum(counted) == 120


@pytest.mark.parametrize("change", ["rows", "template", "vocabulary"])
def test_changed_rows_template_or_vocabulary_are_retokenized(
    change: str, file: Path, tokenizer: PreTrainedTokenizerBase, tiny: TinyModel
) -> None:
    (before,) = tables_of(spec_of(file), tokenizer)
    if change == "rows":
        write_rows(file, [make_chat(number + 1) for number in range(40)])
    if change == "template":
        tokenizer.chat_template = tokenizer.chat_template.replace("Today is", "The day is")
    if change == "vocabulary":
        tokenizer = load_tokenizer(tiny("qwen3"))
    (after,) = tables_of(spec_of(file), tokenizer)
    assert after.digest != before.digest


def test_cancel_leaves_no_files(
    file: Path, tokenizer: PreTrainedTokenizerBase, cache: Path
) -> None:
    rows = mixture.open_dataset(spec_of(file), make_job())
    job = make_job()
    job.flags.cancel.set()
    with pytest.raises(CancelledError):
        dataset_prepare.tokenize(rows, tokenizer, job)
    assert list((cache / "tokens").iterdir()) == []


def test_concurrent_preparations_share_the_first_result(
    file: Path, tokenizer: PreTrainedTokenizerBase, cache: Path
) -> None:
    tokens = cache / "tokens"
    tokens.mkdir(parents=True)
    # A folder that a listing still names after another process has moved it.
    (tokens / ".half-made.tmp").symlink_to(cache / "gone")

    def cached() -> list[tuple[str, int]]:
        return [(folder.name, folder.stat().st_ino) for folder in tokens.glob("[!.]*")]

    faster: list[TokenTable] = []
    then: list[tuple[str, int]] = []

    def overtake(_: object) -> None:
        if not then:
            then.append(("begun", 0))
            faster.extend(tables_of(spec_of(file), tokenizer))
            then[:] = cached()

    rows = mixture.open_dataset(spec_of(file), make_job())
    (slower,) = dataset_prepare.tokenize(rows, tokenizer, make_job(RecordingChannel(overtake)))
    assert len(then) == 1
    assert cached() == then
    assert slower.digest == faster[0].digest
    assert [entry.name for entry in tokens.glob(".*")] == [".half-made.tmp"]


@pytest.mark.slow
def test_cancel_stops_all_processes(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(
        write_rows(tmp_path / "rows.jsonl", [make_chat(number) for number in range(400)])
    )
    rows = mixture.open_dataset(spec, make_job())
    monkeypatch.setattr(token_cache, "CHUNK", 10)
    monkeypatch.setattr(token_cache, "MANY", 10)
    monkeypatch.setattr(torch_settings, "count_cores", lambda: 2)
    job = make_job(RecordingChannel(lambda event: job.flags.cancel.set()))
    with pytest.raises(CancelledError):
        dataset_prepare.tokenize(rows, tokenizer, job)
    assert list((cache / "tokens").iterdir()) == []


# --- selected rows ----------------------------------------------------------------------------


def test_max_length_truncates_or_skips_and_counts_every_row(
    file: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    for settings in ({"max_length": 150}, {"max_length": 150, "too_long": "skip"}):
        spec = spec_of(file, validation_share=0.0, **settings)
        ready = prepare(spec, tokenizer, 0, make_job()).ready
        skipped = sum(entry.count for entry in ready.skipped)
        assert ready.rows_read == 40 == ready.rows_train + skipped
        assert (ready.rows_cut > 0) == ("too_long" not in settings)
        assert (skipped > 0) == ("too_long" in settings)


def test_data_entirely_beyond_max_length_is_refused(
    file: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    with pytest.raises(ProblemError, match=r"first 16 tokens \(40 rows.*“Max. sequence length”"):
        prepare(spec_of(file, max_length=16), tokenizer, 0, make_job())


def test_token_counts_match_the_selected_rows(
    file: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    result = prepare(spec_of(file, max_length=150), tokenizer, 0, make_job())
    rows = list(EncodedRows(result.training))
    assert result.ready.tokens == sum(len(row.ids) for row in rows)
    assert result.ready.trained_tokens == sum(int(row.trained.sum()) for row in rows)
    assert result.ready.rows_validation == len(result.validation) == 2


def test_weights_set_how_often_rows_are_seen(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    one = write_rows(tmp_path / "one.jsonl", [make_chat(number) for number in range(10)])
    two = write_rows(tmp_path / "two.jsonl", [make_chat(number) for number in range(100, 110)])
    sources = [{"path": str(one), "weight": 2.0}, {"path": str(two), "weight": 0.5}]
    result = prepare(spec_of(*sources, validation_share=0.0), tokenizer, 7, make_job())
    assert result.ready.rows_train == 20
    assert np.bincount(result.training.table).tolist() == [20, 5]


def test_fingerprint_depends_on_the_training_rows(
    file: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fingerprint(**settings: Any) -> str:
        return prepare(spec_of(file, **settings), tokenizer, 0, make_job()).fingerprint

    first = fingerprint()
    assert first == fingerprint()
    assert first != fingerprint(max_length=150)
    assert first != fingerprint(validation_share=0.3)
    monkeypatch.setenv("LORA_STUDIO_CACHE", str(tmp_path / "emptied"))
    assert first == fingerprint()


def test_documents_are_split_without_loss(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    texts = [" ".join(WORDS * count) for count in (1, 3, 9)]
    spec = spec_of(write_rows(tmp_path / "texts.jsonl", [{"text": t} for t in texts]), max_length=16, validation_share=0.0)  # fmt: skip
    result = prepare(spec, tokenizer, 0, make_job())
    assert result.ready.task == "text"
    assert result.ready.rows_train == 3
    rows = list(EncodedRows(result.training))
    assert all(row.trained.all() and 2 <= len(row.ids) <= 16 for row in rows)
    whole = [token for row in rows for token in row.ids.tolist()]
    expected = [
        token for text in texts for token in (*tokenizer(text).input_ids, tokenizer.eos_token_id)
    ]
    assert whole == expected


def test_segment_pieces_without_trained_tokens_are_left_out(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    context, answer = " ".join(WORDS * 9), " ".join(WORDS)
    segments = [{"text": context, "label": False}, {"text": f" {answer}", "label": True}]
    spec = spec_of(write_rows(tmp_path / "segments.jsonl", [{"segments": segments}] * 3), max_length=16, validation_share=0.0)  # fmt: skip
    result = prepare(spec, tokenizer, 0, make_job())
    assert (result.ready.task, result.ready.rows_train) == ("text", 3)
    rows = list(EncodedRows(result.training))
    assert all(row.trained[1:].any() for row in rows)
    learnt = [token for row in rows for token in row.ids[row.trained].tolist()]
    expected = tokenizer(f" {answer}", add_special_tokens=False).input_ids
    assert learnt == expected * 3
    sample = result.rows.read_sample(0, 0)
    alone = Encoder(tokenizer, spec).encode_sample(sample)
    assert [one.ids.tolist() for one in alone] == [row.ids.tolist() for row in rows[: len(alone)]]


@pytest.mark.parametrize(("length", "limit"), [(1, 16), (16, 16), (17, 16), (33, 16), (40, 16), (2, 16)])  # fmt: skip
def test_split_pieces_are_never_a_single_token(length: int, limit: int) -> None:
    edges = split_document(length, limit)
    assert [edges[0][0], edges[-1][1]] == [0, length]
    assert all(a[1] == b[0] for a, b in pairwise(edges))
    assert all(1 < end - begin <= limit for begin, end in edges) or length == 1


PAIR = {
    "prompt": "What burns longest?",
    "chosen": "The lamp that is lit last.",
    "rejected": "No idea, sorry.",
}


def test_pairs_have_both_answers_after_one_prompt(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    spec = spec_of(write_rows(tmp_path / "pairs.jsonl", [PAIR] * 3))
    rows = mixture.open_dataset(spec, make_job())
    assert rows.task == "preference"
    tables = dataset_prepare.tokenize(rows, tokenizer, make_job())
    assert fit_to_limit(tables, spec).usable[0].all()
    pair = EncodedRows(select(tables, [(0, 1)], spec.max_length))[0]
    sides = [pair.chosen, pair.rejected]
    texts = [tokenizer.decode(side.ids[side.trained].tolist()) for side in sides]
    assert texts == [f"{PAIR['chosen']}<|eot_id|>", f"{PAIR['rejected']}<|eot_id|>"]
    prompts = [side.ids[: int(side.trained.argmax())].tolist() for side in sides]
    assert prompts[0] == prompts[1]


def test_labeled_answers_keep_their_label(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    rated = [
        {"prompt": f"Question {n}?", "completion": f"Answer {n}.", "label": n % 2 == 0}
        for n in range(4)
    ]
    spec = spec_of(write_rows(tmp_path / "rated.jsonl", rated))
    rows = mixture.open_dataset(spec, make_job())
    assert rows.task == "kto"
    tables = dataset_prepare.tokenize(rows, tokenizer, make_job())
    result = EncodedRows(select(tables, [(0, n) for n in range(4)], spec.max_length))
    assert [item.label for item in result] == [True, False, True, False]
    answers = [tokenizer.decode(item.answer.ids[item.answer.trained].tolist()) for item in result]
    assert answers == [f"Answer {n}.<|eot_id|>" for n in range(4)]


# --- commands ---------------------------------------------------------------------------------

Ask = Callable[..., RecordingChannel]


def test_length_histogram_is_exact_at_every_edge(file: Path, tiny: TinyModel) -> None:
    folder = tiny("llama3")
    spec = spec_of(file, max_length=64)
    command = commands.MeasureDataset(dataset=spec, model=ModelSpec(source=str(folder)))
    measured = handle(command).last(events.LengthsMeasured)
    encoder = Encoder(load_tokenizer(folder), spec_of(file, max_length=1_000_000))
    rows = mixture.open_dataset(spec, make_job())
    encoded = [encoder.encode_sample(rows.read_sample(0, row))[0] for row in range(40)]
    lengths = np.array([len(row.ids) for row in encoded])
    assert measured.complete
    assert measured.rows == 40
    assert measured.tokens == lengths.sum()
    assert measured.trained_tokens == sum(int(row.trained.sum()) for row in encoded)
    assert 64 in measured.edges
    assert measured.percentiles[100] == lengths.max()
    assert measured.percentiles[50] == sorted(lengths)[19]
    for edge, over, behind in zip(
        measured.edges, measured.rows_over, measured.trained_over, strict=True
    ):
        assert over == (lengths > edge).sum()
        assert behind == sum(int(row.trained[edge:].sum()) for row in encoded)


def test_large_data_is_estimated_before_it_is_measured(
    tmp_path: Path, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lora_studio.engine.dataset import lengths

    file = write_rows(tmp_path / "rows.jsonl", [make_chat(number) for number in range(300)])
    monkeypatch.setattr(lengths, "MANY", 100)
    monkeypatch.setattr(lengths, "SAMPLE", 60)
    command = commands.MeasureDataset(
        dataset=spec_of(file), model=ModelSpec(source=str(tiny("llama3")))
    )
    estimate, exact = handle(command).of(events.LengthsMeasured)
    assert (estimate.complete, exact.complete) == (False, True)
    assert estimate.rows == exact.rows == 300
    assert estimate.tokens == pytest.approx(exact.tokens, rel=0.1)
    repeated = handle(command).of(events.LengthsMeasured)
    assert [measured.complete for measured in repeated] == [True]


def shown(file: Path, folder: Path | None, row: int = 1, **settings: Any) -> events.RowShown:
    model = ModelSpec(source=str(folder)) if folder else None
    command = commands.ShowRow(dataset=spec_of(file, **settings), model=model, row=row)
    return handle(command).last(events.RowShown)


def test_row_is_shown_token_by_token(file: Path, tiny: TinyModel) -> None:
    result = shown(file, tiny("llama3"), 3)
    assert result.row.row == 3
    assert "Question 2" in result.raw
    assert "".join(token.text for token in result.tokens) == result.text
    (span,) = result.trained_spans
    assert result.text[slice(*span)].endswith("is answer 2.<|eot_id|>")
    assert [t.text for t in result.tokens if t.special and t.state == "trained"] == ["<|eot_id|>"]


def test_row_is_shown_without_tokens_without_a_model(file: Path) -> None:
    result = shown(file, None)
    assert result.tokens == ()
    assert result.row.messages[0].content.startswith("Question 0")


def test_unusable_row_is_shown_with_its_reason(tmp_path: Path, tiny: TinyModel) -> None:
    rows = [make_chat(1), make_chat(2), {"messages": [{"role": "user", "content": "Alone?"}]}]
    file = write_rows(tmp_path / "rows.jsonl", rows)
    result = shown(file, tiny("llama3"), 3)
    assert result.row.fault
    assert str(result.row.fault) in str(result.problems[0].what)
    assert "Alone?" in result.raw
    cut = shown(file, tiny("llama3"), 1, max_length=16)
    assert "within the first 16 tokens" in str(cut.row.fault)
    assert {token.state for token in cut.tokens} == {"context", "cut"}


def test_row_reports_answers_and_thinking_its_template_drops(
    tmp_path: Path, tiny: TinyModel
) -> None:
    short = {"role": "system", "content": "Be short."}
    turns = [*make_chat(1)["messages"], *make_chat(2)["messages"]]
    thought = [
        turn | ({"reasoning": "Hm."} if turn["role"] == "assistant" else {}) for turn in turns
    ]
    file = write_rows(
        tmp_path / "rows.jsonl", [{"messages": [short, *turns]}, {"messages": thought}]
    )
    (left_out,) = shown(file, tiny("mistral"), 1).problems
    assert (left_out.code, left_out.severity) == ("dataset.answers_left_out", "warning")
    assert "1 answer of row 1 can't be trained" in str(left_out.what)
    result = shown(file, tiny("qwen3"), 2)
    (unshown,) = result.problems
    assert (unshown.code, result.row.fault) == ("dataset.thinking_left_out", Text(template=""))
    assert "1 earlier answer of row 2" in str(unshown.what)


def test_missing_row_is_refused(file: Path) -> None:
    channel = handle(commands.ShowRow(dataset=spec_of(file), row=41))
    assert "has 40 rows" in str(channel.last(events.Failed).problem.what)


def test_single_token_document_is_unusable(tiny: TinyModel) -> None:
    tokenizer = load_tokenizer(tiny("qwen3"))
    tokenizer.eos_token = None
    encoder = Encoder(tokenizer, DatasetSpec())
    with pytest.raises(UnusableRow, match="single token"):
        encoder.encode_sample(Sample("text", text="a"))


def test_tokenizing_leaves_the_environment_unchanged() -> None:
    assert "TOKENIZERS_PARALLELISM" not in os.environ
