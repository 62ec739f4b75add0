"""The metrics of a run: each step once, in order, even after killed workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lora_studio.core.curves import metrics
from lora_studio.core.project.project import Project
from lora_studio.core.protocol import events
from lora_studio.core.runs import folder


def step(number: int, loss: float = 1.0, **more: Any) -> events.StepDone:
    return events.StepDone(
        step=number, steps=100, epoch=number / 10, loss=loss, learning_rate=1e-4, grad_norm=0.5,
        tokens=64, tokens_per_s=10.0, memory_bytes=1, **more,
    )  # fmt: skip


def started(at: int) -> events.TrainingStarted:
    return events.TrainingStarted(steps=100, step=at, steps_per_epoch=10, effective_batch=4)


def test_resumed_steps_replace_those_of_a_killed_worker() -> None:
    series = metrics.build_series(
        [
            started(0), step(1, 4.0), step(2, 3.0), events.Evaluated(step=2, loss=3.5),
            events.CheckpointSaved(step=2, folder="x"), step(3, 9.0), step(4, 9.0),
            events.Evaluated(step=4, loss=9.0), started(2), step(3, 2.0),
        ]
    )  # fmt: skip
    assert series.loss == {1: 4.0, 2: 3.0, 3: 2.0}
    assert series.evaluations.get("loss") == {2: 3.5}
    assert series.marks == [(2, "checkpoint"), (2, "resumed")]


def test_steps_after_the_checkpoint_are_dropped_on_resume() -> None:
    series = metrics.build_series([started(0), step(1), step(2), started(1)])
    assert series.last_step == 1


def test_restarted_training_drops_earlier_metrics() -> None:
    recovered = events.Recovered(step=1, micro_batch=1, gradient_accumulation=4,
                                 gradient_checkpointing=False, why="w")  # fmt: skip
    series = metrics.build_series([started(0), step(1), recovered, started(0)])
    assert (series.last_step, series.marks) == (0, [])


def test_all_recoveries_of_a_step_are_kept() -> None:
    lower = [
        events.Recovered(step=1, micro_batch=size, gradient_accumulation=8 // size,
                         gradient_checkpointing=False, why="w")
        for size in (4, 2)
    ]  # fmt: skip
    series = metrics.build_series([started(0), step(1), *lower, step(2)])
    assert series.marks == [(1, "recovered")] * 2


def test_objective_metrics_get_their_own_series() -> None:
    series = metrics.build_series(
        [step(1, metrics={"accuracy": 0.5}), step(2, metrics={"accuracy": 1.0})]
    )
    assert series.steps.get("accuracy") == {1: 0.5, 2: 1.0}


def test_events_with_the_name_before_metrics_are_read() -> None:
    evaluated = events.Evaluated(step=1, loss=2.0, metrics={"accuracy": 0.5})
    for event in (step(1, metrics={"accuracy": 0.5}), evaluated):
        line = event.model_dump_json().replace('"metrics"', '"figures"')
        assert type(event).model_validate_json(line) == event


def test_csv_has_one_line_per_step() -> None:
    series = metrics.build_series(
        [step(1, 0.25), step(2, float("nan")), events.Evaluated(step=2, loss=3)]
    )
    lines = series.to_csv().splitlines()
    assert lines[0].startswith("step,epoch,loss,learning_rate")
    assert lines[1].split(",")[:3] == ["1", "0.1", "0.25"]
    assert lines[2].split(",")[2] == "nan"
    assert [line.split(",")[-1] for line in lines] == ["eval_loss", "", "3"]


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 8)), max_size=12))
def test_each_step_appears_once_after_repeated_kills(
    attempts: list[tuple[int, int]],
) -> None:
    """An attempt is (how many steps it goes back, how many steps it trains)."""
    stream: list[object] = [started(0)]
    reached = 0
    for back, count in attempts:
        begin = max(0, reached - back)
        stream.append(started(begin))
        stream += [step(number) for number in range(begin + 1, begin + count + 1)]
        reached = begin + count
    series = metrics.build_series(stream)
    assert list(series.loss) == list(range(1, reached + 1))


def test_metrics_are_read_from_the_run_folder(tmp_path: Path) -> None:
    run = folder.create_run(tmp_path, Project(name="x"), tmp_path)
    assert not metrics.read_metrics(run).loss
    run.events_file.write_text(events.to_line(step(1, 0.5)) + "\n")
    assert metrics.read_metrics(run).loss == {1: 0.5}
