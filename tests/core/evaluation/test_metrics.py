"""Metrics of answers: their scores, their bounds, and their agreement with known libraries."""

import math
import random
import time
from itertools import pairwise

import pytest

from lora_studio.core import limits
from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.metrics import (
    METRICS,
    Logprobs,
    create_metric,
    suggest_metrics,
)
from lora_studio.core.problems import ProblemError


def _score(name: str, reference: str | None, answer: str) -> float | None:
    return create_metric(name).score(EvaluationItem(id="1", reference=reference), answer)


def _make_items(*references: str | None) -> list[EvaluationItem]:
    return [
        EvaluationItem(id=str(n), raw_prompt="?", reference=text)
        for n, text in enumerate(references)
    ]


@pytest.mark.parametrize(
    ("name", "reference", "answer", "score"),
    [
        ("exact", "Paris", ' "paris". ', 1),
        ("exact", "3.5", "35", 0),
        ("exact", "Straße", "STRASSE", 1),
        ("exact", "ﬁne", "fine", 1),
        ("exact:verbatim", "Paris", "paris", 0),
        ("exact", None, "Paris", None),
        ("contains", "New York", "I live in new york, mostly.", 1),
        ("contains", "art", "a cart", 0),
        ("contains", "東京", "それは東京です", 1),
        ("contains", "…", "…", None),
        ("regex:^(yes|no)$", None, "yes", 1),
        ("regex:^(yes|no)$", None, "yes, it is", 0),
        ("regex:a:b", None, "xa:b", 1),
        ("number", "#### 1,234", "So the total is $1,234.00 today", 1),
        ("number", "1234", "Das sind 1.234 Euro", 1),
        ("number", "2.5", "2,5 kg", 1),
        ("number", "-3", "x = −3", 1),
        ("number", "42", "6·7 = 42 and 43 is wrong", 0),
        ("number", "42", r"6 × 7 = \boxed{42}, not 43", 1),
        ("number", "7", "seven", 0),
        ("number", "seven", "7", None),
        ("number:0.01", "3.14", "3.149", 1),
        ("number:0.01", "3.14", "3.16", 0),
        ("number:1%", "200", "202", 1),
        ("number:1%", "200", "203", 0),
        ("json", None, '```json\n{"a": [1, 2]}\n```', 1),
        ("json", None, '{"a": NaN}', 0),
        ("json", None, 'Here it is: {"a": 1}', 0),
        ('json_schema:{"type": "object", "required": ["a"]}', None, '{"a": 1}', 1),
        ('json_schema:{"type": "object", "required": ["a"]}', None, '{"b": 1}', 0),
        ("fields", '{"a": 1, "b": "x"}', '{"b": " x", "a": 1.0}', 1),
        ("fields", '{"a": 1, "b": {"c": [1, 2]}}', '{"a": 1, "b": {"c": [1, 3]}}', 2 / 3),
        ("fields", '{"a": 1}', '{"a": 1, "b": 2}', 0.5),
        ("fields", '{"a": true}', '{"a": 1}', 0),
        ("fields:a", '{"a": 1, "b": 2}', '{"a": 1, "b": 3}', 1),
        ("fields", '{"a": 1}', "no", 0),
        ("fields", "no", '{"a": 1}', None),
        ("token_f1", "the cat sat", "The cat!", 0.8),
        ("token_f1", "über alles", "ÜBER ALLES", 1),
        ("token_f1", "", "a", None),
        ("rouge_l", "a b c d", "a c b d", 0.75),
        ("chrf", "Haus", "Haus", 1),
        ("chrf", "Haus", "", 0),
    ],
)  # fmt: skip
def test_score(name: str, reference: str | None, answer: str, score: float | None) -> None:
    assert _score(name, reference, answer) == (None if score is None else pytest.approx(score))


def _make_sentences() -> list[str]:
    generator = random.Random(0)
    words = [
        "the",
        "cat",
        "sat",
        "on",
        "a",
        "mat",
        "and",
        "saw",
        "2",
        "dogs;",
        "don't",
        "ask:",
        "Why-not?",
        "It's",
        "3.5",
        "km_away",
    ]
    return [" ".join(generator.choices(words, k=generator.randint(1, 30))) for _ in range(60)]


@pytest.mark.slow  # its library imports for seconds
def test_rouge_equals_its_library() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"])
    for reference, answer in pairwise(_make_sentences()):
        expected = scorer.score(reference, answer)["rougeL"].fmeasure
        assert _score("rouge_l", reference, answer) == pytest.approx(expected, abs=1e-12)


def test_chrf_equals_its_library() -> None:
    from sacrebleu import sentence_chrf

    for reference, answer in pairwise(_make_sentences()[:20]):
        expected = sentence_chrf(answer, [reference]).score / 100
        assert _score("chrf", reference, answer) == pytest.approx(expected, abs=1e-12)


def test_choice_is_lm_evals_acc_and_acc_norm() -> None:
    item = EvaluationItem(id="1", choices=("no", "certainly not"), correct=1)
    logprobs = Logprobs(choices=(-4.0, -13.0))
    assert create_metric("choice").score_logprobs(item, logprobs) == 0
    assert create_metric("choice_norm").score_logprobs(item, logprobs) == 1
    assert create_metric("choice").score_logprobs(item, Logprobs(choices=(-4.0,))) is None
    assert create_metric("choice").score_logprobs(item, Logprobs(choices=(-4, math.nan))) is None


def test_perplexity_is_that_of_a_token() -> None:
    perplexity, item = create_metric("perplexity"), EvaluationItem(id="1", reference="a")
    uniform = Logprobs(reference=-3 * math.log(50), reference_tokens=3)
    assert perplexity.score_logprobs(item, uniform) == pytest.approx(50)
    assert perplexity.score_logprobs(item, Logprobs()) is None
    assert (
        perplexity.score_logprobs(item, Logprobs(reference=-math.inf, reference_tokens=1)) is None
    )


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("bleu", "evaluation.unknown_measure"),
        ("contains:x", "evaluation.invalid_parameter"),
        ("exact:loose", "evaluation.invalid_parameter"),
        ("number:many", "evaluation.invalid_parameter"),
        ("number:-1", "evaluation.invalid_parameter"),
        ("regex", "evaluation.invalid_pattern"),
        ("regex:(", "evaluation.invalid_pattern"),
        ("json_schema", "evaluation.invalid_schema"),
        ("json_schema:/missing.json", "evaluation.invalid_schema"),
        ("json_schema:{]", "evaluation.invalid_schema"),
    ],
)
def test_bad_metric_is_a_problem(name: str, code: str) -> None:
    with pytest.raises(ProblemError) as caught:
        create_metric(name)
    assert caught.value.problems[0].code == code


@pytest.mark.parametrize("schema", ['{"type": 3}', '{"$ref": "http://localhost:9/schema.json"}'])
def test_schema_that_is_wrong_or_elsewhere_is_a_problem(schema: str) -> None:
    with pytest.raises(ProblemError) as caught:
        _score(f"json_schema:{schema}", None, "{}")
    assert caught.value.problems[0].code == "evaluation.invalid_schema"


def test_hanging_pattern_ends_without_a_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PATTERN_SECONDS", 0.05)
    started = time.process_time()
    assert _score("regex:(a|aa)+$", None, "a" * 60 + "b") is None
    assert time.process_time() - started < 3


def test_endless_answer_is_scored_in_seconds() -> None:
    reference, answer = "word " * 200, "word other " * 50_000
    started = time.process_time()
    for name in METRICS:
        if not METRICS[name].needs_parameter and name != "chrf":
            _score(name, reference, answer)
    assert _score("fields", "[1]", "[" * 100_000) == 0
    assert time.process_time() - started < 3


@pytest.mark.parametrize(
    ("references", "main"),
    [
        (["yes", "no", "yes"], "exact"),
        (["42", "3.5 km", "#### 7"], "number"),
        (['{"a": 1}', '```json\n{"a": 2}\n```'], "fields"),
        (["A sentence of about ten words is a short answer."] * 3, "token_f1"),
        (["word " * 100] * 3, "rouge_l"),
        ([None, "", None], ""),
    ],
)
def test_suggestion_follows_the_references(references: list[str | None], main: str) -> None:
    suggested = suggest_metrics(_make_items(*references))
    assert (suggested[0] if suggested else "") == main
    for name in suggested:
        create_metric(name)


def test_suggestion_for_choices_and_texts() -> None:
    choices = [EvaluationItem(id="1", raw_prompt="?", choices=("a", "b"), correct=0)]
    assert suggest_metrics(choices)[0] == "choice"
    assert suggest_metrics([EvaluationItem(id="1", reference="A text.")]) == ("perplexity",)
