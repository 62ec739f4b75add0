"""Evaluate models on test sets."""

from __future__ import annotations

from lora_studio.core.messages import text
from lora_studio.core.protocol import commands, events
from lora_studio.engine.jobs.registry import handles
from lora_studio.engine.runtime import cpu_threads, fast_imports
from lora_studio.engine.runtime.channel import JobContext


@handles(commands.Evaluate)
def evaluate(command: commands.Evaluate, job: JobContext) -> events.Done:
    """Start or continue an evaluation of a run."""
    job.show_stage(text("starting PyTorch"))
    cpu_threads.choose_for_job(job)
    with fast_imports.speed_up_imports():
        from lora_studio.engine.evaluation import evaluation
    return evaluation.evaluate(command, job)


@handles(commands.InspectTestSets)
def inspect_test_sets(command: commands.InspectTestSets, job: JobContext) -> None:
    """Report what test sets contain."""
    from lora_studio.engine.evaluation import test_sets

    test_sets.inspect(command, job)
