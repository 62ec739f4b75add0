"""Benchmarks: the items, scores, and answers of lm-eval, from its definitions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from lora_studio.cli.app import app
from lora_studio.core.chat import Sampling
from lora_studio.core.evaluation.items import EvaluationItem
from lora_studio.core.evaluation.metrics import Logprobs, create_metric
from lora_studio.core.evaluation.test_sets import BenchmarkTask
from lora_studio.core.problems import ProblemError
from lora_studio.core.project.project import Project
from lora_studio.core.runs import folder as run_folder
from lora_studio.engine.evaluation import benchmark_index, benchmarks
from lora_studio.engine.generation.batched import generate_batch
from lora_studio.engine.generation.continuations import (
    continuation_logprobs,
    split_prompt_and_continuation,
    split_text,
)
from tests.helpers.models.tiny_models import tiny_model
from tests.helpers.runs.jobs import recorded_job
from tests.helpers.servers.hub_server import hub_server

ROWS = [
    {"question": f"Which lamp burns {how}?", "choices": ["the red one", "blue", "no lamp at all"], "gold": number % 3, "answer": answer}
    for number, (how, answer) in enumerate(
        [("longest", "the lamp"), ("last", "the"), ("at night", "no"), ("on the ship", "blue"), ("here", "42")]
    )
]  # fmt: skip

COMMON = """
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}, train: {file}}}}}
test_split: test
fewshot_split: train
"""
TASKS = {
    "harbour_choice": """
task: harbour_choice
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: gold
doc_to_choice: choices
metric_list: [{metric: acc}, {metric: acc_norm}]
""",
    "harbour_answer": """
task: harbour_answer
output_type: generate_until
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: answer
generation_kwargs: {until: [" ", "?"], max_gen_toks: 6, do_sample: false}
metric_list: [{metric: exact_match}]
""",
    "harbour_text": """
task: harbour_text
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}} {{answer}}"
metric_list: [{metric: word_perplexity}]
""",
}


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with benchmarks of the user's own."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    for name, definition in TASKS.items():
        common = COMMON.format(file=folder / "rows.jsonl")
        (folder / f"{name}.yaml").write_text(definition + common)
    monkeypatch.setenv(benchmark_index.OWN_FOLDERS, str(folder))
    monkeypatch.setenv("LORA_STUDIO_CACHE", str(tmp_path / "cache"))
    return folder


def load(name: str, **settings: Any) -> list[EvaluationItem]:
    return benchmarks.load_benchmark_items(BenchmarkTask(task=name, **settings), recorded_job()[0])


def evaluate_by_lm_eval(model: Path, tasks: Path, shots: int = 0) -> dict[str, Any]:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    runner = HFLM(pretrained=network, tokenizer=AutoTokenizer.from_pretrained(model), batch_size=2)
    result = simple_evaluate(
        runner, tasks=[*TASKS], num_fewshot=shots, bootstrap_iters=0,
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
    )  # fmt: skip
    return {
        name: sorted(samples, key=lambda sample: sample["doc_id"])
        for name, samples in result["samples"].items()
    }


def score(network: Any, tokenizer: Any, items: Sequence[EvaluationItem]) -> list[list[float]]:
    """Return the log-likelihood of each choice of each item."""
    pairs = [
        split_prompt_and_continuation(
            tokenizer, item.raw_prompt or "", choice, add_special_tokens=True
        )
        for item in items
        for choice in item.choices
    ]
    scores = dict(continuation_logprobs(network, pairs, recorded_job()[0]))
    return [
        [scores[index * len(item.choices) + choice].logprob for choice in range(len(item.choices))]
        for index, item in enumerate(items)
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of lm-eval
@pytest.mark.parametrize("shots", [0, 2])
def test_every_item_scores_as_in_lm_eval(shots: int, tasks: Path, tmp_path: Path) -> None:
    model = tiny_model("llama3", tmp_path / "model", stored="float32")
    expected = evaluate_by_lm_eval(model, tasks, shots)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(model)

    items = load("harbour_choice", shots=shots)
    for item, logprobs, sample in zip(
        items, score(network, tokenizer, items), expected["harbour_choice"], strict=True
    ):
        assert logprobs == pytest.approx([each[0][0] for each in sample["resps"]], abs=1e-4)
        scored = Logprobs(choices=tuple(logprobs))
        for ours, theirs in (("choice", "acc"), ("choice_norm", "acc_norm")):
            assert create_metric(ours).score_logprobs(item, scored) == sample[theirs]

    items = load("harbour_answer", shots=shots)
    answers = dict(
        generate_batch(
            network, tokenizer, [item.raw_prompt or "" for item in items],
            Sampling(temperature=0, max_tokens=6), recorded_job()[0],
            stops=[item.stops for item in items], add_special_tokens=True,
        )
    )  # fmt: skip
    for index, (item, sample) in enumerate(zip(items, expected["harbour_answer"], strict=True)):
        assert answers[index].text == sample["resps"][0][0]
        assert create_metric(item.metric).score(item, answers[index].text) == sample["exact_match"]  # fmt: skip

    for item, sample in zip(load("harbour_text"), expected["harbour_text"], strict=True):
        windows = split_text(tokenizer, item.reference or "", 1024, add_special_tokens=True)
        total = sum(each.logprob for _, each in continuation_logprobs(network, windows, recorded_job()[0]))  # fmt: skip
        assert total == pytest.approx(sample["resps"][0][0], abs=1e-3)


def test_items_have_choices_targets_and_stops(tasks: Path) -> None:
    choice = load("harbour_choice")
    assert [item.correct for item in choice] == [0, 1, 2, 0, 1]
    assert choice[0].choices == ("the red one", "blue", "no lamp at all")
    assert choice[0].raw_prompt == "Question: Which lamp burns longest?\nAnswer: "
    answer = load("harbour_answer", shots=1)[0]
    assert (answer.reference, answer.stops, answer.metric) == ("the lamp", (" ", "?"), "exact:verbatim")  # fmt: skip
    assert (answer.raw_prompt or "").count("Question:") == 2
    assert load("harbour_text")[3].reference == "Which lamp burns on the ship? blue"
    assert {info.name for info in benchmark_index.read_own().values()} == set(TASKS)


def test_benchmark_that_isnt_on_this_computer_is_refused_offline(
    tasks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = TASKS["harbour_choice"].replace("harbour_choice", "harbour_hub")
    (tasks / "hub.yaml").write_text(definition + "dataset_path: harbour/rows\ntest_split: test\n")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(ProblemError) as caught:
        load("harbour_hub")
    problem = caught.value.problems[0]
    assert problem.code == "evaluation.benchmark_offline"
    assert "harbour/rows" in str(problem.what)
    assert "harbour_hub" in str(problem.what)


def test_a_missing_package_is_named_with_its_command(
    tasks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tasks / "helper.py").write_text("import sklearn_of_nobody.tools\n\ndef ask(row): return row\n")
    needs = TASKS["harbour_choice"].replace("harbour_choice", "harbour_needs")
    data = COMMON.format(file=tasks / "rows.jsonl")
    (tasks / "needs.yaml").write_text(needs + data + "process_docs: !function helper.ask\n")
    with pytest.raises(ProblemError) as caught:
        load("harbour_needs")
    problem = caught.value.problems[0]
    assert problem.code == "evaluation.benchmark_needs_package"
    assert "needs the package sklearn_of_nobody" in str(problem.what)
    assert str(problem.remedy).endswith("-m pip install sklearn_of_nobody")
    monkeypatch.setattr(benchmark_index, "find_spec", lambda _: None)
    with pytest.raises(ProblemError) as caught:
        load("harbour_choice")
    assert caught.value.problems[0].code == "evaluation.no_benchmarks"
    assert f"{sys.executable} -m pip install lm-eval" in str(caught.value.problems[0].remedy)


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")  # of lm-eval
def test_command_line_scores_a_benchmark_of_the_hub_as_lm_eval(
    tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("llama3", tmp_path / "model", stored="float32")
    expected = evaluate_by_lm_eval(model, tasks)["harbour_choice"]
    definition = TASKS["harbour_choice"].replace("harbour_choice", "harbour_hub")
    (tasks / "hub.yaml").write_text(f"{definition}dataset_path: harbour/rows\ntest_split: test\n")
    folder = tmp_path / "dataset"
    folder.mkdir()
    (folder / "test.jsonl").write_text((tasks / "rows.jsonl").read_text())
    run = run_folder.create_run(tmp_path / "runs", Project(name="harbour"), tmp_path)
    out = tmp_path / "out.json"
    call = [
        "evaluate", str(run.path), "--against", str(model), "--test", "benchmark:harbour_hub",
        "--out", str(out),
    ]  # fmt: skip
    with hub_server({}) as hub:
        hub.datasets["harbour/rows"] = folder
        for name, value in (
            ("HF_ENDPOINT", hub.address), ("HF_HOME", str(tmp_path / "hf")), ("HF_HUB_DISABLE_XET", "1"),
        ):  # fmt: skip
            monkeypatch.setenv(name, value)
        result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text("utf-8"))
    for item, sample in zip(found["items"], expected, strict=True):
        (answer,) = item["answers"]
        resps = [each[0][0] for each in sample["resps"]]
        assert answer["logprobs"]["choices"] == pytest.approx(resps, abs=1e-2)
        assert (answer["scores"]["choice"], answer["scores"]["choice_norm"]) == (sample["acc"], sample["acc_norm"])  # fmt: skip


_LOAD = """
import sys
from lora_studio.core.evaluation.test_sets import BenchmarkTask
from lora_studio.engine.evaluation import benchmarks
from tests.helpers.runs.jobs import recorded_job
print(len(benchmarks.load_benchmark_items(BenchmarkTask(task="harbour_hub"), recorded_job()[0])))
"""


@pytest.mark.slow
def test_items_come_from_the_hub_and_later_from_its_cache(tasks: Path, tmp_path: Path) -> None:
    definition = TASKS["harbour_choice"].replace("harbour_choice", "harbour_hub")
    (tasks / "hub.yaml").write_text(definition + "dataset_path: harbour/rows\ntest_split: test\n")
    folder = tmp_path / "dataset"
    folder.mkdir()
    (folder / "test.jsonl").write_text((tasks / "rows.jsonl").read_text())
    with hub_server({}) as hub:
        hub.datasets["harbour/rows"] = folder
        environment = os.environ | {
            "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1",
        }  # fmt: skip
        for offline in ({}, {"HF_HUB_OFFLINE": "1"}):
            loaded = subprocess.run(
                [sys.executable, "-c", _LOAD], env=environment | offline,
                capture_output=True, text=True, timeout=300,
            )  # fmt: skip
            assert loaded.stdout.strip() == "5", loaded.stderr


def test_command_sets_up_pip_in_an_environment_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(benchmark_index, "find_spec", lambda name: None)
    command = benchmark_index.format_install_command("lm-eval")
    python = sys.executable
    assert command == f"{python} -m ensurepip && {python} -m pip install lm-eval"
