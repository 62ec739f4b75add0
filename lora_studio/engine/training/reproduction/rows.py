"""The rows of a training as NumPy files, and the order in which they are trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lora_studio.core.messages import text
from lora_studio.engine.runtime.channel import JobContext
from lora_studio.engine.tokens.encoder import Encoded, EncodedLabeled, EncodedPair, EncodedPrompt
from lora_studio.engine.training.reproduction.facts import ReproductionFacts


def write_rows(facts: ReproductionFacts, folder: Path, job: JobContext) -> None:
    """Write token ids and loss masks of all rows end to end, their lengths and their order.

    The chosen answer of pair n is row 2 n, the rejected one row 2 n + 1. The files are `ids.npy`
    [tokens] int32, `trained.npy` [tokens] bool, `lengths.npy` [rows] int32, `order.npy`, and with KTO
    `labels.npy` [rows] uint8.
    """
    lengths = np.fromiter(_iter_lengths(facts), np.int32)
    np.save(folder / "lengths.npy", lengths)
    total = (int(lengths.sum(dtype=np.int64)),)
    ids = np.lib.format.open_memmap(folder / "ids.npy", "w+", np.int32, total)
    trained = np.lib.format.open_memmap(folder / "trained.npy", "w+", np.bool_, total)
    begin = 0
    for number in range(len(facts.rows)):
        job.report_progress(text("writing rows for train.py"), number, len(facts.rows), "rows")
        for part in _get_sequences(facts, number):
            end = begin + len(part.ids)
            ids[begin:end], trained[begin:end] = part.ids, part.trained
            trained[begin] = False  # nothing predicts the first token
            begin = end
    job.report_progress(text("writing train.py"), 0, None)
    if facts.task == "kto":
        labels = (_label(facts, number) for number in range(len(facts.rows)))
        np.save(folder / "labels.npy", np.fromiter(labels, np.uint8))
    _write_order(facts, folder)


def _iter_lengths(facts: ReproductionFacts) -> Iterator[int]:
    if facts.task != "preference":
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
        case EncodedPrompt():
            raise TypeError("prompts have no answers to train on")
        case row:
            return (row,)


def _label(facts: ReproductionFacts, number: int) -> bool:
    row = facts.rows[number]
    assert isinstance(row, EncodedLabeled)
    return row.label


def _write_order(facts: ReproductionFacts, folder: Path) -> None:
    """Write the rows of each micro-batch, [steps, micro-batches, rows]; -1 where there is none."""
    steps = range(facts.steps)
    shapes = [(len(part), max(map(len, part))) for part in map(facts.plan.get_step, steps)]
    order = np.full((facts.steps, *np.max(shapes, axis=0)), -1, np.int32)
    for step in steps:
        for index, rows in enumerate(facts.plan.get_step(step)):
            order[step, index, : len(rows)] = rows
    np.save(folder / "order.npy", order)
