"""Evaluate models on test sets."""

from __future__ import annotations

from pathlib import Path

from lora_studio.core.messages import text
from lora_studio.core.protocol import commands, events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.jobs.registry import handles
from lora_studio.engine.runtime import fast_imports, torch_settings
from lora_studio.engine.runtime.channel import JobContext


@handles(commands.Evaluate)
def evaluate(command: commands.Evaluate, job: JobContext) -> events.Done:
    """Start or continue an evaluation of a run."""
    job.show_stage(text("starting PyTorch"))
    torch_settings.choose_for_job(job)
    with fast_imports.speed_up_imports():
        from lora_studio.engine.evaluation import evaluation
    return evaluation.evaluate(command, job)


@handles(commands.InspectTestSets)
def inspect_test_sets(command: commands.InspectTestSets, job: JobContext) -> None:
    """Report what test sets contain."""
    from lora_studio.engine.evaluation import test_sets

    test_sets.inspect(command, job)


@handles(commands.ListBenchmarks)
def list_benchmarks(command: commands.ListBenchmarks, job: JobContext) -> None:
    """Report the benchmarks of lm-eval that a search finds."""
    from lora_studio.engine.evaluation import benchmark_index

    found = benchmark_index.search(command.search, job)
    shown = tuple(found[: command.limit])
    job.emit(events.BenchmarksListed(benchmarks=shown, total=len(found)))


@handles(commands.Classify)
def classify(command: commands.Classify, job: JobContext) -> None:
    """Predict the labels of texts."""
    job.show_stage(text("starting PyTorch"))
    with fast_imports.speed_up_imports():
        from lora_studio.engine.chat import label_predictor
    job.emit(label_predictor.classify(RunFolder(Path(command.run)), command.texts, job))


@handles(commands.ClassifyFile)
def classify_file(command: commands.ClassifyFile, job: JobContext) -> None:
    """Predict the labels of the rows of a file."""
    job.show_stage(text("starting PyTorch"))
    with fast_imports.speed_up_imports():
        from lora_studio.engine.chat import labeled_files
    labeled_files.classify_file(RunFolder(Path(command.run)), command, job)
