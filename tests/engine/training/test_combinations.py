"""Combinations of settings: those that the checks accept train, save and load; the others can't."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.training import combinations
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.dataset.prepare import prepare
from lora_studio.engine.dataset.rows.sequences import EncodedRows
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.lora import attach
from lora_studio.engine.model import loading
from lora_studio.engine.tokens.batches import collate
from lora_studio.engine.training import train_run
from tests.engine.conftest import TinyModel
from tests.helpers.runs.jobs import RecordingChannel, make_job, new_run, write_rows

ROWS = [
    {"instruction": f"What is {n} and {n}?", "output": f"It is {n + n}, said Pim."}
    for n in range(10)
]

#: Refused although it trains: OLoRA on 4-bit weights would quantize them a second time.
FOR_QUALITY = {"lora.init_needs_exact_base"}

PRECISIONS: tuple[dict[str, Any], ...] = (
    {"precision": "fp32"},
    {"precision": "bf16"},
    {"precision": "8bit"},
    {"precision": "4bit"},
    {"precision": "4bit", "quant_type": "fp4", "double_quant": False},
)
LORA: dict[str, tuple[Any, ...]] = {
    "init": ("default", "gaussian", "orthogonal", "pissa", "olora", "loftq", "eva"),
    "use_rslora": (False, True),
    "use_dora": (False, True),
    "bias": ("none", "all"),
    "targets": ("all_linear", "attention_qv"),
    "own_ranks": ((), ("q_proj=2", "v_proj=3:5")),
    "modules_to_save": ((), ("norm",)),
    "blocks": ("", "1"),
    "dropout": (0.0, 0.1),
}


def pairwise() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return few combinations in which any two choices occur together; always the same ones."""
    axes = {"model": PRECISIONS, **LORA}
    names = list(axes)
    open_pairs = {
        (one, i, other, j)
        for one, other in itertools.combinations(names, 2)
        for i in range(len(axes[one]))
        for j in range(len(axes[other]))
    }
    chance = random.Random(7)
    chosen = []
    while open_pairs:
        tries = []
        for _ in range(60):
            pick = {name: chance.randrange(len(axes[name])) for name in names}
            one, i, other, j = min(open_pairs)
            pick |= {one: i, other: j}
            met = {
                (a, pick[a], b, pick[b]) for a, b in itertools.combinations(names, 2)
            } & open_pairs
            tries.append((len(met), tuple(pick.items()), met))
        _, best, met = max(tries, key=lambda entry: entry[:2])
        open_pairs -= met
        values = {name: axes[name][index] for name, index in best}
        chosen.append((values.pop("model"), values))
    return chosen


def loss_of_saved(run: RunFolder) -> float:
    """Return the validation loss of the base as loaded for training and the saved adapter."""
    project = run.load_project()
    loaded = loading.load(project.model, make_job(), project.dataset, training=True)
    # DoRA's magnitudes are wrong on 4-bit weights that were repacked for inference.
    attach.prevent_repacking(loaded.model)
    tuned = PeftModel.from_pretrained(loaded.model, str(run.adapter)).eval()
    prepared = prepare(project.dataset, loaded.tokenizer, project.training.seed, make_job())
    rows = list(EncodedRows(prepared.validation))
    with torch.no_grad(), torch.autocast("cpu", loaded.dtype, enabled=loaded.dtype != torch.float32):  # fmt: skip
        return -float(LogprobModel.create(tuned)(collate(rows)).mean())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.filterwarnings("ignore:Careful, disabling adapter layers")
def test_checks_accept_exactly_the_combinations_that_train(tiny: TinyModel, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", ROWS)
    recipe = {"max_steps": 2, "micro_batch": 4, "gradient_accumulation": 1, "learning_rate": 2e-3, "warmup_share": 0.0}  # fmt: skip
    wrong, counted = [], {True: 0, False: 0}
    for held, shape in pairwise():
        specs = ModelSpec(**held), LoraSpec(rank=4, **shape), TrainingSpec(**recipe)
        refused = combinations.check(*specs)
        run = new_run(
            tmp_path,
            model={"source": str(tiny("llama3")), "device": "cpu"} | held,
            dataset={"sources": [str(file)], "validation_share": 0.2},
            training=recipe,
            lora={"rank": 4} | shape,
        )
        channel = RecordingChannel()
        try:
            train_run.train(run, make_job(channel))  # past the checks
            evaluated = channel.last(events.Evaluated).loss
            # LoftQ's adapter is saved for the weights before quantization.
            slack = {"fp32": 1e-4}.get(
                held["precision"], 5e-2 if shape["init"] == "loftq" else 3e-2
            )
            saved = loss_of_saved(run)
            why = "" if saved == pytest.approx(evaluated, rel=slack) else f"saved {saved:.4f}, trained {evaluated:.4f}"  # fmt: skip
        except Exception as error:
            why = str(error).split("\n")[0] or type(error).__name__
        counted[not why] += 1
        if refused and {problem.code for problem in refused} <= FOR_QUALITY:
            continue
        if bool(why) != bool(refused):
            wrong.append((held, {k: v for k, v in shape.items() if v}, why or "it works", refused))
    assert not wrong, "\n".join(map(str, wrong))
    assert min(counted.values()) >= 5
