"""The script of a reward training: its rewards rate as the run's do, and TRL trains with it."""

from __future__ import annotations

import csv
import json
import runpy
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from lora_studio.core.protocol import commands, events
from lora_studio.core.rewards import spec as spec_module
from lora_studio.core.rewards.spec import RatedAnswer, RewardSpec
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.system import consent
from lora_studio.core.tasks.samples import Message
from lora_studio.engine.rewards.registry import open_rewards
from lora_studio.engine.training.reproduction import script
from tests.engine.conftest import TinyModel
from tests.engine.training.reproduction.test_script import check_code
from tests.helpers.runs.jobs import RecordingChannel, handle, make_job, new_run, write_rows

_PROMPT = (Message(role="user", content="How many lamps does the harbour have?"),)

_ANSWERS = (
    "", "42", "The harbour has 42 lamps.", "It is 1.042,5!", "<think>2</think><answer>42</answer>",
    "<answer>40</answer> or <answer>41.9</answer>", '```json\n{"lamps": 42}\n```', '{"lamps": NaN}',
    "Der Hafen hat zweiundvierzig Lampen.", "港には四十二の灯がある。", r"So \boxed{42} it is: 7",
    "“the harbour has 42 lamps”",
)  # fmt: skip

_REFERENCES = ("42", "The harbour has 42 lamps.", None, "lamps in the harbour, 1.042,5")

_FUNCTION = """
def lamps(answer, columns):
    if not answer:
        raise ValueError("nothing")
    return len(answer) / len(columns["level"])
"""


def _make_specs(folder: Path) -> list[RewardSpec]:
    schema, code = folder / "lamps.json", folder / "lamps.py"
    schema.write_text(json.dumps({"type": "object", "required": ["lamps"]}), "utf-8")
    code.write_text(_FUNCTION, "utf-8")
    consent.trust(spec_module.find_code(code))
    kinds: list[dict[str, Any]] = [
        {"kind": "exact"},
        {"kind": "exact", "verbatim": True, "answer_tag": "answer", "weight": 0.5},
        {"kind": "number", "tolerance": 0.5, "answer_tag": "answer"},
        {"kind": "number", "tolerance": 5.0, "tolerance_unit": "percent"},
        {"kind": "contains", "text": "42 Lamps"},
        {"kind": "contains", "column": "level"},
        {"kind": "regex", "pattern": r"\b(lamps|Lampen)\b[.\"]?"},
        {"kind": "json_schema"},
        {"kind": "json_schema", "schema_file": str(schema)},
        {"kind": "length", "max_length": 3, "length_margin": 4},
        {"kind": "length", "max_length": 12, "length_unit": "characters"},
        {"kind": "length", "min_length": 3, "length_unit": "tokens", "length_margin": 5},
        {"kind": "format", "only_tags": True},
        {"kind": "language", "language": "de"},
        {"kind": "similarity", "scale": 10.0, "highest": 5.0},
        {"kind": "similarity", "similarity": "rouge_l"},
        {"kind": "similarity", "similarity": "token_f1"},
        {"kind": "python", "code_file": str(code), "function": "lamps", "lowest": 1.0},
        {"kind": "python", "name": '..\\"Lamps"', "code_file": str(code), "function": "lamps"},
    ]
    return [RewardSpec(**kind) for kind in kinds]


def _render(specs: list[RewardSpec], folder: Path) -> Path:
    data = folder / "data"
    data.mkdir()
    file = folder / "rewards.py"
    file.write_text(script.render_rewards(specs, data), "utf-8")
    return file


def test_rewards_of_the_script_rate_as_the_run_does(tmp_path: Path) -> None:
    specs = _make_specs(tmp_path)
    rated = [
        RatedAnswer(_PROMPT, answer, reference, {"level": "lamps"}, True, len(answer.split()))
        for answer in _ANSWERS
        for reference in _REFERENCES
    ]
    rows = [
        {
            "messages": [{"role": "user", "content": _PROMPT[0].content}],
            "reference": each.reference, "columns": each.columns, "tokens": each.tokens,
        }
        for each in rated
    ]  # fmt: skip
    written = runpy.run_path(str(_render(specs, tmp_path)))
    with open_rewards(specs, make_job()) as rewards:
        expected = rewards.score(rated)
    assert [*written["REWARDS"]] == [*expected.values]
    assert written["WEIGHTS"]["exact_2"] == 0.5
    for name, values in expected.values.items():
        given = written["rate"](name, [each.answer for each in rated], rows)
        assert given == pytest.approx(values), name
    assert sorted(file.name for file in (tmp_path / "data").glob("*.py")) == [
        "python.py",
        "python_2.py",
    ]


@pytest.mark.parametrize("kind", ["all", "length", "judge", "exact", "similarity"])
def test_rewards_of_the_script_are_formatted_code(kind: str, tmp_path: Path) -> None:
    judge = RewardSpec(kind="judge", model="m", key_variable="KEY", criteria='{"Brief".}\n')
    specs = [*_make_specs(tmp_path), judge]
    chosen = specs if kind == "all" else [spec for spec in specs if spec.kind == kind][:1]
    check_code(_render(chosen, tmp_path))


def make_run(folder: Path, tiny: TinyModel, **training: Any) -> tuple[RunFolder, RecordingChannel]:
    rows = [{"prompt": f"What is {n} and {n}?", "reference": str(2 * n)} for n in range(5)]
    run = new_run(
        folder,
        model={"source": str(tiny("llama3")), "precision": "fp32", "device": "cpu"},
        dataset={
            "sources": [{"path": str(write_rows(folder / "rows.jsonl", rows)), "format": "prompts"}],
            "validation_share": 0.0,
        },
        training={
            "epochs": 1, "micro_batch": 2, "gradient_accumulation": 1, "group_size": 4,
            "rollout_tokens": 8, "learning_rate": 1e-3, "max_steps": 2,
            "rewards": [
                {"kind": "length", "max_length": 5, "length_unit": "characters", "length_margin": 40},
                {"kind": "number", "weight": 2.0},
            ],
        } | training,
        lora={"rank": 4, "alpha": 8},
    )  # fmt: skip
    return run, handle(commands.Train(run=str(run.path)))


def test_reward_run_has_a_script_and_its_prompts(tmp_path: Path, tiny: TinyModel) -> None:
    run, channel = make_run(tmp_path, tiny, max_steps=1)
    # The prompt holds today's date, and on some days every answer of the random model is cut.
    codes = {event.problem.code for event in channel.of(events.Warned)}
    assert codes <= {"training.answers_cut"}
    check_code(run.train_script)
    check_code(run.rewards_script)
    lines = (run.data / "prompts.jsonl").read_text("utf-8").splitlines()
    prompts = [json.loads(line) for line in lines]
    assert [row["reference"] for row in prompts] == ["0", "2", "4", "6", "8"]
    assert "What is 3 and 3?" in prompts[3]["prompt"]
    assert f"trl=={metadata.version('trl')}" in run.lock_list.read_text("utf-8").splitlines()


@pytest.mark.thorough
@pytest.mark.parametrize("variant", ["dapo", "gspo"])
def test_trl_trains_with_the_script(tmp_path: Path, tiny: TinyModel, variant: str) -> None:
    settings = {"grpo_variant": variant, "kl_beta": 0.04, "rollout_passes": 2}
    run, _ = make_run(tmp_path, tiny, **settings)
    done = subprocess.run(
        [sys.executable, str(run.train_script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with (run.path / "reproduced" / "losses.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates[0] == rates[1] != rates[2] == rates[3]
    assert rows[0]["reward"]
    assert rows[2]["reward"]
    assert (run.path / "reproduced" / "adapter" / "adapter_model.safetensors").is_file()
