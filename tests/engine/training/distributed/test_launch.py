"""Training in several processes: the result of one, and nothing left of it however it ends."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from lora_studio.client import worker as client_worker
from lora_studio.client.oom_supervisor import RestartingWorker
from lora_studio.core.curves import metrics
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.model.spec import ModelSpec, names_of
from lora_studio.core.project import checks
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.events import Event
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.training import combinations
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.devices import devices as device
from lora_studio.engine.training import checkpoint_files
from lora_studio.engine.training.distributed.ranks import DuplicateBatch, ProcessGroup
from lora_studio.engine.training.recipe import best_adapter
from lora_studio.engine.training.trainer_state import TrainerState
from tests.engine.conftest import TinyModel
from tests.helpers.jobs import handle, new_run, write_rows

ROWS = [
    {"instruction": f"What is {n} and {n}?", "output": f"It is {n + n}, said Pim.{' Yes.' * (n % 5)}"}
    for n in range(23)
]  # fmt: skip
PAIRS = [
    {"prompt": f"What is {n}?", "chosen": f"It is {n}, said Pim.", "rejected": f"No idea: {n}!"}
    for n in range(23)
]
LABELLED = [
    {"prompt": f"What is {n}?", "completion": f"It is {n}{'.' if n % 2 else '?'}", "label": n % 2 > 0}
    for n in range(23)
]  # fmt: skip


#: Put before the packages of every process of a training: it patches those of one kind.
_MISHAP = """
import gc, os, pathlib, sys, time
if "{module}" in sys.orig_argv:
    import {holder}
    own, calls = {holder}.{name}, []
    def other(*about, **how):
        calls.append(1)
        {before}
        found = own(*about, **how)
        {after}
        return found
    {holder}.{name} = other
"""


@pytest.fixture
def mishap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets something happen in a process of one kind, before or after a function does its work: at that
    moment and no other, however busy the machine is."""
    folder = tmp_path / "before"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)

    def arrange(module: str, holder: str, name: str, before: str = "", after: str = "") -> None:
        told = {"before": before or "pass", "after": after or "pass"}
        text = _MISHAP.format(module=module, holder=holder, name=name, **told)
        (folder / "sitecustomize.py").write_text(text)

    return arrange


@pytest.fixture
def misfortune(mishap: Callable[..., None]) -> Callable[..., None]:
    """Lets memory run out in a function, after it has done its work, at a certain call or calls."""

    def arrange(module: str, holder: str, name: str, when: str) -> None:
        mishap(module, holder, name, after=f"if len(calls) {when}: raise MemoryError")

    return arrange


@pytest.fixture
def start(tiny: TinyModel, tmp_path: Path) -> Callable[..., RunFolder]:
    """Makes a run of 19 rows for training, 4 for validation: the last step has 3 rows, not 4."""

    def make(
        device: str, rows: list[Any] = ROWS, sharding: str = "auto", **training: Any
    ) -> RunFolder:
        file = write_rows(tmp_path / "rows.jsonl", rows)
        recipe = {"epochs": 1, "micro_batch": 1, "gradient_accumulation": 4, "learning_rate": 5e-3}
        return new_run(
            tmp_path,
            model={
                "source": str(tiny("llama3")),
                "precision": "fp32",
                "device": device,
                "sharding": sharding,
            },
            dataset={"sources": [str(file)], "validation_share": 0.2, "max_length": 256},
            training=recipe | training,
            lora={"rank": 4, "alpha": 8},
        )

    return make


Start = Callable[..., RunFolder]


def train_in_worker(
    run: RunFolder, on_event: Callable[[Event, client_worker.Worker], None], *, resume: bool = False
) -> list[Any]:
    links: list[client_worker.Worker] = []
    found: list[Any] = []
    for event in client_worker.perform(
        commands.Train(run=str(run.path), resume=resume), links.append
    ):
        found.append(event)
        on_event(event, links[0])
    return found


def nothing(event: Event, worker: client_worker.Worker) -> None:
    pass


def of(found: list[Any], kind: type) -> list[Any]:
    return [event for event in found if isinstance(event, kind)]


def figures(found: list[Any]) -> dict[int, dict[str, float]]:
    return {e.step: {"loss": e.loss, "norm": e.grad_norm} | e.figures for e in of(found, events.StepDone)}  # fmt: skip


def on_device(run: RunFolder, device: str) -> None:
    """Lets a run go on elsewhere."""
    text = run.project_file.read_text("utf-8")
    before = run.load_project().model.device
    run.project_file.write_text(text.replace(f'"{before}"', f'"{device}"'), "utf-8")
    assert run.load_project().model.device == device


def gone(processes: list[psutil.Process], within: float = 120.0) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=within)
    return not [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "sharding"),
    [(ROWS, "replicate"), (PAIRS, "replicate"), (ROWS, "shard"), (LABELLED, "shard")],
    ids=["sft", "dpo", "sft divided", "kto divided"],
)
def test_two_processes_train_what_one_does_and_listen_to_this_computer_alone(
    start: Start, rows: list[Any], sharding: str
) -> None:
    alone, both = start("cpu", rows, eval_every=3), start("cpu:2", rows, sharding, eval_every=3)
    expected = handle(commands.Train(run=str(alone.path)))
    listening: list[str] = []

    def look(event: Event, worker: client_worker.Worker) -> None:
        if not isinstance(event, events.StepDone):
            return
        with contextlib.suppress(psutil.NoSuchProcess):  # by now they may have ended
            processes = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children()]
            listening.extend(
                connection.laddr.ip
                for process in processes
                for connection in process.net_connections()
                if connection.status == psutil.CONN_LISTEN
            )

    found = train_in_worker(both, look)
    assert of(found, events.Done), (str(found[-1].problem.what), both.log_file.read_text())
    own = figures(expected.events)
    for step, values in figures(found).items():
        assert values == pytest.approx(own[step], rel=1e-4, abs=1e-6)
    assert list(figures(found)) == [1, 2, 3, 4, 5]
    losses = [(e.step, e.loss, e.figures) for e in expected.of(events.Evaluated)]
    for event, (step, loss, others) in zip(of(found, events.Evaluated), losses, strict=True):
        assert (event.step, event.loss) == (step, pytest.approx(loss, rel=1e-4))
        assert event.figures == pytest.approx(others, rel=1e-4, abs=1e-6)
    weights = load_file(alone.adapter / "adapter_model.safetensors")
    for name, value in load_file(both.adapter / "adapter_model.safetensors").items():
        torch.testing.assert_close(value, weights[name], rtol=1e-3, atol=2e-5)
    assert set(listening) <= {"127.0.0.1", "::1"}
    assert both.state() == "trained"


@pytest.mark.slow
def test_a_training_of_two_processes_is_paused_and_goes_on_in_one(
    start: Start, mishap: Callable[..., None]
) -> None:
    alone, both = start("cpu", epochs=2), start("cpu:2", epochs=2)
    handle(commands.Train(run=str(alone.path)))
    # The wish comes while its third step computes: ten are soon done.
    asked = "any(type(o).__name__ == 'Flags' and o.pause.is_set() for o in gc.get_objects())"
    wait = f"while len(calls) == 6 and not {asked}: time.sleep(0.02)"
    mishap(
        "lora_studio.engine",
        "lora_studio.engine.training.recipe.objectives",
        "Sft.loss",
        before=wait,
    )

    def pause(event: Event, worker: client_worker.Worker) -> None:
        if isinstance(event, events.StepDone) and event.step < 8:
            worker.send(commands.Pause(target=event.id))

    found = train_in_worker(both, pause)
    assert of(found, events.Done)[0].paused
    (step,) = both.checkpoint_steps()
    assert 0 < step < 10
    on_device(both, "cpu")
    rest = handle(commands.Train(run=str(both.path), resume=True))
    assert rest.last(events.TrainingStarted).step == step
    weights = load_file(alone.adapter / "adapter_model.safetensors")
    for name, value in load_file(both.adapter / "adapter_model.safetensors").items():
        torch.testing.assert_close(value, weights[name], rtol=1e-3, atol=5e-5)


@pytest.mark.slow
def test_the_best_that_a_checkpoint_knows_of_is_deleted_by_no_other_process(start: Start) -> None:
    run = start("cpu:2", epochs=1000.0, eval_every=1, save_every=3, keep_best=True, sample_rows=0)

    def end(event: Event, worker: client_worker.Worker) -> None:
        if isinstance(event, events.Evaluated) and event.step == 5:
            os.kill(worker.pid, signal.SIGKILL)

    found = train_in_worker(run, end)
    assert found[-1].problem.code == "worker.crashed"
    last = checkpoint_files.read_checkpoint(run.checkpoint(run.checkpoint_steps()[-1]))
    state = TrainerState.from_checkpoint(last.entries, run.load_project().training)
    best = best_adapter.best_evaluation(state.evaluations)
    assert best is not None
    assert (run.best_adapter(best.step) / "adapter_model.safetensors").is_file()


@pytest.mark.slow
def test_nothing_survives_a_killed_first_process_a_killed_second_one_or_a_cancel(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start("cpu:2", epochs=1000.0, save_every=5, eval_every=1000)
    others: list[psutil.Process] = []

    def at_step(act: Callable[[events.StepDone, client_worker.Worker], None]) -> Any:
        acted: list[int] = []

        def on_event(event: Event, worker: client_worker.Worker) -> None:
            if isinstance(event, events.StepDone) and run.checkpoint_steps() and not acted:
                acted.append(event.step)
                others[:] = psutil.Process(worker.pid).children()
                act(event, worker)

        return on_event

    # `kill -9` of the first process alone, with nobody who could clean up behind it.
    found = train_in_worker(run, at_step(lambda _, worker: os.kill(worker.pid, signal.SIGKILL)))
    assert len(others) == 1
    assert gone(others)
    assert found[-1].problem.code == "worker.crashed"

    # The same of the second one: the first names it and ends in good order.
    found = train_in_worker(run, at_step(lambda *_: others[0].kill()), resume=True)
    assert found[-1].problem.code == "training.rank_died"
    assert "(2 of 2) was killed by signal 9" in str(found[-1].problem.what)
    assert run.state() == "failed"

    # Heeded, not enforced: the worker itself says so.
    monkeypatch.setattr(client_worker, "CANCEL_SECONDS", 600)
    found = train_in_worker(
        run, at_step(lambda event, worker: worker.cancel(event.id)), resume=True
    )
    assert of(found, events.Cancelled)
    assert list(run.events())[-1].kind == "cancelled"
    assert gone(others)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs parents that die alone")
def test_a_second_process_that_fails_says_what_and_where(
    start: Start, mishap: Callable[..., None]
) -> None:
    run = start("cpu:2")
    # Gone before the second process reads it, after the first one has.
    lose = f"pathlib.Path({run.load_project().dataset.sources[0].path!r}).unlink()"
    mishap(
        "lora_studio.engine.worker_rank",
        "lora_studio.engine.training.train_run",
        "follow",
        before=lose,
    )
    found = train_in_worker(run, nothing)
    assert str(found[-1].problem.what).startswith(
        "The process on cpu (2 of 2) stopped with an error: "
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "step"), [(1, 0), (4, 2)], ids=["before a checkpoint", "after a checkpoint"]
)
def test_an_optimizer_that_runs_out_of_memory_in_one_process_takes_both_back(
    start: Start, misfortune: Callable[..., None], call: int, step: int
) -> None:
    recipe = {"micro_batch": 2, "gradient_accumulation": 2, "save_every": 2}
    alone, both = start("cpu", **recipe), start("cpu:2", **recipe)
    expected = figures(handle(commands.Train(run=str(alone.path))).events)
    misfortune("lora_studio.engine.worker_rank", "torch.optim", "AdamW.step", f"== {call}")
    found = train_in_worker(both, nothing)
    assert of(found, events.Done), found[-1]
    assert [(e.step, e.micro_batch) for e in of(found, events.Recovered)] == [(step, 1)]
    for number, values in figures(found).items():  # of each step the last time
        assert values == pytest.approx(expected[number], rel=1e-4, abs=1e-6)
    assert list(figures(found)) == list(expected)


@pytest.mark.slow
@pytest.mark.parametrize("module", ["lora_studio.engine", "lora_studio.engine.worker_rank"])
def test_divided_weights_begin_anew_with_less_where_memory_runs_out_in_any_process(
    start: Start, misfortune: Callable[..., None], module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = {"micro_batch": 2, "gradient_accumulation": 2, "save_every": 2}
    alone, both = start("cpu", **recipe), start("cpu:2", ROWS, "shard", **recipe)
    expected = figures(handle(commands.Train(run=str(alone.path))).events)
    # A pass for the probe, one for each of two steps; the next process has fewer rows in each.
    misfortune(
        module,
        "lora_studio.engine.training.recipe.objectives",
        "Sft.loss",
        "== 4 and len(about[1]) > 1",
    )
    command = commands.Train(run=str(both.path))
    found = list(client_worker.perform(command, start=RestartingWorker.start))
    assert of(found, events.Done), found[-1]
    (warned,) = [e for e in of(found, events.Warned) if e.problem.code == "worker.out_of_memory"]
    assert "from the checkpoint at step 2 with a lower memory setting" in str(warned.problem.remedy)
    assert [e.micro_batch for e in of(found, events.Recovered)] == [1]
    for number, values in figures(found).items():
        assert values == pytest.approx(expected[number], rel=1e-4, abs=1e-6)
    assert list(figures(found)) == list(expected)


@pytest.mark.slow
def test_divided_weights_begin_anew_where_memory_runs_out_ahead_of_a_step_of_labelled_answers(
    start: Start, misfortune: Callable[..., None]
) -> None:
    recipe = {"micro_batch": 2, "gradient_accumulation": 2, "save_every": 2}
    both = start("cpu:2", LABELLED, "shard", **recipe)
    # Two passes in the probe and in each step: the first of them looks ahead.
    misfortune("lora_studio.engine.worker_rank", "lora_studio.engine.training.recipe.objectives", "Kto._rewards",
               "== 7 and len(about[1]) > 1")  # fmt: skip
    command = commands.Train(run=str(both.path))
    found = list(client_worker.perform(command, start=RestartingWorker.start))
    assert of(found, events.Done), found[-1]
    assert [e.micro_batch for e in of(found, events.Recovered)] == [1]
    assert list(figures(found)) == [1, 2, 3, 4, 5]


@pytest.mark.slow
def test_a_second_process_that_is_killed_at_odd_moments_is_named_and_training_goes_on(
    start: Start, mishap: Callable[..., None]
) -> None:
    run = start("cpu:2", eval_every=2, save_every=2)
    functions = (("train_run", "follow"), ("trainer", "Trainer._evaluate"))
    for attempt, (module, name) in enumerate(functions):
        holder, kill = f"lora_studio.engine.training.{module}", "os.kill(os.getpid(), 9)"
        mishap("lora_studio.engine.worker_rank", holder, name, before=kill)
        found = train_in_worker(run, nothing, resume=attempt > 0)
        assert found[-1].problem.code == "training.rank_died"
    mishap("none", "lora_studio.engine.training.trainer", "Trainer._evaluate")
    found = train_in_worker(run, nothing, resume=True)
    assert of(found, events.Done), found[-1]
    assert list(metrics.read_metrics(run).loss.steps) == [1, 2, 3, 4, 5]


@pytest.mark.slow
def test_divided_weights_answer_sample_prompts_like_those_of_one_process(start: Start) -> None:
    recipe = {"sample_prompts": ("What is 3 and 3?", "Who?"), "sample_tokens": 8}
    alone, both = start("cpu", **recipe), start("cpu:2", ROWS, "shard", **recipe)
    told = handle(commands.Train(run=str(alone.path))).of(events.Sampled)
    found = of(train_in_worker(both, nothing), events.Sampled)
    assert len(told) >= 4
    assert [(e.step, e.index, e.source, e.text) for e in found] == [
        (e.step, e.index, e.source, e.text) for e in told
    ]


# --- in this process ------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("batches", [1, 2, 4, 7])
def test_every_micro_batch_is_computed_once(count: int, batches: int) -> None:
    shares = [ProcessGroup(index, count).local_batches(range(batches)) for index in range(count)]
    assert sorted(item for share in shares for item in share) == list(range(batches))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def _spellings() -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "auto", ("auto",)
    yield "cpu", ("cpu",)
    yield "cpu:3", ("cpu", "cpu", "cpu")
    yield "cuda:1", ("cuda:1",)
    yield "cuda:0,cuda:2", ("cuda:0", "cuda:2")


@pytest.mark.parametrize(("text", "names"), _spellings())
def test_a_device_setting_names_one_device_for_each_process(
    text: str, names: tuple[str, ...]
) -> None:
    assert ModelSpec(device=text).devices == names_of(text) == names


@pytest.mark.parametrize(
    "text", ["cuda,cuda:1", "cpu:0", "cpu:100", "cuda:0,", "cpu,cuda:0", "gpu"]
)
def test_other_device_settings_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="device"):
        ModelSpec(device=text)


def test_a_device_named_twice_is_a_problem_with_a_fix() -> None:
    found = checks._check_devices(ModelSpec(device="cuda:0,cuda:1,cuda:0"))
    assert [(p.code, p.fix.value) for p in found if p.fix] == [
        ("model.device_twice", "cuda:0,cuda:1")
    ]
    assert not checks._check_devices(ModelSpec(device="cpu:2"))


def test_what_runs_in_one_process_uses_the_first_of_several_devices() -> None:
    assert device.choose_device("cpu:2") == torch.device("cpu")


def test_with_divided_weights_every_rank_computes_as_many_passes() -> None:
    batches = [[row] for row in range(5)]
    shares = [ProcessGroup(index, 2, is_sharded=True).local_batches(batches) for index in range(2)]
    assert [len(share) for share in shares] == [3, 3]
    counted = [rows for share in shares for rows in share if not isinstance(rows, DuplicateBatch)]
    assert sorted(counted) == batches


def test_quantised_weights_are_not_divided() -> None:
    model = ModelSpec(source="m", precision="4bit", device="cuda:0,cuda:1", sharding="shard")
    found = combinations.check(model, LoraSpec(), TrainingSpec())
    assert [problem.code for problem in found] == ["model.sharding_quantised"]
