"""Checks of whole flows: a worker's training, merging, and self-test, and chat."""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path
from typing import Any

from tests.gpu.peers import release_gpu
from tests.gpu.registry import CheckContext, UnavailableCheckError, check
from tests.gpu.trainings import create_run, find_model, train

#: Steps of the training in a worker, with an evaluation after each, and the one after which it pauses. From the second
#: step after that, which is the first after an evaluation, to the last, there are ten evaluations.
_STEPS, _PAUSE = 15, 3


@check("T5", "workers train, evaluate, sample, pause, resume, merge, and self-test", seconds=67)
def run_worker(context: CheckContext) -> None:
    """Run every step in workers, as the window does; memory must not grow from evaluation to evaluation."""
    from lora_studio.core.protocol import commands, events

    # On the CPU in 32-bit: 16-bit products keep memory for each number of tokens that occurs.
    run = create_run(
        context, model={"precision": "fp32" if context.is_cpu else "auto"},
        dataset={"validation_share": 0.25}, max_steps=_STEPS, eval_every=1, save_every=6,
        sample_prompts=("Who is Pim?",), sample_tokens=8, sample_rows=1, keep_best=True,
    )  # fmt: skip
    sent = _perform(commands.Train(run=str(run.path)), pause_after=_PAUSE)
    context.expect(sent[-1].kind == "done" and sent[-1].paused, f"no pause: {sent[-1]}")
    sent += _perform(commands.Train(run=str(run.path), resume=True))
    steps = [event for event in sent if isinstance(event, events.StepDone)]
    evaluations = [event for event in sent if isinstance(event, events.Evaluated)]
    context.expect([event.step for event in steps] == [*range(1, _STEPS + 1)], "steps are missing")
    context.expect(len(evaluations) == _STEPS, f"{len(evaluations)} of {_STEPS} evaluations")
    after = [event.memory_bytes for event in steps if event.step > _PAUSE + 1]
    growth = after[-1] / after[0] - 1
    context.figures["growth of memory over evaluations"] = f"{growth:.1%}"
    context.expect(growth < 0.02, f"memory grows by {growth:.0%} over evaluations")
    sent += _perform(commands.Merge(run=str(run.path)))
    sent += _perform(commands.SelfTest(run=str(run.path)))
    tested = [event for event in sent if isinstance(event, events.SelfTested)]
    context.figures["self-test"] = [f"{event.stage}: {event.verdict}" for event in tested]
    context.expect(bool(tested) and all(event.passed for event in tested), "the self-test fails")
    kinds = {event.kind for event in sent}
    expected = {
        "started", "dataset_ready", "model_loaded", "parameters_counted", "memory_estimated",
        "training_started", "step_done", "evaluated", "sampled", "checkpoint_saved", "adapter_saved",
        "merged", "self_tested", "done",
    }  # fmt: skip
    context.expect(expected <= kinds, f"missing events: {sorted(expected - kinds)}")
    failed = [str(event.problem.what) for event in sent if isinstance(event, events.Failed)]
    context.expect(not failed, " ".join(failed))
    for objective in ("classification", "embedding"):
        _use_other_model(context, objective)


def _use_other_model(context: CheckContext, objective: str) -> None:
    """Train a classifier or an embedding model in this process, merge and self-test it, and use it."""
    from lora_studio.core.protocol import commands, events
    from tests.helpers.runs import jobs

    run, _ = train(
        context, objective, dataset={"validation_share": 0.25}, max_steps=4, eval_every=2
    )
    sent = jobs.handle(commands.Merge(run=str(run.path))).events
    tested = [event for event in sent if isinstance(event, events.SelfTested)]
    context.figures[f"{objective}: self-test"] = [str(event.compared) for event in tested]
    context.figures[f"{objective}: similarity"] = [event.similarity for event in tested]
    passes = bool(tested) and all(event.passed for event in tested)
    context.expect(passes, f"{objective}: the self-test fails: {sent[-1]}")
    if objective == "classification":
        asked = commands.Classify(run=str(run.path), texts=("Message 5 is odd.",))
        answers = jobs.handle(asked).of(events.TextsClassified)
        shares = [sum(row) for answer in answers for row in answer.probabilities]
        is_whole = len(shares) == 1 and abs(shares[0] - 1) < 1e-3
        context.expect(is_whole, f"the probabilities of labels add up to {shares}")


def _perform(command: Any, pause_after: int = 0) -> list[Any]:
    """Run a command in a new worker and return its events."""
    from lora_studio.client import worker
    from lora_studio.core.protocol import commands, events

    links: list[Any] = []
    sent: list[Any] = []
    for event in worker.perform(command, links.append):
        sent.append(event)
        if isinstance(event, events.StepDone) and event.step == pause_after:
            links[0].send(commands.Pause(target=event.id))
    return sent


@check(
    "T15",
    "columns of a chat answer the same with the same seed, and not while training",
    seconds=9,
)
def chat(context: CheckContext) -> None:
    """Ask the base model and two adapters at once, twice; then while a training holds the device."""
    if importlib.util.find_spec("ollama") is None:
        raise UnavailableCheckError(
            "the package ollama, which answers may come from, isn't installed"
        )
    from lora_studio.core.chat import AdapterChatModel, Sampling
    from lora_studio.core.lora.adapters import WeightedAdapter
    from lora_studio.engine.chat.session import Session
    from tests.helpers.models.tiny_models import random_adapter

    base = find_model(context, "llama3")
    adapters = [random_adapter(base, context.folder / f"adapter-{n}", seed=n) for n in (1, 2)]
    mixes = [(), *((WeightedAdapter(folder=str(each)),) for each in adapters)]
    chat_models = [AdapterChatModel(adapters=mix) for mix in mixes]
    sampling = Sampling(temperature=1.5, max_tokens=24 if context.is_cpu else 128, seed=4)
    session = Session()
    try:
        first, second = (_ask(session, base, context, chat_models, sampling) for _ in range(2))
        texts = {column: answer.text for column, answer in first.items()}
        context.expect(len(first) == len(chat_models), f"only {len(first)} columns answered")
        again = {column: answer.text for column, answer in second.items()}
        context.expect(texts == again, "the same seed gives other answers")
        context.expect(len({*texts.values()}) == len(chat_models), "adapters give the same answer")
        rates = [answer.tokens_per_s for answer in second.values() if answer.tokens_per_s]
        context.figures["tokens/s of a column"] = [round(rate) for rate in rates]
        if not context.is_cpu:
            _ask_while_training(session, base, context, chat_models, sampling)
    finally:
        session.close()


def _ask(
    session: Any, base: Path, context: CheckContext, chat_models: list[Any], sampling: Any
) -> dict[int, Any]:
    """Return the answers by column."""
    from lora_studio.core.chat import ChatQuestion
    from lora_studio.core.model.spec import ModelSpec
    from lora_studio.core.protocol import commands, events
    from lora_studio.core.tasks.samples import Message
    from tests.helpers.runs.jobs import recorded_job

    messages = (Message(role="user", content="Which lamp burns longest?"),)
    asked = tuple(
        ChatQuestion(column=column, chat_model=chat_model, messages=messages, sampling=sampling)
        for column, chat_model in enumerate(chat_models)
    )
    job, recorder = recorded_job()
    model = ModelSpec(source=str(base), device=context.device)
    session.run_command(commands.AskChat(model=model, asked=asked), job)
    return {event.column: event for event in recorder.of(events.Answered)}


def _ask_while_training(
    session: Any, base: Path, context: CheckContext, chat_models: list[Any], sampling: Any
) -> None:
    from lora_studio.core.model.spec import ModelSpec
    from lora_studio.core.problems import ProblemError
    from lora_studio.core.system import locks
    from lora_studio.engine.devices import lock

    devices = lock.get_lockable_devices(ModelSpec(source=str(base), device=context.device))
    holder = locks.LockHolder("run", "training")
    with locks.hold_devices(devices, holder, lambda *_: None):
        try:
            answers = _ask(session, base, context, chat_models, sampling)
            context.expect(not answers, "a chat uses the GPU while a training holds it")
        except ProblemError as error:
            context.figures["while training"] = str(error.problems[0].what)


@check("T18", "the self-test uses the CPU where the GPU is too small", seconds=10, needs_gpu=True)
def self_test_without_memory(context: CheckContext) -> None:
    """Merge and self-test with a GPU that has no memory left."""
    import torch

    from lora_studio.core.protocol import commands, events
    from tests.helpers.runs import jobs

    run, _ = train(context, dataset={"validation_share": 0.25}, max_steps=2)
    release_gpu()
    torch.cuda.set_per_process_memory_fraction(0.0, context.device)
    _rest = _fill_gaps(context.device)
    merged = jobs.handle(commands.Merge(run=str(run.path)))
    channel = jobs.handle(commands.SelfTest(run=str(run.path)))
    logs = [str(event.text) for event in (*merged.of(events.LogLine), *channel.of(events.LogLine))]
    falls_back = any("The CPU is used" in log for log in logs)
    context.expect(falls_back, "the self-test doesn't say that it uses the CPU")
    tested = channel.of(events.SelfTested)
    context.figures["self-test"] = [f"{event.stage}: {event.verdict}" for event in tested]
    context.expect(bool(tested) and all(event.passed for event in tested), "the self-test fails")


def _fill_gaps(device: str) -> list[Any]:
    """Return tensors in all the memory that the allocator has left, in which a tiny model would fit."""
    import torch

    tensors = []
    for size in (1 << 20, 1 << 9):
        with contextlib.suppress(torch.OutOfMemoryError):
            while True:
                tensors.append(torch.empty(size, dtype=torch.uint8, device=device))
    return tensors
