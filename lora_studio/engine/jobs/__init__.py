"""Handlers of commands: one module per step, one handler per command.

A handler registers for its command's class with `@handles(commands.Train)`. Importing this package
imports every handler; importing a handler imports nothing heavy. torch and transformers take
seconds to import, and a question about devices or a dataset's rows must not wait for them, so
handlers import what they need when they run.
"""

from lora_studio.engine.jobs import chat, dataset, evaluation, export, merging, model, training
from lora_studio.engine.jobs.registry import (
    get_handler,
    get_registered_commands,
    handles,
    run_command,
)

__all__ = [
    "chat",
    "dataset",
    "evaluation",
    "export",
    "get_handler",
    "get_registered_commands",
    "handles",
    "merging",
    "model",
    "run_command",
    "training",
]
