"""Which stored evaluations may continue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lora_studio.core.chat import AdapterChatModel, FolderChatModel, GgufChatModel, OllamaChatModel
from lora_studio.core.dataset.spec import DataSource
from lora_studio.core.evaluation.columns import Column, ServerModel
from lora_studio.core.evaluation.plan import (
    EvaluationPlan,
    JudgeSettings,
    remember_plan,
    require_own_plan,
)
from lora_studio.core.evaluation.test_sets import FileRows, PlaygroundPrompts
from lora_studio.core.lora.adapters import WeightedAdapter
from lora_studio.core.problems import ProblemError
from lora_studio.core.system import consent
from lora_studio.core.system.consent import DigestRecord

SERVER = ServerModel(address="https://a.example/v1", name="m", key_variable="AWS_SECRET")
BASE = Column(key="base", model=AdapterChatModel())


def make_plan(model: Any = None, **fields: Any) -> EvaluationPlan:
    columns = (BASE,) if model is None else (BASE, Column(key="other", model=model))
    return EvaluationPlan(columns=columns, **fields)


FOREIGN = [
    pytest.param(make_plan(SERVER), "AWS_SECRET", id="server"),
    pytest.param(make_plan(judge=JudgeSettings(model=SERVER)), "AWS_SECRET", id="judge"),
    pytest.param(make_plan(OllamaChatModel(name="m", host="127.0.0.1#@a.example")), "a.example", id="Ollama"),
    pytest.param(make_plan(GgufChatModel(file="/srv/m.gguf")), "/srv/m.gguf", id="file elsewhere"),
    pytest.param(
        make_plan(AdapterChatModel(adapters=(WeightedAdapter(folder="../a"),))), "../a", id="adapter elsewhere"
    ),
    pytest.param(
        make_plan(test_sets=(FileRows(source=DataSource(path="/etc/passwd")),)), "/etc/passwd", id="rows elsewhere"
    ),
    pytest.param(make_plan(test_sets=(PlaygroundPrompts(project="/srv/p"),)), "/srv/p", id="another project"),
    # Read from the folder of the process, or downloaded.
    pytest.param(make_plan(test_sets=(FileRows(source=DataSource(path="rows.jsonl")),)), "rows.jsonl", id="relative"),
    pytest.param(make_plan(test_sets=(FileRows(source=DataSource(path="org/rows")),)), "org/rows", id="Hub"),
    pytest.param(make_plan(GgufChatModel(file="m.gguf")), "m.gguf", id="relative file"),
    pytest.param(make_plan(FolderChatModel(folder="org/m")), "org/m", id="Hub model"),
]  # fmt: skip


@pytest.mark.parametrize(("plan", "named"), FOREIGN)
def test_plan_of_someone_else_is_refused_until_allowed(
    plan: EvaluationPlan, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_STUDIO_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv(consent.TRUST_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProblemError) as caught:
        require_own_plan(plan, tmp_path)
    (problem,) = caught.value.problems
    assert problem.code == "evaluation.plan_not_trusted"
    assert named in str(problem.what)
    monkeypatch.setenv(consent.TRUST_VARIABLE, str(problem.remedy.values["digest"]))
    require_own_plan(plan, tmp_path)


@pytest.mark.parametrize(("plan", "named"), FOREIGN[:1])
def test_plan_that_the_user_started_continues(
    plan: EvaluationPlan, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_STUDIO_CONFIG", str(tmp_path / "config"))
    remember_plan(plan)
    require_own_plan(EvaluationPlan.model_validate_json(plan.model_dump_json()), tmp_path)
    other = plan.model_copy(update={"title": named})
    with pytest.raises(ProblemError):
        require_own_plan(other, tmp_path)


def test_plan_within_the_project_needs_no_consent(tmp_path: Path) -> None:
    rows = FileRows(source=DataSource(path=str(tmp_path / "rows.jsonl")))
    model = OllamaChatModel(name="m", host="http://localhost:11434")
    require_own_plan(make_plan(model, test_sets=(rows,)), tmp_path)


def test_plan_recorded_with_the_name_before_metrics_may_continue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORA_STUDIO_CONFIG", str(tmp_path / "config"))
    plan = make_plan(SERVER, metrics=("exact",))
    stored = plan.model_dump_json().replace('"metrics":["exact"]', '"measures":["exact"]')
    assert "measures" in stored
    record = DigestRecord("evaluations.json")
    record.add(consent.compute_digest(f"evaluation\0{stored}".encode()))
    require_own_plan(EvaluationPlan.model_validate_json(stored), tmp_path)
