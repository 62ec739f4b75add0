"""`lora-studio evaluate`: which models and test sets are evaluated, what is refused, and the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from lora_studio.cli import evaluate
from lora_studio.cli.app import app
from lora_studio.core.chat import FolderChatModel, GgufChatModel, OllamaChatModel
from lora_studio.core.evaluation import storage
from lora_studio.core.evaluation.columns import ServerModel
from lora_studio.core.evaluation.items import create_item
from lora_studio.core.evaluation.plan import EvaluationPlan, JudgeSettings
from lora_studio.core.evaluation.results import ColumnReport, EvaluationFacts, ItemResult, Judgment
from lora_studio.core.evaluation.test_sets import BenchmarkTask, FileRows, TestSetReport
from lora_studio.core.model.spec import ModelSpec
from lora_studio.core.playground import Playground, Vote
from lora_studio.core.problems import ProblemError, error
from lora_studio.core.project.project import Project
from lora_studio.core.runs import chat_models, folder
from lora_studio.core.runs.folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run with an adapter and a GGUF file, as far as their names go."""
    project = Project(name="bot", model=ModelSpec(source=str(tmp_path)))
    new_run = folder.create_run(tmp_path / "runs", project, tmp_path)
    for file in (new_run.adapter / "adapter_config.json", new_run.gguf / "bot-Q4_K_M.gguf"):
        file.parent.mkdir()
        file.write_text("{}", "utf-8")
    return new_run


def call(run: RunFolder, *options: str) -> Result:
    return CliRunner().invoke(app, ["evaluate", str(run.path), *options])


def test_columns_of_a_run_are_what_it_has(run: RunFolder) -> None:
    keys = [column.key for column in chat_models.list_run_columns(run)]
    assert keys == ["base", "adapter", "Q4_K_M"]
    run.update_manifest(in_ollama={})
    assert chat_models.list_run_columns(run)[-1].key == "ollama"


def test_models_are_recognized_by_how_they_are_named(run: RunFolder) -> None:
    gguf = run.gguf / "bot-Q4_K_M.gguf"
    assert evaluate.parse_model(str(gguf)) == GgufChatModel(file=str(gguf))
    assert evaluate.parse_model("ollama:qwen3:4b") == OllamaChatModel(name="qwen3:4b")
    server = evaluate.parse_model("http://localhost:8000/v1/#m", "KEY")
    assert server == ServerModel(address="http://localhost:8000/v1", name="m", key_variable="KEY")
    run.merged.mkdir()
    (run.merged / "config.json").write_text("{}", "utf-8")
    assert evaluate.parse_model(str(run.merged)) == FolderChatModel(folder=str(run.merged))
    with pytest.raises(ProblemError, match="Unknown model: nowhere"):
        evaluate.parse_model("nowhere")


def test_test_sets_are_recognized_by_their_name(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("{}", "utf-8")
    parsed = evaluate.parse_test_set(str(file), 5, 1, 0)
    assert isinstance(parsed, FileRows)
    assert (parsed.source.path, parsed.limit, parsed.seed) == (str(file), 5, 1)
    benchmark = evaluate.parse_test_set("benchmark:arc_easy", 0, 0, 2)
    assert benchmark == BenchmarkTask(task="arc_easy", shots=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(["--column", "Q8_0"], "no model named Q8_0", id="column"),
        pytest.param(["--against", "nowhere"], "Unknown model: nowhere", id="model"),
        pytest.param(["--metric", "beauty"], "Unknown metric: beauty", id="metric"),
        pytest.param(
            ["--measure", "beauty"], "Unknown metric: beauty", id="metric by its old name"
        ),
        pytest.param(
            ["--out", "table.xlsx"], "neither a CSV, a JSON, nor an HTML file", id="export"
        ),
        pytest.param(["--show"], "hasn't been evaluated yet", id="nothing to show"),
        pytest.param(["--resume"], "hasn't been evaluated yet", id="nothing to resume"),
    ],
)
def test_bad_option_is_refused(run: RunFolder, options: list[str], message: str) -> None:
    result = call(run, *options)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not run.evaluations_folder.exists()


def test_partial_results_are_shown_and_exported(run: RunFolder, tmp_path: Path) -> None:
    columns = tuple(chat_models.list_run_columns(run))[:2]
    judge = JudgeSettings(model=OllamaChatModel(name="llama3:8b"))
    created = storage.create_evaluation(
        run.evaluations_folder, EvaluationPlan(columns=columns, judge=judge)
    )
    items = [create_item(test_set="heldout", raw_prompt=str(n), reference="1") for n in range(12)]
    created.write_items(items)
    refused = error("x", "The adapter is damaged.", "Train again.")
    created.write_facts(
        EvaluationFacts(
            test_sets=(TestSetReport(key="heldout", rows=15, items=12, trained=3),),
            metrics={"heldout": ("exact",)},
            columns=(ColumnReport(key="adapter", problem=refused),),
        )
    )
    with created.append(created.answers_file) as writer:
        for n, item in enumerate(items):
            writer.write(ItemResult(item=item.id, column="base", scores={"exact": n % 2}))
    with created.append(created.judgments_file) as writer:
        for item, winner in zip(items, ("adapter", "adapter", "base", "", None), strict=False):
            writer.write(Judgment(item=item.id, first="base", second="adapter", winner=winner))
    vote = Vote(prompt="?", names=("a", "b"), answers=("x", "y"), winner=0, chat_models=tuple(each.model for each in columns))  # fmt: skip
    Playground.of_run(run.path).vote(vote)
    out = tmp_path / "out.json"
    result = call(run, "--show", "--out", str(out))
    assert result.exit_code == 0
    shown = " ".join(result.output.split())
    assert "3 rows were trained on and are left out." in shown
    assert "base 50 % (" in shown
    assert "adapter: The adapter is damaged." in shown
    assert "Judge llama3:8b, adapter against base: Preferred in 62 % of 4 comparisons (" in shown
    assert "2 wins, 1 loss, 1 tie; 1 without a verdict." in shown
    assert "Blind votes in the Playground, adapter against base: Preferred in 0 % of 1 comparison (" in shown  # fmt: skip
    assert "These results are partial." in shown
    written = json.loads(out.read_text("utf-8"))
    assert written["means"]["heldout"]["exact"] == {"base": 0.5}
    assert [each["compared_by"] for each in written["preferences"]] == ["judge", "people"]
