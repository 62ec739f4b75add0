"""What a training builds before its first step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lora_studio.core.protocol import events
from lora_studio.engine.backends.peft import PeftBackend
from lora_studio.engine.training.distributed.ranks import ProcessGroup
from lora_studio.engine.training.training_data import TrainingData
from lora_studio.engine.training.training_setup import build_setup
from tests.engine.conftest import TinyModel
from tests.helpers.runs.jobs import make_job, new_run
from tests.helpers.runs.rows_in_memory import Rows, make_rows


class BesideRankWithoutPacking(ProcessGroup):
    """A rank that can pack rows, beside one that can't."""

    def is_true_on_any(self, condition: bool) -> bool:
        return True


@pytest.mark.parametrize("ranks", [ProcessGroup(), BesideRankWithoutPacking()], ids=["alone", "two"])  # fmt: skip
def test_all_ranks_divide_the_same_micro_batches(
    tiny: TinyModel, tmp_path: Path, ranks: Any
) -> None:
    run = new_run(tmp_path, model={"source": str(tiny("llama3")), "precision": "fp32"})
    project, rows = run.load_project(), make_rows("sft", packed=False)
    tuned = PeftBackend().prepare(project, make_job(), run.path)
    ready = events.DatasetReady(
        task="sft", rows_read=4, rows_train=4, rows_validation=0, tokens=0, trained_tokens=0
    )
    data = TrainingData("sft", rows, Rows(), "rows", ready)
    setup = build_setup(run, project.training, tuned, data, make_job(), ranks)
    assert setup.scorer.packed
    assert setup.scorer.chunked
    assert setup.batches.can_fill == (type(ranks) is ProcessGroup)
