"""The label probabilities of a classifier: what loads them, and when they are compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lora_studio.core.messages import text
from lora_studio.core.problems import ProblemError
from lora_studio.engine.kernels.logprobs import LogprobModel
from lora_studio.engine.selftest import selftest
from lora_studio.engine.selftest.judging import StageComparison
from lora_studio.engine.tasks.classification import Classification, write_config
from tests.engine.conftest import TinyModel
from tests.engine.tasks.test_classification import TEXTS, encode_texts, make_classifier
from tests.engine.training.test_train_run import Start, start
from tests.helpers.runs.jobs import make_job, write_rows

__all__ = ["start"]


@pytest.mark.slow
def test_code_of_a_classifier_is_not_loaded(tiny: TinyModel, tmp_path: Path) -> None:
    base, adapter = tiny("llama3"), tmp_path / "adapter"
    tuned = make_classifier(base)
    tuned.model.save_pretrained(str(adapter))
    write_config(tuned.base.model.config, tuned.labels, tuned.base.tokenizer.pad_token_id, adapter)
    tuned.base.tokenizer.save_pretrained(str(adapter))
    config = json.loads((adapter / "config.json").read_text("utf-8"))
    config["auto_map"] = {"AutoConfig": "own.Config", "AutoModelForSequenceClassification": "own.Model"}  # fmt: skip
    (adapter / "config.json").write_text(json.dumps(config), "utf-8")
    (adapter / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n", "utf-8")

    def predict(trust: bool) -> np.ndarray:
        return selftest.predict_labels(base, adapter, TEXTS, 512, make_job(), trust=trust)  # fmt: skip

    with torch.no_grad():
        expected = Classification(LogprobModel.create(tuned.model), [1.0] * 3).score(
            encode_texts(tuned)
        )
    np.testing.assert_allclose(predict(trust=False), expected.softmax(1).numpy(), atol=1e-5)
    with pytest.raises(ProblemError, match="haven't allowed"):
        predict(trust=True)
    assert not (tmp_path / "ran").exists()


def test_weights_alone_are_compared_without_held_out_texts(start: Start, tmp_path: Path) -> None:
    run = start(rows=write_rows(tmp_path / "rows.jsonl", [{"text": "a", "label": "b"}]))
    compared = StageComparison((), compared=text("equal"))
    tested = selftest.measure_merged(run, run.load_project(), compared, make_job())
    assert (tested.passed, str(tested.compared)) == (True, "equal")
