"""Training in several processes: same result as one, and no process left however it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch.distributed import distributed_c10d

from lora_studio.client import worker as client_worker
from lora_studio.client.oom_supervisor import RestartingWorker
from lora_studio.core import limits
from lora_studio.core.curves import metrics
from lora_studio.core.lora.spec import LoraSpec
from lora_studio.core.model.spec import ModelSpec, list_device_names
from lora_studio.core.project import checks
from lora_studio.core.project.project import Draft
from lora_studio.core.protocol import commands, events
from lora_studio.core.protocol.events import Event
from lora_studio.core.runs.folder import RunFolder
from lora_studio.core.training import combinations
from lora_studio.core.training.spec import TrainingSpec
from lora_studio.engine.devices import devices as device
from lora_studio.engine.devices.ranks import DuplicateBatch, ProcessGroup
from lora_studio.engine.runtime.failures import CancelledError
from lora_studio.engine.training import best_adapter, checkpoint_files, train_run
from lora_studio.engine.training.distributed import launch
from lora_studio.engine.training.trainer_state import TrainerState
from tests.engine.conftest import TinyModel
from tests.helpers.models.tiny_models import make_teacher
from tests.helpers.runs.jobs import handle, make_job, new_run, write_rows

ROWS = [
    {"instruction": f"What is {n} and {n}?", "output": f"It is {n + n}, said Pim.{' Yes.' * (n % 5)}"}
    for n in range(23)
]  # fmt: skip
PAIRS = [
    {"prompt": f"What is {n}?", "chosen": f"It is {n}, said Pim.", "rejected": f"No idea: {n}!"}
    for n in range(23)
]
LABELED = [
    {"prompt": f"What is {n}?", "completion": f"It is {n}{'.' if n % 2 else '?'}", "label": n % 2 > 0}
    for n in range(23)
]  # fmt: skip

SEARCH = [{"query": f"Where is {n}?", "positive": f"{n} is in room {n + 1}."} for n in range(23)]
PROMPTS = [{"prompt": f"What is {n} and {n}?", "reference": str(2 * n)} for n in range(23)]
#: Prefers short answers.
_REWARD = {"kind": "length", "max_length": 5, "length_unit": "characters", "length_margin": 40}
GRPO: dict[str, Any] = {
    "group_size": 4, "rollout_tokens": 8, "rewards": [_REWARD], "kl_beta": 0.1, "rollout_passes": 2,
    "learning_rate": 1e-3,
}  # fmt: skip


#: A teacher of its own for each test.
TEACHER = {"teacher": "own", "teacher_precision": "fp32"}

#: A sitecustomize for every process of a training run; it patches the processes of one module.
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
def patch_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run code before or after a function in the processes of one module, independent of timing."""
    folder = tmp_path / "before"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)

    def arrange(module: str, holder: str, name: str, before: str = "", after: str = "") -> None:
        hooks = {"before": before or "pass", "after": after or "pass"}
        text = _MISHAP.format(module=module, holder=holder, name=name, **hooks)
        (folder / "sitecustomize.py").write_text(text)

    return arrange


@pytest.fixture
def raise_memory_error(patch_process: Callable[..., None]) -> Callable[..., None]:
    """Raise MemoryError at the end of a function, at the given calls."""

    def arrange(module: str, holder: str, name: str, when: str) -> None:
        patch_process(module, holder, name, after=f"if len(calls) {when}: raise MemoryError")

    return arrange


@pytest.fixture
def start(tiny: TinyModel, tmp_path: Path) -> Callable[..., RunFolder]:
    """Create runs with 19 training and 4 validation rows: the last step has 3 rows instead of 4."""

    def make(
        device: str, rows: list[Any] = ROWS, sharding: str = "auto", **training: Any
    ) -> RunFolder:
        source = {"path": str(write_rows(tmp_path / "rows.jsonl", rows))}
        if rows is PROMPTS:
            source["format"] = "prompts"
        recipe = {"epochs": 1, "micro_batch": 1, "gradient_accumulation": 4, "learning_rate": 5e-3}
        if training.get("teacher"):
            training["teacher"] = str(teacher := tmp_path / "teacher")
            if not teacher.exists():
                make_teacher(tiny("llama3"), teacher)
        return new_run(
            tmp_path,
            model={
                "source": str(tiny("llama3")),
                "precision": "fp32",
                "device": device,
                "sharding": sharding,
            },
            dataset={"sources": [source], "validation_share": 0.2, "max_length": 256},
            training=recipe | training,
            lora={"rank": 4, "alpha": 8},
        )

    return make


Start = Callable[..., RunFolder]


def train_in_worker(
    run: RunFolder, on_event: Callable[[Event, client_worker.Worker], None], *, resume: bool = False
) -> list[Any]:
    links: list[client_worker.Worker] = []
    sent: list[Any] = []
    for event in client_worker.perform(
        commands.Train(run=str(run.path), resume=resume), links.append
    ):
        sent.append(event)
        on_event(event, links[0])
    return sent


def ignore(event: Event, worker: client_worker.Worker) -> None:
    pass


def events_of(sent: list[Any], kind: type) -> list[Any]:
    return [event for event in sent if isinstance(event, kind)]


def step_metrics(sent: list[Any]) -> dict[int, dict[str, float]]:
    return {e.step: {"loss": e.loss, "norm": e.grad_norm} | e.metrics for e in events_of(sent, events.StepDone)}  # fmt: skip


def change_device(run: RunFolder, device: str) -> None:
    """Change the device of a run."""
    project = run.load_project()
    model = project.model.model_copy(update={"device": device})
    run.write_project(project.model_copy(update={"model": model}))


def have_ended(processes: list[psutil.Process], within: float = 120.0) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=within)
    return not [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "sharding", "recipe"),
    [
        pytest.param(ROWS, "replicate", {}, id="sft"),
        pytest.param(PAIRS, "replicate", {"dpo_loss": "ipo"}, id="dpo", marks=pytest.mark.thorough),
        pytest.param(PAIRS, "replicate", {"preference": "simpo"}, id="simpo", marks=pytest.mark.thorough),
        pytest.param(PAIRS, "replicate", {"preference": "reward"}, id="reward", marks=pytest.mark.thorough),
        pytest.param(PAIRS, "shard", {"preference": "reward"}, id="reward sharded", marks=pytest.mark.thorough),
        pytest.param(SEARCH, "replicate", {}, id="embedding", marks=pytest.mark.thorough),
        pytest.param(SEARCH, "shard", {}, id="embedding sharded", marks=pytest.mark.thorough),
        pytest.param(ROWS, "shard", {}, id="sft sharded", marks=pytest.mark.thorough),
        pytest.param(LABELED, "shard", {}, id="kto sharded", marks=pytest.mark.thorough),
        pytest.param(ROWS, "replicate", TEACHER, id="teacher", marks=pytest.mark.thorough),
        pytest.param(ROWS, "shard", TEACHER, id="teacher sharded", marks=pytest.mark.thorough),
        pytest.param(PROMPTS, "replicate", GRPO, id="grpo"),
        pytest.param(PROMPTS, "shard", GRPO, id="grpo sharded", marks=pytest.mark.thorough),
    ],
)  # fmt: skip
def test_two_processes_match_one_and_listen_only_locally(
    start: Start, rows: list[Any], sharding: str, recipe: dict[str, Any]
) -> None:
    recipe = {"eval_every": 3, **recipe}
    alone, both = start("cpu", rows, **recipe), start("cpu:2", rows, sharding, **recipe)
    expected = handle(commands.Train(run=str(alone.path)))
    listening: list[str] = []

    def look(event: Event, worker: client_worker.Worker) -> None:
        if not isinstance(event, events.StepDone):
            return
        with contextlib.suppress(psutil.NoSuchProcess):  # they may have exited
            processes = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children()]
            listening.extend(
                connection.laddr.ip
                for process in processes
                for connection in process.net_connections()
                if connection.status == psutil.CONN_LISTEN
            )

    sent = train_in_worker(both, look)
    assert events_of(sent, events.Done), (str(sent[-1].problem.what), both.log_file.read_text())
    own = step_metrics(expected.events)
    for step, values in step_metrics(sent).items():
        assert values == pytest.approx(own[step], rel=1e-4, abs=1e-6)
    assert list(step_metrics(sent)) == [1, 2, 3, 4, 5]
    if rows is ROWS and "teacher" not in recipe:
        log = [str(event.text) for event in events_of(sent, events.LogLine)]
        assert any("Short rows share micro-batches" in text for text in log)
    losses = [(e.step, e.loss, e.metrics) for e in expected.of(events.Evaluated)]
    for event, (step, loss, others) in zip(events_of(sent, events.Evaluated), losses, strict=True):
        assert (event.step, event.loss) == (step, pytest.approx(loss, rel=1e-4))
        assert event.metrics == pytest.approx(others, rel=1e-4, abs=1e-6)
    weights = load_file(alone.adapter / "adapter_model.safetensors")
    for name, value in load_file(both.adapter / "adapter_model.safetensors").items():
        torch.testing.assert_close(value, weights[name], rtol=1e-3, atol=2e-5)
    assert set(listening) <= {"127.0.0.1", "::1"}
    assert both.read_state() == "trained"


@pytest.mark.slow
def test_run_of_two_processes_pauses_and_resumes_in_one(
    start: Start, patch_process: Callable[..., None]
) -> None:
    alone, both = start("cpu", epochs=2), start("cpu:2", epochs=2)
    handle(commands.Train(run=str(alone.path)))
    # The pause arrives during the third of ten steps.
    pause_arrived = (
        "any(type(o).__name__ == 'Flags' and o.pause.is_set() for o in gc.get_objects())"
    )
    wait = f"while len(calls) == 6 and not {pause_arrived}: time.sleep(0.02)"
    patch_process(
        "lora_studio.engine",
        "lora_studio.engine.tasks.supervised",
        "Sft.compute_loss",
        before=wait,
    )

    def pause(event: Event, worker: client_worker.Worker) -> None:
        if isinstance(event, events.StepDone) and event.step < 8:
            worker.send(commands.Pause(target=event.id))

    sent = train_in_worker(both, pause)
    assert events_of(sent, events.Done)[0].paused
    (step,) = both.list_checkpoint_steps()
    assert 0 < step < 10
    change_device(both, "cpu")
    rest = handle(commands.Train(run=str(both.path), resume=True))
    assert rest.last(events.TrainingStarted).step == step
    weights = load_file(alone.adapter / "adapter_model.safetensors")
    for name, value in load_file(both.adapter / "adapter_model.safetensors").items():
        torch.testing.assert_close(value, weights[name], rtol=1e-3, atol=5e-5)


@pytest.mark.thorough
@pytest.mark.slow
def test_best_adapter_of_a_checkpoint_is_not_deleted(start: Start) -> None:
    run = start("cpu:2", epochs=1000.0, eval_every=1, save_every=3, keep_best=True, sample_rows=0)

    def end(event: Event, worker: client_worker.Worker) -> None:
        if isinstance(event, events.Evaluated) and event.step == 5:
            os.kill(worker.pid, signal.SIGKILL)

    sent = train_in_worker(run, end)
    assert sent[-1].problem.code == "worker.crashed"
    last = checkpoint_files.read_checkpoint(run.checkpoint(run.list_checkpoint_steps()[-1]))
    spec = run.load_project().training
    state = TrainerState.from_checkpoint(last.entries, spec)
    best = best_adapter.find_best_evaluation(state.evaluations, spec)
    assert best is not None
    assert (run.get_best_adapter(best.step) / "adapter_model.safetensors").is_file()


@pytest.mark.thorough
@pytest.mark.slow
def test_no_process_survives_a_killed_rank_or_a_cancel(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start("cpu:2", epochs=1000.0, save_every=5, eval_every=1000)
    others: list[psutil.Process] = []

    def at_step(act: Callable[[events.StepDone, client_worker.Worker], None]) -> Any:
        acted: list[int] = []

        def on_event(event: Event, worker: client_worker.Worker) -> None:
            if isinstance(event, events.StepDone) and run.list_checkpoint_steps() and not acted:
                acted.append(event.step)
                others[:] = psutil.Process(worker.pid).children()
                act(event, worker)

        return on_event

    # `kill -9` of the first process: nothing can clean up after it.
    sent = train_in_worker(run, at_step(lambda _, worker: os.kill(worker.pid, signal.SIGKILL)))
    assert len(others) == 1
    assert have_ended(others)
    assert sent[-1].problem.code == "worker.crashed"

    # The same for the second process: the first one reports it and exits cleanly.
    sent = train_in_worker(run, at_step(lambda *_: others[0].kill()), resume=True)
    assert sent[-1].problem.code == "training.rank_died"
    assert "(2 of 2) was killed by signal 9" in str(sent[-1].problem.what)
    assert run.read_state() == "failed"

    # The worker obeys the cancel itself; it isn't enforced.
    monkeypatch.setattr(limits, "CANCEL_SECONDS", 600)
    sent = train_in_worker(run, at_step(lambda event, worker: worker.cancel(event.id)), resume=True)
    assert events_of(sent, events.Cancelled)
    assert list(run.iter_events())[-1].kind == "cancelled"
    assert have_ended(others)


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs parents that die alone")
def test_failing_second_rank_reports_its_error(
    start: Start, patch_process: Callable[..., None]
) -> None:
    run = start("cpu:2")
    # Delete the file after the first process has read it and before the second one does.
    lose = f"pathlib.Path({run.load_project().dataset.sources[0].path!r}).unlink()"
    patch_process(
        "lora_studio.engine.worker_rank",
        "lora_studio.engine.training.train_run",
        "follow",
        before=lose,
    )
    sent = train_in_worker(run, ignore)
    assert str(sent[-1].problem.what).startswith(
        "The process on cpu (2 of 2) stopped with an error: "
    )


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "step"),
    [
        pytest.param(1, 0, id="before a checkpoint", marks=pytest.mark.thorough),
        pytest.param(4, 2, id="after a checkpoint"),
    ],
)
def test_optimizer_oom_in_one_rank_resets_both(
    start: Start, raise_memory_error: Callable[..., None], call: int, step: int
) -> None:
    recipe = {"micro_batch": 2, "gradient_accumulation": 2, "save_every": 2}
    alone, both = start("cpu", **recipe), start("cpu:2", **recipe)
    expected = step_metrics(handle(commands.Train(run=str(alone.path))).events)
    raise_memory_error("lora_studio.engine.worker_rank", "torch.optim", "AdamW.step", f"== {call}")
    sent = train_in_worker(both, ignore)
    assert events_of(sent, events.Done), sent[-1]
    assert [(e.step, e.micro_batch) for e in events_of(sent, events.Recovered)] == [(step, 1)]
    for number, values in step_metrics(sent).items():  # the last value of each step
        assert values == pytest.approx(expected[number], rel=1e-4, abs=1e-6)
    assert list(step_metrics(sent)) == list(expected)


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    ["lora_studio.engine", "lora_studio.engine.worker_rank"],
)
def test_sharded_training_restarts_with_less_after_oom(
    start: Start,
    raise_memory_error: Callable[..., None],
    module: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = {"micro_batch": 2, "gradient_accumulation": 2, "save_every": 2}
    alone, both = start("cpu", **recipe), start("cpu:2", ROWS, "shard", **recipe)
    expected = step_metrics(handle(commands.Train(run=str(alone.path))).events)
    # One pass for the probe and one for each of two steps; the next process has fewer rows in each.
    raise_memory_error(
        module,
        "lora_studio.engine.tasks.supervised",
        "Sft.compute_loss",
        "== 4 and len(about[1]) > 1",
    )
    command = commands.Train(run=str(both.path))
    sent = list(client_worker.perform(command, start=RestartingWorker.start))
    assert events_of(sent, events.Done), sent[-1]
    (warned,) = [
        e for e in events_of(sent, events.Warned) if e.problem.code == "worker.out_of_memory"
    ]
    assert "from the checkpoint at step 2 with a lower memory setting" in str(warned.problem.remedy)
    assert [e.micro_batch for e in events_of(sent, events.Recovered)] == [1]
    for number, values in step_metrics(sent).items():
        assert values == pytest.approx(expected[number], rel=1e-4, abs=1e-6)
    assert list(step_metrics(sent)) == list(expected)


@pytest.mark.slow
@pytest.mark.thorough
def test_sharded_kto_restarts_after_oom_before_a_step(
    start: Start, raise_memory_error: Callable[..., None]
) -> None:
    recipe = {"micro_batch": 2, "gradient_accumulation": 2, "save_every": 2}
    both = start("cpu:2", LABELED, "shard", **recipe)
    # Two passes in the probe and in each step; the first computes the reference point.
    raise_memory_error("lora_studio.engine.worker_rank", "lora_studio.engine.tasks.preference", "Kto._compute_rewards",
               "== 7 and len(about[1]) > 1")  # fmt: skip
    command = commands.Train(run=str(both.path))
    sent = list(client_worker.perform(command, start=RestartingWorker.start))
    assert events_of(sent, events.Done), sent[-1]
    assert [e.micro_batch for e in events_of(sent, events.Recovered)] == [1]
    assert list(step_metrics(sent)) == [1, 2, 3, 4, 5]


@pytest.mark.thorough
@pytest.mark.slow
def test_killed_second_rank_is_named_and_training_resumes(
    start: Start, patch_process: Callable[..., None]
) -> None:
    run = start("cpu:2", eval_every=2, save_every=2)
    functions = (("train_run", "follow"), ("trainer", "Trainer._evaluate"))
    for attempt, (module, name) in enumerate(functions):
        holder, kill = f"lora_studio.engine.training.{module}", "os.kill(os.getpid(), 9)"
        patch_process("lora_studio.engine.worker_rank", holder, name, before=kill)
        sent = train_in_worker(run, ignore, resume=attempt > 0)
        assert sent[-1].problem.code == "training.rank_died"
    patch_process("none", "lora_studio.engine.training.trainer", "Trainer._evaluate")
    sent = train_in_worker(run, ignore, resume=True)
    assert events_of(sent, events.Done), sent[-1]
    assert list(metrics.read_metrics(run).loss) == [1, 2, 3, 4, 5]


@pytest.mark.thorough
@pytest.mark.slow
def test_sharded_weights_answer_samples_like_one_process(start: Start) -> None:
    recipe = {"sample_prompts": ("What is 3 and 3?", "Who?"), "sample_tokens": 8}
    alone, both = start("cpu", **recipe), start("cpu:2", ROWS, "shard", **recipe)
    expected = handle(commands.Train(run=str(alone.path))).of(events.Sampled)
    sent = events_of(train_in_worker(both, ignore), events.Sampled)
    assert len(expected) >= 4
    assert [(e.step, e.index, e.source, e.text) for e in sent] == [
        (e.step, e.index, e.source, e.text) for e in expected
    ]


# --- in this process ------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("batches", [1, 2, 4, 7])
def test_every_micro_batch_is_computed_once(count: int, batches: int) -> None:
    shares = [
        ProcessGroup(index, count).get_local_batches(range(batches)) for index in range(count)
    ]
    assert sorted(item for share in shares for item in share) == list(range(batches))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def _spellings() -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "auto", ("auto",)
    yield "cpu", ("cpu",)
    yield "cpu:3", ("cpu", "cpu", "cpu")
    yield "cuda:1", ("cuda:1",)
    yield "cuda:0,cuda:2", ("cuda:0", "cuda:2")


@pytest.mark.parametrize(("text", "names"), _spellings())
def test_device_setting_names_one_device_per_process(text: str, names: tuple[str, ...]) -> None:
    assert ModelSpec(device=text).devices == list_device_names(text) == names


@pytest.mark.parametrize(
    "text", ["cuda,cuda:1", "cpu:0", "cpu:100", "cuda:0,", "cpu,cuda:0", "gpu"]
)
def test_invalid_device_setting_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="device"):
        ModelSpec(device=text)


def test_duplicate_device_is_a_problem_with_a_fix() -> None:
    def fixes(device: str) -> list[Any]:
        draft = Draft()
        draft.set("model", "device", device)
        problems = [p for p in checks.check(draft) if p.code == "model.device_twice"]
        return [problem.fix.value for problem in problems if problem.fix]

    assert fixes("cuda:0,cuda:1,cuda:0") == ["cuda:0,cuda:1"]
    assert fixes("cpu:2") == []


def test_single_process_tasks_use_the_first_device() -> None:
    assert device.choose_device("cpu:2") == torch.device("cpu")


@pytest.mark.parametrize(
    ("has_nccl", "device", "transport"),
    [
        pytest.param(True, "cuda:1", "cpu:gloo,cuda:nccl", id="gpu"),
        pytest.param(False, "cuda:1", "gloo", id="gpu without NCCL, as on Windows"),
        pytest.param(True, "cpu", "gloo", id="cpu"),
    ],
)
def test_ranks_use_a_transport_that_this_build_has(
    monkeypatch: pytest.MonkeyPatch, has_nccl: bool, device: str, transport: str
) -> None:
    monkeypatch.setattr(dist, "is_nccl_available", lambda: has_nccl)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    assert launch.choose_transport(device) == transport


class _JoinedError(Exception):
    """Ends a process that joins the others."""


def test_ranks_join_with_that_transport(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transports: list[str] = []

    def join(transport: str, **_: Any) -> None:
        transports.append(transport)
        raise _JoinedError

    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.setenv(name, "lo")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.setattr(launch, "choose_transport", "transport of {}".format)
    monkeypatch.setattr(dist, "init_process_group", join)
    run = new_run(tmp_path, model={"device": "cpu:2"})
    with pytest.raises(_JoinedError):
        launch.Rendezvous("", str(tmp_path), 1, 2, "cuda:1").join()
    with pytest.raises(_JoinedError):
        launch.join_launched_ranks(run, 1, 2)
    assert transports == ["transport of cuda:1", "transport of cpu"]


class FakeNccl:
    """A process group whose end waits for every rank, as NCCL's does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self.alive_at_end: list[int] = []
        self.aborted = False
        monkeypatch.setattr(launch, "start_rank", self._start)
        monkeypatch.setattr(dist, "is_initialized", lambda: not (self.alive_at_end or self.aborted))
        monkeypatch.setattr(dist, "get_backend_config", lambda: "cpu:gloo,cuda:nccl")
        monkeypatch.setattr(dist, "destroy_process_group", self._destroy)
        monkeypatch.setattr(distributed_c10d, "_abort_process_group", self._abort)

    def _start(self, _: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()"]
        self.processes.append(subprocess.Popen(command, stdin=subprocess.PIPE))
        return self.processes[-1]

    def _destroy(self) -> None:
        self.alive_at_end.append(sum(process.poll() is None for process in self.processes))

    def _abort(self) -> None:
        self.aborted = True


def test_ranks_leave_their_group_while_all_of_them_live(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nccl = FakeNccl(monkeypatch)
    run = new_run(tmp_path, model={"device": "cpu:3"})
    with launch.launch_ranks(run, run.load_project(), make_job(), tmp_path, resume=False):
        assert len(nccl.processes) == 2
    assert nccl.alive_at_end == [2]
    assert not nccl.aborted
    assert all(process.poll() is not None for process in nccl.processes)


def test_failed_rank_leaves_without_waiting_for_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nccl = FakeNccl(monkeypatch)
    run = new_run(tmp_path, model={"device": "cpu:2"})
    with pytest.raises(CancelledError):  # noqa: SIM117 - the first one catches what the second one raises
        with launch.launch_ranks(run, run.load_project(), make_job(), tmp_path, resume=False):
            raise CancelledError
    assert nccl.aborted
    assert not nccl.alive_at_end


@pytest.mark.parametrize("rank", [0, 1])
def test_ranks_that_others_started_leave_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    """NCCL ends its communicators together: a rank that only exits lets the others wait."""
    steps: list[str] = []
    monkeypatch.setattr(RunFolder, "require_inputs", lambda *_, **__: None)
    monkeypatch.setattr(train_run, "_train_rank", lambda *_, **__: steps.append("train"))
    monkeypatch.setattr(launch, "leave_group", lambda: steps.append("leave"))
    run, ranks = new_run(tmp_path), ProcessGroup(rank, 2)
    if ranks.is_first:
        train_run.train(run, make_job(), ranks=ranks)
    else:
        train_run.follow(run, ranks, make_job(), resume=False)
    assert steps == ["train", "leave"]


def test_rank_does_not_wait_forever_for_one_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []
    gone = threading.Event()
    monkeypatch.setattr(launch, "_LEAVE_PERIOD", 0.01)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: ended.append(gone.wait(5)))
    launch.leave_group()
    assert not ended
    gone.set()


def test_sharded_ranks_compute_equally_many_passes() -> None:
    batches = [[row] for row in range(5)]
    shares = [
        ProcessGroup(index, 2, is_sharded=True).get_local_batches(batches) for index in range(2)
    ]
    assert [len(share) for share in shares] == [3, 3]
    counted = [rows for share in shares for rows in share if not isinstance(rows, DuplicateBatch)]
    assert sorted(counted) == batches


def test_quantized_weights_cannot_be_sharded() -> None:
    model = ModelSpec(source="m", precision="4bit", device="cuda:0,cuda:1", sharding="shard")
    problems = combinations.check(model, LoraSpec(), TrainingSpec())
    assert [problem.code for problem in problems] == ["model.sharding_quantized"]
