"""Trackers: each step is logged once, also after a resume, and a failure doesn't end training."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.protocol.events import Event
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.runtime.channel import Flags
from lora_studio.engine.training import trackers
from tests.engine.conftest import TinyModel
from tests.helpers.runs.jobs import new_run, recorded_job, train, write_rows
from tests.helpers.runs.wandb_file import records

ROWS: list[Any] = [
    {"instruction": f"What is {n} and {n}?", "output": f"It is {n + n}, said Pim."}
    for n in range(16)
]


def needs(package: str) -> Any:
    is_there = importlib.util.find_spec(package) is not None
    return pytest.mark.skipif(not is_there, reason=f"{package} is not installed")


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(trackers, "_TIMEOUT", 900.0)  # a busy machine imports these for a minute


def make_run(folder: Path, tiny: TinyModel, *chosen: str) -> RunFolder:
    rows = write_rows(folder / "rows.jsonl", ROWS)
    return new_run(
        folder,
        model={"source": str(tiny("llama3")), "precision": "fp32", "device": "cpu"},
        dataset={"sources": [str(rows)], "validation_share": 0.2, "max_length": 256},
        lora={"rank": 4, "alpha": 8},
        training={
            "epochs": 2, "micro_batch": 2, "gradient_accumulation": 2, "eval_every": 2,
            "save_every": 2, "trackers": chosen,
        },
    )  # fmt: skip


def train_with_a_break(run: RunFolder) -> dict[int, float]:
    """Cancel after step 3, resume from the checkpoint of step 2, and return the losses."""

    def cancel(event: Event, flags: Flags) -> None:
        if isinstance(event, events.StepDone) and event.step == 3:
            flags.cancel.set()

    first = train(run, cancel)
    assert first.of(events.Cancelled)
    second = train(run, resume=True)
    assert second.of(events.Done), second.events[-1]
    assert second.of(events.StepDone)[0].step == 3
    assert not second.of(events.Warned), second.of(events.Warned)
    steps = [*first.of(events.StepDone), *second.of(events.StepDone)]
    return {event.step: event.loss for event in steps}


def from_tensorboard(run: RunFolder, name: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = EventAccumulator(str(run.trackers / "tensorboard"))
    result.Reload()
    return [(entry.step, entry.value) for entry in result.Scalars(name)]


def make_info(run: RunFolder) -> trackers.TrackerInfo:
    return trackers.TrackerInfo(run, Project(name="p"), 1)


def test_id_of_a_run_is_not_read_from_another_file(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.trackers.mkdir(parents=True)
    secret = tmp_path / ".netrc"
    secret.write_text("machine-a-password-b")
    file = run.trackers / "wandb-run.txt"
    file.symlink_to(secret)
    assert make_info(run).run_id("wandb", lambda: "new1") == "new1"
    assert (secret.read_text(), file.read_text()) == ("machine-a-password-b", "new1")
    assert make_info(run).run_id("wandb", lambda: "new2") == "new1"


@pytest.mark.parametrize("stored", ["", "../../x", "a b", "a" * 65, "x\ny", "\x00", "é"])
def test_only_an_id_is_sent_to_a_tracker(stored: str, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.trackers.mkdir()
    (run.trackers / "mlflow-run.txt").write_text(stored)
    assert make_info(run).run_id("mlflow", lambda: "new1") == "new1"


def test_password_of_a_tracker_is_in_no_event_and_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address = "http://pim:pa55-w0rd@127.0.0.1:9/path"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    job, recorder = recorded_job()

    def refuse(info: trackers.TrackerInfo) -> trackers.TrackerSink:
        raise ConnectionError(f"{'x' * 290} {address} refused 'pa55-w0rd'")

    monkeypatch.setitem(trackers.SINKS, "mlflow", refuse)
    project = Project.model_validate({"name": "p", "training": {"trackers": ["mlflow"]}})
    with trackers.mirror_metrics(RunFolder(tmp_path), project, job, resume=False):
        for listener in job.listeners:
            listener(events.TrainingStarted(steps=1, steps_per_epoch=1, effective_batch=1))
    (warned,) = recorder.of(events.Warned)
    assert warned.problem.code == "training.tracker_failed"
    printed = capsys.readouterr().err
    assert "ConnectionError" in printed
    for text in (events.to_line(warned), printed):
        assert "pa55" not in text


@pytest.mark.slow
@needs("mlflow")
def test_mlflow_gets_a_password_apart_from_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://pim:pa55-w0rd@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(Exception, match=r"127\.0\.0\.1") as caught:
        trackers.SINKS["mlflow"](make_info(RunFolder(tmp_path)))
    assert "pa55" not in str(caught.value)
    names = ("URI", "USERNAME", "PASSWORD")
    assert [os.environ[f"MLFLOW_TRACKING_{name}"] for name in names] == [
        "http://127.0.0.1:9", "pim", "pa55-w0rd",
    ]  # fmt: skip


@pytest.mark.slow
@needs("tensorboard")
def test_tensorboard_has_each_step_once_after_a_resume(tmp_path: Path, tiny: TinyModel) -> None:
    run = make_run(tmp_path, tiny, "tensorboard")
    losses = train_with_a_break(run)
    result = from_tensorboard(run, "train/loss")
    assert [step for step, _ in result] == sorted(losses)
    assert [value for _, value in result] == pytest.approx(
        [losses[step] for step in sorted(losses)]
    )
    assert [step for step, _ in from_tensorboard(run, "eval/loss")] == [2, 4, 6, 8]


@pytest.mark.slow
@needs("mlflow")
def test_mlflow_has_each_step_once_after_a_resume(
    tmp_path: Path, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    run = make_run(tmp_path, tiny, "mlflow")
    losses = train_with_a_break(run)
    from mlflow import MlflowClient

    client = MlflowClient((run.trackers / "mlflow").resolve().as_uri())
    (result,) = client.search_runs([client.get_experiment_by_name("test").experiment_id])
    history = client.get_metric_history(result.info.run_id, "train/loss")
    assert [metric.step for metric in history] == sorted(losses)
    assert [metric.value for metric in history] == [losses[step] for step in sorted(losses)]
    assert result.data.params["lora.rank"] == "4"
    assert result.data.params["model.precision"] == "fp32"
    assert result.data.params["dataset.max_length"] == "256"


@pytest.mark.slow
@needs("mlflow")
def test_mlflow_takes_any_name_of_a_reward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    client = MlflowClient((tmp_path / "mlflow").resolve().as_uri())
    created = client.create_run(client.create_experiment("test"))
    own = ("Right (form), ü", "Right?", "Right!", ".", "..")
    cleaned: dict[str, str] = {}
    names = [trackers.clean_metric_name(f"train/reward/{name}", cleaned) for name in own]
    assert list(cleaned.values()) == names
    assert trackers.clean_metric_name("train/reward/Right!", cleaned) == names[2]
    for name in names:
        client.log_metric(created.info.run_id, name, 0.5)
    assert set(client.get_run(created.info.run_id).data.metrics) == set(names)
    titles = ("Right _form__ ü", "Right_", "Right__2", "_", "__")
    assert names == [f"train/reward/{title}" for title in titles]


@pytest.mark.slow
@needs("mlflow")
def test_mlflow_shows_paused_canceled_and_finished_runs(
    tmp_path: Path, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    run = make_run(tmp_path, tiny, "mlflow")
    statuses: list[str] = []

    def status() -> str:
        client = MlflowClient((run.trackers / "mlflow").resolve().as_uri())
        (result,) = client.search_runs([client.get_experiment_by_name("test").experiment_id])
        return str(result.info.status)

    def wish(flag: str, step: int) -> Callable[[Event, Flags], None]:
        def on_event(event: Event, flags: Flags) -> None:
            if isinstance(event, events.StepDone) and event.step == step:
                if step > 2:
                    statuses.append(status())
                getattr(flags, flag).set()

        return on_event

    assert train(run, wish("pause", 2)).last(events.Done).paused
    assert status() == "SCHEDULED"
    assert train(run, wish("cancel", 4), resume=True).of(events.Cancelled)
    assert status() == "KILLED"
    assert train(run, resume=True).of(events.Done)
    assert status() == "FINISHED"
    assert statuses == ["RUNNING"]


@pytest.mark.slow
def test_steps_repeated_after_oom_are_logged_once(
    tmp_path: Path, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[int] = []

    class RecordingSink:
        purges = True

        def __init__(self, about: trackers.TrackerInfo) -> None:
            pass

        def log(self, step: int, values: Any) -> None:
            if "train/loss" in values:
                logged.append(step)

        def close(self, outcome: trackers.Outcome) -> None:
            assert outcome == "finished"

    update, failures = torch.optim.AdamW.step, [3]

    def step(self: torch.optim.AdamW, *arguments: Any) -> Any:
        done = max((int(state["step"]) for state in self.state.values()), default=0)
        if done in failures:
            failures.remove(done)
            raise MemoryError
        return update(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    monkeypatch.setitem(trackers.SINKS, "tensorboard", RecordingSink)
    channel = train(make_run(tmp_path, tiny, "tensorboard"))
    assert channel.last(events.Recovered).step == 2
    assert [event.step for event in channel.of(events.StepDone)] == [1, 2, 3, *range(3, 9)]
    assert logged == list(range(1, 9))


@pytest.mark.slow
def test_restarted_training_is_logged_anew(
    tmp_path: Path, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[int] = []

    class RecordingSink:
        purges = False

        def __init__(self, about: trackers.TrackerInfo) -> None:
            pass

        def log(self, step: int, values: Any) -> None:
            logged.append(step)

        def close(self, outcome: trackers.Outcome) -> None:
            pass

    monkeypatch.setitem(trackers.SINKS, "tensorboard", RecordingSink)
    run = make_run(tmp_path, tiny, "tensorboard")
    train(run)
    first, logged[:] = list(logged), []
    train(run, resume=True)
    assert not logged
    train(run)
    assert logged == first


@needs("wandb")
@pytest.mark.slow
def test_wandb_logs_offline_without_a_login(tmp_path: Path, tiny: TinyModel) -> None:
    run = make_run(tmp_path, tiny, "wandb")
    losses = train_with_a_break(run)
    steps = []
    for file in sorted(run.trackers.glob("wandb/offline-run-*/*.wandb")):
        for record in records(file):
            names = [item.key or "/".join(item.nested_key) for item in record.history.item]
            if "train/loss" in names:
                steps.append(record.history.step.num)
    assert steps == sorted(losses)


def test_missing_tracker_package_is_reported_with_a_fix(
    tmp_path: Path, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "get_missing_packages", lambda: ("mlflow",))
    channel = train(make_run(tmp_path, tiny, "tensorboard", "mlflow"))
    problem = channel.last(events.Failed).problem
    assert problem.code == "training.no_tracker"
    assert "pip install mlflow-skinny" in str(problem.remedy)
    assert problem.fix is not None
    assert problem.fix.value == ["tensorboard"]
    assert not channel.of(events.ModelLoaded)


@pytest.mark.slow
def test_failing_tracker_is_reported_once_and_training_continues(
    tmp_path: Path, tiny: TinyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        purges = True

        def __init__(self, about: trackers.TrackerInfo) -> None:
            pass

        def log(self, step: int, values: Any) -> None:
            raise ConnectionError("the server has gone\nwith details")

        def close(self, outcome: trackers.Outcome) -> None:
            raise AssertionError("closed although it had failed")

    monkeypatch.setattr(trackers, "get_missing_packages", tuple)
    monkeypatch.setitem(trackers.SINKS, "wandb", Refusing)
    run = make_run(tmp_path, tiny, "wandb")
    channel = train(run)
    assert channel.of(events.Done)
    problems = [event.problem for event in channel.of(events.Warned)]
    assert [problem.code for problem in problems] == ["training.tracker_failed"]
    assert "the server has gone." in str(problems[0].what)
    assert len(channel.of(events.StepDone)) == 8
