"""`lora-studio estimate`: memory and time before a training."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lora_studio.core.project import project
from lora_studio.core.protocol.training import COMPONENTS
from tests.helpers.command_line import run_studio
from tests.helpers.models import model_facts, plans
from tests.helpers.runs.job_events import emit
from tests.helpers.runs.jobs import write_rows
from tests.helpers.window import fake_engine

Play = Callable[..., None]


def estimate(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return run_studio("estimate", folder, *options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a project with a model folder and a dataset file."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    write_rows(tmp_path / "rows.jsonl", [{"instruction": "Who?", "output": "I."}] * 40)
    values: dict[str, Any] = {
        "model": {"source": str(tmp_path / "model"), "precision": "bf16"},
        "dataset": {"sources": [{"path": str(tmp_path / "rows.jsonl")}]},
    }
    project.create(tmp_path / "project", "x", values)
    return tmp_path / "project"


@pytest.fixture
def facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Return a function that sets the engine's answers: a model and the GiB free on a device."""

    def play(free: float, **others: Any) -> None:
        file = tmp_path / "scenario.json"
        monkeypatch.setenv("LORA_STUDIO_ENGINE", fake_engine.command_line(file))
        known = {
            "inspect_devices": [emit(model_facts.devices(round(free * model_facts.GIB)))],
            "inspect_model": [emit(model_facts.model())],
            "measure_dataset": [emit(model_facts.lengths(range(200, 1200, 10)))],
            "plan_dataset": [emit(model_facts.planned(longest_row=1190, heaviest={1: (1190,)}))],
        }
        file.write_text(json.dumps(known | others))

    return play


@pytest.mark.slow
def test_json_has_every_component_and_their_sum(folder: Path, facts: Play) -> None:
    facts(23)
    result = estimate(folder, "--json")
    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads(result.stdout)
    assert sum(report[name] for name in COMPONENTS) == report["total"]
    assert report["fits"] is True
    assert report["cheapest_change"] is None
    assert report["largest_micro_batch_that_fits"] >= 4
    assert (report["rows_train"], report["rows_validation"], report["steps"]) == (95, 5, 18)
    assert report["longest_row"] == 1190


@pytest.mark.slow
def test_suggested_change_makes_the_training_fit(folder: Path, facts: Play) -> None:
    facts(9)
    report = json.loads(estimate(folder, "--json").stdout)
    assert report["fits"] is False
    changes = report["cheapest_change"]["changes"]
    settings = [part for name, value in changes.items() for part in ("--set", f"{name}={value}")]
    assert json.loads(estimate(folder, "--json", *settings).stdout)["fits"] is True


@pytest.mark.slow
def test_table_lists_components_and_whether_it_fits(folder: Path, facts: Play) -> None:
    facts(9)
    result = estimate(folder)
    for words in (*COMPONENTS.values(), "It doesn't fit", "Suggested change: "):
        assert words in result.stdout


@pytest.mark.slow
def test_rate_that_is_high_for_pairs_is_named(folder: Path, facts: Play) -> None:
    facts(23, plan_dataset=[emit(model_facts.planned(task="preference"))])
    assert "high for DPO" in estimate(folder).stdout


@pytest.mark.slow
def test_failed_inspection_is_reported(folder: Path, facts: Play) -> None:
    problem = {
        "code": "model.unreadable",
        "what": "The model cannot be read.",
        "remedy": "Fetch it.",
    }
    facts(9, inspect_model=[{"fail": problem}])
    result = estimate(folder)
    assert result.returncode == 1
    assert "The model cannot be read." in result.stderr
    assert "Traceback" not in result.stdout + result.stderr


@pytest.mark.slow
def test_preset_is_estimated_and_unknown_preset_refused(folder: Path, facts: Play) -> None:
    facts(23)
    usual = json.loads(estimate(folder, "--json").stdout)
    preset = json.loads(estimate(folder, "--json", "--preset", "memory").stdout)
    assert preset["total"] != usual["total"]
    refused = estimate(folder, "--preset", "magic")
    assert refused.returncode == 2
    assert "magic" in refused.stderr


@pytest.mark.slow
def test_estimate_uses_the_device_with_the_least_free_memory(folder: Path, facts: Play) -> None:
    devices = model_facts.devices(23 * model_facts.GIB)
    first = next(device for device in devices.devices if device.name == "cuda:0")
    second = first.model_copy(
        update={"name": "cuda:1", "title": "Full GPU", "free_bytes": 20 * model_facts.GIB}
    )
    both = devices.model_copy(update={"devices": (first, second)})
    facts(23, inspect_devices=[emit(both)])
    settings = ("--set", "model.device=cuda:0,cuda:1", "--set", "model.sharding=replicate")
    replicated = json.loads(estimate(folder, "--json", *settings).stdout)
    assert (replicated["device"], replicated["available"]) == ("Full GPU", 20 * model_facts.GIB)
    divided = json.loads(estimate(folder, "--json", *settings[:3], "model.sharding=shard").stdout)
    assert replicated["weights"] / 2 < divided["weights"] < replicated["weights"]
    # The memory that sharding frees may be filled with larger micro-batches.
    assert divided["activations"] >= replicated["activations"]


@pytest.mark.slow
def test_rank_of_the_starting_adapter_is_used(folder: Path, facts: Play, tmp_path: Path) -> None:
    facts(23, inspect_model=[emit(plans.inspected())])
    totals = []
    for rank in (4, 256):
        adapter = tmp_path / f"rank{rank}"
        adapter.mkdir()
        config = {"peft_type": "LORA", "r": rank, "lora_alpha": 12, "target_modules": ["q_proj"]}
        (adapter / "adapter_config.json").write_text(json.dumps(config))
        (adapter / "adapter_model.safetensors").touch()
        setting = ("--set", f"lora.start_from={adapter}")
        totals.append(json.loads(estimate(folder, "--json", *setting).stdout)["total"])
    assert totals[0] < totals[1]
