"""Presets are valid and distinct, and replace each other completely."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_studio.cli import headless
from lora_studio.cli.console import Display
from lora_studio.core.problems import ProblemError
from lora_studio.core.project import checks, presets, project
from lora_studio.core.project.presets import PRESETS, Preset
from lora_studio.core.project.project import Draft


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_every_preset_gives_a_valid_recipe(preset: Preset) -> None:
    draft = Draft()
    presets.apply_preset(draft, preset)
    problems = checks.check(draft)
    assert not [item for item in problems if item.where.step in ("lora", "training")]
    assert draft.list_problems() == []


def test_presets_differ_and_balanced_is_the_default() -> None:
    assert len({str(presets.get_values(preset)) for preset in PRESETS}) == len(PRESETS)
    current = presets.find_current(Draft().get)
    assert current is not None
    assert current.name == "balanced"


@pytest.mark.parametrize("first", PRESETS, ids=lambda preset: preset.name)
@pytest.mark.parametrize("second", PRESETS, ids=lambda preset: preset.name)
def test_second_preset_replaces_the_first_completely(first: Preset, second: Preset) -> None:
    draft = Draft()
    presets.apply_preset(draft, first)
    presets.apply_preset(draft, second)
    assert presets.find_current(draft.get) is second
    assert not presets.list_differences(draft.get, second)


def test_low_memory_preset_keeps_the_effective_batch() -> None:
    batches = set()
    for preset in PRESETS:
        draft = Draft()
        presets.apply_preset(draft, preset)
        batches.add(draft.freeze().training.effective_batch)
    assert batches == {16}


def test_precision_stays_unless_the_preset_sets_it() -> None:
    draft = Draft()
    draft.set("model", "precision", "8bit")
    current = presets.find_current(draft.get)
    assert current is not None
    assert current.name == "balanced"
    presets.apply_preset(draft, presets.find_preset("memory"))
    assert draft.get("model", "precision") == "4bit"
    presets.apply_preset(draft, presets.find_preset("best"))
    assert draft.get("model", "precision") == "4bit"


def test_differences_name_fields_by_their_titles() -> None:
    draft = Draft()
    draft.set("training", "learning_rate", 5e-4)
    differences = [
        str(item.text)
        for item in presets.list_differences(draft.get, presets.find_preset("memory"))
    ]
    assert "Learning rate 5e-4 → 2e-4" in differences
    assert "Precision Best for this device → 4-bit (QLoRA)" in differences
    assert "Optimizer AdamW → AdamW 8-bit, paged" in differences


def test_preset_replaces_an_invalid_value() -> None:
    draft = Draft()
    draft.set("lora", "rank", "many")
    (difference,) = presets.apply_preset(draft, presets.find_preset("balanced"))
    assert str(difference.text) == "Rank many → 16"
    assert draft.list_problems() == []


def test_command_line_applies_the_preset_before_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "rows.jsonl").write_text("{}\n")
    project.create(
        tmp_path / "p", "p",
        {"model": {"source": "../model/"}, "dataset": {"sources": ["../rows.jsonl"]}},
    )  # fmt: skip
    draft = headless.open_project(tmp_path / "p", ["lora.rank=4"], Display(), "quick")
    assert draft is not None
    frozen = draft.freeze()
    assert (frozen.training.max_steps, frozen.lora.rank, frozen.lora.alpha) == (60, 4, 8)
    assert "Preset Quick test: Rank 16 → 8, Alpha 32 → 16" in capsys.readouterr().err
    assert headless.open_project(tmp_path / "p", [], Display(), "fast") is None
    with pytest.raises(ProblemError, match="presets: quick, balanced, "):
        presets.find_preset("fast")


def test_published_presets_use_the_settings_that_were_measured() -> None:
    draft = Draft()
    presets.apply_preset(draft, presets.find_preset("rslora"))
    lora = draft.freeze().lora
    assert (lora.rank, lora.alpha, lora.scale, lora.targets) == (64, 64, 8.0, "attention_qv")
    presets.apply_preset(draft, presets.find_preset("mlp"))
    lora = draft.freeze().lora
    assert (lora.rank, lora.scale, lora.targets) == (10, 2.0, "mlp")
    published = [preset for preset in PRESETS if preset.evidence]
    assert all("PEFT's method comparison" in preset.evidence for preset in published)
    assert [preset.name for preset in published] == ["rslora", "mlp"]
