"""A training on rewards that is killed in any phase of a step ends like one that wasn't."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_studio.core.protocol import commands, events
from lora_studio.core.rewards import spec
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import consent
from tests.engine.conftest import TinyModel
from tests.helpers.faults.kill_points import KillPoint
from tests.helpers.faults.killed_runs import ForkingEngine, find_differences
from tests.helpers.runs.jobs import new_run, write_rows

pytestmark = pytest.mark.slow

#: All are in step 4 of 6, after the checkpoint of step 2 and a step that has to be repeated.
KILLS = {
    "writing": KillPoint("lora_studio.engine.generation.group_sampling:_choose", 3, 5),
    "rating": KillPoint("lora_studio.engine.runtime.line_process:LineProcess.ask", 3, 3),
    "updating": KillPoint("lora_studio.engine.training.trainer:Trainer.update_weights", 3, 2),
}


@pytest.fixture(scope="module")
def engine() -> Iterator[ForkingEngine]:
    new_engine = ForkingEngine()
    yield new_engine
    new_engine.close()


@pytest.fixture(scope="module")
def model(tiny: TinyModel) -> Path:
    return tiny("llama3")


@pytest.fixture(scope="module")
def whole(
    engine: ForkingEngine, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    """Return a run that was trained without a break."""
    run = _new_reward_run(tmp_path_factory.mktemp("whole"), model)
    assert isinstance(list(engine.begin(commands.Train(run=str(run.path))))[-1], events.Done)
    return run


def _new_reward_run(folder: Path, model: Path) -> RunFolder:
    """Return a run on prompts with two kinds of rewards, two updates per answer, and evaluations."""
    code = folder / "rate.py"
    code.write_text("def reward(answer):\n    return answer.count('e') / (1 + len(answer))\n")
    consent.trust(spec.find_code(code))
    rows = [{"prompt": f"What is {n} and {n}?"} for n in range(10)]
    short = {"kind": "length", "max_length": 5, "length_unit": "characters", "length_margin": 40}
    return new_run(
        folder,
        model={"source": str(model), "precision": "fp32", "device": "cpu"},
        dataset={
            "sources": [{"path": str(write_rows(folder / "prompts.jsonl", rows)), "format": "prompts"}],
            "validation_share": 0.2,
        },
        training={
            "max_steps": 6, "epochs": 10, "micro_batch": 1, "gradient_accumulation": 2,
            "learning_rate": 2e-3, "group_size": 4, "rollout_tokens": 8, "rollout_passes": 2,
            "kl_beta": 0.1, "rewards": [short, {"kind": "python", "code_file": str(code)}],
            "save_every": 2, "eval_every": 3,
        },
        lora={"rank": 4, "alpha": 8, "dropout": 0.1},
    )  # fmt: skip


@pytest.mark.parametrize("phase", KILLS)
def test_kill_in_a_step_changes_nothing(
    engine: ForkingEngine, model: Path, whole: RunFolder, tmp_path: Path, phase: str
) -> None:
    run = _new_reward_run(tmp_path, model)
    first = list(engine.begin(commands.Train(run=str(run.path)), KILLS[phase]))
    assert not isinstance(first[-1], events.Ending)
    assert [event.step for event in first if isinstance(event, events.StepDone)] == [1, 2, 3]
    assert run.read_state() == "interrupted"
    rest = list(engine.begin(commands.Train(run=str(run.path), resume=True)))
    assert isinstance(rest[-1], events.Done)
    assert [event.step for event in rest if isinstance(event, events.StepDone)] == [3, 4, 5, 6]
    assert find_differences(run, whole) == []
