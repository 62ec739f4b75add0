"""Commands and events: closed unions that round-trip through JSON."""

from __future__ import annotations

import json
import math
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from lora_studio.client.watched_run import WatchedRun
from lora_studio.core.evaluation.results import EvaluationFacts
from lora_studio.core.evaluation.storage import EvaluationFolder
from lora_studio.core.evaluation.test_sets import TestSetReport
from lora_studio.core.messages import text
from lora_studio.core.model.catalog import ModelEntry
from lora_studio.core.problems import Fix, Problem, Where
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.base import BaseCommand
from lora_studio.core.runs.folder import RunFolder
from tests.helpers.models import model_facts

EVENTS = typing.get_args(events.Event)
QUESTIONS_AND_JOBS = typing.get_args(commands.Job | commands.Question)
ENTRY = {"source": "m", "title": "m", "location": "cache"}
COMMANDS = typing.get_args(commands.Job | commands.Question | commands.Control)


def test_event_and_command_kinds_are_unique() -> None:
    for union in (EVENTS, COMMANDS):
        kinds = [model.model_fields["kind"].default for model in union]
        assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize("model", [*EVENTS, *COMMANDS], ids=lambda model: model.__name__)
def test_unknown_fields_are_refused(model: type[BaseModel]) -> None:
    assert model.model_config["extra"] == "forbid"
    assert model.model_config["frozen"]


@pytest.mark.parametrize("command", QUESTIONS_AND_JOBS, ids=lambda command: command.__name__)
def test_every_command_has_a_title(command: type[BaseCommand]) -> None:
    assert str(command.title)[0].isupper()
    assert not str(command.title).endswith(".")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_only_commands_that_change_a_run_set_its_state(command: type[BaseCommand]) -> None:
    assert command.changes_run or command.state_after is None
    assert not command.changes_run or "run" in command.model_fields


def test_commands_are_found_by_their_kind() -> None:
    assert commands.COMMANDS["train"] is commands.Train
    assert len(commands.COMMANDS) == len(COMMANDS)


def test_event_round_trips_through_json() -> None:
    problem = Problem(code="a.b", what="W.", remedy="R.", where=Where(step="lora", row=3))
    event = events.Failed(id="x", problem=problem)
    assert events.parse(events.to_line(event)) == event


def iter_models(kind: Any, seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """Yield every model in a type and in the fields of these models."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if kind not in seen:
            seen.add(kind)
            yield kind
            for field in kind.model_fields.values():
                yield from iter_models(field.annotation, seen)
        return
    for part in typing.get_args(kind):
        yield from iter_models(part, seen)


def test_models_of_events_write_infinity_as_they_read_it() -> None:
    for model in iter_models(events.Event, set()):
        for name, field in model.model_fields.items():
            is_finite = any(getattr(rule, "ge", getattr(rule, "gt", None)) is not None for rule in field.metadata)  # fmt: skip
            if "float" in str(field.annotation) and not is_finite:
                assert model.model_config.get("ser_json_inf_nan") == "strings", (model, name)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_message_with_odd_number_round_trips_through_json(value: float) -> None:
    message = text("The loss is {loss:loss}, {share:percent} of {name}.", loss=value, share=value, name="x")  # fmt: skip
    event = events.Warned(problem=Problem(code="a.b", what=message, remedy=text("Stop.")))
    parsed = events.parse(events.to_line(event))
    assert isinstance(parsed, events.Warned)
    assert str(parsed.problem.what) == str(message)


def test_command_round_trips_through_json() -> None:
    command = commands.Train(run="/a b/ü", resume=True)
    assert commands.parse(events.to_line(command)) == command


def test_hello_of_another_version_is_parsed() -> None:
    line = json.dumps(
        {"kind": "hello", "app_version": "99", "protocol": 99, "pid": 1, "mood": "good"}
    )
    hello = events.parse(line)
    assert isinstance(hello, events.Hello)
    assert hello.protocol == 99


@pytest.mark.parametrize(
    "line",
    ["", "{", "[]", '{"kind": "magic"}', '{"kind":"done","x":1}'],
    ids=["empty", "truncated", "list", "unknown-kind", "unknown-field"],
)
def test_invalid_event_line_is_refused(line: str) -> None:
    with pytest.raises(ValidationError):
        events.parse(line)


def test_nonfinite_loss_round_trips_through_json() -> None:
    event = events.StepDone(
        step=1, steps=2, epoch=0.5, loss=float("nan"), learning_rate=1e-4, grad_norm=float("inf"),
        tokens=3, tokens_per_s=1.0, memory_bytes=1,
    )  # fmt: skip
    again = events.parse(events.to_line(event))
    assert isinstance(again, events.StepDone)
    assert again.loss != again.loss
    assert again.grad_norm == float("inf")


def test_problem_text_has_what_where_and_remedy() -> None:
    problem = Problem(
        code="dataset.row", what="Row is odd.", remedy="Mend it.", where=Where(file="a.json", row=7)
    )
    assert str(problem) == "Row is odd. (a.json, row 7) Mend it."


@pytest.mark.parametrize(
    ("cls", "values", "old", "new"),
    [
        pytest.param(ModelEntry, ENTRY, {"licence": "mit"}, {"license": "mit"}, id="license"),
        pytest.param(ModelEntry, ENTRY, {"place": "hub"}, {"location": "hub"}, id="location"),
        pytest.param(
            events.ModelInspected,
            model_facts.model().model_dump(),
            {"licence": "mit"},
            {"license": "mit"},
            id="license-of-inspected-model",
        ),
        pytest.param(
            events.ShardWritten,
            {"file": "f", "number": 1, "of": 2, "bytes": 3},
            {"kept": True},
            {"reused": True},
            id="reused-shard",
        ),
    ],
)
def test_old_field_names_are_still_read(
    cls: type[BaseModel], values: dict[str, Any], old: dict[str, Any], new: dict[str, Any]
) -> None:
    others = {name: value for name, value in values.items() if name not in new}
    dumped = cls.model_validate(others | old).model_dump()
    assert new.items() <= dumped.items()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("dataset.tokenised", "dataset.tokenized"),
        ("lora.orthogonal_on_quantised", "lora.orthogonal_on_quantized"),
        ("merging.dequantised_base", "merging.dequantized_base"),
        ("merging.quantised_base", "merging.quantized_base"),
        ("model.sharding_quantised", "model.sharding_quantized"),
    ],
)
def test_old_spelling_of_problem_code_is_still_read(old: str, new: str) -> None:
    assert Problem.model_validate({"code": old, "what": "", "remedy": ""}).code == new


def test_kind_of_a_nested_object_does_not_decide() -> None:
    path = '{"path": "a", "kind": "progress"}'
    line = f'{{"files": {path}, "kind": "log", "text": "a", "id": "x"}}'
    with pytest.raises(ValidationError, match=r"log\.files"):
        events.parse(line)
    hidden = events.LogLine(id='"kind":"progress"', text="a")
    assert events.parse(events.to_line(hidden)) == hidden


def test_fix_is_kept_only_in_lines_of_a_worker(tmp_path: Path) -> None:
    fix = Fix(label=text("Fewer"), step="export", field="ollama_host", value="a.example")
    problem = Problem(code="a.b", what=text("A."), remedy=text("B."), fix=fix)
    for event in (events.Warned(problem=problem), events.Failed(problem=problem)):
        line = events.to_line(event)
        assert events.parse(line, is_own=True) == event
        run = RunFolder(tmp_path)
        run.events_file.write_text(f"{line}\n")
        readers = (run.iter_events(), run.iter_milestones(), WatchedRun(run).iter_events())
        for read in (next(iter(reader)) for reader in readers):
            assert isinstance(read, events.Warned | events.Failed)
            assert read.problem.code == "a.b"
            assert read.problem.fix is None


def test_fix_in_the_facts_of_an_evaluation_is_dropped(tmp_path: Path) -> None:
    fix = Fix(label=text("Fewer"), step="export", field="ollama_host", value="a.example")
    problem = Problem(code="a.b", what=text("A."), remedy=text("B."), fix=fix)
    facts = EvaluationFacts(test_sets=(TestSetReport(key="k", title="t", problem=problem),))
    folder = EvaluationFolder(tmp_path)
    folder.write_facts(facts)
    (report,) = folder.read_facts().test_sets
    assert report.problem is not None
    assert report.problem.fix is None
