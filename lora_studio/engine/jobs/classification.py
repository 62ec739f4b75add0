"""Predict labels with the classifier of a run."""

from __future__ import annotations

from pathlib import Path

from lora_studio.core.messages import text
from lora_studio.core.protocol import commands
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.jobs.registry import handles
from lora_studio.engine.runtime import fast_imports
from lora_studio.engine.runtime.channel import JobContext


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
