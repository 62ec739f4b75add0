"""The rows of a training as NumPy files, and the order in which they are trained."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from lora_studio.core.messages import text
from lora_studio.core.system.files import write_file
from lora_studio.core.system.foreign_files import NamingFile
from lora_studio.core.training.classification import weigh_classes
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tokens.encoder import (
    Encoded,
    EncodedClassified,
    EncodedLabeled,
    EncodedPair,
    EncodedPrompt,
)
from lora_studio.engine.tokens.search_texts import EncodedSearchPair, Ids
from lora_studio.engine.training.reproduction.facts import ReproductionFacts
from lora_studio.engine.training.reproduction.reward_scripts import write_prompts


def write_rows(facts: ReproductionFacts, folder: Path, job: JobContext) -> None:
    """Write token ids and loss masks of all rows end to end, their lengths and their order.

    The chosen answer of pair n is row 2 n, the rejected one row 2 n + 1. The texts of a row of search pairs
    are rows 3 n to 3 n + 2; without a text not to find, the last one is empty. The files are `ids.npy`
    [tokens] int32, `trained.npy` [tokens] bool, `lengths.npy` [rows] int32, `order.npy`, and with KTO
    `labels.npy` [rows] uint8. For vectors and labels, `pooled.npy` marks what is pooled in place of
    `trained.npy`; a classifier has its labels in `labels.npy` [rows] int64 and `labels.json`. Prompts are
    written by `write_prompts`.
    """
    if facts.task == "grpo":
        write_prompts(facts, folder)
        _write_order(facts, folder)
        return
    pools = facts.task in ("embedding", "classification")
    lengths = np.fromiter(_iter_lengths(facts), np.int32)
    _save(folder / "lengths.npy", lengths)
    total = int(lengths.sum(dtype=np.int64))
    # Not mapped: writing to a mapped page for which the disk has no room ends the process.
    with (
        _open_array(folder / "ids.npy", np.int32, total) as ids,
        _open_array(folder / f"{'pooled' if pools else 'trained'}.npy", np.bool_, total) as masks,
    ):
        for number in range(len(facts.rows)):
            job.report_progress(text("writing rows for train.py"), number, len(facts.rows), "rows")
            for part in _get_sequences(facts, number):
                mask = np.array(part.trained, np.bool_)
                mask[:1] &= pools  # nothing predicts the first token
                ids.write(np.asarray(part.ids, np.int32).tobytes())
                masks.write(mask.tobytes())
    job.report_progress(text("writing train.py"), 0, None)
    if facts.task in ("kto", "classification"):
        _write_labels(facts, folder)
    _write_order(facts, folder)


def _write_labels(facts: ReproductionFacts, folder: Path) -> None:
    """Write the label of each row; for a classifier also the names of labels and their weights in the loss."""
    labels = (_label(facts, number) for number in range(len(facts.rows)))
    if facts.task == "kto":
        _save(folder / "labels.npy", np.fromiter(labels, np.uint8))
        return
    _save(folder / "labels.npy", np.fromiter(labels, np.int64))
    weights = weigh_classes([*facts.label_counts.values()], facts.project.training.class_weights)
    named = dict(zip(facts.label_counts, weights, strict=True))
    write_file(folder / "labels.json", json.dumps(named, ensure_ascii=False, indent=2))


def _save(file: Path, values: np.ndarray) -> None:
    """Write an array; np.save itself reports no cause when it writes to a full disk."""
    content = io.BytesIO()
    np.save(content, values)
    write_file(file, content.getbuffer())


@contextlib.contextmanager
def _open_array(file: Path, kind: type[np.generic], length: int) -> Iterator[IO[bytes]]:
    """Yield a NumPy file of `length` values to write them into, one after another."""
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(kind)),
        "fortran_order": False,
        "shape": (length,),
    }
    with io.BufferedWriter(NamingFile(file, "wb")) as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        yield stream


def _iter_lengths(facts: ReproductionFacts) -> Iterator[int]:
    if facts.task not in ("preference", "embedding"):
        yield from facts.rows.lengths
        return
    for number in range(len(facts.rows)):
        yield from (len(part.ids) for part in _get_sequences(facts, number))


def _get_sequences(facts: ReproductionFacts, number: int) -> tuple[Encoded, ...]:
    match facts.rows[number]:
        case EncodedPair() as pair:
            return pair.chosen, pair.rejected
        case EncodedLabeled() as labeled:
            return (labeled.answer,)
        case EncodedSearchPair() as texts:
            found = (texts.query, texts.positive, texts.negative)
            is_mean = facts.project.training.pooling == "mean"
            return tuple(_mark_pooled(ids, is_mean=is_mean) for ids in found)
        case EncodedClassified() as classified:
            return (_mark_pooled(classified.text.ids, is_mean=False),)
        case EncodedPrompt():
            raise TypeError("a prompt has no target tokens")
        case row:
            return (row,)


def _mark_pooled(ids: Ids | None, *, is_mean: bool) -> Encoded:
    """Return a text whose marked tokens make up its vector: all for the mean, else the last one."""
    ids = np.empty(0, np.int32) if ids is None else ids
    marked = np.full(len(ids), is_mean)
    marked[-1:] = True
    return Encoded(ids, marked, len(ids))


def _label(facts: ReproductionFacts, number: int) -> int:
    row = facts.rows[number]
    assert isinstance(row, EncodedLabeled | EncodedClassified)
    return int(row.label)


def _write_order(facts: ReproductionFacts, folder: Path) -> None:
    """Write the rows of each micro-batch, [steps, micro-batches, rows]; -1 where there is none."""
    steps = range(facts.steps)
    shapes = [(len(part), max(map(len, part))) for part in map(facts.plan.get_step, steps)]
    order = np.full((facts.steps, *np.max(shapes, axis=0)), -1, np.int32)
    for step in steps:
        for index, rows in enumerate(facts.plan.get_step(step)):
            order[step, index, : len(rows)] = rows
    _save(folder / "order.npy", order)
