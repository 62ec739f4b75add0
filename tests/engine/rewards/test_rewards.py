"""Rewards rate answers by their settings; what fails is counted with its reason."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lora_studio.core.messages import text
from lora_studio.core.problems import ProblemError
from lora_studio.core.rewards.spec import RatedAnswer, RewardSpec
from lora_studio.core.tasks.samples import Message
from lora_studio.engine.rewards.failures import FailureList
from lora_studio.engine.rewards.registry import ScoredAnswers, WeightedRewards, open_rewards
from tests.helpers.runs.jobs import make_job


def rate(answer: str, reference: str | None = None, **more: Any) -> RatedAnswer:
    """Return an answer to a short prompt."""
    facts = {"columns": {}, "ended": True, "tokens": len(answer.split())} | more
    return RatedAnswer((Message(role="user", content="?"),), answer, reference, **facts)


def score(specs: Sequence[RewardSpec], answers: Sequence[RatedAnswer]) -> ScoredAnswers:
    """Return the ratings of answers by rewards."""
    with open_rewards(specs, make_job()) as rewards:
        return rewards.score(answers)


@pytest.mark.parametrize(
    ("settings", "answer", "value"),
    [
        ({"kind": "exact"}, "Forty-Two.", 1.0),
        ({"kind": "exact", "verbatim": True}, "Forty-Two.", 0.0),
        ({"kind": "exact", "answer_tag": "answer"}, "Hm. <answer>forty-two</answer>", 1.0),
        ({"kind": "exact", "answer_tag": "answer"}, "forty-two", 0.0),
        ({"kind": "exact", "column": "other"}, "blue", 1.0),
        ({"kind": "number", "column": "number"}, "It is 41.9", 0.0),
        ({"kind": "number", "column": "number", "tolerance": 0.1}, "It is 41.9", 1.0),
        ({"kind": "number", "column": "number", "tolerance": 1.0, "tolerance_unit": "percent"},
         "It is 41.9", 1.0),
        ({"kind": "contains"}, "I say forty-two!", 1.0),
        ({"kind": "contains", "text": "say so"}, "I say forty-two!", 0.0),
        ({"kind": "regex", "pattern": r"^\d+$"}, "42", 1.0),
        ({"kind": "json_schema"}, '{"a": 1}', 1.0),
        ({"kind": "json_schema"}, "{", 0.0),
        ({"kind": "length", "max_length": 3}, "one two three", 1.0),
        ({"kind": "length", "max_length": 2}, "one two three", 0.0),
        ({"kind": "length", "max_length": 2, "length_margin": 4}, "one two three", 0.75),
        ({"kind": "length", "min_length": 5, "length_unit": "characters"}, "four", 0.0),
        ({"kind": "length", "max_length": 3, "length_unit": "tokens"}, "one two three", 1.0),
        ({"kind": "format"}, "<think>a</think><answer>b</answer>", 1.0),
        ({"kind": "format"}, "<answer>b</answer><think>a</think>", 0.5),
        ({"kind": "format"}, "<think>a</think><answer>b", 0.75),
        ({"kind": "format"}, "<think>a</think><think>a</think>", 0.0),
        ({"kind": "format", "only_tags": True}, "Well: <think>a</think><answer>b</answer>", 0.8),
        ({"kind": "similarity", "similarity": "token_f1"}, "forty", 2 / 3),
        ({"kind": "exact", "scale": 10.0, "highest": 2.0}, "forty-two", 2.0),
        ({"kind": "exact", "lowest": -1.0, "scale": -5.0}, "forty-two", -1.0),
    ],
)  # fmt: skip
def test_kinds_rate_an_answer(settings: dict[str, Any], answer: str, value: float) -> None:
    spec = RewardSpec.model_validate(settings)
    rated = rate(answer, "forty-two", columns={"other": "blue", "number": "42"})
    scored = score([spec], [rated])
    assert scored.values[spec.kind] == [pytest.approx(value)]
    assert scored.failures == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "answer", "value"),
    [
        ("de", "Das Wetter ist heute schön, und morgen wird es regnen.", 1.0),
        ("en", "Das Wetter ist heute schön, und morgen wird es regnen.", 0.0),
        ("en", "42 + 1 = 43", 0.0),
    ],
)
def test_language_of_an_answer_is_recognized(language: str, answer: str, value: float) -> None:
    pytest.importorskip("py3langid", reason="part of the engine extra")
    spec = RewardSpec(kind="language", language=language)
    assert score([spec], [rate(answer)]).values == {"language": [value]}


def test_total_is_the_weighted_sum() -> None:
    specs = [RewardSpec(kind="exact", weight=2.0), RewardSpec(kind="length", weight=-0.5, max_length=1)]  # fmt: skip
    scored = score(specs, [rate("yes", "yes"), rate("no no", "yes")])
    assert scored.totals == [1.5, 0.0]
    assert scored.values == {"exact": [1.0, 0.0], "length": [1.0, 0.0]}


def test_missing_expected_text_is_a_failure_of_that_answer() -> None:
    specs = [RewardSpec(kind="exact"), RewardSpec(kind="contains", column="city")]
    scored = score(specs, [rate("yes"), rate("yes", "yes", columns={"city": "Bonn"})])
    assert scored.totals == [None, 1.0]
    reasons = [(failure.reward, failure.index, str(failure.reason)) for failure in scored.failures]
    assert reasons == [
        ("exact", 0, "The row has no reference answer."),
        ("contains", 0, "The row has no value in the column “city”."),
    ]


def test_slow_pattern_is_a_failure_with_its_limit() -> None:
    scored = score([RewardSpec(kind="regex", pattern="(a|aa)+$")], [rate("a" * 60 + "b")])
    assert scored.totals == [None]
    assert "0.5 s" in str(scored.failures[0].reason)


@dataclass
class Fixed:
    """A reward with given values."""

    values: list[float | None]
    name: str = "fixed"
    failures: FailureList = field(default_factory=FailureList)

    def score(self, answers: Sequence[RatedAnswer]) -> list[float | None]:
        """Return the values, or raise the problem of a schema that can't be used."""
        if not self.values:
            raise ProblemError([_problem()])
        return self.values


def _problem() -> Any:
    from lora_studio.core.problems import error

    return error("evaluation.invalid_schema", "The JSON schema {schema} can't be used: {reason}.", "", schema="a", reason=text("b"))  # fmt: skip


def test_values_that_are_no_number_are_failures() -> None:
    rewards = WeightedRewards([(RewardSpec(), Fixed([1.0, math.nan, math.inf]))])
    scored = rewards.score([rate("a")] * 3)
    assert scored.totals == [1.0, None, None]
    assert [failure.index for failure in scored.failures] == [1, 2]
    assert "finite" in str(scored.failures[0].reason)


def test_reward_that_raises_costs_only_its_values() -> None:
    rewards = WeightedRewards([(RewardSpec(), Fixed([])), (RewardSpec(), Fixed([2.0], "other"))])
    scored = rewards.score([rate("a")])
    assert scored.values == {"fixed": [None], "other": [2.0]}
    assert scored.totals == [None]


def test_all_invalid_rewards_are_reported_together(tmp_path: Path) -> None:
    specs = [
        RewardSpec(kind="regex", pattern="("),
        RewardSpec(kind="json_schema", schema_file=str(tmp_path / "gone.json")),
    ]
    with pytest.raises(ProblemError) as raised, open_rewards(specs, make_job()):
        pass
    codes = [problem.code for problem in raised.value.problems]
    assert codes == ["evaluation.invalid_pattern", "evaluation.invalid_schema"]
