"""Checks of a recipe for the kind of its data."""

from __future__ import annotations

import pytest

from lora_studio.core.training import recipe_checks
from lora_studio.core.training.spec import TrainingSpec


@pytest.mark.parametrize(("max_steps", "is_high"), [(0, True), (200, True), (12, False)])
def test_few_steps_may_use_a_higher_rate(max_steps: int, is_high: bool) -> None:
    spec = TrainingSpec.model_validate(
        {"learning_rate": 1e-3, "rewards": [{"kind": "exact"}], "max_steps": max_steps}
    )
    codes = [problem.code for problem in recipe_checks.check_for("grpo", spec)]
    assert ("training.learning_rate_high" in codes) == is_high
