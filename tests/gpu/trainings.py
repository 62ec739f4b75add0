"""Trainings of tiny random models for the checks, in the process of the check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.gpu.registry import CheckContext

#: Rows of each objective, with answers of different lengths.
ROWS: dict[str, list[dict[str, Any]]] = {
    "sft": [
        {"instruction": f"What is {n}?", "output": f"It is {n}, said Pim.{' Yes.' * (n % 5)}"}
        for n in range(12)
    ],
    "dpo": [
        {"prompt": f"What is {n}?", "chosen": f"It is {n}, said Pim.", "rejected": f"No idea: {n}!"}
        for n in range(12)
    ],
    "kto": [
        {"prompt": f"What is {n}?", "completion": f"It is {n}.", "label": n % 2 > 0}
        for n in range(12)
    ],
    "grpo": [{"prompt": f"What is {n}?", "reference": str(n)} for n in range(12)],
    "classification": [
        {"text": f"Message {n} is {label}.", "label": label}
        for n, label in enumerate(("good", "bad", "odd") * 8)
    ],
    "embedding": [
        {"query": f"Where is lamp {n}?", "positive": f"Lamp {n} burns in room {2 * n}.", "negative": "No lamp."}
        for n in range(24)
    ],
}  # fmt: skip

#: The settings of each objective on pairs.
PREFERENCES: dict[str, dict[str, Any]] = {
    "dpo": {"preference": "dpo"},
    "hinge": {"preference": "dpo", "dpo_loss": "hinge"},
    "ipo": {"preference": "dpo", "dpo_loss": "ipo"},
    "robust": {"preference": "dpo", "dpo_loss": "robust", "label_smoothing": 0.1},
    "orpo": {"preference": "orpo"},
    "simpo": {"preference": "simpo"},
    "reward": {"preference": "reward"},
}
ROWS |= dict.fromkeys(PREFERENCES, ROWS["dpo"])


def get_half_precision(context: CheckContext) -> str:
    """Return the 16-bit format that trainings have by default on a GPU; bfloat16 on the CPU."""
    if context.is_cpu:
        return "bf16"
    import torch

    from lora_studio.engine.devices import devices

    return devices.get_auto_precision(torch.device(context.device))


def find_model(context: CheckContext, family: str, seed: int = 7) -> Path:
    """Return the folder of a family's tiny model with the weights of a seed, written on first use."""
    from tests.helpers.models.tiny_models import tiny_model

    folder = context.folder / (family if seed == 7 else f"{family}-seed-{seed}")
    # One tokenizer for all, so that a GPU machine needs no sentencepiece.
    return folder if folder.exists() else tiny_model(family, folder, seed=seed, tokens_of="llama3")


def create_run(
    context: CheckContext,
    objective: str = "sft",
    *,
    family: str = "llama3",
    rows: list[dict[str, Any]] | None = None,
    model: dict[str, Any] | None = None,
    dataset: dict[str, Any] | None = None,
    lora: dict[str, Any] | None = None,
    **training: Any,
) -> Any:
    """Return a new run; the dictionaries and `training` are fields of its specs."""
    from tests.helpers.runs import jobs

    source = find_model(context, family)
    chosen = rows or ROWS[objective]
    file = jobs.write_rows(context.folder / f"{objective}-{len(chosen)}.jsonl", chosen)
    # Prompts aren't told from documents by their columns.
    source_file = {"path": str(file), "format": "prompts"} if objective == "grpo" else str(file)
    # Epochs without end: each check says how many steps it trains.
    recipe = {
        "micro_batch": 2, "gradient_accumulation": 2, "keep_best": False, "backend": "peft", "epochs": 100,
    }  # fmt: skip
    return jobs.new_run(
        context.folder,
        model={"source": str(source), "device": context.device, **(model or {})},
        dataset={"sources": [source_file], "validation_share": 0.0, "max_length": 256, **(dataset or {})},
        lora={"rank": 8, **(lora or {})},
        training={**recipe, **PREFERENCES.get(objective, {}), **training},
    )  # fmt: skip


def train_run(run: Any, *, pause_after: int = 0) -> Any:
    """Train a run; return the channel with all events.

    `pause_after` is the step after which training pauses, and then resumes. Raises AssertionError if the
    training fails.
    """
    from lora_studio.core.protocol import commands, events
    from tests.helpers.runs import jobs

    def on_event(event: Any, flags: Any) -> None:
        if isinstance(event, events.StepDone) and event.step == pause_after:
            flags.pause.set()

    channel = jobs.handle(commands.Train(run=str(run.path)), on_event)
    if pause_after:
        assert channel.last(events.Done).paused, channel.events[-1]
        resumed = jobs.handle(commands.Train(run=str(run.path), resume=True))
        channel.events += resumed.events
    assert channel.of(events.Done), channel.events[-1]
    return channel


def train(context: CheckContext, objective: str = "sft", **settings: Any) -> tuple[Any, Any]:
    """Create and train a run; return it and the channel with all events."""
    run = create_run(context, objective, **settings)
    return run, train_run(run)


def train_in_worker(run: Any) -> Any:
    """Train a run in a process of its own, as the window does; return a channel with all events.

    Raises AssertionError if the training fails.
    """
    from lora_studio.client import worker
    from lora_studio.core.protocol import commands, events
    from tests.helpers.runs import jobs

    channel = jobs.RecordingChannel()
    channel.events += worker.perform(commands.Train(run=str(run.path)))
    assert channel.of(events.Done), channel.events[-1]
    return channel


def get_losses(channel: Any) -> dict[int, float]:
    """Return the loss of each step."""
    from lora_studio.core.protocol import events

    return {event.step: event.loss for event in channel.of(events.StepDone)}


def compare_norms(actual: Any, expected: Any) -> float:
    """Return the largest relative difference of the gradient norms of two trainings, by step."""
    from lora_studio.core.protocol import events

    pairs = zip(actual.of(events.StepDone), expected.of(events.StepDone), strict=True)
    return max(abs(one.grad_norm / other.grad_norm - 1) for one, other in pairs)


def compare_losses(actual: Any, expected: Any) -> float:
    """Return the largest relative difference of the losses of two trainings; they must have the same steps."""
    own, others = get_losses(actual), get_losses(expected)
    assert list(own) == list(others)
    return max(abs(own[step] - loss) / abs(loss) for step, loss in others.items())


def get_warnings(channel: Any) -> list[str]:
    """Return the codes of all warnings."""
    from lora_studio.core.protocol import events

    return [event.problem.code for event in channel.of(events.Warned)]
